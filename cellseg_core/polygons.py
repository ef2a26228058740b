"""The outlines of objects as polygons, exactly along the edges of their pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.label_image import LazyLabels
from cellseg_core.overlapped import overlapped
from cellseg_core.regions import Regions, Window, find_regions, plan, read_window

__all__ = ["Polygons", "find_polygons", "polygons_by_window"]


@attrs.frozen(eq=False)
class Polygons:
    """The outlines of n objects, each of one polygon or more, which can have holes.

    Coordinates are x and y in px of the image; the first pixel reaches from (0, 0) to (1, 1), so
    that all are whole numbers. Every pixel whose centre is inside belongs to the object, and no
    other. Pixels that touch at a corner alone are of different polygons: none crosses or touches
    itself. A ring has no more vertices than corners, and its first one is the last one, too.

    Parameters
    ----------
    ids
        (n,) int64.
    first
        (n + 1,) int64: the rings of object ``i`` are ``first[i]:first[i + 1]``.
    starts
        (R + 1,) int64: the vertices of ring ``r`` are ``starts[r]:starts[r + 1]``.
    holes
        (R,) bool: the ring is that of a hole in the polygon whose outer ring came last. Outer rings
        have the object to their right as one sees it on the screen, where y points down, and so a
        positive area by the usual formula; holes have it the other way round.
    vertices
        (V, 2) int32: x and y.
    """

    ids: NDArray[np.int64]
    first: NDArray[np.int64]
    starts: NDArray[np.int64]
    holes: NDArray[np.bool_]
    vertices: NDArray[np.int32]

    def __len__(self) -> int:
        return int(self.ids.size)

    def rings(self) -> Iterator[list[tuple[NDArray[np.int32], bool]]]:
        """Yield for each object its rings: (k, 2) vertices, and whether it is that of a hole."""
        starts, holes = self.starts.tolist(), self.holes.tolist()
        for begin, end in pairwise(self.first.tolist()):
            yield [
                (self.vertices[starts[ring] : starts[ring + 1]], holes[ring])
                for ring in range(begin, end)
            ]


def find_polygons(labels: LazyLabels, regions: Regions | None = None, name: str = "") -> Polygons:
    """Return the outlines of all objects of checked labels, ids ascending.

    ``regions`` are those of the labels, where they are known.

    Raises
    ------
    ImageError
        If a value is negative; ``name`` is the image's, for the message.

    >>> found = find_polygons(np.array([[0, 5, 5], [0, 5, 0]]))
    >>> found.ids.tolist(), found.vertices.tolist()
    ([5], [[1, 0], [3, 0], [3, 1], [2, 1], [2, 2], [1, 2], [1, 0]])
    """
    regions = find_regions(labels, name) if regions is None else regions
    parts = [found["cell"] for _, found in polygons_by_window(labels, None, regions)]
    return _joined(parts, regions)


def polygons_by_window(
    cells: LazyLabels, nuclei: LazyLabels | None, regions: Regions
) -> Iterator[tuple[NDArray[np.int64], dict[str, Polygons]]]:
    """Yield the outlines of some objects after the other: every object once, and whole.

    Memory is that of some windows of the image, and of the largest object. Each item has the
    objects' rows of ``regions``, which are those of ``cells``, and the polygons of ``cell`` and,
    with nuclei, of ``nucleus``. A nucleus lies in the cell with its id; where there is none of
    that id, it has no ring.
    """

    def traced(
        item: tuple[Window, dict[str, NDArray[np.signedinteger[Any]]]],
    ) -> tuple[NDArray[np.int64], dict[str, Polygons]]:
        window, labels = item
        return window.cells, {
            part: _polygons_in(pixels, window, regions) for part, pixels in labels.items()
        }

    shape = (int(cells.shape[0]), int(cells.shape[1]))
    windows = ((one, read_window(one, cells, nuclei)) for one in plan(regions, shape))
    yield from overlapped(traced, windows)


def _polygons_in(
    labels: NDArray[np.signedinteger[Any]], window: Window, regions: Regions
) -> Polygons:
    from cellseg_core.polygons_kernels import trace_rings

    ids = regions.ids[window.cells]
    y0, x0 = window.rows.start or 0, window.columns.start or 0
    vertices, rings = trace_rings(
        labels, ids, regions.boxes[window.cells] - np.array([y0, x0, y0, x0])
    )
    vertices += np.array([x0, y0], np.int32)
    of, piece, hole, size = rings.T
    starts = np.concatenate([[0], np.cumsum(size, dtype=np.int64)])
    # Holes follow the outer ring of their own piece.
    order = np.lexsort((hole, piece, of))
    return Polygons(
        ids=ids,
        first=np.searchsorted(of[order], np.arange(ids.size + 1)),
        **_ordered(starts, hole.astype(bool), vertices, order),
    )


def _ordered(
    starts: NDArray[np.int64],
    holes: NDArray[np.bool_],
    vertices: NDArray[np.int32],
    order: NDArray[np.int64],
) -> dict[str, Any]:
    """Return rings in another order."""
    sizes = np.diff(starts)[order]
    to = np.concatenate([[0], np.cumsum(sizes)])
    if not np.array_equal(order, np.arange(order.size)):
        places = np.arange(len(vertices)) - np.repeat(to[:-1] - starts[order], sizes)
        vertices = vertices[places]
    return {"starts": to, "holes": holes[order], "vertices": vertices}


def _joined(parts: Sequence[Polygons], regions: Regions) -> Polygons:
    """Return the polygons of several windows as those of all regions."""
    if not parts:
        none = np.zeros(1, np.int64)
        return Polygons(regions.ids, none, none, np.empty(0, bool), np.empty((0, 2), np.int32))
    ids = np.concatenate([part.ids for part in parts])
    order = np.argsort(ids, kind="stable")
    counts = np.concatenate([np.diff(part.first) for part in parts])
    sizes = np.concatenate([np.diff(part.starts) for part in parts])
    before = np.concatenate([[0], np.cumsum(counts)])
    first = np.concatenate([[0], np.cumsum(counts[order])])
    rings = np.arange(first[-1]) - np.repeat(first[:-1] - before[order], counts[order])
    return Polygons(
        ids=ids[order],
        first=first,
        **_ordered(
            np.concatenate([[0], np.cumsum(sizes)]),
            np.concatenate([part.holes for part in parts]),
            np.concatenate([part.vertices for part in parts]),
            rings,
        ),
    )
