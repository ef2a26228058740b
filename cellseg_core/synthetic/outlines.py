"""From the table of simulated cells to pixels: which cell and which nucleus owns each pixel."""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.synthetic.cells import Cells

__all__ = ["Canvas", "Outlines", "draw_outlines"]

# A height above an outline and a cell's number are packed in one integer, so that the lowest
# height wins a pixel, and among equals the lowest number.
_STEPS_PER_PX = 2.0**16
_OFFSET = 2.0**10
_DEEP = 2.0**9  # px: lower than any outline is high
_FREE = np.int64(2**62)


@attrs.frozen
class Canvas:
    """A window of the slide that may extend beyond it: rows ``y0:y1``, columns ``x0:x1``."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Return (height, width) in px."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def rows(self) -> NDArray[np.int64]:
        """Return the row of the slide of each row of the canvas."""
        return np.arange(self.y0, self.y1)

    @property
    def columns(self) -> NDArray[np.int64]:
        """Return the column of the slide of each column of the canvas."""
        return np.arange(self.x0, self.x1)

    def grown(self, margin: int) -> Canvas:
        """Return the canvas with ``margin`` px more on each side."""
        return Canvas(self.y0 - margin, self.y1 + margin, self.x0 - margin, self.x1 + margin)

    def within(self, other: Canvas) -> tuple[slice, slice]:
        """Return the place of this canvas in the arrays of ``other``; the overlap counts."""
        return (
            slice(max(self.y0 - other.y0, 0), max(self.y1 - other.y0, 0)),
            slice(max(self.x0 - other.x0, 0), max(self.x1 - other.x0, 0)),
        )


@attrs.frozen(eq=False)
class Outlines:
    """Who owns the pixels of a canvas.

    Attributes
    ----------
    numbers
        Row in the table of the whole slide of each cell that reaches the canvas, (n,).
    owner
        0 for background, else 1 + index into ``numbers``, (Y, X) int32.
    nuclear
        True in nuclei, (Y, X).
    height
        Signed distance in px above the owner's nuclear outline along the ray from its centre,
        negative in the nucleus, (Y, X) float32; 0 in the background, and very low at centres.
    """

    numbers: NDArray[np.int64]
    owner: NDArray[np.int32]
    nuclear: NDArray[np.bool_]
    height: NDArray[np.float32]


def draw_outlines(
    cells: Cells, reach: NDArray[np.float32], slide: Canvas, canvas: Canvas
) -> Outlines:
    """Return the owner of each pixel of the canvas.

    A cell is the pixels at most its rim above its nuclear outline; where several cells claim a
    pixel, the one with the lowest height has it (the additively weighted Voronoi diagram of the
    outlines), so that neighbours share an overlap half and half and touch without a gap. Of each
    cell, and of each nucleus, only the part that is 4-connected with its centre counts.

    ``reach`` is ``cells.reach``. Cells that lie wholly in the canvas come out the same in every
    canvas that also holds ``reach`` px around them.
    """
    numbers = _reaching(cells, reach, canvas)
    near, near_reach = cells.take(numbers), reach[numbers]
    best = np.full(canvas.shape, _FREE)
    # Patches of like size are computed together, as one array (cells, rows, columns).
    halves = 4 * np.ceil((near_reach + 1) / 4).astype(np.int64)
    for half in np.unique(halves):
        _claim(best, near, np.flatnonzero(halves == half), int(half), canvas)
    free = best == _FREE
    owner = np.where(free, 0, (best & 0xFFFFFFFF) + 1).astype(np.int32)
    height = ((best >> 32) / _STEPS_PER_PX - _OFFSET).astype(np.float32)
    height[free] = 0
    stays = _connected(owner, near, slide, canvas)
    owner[~stays] = 0
    nuclear = (owner > 0) & (height <= 0)
    nuclear &= _connected(np.where(nuclear, owner, 0), near, slide, canvas)
    return Outlines(numbers, owner, nuclear, height)


def _reaching(cells: Cells, reach: NDArray[np.float32], canvas: Canvas) -> NDArray[np.int64]:
    """Return the cells that may own a pixel of the canvas; rows of the table are sorted by y."""
    if len(cells) == 0:
        return np.zeros(0, np.int64)
    far = float(reach.max()) + 1
    first, last = np.searchsorted(cells.y, [canvas.y0 - far - 1, canvas.y1 + far + 1])
    # The order is by the row of the centre's pixel, so y itself may be out of order by 1 px.
    y, x = cells.y[first:last], cells.x[first:last]
    hits = (y > canvas.y0 - far) & (y < canvas.y1 + far)
    hits &= (x > canvas.x0 - far) & (x < canvas.x1 + far)
    return np.asarray(first + np.flatnonzero(hits), np.int64)


def _claim(
    best: NDArray[np.int64], cells: Cells, which: NDArray[np.int64], half: int, canvas: Canvas
) -> None:
    """Lower ``best`` where one of the cells ``which`` is the nearest so far."""
    some = cells.take(which)
    row, column = np.rint(some.y).astype(np.int64), np.rint(some.x).astype(np.int64)
    steps = np.arange(-half, half + 1)
    down = ((row - some.y)[:, np.newaxis] + steps).astype(np.float32)[:, :, np.newaxis]
    right = ((column - some.x)[:, np.newaxis] + steps).astype(np.float32)[:, np.newaxis, :]
    distance = np.maximum(np.sqrt(down * down + right * right), np.float32(1e-3))
    height = distance - some.radius(down / distance, right / distance)
    # The pixel of its centre is always a cell's own: no cell is lost, however small.
    height[:, half, half] = -_DEEP
    rows = (row - canvas.y0)[:, np.newaxis] + steps
    columns = (column - canvas.x0)[:, np.newaxis] + steps
    claimed = height <= some.rim[:, np.newaxis, np.newaxis]
    claimed &= ((rows >= 0) & (rows < best.shape[0]))[:, :, np.newaxis]
    claimed &= ((columns >= 0) & (columns < best.shape[1]))[:, np.newaxis, :]
    cell, i, j = np.nonzero(claimed)
    level = ((height[claimed].astype(np.float64) + _OFFSET) * _STEPS_PER_PX).astype(np.int64)
    place = rows[cell, i] * best.shape[1] + columns[cell, j]
    np.minimum.at(best.reshape(-1), place, (level << 32) | which[cell])


def _connected(
    owner: NDArray[np.int32], cells: Cells, slide: Canvas, canvas: Canvas
) -> NDArray[np.bool_]:
    """Return True where a pixel of the slide is 4-connected with its owner's centre.

    Pixels beyond the slide carry light but no truth: they stay, and connect nothing.
    """
    from skimage.measure import label

    visible = np.zeros(canvas.shape, bool)
    visible[slide.within(canvas)] = True
    parts = np.asarray(label(np.where(visible, owner, 0), background=0, connectivity=1))
    row = np.rint(cells.y).astype(np.int64) - canvas.y0
    column = np.rint(cells.x).astype(np.int64) - canvas.x0
    here = (row >= 0) & (row < canvas.shape[0]) & (column >= 0) & (column < canvas.shape[1])
    main = np.full(len(cells) + 1, -1)
    main[0] = 0
    main[1:][here] = parts[row[here], column[here]]
    return np.asarray((parts == main[owner]) | ~visible)
