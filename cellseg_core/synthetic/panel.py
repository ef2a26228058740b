"""Which cell types and markers a simulated tissue has, and what each cell expresses."""

from __future__ import annotations

from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.synthetic.fields import draw_waves

__all__ = [
    "CHANNELS",
    "PANEL",
    "TYPES",
    "CellType",
    "Marker",
    "draw_expression",
    "draw_types",
    "factors",
]


@attrs.frozen
class Marker:
    """One channel of the panel: where in a cell it shines and how brightly.

    ``level`` is the mean in counts over a typical positive cell; over its nucleus where the
    marker is nuclear.
    """

    name: str
    place: Literal["nucleus", "membrane", "cytoplasm"]
    level: float


@attrs.frozen
class CellType:
    """One cell type.

    Attributes
    ----------
    name
        Name of the type.
    share
        Its share of all cells, where types are mixed evenly.
    size
        Diameter of its nuclei relative to the nuclear diameter of the tissue.
    elongation
        What it adds to the long axis over the short axis of nuclei.
    proliferating
        Fraction of its cells that carry Ki67.
    markers
        Markers of all its cells, DAPI apart.
    """

    name: str
    share: float
    size: float
    elongation: float
    proliferating: float
    markers: tuple[str, ...]


PANEL = (
    Marker("DAPI", "nucleus", 4000.0),
    Marker("Ki67", "nucleus", 2000.0),
    Marker("CD45", "membrane", 1000.0),
    Marker("CD3", "membrane", 1400.0),
    Marker("CD4", "membrane", 900.0),
    Marker("CD8", "membrane", 1600.0),
    Marker("CD20", "membrane", 1800.0),
    Marker("CD68", "cytoplasm", 1300.0),
    Marker("PanCK", "cytoplasm", 2200.0),
    Marker("Vimentin", "cytoplasm", 900.0),
)

CHANNELS = tuple(marker.name for marker in PANEL)

TYPES = (
    CellType("CD4 T cell", 0.22, 0.92, 0.0, 0.08, ("CD45", "CD3", "CD4")),
    CellType("CD8 T cell", 0.14, 0.92, 0.0, 0.08, ("CD45", "CD3", "CD8")),
    CellType("B cell", 0.24, 0.94, 0.0, 0.20, ("CD45", "CD20")),
    CellType("macrophage", 0.10, 1.08, 0.15, 0.02, ("CD45", "CD68")),
    CellType("tumour cell", 0.22, 1.18, 0.1, 0.30, ("PanCK",)),
    CellType("stromal cell", 0.08, 1.05, 0.7, 0.02, ("Vimentin",)),
)

_UNMARKED = 0.004  # expression of a marker in a cell that does not carry it, of its level
_SPREAD = 0.35  # log-normal sigma of expression among the cells that carry a marker


def factors(rng: np.random.Generator, n: int, sigma: float) -> NDArray[np.float64]:
    """Return ``n`` log-normal factors of median 1, at most 2.3 sigma from it.

    The tails are cut so that the size of a cell, and the reach of its light, are bounded.
    """
    return np.asarray(np.exp(sigma * rng.normal(0, 1, n).clip(-2.3, 2.3)))


def draw_types(
    rng: np.random.Generator,
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    cleft: NDArray[np.float64],
    period: float,
    clustering: float,
) -> NDArray[np.int8]:
    """Return a type for each cell, drawn with odds that vary smoothly over the tissue.

    ``cleft`` is near 0 beside clefts, where stromal cells gather; ``period`` is the size in px of
    neighbourhoods. The largest of log odds plus Gumbel noise is a draw from the softmax of the
    log odds.
    """
    best = np.full(len(y), -np.inf)
    types = np.zeros(len(y), np.int8)
    for index, kind in enumerate(TYPES):
        # Tumour grows in larger and purer nests than immune cells gather.
        nest = 1.8 if kind.name == "tumour cell" else 1.0
        field = draw_waves(rng, period * nest)
        score = np.log(kind.share) + clustering * nest * field.at(y, x) + rng.gumbel(size=len(y))
        if kind.name == "stromal cell":
            score += 2.0 * np.exp(-((cleft / 0.25) ** 2))
        types[score > best] = index
        best = np.maximum(best, score)
    return types


def draw_expression(
    rng: np.random.Generator, types: NDArray[np.int8], dimness: float
) -> NDArray[np.float32]:
    """Return the mean of each marker over each cell in counts, (N, K) float32.

    Of nuclear markers it is the mean over the nucleus; ``dimness`` is the log-normal sigma of
    DAPI.
    """
    expression = np.empty((len(types), len(PANEL)), np.float32)
    for column, marker in enumerate(PANEL):
        if marker.name == "DAPI":
            expression[:, column] = marker.level * factors(rng, len(types), dimness)
            continue
        if marker.name == "Ki67":
            carried = rng.random(len(types)) < np.array([t.proliferating for t in TYPES])[types]
        else:
            carried = np.array([marker.name in t.markers for t in TYPES])[types]
        level = np.where(carried, marker.level, _UNMARKED * marker.level)
        expression[:, column] = level * factors(rng, len(types), _SPREAD)
    return expression
