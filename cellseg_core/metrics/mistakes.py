"""Which objects were split, merged, missed or invented, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.metrics.overlap import Overlap

__all__ = ["FRAGMENT", "Listed", "Mistakes", "find_mistakes"]

FRAGMENT = 0.1
"""Of the area of an object: a part that covers less of it makes no split and no merge."""


@attrs.frozen(eq=False, kw_only=True)
class Listed:
    """N objects of one label image.

    Attributes
    ----------
    ids
        (N,) int64: their values in the label image, ascending.
    centroids
        (N, 2) float64: mean row and column of their pixels, in px.
    areas
        (N,) int64: px.
    best_iou
        (N,) float64: IoU with the object of the other image that fits best; 0 where none shares a
        pixel.
    parts
        N times the ids of the objects of the other image that lie in it; empty for objects that
        are listed for another reason.
    """

    ids: NDArray[np.int64]
    centroids: NDArray[np.float64]
    areas: NDArray[np.int64]
    best_iou: NDArray[np.float64]
    parts: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        """Return N."""
        return self.ids.size


@attrs.frozen(eq=False, kw_only=True)
class Mistakes:
    """What a prediction did wrong.

    Attributes
    ----------
    splits
        True objects in which two or more predicted ones lie (over-segmentation).
    merges
        Predicted objects in which two or more true ones lie (under-segmentation).
    missed
        True objects without a match (IoU over 0.5) that are neither split nor merged.
    invented
        Predicted objects without a match that are neither a merge nor a part of a split.
    """

    splits: Listed
    merges: Listed
    missed: Listed
    invented: Listed

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row of a table for each mistake: what, id, y, x, area, best_iou, parts.

        ``id`` is a true one for ``split`` and ``missed``, a predicted one for ``merge`` and
        ``invented``; ``parts`` are ids of the other image.
        """
        listed = {
            "split": self.splits,
            "merge": self.merges,
            "missed": self.missed,
            "invented": self.invented,
        }
        for what, objects in listed.items():
            for index, parts in enumerate(objects.parts):
                yield {
                    "mistake": what,
                    "id": int(objects.ids[index]),
                    "y": round(float(objects.centroids[index, 0]), 2),
                    "x": round(float(objects.centroids[index, 1]), 2),
                    "area": int(objects.areas[index]),
                    "best_iou": round(float(objects.best_iou[index]), 4),
                    "parts": parts,
                }


def find_mistakes(overlap: Overlap) -> Mistakes:
    """Return the splits, merges, missed and invented objects of a prediction.

    An object lies in another if over half of its area is there; it is a part of it if it covers
    at least :data:`FRAGMENT` of the other's area too, so that crumbs along an outline count as
    nothing. A split object may still have a match, and then counts as found.

    >>> mistakes = find_mistakes(Overlap.of(np.array([[1, 1, 1, 0]]), np.array([[5, 6, 6, 7]])))
    >>> mistakes.splits.ids.tolist(), mistakes.splits.parts, mistakes.invented.ids.tolist()
    ([1], ((5, 6),), [7])
    """
    true, pred, common = overlap.true_index, overlap.pred_index, overlap.common
    iou = overlap.iou
    true_best = np.zeros(overlap.true_ids.size)
    pred_best = np.zeros(overlap.pred_ids.size)
    np.maximum.at(true_best, true, iou)
    np.maximum.at(pred_best, pred, iou)

    split = _holding_several(
        true, common, overlap.true_areas, holds=2 * common > overlap.pred_areas[pred]
    )
    merged = _holding_several(
        pred, common, overlap.pred_areas, holds=2 * common > overlap.true_areas[true]
    )
    explained_true = np.zeros(overlap.true_ids.size, bool)
    explained_true[true[split]] = explained_true[true[merged]] = True
    explained_pred = np.zeros(overlap.pred_ids.size, bool)
    explained_pred[pred[split]] = explained_pred[pred[merged]] = True

    every_true: dict[str, NDArray[Any]] = {
        "ids": overlap.true_ids,
        "centroids": overlap.true_centroids,
        "areas": overlap.true_areas,
        "best_iou": true_best,
    }
    every_pred: dict[str, NDArray[Any]] = {
        "ids": overlap.pred_ids,
        "centroids": overlap.pred_centroids,
        "areas": overlap.pred_areas,
        "best_iou": pred_best,
    }
    missed = np.flatnonzero((true_best <= 0.5) & ~explained_true)
    invented = np.flatnonzero((pred_best <= 0.5) & ~explained_pred)
    return Mistakes(
        splits=_listed(every_true, *_grouped(true[split], overlap.pred_ids[pred[split]])),
        merges=_listed(every_pred, *_grouped(pred[merged], overlap.true_ids[true[merged]])),
        missed=_listed(every_true, missed, ((),) * missed.size),
        invented=_listed(every_pred, invented, ((),) * invented.size),
    )


def _holding_several(
    holder: NDArray[np.int64],
    common: NDArray[np.int64],
    areas: NDArray[np.int64],
    holds: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return the pairs of a holder, one of ``areas``, and a part of it, where it has several."""
    inside = np.flatnonzero(holds & (common >= FRAGMENT * areas[holder]))
    several = np.bincount(holder[inside], minlength=areas.size) > 1
    found: NDArray[np.int64] = inside[several[holder[inside]]]
    return found


def _grouped(
    holders: NDArray[np.int64], parts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], tuple[tuple[int, ...], ...]]:
    """Return the holders, each once and ascending, and the parts of each."""
    order = np.argsort(holders, kind="stable")
    once, first = np.unique(holders[order], return_index=True)
    groups = np.split(parts[order], first[1:]) if once.size else []
    return once, tuple(tuple(group.tolist()) for group in groups)


def _listed(
    objects: Mapping[str, NDArray[Any]],
    index: NDArray[np.int64],
    parts: tuple[tuple[int, ...], ...],
) -> Listed:
    return Listed(parts=parts, **{name: column[index] for name, column in objects.items()})
