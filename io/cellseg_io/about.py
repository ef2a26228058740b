"""What a file says of its numbers: their units, and where they come from."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from cellseg_core.columns import NO_UNIT, describe

if TYPE_CHECKING:
    from cellseg_core.result import Result
    from cellseg_core.table import CellTable

__all__ = ["about", "units"]

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
    return {one.name: one.unit for one in describe(table) if one.unit != NO_UNIT}
