"""How well one predicted label image fits the true one."""

from __future__ import annotations

from typing import Any, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.label_image import LazyLabels
from cellseg_core.metrics.average_precision import THRESHOLDS
from cellseg_core.metrics.boundary import Boundary, compare_boundaries
from cellseg_core.metrics.figures import figures, percent
from cellseg_core.metrics.jaccard import AggregatedJaccard, aggregated_jaccard
from cellseg_core.metrics.mistakes import Mistakes, find_mistakes
from cellseg_core.metrics.overlap import Overlap

__all__ = ["Evaluation"]


@attrs.frozen(eq=False, kw_only=True)
class Evaluation:
    """What every figure of one image is made from; the label images themselves are not kept.

    Attributes
    ----------
    name
        Of the image.
    shape
        (height, width) in px.
    tolerance
        How far apart outlines may be to count as one, in px.
    true_areas
        (T,) int64: px of each true object.
    true_iou
        (T,) float64: IoU of each true object with its match; 0 where none is over 0.5.
    predicted
        How many objects were predicted.
    jaccard
        Pixels for the aggregated Jaccard index.
    boundary
        Pixels for the boundary F1.
    mistakes
        Splits, merges, missed and invented objects.
    """

    name: str
    shape: tuple[int, int]
    tolerance: float
    true_areas: NDArray[np.int64]
    true_iou: NDArray[np.float64]
    predicted: int
    jaccard: AggregatedJaccard
    boundary: Boundary
    mistakes: Mistakes

    @classmethod
    def of(
        cls,
        truth: LazyLabels | NDArray[np.integer[Any]],
        pred: LazyLabels | NDArray[np.integer[Any]],
        name: str = "image",
        tolerance: float = 2.0,
        overlap: Overlap | None = None,
    ) -> Self:
        """Return how well a predicted label image fits the true one.

        Parameters
        ----------
        truth, pred
            Integers (Y, X) of one size, 0 is background; they may be lazy.
        name
            Of the image.
        tolerance
            How far apart outlines may be to count as one, from 0 to 50 px.
        overlap
            ``Overlap.of(truth, pred)``, where it is known already.

        Raises
        ------
        ImageError
            If one is not a label image, or their sizes differ.
        ConfigurationError
            If the tolerance is out of range.

        >>> truth = np.array([[1, 1, 1, 1, 0, 2]])
        >>> result = Evaluation.of(truth, np.array([[5, 5, 5, 0, 0, 0]]))
        >>> result.true_iou.tolist()
        [0.75, 0.0]
        >>> result.figures()["recall_50"], result.figures()["precision_75"]
        (0.5, 0.0)
        """
        if overlap is None:
            names = (f"the truth of {name}", f"the prediction of {name}")
            overlap = Overlap.of(truth, pred, names)
        match = overlap.matched()
        true_iou = np.zeros(overlap.true_ids.size)
        true_iou[overlap.true_index[match]] = overlap.iou[match]
        return cls(
            name=name,
            shape=overlap.shape,
            tolerance=tolerance,
            true_areas=overlap.true_areas,
            true_iou=true_iou,
            predicted=overlap.pred_ids.size,
            jaccard=aggregated_jaccard(overlap),
            boundary=compare_boundaries(truth, pred, tolerance),
            mistakes=find_mistakes(overlap),
        )

    def sums(self) -> dict[str, float]:
        """Return the numbers that add up over images: see :data:`~.figures.Sums`."""
        matched = {
            f"matched_{percent(level)}": float(np.count_nonzero(self.true_iou > level))
            for level in THRESHOLDS
        }
        return {
            "true": float(self.true_areas.size),
            "predicted": float(self.predicted),
            **matched,
            "iou": float(self.true_iou.sum()),
            "jaccard_common": float(self.jaccard.common),
            "jaccard_union": float(self.jaccard.union),
            "outline_true": float(self.boundary.true),
            "outline_found": float(self.boundary.true_found),
            "outline_predicted": float(self.boundary.pred),
            "outline_right": float(self.boundary.pred_right),
            "splits": float(len(self.mistakes.splits)),
            "merges": float(len(self.mistakes.merges)),
            "missed": float(len(self.mistakes.missed)),
            "invented": float(len(self.mistakes.invented)),
        }

    def figures(self) -> dict[str, float]:
        """Return every figure of this image by name: see :func:`~.figures.figures`.

        NaN where there is none, for example the precision without a predicted object.
        """
        found = figures({name: np.asarray(value) for name, value in self.sums().items()})
        return {name: float(value) for name, value in found.items()}
