"""How long one tile takes: the Mask R-CNN against StarDist and the watershed, in one run.

    python benchmarks/inference.py [--size 1024] [--nuclei 1000] [--repeats 5] [--weights FOLDER]
                                   [--stardist FOLDER] [--precision auto] [--json FILE]

All see the same tile of simulated tissue, with as many nuclei as asked for at the diameter that
lets them fit (half of the tile covered; it is printed, and 24 px is the network's own). Calls take
turns, so that a busy machine slows all alike; times are medians over the repeats after two warming
calls. "network" is the neural network alone, "rest" is everything else up to the label image:
choosing boxes or polygons, masks, drawing. Both segmenters are set up once, as in a run.

StarDist is its default 2-D network (32 rays, grid 2 x 2) called by itself, with the weights that
come with cellseg and its own post-processing; --stardist FOLDER takes another model. How long it
takes depends on how many candidates a model has; the ratio to its network alone is printed too.

StarDist's suppression waits for all threads of OpenMP, ours and TensorFlow do not: on a busy
machine it becomes ten times slower and the comparison means nothing. The load is printed.

Memory is the peak of `cellseg run` on the tile in a fresh process, where the system tells it.
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

from cellseg_backends.maskrcnn.segmenter import MaskRCNNSegmenter
from cellseg_backends.stardist.model_folder import shipped
from cellseg_backends.stardist.segmenter import StarDistSegmenter
from cellseg_backends.watershed import WatershedSegmenter
from cellseg_core.protocols import Labels
from cellseg_core.synthetic import simulate_tissue

_DENSITY = 0.5
_SEED = 5
_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "stardist", "numpy", "numba")

Call = Callable[[], tuple[Labels, float]]
"""Returns the labels of the tile, and the seconds that the network took of it."""


def make_tile(size: int, nuclei: int) -> tuple[np.ndarray, Labels, float]:
    """Return a plane (size, size) in [0, 1], its true labels, and the diameter of its nuclei."""
    diameter = float(np.sqrt(_DENSITY * size**2 / (0.85 * nuclei)))
    tissue = simulate_tissue(
        (size, size),
        seed=_SEED,
        nuclear_diameter=diameter,
        density=_DENSITY,
        patchiness=0.0,
        channels=("DAPI",),
    )
    plane = np.asarray(tissue.image.pixels)[0].astype(np.float32)
    top = np.percentile(plane, 99.98)
    return np.clip(plane / top, 0, 1), tissue.nuclei, diameter


def mask_rcnn(plane: np.ndarray, diameter: float, options: argparse.Namespace) -> Call:
    """Return the call of our network; the network's time is that of its three stages."""
    from cellseg_backends.maskrcnn.detector import Detector

    segmenter = MaskRCNNSegmenter(weights=options.weights, precision=options.precision)
    adapted = segmenter.adapt(plane[np.newaxis], diameter)
    adapted.segment(plane[np.newaxis])  # loads the network
    spent = [0.0]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began = time.perf_counter()
            found = function(*arguments)
            for one in found:
                np.asarray(one)
            spent[0] += time.perf_counter() - began
            return found

        return call

    made = Detector.find

    def find(self: Detector, *arguments: Any) -> Any:
        if not hasattr(self, "_is_timed"):
            self._is_timed = True  # type: ignore[attr-defined]
            for name in ("_look", "_boxes", "_masks"):
                setattr(self, name, timed(getattr(self, name)))
        return made(self, *arguments)

    Detector.find = find  # type: ignore[method-assign]

    def call() -> tuple[Labels, float]:
        spent[0] = 0.0
        labels = adapted.segment(plane[np.newaxis]).labels
        return np.asarray(labels, np.int32), spent[0]

    return call


def star_dist(plane: np.ndarray, folder: Path) -> Call:
    """Return the call of StarDist: its network, then its suppression and drawing."""
    from stardist.models import StarDist2D

    model = StarDist2D(None, name=folder.name, basedir=str(folder.parent))
    scaled = StarDistSegmenter(weights=folder).adapt(plane[np.newaxis], 1.0)._scale.apply(plane)

    def call() -> tuple[Labels, float]:
        began = time.perf_counter()
        prob, dist = model.predict(scaled)[:2]
        network = time.perf_counter() - began
        labels, _ = model._instances_from_prediction(scaled.shape, prob, dist)
        return np.asarray(labels, np.int32), network

    return call


def watershed(plane: np.ndarray, diameter: float) -> Call:
    """Return the call of the watershed, which has no network."""
    adapted = WatershedSegmenter().adapt(plane[np.newaxis], diameter)
    return lambda: (np.asarray(adapted.segment(plane[np.newaxis]).labels, np.int32), 0.0)


