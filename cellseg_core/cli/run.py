"""``cellseg run``: the main job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import click

from cellseg_core.cli.echo import echo
from cellseg_core.cli.options import config_from, memory_size, naming_settings, run_options
from cellseg_core.cli.progress import Console
from cellseg_core.cli.sections import SectionedCommand

if TYPE_CHECKING:
    from cellseg_core.address import Location
    from cellseg_core.recorded_run import RecordedRun
    from cellseg_core.reporting import Outcome, Summary

__all__ = ["command", "counted", "summarise"]


def _needed(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the inputs; only the record of a run has its own."""
    from cellseg_core.config_files import is_record

    config = context.params.get("config")
    if not value and not (config is not None and is_record(config)):
        raise click.MissingParameter(ctx=context, param=parameter)
    return value


@click.command("run", cls=SectionedCommand, short_help="Find and measure the cells of images.")
@click.argument("inputs", nargs=-1, callback=_needed, metavar="INPUT...")
@click.option(
    "-o", "--output", "out", required=True, type=Path, metavar="OUT", help="Folder for the results."
)
@run_options
@click.option(
    "--config",
    type=Path,
    metavar="FILE",
    help="TOML file with settings (`cellseg init` writes one), or the run.json of a run, which is "
    "then done again; options given here come first.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes on this machine that segment parts of images at a time.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Let the workers of a Dask cluster segment: tcp://HOST:PORT, or its scheduler file.",
)
@click.option(
    "--memory",
    type=memory_size,
    metavar="SIZE",
    help="What all processes on this machine together may take: 8GB. Default: three quarters of "
    "what is free.",
)
@click.option("--fresh", is_flag=True, help="Do everything anew, also what an earlier run did.")
@click.option("--quiet", is_flag=True, help="Show warnings and failures only.")
def command(
    inputs: tuple[str, ...],
    out: Path,
    config: Path | None,
    workers: int,
    scheduler: str | None,
    memory: int | None,
    fresh: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Find the cells of images, measure every channel in each, and write tables and pictures.

    INPUT is an image (TIFF, OME-TIFF, PNG, JPG), a folder of images, a folder with a TIFF for each
    channel of one image, a CODEX folder, an OME-Zarr folder, or the address of an OME-Zarr
    (s3://bucket/slide.zarr, https://...). Several can be given.

    OUT then holds cells.csv with the cells of all images, run.json with what was done, and a
    folder for each image: the table (CSV, FCS), the label images and pictures. report.html shows
    the outlines, plots and what seems wrong: look at it before you trust a number. An interrupted
    run goes on where it stopped if the same command is given again.

    \b
    Examples:
      cellseg run tissue.ome.tif --nuclear DAPI --expand 2 -o results
      cellseg run ROI002/channels --nuclear DNA1,DNA3 --expand 2 --compensate -o results
      cellseg run slides/ --config settings.toml -o results
      cellseg run --config results/run.json -o again

    Exit status: 0 if every input was done, 1 if some failed, 2 for wrong use.
    """  # noqa: D301 - click takes \b for a paragraph to leave alone
    from cellseg_core.batch import run_batch
    from cellseg_core.config_files import is_record
    from cellseg_core.recorded_run import RecordedRun

    repeat = RecordedRun.read(config) if config is not None and is_record(config) else None
    places: list[str | Location] = [*inputs]
    if repeat is not None and not places:
        places += repeat.inputs
    settings = config_from(given, config)
    with naming_settings(config), Console(quiet=quiet) as console:
        summary = run_batch(
            places,
            out,
            settings,
            fresh=fresh,
            workers=workers,
            scheduler=scheduler,
            memory=memory,
            repeat=repeat,
            reporter=console,
        )
    if not quiet:
        summarise(summary)
    if repeat is not None and settings == repeat.config and repeat.same_inputs(places):
        _tell_whether_alike(repeat, summary, quiet=quiet)
    return 1 if summary.failed else 0


def _tell_whether_alike(repeat: RecordedRun, summary: Summary, *, quiet: bool) -> None:
    """Print whether the results are those of the run that was repeated."""
    if summary.out.resolve() == repeat.run.out.resolve():
        return
    differing, compared = repeat.check_results(summary.out)
    then, now = repeat.run.record["cells"], summary.cells
    if differing:
        echo(
            f"Not the same as in {repeat.run.out}: {', '.join(differing[:5])}"
            f"{', ...' if len(differing) > 5 else ''} ({counted(then, 'cell')} then, {now:,} now).",
            err=True,
        )
    elif then != now:
        echo(f"Not the same as in {repeat.path}: {then:,} cells then, {now:,} now.", err=True)
    elif not quiet and compared:
        echo(
            f"The same as in {repeat.run.out}: {compared} tables and label images, to "
            "the last byte."
        )


def summarise(summary: Summary) -> None:
    """Print what was done and where to look."""
    done = [outcome for outcome in summary.outcomes if outcome.state != "failed"]
    for outcome in done:
        decided = outcome.facts["decided"]
        again = ""
        if outcome.state == "resumed":
            again = " (done before)"
        elif "tiles_done_before" in decided:
            again = f" ({decided['tiles_done_before']} of {decided['tiles']} tiles done before)"
        grown = f", grown by {decided['expand_px']:g} px" if decided["expand_px"] else ""
        echo(
            f"{outcome.name}: {counted(outcome.cells, 'cell')}, nuclei about "
            f"{decided['nuclear_diameter_px']:.1f} px ({decided['nuclear_diameter_from']})"
            f"{grown}{again}"
        )
        if "compensation" in decided:
            echo(f"  {_moved(decided['compensation'])}")
    echo(
        f"{counted(summary.cells, 'cell')} in {len(done)} of "
        f"{counted(len(summary.outcomes), 'image')}, {summary.seconds:.1f} s."
    )
    if summary.failed:
        sources = ", ".join(outcome.source for outcome in summary.failed)
        echo(f"{len(summary.failed)} failed, for the reasons above: {sources}", err=True)
    if done and (summary.out / "report.html").is_file():
        echo(f"Report:  {summary.out / 'report.html'}")
    else:
        _show_overlays(summary.out, done)
    if done and (summary.out / "cells.csv").is_file():
        echo(f"Table:   {summary.out / 'cells.csv'}")


def _show_overlays(out: Path, done: Sequence[Outcome]) -> None:
    """Print where a picture is, if there is one."""
    written = [
        out / outcome.name / file
        for outcome in done
        for file in outcome.facts["files"]
        if file == "overlay.png"
    ]
    if written:
        more = f" and {len(written) - 1} more" if len(written) > 1 else ""
        echo(f"Look at: {written[0]}{more}")


def _moved(compensation: Mapping[str, Any]) -> str:
    """Say how much signal compensation moved.

    >>> shares = {"CD3": {"removed": 0.2, "net": -0.1}, "CD20": {"removed": 0.1, "net": 0.0}}
    >>> _moved({"left_alone": [], "channels": shares})
    'compensation moved 15% of the signal, most in CD3 (20%); 5% less in all'
    """
    left_alone = compensation["left_alone"]
    channels = {n: s for n, s in compensation["channels"].items() if n not in left_alone}
    if not channels:
        return "compensation left every channel alone, as asked"
    removed = {name: shares["removed"] for name, shares in channels.items()}
    most = max(removed, key=removed.__getitem__)
    net = fmean(shares["net"] for shares in channels.values())
    kept = f"; left alone: {', '.join(left_alone)}" if left_alone else ""
    change = f"{abs(net):.0%} {'less' if net < 0 else 'more'} in all"
    return (
        f"compensation moved {fmean(removed.values()):.0%} of the signal, most in {most} "
        f"({removed[most]:.0%}); {change if abs(net) >= 0.005 else 'the total is the same'}"
        f"{kept}"
    )


def counted(number: int, what: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "cell"), counted(2000, "cell")
    ('1 cell', '2,000 cells')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"
