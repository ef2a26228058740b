"""Size and shape of nuclei, for every cell of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.regions import find_regions, plan, read_window, runs_in
from cellseg_core.shape import shapes

if TYPE_CHECKING:
    from cellseg_core.result import Result

__all__ = ["Nuclei", "measure_nuclei"]

_SHAPES = ("eccentricity", "solidity")


@attrs.frozen(eq=False)
class Nuclei:
    """What was measured, a row for each row of the table.

    Attributes
    ----------
    areas
        (N,) int64: px.
    shapes
        ``eccentricity`` and ``solidity``, (N,) each.
    """

    areas: NDArray[np.int64]
    shapes: dict[str, NDArray[np.float64]]


def measure_nuclei(result: Result) -> Nuclei:
    """Return the size and shape of the nucleus of each cell, from the table where it has them.

    Windows of the label image are read one after the other, so memory does not grow with it.
    """
    table = result.table
    names = ["nucleus_area", *(f"nucleus_{name}" for name in _SHAPES)]
    if result.nuclei is result.cells:
        names = [name.removeprefix("nucleus_") for name in names]
    have: dict[str, NDArray[Any]] = {"area": table.areas, **table.features}
    if all(name in have for name in names):
        areas, *rest = (np.asarray(have[name]) for name in names)
        return Nuclei(areas.astype(np.int64), dict(zip(_SHAPES, rest, strict=True)))
    regions = find_regions(result.nuclei, result.image.name)
    found = {name: np.full(regions.ids.size, np.nan) for name in _SHAPES}
    for window in plan(regions, result.image.shape):
        parts = runs_in(
            window, read_window(window, result.nuclei, None), regions, result.image.name
        )
        origin = (window.rows.start or 0, window.columns.start or 0)
        for name, values in shapes(parts["cell"], _SHAPES, origin).items():
            found[name][window.cells] = values
    rows = np.minimum(np.searchsorted(regions.ids, table.labels), max(regions.ids.size - 1, 0))
    if not regions.ids.size:
        empty = np.zeros(len(table))
        return Nuclei(empty.astype(np.int64), dict.fromkeys(_SHAPES, empty))
    there = regions.ids[rows] == table.labels
    return Nuclei(
        np.where(there, regions.areas[rows], 0),
        {name: np.where(there, values[rows], np.nan) for name, values in found.items()},
    )
