"""Where segmenters agree, where they do not, and which nuclei only one of them finds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ConfigurationError
from cellseg_core.label_image import LazyLabels
from cellseg_core.metrics.overlap import Overlap

__all__ = [
    "ALONE_COVERED",
    "ALONE_IOU",
    "MATCH",
    "Agreement",
    "Disagreement",
    "Found",
    "Pair",
    "Sizes",
    "alone",
    "alone_facts",
    "compare_pair",
]

MATCH = 0.5
"""Two objects are the same nucleus if their IoU is over this: then no third can match either."""

ALONE_IOU = 0.1
"""The largest IoU with another method's object that leaves a nucleus found by one alone."""

ALONE_COVERED = 0.25
"""The largest share of a nucleus that another method's objects cover, if it is found by one alone.

Neighbours that are drawn too wide may reach into a nucleus that a method did not find; one that
it joined to a neighbour, or cut into pieces, is covered, and so it was found, though drawn
otherwise.
"""


@attrs.frozen(eq=False, kw_only=True)
class Found:
    """How much of each of N objects of one method another method finds, in one image.

    Attributes
    ----------
    ids
        (N,) int64, ascending.
    areas
        (N,) int64: px.
    centroids
        (N, 2) float64: mean row and column of the pixels, in px.
    best_iou
        (N,) float64: the largest IoU with an object of the other method; 0 where there is none.
    covered
        (N,) float64: the share of the pixels that any objects of the other method cover.
    """

    ids: NDArray[np.int64]
    areas: NDArray[np.int64]
    centroids: NDArray[np.float64]
    best_iou: NDArray[np.float64]
    covered: NDArray[np.float64]

    def __len__(self) -> int:
        return int(self.ids.size)

    @property
    def matched(self) -> NDArray[np.bool_]:
        """Return (N,) bool: the other method has the same nucleus, IoU over ``MATCH``."""
        return self.best_iou > MATCH

    @property
    def alone(self) -> NDArray[np.bool_]:
        """Return (N,) bool: the other method has nothing in that place."""
        return (self.best_iou <= ALONE_IOU) & (self.covered <= ALONE_COVERED)


@attrs.frozen(eq=False, kw_only=True)
class Pair:
    """Two methods in one image.

    Attributes
    ----------
    shape
        (height, width) of the image in px.
    first, second
        The objects of each method, and how the other one finds them.
    """

    shape: tuple[int, int]
    first: Found
    second: Found


def compare_pair(
    first: LazyLabels | NDArray[np.integer[Any]],
    second: LazyLabels | NDArray[np.integer[Any]],
    names: tuple[str, str] = ("first", "second"),
) -> Pair:
    """Return how two methods' label images (Y, X) of one image agree, object by object.

    They may be lazy; the result has the size of the objects, not of the pixels.

    Raises
    ------
    ImageError
        If one is not a label image, or their sizes differ; ``names`` are the methods' names.

    >>> pair = compare_pair(np.array([[1, 1, 1, 0, 2]]), np.array([[0, 7, 7, 0, 0]]))
    >>> pair.first.best_iou.round(2).tolist(), pair.first.covered.round(2).tolist()
    ([0.67, 0.0], [0.67, 0.0])
    >>> pair.first.alone.tolist(), pair.second.alone.tolist()
    ([False, True], [False])
    """
    overlap = Overlap.of(first, second, names=names)
    true, pred, iou = overlap.true_index, overlap.pred_index, overlap.iou
    return Pair(
        shape=overlap.shape,
        first=_found(
            overlap.true_ids, overlap.true_areas, overlap.true_centroids, true, iou, overlap.common
        ),
        second=_found(
            overlap.pred_ids, overlap.pred_areas, overlap.pred_centroids, pred, iou, overlap.common
        ),
    )


def _found(
    ids: NDArray[np.int64],
    areas: NDArray[np.int64],
    centroids: NDArray[np.float64],
    place: NDArray[np.int64],
    iou: NDArray[np.float64],
    common: NDArray[np.int64],
) -> Found:
    best = np.zeros(ids.size)
    np.maximum.at(best, place, iou)
    # The other method's objects share no pixel, so what they cover adds up.
    covered = np.bincount(place, weights=common, minlength=ids.size) / areas
    return Found(ids=ids, areas=areas, centroids=centroids, best_iou=best, covered=covered)


