"""Draws the figures of docs/parameters.md: what too little and too much looks like.

    python docs/make_parameters.py [--data FOLDER]      # writes docs/images/parameter-*.jpg

The data folder (default: CELLSEG_TEST_DATA, or ../shared/data) holds codex_lymph_node/.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from skimage.segmentation import find_boundaries

from cellseg_core import Image, Pipeline, Result, read_image
from cellseg_core.normalize import Brightness

FOLDER = Path(__file__).parent / "images"
SHOWN = (slice(180, 290), slice(150, 260))
FINE = 5
ORANGE, BLUE, RED = (1.0, 0.5, 0.0), (0.3, 0.7, 1.0), (1.0, 0.15, 0.15)


def gray(plane: np.ndarray) -> np.ndarray:
    """Return a picture (Y, X, 3) of a plane, brightened for the eye."""
    low, high = np.percentile(plane, (0.5, 99.8))
    shown = np.clip((plane - low) / max(high - low, 1e-6), 0, 1) ** 0.7
    return np.repeat(shown[..., np.newaxis], 3, axis=2)


def outlined(picture: np.ndarray, *drawn: tuple[np.ndarray, tuple[float, ...]]) -> np.ndarray:
    """Return the picture, magnified, with the outlines of label images in their colours."""
    fine = np.kron(picture, np.ones((FINE, FINE, 1)))
    for labels, colour in drawn:
        large = np.kron(labels, np.ones((FINE, FINE), labels.dtype))
        fine[find_boundaries(large, mode="inner")] = colour
    return fine


def save(name: str, panels: Sequence[tuple[str, np.ndarray]]) -> None:
    """Write pictures side by side under their titles."""
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4 * len(panels), 4.3), layout="constrained"
    )
    for axis, (title, picture) in zip(axes, panels, strict=True):
        axis.imshow(picture)
        axis.set_title(title, fontsize=13)
        axis.axis("off")
    figure.savefig(FOLDER / f"parameter-{name}.jpg", dpi=85, pil_kwargs={"quality": 82})
    plt.close(figure)


def run(image: Image, brightness: float = 1.0, **settings: object) -> Result:
    """Segment the image with one setting changed."""
    nuclear = image.channels[0]
    scale = Brightness.of(image, [0], brightness)
    result = Pipeline(**{"nuclear_diameter": 9.0, **settings}).run(image, nuclear, levels=scale)
    shown = result.nuclei[SHOWN]
    print(f"{settings}, brightness {brightness}: {len(np.unique(shown[shown > 0]))} shown")
    return result


def count(labels: np.ndarray) -> int:
    """Return how many nuclei are in a part of a label image."""
    return len(np.unique(labels[labels > 0]))


def main() -> None:
    """Draw everything."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    data = options.data or Path(os.environ.get("CELLSEG_TEST_DATA", "../shared/data"))
    image = read_image(data / "codex_lymph_node" / "image.tif")
    pixels = np.asarray(image.pixels[:, *SHOWN])
    stain = gray(pixels[0])
    for name, option, values, words in (
        ("diameter", "nuclear_diameter", (3.0, 9.0, 27.0), ("too small", "right", "too large")),
        ("score", "score", (0.1, 0.45, 0.8), ("low", "default", "high")),
        ("size", "min_size", (0, 20, 60), ("all are kept", "default", "too high")),
    ):
        panels = []
        for value, word in zip(values, words, strict=True):
            setting = (
                {"options": {"segmenter": {option: value}}}
                if option == "score"
                else {option: value}
            )
            found = run(image, **setting).nuclei[SHOWN]
            panels.append(
                (f"{value:g}: {word}, {count(found)} nuclei", outlined(stain, (found, ORANGE)))
            )
        save(name, panels)
    panels = []
    for factor, word in ((0.1, "dark"), (1.0, "default"), (8.0, "too bright")):
        result = run(image, brightness=factor)
        seen = np.repeat(result.scaled.read(*SHOWN)[0][..., np.newaxis], 3, axis=2)
        found = result.nuclei[SHOWN]
        panels.append(
            (f"{factor:g}: {word}, {count(found)} nuclei", outlined(seen, (found, ORANGE)))
        )
    save("brightness", panels)
    panels = []
    membrane = gray(pixels[1])
    for distance, word in ((0, "nuclei alone"), (2, "usual"), (5, "too far")):
        result = run(image, expand_by=distance)
        drawn = ((result.cells[SHOWN], BLUE), (result.nuclei[SHOWN], ORANGE))
        panels.append((f"{distance} px: {word}", outlined(membrane, *drawn)))
    save("expand", panels)


if __name__ == "__main__":
    main()
