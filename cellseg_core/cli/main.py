"""The command ``cellseg``: finds the command, and turns errors into messages and exit statuses."""

from __future__ import annotations

import importlib
import io
import sys

import click

from cellseg_core.cli.echo import echo
from cellseg_core.errors import CellsegError, ComponentError, ConfigurationError

__all__ = ["main"]

_COMMANDS = {
    "run": "Find and measure the cells of images: the main job.",
    "demo": "Try it: simulate a tissue and run the default pipeline on it.",
    "preview": "Show one crop under several settings in a picture, to choose from.",
    "report": "Make the report of a finished run again, or with other options.",
    "view": "Open the results of a run in napari: channels, cells and their values.",
    "compare": "Compare segmenters on your own images, with or without a truth.",
    "train": "Train a segmenter on your own images and masks, or fine-tune it.",
    "info": "Show what is in an image: size, channels, pixel size, nuclear diameter.",
    "evaluate": "Tell how well label images fit the true ones, and where they do not.",
    "export": "Write a segmenter's network for other programs, as ONNX files.",
    "weights": "List, fetch and find published weights of the segmenters.",
    "plugins": "List every segmenter, expander, compensator, reader and writer.",
    "init": "Write a commented file with every setting, for `cellseg run --config`.",
}

_MISSING = {
    "out": "Name a folder for the results, for example: -o results",
    "inputs": "Name an image, or a folder of images. To try it without one: cellseg demo",
}


class _Lazy(click.Group):
    """Commands whose modules are imported when they are called, so that help comes at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"cellseg_core.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from cellseg_core.errors import nearest

            raise click.UsageError(
                f"there is no command {args[0]!r}; {nearest(args[0], _COMMANDS)}.", ctx
            )
        return super().resolve_command(ctx, args)


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        echo(f"cellseg {version('cellseg-core')}")
        ctx.exit()


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and stop.",
)
def _cellseg() -> None:
    """Nuclei and cells from multiplexed tissue images: masks, tables and pictures.

    Begin with `cellseg demo`, or with your own image:

        cellseg run IMAGE.ome.tif --nuclear DAPI --expand 2 -o RESULTS
    """


def main() -> None:
    """Run the command line and leave with its exit status.

    0: every input was done; 1: some failed; 2: wrong use; 130: interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        # A console that lacks a character of a file's name must not end the run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    status = None
    try:
        status = _cellseg.main(standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        _stop("Interrupted. Run the same command again to go on where it stopped.", 130)
    except click.ClickException as error:
        error.show()
        if isinstance(error, click.MissingParameter) and error.param:
            hint = _MISSING.get(str(error.param.name))
            if hint is not None:
                echo(hint, err=True)
        sys.exit(error.exit_code)
    except (ConfigurationError, ComponentError) as error:
        _stop(f"Error: {error}", 2)
    except CellsegError as error:
        _stop(f"Error: {error}", 1)
    except BrokenPipeError:
        # The reader of our output, for example `head`, has seen enough.
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        _stop(f"Error: {error}", 1)
    sys.exit(status if isinstance(status, int) else 0)


def _stop(message: str, status: int) -> None:
    echo(message, err=True)
    sys.exit(status)
