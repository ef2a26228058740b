"""Ids 1..N in reading order, the same for any way in which a label image was made."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.label_image import LazyLabels
from cellseg_core.protocols import Labels
from cellseg_core.regions import Regions

__all__ = ["ReadingOrder", "reading_order"]


@attrs.frozen(eq=False)
class ReadingOrder:
    """New ids 1..N for the objects of a label image, by each one's first pixel, row by row.

    Attributes
    ----------
    regions
        Where the objects are, by their new ids.
    former
        (N,) int64: ``former[i]`` is the former id of object ``i + 1``.
    new
        (largest former id + 1,) int32: the new id of each former one; 0 for one that was removed.
    """

    regions: Regions
    former: NDArray[np.int64]
    new: NDArray[np.int32]

    def apply(self, labels: NDArray[np.integer[Any]]) -> Labels:
        """Return labels, of any part of the image, with their new ids."""
        renumbered: Labels = self.new[labels]
        return renumbered

    def of(self, labels: LazyLabels) -> LazyLabels:
        """Return a lazy label image with the new ids, which it gets when it is read."""
        return _Reordered(labels, self.new)


@attrs.frozen(eq=False)
class _Reordered:
    labels: LazyLabels
    new: NDArray[np.int32]
    dtype = np.dtype(np.int32)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.labels.shape

    @property
    def chunks(self) -> tuple[int, ...] | None:
        return getattr(self.labels, "chunks", None)

    def __getitem__(self, key: Any) -> Labels:
        renumbered: Labels = self.new[np.asarray(self.labels[key])]
        return renumbered


def reading_order(regions: Regions, min_size: int = 1) -> ReadingOrder:
    """Return the reading order of the objects of a label image without those under ``min_size`` px.

    Memory is that of a table of all ids up to the largest.

    >>> from cellseg_core.regions import find_regions
    >>> reading_order(find_regions(np.array([[0, 7, 7], [3, 0, 0]], np.int32))).former.tolist()
    [7, 3]
    """
    kept = np.flatnonzero(regions.areas >= min_size)
    kept = kept[np.argsort(regions.first[kept])]
    new = np.zeros(int(regions.ids.max(initial=0)) + 1, np.int32)
    new[regions.ids[kept]] = np.arange(1, kept.size + 1, dtype=np.int32)
    return ReadingOrder(
        Regions(
            ids=np.arange(1, kept.size + 1),
            areas=regions.areas[kept],
            centroids=regions.centroids[kept],
            boxes=regions.boxes[kept],
            first=regions.first[kept],
        ),
        regions.ids[kept],
        new,
    )
