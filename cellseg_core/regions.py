"""Cells of a label image of any size: where each is, and its pixels, window by window."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_core.label_image import LazyLabels, bands_of
from cellseg_core.normalize import row_bands
from cellseg_core.objects import compact
from cellseg_core.overlapped import overlapped
from cellseg_core.tiling import Box

__all__ = [
    "PartialRegions",
    "Regions",
    "Renumbered",
    "Runs",
    "Window",
    "check_nuclei",
    "find_regions",
    "plan",
    "read_window",
    "regions_in",
    "runs_in",
    "united",
]


@attrs.frozen(eq=False)
class Regions:
    """Where the objects of a label image are: one row for each of N ids, in their order.

    Parameters
    ----------
    ids
        (N,) int64, ascending.
    areas
        (N,) int64: px.
    centroids
        (N, 2) float64: mean row and column of the pixel centres, in px.
    boxes
        (N, 4) int64: ``y0, x0, y1, x1`` in px, ends exclusive.
    first
        (N,) int64: number of each object's first pixel in reading order, from 0.
    """

    ids: NDArray[np.int64]
    areas: NDArray[np.int64]
    centroids: NDArray[np.float64]
    boxes: NDArray[np.int64]
    first: NDArray[np.int64]

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each id; -1 for one that does not occur."""
        if not self.ids.size:
            return np.full(ids.shape, -1)
        rows = np.searchsorted(self.ids, ids)
        rows[rows == self.ids.size] = 0
        rows[self.ids[rows] != ids] = -1
        return rows

    def touches_edge(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return (N,) bool: the object has a pixel on the edge of an image of this shape."""
        y0, x0, y1, x1 = self.boxes.T
        edge: NDArray[np.bool_] = (y0 == 0) | (x0 == 0) | (y1 == shape[0]) | (x1 == shape[1])
        return edge


@attrs.frozen(eq=False)
class Runs:
    """The pixels of some objects in a window, as pieces of rows, object by object.

    Parameters
    ----------
    first
        (n + 1,) int64: the runs of object ``i`` are ``first[i]:first[i + 1]``, in reading order.
    row, start, stop
        (R,) int32: the pixels ``window[row, start:stop]``.
    areas
        (n,) int64: the pixels of each object.
    """

    first: NDArray[np.int64]
    row: NDArray[np.int32]
    start: NDArray[np.int32]
    stop: NDArray[np.int32]
    areas: NDArray[np.int64]


@attrs.frozen(eq=False)
class Window:
    """A part of the image that holds some cells whole.

    Parameters
    ----------
    rows, columns
        The part.
    cells
        (n,) int64: the rows of :class:`Regions` of the cells that belong to the window, ascending.
        Each cell belongs to one window; pixels of others may lie in it too.
    """

    rows: slice
    columns: slice
    cells: NDArray[np.int64]


@attrs.frozen(eq=False)
class PartialRegions:
    """What one window shows of the objects of a label image.

    Parameters
    ----------
    ids
        (n,) int64, ascending.
    sums
        (n, 3) int64: px, and the sums of their rows and of their columns in the image.
    boxes, first
        As of :class:`Regions`, of what the window shows.
    """

    ids: NDArray[np.int64]
    sums: NDArray[np.int64]
    boxes: NDArray[np.int64]
    first: NDArray[np.int64]


def find_regions(labels: LazyLabels, name: str = "") -> Regions:
    """Return where the objects are, from one pass over checked labels in bands of rows.

    Memory is that of a band and of the result, whatever the ids are.

    Raises
    ------
    ImageError
        If a value is negative or over 2**63 - 1; ``name`` is the image's, for the message.
    """
    width = int(labels.shape[1])
    bands = (
        (Box(rows.start, rows.stop, 0, width), _read(labels, rows, slice(None)))
        for rows in bands_of(labels)
    )
    return united(overlapped(lambda band: regions_in(band[1], band[0], width, name), bands))


def regions_in(
    window: NDArray[np.signedinteger[Any]], box: Box, width: int, name: str = ""
) -> PartialRegions:
    """Return what a window shows of the objects of a label image that is ``width`` px wide.

    ``window`` (Y, X) holds the labels of the part ``box``, as int32 or int64.

    Raises
    ------
    ImageError
        If a value is negative.
    """
    from cellseg_core.regions_kernels import add_runs

    row, start, stop, of = _runs_of(_frozen(window), name)
    # Ids of a window are often close to each other, but not to 1.
    lowest = int(of.min()) if of.size else 1
    numbers, present = compact(of - (lowest - 1))
    top = np.iinfo(np.int64).max
    sums = np.zeros((present.size, 3), np.int64)
    boxes = np.tile(np.array([top, top, 0, 0]), (present.size, 1))
    first = np.full(present.size, top)
    add_runs(row, start, stop, numbers - np.int32(1), (box.y0, box.x0, width), sums, boxes, first)
    return PartialRegions(present + (lowest - 1), sums, boxes, first)


def united(parts: Iterable[PartialRegions]) -> Regions:
    """Return the regions of an image from those of windows that cover it, each pixel once."""
    columns = [attrs.astuple(part, recurse=False) for part in parts] or [
        tuple(np.empty(shape, np.int64) for shape in ((0,), (0, 3), (0, 4), (0,)))
    ]
    ids, sums, boxes, first = (np.concatenate(column) for column in zip(*columns, strict=True))
    every, part_of = np.unique(ids, return_inverse=True)
    order = np.argsort(part_of, kind="stable")
    begin = np.searchsorted(part_of[order], np.arange(every.size))
    total = _reduced(np.add, sums[order], begin)
    boxes = boxes[order]
    return Regions(
        ids=every,
        areas=total[:, 0],
        centroids=total[:, 1:] / total[:, :1],
        boxes=np.concatenate(
            [_reduced(np.minimum, boxes[:, :2], begin), _reduced(np.maximum, boxes[:, 2:], begin)],
            axis=1,
        ),
        first=_reduced(np.minimum, first[order], begin),
    )


def _reduced(
    function: np.ufunc, values: NDArray[np.int64], begin: NDArray[np.int64]
) -> NDArray[np.int64]:
    if not begin.size:
        return values
    reduced: NDArray[np.int64] = function.reduceat(values, begin, axis=0)
    return reduced


def plan(
    regions: Regions, shape: tuple[int, int], stored: tuple[int, int] | None = None
) -> Iterator[Window]:
    """Yield windows that together hold every cell whole, each cell once.

    The windows are bands of rows, or about squares where the image is ``stored`` in tiles of so
    many (rows, columns): neighbouring windows then decode few of the same. A window has the cells
    whose first row and column are in its part of the image. A cell larger than such a part has a
    window of its own, so that it makes no other one larger. Parts are made larger until those
    windows together are no larger than the image.
    """
    if not regions.ids.size:
        return
    y0, x0, y1, x1 = regions.boxes.T
    heights, widths = y1 - y0, x1 - x0
    band = next(row_bands(shape))
    tall, wide = band.stop - band.start, shape[1]
    if stored is not None and stored[1] < shape[1]:
        area = tall * wide
        tall, wide = (max(1, round(math.sqrt(area) / length)) * length for length in stored)
        # Beside a long side of what is stored, the other one is short.
        if tall == stored[0]:
            wide = max(1, round(area / tall / stored[1])) * stored[1]
        elif wide == stored[1]:
            tall = max(1, round(area / wide / stored[0])) * stored[0]
    while (heights * widths)[(heights > tall) | (widths > wide)].sum() > shape[0] * shape[1]:
        tall, wide = 2 * tall, min(2 * wide, shape[1])
    large = (heights > tall) | (widths > wide)
    own = np.where(large, -1, y0 // tall * math.ceil(shape[1] / wide) + x0 // wide)
    order = np.argsort(own, kind="stable")
    begin = np.flatnonzero(np.diff(own[order], prepend=-2))
    for cells in np.split(order, begin[1:]):
        if large[cells[0]]:
            for cell in cells:
                yield Window(
                    slice(int(y0[cell]), int(y1[cell])),
                    slice(int(x0[cell]), int(x1[cell])),
                    np.array([cell]),
                )
        else:
            columns = slice(None)
            if wide < shape[1]:
                columns = slice(int(x0[cells].min()), int(x1[cells].max()))
            yield Window(slice(int(y0[cells].min()), int(y1[cells].max())), columns, cells)


def read_window(
    window: Window, cells: LazyLabels, nuclei: LazyLabels | None = None
) -> dict[str, NDArray[np.signedinteger[Any]]]:
    """Return the labels of a window: those of ``cell``, and with nuclei those of ``nucleus``."""
    place = (window.rows, window.columns)
    labels = {"cell": _read(cells, *place)}
    return labels if nuclei is None else {**labels, "nucleus": _read(nuclei, *place)}


def runs_in(
    window: Window,
    labels: Mapping[str, NDArray[np.signedinteger[Any]]],
    regions: Regions,
    name: str = "",
) -> dict[str, Runs]:
    """Return the pixels of a window's cells by :data:`~cellseg_core.features.COMPARTMENTS`.

    ``labels`` come from :func:`read_window`; without nuclei there is ``cell`` alone. They must be
    those that ``regions`` came from, and nuclei those that :func:`check_nuclei` let pass.
    """
    parts = dict(labels)
    if "nucleus" in parts:
        parts["ring"] = _frozen(np.where(parts["nucleus"] != 0, 0, parts["cell"]))
    return {
        part: _sorted_runs(_runs_of(pixels, name), window, regions)
        for part, pixels in parts.items()
    }


def check_nuclei(nuclei: LazyLabels, cells: LazyLabels, name: str = "") -> None:
    """Check that each nucleus lies inside the cell of the same id, in one pass over both.

    Raises
    ------
    ImageError
        If a pixel of a nucleus belongs to another cell or to none, with the first such pixel.
    """
    for rows in bands_of(cells):
        whole, inner = (_read(labels, rows, slice(None)) for labels in (cells, nuclei))
        wrong = (inner != 0) & (inner != whole)
        if wrong.any():
            y, x = (int(first) for first in np.argwhere(wrong)[0])
            about = f"{name}: " if name else ""
            raise ImageError(
                f"{about}at y {y + rows.start}, x {x} the nucleus has the id {inner[y, x]} and "
                f"the cell {whole[y, x]}. A nucleus has the id of its cell and lies inside it: "
                "give the label image that the cells were grown from."
            )


@attrs.frozen(eq=False)
class Renumbered:
    """A label image with the ids 1..N in place of those of ``regions``, read window by window."""

    labels: LazyLabels
    regions: Regions
    dtype = np.dtype(np.int32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return ``(Y, X)``."""
        return self.labels.shape

    @property
    def chunks(self) -> Any:
        """Return how it is stored, None where that is as a whole."""
        return getattr(self.labels, "chunks", None)

    def __getitem__(self, key: Any) -> NDArray[np.int32]:
        """Return the labels of a window."""
        numbers, ids = compact(np.asarray(self.labels[key]))
        number = np.zeros(ids.size + 1, np.int32)
        number[1:] = self.regions.rows_of(ids) + 1
        window: NDArray[np.int32] = number[numbers]
        return window


def _read(labels: LazyLabels, rows: slice, columns: slice) -> NDArray[np.signedinteger[Any]]:
    """Return a window as int32 or int64; values over 2**63 - 1 become negative ones."""
    window = np.asarray(labels[rows, columns])
    # Whatever 32 bits with sign can hold in any case; without looking at the values.
    small = np.can_cast(window.dtype, np.int32)
    return _frozen(window.astype(np.int32 if small else np.int64, copy=False))


def _frozen(window: NDArray[Any]) -> NDArray[Any]:
    """Return a contiguous view that cannot be written to: kernels then have one type to compile."""
    view = np.ascontiguousarray(window).view()
    view.flags.writeable = False
    return view


_Found = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]


