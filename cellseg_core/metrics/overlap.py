"""Which objects of two label images share pixels, and how many: what every figure is made from."""

from __future__ import annotations

from typing import Any, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_core.label_image import LazyLabels, check_labels, read_labels
from cellseg_core.normalize import row_bands

__all__ = ["Overlap"]


@attrs.frozen(eq=False, kw_only=True)
class Overlap:
    """Which of T true and P predicted objects share pixels: K pairs, sparse.

    Attributes
    ----------
    shape
        (height, width) of both label images, in px.
    true_ids, pred_ids
        (T,) and (P,) int64: the ids of the objects, ascending.
    true_areas, pred_areas
        (T,) and (P,) int64: px.
    true_centroids, pred_centroids
        (T, 2) and (P, 2) float64: mean row and column of each object's pixels, in px.
    true_index, pred_index
        (K,) int64: for every pair with common pixels, the places of its objects in ``true_ids``
        and ``pred_ids``; sorted by both.
    common
        (K,) int64: the pixels that the two share, 1 or more.
    """

    shape: tuple[int, int]
    true_ids: NDArray[np.int64]
    true_areas: NDArray[np.int64]
    true_centroids: NDArray[np.float64]
    pred_ids: NDArray[np.int64]
    pred_areas: NDArray[np.int64]
    pred_centroids: NDArray[np.float64]
    true_index: NDArray[np.int64]
    pred_index: NDArray[np.int64]
    common: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        truth: LazyLabels | NDArray[np.integer[Any]],
        pred: LazyLabels | NDArray[np.integer[Any]],
        names: tuple[str, str] = ("truth", "prediction"),
    ) -> Self:
        """Return the overlap of two label images.

        Parameters
        ----------
        truth, pred
            Integers (Y, X) of one size: 0 is background, every other value the id of one object,
            up to 9.2e18 and with gaps. They may be lazy: each is read once, in bands of rows, and
            memory is that of a band and of the pairs.
        names
            What messages call the two.

        Raises
        ------
        ImageError
            If one is not a label image, or their sizes differ.

        >>> overlap = Overlap.of(np.array([[1, 1, 0, 0]]), np.array([[0, 4, 4, 9]]))
        >>> overlap.true_ids.tolist(), overlap.pred_ids.tolist(), overlap.common.tolist()
        ([1], [4, 9], [1])
        >>> overlap.pred_centroids.tolist()
        [[0.0, 1.5], [0.0, 3.0]]
        """
        from cellseg_core.metrics.overlap_kernels import count_rows, empty_table

        one, other = check_labels(truth, names[0]), check_labels(pred, names[1])
        shape = (int(one.shape[0]), int(one.shape[1]))
        if shape != (int(other.shape[0]), int(other.shape[1])):
            raise ImageError(
                f"{names[0]} and {names[1]} must have one size, since they show the same pixels; "
                f"got {shape} and {tuple(map(int, other.shape))}."
            )
        table, used = empty_table(), 0
        for rows in row_bands(shape) if shape[1] else ():
            first = read_labels(one, rows, name=names[0])
            second = read_labels(other, rows, name=names[1])
            # One type for both, and no read-only ones (memmaps): each pair of types is compiled.
            both = np.promote_types(first.dtype, second.dtype)
            table, used = count_rows(
                np.require(first, both, ["C", "W"]),
                np.require(second, both, ["C", "W"]),
                rows.start,
                table,
                used,
            )
        pairs = table[table[:, 2] > 0]
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        true_ids, true_areas, true_centroids, true_index = _objects(pairs, 0)
        pred_ids, pred_areas, pred_centroids, pred_index = _objects(pairs, 1)
        shared = (pairs[:, 0] > 0) & (pairs[:, 1] > 0)
        return cls(
            shape=shape,
            true_ids=true_ids,
            true_areas=true_areas,
            true_centroids=true_centroids,
            pred_ids=pred_ids,
            pred_areas=pred_areas,
            pred_centroids=pred_centroids,
            true_index=true_index[shared],
            pred_index=pred_index[shared],
            common=pairs[shared, 2],
        )

    @property
    def iou(self) -> NDArray[np.float64]:
        """Return the intersection over union of each pair: (K,) float64, over 0 and up to 1."""
        together = self.true_areas[self.true_index] + self.pred_areas[self.pred_index]
        return self.common / (together - self.common)

    def matched(self, threshold: float = 0.5) -> NDArray[np.bool_]:
        """Return which pairs are matches: (K,) bool, those whose IoU is over the threshold.

        From a threshold of 0.5 on, no object can be in two matches (2018 Data Science Bowl). An
        IoU that equals the threshold is no match, where StarDist and Cellpose count one.
        """
        return self.iou > threshold


def _objects(
    pairs: NDArray[np.int64], column: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return ids, areas and centroids of one image's objects, and the place of each pair's.

    The place is wrong, but not outside, for a pair with the background.
    """
    ids, place = np.unique(pairs[:, column], return_inverse=True)
    sums = np.zeros((ids.size, 3), np.int64)
    np.add.at(sums, place, pairs[:, 2:])
    if ids.size and ids[0] == 0:
        ids, sums, place = ids[1:], sums[1:], place - 1
    return ids, sums[:, 0].copy(), sums[:, 1:] / sums[:, :1], place
