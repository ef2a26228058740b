"""``cellseg report``: the report of a finished run, made again."""

from __future__ import annotations

from pathlib import Path

import click

from cellseg_core.cli.echo import echo
from cellseg_core.cli.progress import Console

__all__ = ["command"]


@click.command("report", short_help="Make the report of a finished run again.")
@click.argument("out", metavar="OUT", type=Path)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="report.OPTION=VALUE",
    help="Option of the report, such as report.pairs=CD3:CD20; all pages are then made anew. Can "
    "be repeated.",
)
@click.option("--fresh", is_flag=True, help="Make the page of every image anew.")
@click.option("--quiet", is_flag=True, help="Show warnings and failures only.")
def command(out: Path, settings: tuple[str, ...], fresh: bool, quiet: bool) -> int:
    """Make OUT/report.html of the results of `cellseg run -o OUT`, without segmenting again.

    Images without a page get one, for example where the run was made with --write csv,labels. That
    takes the input where it was, and the label images and tables in OUT.

    \b
    Examples:
      cellseg report results
      cellseg report results --set report.pairs=CD3:CD20

    Exit status: 0 if every image has its page, 1 if some have not, 2 for wrong use.
    """  # noqa: D301 - click takes \b for a paragraph to leave alone
    from cellseg_core.config import RunConfig, parse_setting
    from cellseg_core.errors import ConfigurationError
    from cellseg_core.plugins import load_plugins
    from cellseg_core.rebuilt_report import rebuild_report

    config = RunConfig(set=dict(map(parse_setting, settings)))
    plugins = load_plugins()
    config.check_options(plugins)
    for owner in config.set:
        if owner != "report":
            raise ConfigurationError(
                f"report takes its own options, --set report.OPTION=VALUE; {owner!r} is not at "
                "work here."
            )
    options = config.options("writer", "report", plugins)
    with Console(quiet=quiet) as console:
        made = rebuild_report(out, options, fresh=fresh, plugins=plugins, reporter=console)
    if made.failed:
        left = "" if made.files else " The report is as it was."
        echo(f"{len(made.failed)} without a new page, for the reasons above.{left}", err=True)
    if not quiet:
        for path in made.files:
            echo(f"Report: {path}")
    return 1 if made.failed else 0
