"""Expansion, measurement and compensation against their peers, in one run: time and memory.

Each task runs in a process of its own on the same data; times are medians over repeats after one
warming call, memory is what the process grew by at its peak, over the inputs and the interpreter.
The label image is a grid of 21 px of jittered ellipses: 152,100 cells on 8192 x 8192 px.

    python benchmarks/postprocess.py [--size 8192] [--channels 20] [--repeats 5] [--million]
                                     [--only expand,measure,contact] [--json FILE]

--million adds the solve for a million cells in 40 channels (21,147 x 21,147 px, up to 4 GB).
Memory is read from /proc, so this needs Linux; regionprops_table needs 7 GB at the default size. It
is asked for what measure always gives: label, area, centroid, bounding box and means. np.sum works
on one core; measure has as many threads as NUMBA_NUM_THREADS says, by default as there are cores.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numba
import numpy as np

STEP = 21
MILLION = 1007 * STEP
DISTANCE = 2
PROPERTIES = ("label", "area", "centroid", "bbox", "intensity_mean")


def draw_labels(size: int, seed: int = 0) -> np.ndarray:
    """Return ellipses of about 13 px on a jittered grid, numbered 1..N, (size, size) int32."""
    rng = np.random.default_rng(seed)
    cells = size // STEP
    jitter = rng.uniform(-3, 3, (2, cells, cells)) + STEP / 2
    axes = rng.uniform(5.5, 7.5, (2, cells, cells))
    labels = np.zeros((size, size), np.int32)
    within = np.arange(cells * STEP) % STEP
    for row in range(cells):
        y = np.arange(STEP)[:, np.newaxis]
        column = np.arange(cells).repeat(STEP)
        far = ((y - jitter[0, row, column]) / axes[0, row, column]) ** 2 + (
            (within - jitter[1, row, column]) / axes[1, row, column]
        ) ** 2
        labels[row * STEP : (row + 1) * STEP, : cells * STEP] = np.where(
            far <= 1, row * cells + column + 1, 0
        )
    return labels


def draw_pixels(folder: Path, size: int, channels: int) -> None:
    """Write random uint16 pixels (C, Y, X)."""
    pixels = np.lib.format.open_memmap(
        folder / "pixels.npy", "w+", np.uint16, (channels, size, size)
    )
    rng = np.random.default_rng(1)
    for channel in range(channels):
        pixels[channel] = rng.gamma(2, 500, (size, size)).clip(0, 65_535)


def prepare(folder: Path, size: int, channels: int, groups: list[str], *, million: bool) -> None:
    """Write the inputs of the tasks."""
    from cellseg_postprocess.expansion import expand_voronoi

    labels = draw_labels(size)
    np.save(folder / "nuclei.npy", labels)
    if "contact" in groups:
        np.save(folder / "cells.npy", expand_voronoi(labels, 6))
    if "measure" in groups:
        draw_pixels(folder, size, channels)
    if million:
        np.save(folder / "million.npy", expand_voronoi(draw_labels(MILLION), 6))


def expander(name: str) -> Callable[[Path], Callable[[], Any]]:
    """Return the task that grows all masks by a rule."""

    def load(folder: Path) -> Callable[[], Any]:
        labels = np.load(folder / "nuclei.npy")
        if name == "skimage":
            from skimage.segmentation import expand_labels

            return lambda: expand_labels(labels, DISTANCE)
        from cellseg_postprocess import expansion

        grow = getattr(expansion, f"expand_{name}")
        grow(labels[:100, :100], DISTANCE)
        return lambda: grow(labels, DISTANCE)

    return load


def measurement(features: tuple[str, ...]) -> Callable[[Path], Callable[[], Any]]:
    """Return the task that measures all cells."""

    def load(folder: Path) -> Callable[[], Any]:
        from cellseg_core.measure import measure

        labels, pixels = np.load(folder / "nuclei.npy"), np.load(folder / "pixels.npy")
        measure(pixels[:, :100, :100], labels[:100, :100], features=features)
        return lambda: measure(pixels, labels, features=features)

    return load


def numpy_sum(folder: Path) -> Callable[[], Any]:
    """Return the task that adds up all pixels."""
    pixels = np.load(folder / "pixels.npy")
    return lambda: np.sum(pixels)


def regionprops(folder: Path) -> Callable[[], Any]:
    """Return the task that measures means by scikit-image."""
    from skimage.measure import regionprops_table

    labels, pixels = np.load(folder / "nuclei.npy"), np.load(folder / "pixels.npy")
    image = np.moveaxis(pixels, 0, -1)
    return lambda: regionprops_table(labels, image, PROPERTIES)


def contact(name: str, channels: int) -> Callable[[Path], Callable[[], Any]]:
    """Return the task that makes the contact matrix and solves for all channels."""

    def load(folder: Path) -> Callable[[], Any]:
        from cellseg_postprocess.compensation import ContactCompensator

        labels = np.load(folder / f"{name}.npy")
        means = np.random.default_rng(2).gamma(2, 500, (int(labels.max()), channels))
        small = np.array([[1, 2, 2], [1, 1, 2]], np.int32)
        compensator = ContactCompensator()
        compensator.compensate(small, means[:2])
        return lambda: compensator.compensate(labels, means)

    return load


TASKS: dict[str, dict[str, Callable[[Path], Callable[[], Any]]]] = {
    "expand": {name: expander(name) for name in ("skimage", "sequential", "standard", "voronoi")},
    "measure": {
        "numpy.sum": numpy_sum,
        "mean": measurement(()),
        "mean, std, min, max, sum": measurement(("std", "min", "max", "sum")),
        "median, p10, p90": measurement(("median", "p10", "p90")),
        "shape": measurement(("shape",)),
        "regionprops_table": regionprops,
    },
    "contact": {"contact": contact("cells", 20), "contact, million": contact("million", 40)},
}


def run_task(group: str, task: str, folder: Path, repeats: int) -> dict[str, Any]:
    """Time one task in this process."""
    call = TASKS[group][task](folder)
    before = _reset_peak()
    began = time.perf_counter()
    result = call()
    seconds = [time.perf_counter() - began]
    grew = _memory("VmHWM") - before
    facts = dict(getattr(result, "facts", {}))
    held = [cell.cell_contents for cell in call.__closure__ or ()]
    arrays = sum(value.nbytes for value in held if isinstance(value, np.ndarray))
    del result
    for _ in range(repeats if seconds[0] < 60 else 0):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    timed = seconds[1:] or seconds
    return {
        "seconds": statistics.median(timed),
        "spread": max(timed) - min(timed),
        "arrays_gb": arrays / 1e9,
        "process_gb": before / 1e9,
        "grew_gb": max(0, grew) / 1e9,
        "facts": facts,
    }


def _reset_peak() -> int:
    """Forget the peak of this process's memory so far; return what it holds, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory("VmRSS")


