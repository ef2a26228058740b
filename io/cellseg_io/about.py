"""What a file says of its numbers: their units, and where they come from."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from cellseg_core.features import MORPHOLOGY

if TYPE_CHECKING:
    from cellseg_core.pipeline import Result
    from cellseg_core.table import CellTable

__all__ = ["about", "units"]

_FIXED = {
    **dict.fromkeys(("y", "x", "absolute_y", "absolute_x", "area"), "px"),
    "area_um2": "um2",
    **{feature.name: feature.unit for feature in MORPHOLOGY if feature.unit != "1"},
}
# They differ from run to run, or from one that was resumed.
_OF_THE_RUN = ("seconds", "tiles_done_before")


def about(result: Result) -> dict[str, Any]:
    """Return where the numbers of an image come from: plain values, the same in every run."""
    return {
        "cellseg_core": version("cellseg-core"),
        "image": result.table.image,
        "pixel_size_um": result.image.pixel_size,
        "compensated": result.table.uncompensated is not None,
        "decided": {name: value for name, value in result.facts.items() if name not in _OF_THE_RUN},
    }


def units(table: CellTable) -> dict[str, str]:
    """Return the unit of every column that has one; ``signal`` is that of the image's pixels.

    >>> from cellseg_core import Image
    >>> from cellseg_core.measure import measure
    >>> labels = np.ones((2, 3), int)
    >>> units(measure(Image(labels, channels="CD3"), labels, features="bbox,count"))["CD3:count"]
    'px'
    """
    channels = tuple(table.channel_columns().values())
    found = {}
    for name in table.columns():
        if name.startswith(channels) and name not in (*_FIXED, *table.features):
            found[name] = "px" if re.search(r":(\w+_)?count$", name) else "signal"
        else:
            found[name] = _FIXED.get(re.sub(r"(bbox)_[yx][01]$", r"\1", name), "")
    return {name: unit for name, unit in found.items() if unit}
