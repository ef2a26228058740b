"""What a report says of accuracy: the tables, and which method is best in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cellseg_core.comparing.ranking import (
    ACCURACY,
    FEW_IMAGES,
    AccuracyFigure,
    Scores,
    rank,
)
from cellseg_core.comparing.shown import ImagesDone, interval, worded
from cellseg_core.label_files import Kind
from cellseg_core.pages.tables import Cell, Column, Mark, Table, listed, number

__all__ = ["accuracy_table", "same_sizes", "size_table", "verdict"]


def accuracy_table(
    scores: Mapping[str, Scores], done: ImagesDone, kind: Kind, *, pooled: bool
) -> Table:
    """Return the figures of every method, with their intervals and marks."""
    marks = rank(scores, done.images, pooled=pooled)
    how = (
        worded("all images taken as parts of one, so that every {one} weighs the same", kind)
        if pooled
        else "the mean over images, so that every image weighs the same"
    )
    return Table(
        f"Accuracy: {how}. Splits, merges, missed and invented are totals.",
        "Method",
        tuple(Column(figure.title, worded(figure.meaning, kind)) for figure in ACCURACY),
        tuple(
            (
                done.head(name),
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


def same_sizes(scores: Mapping[str, Scores]) -> dict[str, Scores]:
    """Return the methods whose true objects have the same quartiles of size.

    A method that did not do all images has other objects, and so may have other sizes: what counts
    are those of the method that did the most images, the first of equal ones.
    """
    first = max(scores.values(), key=lambda one: one.summary.images)
    edges = first.summary.size_edges
    return {name: one for name, one in scores.items() if one.summary.size_edges == edges}


def size_table(scores: Mapping[str, Scores], done: ImagesDone, kind: Kind) -> Table | None:
    """Return how many of the true objects of each size are found; None without a true object.

    Methods with other sizes (:func:`same_sizes`) are left out.
    """
    alike = same_sizes(scores)
    whole = max(alike.values(), key=lambda one: one.summary.images)
    if whole.summary.size_edges is None:
        return None
    first, second, third = (number(edge, 0) for edge in whole.summary.size_edges)
    spans = (f"up to {first}", f"{first} to {second}", f"{second} to {third}", f"over {third}")
    return Table(
        worded("Recall by size of {one}: share of the true {many} that are found ", kind)
        + "(IoU over 0.5), pooled over images. The sizes are the quartiles of the true areas.",
        "Method",
        tuple(
            Column(f"{span} px", f"{count:,} true {kind} of this area")
            for span, count in zip(spans, whole.summary.size_objects, strict=True)
        ),
        tuple(
            (
                done.head(name),
                tuple(
                    Cell(number(estimate.value), interval(estimate.low, estimate.high))
                    for size in range(1, len(spans) + 1)
                    for estimate in [one.summary.figures[f"recall_size_{size}"].pooled]
                ),
            )
            for name, one in alike.items()
        ),
    )


def verdict(scores: Mapping[str, Scores], images: int, defaults: Sequence[str]) -> list[str]:
    """Return, in sentences, which method is best, which are not ranked, and where the default is.

    ``images`` is how many there are in the comparison, ``defaults`` are the methods that are the
    default segmenter. Empty if there is but one method.
    """
    if len(scores) < 2:
        return []
    marks = rank(scores, images)
    whole = [name for name, one in scores.items() if one.summary.images == images]
    best = [name for name, mark in marks["mean_ap"].items() if mark == "best"]
    said = []
    if len(whole) < 2:
        who = f"Only {whole[0]}" if whole else "No method"
        said.append(f"{who} did all {images:,} images, so that there is nothing to rank.")
    elif best:
        among = "" if len(whole) == len(scores) else " of the methods that did all"
        said.append(_leader(scores, best, marks["mean_ap"], images, among))
    said += [
        f"{name} did {one.summary.images:,} of {images:,} images and is not ranked."
        for name, one in scores.items()
        if name not in whole
    ]
    if best:
        said += [_of_default(one, scores[one], marks, images) for one in defaults if one in whole]
    return said


def _leader(
    scores: Mapping[str, Scores],
    best: Sequence[str],
    marks: Mapping[str, Mark],
    images: int,
    among: str,
) -> str:
    estimate = scores[best[0]].summary.figures["mean_ap"].mean_over_images
    between = interval(estimate.low, estimate.high)
    what = f"{number(estimate.value)}" + (f", 95 % interval {between}" if between else "")
    over = "the one image" if images == 1 else f"the mean over {images:,} images"
    verb = "is" if len(best) == 1 else "are"
    said = f"By mAP, {over}, {listed(best)} {verb} best{among} ({what})."
    close = [name for name, mark in marks.items() if mark == "close"]
    if close:
        said += f" {listed(close)} cannot be told from it with these images."
    if images == 1:
        said += " One image says little of others: there is no interval."
    elif images < FEW_IMAGES:
        said += (
            f" With {images} images every interval is too narrow: another {images} may give "
            "another order."
        )
    return said


def _of_default(
    name: str, scores: Scores, marks: Mapping[str, Mapping[str, Mark]], images: int
) -> str:
    """Return in which figures the default segmenter, which did all images, is not the best."""
    close: list[str] = []
    worse: list[str] = []
    for figure in ACCURACY:
        of_figure = marks[figure.name]
        known = scores.value(figure, pooled=False) is not None
        if not known or "best" not in of_figure.values() or of_figure.get(name) == "best":
            continue
        (close if of_figure.get(name) == "close" else worse).append(figure.title)
    if not close and not worse:
        return f"The default segmenter ({name}) is best, or among the best, in all."
    parts = []
    if worse:
        by = ", by more than these images leave open" if images > 1 else ""
        parts.append(f"in {listed(worse, len(ACCURACY))}{by}")
    if close:
        parts.append(f"in {listed(close, len(ACCURACY))}, where it cannot be told from the best")
    return f"The default segmenter ({name}) is not the best {'; and '.join(parts)}."
