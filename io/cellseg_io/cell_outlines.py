"""The outlines of a result's cells and nuclei, for the formats that hold shapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import OutputError
from cellseg_core.polygons import Polygons, polygons_by_window
from cellseg_core.regions import find_regions

if TYPE_CHECKING:
    from cellseg_core.result import Result

__all__ = ["grown", "outlines_of_cells"]


def grown(result: Result) -> bool:
    """Return whether there are cells beside the nuclei that they were grown from."""
    return result.cells is not result.nuclei


def outlines_of_cells(result: Result) -> Iterator[tuple[NDArray[np.int64], dict[str, Polygons]]]:
    """Yield the rows of the table of some cells after the other, and the polygons of these.

    They are those of ``cell`` and, where nuclei were grown, of ``nucleus``; each cell comes once.

    Raises
    ------
    OutputError
        If the table and the label image are not of the same cells.
    """
    regions = find_regions(result.cells, result.image.name)
    if not np.array_equal(regions.ids, result.table.labels):
        raise OutputError(
            f"{result.image.name}: the table has {len(result.table):,} cells and the label image "
            f"{regions.ids.size:,}, or their ids differ. Measure the label image that is written: "
            "cellseg_core.measure.measure(image, cells)."
        )
    nuclei = result.nuclei if grown(result) else None
    yield from polygons_by_window(result.cells, nuclei, regions)
