"""One owner for each object: the objects of overlapping tiles become one label image.

Tiles see the objects of their common parts twice, and may disagree. The rules, all of which look
at a list of objects and a list of overlapping pairs and never at a whole image:

1. An object is judged by the tile whose core holds the centre of its bounding box. A tile's object
   outside its own core counts only if the judging tile found at least half of it too: the edge of
   a tile invents no object.
2. Two objects of different tiles that share at least half of the smaller one are the same object.
   The one that lies deeper in its tile (distance of its bounding box from the tile's inner
   borders) stays, whole; ties go to the earlier tile.
3. Objects cut by the border of their tile, in each of two tiles (they are larger than the overlap
   allows for), are joined if they agree on at least half of what both tiles see of them.
4. A pixel that two remaining objects claim goes to the deeper one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import SegmentationError
from cellseg_core.label_image import LazyLabels
from cellseg_core.metrics.overlap import Overlap
from cellseg_core.objects import bounding_boxes, compact, tidy
from cellseg_core.overlapped import overlapped
from cellseg_core.protocols import Labels, Segmentation
from cellseg_core.tiling import Box, Tile

__all__ = ["Stitched", "TileObjects", "nothing_in", "stitch", "tile_objects"]

_SAME = 0.5
_STRIP = 4
_DEEPEST = np.iinfo(np.int64).max


@attrs.frozen(eq=False)
class TileObjects:
    """The objects of one tile: labels 1..n of its window and what stitching has to know of them.

    Attributes
    ----------
    labels
        (y, x) int32 of the tile's window; they may be lazy.
    centres
        (n, 2) centres of the bounding boxes, in px of the image.
    depths
        (n,) px between the bounding box and the nearest border of the window that is not an edge
        of the image; 0 for an object that is cut.
    areas, scores
        (n,) px, and confidence (NaN where the segmenter gives none).
    """

    tile: Tile
    labels: Labels | LazyLabels
    centres: NDArray[np.float64]
    depths: NDArray[np.int64]
    areas: NDArray[np.int64]
    scores: NDArray[np.float64]


def tile_objects(tile: Tile, found: Segmentation, shape: tuple[int, int]) -> TileObjects:
    """Return the objects that a segmenter found in a tile of an image of ``shape``, tidied.

    Raises
    ------
    SegmentationError
        If the labels have another shape than the window, are not integers, are negative, or fewer
        scores than labels were given, or others than from 0 to 1.
    """
    _check(found, tile.window.shape)
    numbered, present = compact(found.labels)
    labels = tidy(numbered)
    count = present.size
    scores = np.full(count, np.nan)
    if found.scores is not None and count:
        scores = np.asarray(found.scores, np.float64)[present - 1]
    boxes = bounding_boxes(labels, count)
    window = tile.window
    boxes += (window.y0, window.y0, window.x0, window.x0)
    depths = np.full(count, _DEEPEST)
    for inner, distance in (
        (window.y0 > 0, boxes[:, 0] - window.y0),
        (window.y1 < shape[0], window.y1 - boxes[:, 1]),
        (window.x0 > 0, boxes[:, 2] - window.x0),
        (window.x1 < shape[1], window.x1 - boxes[:, 3]),
    ):
        if inner:
            depths = np.minimum(depths, distance)
    centres = np.stack([boxes[:, :2].mean(axis=1), boxes[:, 2:].mean(axis=1)], axis=1)
    areas = np.bincount(labels.ravel())[1:]
    return TileObjects(tile, labels, centres, depths, areas, scores)


def nothing_in(tile: Tile) -> TileObjects:
    """Return what a tile without any object gives."""
    none = np.zeros(0)
    return TileObjects(
        tile,
        labels=np.zeros(tile.window.shape, np.int32),
        centres=np.zeros((0, 2)),
        depths=none.astype(np.int64),
        areas=none.astype(np.int64),
        scores=none,
    )


def _check(found: Segmentation, shape: tuple[int, int]) -> None:
    labels = found.labels
    if labels.shape != shape:
        raise SegmentationError(
            f"labels must have the size of the tile, {shape}; these have {labels.shape}"
        )
    if labels.dtype.kind not in "iu":
        raise SegmentationError(f"labels must be integers; these are {labels.dtype}")
    lowest, top = int(labels.min(initial=0)), int(labels.max(initial=0))
    if lowest < 0:
        raise SegmentationError(f"labels must not be negative; the smallest is {lowest}")
    if found.scores is None:
        return
    if len(found.scores) < top:
        raise SegmentationError(
            f"there must be a score for each label up to {top}; {len(found.scores)} came"
        )
    scores = np.asarray(found.scores)
    if np.any((scores < 0) | (scores > 1)):
        raise SegmentationError(
            f"scores are from 0 to 1; these go from {np.nanmin(scores):g} to {np.nanmax(scores):g}"
        )


@attrs.frozen(eq=False)
class Stitched:
    """The label image of all tiles, painted window by window: a lazy label image.

    Ids are positive and unique, with gaps, which
    :func:`~cellseg_core.reading_order.reading_order` closes.

    Attributes
    ----------
    shape
        (Y, X).
    scores
        The score of each id (``[id - 1]``); NaN where there is none.
    """

    shape: tuple[int, int]
    scores: NDArray[np.float64]
    _tiles: Sequence[TileObjects]
    _windows: NDArray[np.int64]
    _ranks: Sequence[NDArray[np.int32]]
    _ids: NDArray[np.int32]
    dtype = np.dtype(np.int32)

    def __getitem__(self, key: tuple[slice, slice]) -> Labels:
        """Return a new array with the labels of a window (rows, columns), of steps of 1 px."""
        from cellseg_core.stitching_kernels import claim, rename

        (y0, y1, down), (x0, x1, right) = (
            part.indices(length) for part, length in zip(key, self.shape, strict=True)
        )
        if (down, right) != (1, 1):
            raise IndexError("a window of a stitched label image has steps of 1 px")
        box = Box(y0, max(y0, y1), x0, max(x0, x1))
        nothing = self._ids.size - 1
        out = np.full(box.shape, nothing, np.int32)
        for number in np.flatnonzero(_meeting(self._windows, box)).tolist():
            objects = self._tiles[number]
            shared = objects.tile.window.intersection(box)
            if shared is not None:
                labels = objects.labels[shared.within(objects.tile.window)]
                claim(out[shared.within(box)], _plain(labels), self._ranks[number])
        rename(out, self._ids)
        return out


def _plain(labels: Labels) -> Labels:
    """Return contiguous labels that cannot be written to: kernels then have one type to compile."""
    plain = np.ascontiguousarray(labels, np.int32).view()
    plain.flags.writeable = False
    return plain


def stitch(shape: tuple[int, int], tiles: Sequence[TileObjects]) -> Stitched:
    """Return the label image of all tiles of an image of ``shape``, which is painted when read.

    The result does not depend on the order of ``tiles``.
    """
    tiles = sorted(tiles, key=lambda t: (t.tile.row, t.tile.col))
    starts = np.cumsum([0, *(t.areas.size for t in tiles)])
    total = int(starts[-1])
    areas = np.concatenate([np.empty(0, np.int64), *(t.areas for t in tiles)])
    depths = np.concatenate([np.empty(0, np.int64), *(t.depths for t in tiles)])
    windows = np.array([attrs.astuple(t.tile.window) for t in tiles], np.int64).reshape(-1, 4)
    pairs = _overlapping_pairs(tiles, windows, starts)
    judged_elsewhere, judges = _judges(tiles, starts)
    # Rank 0 is the deepest object; lexsort is stable, so ties go to the earlier tile and label.
    order = np.lexsort((np.arange(total), -depths))
    group = _resolve(pairs, areas, depths, order, judged_elsewhere, judges, starts)
    rank = np.empty(total, np.int64)
    rank[order] = np.arange(total)
    scores = np.full(total, np.nan)
    scores[rank] = np.concatenate([np.empty(0), *(t.scores for t in tiles)])
    # The deepest object that claims a pixel has the lowest rank; what is after all is nothing.
    kept = np.where(group >= 0, rank, total).astype(np.int32)
    ranks = [
        np.concatenate([[np.int32(total)], part]) for part in np.split(kept, starts[1:-1]) if tiles
    ]
    # From ranks to one id for each group of joined pieces: the rank of its deepest member, plus 1.
    ids = np.zeros(total + 1, np.int32)
    stay = np.flatnonzero(group >= 0)
    ids[rank[stay]] = rank[group[stay]] + 1
    return Stitched(shape, scores, tiles, windows, ranks, ids)


def _meeting(windows: NDArray[np.int64], box: Box) -> NDArray[np.bool_]:
    """Return which windows (n, 4) have pixels in common with a box."""
    y0, y1, x0, x1 = windows.T
    meets: NDArray[np.bool_] = (y0 < box.y1) & (y1 > box.y0) & (x0 < box.x1) & (x1 > box.x0)
    return meets


@attrs.frozen(eq=False)
class _Pairs:
    """Objects of two tiles with common pixels; ``common`` px, of ``union`` in the shared part."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    common: NDArray[np.int64]
    union: NDArray[np.int64]


