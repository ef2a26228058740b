"""``cellseg evaluate``: how well label images fit the true ones, and where they do not."""

from __future__ import annotations

import csv
import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellseg_core.cli.echo import echo
from cellseg_core.cli.progress import Console

if TYPE_CHECKING:
    from cellseg_core.label_files import LabelPair, Pairing
    from cellseg_core.metrics import Estimate, Evaluation, Summary

__all__ = ["command"]

_EVERY = 2.0  # seconds between lines where there is no terminal
_NOUNS = {"nuclei": ("nucleus", "nuclei"), "cells": ("cell", "cells")}


@click.command("evaluate", short_help="Tell how well label images fit the true ones.")
@click.argument("truth", metavar="TRUTH", type=Path)
@click.argument("pred", metavar="PRED", type=Path)
@click.option(
    "--labels",
    "kind",
    type=click.Choice(["nuclei", "cells"]),
    default="nuclei",
    show_default=True,
    help="What the label images show; of a folder that `cellseg run` wrote, which ones are taken.",
)
@click.option(
    "--boundary-tolerance",
    "tolerance",
    type=float,
    default=2.0,
    show_default=True,
    metavar="PX",
    help="How far a predicted outline may lie from a true one to be right.",
)
@click.option("--json", "json_file", type=Path, metavar="FILE", help="Write every figure as JSON.")
@click.option("--csv", "csv_file", type=Path, metavar="FILE", help="Write a row for each image.")
@click.option(
    "--errors",
    "errors_file",
    type=Path,
    metavar="FILE",
    help="Write a CSV with a row for each split, merged, missed and invented object.",
)
@click.option("--allow-missing", is_flag=True, help="Leave out label images that have no partner.")
@click.option("--quiet", is_flag=True, help="Show warnings and failures only.")
def command(
    truth: Path,
    pred: Path,
    kind: str,
    tolerance: float,
    json_file: Path | None,
    csv_file: Path | None,
    errors_file: Path | None,
    allow_missing: bool,
    quiet: bool,
) -> int:
    """Tell how well predicted label images fit the true ones, and where they do not.

    TRUTH and PRED are label images (TIFF, PNG or .npy; 0 is background, each object has its
    number), or folders of them, matched by file name without the ending. PRED, or TRUTH, can also
    be the folder that `cellseg run -o` wrote.

    Every figure is shown as the mean over images and pooled over all objects, with a 95 %
    confidence interval where there are several images. docs/evaluate.md says what each means.

    \b
    Examples:
      cellseg evaluate truth.tif predicted.tif
      cellseg evaluate masks/ results/ --csv images.csv --errors errors.csv

    Exit status: 0 if every image was evaluated, 1 if some failed, 2 for wrong use.
    """  # noqa: D301 - click takes \b for a paragraph to leave alone
    from cellseg_core.label_files import pair_label_files
    from cellseg_core.metrics import summary

    for file in (json_file, csv_file, errors_file):
        _check_place(file)
    failed: dict[str, str] = {}
    with Console(quiet=quiet) as console:
        pairing = pair_label_files(
            truth, pred, "cells" if kind == "cells" else "nuclei", allow_missing=allow_missing
        )
        for where, other, alone in (
            (truth, pred, pairing.only_truth),
            (pred, truth, pairing.only_pred),
        ):
            if alone:
                from cellseg_core.training_split import listed

                console.warn(
                    f"{len(alone)} of the label images of {where} are left out, since {other} has "
                    f"no partner: {listed(str(file.name) for file in alone)}"
                )
        evaluations = _evaluate(pairing.pairs, tolerance, console, failed)
    if failed:
        echo(f"{len(failed)} failed, for the reasons above: {', '.join(failed)}", err=True)
    if not evaluations:
        return 1
    over_all = summary(evaluations)
    if json_file is not None:
        _write_json(json_file, (truth, pred), pairing, evaluations, over_all, failed)
    if csv_file is not None:
        _write_csv(csv_file, map(_row, evaluations))
    if errors_file is not None:
        _write_csv(errors_file, (row for one in evaluations for row in _mistakes(one)))
    if not quiet:
        _show(evaluations, over_all, kind)
        wrong = over_all.splits + over_all.merges + over_all.missed + over_all.invented
        if errors_file is None and wrong:
            echo("--errors FILE lists where.")
    return 1 if failed else 0


