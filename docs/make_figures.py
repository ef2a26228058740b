"""Draws the figures of docs/cells.md that show how masks grow and what is measured in them.

    python docs/make_figures.py        # writes into docs/images

The figures of compensation come from `python benchmarks/compensation.py --figures docs/images`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb

from cellseg_core.contacts import count_contacts
from cellseg_core.synthetic import Tissue
from cellseg_postprocess.expansion import expand_sequential, expand_standard, expand_voronoi

FOLDER = Path(__file__).parent / "images"
COLOURS = [to_rgb(f"C{n}") for n in (0, 1, 2, 4, 6, 8, 9)]
DISTANCE = 4


def colours_of(nuclei: np.ndarray) -> np.ndarray:
    """Return a colour for each id, other than those of its neighbours; white for background."""
    contacts = count_contacts(expand_voronoi(nuclei, 3 * DISTANCE))
    chosen = np.zeros((int(nuclei.max()) + 1, 3)) + 1.0
    number = np.full(len(chosen), -1)
    for cell in np.unique(nuclei[nuclei > 0]):
        near = {*contacts.second[contacts.first == cell], *contacts.first[contacts.second == cell]}
        taken = {number[other] for other in near}
        number[cell] = next(n for n in range(len(COLOURS)) if n not in taken)
        chosen[cell] = COLOURS[number[cell]]
    return chosen


def paint(nuclei: np.ndarray, cells: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return a picture: each cell in a light colour, its nucleus in the same, dark."""
    light = 0.45 * colours + 0.55
    return np.where((nuclei > 0)[..., np.newaxis], colours[nuclei], light[cells])


def outline(axis: Any, labels: np.ndarray, colour: str, width: float) -> None:
    """Draw the borders between labels along the edges of pixels."""
    height, breadth = labels.shape
    for y, x in np.argwhere(labels[:, 1:] != labels[:, :-1]):
        axis.plot([x + 0.5, x + 0.5], [y - 0.5, y + 0.5], color=colour, lw=width)
    for y, x in np.argwhere(labels[1:] != labels[:-1]):
        axis.plot([x - 0.5, x + 0.5], [y + 0.5, y + 0.5], color=colour, lw=width)
    axis.set(xlim=(-0.5, breadth - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])


def expansion(nuclei: np.ndarray) -> None:
    """Draw the three rules side by side."""
    colours = colours_of(nuclei)
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.5))
    for axis, (name, grow) in zip(
        axes,
        (
            ("sequential", expand_sequential),
            ("standard", expand_standard),
            ("voronoi", expand_voronoi),
        ),
        strict=True,
    ):
        cells = grow(nuclei, DISTANCE)
        axis.imshow(paint(nuclei, cells, colours), interpolation="nearest")
        outline(axis, cells, "black", 0.7)
        axis.set_title(name)
    figure.tight_layout()
    figure.savefig(FOLDER / "expansion.png", dpi=110)


def compartments(nuclei: np.ndarray) -> None:
    """Draw what belongs to nucleus, ring and cell."""
    cells, colours = expand_sequential(nuclei, 2), colours_of(nuclei)
    ring = np.where(nuclei > 0, 0, cells)
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.5))
    for axis, name, part in zip(
        axes, ("nucleus", "ring", "cell"), (nuclei, ring, cells), strict=True
    ):
        axis.imshow(paint(part, part, colours), interpolation="nearest")
        outline(axis, cells, "0.6", 0.5)
        axis.set_title(name)
    figure.tight_layout()
    figure.savefig(FOLDER / "compartments.png", dpi=110)


def main() -> None:
    """Draw everything."""
    FOLDER.mkdir(exist_ok=True)
    slide = Tissue(shape=(256, 256), seed=5, density=0.65).labels(slice(110, 160), slice(100, 150))
    nuclei = np.unique(slide, return_inverse=True)[1].reshape(slide.shape).astype(np.int32)
    expansion(nuclei)
    compartments(nuclei)


if __name__ == "__main__":
    main()