def _overlapping_pairs(
    tiles: Sequence[TileObjects], windows: NDArray[np.int64], starts: NDArray[np.int64]
) -> _Pairs:
    def neighbours() -> Iterator[tuple[int, int]]:
        # In strips of some columns of tiles, so that those below are at hand when they come.
        strips = sorted(
            range(len(tiles)), key=lambda i: (tiles[i].tile.col // _STRIP, tiles[i].tile.row)
        )
        for i in strips:
            near = _meeting(windows[i + 1 :], tiles[i].tile.window)
            yield from ((i, j) for j in (np.flatnonzero(near) + i + 1).tolist())

    def compare(pair: tuple[int, int]) -> tuple[NDArray[np.int64], ...]:
        one, other = (tiles[number] for number in pair)
        shared = one.tile.window.intersection(other.tile.window)
        assert shared is not None
        # Neither is the truth; what is wanted is which objects share pixels, and how many.
        mine = one.labels[shared.within(one.tile.window)]
        both = Overlap.of(mine, other.labels[shared.within(other.tile.window)])
        first, second = both.true_index, both.pred_index
        return (
            starts[pair[0]] + both.true_ids[first] - 1,
            starts[pair[1]] + both.pred_ids[second] - 1,
            both.common,
            both.true_areas[first] + both.pred_areas[second] - both.common,
        )

    columns = list(overlapped(compare, neighbours()))
    columns.append(tuple(np.empty(0, np.int64) for _ in range(4)))
    first, second, common, union = map(np.concatenate, zip(*columns, strict=True))
    order = np.lexsort((second, first))
    return _Pairs(first[order], second[order], common[order], union[order])


def _judges(
    tiles: Sequence[TileObjects], starts: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return for each object whether its centre lies in another tile's core, and that tile."""
    elsewhere = np.zeros(int(starts[-1]), bool)
    judge = np.zeros(int(starts[-1]), np.int64)
    number = {(t.tile.row, t.tile.col): i for i, t in enumerate(tiles)}
    row_ends = np.array(sorted({t.tile.core.y1 for t in tiles}))
    col_ends = np.array(sorted({t.tile.core.x1 for t in tiles}))
    for i, objects in enumerate(tiles):
        own = slice(starts[i], starts[i + 1])
        rows = np.searchsorted(row_ends, objects.centres[:, 0], side="right")
        cols = np.searchsorted(col_ends, objects.centres[:, 1], side="right")
        judge[own] = [number[place] for place in zip(rows.tolist(), cols.tolist(), strict=True)]
        elsewhere[own] = judge[own] != i
    return elsewhere, judge


def _resolve(
    pairs: _Pairs,
    areas: NDArray[np.int64],
    depths: NDArray[np.int64],
    order: NDArray[np.int64],
    judged_elsewhere: NDArray[np.bool_],
    judges: NDArray[np.int64],
    starts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return for each object the deepest member of its group, or -1 where it was dropped."""
    from cellseg_core.stitching_kernels import resolve

    total = areas.size
    same = pairs.common >= _SAME * np.minimum(areas[pairs.first], areas[pairs.second])
    cut = depths == 0
    joined = cut[pairs.first] & cut[pairs.second] & (pairs.common >= _SAME * pairs.union)
    linked = same | joined
    first, second, joined = pairs.first[linked], pairs.second[linked], joined[linked]

    tile_of = np.repeat(np.arange(starts.size - 1), np.diff(starts))
    confirmed = ~judged_elsewhere
    confirmed[first[judges[first] == tile_of[second]]] = True
    confirmed[second[judges[second] == tile_of[first]]] = True

    group = np.where(confirmed, np.arange(total), -1)
    one = np.concatenate([first, second])
    other = np.concatenate([second, first])
    is_join = np.concatenate([joined, joined])
    by_one = np.argsort(one, kind="stable")
    one, other, is_join = one[by_one], other[by_one], is_join[by_one]
    ends = np.searchsorted(one, np.arange(total + 1))
    rank = np.empty(total, np.int64)
    rank[order] = np.arange(total)
    resolve(order[np.diff(ends)[order] > 0], rank, ends, other, is_join, group)
    return group
