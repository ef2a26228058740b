"""How long ``cellseg evaluate`` takes on very large label images, and how much memory.

Draws two label images of discs, one shifted against the other and with objects split, merged, left
out and added; writes them as ``cellseg run`` does (tiled TIFF, deflate); times the command in a
process of its own; and, where StarDist is installed, times ``stardist.matching`` against the same
figures on a corner of the images. All of the images are too much for it: it makes a matrix with a
number for each pair of a true and a predicted object.

    python benchmarks/evaluate.py [--size 8192] [--corner 1024] [--repeats 3] [--json FILE]

Needs Linux or macOS, for the memory of a process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from cellseg_core.metrics import THRESHOLDS, Evaluation, summary

PITCH = 20  # px between discs: 167,281 places in 8192 x 8192 px
RADIUS = 9
SHIFT = (2, 1)
TARGET_SECONDS, TARGET_BYTES = 10.0, 3 * 10**9


def draw(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a true and a predicted label image (size, size) int32."""
    count = size // PITCH
    y, x = np.mgrid[:PITCH, :PITCH] - PITCH // 2
    disc = y**2 + x**2 <= RADIUS**2
    ids = np.arange(1, count * count + 1, dtype=np.int32).reshape(count, count)

    def image(numbers: np.ndarray, stencil: np.ndarray) -> np.ndarray:
        labels = np.zeros((size, size), np.int32)
        labels[: count * PITCH, : count * PITCH] = np.kron(numbers, stencil.astype(np.int32))
        return labels

    rng = np.random.default_rng(seed)
    chance = rng.random(ids.shape)
    truth = image(np.where(chance < 0.95, ids, 0), disc)
    # Of the predicted discs 5 % are missing, 3 % are joined to a neighbour and 3 % halved.
    numbers = np.where((chance < 0.9) | (chance >= 0.95), ids, 0)
    joined = rng.random(ids.shape) < 0.03
    numbers[:, 1:][joined[:, 1:]] = numbers[:, :-1][joined[:, 1:]]
    halved = np.where((rng.random(ids.shape) < 0.03) & (numbers > 0), ids.size, 0)
    pred = image(numbers, disc) + image(halved, disc & (x > 0))
    return truth, np.roll(pred, SHIFT, axis=(0, 1))


def measure_command(arguments: list[str]) -> tuple[float, int]:
    """Return seconds and peak memory in bytes of ``cellseg`` with some arguments."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "cellseg_core", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"cellseg {' '.join(arguments)} ended with {process.returncode}")
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def timed(work: Callable[[], Any], repeats: int) -> tuple[list[float], Any]:
    """Return the seconds of each repeat after a first one, which compiles, and the result."""
    result = work()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begin)
    return seconds, result


def against_stardist(truth: np.ndarray, pred: np.ndarray, repeats: int) -> dict[str, Any] | None:
    """Return the times of StarDist and of ours for the same images, or None without StarDist."""
    try:
        from stardist.matching import matching
    except ImportError:
        return None
    theirs, found = timed(lambda: matching(truth, pred, thresh=THRESHOLDS), repeats)
    ours, result = timed(lambda: summary([Evaluation.of(truth, pred)]), repeats)
    pooled = result.figures["ap_50"].pooled.value
    return {
        "objects": result.true_objects,
        "pixels": truth.size,
        "stardist_seconds": theirs,
        "cellseg_seconds": ours,
        "ratio": statistics.median(theirs) / statistics.median(ours),
        "ap_50": {"stardist": float(found[0].accuracy), "cellseg": pooled},
    }


def main() -> None:
    """Draw, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=8192, help="edge of the images in px")
    parser.add_argument("--corner", type=int, default=1024, help="edge of the part for StarDist")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the results")
    given = parser.parse_args()

    truth, pred = draw(given.size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, labels in (("truth", truth), ("pred", pred)):
            tifffile.imwrite(folder / f"{file}.tif", labels, tile=(512, 512), compression="zlib",
                             predictor=True, photometric="minisblack")  # fmt: skip
        arguments = ["evaluate", str(folder / "truth.tif"), str(folder / "pred.tif"), "--quiet"]
        arguments += ["--json", str(folder / "all.json"), "--errors", str(folder / "errors.csv")]
        first = measure_command(arguments)
        runs = [measure_command(arguments) for _ in range(given.repeats)]
        found = json.loads((folder / "all.json").read_text(encoding="utf-8"))["summary"]
    seconds = [one for one, _ in runs]
    peak = max(memory for _, memory in (first, *runs))
    totals = ("true_objects", "predicted_objects", "splits", "merges", "missed", "invented")
    result: dict[str, Any] = {
        "size": given.size,
        **{what: found[what] for what in totals},
        "command_seconds": seconds,
        "command_seconds_first": first[0],
        "command_peak_bytes": peak,
        "target": {"seconds": TARGET_SECONDS, "bytes": TARGET_BYTES},
        "matrix_of_all_pairs_bytes": 8 * found["true_objects"] * found["predicted_objects"],
        "against_stardist": against_stardist(
            truth[: given.corner, : given.corner], pred[: given.corner, : given.corner],
            given.repeats,
        ),
        "machine": platform.platform(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {},
    }  # fmt: skip
    for package in ("cellseg-core", "numpy", "numba", "stardist"):
        try:
            result["versions"][package] = version(package)
        except PackageNotFoundError:
            result["versions"][package] = None
    print(f"{given.size} x {given.size} px: " + ", ".join(f"{found[w]:,} {w}" for w in totals))
    print(
        f"cellseg evaluate: {statistics.median(seconds):.1f} s (from {min(seconds):.1f} to "
        f"{max(seconds):.1f}; the first run, which may compile, {first[0]:.1f}), "
        f"peak {peak / 1e9:.2f} GB; the target is {TARGET_SECONDS:.0f} s and "
        f"{TARGET_BYTES / 1e9:.0f} GB"
    )
    peer = result["against_stardist"]
    if peer is None:
        print("StarDist is not installed, so there is nothing to compare with.")
    else:
        print(
            f"corner with {peer['objects']:,} objects: stardist.matching "
            f"{statistics.median(peer['stardist_seconds']):.2f} s, cellseg "
            f"{statistics.median(peer['cellseg_seconds']):.3f} s, {peer['ratio']:.0f} times "
            "as fast; for the whole images, its matrix of all pairs has "
            f"{result['matrix_of_all_pairs_bytes'] / 1e9:.0f} GB"
        )
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