@attrs.frozen(kw_only=True)
class Agreement:
    """How far two methods agree over all images: pooled counts of objects.

    Attributes
    ----------
    images
        How many images both have.
    first, second
        The objects of each method.
    matched
        Pairs of objects whose IoU is over ``MATCH``.
    iou_sum
        The sum of the IoU of these pairs.
    first_alone, second_alone
        Objects of each in whose place the other has nothing. What is neither matched nor alone is
        drawn otherwise: joined, cut, or of another size.
    """

    images: int = 0
    first: int = 0
    second: int = 0
    matched: int = 0
    iou_sum: float = 0.0
    first_alone: int = 0
    second_alone: int = 0

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Self:
        """Return the agreement over images, each a :class:`Pair` of the same two methods.

        The pairs may come from a generator: one is looked at at a time.

        >>> labels = np.array([[1, 1, 0, 2]])
        >>> pairs = compare_pair(labels, labels), compare_pair(labels, 0 * labels)
        >>> agreement = Agreement.of(pairs)
        >>> agreement.matched, agreement.f1, agreement.first_alone
        (2, 0.6666666666666666, 2)
        """
        total = cls()
        for pair in pairs:
            matched = pair.first.matched
            total = cls(
                images=total.images + 1,
                first=total.first + len(pair.first),
                second=total.second + len(pair.second),
                matched=total.matched + int(matched.sum()),
                iou_sum=total.iou_sum + float(pair.first.best_iou[matched].sum()),
                first_alone=total.first_alone + int(pair.first.alone.sum()),
                second_alone=total.second_alone + int(pair.second.alone.sum()),
            )
        return total

    @property
    def f1(self) -> float | None:
        """Return matched objects as a share of all, ``2 m / (n1 + n2)``; None without objects."""
        together = self.first + self.second
        return 2 * self.matched / together if together else None

    @property
    def mean_iou(self) -> float | None:
        """Return the mean IoU of matched objects; None without any."""
        return self.iou_sum / self.matched if self.matched else None

    def facts(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            "images": self.images,
            "first": self.first,
            "second": self.second,
            "matched": self.matched,
            "f1": self.f1,
            "mean_iou": self.mean_iou,
            "first_unmatched": self.first - self.matched,
            "second_unmatched": self.second - self.matched,
            "first_alone": self.first_alone,
            "second_alone": self.second_alone,
        }


def alone(by_others: Sequence[Found]) -> NDArray[np.bool_]:
    """Return (N,) bool: which of one method's objects no other method finds, in one image.

    ``by_others`` is how each other method finds them: :attr:`Pair.first` of that method with every
    other. Empty where there is no other method.

    >>> one = np.array([[1, 0, 2, 0, 3]])
    >>> others = (np.array([[1, 0, 0, 0, 0]]), np.array([[0, 0, 1, 0, 0]]))
    >>> alone([compare_pair(one, other).first for other in others]).tolist()
    [False, False, True]
    """
    _same_objects(by_others)
    if not by_others:
        return np.zeros(0, bool)
    only: NDArray[np.bool_] = np.logical_and.reduce([found.alone for found in by_others])
    return only


def _same_objects(by_others: Sequence[Found]) -> None:
    assert all(np.array_equal(found.ids, by_others[0].ids) for found in by_others)


def alone_facts(image: str, by_others: Sequence[Found]) -> list[dict[str, Any]]:
    """Return the objects of one method that no other finds, in one image, as plain JSON values.

    Each has the image, its id in the method's label image, its centre in px (row and column), and
    its area in px; in the order of the ids.
    """
    return [
        {
            "image": image,
            "id": int(by_others[0].ids[row]),
            "y": round(float(by_others[0].centroids[row, 0]), 2),
            "x": round(float(by_others[0].centroids[row, 1]), 2),
            "area": int(by_others[0].areas[row]),
        }
        for row in np.flatnonzero(alone(by_others))
    ]


