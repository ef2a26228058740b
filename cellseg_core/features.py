"""What can be measured of a cell beyond its mean in each channel: names, units, meanings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np

from cellseg_core.errors import ConfigurationError, nearest

__all__ = [
    "ALWAYS",
    "COMPARTMENTS",
    "GROUPS",
    "MORPHOLOGY",
    "SHAPES",
    "STATISTICS",
    "Feature",
    "Features",
    "Statistic",
]


@attrs.frozen
class Feature:
    """One thing that can be measured: its name, its unit and what it means.

    The unit ``signal`` is that of the channel's pixels, ``1`` is a number without unit.
    """

    name: str
    unit: str
    meaning: str


COMPARTMENTS: Mapping[str, str] = MappingProxyType(
    {
        "cell": "the whole cell",
        "nucleus": "the cell's pixels before expansion",
        "ring": "the cell's pixels that are not of its nucleus",
    }
)
"""Parts of a cell. ``<compartment>_<statistic>``; ``cell_`` may be left out."""

STATISTICS = (
    Feature("count", "px", "Number of pixels with a finite value."),
    Feature("mean", "signal", "Mean; that of the whole cell is always there."),
    Feature("sum", "signal", "Sum."),
    Feature("std", "signal", "Standard deviation of the pixels (divided by their number)."),
    Feature("min", "signal", "Lowest value."),
    Feature("max", "signal", "Highest value."),
    Feature("median", "signal", "Median; the mean of the two middle values of an even number."),
    Feature("pNN", "signal", "Percentile NN, 0 to 100, such as p5 or p99.9; linear interpolation."),
)
"""What is computed for every channel, over the finite pixels of a compartment."""

_SHAPES = (
    Feature("perimeter", "px", "Length of the outline through the centres of its border pixels."),
    Feature("axis_major_length", "px", "Major axis of the ellipse with the same second moments."),
    Feature("axis_minor_length", "px", "Minor axis of the ellipse with the same second moments."),
    Feature("eccentricity", "1", "Of that ellipse: 0 for a circle, near 1 for a line."),
    Feature("solidity", "1", "Area divided by the pixels inside the convex hull."),
    Feature(
        "orientation", "rad", "Angle from the y axis to the major axis, between -pi/2 and pi/2."
    ),
    Feature(
        "bbox",
        "px",
        "Bounding box: four columns bbox_y0, bbox_x0, bbox_y1, bbox_x1, ends exclusive.",
    ),
)

MORPHOLOGY = (
    *_SHAPES,
    *(
        Feature(f"nucleus_{shape.name}", shape.unit, f"The same of the nucleus. {shape.meaning}")
        for shape in _SHAPES
    ),
    Feature("nucleus_area", "px", "Number of pixels of the nucleus."),
    Feature("ring_area", "px", "Number of pixels of the cell that are not of its nucleus."),
    Feature("neighbours", "1", "Number of other cells that the cell touches (4-neighbours)."),
    Feature("contact_length", "px", "Number of pixel edges shared with other cells."),
)
"""What is computed once for each cell."""

SHAPES = tuple(shape.name for shape in _SHAPES)
"""The measures of shape, of the cell and with ``nucleus_`` of its nucleus."""

ALWAYS = ("area", "area_um2", "centroid", "mean", "cell_mean")
"""Names that may be asked for, but are in every table anyhow."""

_NUCLEUS_SHAPE = tuple(f"nucleus_{name}" for name in SHAPES)
_COMMON = ("count", "sum", "std", "min", "max", "median", "p10", "p90")
_BY_COMPARTMENT = ("nucleus_area", "ring_area", "nucleus_mean", "ring_mean")
_NEIGHBOURS = ("neighbours", "contact_length")

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "shape": SHAPES,
        "nucleus_shape": _NUCLEUS_SHAPE,
        "statistics": _COMMON,
        "compartments": _BY_COMPARTMENT,
        "neighbours": _NEIGHBOURS,
        "all": (*SHAPES, *_NUCLEUS_SHAPE, *_BY_COMPARTMENT, *_NEIGHBOURS, *_COMMON),
    }
)
"""Names that stand for several."""

_PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)")


@attrs.frozen
class Statistic:
    """A statistic of every channel in one compartment.

    Parameters
    ----------
    kind
        ``mean``, ``std``, ``p90`` ...
    compartment
        One of :data:`COMPARTMENTS`.

    >>> Statistic("p90", "ring").name, Statistic("median").level
    ('ring_p90', 0.5)
    """

    kind: str
    compartment: str = "cell"

    @property
    def name(self) -> str:
        """Return the name as it stands in a column."""
        return self.kind if self.compartment == "cell" else f"{self.compartment}_{self.kind}"

    @property
    def level(self) -> float | None:
        """Return the quantile between 0 and 1, or None if it is not one."""
        if self.kind == "median":
            return 0.5
        match = _PERCENTILE.fullmatch(self.kind)
        return float(match[1]) / 100 if match else None


@attrs.frozen
class Features:
    """What to measure of each cell.

    Parameters
    ----------
    statistics
        Of every channel, without the mean of the whole cell, which is always measured.
    morphology
        Names of :data:`MORPHOLOGY`.
    """

    statistics: tuple[Statistic, ...] = ()
    morphology: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: str | Iterable[str]) -> Features:
        """Return what the names and groups ask for, each once, in the order of the tables above.

        Statistics come compartment by compartment, percentiles after the others. A text is taken
        apart at its commas.

        Raises
        ------
        ConfigurationError
            If a name is unknown; the message has the nearest one.

        >>> wanted = Features.of("neighbours, median, nucleus_p90")
        >>> wanted.morphology, [statistic.name for statistic in wanted.statistics]
        (('neighbours', 'contact_length'), ['median', 'nucleus_p90'])
        """
        asked: Any = names.split(",") if isinstance(names, str) else names
        if not (isinstance(asked, Iterable) and all(isinstance(name, str) for name in asked)):
            raise ConfigurationError(
                f"features are names, such as ('shape', 'median'); got {names!r}"
            )
        statistics: set[Statistic] = set()
        morphology: set[str] = set()
        known = [feature.name for feature in MORPHOLOGY]
        for name in (word.strip() for word in asked):
            for single in GROUPS.get(name, (name,)):
                if single in known:
                    morphology.add(single)
                elif single and single not in ALWAYS:
                    statistics.add(_statistic(single))
        return cls(
            tuple(sorted(statistics, key=_place)), tuple(sorted(morphology, key=known.index))
        )

    @property
    def needs_nuclei(self) -> tuple[str, ...]:
        """Return the names that can only be measured where the nuclei are known."""
        named = (*self.morphology, *(statistic.name for statistic in self.statistics))
        return tuple(name for name in named if name.startswith(("nucleus_", "ring_")))


def _place(statistic: Statistic) -> tuple[int, int, float]:
    """Return what statistics are sorted by."""
    kinds = [feature.name for feature in STATISTICS]
    known = statistic.kind in kinds
    return (
        list(COMPARTMENTS).index(statistic.compartment),
        kinds.index(statistic.kind) if known else len(kinds),
        0.0 if known else statistic.level or 0.0,
    )


def _statistic(name: str) -> Statistic:
    """Return the statistic of this name, or say what is wrong with it."""
    compartment, mark, kind = name.rpartition("_")
    if not mark or compartment in COMPARTMENTS:
        match = _PERCENTILE.fullmatch(kind)
        if match:
            percent = float(match[1])
            if percent > 100:
                raise ConfigurationError(
                    f"the feature {name!r} is no percentile: it must be between p0 and p100."
                )
            kind = f"p{np.format_float_positional(percent, trim='-')}"
        if match or kind in {statistic.name for statistic in STATISTICS} - {"pNN"}:
            return Statistic(kind, compartment or "cell")
    of_cell = [statistic.name for statistic in STATISTICS if statistic.name != "pNN"]
    choices = [
        *GROUPS,
        *(feature.name for feature in MORPHOLOGY if feature.name not in GROUPS),
        *of_cell,
        "p90",
        *(f"{part}_{kind}" for part in COMPARTMENTS if part != "cell" for kind in of_cell),
    ]
    raise ConfigurationError(
        f"there is no feature {name!r}: {nearest(name, choices)}; a percentile is p and a number, "
        "such as p5 or p99.9."
    )
