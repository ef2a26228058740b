"""Whether nuclei come out the same in tiles as in the whole image.

Segments a mosaic once in one piece and once for each tile size, and matches the nuclei: one is the
same if the IoU is over 0.9. Lost and doubled nuclei are those within a nuclear diameter of a seam
that have no counterpart at an IoU of 0.5.

    python benchmarks/seams.py [--segmenter maskrcnn] [--edge 3000] [--tiles 512,700,1024]
                               [--data FOLDER] [--json FILE]

The mosaic is made of the images of the 2018 Data Science Bowl's validation split in fluorescence
(data folder: CELLSEG_TEST_DATA, or ../shared/data), each on its own brightness scale, magnified so
that its nuclei are 20 px wide, repeated until the mosaic is full. Without data: simulated tissue.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from skimage.transform import rescale

from cellseg_core import Pipeline
from cellseg_core.image import Image
from cellseg_core.metrics import pairwise_iou
from cellseg_core.synthetic import simulate_tissue
from cellseg_core.tiling import tile_image

DIAMETER = 20.0


def mosaic(data: Path, edge: int) -> tuple[np.ndarray, str]:
    """Return a nuclear image (edge, edge) uint16, and what it was made of."""
    folder = data / "dsb2018"
    if not (folder / "index.csv").is_file():
        tissue = simulate_tissue((edge, edge), seed=1, nuclear_diameter=DIAMETER, channels=["DAPI"])
        return np.asarray(tissue.image.read(0)), "simulated tissue"
    with (folder / "index.csv").open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["split"] == "val" and row["modality"] == "fluorescence"
        ]
    parts = []
    for row in rows:
        pixels = np.asarray(Picture.open(folder / "images" / f"{row['id']}.png").convert("F"))
        truth = np.asarray(Picture.open(folder / "masks" / f"{row['id']}.png"))
        areas = np.bincount(truth.ravel())[1:]
        factor = DIAMETER / np.sqrt(np.median(areas[areas > 0]) * 4 / np.pi)
        magnified = rescale(pixels / np.percentile(pixels, 99.9), factor, anti_aliasing=factor < 1)
        parts.append((np.clip(magnified, 0, 1.2) * 50_000).astype(np.uint16))
    filled = np.zeros((edge, edge), np.uint16)
    again = itertools.cycle(sorted(parts, key=lambda part: -part.shape[0]))
    top = 0
    while top < edge:
        left, height = 0, 0
        while left < edge:
            part = next(again)[: edge - top, : edge - left]
            filled[top : top + part.shape[0], left : left + part.shape[1]] = part
            left, height = left + part.shape[1], max(height, part.shape[0])
        top += height
    return filled, f"{len(parts)} images of the 2018 Data Science Bowl"


def near_seams(labels: np.ndarray, tile: int, reach: float) -> np.ndarray:
    """Return the ids of nuclei of which a pixel lies within ``reach`` px of a seam."""
    near = np.zeros(labels.shape, bool)
    width = int(reach)
    for one in tile_image(labels.shape, tile, 0):
        for start, axis in ((one.core.y0, 0), (one.core.x0, 1)):
            if start > 0:
                band = slice(max(0, start - width), start + width)
                near[(band, slice(None)) if axis == 0 else (slice(None), band)] = True
    return np.unique(labels[near & (labels > 0)])


def main() -> None:
    """Compare tilings, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--segmenter", default="maskrcnn")
    parser.add_argument("--edge", type=int, default=3000)
    parser.add_argument("--tiles", default="512,700,1024")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data = options.data or Path(os.environ.get("CELLSEG_TEST_DATA", "../shared/data"))
    pixels, origin = mosaic(data, options.edge)
    image = Image(pixels, channels=["DAPI"], name="mosaic")

    def nuclei(tile: int) -> np.ndarray:
        began = time.perf_counter()
        pipeline = Pipeline(segmenter=options.segmenter, nuclear_diameter=DIAMETER, tile=tile)
        found = pipeline.run(image).nuclei
        print(f"tile {tile}: {found.max()} nuclei, {time.perf_counter() - began:.0f} s", flush=True)
        return found

    print(f"{options.edge} x {options.edge} px of {origin}")
    whole = nuclei(2 * options.edge)
    table = {}
    for tile in map(int, options.tiles.split(",")):
        tiled = nuclei(tile)
        first, second, iou = pairwise_iou(whole, tiled)
        same = int(np.count_nonzero(iou > 0.9))
        matched = iou > 0.5
        lost = np.setdiff1d(near_seams(whole, tile, DIAMETER), first[matched])
        extra = np.setdiff1d(near_seams(tiled, tile, DIAMETER), second[matched])
        table[tile] = {
            "nuclei": int(tiled.max()),
            "same": round(same / max(int(whole.max()), int(tiled.max())), 5),
            "lost_at_seams": int(lost.size),
            "doubled_at_seams": int(extra.size),
        }
        print(
            f"  the same: {table[tile]['same']:.3%}; "
            f"at seams lost {lost.size}, doubled {extra.size}"
        )
    if options.json:
        report = {
            "machine": platform.platform(),
            "cellseg": version("cellseg-core"),
            "segmenter": options.segmenter,
            "mosaic": origin,
            "edge": options.edge,
            "untiled_nuclei": int(whole.max()),
            "tiles": table,
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
