"""How accurate a segmenter is on images with known nuclei, run as a user will run it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.training.diameter import nuclear_diameter
from cellseg_core.metrics import THRESHOLDS, pairwise_iou
from cellseg_core.pipeline import Pipeline
from cellseg_core.plugins import load_plugins
from cellseg_core.protocols import Segmenter
from cellseg_core.training_set import TrainingExample

__all__ = [
    "SCORES",
    "Examined",
    "accuracy",
    "best_score",
    "examine",
    "mean_precision",
    "some",
]

SCORES = tuple(round(0.3 + 0.05 * step, 2) for step in range(9))
"""Least confidences of a nucleus that :func:`best_score` chooses from."""


@attrs.frozen(eq=False)
class Examined:
    """What was found in one image.

    Attributes
    ----------
    name, group
        Of the image.
    nuclei
        True nuclei.
    scores
        (P,) confidence of each nucleus found.
    overlaps
        (P,) IoU of each with the true nucleus that it fits best, 0 for none.
    """

    name: str
    group: str
    nuclei: int
    scores: NDArray[np.float64]
    overlaps: NDArray[np.float64]

    def precision(self, score: float = 0.0) -> NDArray[np.float64]:
        """Return the AP at each of :data:`~cellseg_core.metrics.THRESHOLDS`.

        Only what was found with a confidence of at least ``score`` counts.

        >>> image = Examined("", "", 2, np.array([0.9, 0.4]), np.array([0.72, 0.0]))
        >>> image.precision()[:5].round(2).tolist(), image.precision(0.5)[0]
        ([0.33, 0.33, 0.33, 0.33, 0.33], np.float64(0.5))
        """
        overlaps = self.overlaps[self.scores >= score]
        matched = np.array([np.count_nonzero(overlaps > threshold) for threshold in THRESHOLDS])
        all_objects = self.nuclei + overlaps.size - matched
        return np.where(all_objects > 0, matched / np.maximum(all_objects, 1), 1.0)


def examine(
    segmenter: Segmenter,
    examples: Sequence[TrainingExample],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Examined]:
    """Return what a segmenter finds in images whose nuclei are known.

    It is run by :class:`~cellseg_core.pipeline.Pipeline` at the images' true nuclear diameter:
    tiles, stitching and the removal of small objects are as a user will have them. Where an image
    has no nucleus, the diameter is estimated.
    """
    found = []
    plugins = load_plugins()
    for done, one in enumerate(examples):
        progress(done, len(examples))
        truth = one.labels()
        pipeline = Pipeline(
            segmenter=segmenter, nuclear_diameter=nuclear_diameter(truth), plugins=plugins
        )
        result = pipeline.run(one.image(), one.nuclear)
        scores = np.asarray(result.table.scores, np.float64)
        _, label, iou = pairwise_iou(truth, result.nuclei)
        overlaps = np.zeros(len(scores))
        np.maximum.at(overlaps, label - 1, iou)
        found.append(Examined(one.name, one.group, int(truth.max()), scores, overlaps))
    progress(len(examples), len(examples))
    return found


def best_score(images: Sequence[Examined]) -> float:
    """Return the one of :data:`SCORES` with the highest mAP; of equal ones the lowest.

    What was found is filtered, which is nearly what a segmenter with that threshold finds: a few
    pixels that went to a nucleus below it would have been another's.
    """
    means = [mean_precision(images, score) for score in SCORES]
    return SCORES[int(np.argmax(np.round(means, 6)))]


def mean_precision(images: Sequence[Examined], score: float = 0.0) -> float:
    """Return the mAP of what was found with a confidence of at least ``score``."""
    return float(np.mean([image.precision(score) for image in images]))


def accuracy(images: Sequence[Examined]) -> dict[str, dict[str, Any]]:
    """Return numbers of images and nuclei, mAP, and AP at IoU 0.5 and 0.75, by group and for all.

    The mAP is that of the 2018 Data Science Bowl: the mean over images of the mean over IoU 0.5,
    0.55 ... 0.95. Images without a modality count in ``"all"`` alone.
    """
    groups = {name: [i for i in images if i.group == name] for name in {i.group for i in images}}
    groups.pop("", None)
    return {
        name: _mean(chosen) for name, chosen in [*sorted(groups.items()), ("all", list(images))]
    }


def _mean(images: Sequence[Examined]) -> dict[str, Any]:
    curve = np.mean([image.precision() for image in images], axis=0)
    return {
        "images": len(images),
        "nuclei": sum(image.nuclei for image in images),
        "mAP": round(float(curve.mean()), 4),
        "AP50": round(float(curve[THRESHOLDS.index(0.5)]), 4),
        "AP75": round(float(curve[THRESHOLDS.index(0.75)]), 4),
    }


def some(examples: Sequence[TrainingExample], number: int) -> list[TrainingExample]:
    """Return up to ``number`` of the examples, the same ones every time, spread over all."""
    chosen = sorted(examples, key=lambda one: hashlib.sha256(one.name.encode()).digest())[:number]
    return sorted(chosen, key=lambda one: one.name)
