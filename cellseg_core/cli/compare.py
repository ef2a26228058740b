"""``cellseg compare``: segmenters head to head on the user's own images."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellseg_core.cli.echo import echo
from cellseg_core.cli.options import config_from, naming_settings, run_options
from cellseg_core.cli.progress import Console
from cellseg_core.cli.sections import SectionedCommand
from cellseg_core.training_split import listed

if TYPE_CHECKING:
    from cellseg_core.comparing.comparison import Comparison
    from cellseg_core.comparing.findings import MethodFindings

__all__ = ["command"]

# The segmenter is what is compared; the others would not be in the result.
SET_ASIDE = ("segmenter", "features", "write")


@click.command("compare", cls=SectionedCommand, short_help="Compare segmenters on your own images.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o", "--output", "out", required=True, type=Path, metavar="OUT", help="Folder for the results."
)
@click.option(
    "--segmenters",
    metavar="NAME,NAME...",
    default="",
    help="What is compared, with their usual options; `cellseg plugins` lists all.",
)
@click.option(
    "--method",
    "described",
    multiple=True,
    metavar="NAME=SEGMENTER[,OPTION=VALUE...]",
    help="One more, with options and a name of its own: sam=cellpose,weights=cpsam. Can be "
    "repeated.",
)
@click.option(
    "--truth",
    type=Path,
    metavar="FILE|FOLDER",
    help="The true label image, or a folder of them named like the images: accuracy is measured "
    "too.",
)
@click.option(
    "--labels",
    "kind",
    type=click.Choice(["nuclei", "cells"]),
    default="nuclei",
    show_default=True,
    help="What is compared: nuclei, or the cells that --expand makes of them.",
)
@click.option(
    "--exclusive",
    multiple=True,
    metavar="NAME,NAME",
    help="Two markers that no cell has both of, such as CD3,CD20: cells that are positive for both "
    "are counted, with --compensate before and after. Can be repeated.",
)
@click.option(
    "--gates",
    type=Path,
    metavar="FILE",
    help="TOML file with phenotypes, whose cells are counted. See docs/compare.md.",
)
@click.option(
    "--repeats",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Run each method so often, to see how its time and memory spread.",
)
@functools.partial(run_options, without=SET_ASIDE)
@click.option(
    "--config",
    type=Path,
    metavar="FILE",
    help="TOML file with settings (`cellseg init` writes one); options given here come first.",
)
@click.option("--fresh", is_flag=True, help="Do everything anew, also what was done before.")
@click.option("--quiet", is_flag=True, help="Show warnings and failures only.")
def command(
    inputs: tuple[str, ...],
    out: Path,
    segmenters: str,
    described: tuple[str, ...],
    truth: Path | None,
    kind: Any,
    exclusive: tuple[str, ...],
    gates: Path | None,
    repeats: int,
    config: Path | None,
    fresh: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Run several segmenters on the same images, and show where and how they differ.

    Only the segmenter differs: brightness, tiles, stitching, growing, measuring and compensation
    are the same for all. Each runs in a process of its own, so that time and memory are its own;
    one that fails is a row that says why.

    OUT then holds report.html, the figures as comparison.json, methods.csv, images.csv and
    agreement.csv, and in runs/NAME what `cellseg run` leaves of each.

    \b
    Examples:
      cellseg compare tissue.ome.tif --nuclear DAPI --segmenters maskrcnn,watershed -o which
      cellseg compare images/ --truth masks/ --brightness each --segmenters maskrcnn,stardist \\
          -o which
      cellseg compare ROI002/channels --nuclear DNA1,DNA3 --segmenters maskrcnn,stardist \\
          --expand 2 --compensate --exclusive CD3,CD20 --gates gates.toml -o which

    Exit status: 0 if every method did every image, 1 if some failed, 2 for wrong use.
    """  # noqa: D301 - click takes \b for a paragraph to leave alone
    from cellseg_core.comparing.comparison import compare
    from cellseg_core.comparing.downstream import parse_pair
    from cellseg_core.comparing.gates import read_gates
    from cellseg_core.comparing.method import parse_methods
    from cellseg_core.comparing.report import write_report
    from cellseg_core.comparing.tables import write_tables

    names = [name.strip() for name in segmenters.split(",") if name.strip()]
    with naming_settings(config), Console(quiet=quiet) as console:
        comparison = compare(
            inputs,
            out,
            parse_methods(names, described),
            config_from(given, config),
            truth=truth,
            kind=kind,
            exclusive=[parse_pair(text) for text in exclusive],
            gates=None if gates is None else read_gates(gates),
            repeats=repeats,
            fresh=fresh,
            reporter=console,
        )
        write_tables(comparison)
        report = write_report(comparison)
    if not quiet:
        _summarise(comparison)
        echo(f"Look at: {report}")
    return 0 if comparison.complete else 1


def _summarise(comparison: Comparison) -> None:
    """Print a line for each method."""
    found = comparison.findings
    width = max(len(one.method.name) for one in found.methods)
    with_truth = any(one.accuracy is not None for one in found.methods)
    for one in found.methods:
        name = one.method.name.ljust(width)
        if one.failed is not None:
            echo(f"{name}  FAILED: {one.failed}")
            continue
        told = [f"{one.cells:>9,} cells"]
        if with_truth:
            told.append(_accuracy(one))
        else:
            explained = one.quality["explained"]
            told.append("" if explained is None else f"{explained:.2f} of the stain explained")
        told.append(_cost(one))
        if one.errors:
            told.append(f"{len(one.errors)} images FAILED: {listed(list(one.errors))}")
        echo(f"{name}  {'  '.join(part for part in told if part)}")


def _accuracy(found: MethodFindings) -> str:
    accuracy = found.accuracy
    if accuracy is None:
        return "no accuracy"
    mean = accuracy.figures["mean_ap"].mean_over_images.value
    half = accuracy.figures["ap_50"].mean_over_images.value
    known = [
        f"{name} {value:.3f}"
        for name, value in (("mAP", mean), ("AP50", half))
        if value is not None
    ]
    return ", ".join(known)


def _cost(found: MethodFindings) -> str:
    cost, parts = found.cost, []
    if cost.segment is not None:
        parts.append(f"{cost.segment.median:.3g} s/megapixel")
    if cost.startup is not None:
        parts.append(f"start {cost.startup.median:.1f} s")
    if cost.peak is not None:
        parts.append(f"{cost.peak.median / 1e9:.1f} GB")
    return ", ".join(parts)
