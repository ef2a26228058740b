"""``cellseg export``: a segmenter's network, for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from cellseg_core.cli.echo import echo
from cellseg_core.pipeline import DEFAULT_SEGMENTER

__all__ = ["command"]


@click.command("export", short_help="Write a segmenter's network for other programs.")
@click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=Path,
    metavar="FOLDER",
    help="Folder for the files.",
)
@click.option(
    "--segmenter",
    default=DEFAULT_SEGMENTER,
    show_default=True,
    metavar="NAME",
    help="Whose network.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="segmenter.OPTION=VALUE",
    help="Option of the segmenter, such as segmenter.weights=FOLDER. Can be repeated.",
)
def command(out: Path, segmenter: str, settings: tuple[str, ...]) -> int:
    """Write a segmenter's network as ONNX files, with a text that says how to use them.

    What converts comes with: pip install "cellseg-core[export]"

    \b
    Example:
      cellseg export --segmenter maskrcnn --set segmenter.weights=my-weights -o onnx
    """  # noqa: D301 - click takes \b for a paragraph to leave alone
    from cellseg_core.config import RunConfig, parse_setting
    from cellseg_core.errors import ConfigurationError
    from cellseg_core.plugins import load_plugins
    from cellseg_core.protocols import Exportable

    config = RunConfig(segmenter=segmenter, set=dict(map(parse_setting, settings)))
    plugins = load_plugins()
    config.check_options(plugins)
    for owner in config.set:
        if owner not in ("segmenter", segmenter.rpartition("/")[2]):
            raise ConfigurationError(
                f"export takes the options of the segmenter, --set segmenter.OPTION=VALUE; "
                f"{owner!r} is not at work here."
            )
    built = plugins.build("segmenter", segmenter, config.options("segmenter", segmenter, plugins))
    if not isinstance(built, Exportable):
        raise ConfigurationError(
            f"segmenter {segmenter!r} has no network to export. One that has: --segmenter maskrcnn."
        )
    for path in built.export(out):
        echo(path)
    return 0