def _check_place(file: Path | None) -> None:
    """Find out before the work, and not after it, that a result has nowhere to go."""
    from cellseg_core.errors import OutputError

    if file is not None and not file.resolve().parent.is_dir():
        raise OutputError(
            f"{file} cannot be written: the folder {file.parent} does not exist. Make it first."
        )
    if file is not None and file.is_dir():
        raise OutputError(f"{file} cannot be written: it is a folder. Give the name of a file.")


def _evaluate(
    pairs: Sequence[LabelPair], tolerance: float, console: Console, failed: dict[str, str]
) -> list[Evaluation]:
    """Return what could be evaluated; the rest is told and joins ``failed``."""
    from cellseg_core.errors import ImageError
    from cellseg_core.label_files import read_label_file
    from cellseg_core.metrics import Evaluation
    from cellseg_core.plugins import load_plugins

    plugins = load_plugins()
    evaluations = []
    told = time.monotonic()
    for number, pair in enumerate(pairs):
        if sys.stderr.isatty() or time.monotonic() - told > _EVERY:
            told = time.monotonic()
            console.images(number, len(pairs))
        try:
            true, pred = (read_label_file(file, plugins) for file in (pair.truth, pair.pred))
            evaluations.append(Evaluation.of(true, pred, pair.name, tolerance))
        except ImageError as error:
            failed[pair.name] = str(error)
            reason = str(error).removeprefix(f"{pair.name}: ")
            console.warn(f"FAILED {pair.name}: {reason}")
    return evaluations


def _row(one: Evaluation) -> dict[str, Any]:
    """Return the figures of one image as a row; None where there is no such figure."""
    sums = one.sums()
    counts = {f"{name}_objects": int(sums[name]) for name in ("true", "predicted")}
    counts |= {name: int(sums[name]) for name in ("splits", "merges", "missed", "invented")}
    figures = {name: None if math.isnan(value) else value for name, value in one.figures().items()}
    return {"image": one.name, "height": one.shape[0], "width": one.shape[1], **counts, **figures}


def _mistakes(one: Evaluation) -> Iterable[dict[str, Any]]:
    """Yield a row for each mistake in an image."""
    for row in one.mistakes.rows():
        true = row["mistake"] in ("split", "missed")
        yield {
            "image": one.name,
            "mistake": row["mistake"],
            "object_of": "truth" if true else "prediction",
            **{name: row[name] for name in ("id", "y", "x", "area", "best_iou")},
            "parts": len(row["parts"]),
            "part_ids": " ".join(map(str, row["parts"])),
        }


_MISTAKE_COLUMNS = (
    "image", "mistake", "object_of", "id", "y", "x", "area", "best_iou", "parts", "part_ids",
)  # fmt: skip


