"""What a report says of accuracy: the tables, and which method is best in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cellseg_core.comparing.ranking import ACCURACY, AccuracyFigure, Mark, Scores, rank
from cellseg_core.comparing.shown import DASH, Cell, Column, Table, interval, number

__all__ = ["accuracy_table", "size_table", "verdict"]

_COLUMNS = tuple(Column(figure.title, figure.meaning) for figure in ACCURACY)


def accuracy_table(
    scores: Mapping[str, Scores], *, pooled: bool, partial: Sequence[str] = ()
) -> Table:
    """Return the figures of every method, with their intervals and marks.

    ``partial`` names methods that did not do all images.
    """
    marks = rank(scores, pooled=pooled)
    how = (
        "all images taken as parts of one, so that every nucleus weighs the same"
        if pooled
        else "the mean over images, so that every image weighs the same"
    )
    return Table(
        f"Accuracy: {how}. Splits, merges, missed and invented are totals.",
        "Method",
        _COLUMNS,
        tuple(
            (
                f"{name}\u00a0\u2020" if name in partial else name,
                tuple(
                    _cell(one, figure, marks[figure.name].get(name, ""), pooled=pooled)
                    for figure in ACCURACY
                ),
            )
            for name, one in scores.items()
        ),
    )


def _cell(scores: Scores, figure: AccuracyFigure, mark: Mark, *, pooled: bool) -> Cell:
    text = number(scores.value(figure, pooled=pooled), figure.digits)
    if figure.total:
        return Cell(text, mark=mark)
    found = scores.summary.figures[figure.name]
    estimate = found.pooled if pooled else found.mean_over_images
    return Cell(text, interval(estimate.low, estimate.high), mark)


def size_table(scores: Mapping[str, Scores]) -> Table | None:
    """Return how many of the true nuclei of each size are found; None without a true nucleus."""
    # Methods that did not do all images have other nuclei, and so other sizes: the first of those
    # that did says what the sizes are.
    whole = max(scores.values(), key=lambda one: one.summary.images, default=None)
    if whole is None or whole.summary.size_edges is None:
        return None
    first, second, third = (number(edge, 0) for edge in whole.summary.size_edges)
    spans = (f"up to {first}", f"{first} to {second}", f"{second} to {third}", f"over {third}")
    return Table(
        "Recall by size of nucleus: share of the true nuclei that are found (IoU over 0.5), pooled "
        "over images. The sizes are the quartiles of the true areas.",
        "Method",
        tuple(
            Column(f"{span} px", f"{count:,} true nuclei of this area")
            for span, count in zip(spans, whole.summary.size_objects, strict=True)
        ),
        tuple(
            (
                name,
                tuple(
                    Cell(number(estimate.value), interval(estimate.low, estimate.high))
                    for size in range(1, len(spans) + 1)
                    for estimate in [one.summary.figures[f"recall_size_{size}"].pooled]
                ),
            )
            for name, one in scores.items()
            if one.summary.size_edges == whole.summary.size_edges
        ),
    )


def verdict(scores: Mapping[str, Scores], defaults: Sequence[str]) -> list[str]:
    """Return, in sentences, which method is best, and where the default one is not.

    ``defaults`` are the methods that use the default segmenter.
    """
    marks = rank(scores)
    best = [name for name, mark in marks["mean_ap"].items() if mark == "best"]
    if not best:
        return []
    images = max(one.summary.images for one in scores.values())
    said = [_leader(scores, best, marks["mean_ap"], images)]
    for name in defaults:
        if name not in scores:
            continue
        close: list[str] = []
        worse: list[str] = []
        for figure in ACCURACY:
            of_figure = marks[figure.name]
            if "best" not in of_figure.values() or of_figure.get(name) == "best":
                continue
            (close if of_figure.get(name) == "close" else worse).append(figure.title)
        if not close and not worse:
            said.append(f"The default segmenter ({name}) is best, or among the best, in all.")
            continue
        parts = []
        if worse:
            by = ", by more than these images leave open" if images > 1 else ""
            parts.append(f"in {_listed(worse)}{by}")
        if close:
            parts.append(f"in {_listed(close)}, where it cannot be told from the best")
        said.append(f"The default segmenter ({name}) is not the best {'; and '.join(parts)}.")
    return said


def _leader(
    scores: Mapping[str, Scores], best: Sequence[str], marks: Mapping[str, Mark], images: int
) -> str:
    estimate = scores[best[0]].summary.figures["mean_ap"].mean_over_images
    between = interval(estimate.low, estimate.high)
    what = f"{number(estimate.value)}" + (f", 95 % interval {between}" if between else "")
    over = "the one image" if images == 1 else f"the mean over {images:,} images"
    verb = "is" if len(best) == 1 else "are"
    said = f"By mAP, {over}, {_listed(best)} {verb} best ({what})."
    close = [name for name, mark in marks.items() if mark == "close"]
    if close:
        said += f" {_listed(close)} cannot be told from it with these images."
    if images == 1:
        said += " One image says little of others: there is no interval."
    return said


def _listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them.

    >>> _listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or DASH
