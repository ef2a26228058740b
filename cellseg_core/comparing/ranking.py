"""Which method is best in a figure of accuracy, and which ones cannot be told from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.comparing.method import Method
from cellseg_core.config import RunConfig
from cellseg_core.metrics import Evaluation, Summary, draws, resampled_figures
from cellseg_core.pages.tables import Mark
from cellseg_core.pipeline import DEFAULT_SEGMENTER

__all__ = [
    "ACCURACY",
    "FEW_IMAGES",
    "AccuracyFigure",
    "Scores",
    "best_of",
    "default_methods",
    "rank",
]

FEW_IMAGES = 10
"""With fewer images than about this, intervals from draws of the images are too narrow."""

Better = Literal["higher", "lower", "one", "neither"]


@attrs.frozen
class AccuracyFigure:
    """A column of the table of accuracy.

    Attributes
    ----------
    name
        In :attr:`~cellseg_core.metrics.Summary.figures`, or a total of the summary.
    title, meaning
        For readers; the meaning has ``{one}`` and ``{many}`` for nucleus and nuclei.
    better
        What is better: ``"one"`` is near 1.
    digits
        After the point, 0 for totals. Figures that look alike are ties.
    """

    name: str
    title: str
    meaning: str
    better: Better = "higher"
    digits: int = 3

    @property
    def total(self) -> bool:
        """Return whether it counts objects of all images."""
        return self.digits == 0


ACCURACY = (
    AccuracyFigure(
        "mean_ap",
        "mAP",
        "Mean of AP over the IoU thresholds 0.50, 0.55 ... 0.95: finding {many} and drawing them "
        "exactly, in one number.",
    ),
    AccuracyFigure(
        "ap_50",
        "AP50",
        "Matches / (matches + true {many} without one + found {many} without one), a match being "
        "two {many} whose IoU is over 0.5.",
    ),
    AccuracyFigure("ap_75", "AP75", "The same with an IoU over 0.75: outlines must fit closely."),
    AccuracyFigure("precision_50", "Precision 50", "Share of the {many} found that are true."),
    AccuracyFigure("recall_50", "Recall 50", "Share of the true {many} that are found."),
    AccuracyFigure("f1_50", "F1 50", "Harmonic mean of precision and recall at IoU 0.5."),
    AccuracyFigure(
        "panoptic_quality", "PQ", "Panoptic quality: F1 at IoU 0.5 times the mean IoU of matches."
    ),
    AccuracyFigure(
        "aggregated_jaccard",
        "AJI",
        "Aggregated Jaccard index: pixels that true {many} and their best partners share, of all "
        "pixels of both and of {many} without a partner.",
    ),
    AccuracyFigure(
        "boundary_f1",
        "Boundary F1",
        "Harmonic mean of two shares: found outlines with a true one within the tolerance, and "
        "true outlines with a found one.",
    ),
    AccuracyFigure("splits", "Splits", "True {many} cut into two or more.", "lower", 0),
    AccuracyFigure("merges", "Merges", "Found {many} that join two or more true ones.", "lower", 0),
    AccuracyFigure(
        "missed",
        "Missed",
        "True {many} without a match that are neither split nor merged.",
        "lower",
        0,
    ),
    AccuracyFigure(
        "invented",
        "Invented",
        "Found {many} without a match that are neither a merge nor a part of a split.",
        "lower",
        0,
    ),
    AccuracyFigure("count_ratio", "Count ratio", "Found / true {many}; 1 is right.", "one"),
)
"""The columns of the table of accuracy."""


@attrs.frozen(eq=False)
class Scores:
    """The accuracy of one method: what it is made from, and the summary of that."""

    evaluations: Sequence[Evaluation]
    summary: Summary

    @property
    def names(self) -> list[str]:
        """Return the images."""
        return [one.name for one in self.evaluations]

    def value(self, figure: AccuracyFigure, *, pooled: bool) -> float | None:
        """Return a figure; None where there is none."""
        if figure.total:
            total: int = getattr(self.summary, figure.name)
            return total
        found = self.summary.figures[figure.name]
        return (found.pooled if pooled else found.mean_over_images).value


def best_of(
    values: Mapping[str, float | None], better: Better = "higher", digits: int = 3
) -> list[str]:
    """Return who has the best value; all that look like it with so many digits, ties included.

    None without two values to choose from.

    >>> best_of({"a": 0.71, "b": 0.7102, "c": 0.5, "d": None})
    ['a', 'b']
    >>> best_of({"a": 1.2, "b": 0.9}, "one"), best_of({"a": 3, "b": 1}, "lower", 0)
    (['b'], ['b'])
    """
    known = {
        name: _goodness(np.asarray(round(value, digits)), better)
        for name, value in values.items()
        if value is not None
    }
    if len(known) < 2 or better == "neither":
        return []
    top = max(known.values())
    return [name for name, value in known.items() if value == top]


def default_methods(methods: Sequence[Method], config: RunConfig) -> list[str]:
    """Return the methods that are the default segmenter as it comes: without any option of its own.

    ``config`` has the settings that all methods share.

    >>> methods = [Method.of("maskrcnn"), Method.parse("fine=maskrcnn,quality=high")]
    >>> default_methods(methods, RunConfig())
    ['maskrcnn']
    """
    if config.set.get(DEFAULT_SEGMENTER):
        return []
    return [one.name for one in methods if one.segmenter == DEFAULT_SEGMENTER and not one.options]


def rank(
    scores: Mapping[str, Scores], images: int, *, pooled: bool = False
) -> dict[str, dict[str, Mark]]:
    """Return the marks of each method by figure of :data:`ACCURACY`: ``marks[figure][method]``.

    A method that did not do all ``images`` of the comparison has no mark, since the ones it left
    out may be hard ones. A method is close to the best if the 95 % interval of their difference
    holds 0: both are evaluated on the same draws of images (see
    :func:`~cellseg_core.metrics.draws`), so that what makes images easy or hard for both falls out.
    With one image nothing is close.
    """
    whole = {name: one for name, one in scores.items() if len(one.evaluations) == images}
    assert len({tuple(one.names) for one in whole.values()}) <= 1, "images in one order"
    drawn = {name: _drawn(one, pooled=pooled) for name, one in whole.items()} if images > 1 else {}
    marks: dict[str, dict[str, Mark]] = {}
    for figure in ACCURACY:
        values = {name: one.value(figure, pooled=pooled) for name, one in whole.items()}
        best = best_of(values, figure.better, figure.digits)
        marks[figure.name] = dict.fromkeys(best, "best")
        if not (best and drawn):
            continue
        top = _goodness(drawn[best[0]][figure.name], figure.better)
        for name, value in values.items():
            if name in best or value is None:
                continue
            behind = top - _goodness(drawn[name][figure.name], figure.better)
            behind = behind[np.isfinite(behind)]
            if behind.size and np.percentile(behind, 2.5) <= 0:
                marks[figure.name][name] = "close"
    return marks


def _drawn(scores: Scores, *, pooled: bool) -> dict[str, NDArray[np.float64]]:
    """Return each figure (resamples,) in every draw of images."""
    rows = [one.sums() for one in scores.evaluations]
    sums = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    means, of_all = resampled_figures(sums)
    totals = [figure.name for figure in ACCURACY if figure.total]
    counted = np.stack([sums[name] for name in totals], axis=1)
    drawn = np.concatenate([counts @ counted for counts in draws(len(rows))])
    return {**(of_all if pooled else means), **dict(zip(totals, drawn.T, strict=True))}


def _goodness(values: NDArray[np.float64], better: Better) -> NDArray[np.float64]:
    """Return values of which more is better."""
    if better == "one":
        return -np.abs(values - 1)
    return -values if better == "lower" else values
