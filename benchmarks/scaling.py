"""How time and memory grow with the image, and with the number of workers.

Writes simulated slides (ten channels of 16 bits, nuclei 24 px wide), once, which takes about a
second for each megapixel; runs `cellseg run` over each, with nuclei grown by 2 px, compensated,
and written as CSV and FCS; and prints, for each megapixel, seconds in the segmenter and for all,
the peak memory of all processes together, and how many of the true cells were found once, and
twice, near the seams of tiles and elsewhere.

    python benchmarks/scaling.py [--segmenters watershed] [--megapixels 25,100,400] [--workers 1,2]
                                 [--memory 3GB] [--diameter 24] [--channels 10] [--cold]
                                 [--out FOLDER]

400 megapixels with ten channels take 8 GB of disk. Each file is read once before, so that it is in
the memory of the system where it fits; with `--cold` it is not, which `posix_fadvise` sees to: the
time then has the speed of the disk in it.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
import tifffile

from cellseg_core.comparing.method import Method
from cellseg_core.memory import MemoryWatch
from cellseg_core.synthetic import Tissue
from cellseg_core.synthetic.panel import CHANNELS
from cellseg_core.tiling import tile_image

TILE = 1024  # px
BAND = 512  # px: rows that are rendered at a time
AFTER = ("stitch", "expand", "measure", "compensate")


def tissue_of(megapixels: float, diameter: float, channels: int) -> Tissue:
    """Return a simulated slide."""
    edge = round((megapixels * 1e6) ** 0.5)
    names = CHANNELS[:channels]
    return Tissue(shape=(edge, edge), seed=1, nuclear_diameter=diameter, channels=names)


def slide(folder: Path, tissue: Tissue) -> Path:
    """Return the file of a simulated slide, which is made unless it is there."""
    (edge, _), channels = tissue.shape, len(tissue.channels)
    path = folder / f"slide-{edge}-{tissue.nuclear_diameter:g}-{channels}.tif"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    pixels = tifffile.memmap(
        partial,
        shape=(channels, edge, edge),
        dtype=np.uint16,
        photometric="minisblack",
        metadata={"axes": "CYX"},
        bigtiff=True,
    )
    for top in range(0, edge, BAND):
        rows = slice(top, min(edge, top + BAND))
        pixels[:, rows] = tissue.render(rows)
        print(f"\rsimulating {path.name}: {rows.stop / edge:.0%}", end="", flush=True)
    print()
    pixels.flush()
    del pixels
    return partial.rename(path)


def read(path: Path, *, forget: bool) -> None:
    """Read a file, so that it is in the memory of the system, or is not any more."""
    with path.open("rb", buffering=0) as file:
        if forget:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return
        part = bytearray(2**24)
        while file.readinto(part):
            pass


def run(
    method: Method, path: Path, tissue: Tissue, workers: int, memory: str | None, out: Path
) -> dict[str, Any]:
    """Run the pipeline in a process of its own, and return what it took and what it found."""
    shutil.rmtree(out, ignore_errors=True)
    names = path.with_suffix(".txt")
    names.write_text("\n".join(tissue.channels) + "\n")
    command = [
        *(sys.executable, "-m", "cellseg_core", "run", path, "-o", out),
        *("--nuclear", tissue.channels[0], "--channels", names, "--tile", TILE),
        *("--nuclear-diameter", tissue.nuclear_diameter, "--expand", 2, "--compensate"),
        *("--write", "csv,fcs", "--segmenter", method.segmenter, "--workers", workers),
        *(() if memory is None else ("--memory", memory)),
    ]
    for name, value in method.options.items():
        command += ["--set", f"{method.owner}.{name}={json.dumps(value)}"]
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with MemoryWatch(process.pid) as watch:
        said = process.communicate()[1].decode(errors="replace")
    if process.returncode != 0:
        return {"failed": said[-1000:]}
    record = json.loads((out / "run.json").read_text())
    (image,) = record["images"]
    steps = image["facts"]["decided"]["seconds"]
    return {
        "failed": None,
        "cells": record["cells"],
        "seconds": record["seconds"],
        "steps": steps,
        "after_segmentation": round(sum(steps[name] for name in AFTER), 3),
        "peak": watch.peak,
        "said": said,
        "found": found(out / "cells.csv", tissue),
    }


def found(table: Path, tissue: Tissue) -> dict[str, dict[str, float]]:
    """Return the shares of true cells found once and twice, near seams and elsewhere.

    A cell is found by each nucleus whose centre lies less than a quarter of a diameter from the
    true one; it is near a seam where that is less than a diameter away.
    """
    from scipy.spatial import KDTree

    with table.open(encoding="utf-8", newline="") as file:
        centres = [(float(row["y"]), float(row["x"])) for row in csv.DictReader(file)]
    true = np.stack([tissue.cells.y, tissue.cells.x], axis=1)
    near = tissue.nuclear_diameter / 4
    counts = KDTree(np.array(centres)).query_ball_point(true, near, return_length=True)
    seam = np.zeros(len(true), bool)
    cores = [tile.core for tile in tile_image(tissue.shape, TILE, 0)]
    for axis, starts in enumerate(({core.y0 for core in cores}, {core.x0 for core in cores})):
        for edge in starts - {0}:
            seam |= np.abs(true[:, axis] - edge) < tissue.nuclear_diameter
    return {
        place: {
            "cells": int(there.sum()),
            "once": round(float(np.mean(counts[there] == 1)), 5) if there.any() else 0.0,
            "twice": round(float(np.mean(counts[there] > 1)), 5) if there.any() else 0.0,
        }
        for place, there in (("seams", seam), ("elsewhere", ~seam))
    }


def line(name: str, megapixels: float, workers: int, done: dict[str, Any]) -> str:
    """Return the line of the table for one run."""
    start = f"{name:<12}{megapixels:>6g}{workers:>8}"
    if done["failed"]:
        return f"{start}  FAILED: {done['failed']}"
    segment, seams, others = done["steps"]["segment"], *done["found"].values()
    return (
        f"{start}{done['cells']:>10,}{segment / megapixels:>9.3f}"
        f"{done['seconds'] / megapixels:>8.3f}{done['seconds'] / segment:>7.2f}"
        f"{done['after_segmentation']:>9.1f}{done['peak'] / 1e9:>8.2f}"
        f"{seams['once']:>9.2%} {seams['twice']:.2%}{others['once']:>9.2%} {others['twice']:.2%}"
    )


def numbers(text: str) -> Sequence[float]:
    """Return the numbers in a text with commas."""
    return [float(part) for part in text.split(",")]


def main() -> None:
    """Run the methods over the slides, print the table, and write JSON."""
    parser = common.parser(__doc__)
    parser.set_defaults(segmenters="watershed")
    parser.add_argument("--megapixels", default="25,100,400")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--memory", default="3GB", help="as for `cellseg run`")
    parser.add_argument("--diameter", type=float, default=24.0, help="of nuclei, in px")
    parser.add_argument("--channels", type=int, default=10)
    parser.add_argument("--cold", action="store_true", help="files are read from the disk")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    # Compiled loops are made when they are first used, and kept.
    small = tissue_of(1, options.diameter, options.channels)
    for method in common.methods(options):
        run(method, slide(options.out, small), small, 1, options.memory, options.out / "scaling")
    header = (
        f"{'':<12}{'MP':>6}{'workers':>8}{'cells':>10}{'s/MP':>9}{'all':>8}{'ratio':>7}"
        f"{'after':>9}{'GB':>8}{'seams: once, twice':>19}{'elsewhere':>10}"
    )
    print(header)
    for megapixels in numbers(options.megapixels):
        tissue = tissue_of(megapixels, options.diameter, options.channels)
        path = slide(options.out, tissue)
        for method in common.methods(options):
            for workers in map(int, numbers(options.workers)):
                out = options.out / "scaling"
                read(path, forget=options.cold)
                done = run(method, path, tissue, workers, options.memory, out)
                results.setdefault(method.name, {}).setdefault(f"{megapixels:g}", {})[
                    f"{workers}"
                ] = done
                print(line(method.name, megapixels, workers, done), flush=True)
                shutil.rmtree(out, ignore_errors=True)
    common.write(options, "scaling", results, None)


if __name__ == "__main__":
    main()