def compare(calls: dict[str, Call], repeats: int) -> dict[str, dict[str, Any]]:
    """Return for each call medians in seconds, and the number of objects found."""
    for call in calls.values():
        call()
        call()
    whole: dict[str, list[float]] = {name: [] for name in calls}
    network: dict[str, list[float]] = {name: [] for name in calls}
    found: dict[str, int] = {}
    for _ in range(repeats):
        for name, call in calls.items():
            began = time.perf_counter()
            labels, spent = call()
            whole[name].append(time.perf_counter() - began)
            network[name].append(spent)
            found[name] = int(np.unique(labels[labels > 0]).size)
    return {
        name: {
            "seconds": statistics.median(whole[name]),
            "least": min(whole[name]),
            "most": max(whole[name]),
            "network": statistics.median(network[name]),
            "rest": statistics.median(
                [all_ - net for all_, net in zip(whole[name], network[name], strict=True)]
            ),
            "found": found[name],
        }
        for name in calls
    }


def peak_of_run(plane: np.ndarray, diameter: float, options: argparse.Namespace) -> dict[str, Any]:
    """Return the peak memory in bytes and the seconds of `cellseg run` in a fresh process."""
    import tifffile

    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "tile.tif"
        tifffile.imwrite(image, (plane * 60_000).astype(np.uint16))
        command = [
            *(sys.executable, "-m", "cellseg_core", "run", str(image), "-o", f"{folder}/out"),
            *("--segmenter", "maskrcnn", "--nuclear-diameter", f"{diameter:.2f}", "--quiet"),
            *("--set", f"maskrcnn.precision={options.precision}"),
            *(("--set", f"maskrcnn.weights={options.weights}") if options.weights else ()),
        ]
        began = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        if not hasattr(os, "wait4"):
            _, said = process.communicate()
            status, peak = process.returncode, None
        else:
            assert process.stderr is not None
            said = process.stderr.read()
            _, ended, usage = os.wait4(process.pid, 0)
            status = os.waitstatus_to_exitcode(ended)
            peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        if status != 0:
            return {"failed": said.strip()[-300:]}
        return {"bytes": peak, "seconds": time.perf_counter() - began}


def versions() -> dict[str, str]:
    """Return the versions of what is at work."""
    found = {"python": platform.python_version(), "cellseg": version("cellseg-core")}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Compare, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--nuclei", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--weights")
    parser.add_argument("--stardist", type=Path, default=shipped())
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    plane, truth, diameter = make_tile(options.size, options.nuclei)
    calls = {"maskrcnn": mask_rcnn(plane, diameter, options)}
    missing = ""
    try:
        calls["stardist"] = star_dist(plane, options.stardist)
    except ImportError as error:
        missing = f"not installed ({error}): pip install stardist"
    calls["watershed"] = watershed(plane, diameter)
    results = compare(calls, options.repeats)
    memory = peak_of_run(plane, diameter, options)
    report = {
        "machine": f"{platform.platform()}, {platform.processor() or platform.machine()}, "
        f"{os.cpu_count()} cores",
        "versions": versions(),
        "seed": _SEED,
        "tile": {
            "size": options.size,
            "nuclei": int(truth.max()),
            "diameter": round(diameter, 2),
        },
        "stardist": missing or options.stardist.name,
        "repeats": options.repeats,
        "results": results,
        "memory_of_run": memory,
        "load_before": load,
    }
    print(f"{report['machine']}; {', '.join(f'{k} {v}' for k, v in versions().items())}")
    print(
        f"one tile of {options.size} x {options.size} px with {int(truth.max())} nuclei of about "
        f"{diameter:.1f} px; medians of {options.repeats}\n"
    )
    print(f"{'segmenter':<11}{'seconds':>9}{'network':>9}{'rest':>7}{'spread':>8}{'found':>7}")
    for name, one in results.items():
        print(
            f"{name:<11}{one['seconds']:>9.3f}{one['network']:>9.3f}{one['rest']:>7.3f}"
            f"{one['most'] - one['least']:>8.3f}{one['found']:>7}"
        )
    if missing:
        print(f"stardist    {missing}")
    else:
        ours, theirs = results["maskrcnn"]["seconds"], results["stardist"]
        report["ratio_to_stardist"] = ours / theirs["seconds"]
        report["ratio_to_its_network"] = ours / theirs["network"]
        print(
            f"\nmaskrcnn / stardist: {ours / theirs['seconds']:.2f} (target: at most 1); "
            f"maskrcnn / network of stardist alone: {ours / theirs['network']:.2f}"
        )
    if load > 0.5:
        print(f"The machine was busy (load {load:.1f}): do not trust these times.")
    if "failed" in memory:
        print(f"cellseg run --segmenter maskrcnn failed: {memory['failed']}")
    elif memory["bytes"] is not None:
        print(
            f"cellseg run: peak of {memory['bytes'] / 1e9:.2f} GB (target: under 3), "
            f"{memory['seconds']:.1f} s from start to end"
        )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
