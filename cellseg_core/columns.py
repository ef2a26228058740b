"""What each column of a table of cells is: its unit, and what it means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

from cellseg_core.errors import ConfigurationError
from cellseg_core.features import COMPARTMENTS, MORPHOLOGY, STATISTICS, Features

if TYPE_CHECKING:
    from cellseg_core.table import CellTable

__all__ = ["NO_UNIT", "UNITS", "Column", "describe"]

NO_UNIT = "none"
"""The unit of names, ids and plain numbers."""

UNITS = MappingProxyType(
    {
        NO_UNIT: "a name, an id or a plain number",
        "px": "pixels; of areas and counts their number, of lengths their edge",
        "um2": "square micrometres",
        "rad": "radians",
        "signal": "the unit of the pixels in the file of the image",
        "unknown": "not of cellseg: ask who made the column",
    }
)
"""Every unit that a column can have, in words."""

_FIXED = {
    "image": (NO_UNIT, "Name of the image, and of its folder in the results."),
    "cell_id": (NO_UNIT, "Id of the cell in its image: its value in the label images."),
    "region": (NO_UNIT, "Number of the region in the acquisition; 1 where there is one."),
    "tile_row": (NO_UNIT, "Row of the tile in its region; 1 where there is one tile."),
    "tile_col": (NO_UNIT, "Column of the tile in its region; 1 where there is one tile."),
    "tile_z": (NO_UNIT, "Plane of the tile; 1 where there is one."),
    "y": ("px", "Mean row of the cell's pixels in the image; the centre of the first is 0."),
    "x": ("px", "Mean column of the cell's pixels in the image; the centre of the first is 0."),
    "absolute_y": ("px", "The same as y in the whole region."),
    "absolute_x": ("px", "The same as x in the whole region."),
    "area": ("px", "Number of pixels of the cell."),
    "score": (NO_UNIT, "Confidence of the segmenter, 0 to 1; empty where it gives none."),
    "touches_edge": (NO_UNIT, "Whether a part of the cell may lie outside the image."),
    "area_um2": ("um2", "Area of the cell: area times the pixel size squared."),
}
_MORPHOLOGY = {feature.name: feature for feature in MORPHOLOGY}
_STATISTICS = {feature.name: feature for feature in STATISTICS}
_NOT_OURS = "A column that cellseg did not make."


@attrs.frozen
class Column:
    """One column of a table.

    Attributes
    ----------
    name
        As it is in ``cells.csv``.
    unit
        One of :data:`UNITS`.
    meaning
        A sentence.
    """

    name: str
    unit: str
    meaning: str


def describe(table: CellTable) -> tuple[Column, ...]:
    """Return what every column of a table is, in the order of ``cells.csv``.

    >>> import numpy as np
    >>> from cellseg_core.measure import measure
    >>> columns = describe(measure(np.ones((1, 2, 3)), np.ones((2, 3), int), features="p90"))
    >>> [(column.name, column.unit) for column in columns[-3:]]
    [('touches_edge', 'none'), ('channel_1', 'signal'), ('channel_1:p90', 'signal')]
    """
    fixed = ["image", *table.columns()]
    fixed = [name for name in fixed if name in _FIXED and name != "area_um2"]
    columns = [Column(name, *_FIXED[name]) for name in fixed]
    columns += [_feature(name) for name in table.features]
    return (*columns, *_of_channels(table))


def _feature(name: str) -> Column:
    if name in _FIXED:
        return Column(name, *_FIXED[name])
    side = re.search(r"bbox_([yx][01])$", name)
    known = _MORPHOLOGY.get(name.removesuffix(f"_{side[1]}") if side else name)
    if known is None:
        return Column(name, "unknown", _NOT_OURS)
    meaning = known.meaning
    if side:
        edge = {"y0": "First row", "x0": "First column", "y1": "Row behind the last"}
        of = "nucleus" if name.startswith("nucleus_") else "cell"
        meaning = f"{edge.get(side[1], 'Column behind the last')} of the {of}."
    return Column(name, NO_UNIT if known.unit == "1" else known.unit, meaning)


def _of_channels(table: CellTable) -> Iterator[Column]:
    names = table.channel_columns()
    changed = table.uncompensated is not None
    for channel in table.channels:
        mean = f"Mean of {channel} over the cell{', after compensation' if changed else ''}."
        yield Column(names[channel], "signal", mean)
        if changed:
            before = f"Mean of {channel} over the cell, before compensation."
            yield Column(f"{names[channel]}:uncompensated", "signal", before)
    for channel in table.channels:
        for name in table.statistics:
            yield Column(f"{names[channel]}:{name}", *_statistic(channel, name))


def _statistic(channel: str, name: str) -> tuple[str, str]:
    try:
        statistics = Features.of([name]).statistics
    except ConfigurationError:
        return "unknown", _NOT_OURS
    if not statistics:
        return "unknown", _NOT_OURS
    (one,) = statistics
    part = COMPARTMENTS[one.compartment]
    if one.kind in _STATISTICS:
        known = _STATISTICS[one.kind]
        what = known.meaning.partition(";")[0].rstrip(".")
        return known.unit, f"{what}: {channel}, {part}; never compensated."
    percent = one.kind.removeprefix("p")
    return "signal", f"Percentile {percent}: {channel}, {part}; never compensated."
