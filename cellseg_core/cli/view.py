"""``cellseg view``: the results of a run in napari."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from cellseg_core.cli.echo import echo

__all__ = ["command"]

_GROUP = "cellseg.view"


@click.command("view", short_help="Open the results of a run in napari.")
@click.argument("out", metavar="OUT", type=Path)
@click.argument("image", metavar="[IMAGE]", required=False)
@click.option(
    "--channels",
    metavar="NAME[,NAME]",
    default="",
    help="Channels that are visible at first. Default: the nuclear one and two more.",
)
@click.option(
    "--screenshot",
    type=Path,
    metavar="FILE",
    help="Write a picture (PNG) and open no window; works without a screen.",
)
def command(out: Path, image: str | None, channels: str, screenshot: Path | None) -> int:
    """Open the results of `cellseg run -o OUT` in napari: channels, nuclei, cells and their values.

    Of several images the first is shown, or the one that is named. Point at a cell, and its values
    are below the image; the panel on the right colours cells by a value of the table.

    \b
    Examples:
      cellseg view results
      cellseg view results tissue --channels DAPI,CD3
      cellseg view results --screenshot tissue.png
    """  # noqa: D301 - click takes \b for a paragraph to leave alone
    from cellseg_core.finished_run import FinishedRun

    run = FinishedRun.read(out)
    done = run.choose(image)
    if image is None and len(run.images) > 1:
        shown = ", ".join([*run.images][:20]) + (", ..." if len(run.images) > 20 else "")
        echo(
            f"Showing {done.name}, the first of {len(run.images)} images. For another: "
            f"cellseg view OUT IMAGE. There are: {shown}",
            err=True,
        )
    asked = [name.strip() for name in channels.split(",") if name.strip()]
    _viewer()(run, done, asked, screenshot, lambda text: echo(f"Warning: {text}", err=True))
    if screenshot is not None:
        echo(f"Look at: {screenshot}")
    return 0


def _viewer() -> Any:
    """Return what shows results; it is found like a plugin, since the core knows no napari.

    Raises
    ------
    ComponentError
        If it is not there.
    """
    from cellseg_core.errors import ComponentError

    for entry in entry_points(group=_GROUP):
        return entry.load()
    raise ComponentError("the viewer is not installed. Reinstall cellseg-core.")