def _write_csv(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    from cellseg_core.store import atomic_file

    with atomic_file(file) as stream:
        writer = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(stream, list(row))
                writer.writeheader()
            writer.writerow(row)
        if writer is None:
            csv.writer(stream).writerow(_MISTAKE_COLUMNS)


def _write_json(
    file: Path,
    inputs: tuple[Path, Path],
    pairing: Pairing,
    evaluations: Sequence[Evaluation],
    over_all: Summary,
    failed: Mapping[str, str],
) -> None:
    from importlib.metadata import version

    from cellseg_core.metrics import FRAGMENT, THRESHOLDS
    from cellseg_core.store import atomic_write

    report = {
        "cellseg": version("cellseg-core"),
        "truth": str(inputs[0]),
        "prediction": str(inputs[1]),
        "iou_thresholds": THRESHOLDS,
        "smallest_part_of_an_object": FRAGMENT,
        "summary": over_all.as_dict(),
        "images": [_row(one) for one in evaluations],
        "failed": failed,
        "without_partner": {
            "truth": [str(path) for path in pairing.only_truth],
            "prediction": [str(path) for path in pairing.only_pred],
        },
    }
    atomic_write(file, json.dumps(report, indent=1) + "\n")


def _show(evaluations: Sequence[Evaluation], over_all: Summary, kind: str) -> None:
    """Print the figures as tables, and the mistakes in words."""
    several = over_all.images > 1
    one, many = _NOUNS[kind]
    title = f"{over_all.images:,} images" if several else evaluations[0].name
    true, predicted = over_all.true_objects, over_all.predicted_objects
    echo(f"{title}: {true:,} true {one if true == 1 else many}, {predicted:,} predicted")
    echo()
    ways = ("mean over images", f"pooled over {many}") if several else ("this image",)
    echo(f"{'':<32}" + "".join(f"{way:<24}" for way in ways).rstrip())

    def line(text: str, name: str) -> None:
        figure = over_all.figures[name]
        shown = (figure.mean_over_images, figure.pooled)[: len(ways)]
        echo(f"{text:<32}" + "".join(f"{_told(one):<24}" for one in shown).rstrip())

    line("average precision, mean (mAP)", "mean_ap")
    echo(f"{many} found at IoU over 0.5")
    line("  average precision", "ap_50")
    line("  precision", "precision_50")
    line("  recall", "recall_50")
    line("  F1", "f1_50")
    line("panoptic quality (PQ)", "panoptic_quality")
    line("  mean IoU of matches (SQ)", "segmentation_quality")
    line("  recognition (RQ, the F1)", "recognition_quality")
    line(f"mean IoU of all true {many}", "mean_true_score")
    line("aggregated Jaccard (AJI)", "aggregated_jaccard")
    line(f"boundary F1 within {over_all.tolerance:g} px", "boundary_f1")
    if over_all.size_edges is not None:
        low, middle, high = over_all.size_edges
        echo(f"recall by area, IoU over 0.5 (a quarter of the true {many} each)")
        texts = (
            f"  up to {low:g} px",
            f"  over {low:g} to {middle:g} px",
            f"  over {middle:g} to {high:g} px",
            f"  over {high:g} px",
        )
        for size, text in enumerate(texts, start=1):
            line(text, f"recall_size_{size}")
    echo()
    _show_thresholds(over_all, ways)
    echo()
    echo(_in_words(evaluations, over_all, kind))


def _show_thresholds(over_all: Summary, ways: Sequence[str]) -> None:
    """Print what is found at each IoU threshold, once for each way of taking images together."""
    from cellseg_core.metrics import THRESHOLDS
    from cellseg_core.metrics.figures import percent

    shown = {"AP": "ap", "precision": "precision", "recall": "recall", "F1": "f1"}

    def line(first: str, groups: Iterable[Iterable[str]]) -> None:
        texts = ("".join(f"{text:<11}" for text in group) for group in groups)
        echo(f"{first:<10}{'  '.join(texts)}".rstrip())

    if len(ways) > 1:
        line("", [[way, "", ""] for way in ways])
    line("IoU over", [shown] * len(ways))
    for threshold in THRESHOLDS:
        figures = [over_all.figures[f"{name}_{percent(threshold)}"] for name in shown.values()]
        groups = (
            [_number(figure.mean_over_images.value) for figure in figures],
            [_number(figure.pooled.value) for figure in figures],
        )
        line(f"{threshold:.2f}", groups[: len(ways)])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _told(estimate: Estimate) -> str:
    """Return a value with its interval.

    >>> from cellseg_core.metrics import Estimate
    >>> _told(Estimate(0.51234, 0.4, 0.6)), _told(Estimate(None)), _told(Estimate(1.0))
    ('0.512 (0.400 to 0.600)', '-', '1.000')
    """
    if estimate.low is None or estimate.high is None:
        return _number(estimate.value)
    return f"{_number(estimate.value)} ({estimate.low:.3f} to {estimate.high:.3f})"


def _in_words(evaluations: Sequence[Evaluation], over_all: Summary, kind: str) -> str:
    """Say what went wrong."""
    one, many = _NOUNS[kind]

    def were(number: int) -> str:
        return f"{number:,} {one if number == 1 else many} {'was' if number == 1 else 'were'}"

    joined = sum(len(parts) for each in evaluations for parts in each.mistakes.merges.parts)
    told = [f"{were(over_all.splits)} split"]
    told.append(f"{joined:,} merged into {over_all.merges:,}" if joined else "none merged")
    return (
        f"{', '.join(told)}; {over_all.missed:,} further missed, {over_all.invented:,} invented "
        "(no match with an IoU over 0.5)."
    )