def _runs_of(window: NDArray[np.signedinteger[Any]], name: str) -> _Found:
    """Return row, start, stop and id of the runs of a window, row by row."""
    from cellseg_core.regions_kernels import find_runs

    room = window.size // 16 + 1
    while True:
        row, start, stop = (np.empty(room, np.int32) for _ in range(3))
        ids = np.empty(room, np.int64)
        count = find_runs(window, row, start, stop, ids)
        if count <= room:
            break
        room = count
    if ids[:count].min(initial=1) < 0:
        about = f"{name}: " if name else ""
        raise ImageError(
            f"{about}the label image holds negative values (down to {ids[:count].min()}) or some "
            "over 2**63 - 1; 0 is background and each object has a positive value."
        )
    return row[:count], start[:count], stop[:count], ids[:count]


def _sorted_runs(found: _Found, window: Window, regions: Regions) -> Runs:
    """Return the runs of the window's own cells, cell by cell."""
    from cellseg_core.regions_kernels import sort_runs

    row, start, stop, ids = found
    lowest = int(ids.min()) if ids.size else 1
    numbers, present = compact(ids - (lowest - 1))
    rows = regions.rows_of(present + (lowest - 1))
    place = np.searchsorted(window.cells, rows)
    place[place == window.cells.size] = 0
    place[window.cells[place] != rows] = -1
    first = np.zeros(window.cells.size + 1, np.int64)
    areas = np.zeros(window.cells.size, np.int64)
    to = [np.empty_like(part) for part in (row, start, stop)]
    numbers = place.astype(np.int32)[numbers - 1]
    count = sort_runs(row, start, stop, numbers, first, areas, *to)
    return Runs(first, to[0][:count], to[1][:count], to[2][:count], areas)
