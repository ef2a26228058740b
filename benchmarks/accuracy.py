"""How well segmenters find the nuclei of the 2018 Data Science Bowl, on the one path of cellseg.

Each image is a data set of its own: brightness and, unless --true-diameter is given, the nuclear
diameter come from the image. Prints mAP (IoU 0.5 to 0.95, the Bowl's definition) and AP at 0.5 and
0.75 by kind of image, and how near the estimated diameters are.

    python benchmarks/accuracy.py [--split val] [--segmenters maskrcnn,stardist,cellpose,watershed]
                                  [--true-diameter] [--set segmenter.quality=high]
                                  [--data FOLDER] [--json FILE]

--set gives an option to every segmenter that is scored. The first three were trained on the same
598 images of the training split. One that is not installed is told, and left out.

The data folder (default: CELLSEG_TEST_DATA, or ../shared/data) holds dsb2018/ with images/, masks/
and index.csv (columns id, modality, split).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import sys
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from cellseg_backends.training.diameter import nuclear_diameter
from cellseg_core import Pipeline, read_image
from cellseg_core.config import parse_setting
from cellseg_core.errors import MissingPackageError
from cellseg_core.metrics import THRESHOLDS, average_precision


def score(
    folder: Path,
    rows: list[dict[str, str]],
    segmenter: str,
    settings: dict[str, Any],
    *,
    true_diameter: bool,
) -> list:
    """Return (modality, AP for each threshold, log2 of estimated over true diameter) by image."""
    scores = []
    for number, row in enumerate(rows, start=1):
        image = read_image(folder / "images" / f"{row['id']}.png")
        truth = np.asarray(Picture.open(folder / "masks" / f"{row['id']}.png")).astype(np.int32)
        true = nuclear_diameter(truth)
        pipeline = Pipeline(
            segmenter=segmenter,
            nuclear_diameter=true if true_diameter else None,
            options={"segmenter": settings},
        )
        result = pipeline.run(image)
        ratio = np.log2(result.nuclear_diameter / true)
        scores.append((row["modality"], average_precision(truth, result.nuclei), ratio))
        print(f"\r{segmenter}: {number} of {len(rows)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return scores


def main() -> None:
    """Score every segmenter, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--split", default="val")
    parser.add_argument("--segmenters", default="maskrcnn,stardist,cellpose,watershed")
    parser.add_argument("--true-diameter", action="store_true")
    parser.add_argument("--set", action="append", default=[], type=parse_setting)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    settings = {key.removeprefix("segmenter."): value for key, value in options.set}
    default = os.environ.get("CELLSEG_TEST_DATA", "../shared/data")
    folder = (options.data or Path(default)) / "dsb2018"
    with (folder / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == options.split]
    report: dict[str, object] = {
        "machine": platform.platform(),
        "cellseg": version("cellseg-core"),
        "split": options.split,
        "true_diameter": options.true_diameter,
    }
    at = {0.5: THRESHOLDS.index(0.5), 0.75: THRESHOLDS.index(0.75)}
    print(f"{'segmenter':<12} {'images':<18} {'n':>4}   mAP  AP@.5 AP@.75  diameter within 1.5x")
    for segmenter in options.segmenters.split(","):
        began = time.perf_counter()
        kinds = defaultdict(list)
        try:
            scores = score(folder, rows, segmenter, settings, true_diameter=options.true_diameter)
        except MissingPackageError as error:
            print(f"{segmenter:<12} {error}")
            report[segmenter] = str(error)
            continue
        for modality, ap, ratio in scores:
            kinds["all"].append((ap, ratio))
            kinds[modality].append((ap, ratio))
        table = {}
        for kind, found in kinds.items():
            ap = np.mean([one for one, _ in found], axis=0)
            near = float(np.mean([abs(ratio) <= np.log2(1.5) for _, ratio in found]))
            table[kind] = {
                "images": len(found),
                "mAP": round(float(ap.mean()), 4),
                "AP50": round(float(ap[at[0.5]]), 4),
                "AP75": round(float(ap[at[0.75]]), 4),
                "diameter_within_1.5x": round(near, 3),
            }
            print(
                f"{segmenter:<12} {kind:<18} {len(found):>4} {ap.mean():.3f}  {ap[at[0.5]]:.3f}  "
                f"{ap[at[0.75]]:.3f}  {near:.0%}"
            )
        seconds = round(time.perf_counter() - began, 1)
        print(f"{segmenter:<12} {seconds:.0f} s")
        report[segmenter] = {"seconds": seconds, "by_kind": table}
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
