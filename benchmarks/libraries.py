"""StarDist and Cellpose on the path of cellseg against the same libraries called by themselves.

    python benchmarks/libraries.py [--segmenters stardist,cellpose] [--edge 3000] [--size 2048]
                                   [--repeats 3] [--weights FOLDER] [--data FOLDER] [--json FILE]

Three questions, each with the weights that come with cellseg and the same scaled pixels for both:

- one image in one tile: are the labels the same, pixel by pixel?
- a mosaic (see seams.py) in tiles of cellseg: which share of the nuclei has an IoU over 0.9 with
  what the library's own way for large images finds? StarDist: predict_instances_big in blocks of
  1024 px; Cellpose: the whole mosaic, which it cuts into patches itself;
- the time of `Pipeline.run` against the bare call on an image of 2048 x 2048 px. Calls take turns,
  and the ratio is that of the medians. The run reads, scales, stitches and measures one channel,
  which the bare call does not.

On a busy machine both are slow; the load is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from seams import mosaic

from cellseg_core import Image, Pipeline
from cellseg_core.errors import CellsegError
from cellseg_core.metrics import pairwise_iou
from cellseg_core.plugins import load_plugins
from cellseg_core.scaled import view
from cellseg_core.synthetic import simulate_tissue

_DIAMETER = {"stardist": 24.0, "cellpose": 17.0}  # px, at which neither enlarges the image
_BLOCK, _OVERLAP = 1024, 128

Bare = Callable[[np.ndarray, float], np.ndarray]
"""Returns the labels of a scaled plane; the number is the nuclear diameter in px."""


def bare_stardist(segmenter: Any, *, big: bool) -> Bare:
    """Return the call of StarDist itself, whole or in its own blocks."""
    from cellseg_backends.stardist.model_folder import load

    network = load(segmenter._model())

    def call(plane: np.ndarray, _: float) -> np.ndarray:
        if not big:
            return network.predict_instances(plane, show_tile_progress=False)[0]
        with contextlib.redirect_stdout(io.StringIO()):
            return network.predict_instances_big(
                plane,
                "YX",
                block_size=min(_BLOCK, *plane.shape),
                min_overlap=_OVERLAP,
                show_progress=False,
            )[0]

    return call


def bare_cellpose(segmenter: Any) -> Bare:
    """Return the call of Cellpose itself."""
    from cellseg_backends.cellpose.model_file import load

    loaded = load(segmenter._model(), "auto")
    facts = segmenter.facts()

    def call(plane: np.ndarray, diameter: float) -> np.ndarray:
        pixels = np.zeros((*plane.shape, loaded.channels), np.float32)
        pixels[..., 0] = plane
        return loaded.network.eval(
            pixels,
            channel_axis=-1,
            normalize={"normalize": False},
            diameter=diameter,
            flow_threshold=facts["flow_threshold"],
            cellprob_threshold=facts["cellprob_threshold"],
            batch_size=1 if loaded.on_cpu else 8,
        )[0]

    return call


def compare(name: str, options: argparse.Namespace, pixels: np.ndarray) -> dict[str, Any]:
    """Return the answers for one segmenter, and print them."""
    settings = {"weights": str(options.weights)} if options.weights else {}
    segmenter = load_plugins().build("segmenter", name, settings)
    bare = bare_stardist(segmenter, big=False) if name == "stardist" else bare_cellpose(segmenter)
    large = bare_stardist(segmenter, big=True) if name == "stardist" else bare
    diameter = _DIAMETER[name]

    def ours(image: Image, **more: Any) -> np.ndarray:
        pipeline = Pipeline(segmenter=segmenter, nuclear_diameter=diameter, min_size=0, **more)
        return pipeline.run(image).nuclei

    def scaled(image: Image) -> np.ndarray:
        """Return the plane as the segmenter scales it for the library."""
        shown, _ = view(image)
        adapted = segmenter.adapt(shown.sample(), diameter)
        scale = adapted._scale if name == "stardist" else adapted._scales[0]
        return scale.apply(shown.read()[0])

    tissue = simulate_tissue(
        (options.size, options.size), seed=6, nuclear_diameter=diameter, channels=["DAPI"]
    )
    plane = scaled(tissue.image)
    theirs, mine = bare(plane, diameter), ours(tissue.image, tile=2 * options.size)
    same = same_labels(theirs, mine)
    print(f"{name}: one image, {theirs.max()} nuclei: {'identical' if same else 'NOT identical'}")

    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(options.repeats):
        for kind, call in (
            ("bare", lambda: bare(plane, diameter)),
            ("ours", lambda: ours(tissue.image)),
        ):
            began = time.perf_counter()
            call()
            seconds[kind].append(time.perf_counter() - began)
    medians = {kind: statistics.median(each) for kind, each in seconds.items()}
    ratio = medians["ours"] / medians["bare"]
    print(
        f"{name}: {options.size} x {options.size}: bare {medians['bare']:.2f} s, on our path "
        f"{medians['ours']:.2f} s, ratio {ratio:.3f}; load {os.getloadavg()[0]:.1f}"
    )

    image = Image(pixels, channels=["DAPI"], name="mosaic")
    whole, tiled = large(scaled(image), diameter), ours(image)
    _, _, iou = pairwise_iou(whole.astype(np.int32), tiled)
    share = np.count_nonzero(iou > 0.9) / max(whole.max(), tiled.max())
    print(
        f"{name}: mosaic: {np.unique(whole).size - 1} nuclei by the library, {tiled.max()} in our "
        f"tiles; the same (IoU over 0.9): {share:.3%}"
    )
    return {
        "identical": same,
        "seconds": medians,
        "ratio": round(ratio, 4),
        "mosaic": {"library": int(np.unique(whole).size - 1), "ours": int(tiled.max())},
        "mosaic_the_same": round(float(share), 5),
    }


def same_labels(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two label images show the same objects, whatever their numbers."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return pairs.shape[1] == np.unique(one).size == np.unique(other).size


def main() -> None:
    """Compare, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--segmenters", default="stardist,cellpose")
    parser.add_argument("--edge", type=int, default=3000)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data = options.data or Path(os.environ.get("CELLSEG_TEST_DATA", "../shared/data"))
    pixels, origin = mosaic(data, options.edge)
    report: dict[str, Any] = {
        "machine": platform.platform(),
        "mosaic": f"{options.edge} x {options.edge} px of {origin}",
        "packages": {},
    }
    for name in ("cellseg-core", "stardist", "cellpose", "tensorflow", "torch", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            report["packages"][name] = version(name)
    for name in options.segmenters.split(","):
        try:
            report[name] = compare(name, options, pixels)
        except CellsegError as error:
            print(f"{name}: {error}")
            report[name] = str(error)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
