"""Whether other versions of packages, other processors and threads give the same cells.

Runs the same images with each interpreter that is given, and with each variant of the first one,
and compares nuclei and means with those of the first: a nucleus is identical if it has the same
pixels, and the same if the IoU is over 0.9.

    python benchmarks/agreement_of_versions.py [PYTHON...] [--variants again,workers,...]
        [--segmenter NAME] [--set KIND.OPTION=VALUE] [--data FOLDER] [--json FILE]

Each PYTHON is an interpreter of an environment that has cellseg; the first one is compared with
all. Default: the one that runs this. Oldest versions that are supported, in a new environment:

    uv venv old && uv pip install --python old/bin/python --resolution lowest-direct cellseg-core

The images are the simulated tissue of ``cellseg demo`` and, where there are data (data folder:
CELLSEG_TEST_DATA, or ../shared/data), a lymph node by CODEX and images of the 2018 Data Science
Bowl.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from cellseg_core.cli.demo import write_demo_image
from cellseg_core.metrics import average_precision, pairwise_iou
from cellseg_core.provenance import environment

THREADS = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
VARIANTS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "again": ({}, ()),
    "workers": ({}, ("--workers", "2")),
    "one-thread": (dict.fromkeys(THREADS, "1"), ()),
    "four-threads": (dict.fromkeys(THREADS, "4"), ()),
    "avx2": (
        {
            "OPENBLAS_CORETYPE": "Haswell",
            "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX",
            "NUMBA_CPU_NAME": "haswell",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
        },
        (),
    ),
    "no-onednn": ({"TF_ENABLE_ONEDNN_OPTS": "0"}, ()),
    "float32": ({}, ("--set", "segmenter.precision=float32")),
}
BOWL = 6


def images(folder: Path, data: Path) -> dict[str, list[str]]:
    """Return the inputs, and the options of each, by name."""
    write_demo_image(folder / "tissue.ome.tif")
    found = {"demo": [str(folder / "tissue.ome.tif"), "--nuclear", "DAPI"]}
    lymph_node = data / "codex_lymph_node"
    if lymph_node.is_dir():
        names = ("--channels", str(lymph_node / "channelNames.txt"), "--nuclear", "DAPI")
        found["lymph node"] = [str(lymph_node / "image.tif"), *names]
    bowl = sorted((data / "dsb2018" / "images").glob("*.png"))[::40]
    if bowl:
        found["bowl"] = [*map(str, bowl[:BOWL]), "--brightness", "each"]
    return found


def run(
    python: str, given: list[str], out: Path, options: argparse.Namespace, variant: str = ""
) -> None:
    """Run cellseg, and stop with what it said if it fails."""
    variables, more = VARIANTS.get(variant, ({}, ()))
    for setting in options.set:
        more = ("--set", setting, *more)
    asked = (
        "--expand",
        "2",
        "--compensate",
        "--write",
        "csv,labels",
        "--set",
        "labels.format=tiff",
    )
    command = [python, "-m", "cellseg_core", "run", *given, "-o", str(out), *asked, *more]
    command += ["--segmenter", options.segmenter, "--tile", "256", "--quiet"]
    # What was compiled for one processor must not be taken for another.
    cache = {
        "NUMBA_CACHE_DIR": str(out.parent / "compiled" / (variant or python).replace("/", "_"))
    }
    done = subprocess.run(
        command,
        env={**os.environ, **cache, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{python}, {variant}: {done.stderr}")


def difference(one: Path, other: Path) -> dict[str, float | bool]:
    """Compare two folders of results, image by image."""
    nuclei = [0, 0]
    identical = same = 0
    precision, means = [], [0.0]
    bytes_alike = True
    for first in sorted(one.glob("*/nuclei.ome.tif")):
        second = other / first.relative_to(one)
        tables = [path.with_name("cells.csv") for path in (first, second)]
        bytes_alike &= tables[0].read_bytes() == tables[1].read_bytes()
        labels = [tifffile.imread(path) for path in (first, second)]
        mine, theirs, iou = pairwise_iou(*labels)
        nuclei = [total + int(found.max()) for total, found in zip(nuclei, labels, strict=True)]
        identical += int(np.count_nonzero(iou == 1))
        same += int(np.count_nonzero(iou > 0.9))
        precision.append(float(np.mean(average_precision(*labels, [0.9]))))
        frames = [pd.read_csv(path, float_precision="round_trip") for path in tables]
        record = json.loads((one / "run.json").read_text())
        channels = next(
            image["facts"]["input"]["channels"]
            for image in record["images"]
            if image["name"] == first.parent.name
        )
        pairs = iou == 1
        values = [
            frame.set_index("cell_id").loc[ids[pairs], channels].to_numpy()
            for frame, ids in zip(frames, (mine, theirs), strict=True)
        ]
        if pairs.any():
            scale = np.abs(values[0]).mean(axis=0)
            off = np.abs(values[0] - values[1]) / np.where(scale > 0, scale, 1)
            means.append(float(np.percentile(off, 99)))
    most = max(*nuclei, 1)
    return {
        "nuclei_first": nuclei[0],
        "nuclei": nuclei[1],
        "identical": round(identical / most, 5),
        "same": round(same / most, 5),
        "ap_at_0.9": round(float(np.mean(precision)), 5),
        "means_p99": float(f"{max(means):.2g}"),
        "tables_alike": bytes_alike,
    }


def versions(python: str) -> dict[str, object]:
    """Return what an interpreter has installed."""
    code = "import json, cellseg_core.provenance as p; print(json.dumps(p.environment()))"
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    told: dict[str, object] = json.loads(said)
    return told


def main() -> None:
    """Compare, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", default=[sys.executable])
    parser.add_argument("--segmenter", default="maskrcnn")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="of the first interpreter")
    parser.add_argument(
        "--set", action="append", default=[], help="as of cellseg run, for all runs"
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data = options.data or Path(os.environ.get("CELLSEG_TEST_DATA", "../shared/data"))
    first, *others = options.pythons
    wanted = [name for name in VARIANTS if name in options.variants.split(",")]
    cases = [(first, name, name) for name in wanted]
    cases += [(python, "", python) for python in others]
    table: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name, given in images(folder, data).items():
            run(first, given, folder / name / "first", options)
            for number, (python, variant, told) in enumerate(cases):
                out = folder / name / str(number)
                run(python, given, out, options, variant)
                found = difference(folder / name / "first", out)
                table.setdefault(told, {})[name] = found
                print(
                    f"{name}, {told}: {found['nuclei_first']} and {found['nuclei']} nuclei, "
                    f"identical {found['identical']:.2%}, same {found['same']:.2%}, "
                    f"AP at 0.9 {found['ap_at_0.9']:.4f}, means within {found['means_p99']:.2g}, "
                    f"tables {'alike' if found['tables_alike'] else 'differ'}",
                    flush=True,
                )
    if options.json:
        report = {
            **environment(),
            "segmenter": options.segmenter,
            "versions": {python: versions(python) for python in options.pythons},
            "compared_with_the_first": table,
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