@attrs.frozen(kw_only=True)
class Sizes:
    """How many objects a method finds, and how large they are.

    ``median``, ``lower`` and ``upper`` (the quartiles) are areas in px, None without objects.
    """

    count: int
    median: float | None
    lower: float | None
    upper: float | None

    @classmethod
    def of(cls, areas: Iterable[NDArray[np.integer[Any]]]) -> Self:
        """Return the sizes over images; each item is the areas (N,) in px of one image's objects.

        >>> Sizes.of([np.array([1, 2]), np.array([3])])
        Sizes(count=3, median=2.0, lower=1.5, upper=2.5)
        """
        every = np.concatenate([np.empty(0, np.int64), *areas])
        if not every.size:
            return cls(count=0, median=None, lower=None, upper=None)
        lower, median, upper = (float(value) for value in np.quantile(every, (0.25, 0.5, 0.75)))
        return cls(count=int(every.size), median=median, lower=lower, upper=upper)

    def facts(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            "count": self.count,
            "area_median": self.median,
            "area_lower_quartile": self.lower,
            "area_upper_quartile": self.upper,
        }


@attrs.frozen(eq=False, kw_only=True)
class Disagreement:
    """How much area of one image the methods dispute, window by window.

    Of an object with the best IoU ``u`` in another method, the part ``1 - u`` of its area is
    disputed. A window sums that over the objects whose centre lies in it, and takes the mean over
    methods and over the methods that each is compared with.

    Attributes
    ----------
    edge
        Side of the square windows in px; those at the right and at the bottom may be cut off.
    shape
        (height, width) of the image in px.
    disputed, total
        (rows, columns) float64: the disputed area and the area of all objects, in px. Their ratio
        lies from 0 to 1.
    """

    edge: int
    shape: tuple[int, int]
    disputed: NDArray[np.float64]
    total: NDArray[np.float64]

    @classmethod
    def of(cls, pairs: Sequence[Pair], edge: int = 128) -> Self:
        """Return the disagreement in one image, given every pair of methods in it.

        Raises
        ------
        ConfigurationError
            If the windows are not of 1 px at least.

        >>> pair = compare_pair(np.array([[1, 1, 0, 2, 2, 2]]), np.array([[1, 1, 0, 0, 2, 0]]))
        >>> found = Disagreement.of([pair], edge=3)
        >>> found.disputed.round(2).tolist(), found.worst(1)
        ([[0.0, 1.33]], [(0, 1, 3, 6)])
        """
        if edge < 1:
            raise ConfigurationError(f"a window is at least 1 px wide; got {edge}")
        shape = _common_shape(pairs)
        size = math.ceil(shape[0] / edge), math.ceil(shape[1] / edge)
        disputed, total = np.zeros(size), np.zeros(size)
        sides = [side for pair in pairs for side in (pair.first, pair.second)]
        for side in sides:
            row, column = (side.centroids // edge).astype(np.int64).T
            np.add.at(disputed, (row, column), side.areas * (1 - side.best_iou))
            np.add.at(total, (row, column), side.areas)
        share = max(1, len(sides))
        return cls(edge=edge, shape=shape, disputed=disputed / share, total=total / share)

    def worst(self, count: int) -> list[tuple[int, int, int, int]]:
        """Return up to ``count`` windows ``y0, y1, x0, x1``, the most disputed area first.

        Ends are exclusive. Ties go in reading order; windows without any dispute are left out.
        """
        flat = self.disputed.ravel()
        order = np.argsort(-flat, kind="stable")[: max(0, count)]
        height, width = self.shape
        windows = []
        for place in order[flat[order] > 0]:
            row, column = (int(part) for part in np.unravel_index(place, self.disputed.shape))
            y0, x0 = row * self.edge, column * self.edge
            windows.append((y0, min(y0 + self.edge, height), x0, min(x0 + self.edge, width)))
        return windows


def _common_shape(pairs: Sequence[Pair]) -> tuple[int, int]:
    """Return the (height, width) in px that all pairs of one image have; (0, 0) without pairs."""
    shapes = {pair.shape for pair in pairs}
    assert len(shapes) <= 1, f"pairs of several images: {sorted(shapes)}"
    return next(iter(shapes), (0, 0))