def _memory(what: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{what}:")[1].split()[0]) * 1024


def check(results: dict[str, dict[str, Any]]) -> list[tuple[str, float, float]]:
    """Return (target, measured, limit) for every target that was measured."""

    def ratio(group: str, task: str, peer: str, what: str = "seconds") -> float:
        return float(results[group][task][what] / results[group][peer][what])

    found = []
    for rule in ("sequential", "standard", "voronoi") if "expand" in results else ():
        found += [
            (f"{rule}: time / expand_labels", ratio("expand", rule, "skimage"), 0.3),
            (f"{rule}: memory / expand_labels", ratio("expand", rule, "skimage", "grew_gb"), 0.25),
        ]
    if "measure" in results:
        five, several = "mean, std, min, max, sum", "median, p10, p90"
        found += [
            ("means: time / numpy.sum", ratio("measure", "mean", "numpy.sum"), 1.0),
            (
                "means: time / regionprops_table",
                ratio("measure", "mean", "regionprops_table"),
                1 / 20,
            ),
            (f"{five}: time / mean", ratio("measure", five, "mean"), 2.0),
            (f"{several}: time / mean", ratio("measure", several, "mean"), 10.0),
        ]
    limits = {"contact": (1.0, 0.5), "contact, million": (10.0, 3.0)}
    for task, result in results.get("contact", {}).items():
        seconds, memory = limits[task]
        found += [
            (f"{task}: seconds", result["seconds"], seconds),
            (f"{task}: GB, inputs and growth", result["arrays_gb"] + result["grew_gb"], memory),
            (f"{task}: residual", result["facts"]["residual"], 1e-10),
        ]
    return found


def main() -> None:
    """Run every task, print times, ratios and targets, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--channels", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--only", default=",".join(TASKS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--task", nargs=3, metavar=("GROUP", "TASK", "FOLDER"))
    options = parser.parse_args()
    if options.task:
        group, task, folder = options.task
        print(json.dumps(run_task(group, task, Path(folder), options.repeats)))
        return
    groups = options.only.split(",")
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        print("preparing", file=sys.stderr)
        prepare(Path(name), options.size, options.channels, groups, million=options.million)
        for group in groups:
            results[group] = {}
            for task in TASKS[group]:
                if "million" in task and not options.million:
                    continue
                command = [sys.executable, __file__, "--repeats", str(options.repeats)]
                done = subprocess.run(
                    [*command, "--task", group, task, name],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                result = results[group][task] = json.loads(done.stdout.splitlines()[-1])
                print(
                    f"{group:<8} {task:<26} {result['seconds']:8.3f} s ±{result['spread']:6.3f}  "
                    f"grew by {result['grew_gb']:5.2f} GB over {result['process_gb']:5.2f} GB"
                )
    print()
    targets = check(results)
    for target, measured, limit in targets:
        verdict = "reached" if measured <= limit else "MISSED"
        print(f"{target:<48} {measured:10.3g}  at most {limit:<7.3g} {verdict}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        packages = ("cellseg-core", "numpy", "numba", "scipy", "scikit-image")
        record = {
            "machine": platform.platform(),
            "processor": platform.processor(),
            "python": platform.python_version(),
            "packages": {name: version(name) for name in packages},
            "size": options.size,
            "channels": options.channels,
            "repeats": options.repeats,
            "threads": numba.get_num_threads(),
            "results": results,
            "targets": [
                {"target": target, "measured": measured, "limit": limit}
                for target, measured, limit in targets
            ],
        }
        options.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
