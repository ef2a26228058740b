"""How large nuclei and cells are, and which shape they have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.pages.tables import number
from cellseg_io.report.nuclei import Nuclei
from cellseg_io.report.plots import Axis, histogram
from cellseg_io.report.units import unit_name, unit_of

if TYPE_CHECKING:
    from cellseg_core.result import Result

__all__ = ["Shape", "shapes"]


@attrs.frozen
class Shape:
    """A plot of size or shape: a title, what to see in it, the plot and its figures in words."""

    title: str
    how: str
    plot: str
    said: str


def shapes(result: Result, nuclei: Nuclei) -> Iterator[Shape]:
    """Yield a plot of each measure."""
    if not len(result.table):
        return
    unit, name = unit_of(result), unit_name(result)
    across = 2 * np.sqrt(nuclei.areas / np.pi) * unit
    yield Shape(
        "Nucleus diameter",
        "One smooth hill is what one tissue gives. A second hill at twice the area is merged "
        "nuclei; a wall at the left is the smallest size that was kept.",
        histogram(across, Axis.linear(across), f"diameter of a circle as large, {name}"),
        _spread_said(across, name),
    )
    if result.cells is not result.nuclei:
        area = result.table.areas * unit**2
        yield Shape(
            "Cell area",
            "Nuclei after they were grown into cells.",
            histogram(area, Axis.linear(area), f"area, {name}\u00b2"),
            _spread_said(area, f"{name}\u00b2"),
        )
    for key, title, how in (
        (
            "eccentricity",
            "Elongation",
            (
                "Eccentricity: 0 is a circle, 1 a line. Round cells such as lymphocytes lie at the "
                "left, spindles at the right."
            ),
        ),
        (
            "solidity",
            "Solidity",
            (
                "1 is a shape without dents. A tail to the left is nuclei that were merged, or "
                "ragged outlines."
            ),
        ),
    ):
        values = nuclei.shapes[key]
        yield Shape(title, how, histogram(values, Axis(0.0, 1.0), key), _spread_said(values, "", 2))


def _spread_said(values: NDArray[Any], unit: str, digits: int = 1) -> str:
    known = values[np.isfinite(values)]
    if not known.size:
        return "No value."
    low, middle, high = (float(v) for v in np.percentile(known, (5, 50, 95)))
    unit = f" {unit}" if unit else ""
    return (
        f"Median {number(middle, digits)}{unit}; nine of ten between {number(low, digits)} and "
        f"{number(high, digits)}{unit}."
    )
