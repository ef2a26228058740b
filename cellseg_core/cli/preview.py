"""``cellseg preview``: a picture of one crop under several settings, to choose from."""

from __future__ import annotations

import functools
import io
import math
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from cellseg_core.address import Location
from cellseg_core.cli.echo import echo
from cellseg_core.cli.options import config_from, naming_settings, run_options
from cellseg_core.cli.progress import Console
from cellseg_core.cli.sections import SectionedCommand
from cellseg_core.config import RunConfig, option_name
from cellseg_core.errors import ConfigurationError

if TYPE_CHECKING:
    from cellseg_core.preview_panels import Panel, Preview

__all__ = ["command"]

# They change what is measured and written, or how much memory it takes, and nothing that is seen.
_MADE_BY = "cellseg preview"
_WITHOUT_EFFECT = (
    "compensate", "compensator", "compensate_except", "features", "write", "tile", "overlap",
    "skip_failed_tiles",
)  # fmt: skip


@click.command(
    "preview",
    cls=SectionedCommand,
    short_help="Show one crop under several settings, to choose from.",
)
@click.argument("text", metavar="INPUT")
@click.option(
    "-o",
    "--output",
    "out",
    default="preview.png",
    show_default=True,
    type=Path,
    metavar="FILE.png",
    help="The picture to write.",
)
@click.option(
    "--segmenters",
    metavar="NAME,NAME...",
    default="",
    help="Segmenters to choose from. Default: the one of --segmenter.",
)
@click.option(
    "--diameters",
    metavar="auto|PX,PX...",
    default="auto",
    help="Nuclear diameters to choose from. Default: 0.7, 1 and 1.4 times what a run takes.",
)
@click.option(
    "--brightness-factors",
    "factors",
    metavar="FACTOR,FACTOR...",
    default="",
    help="Values of --brightness to choose from. Default: 0.5,1,2; with several segmenters, 1.",
)
@click.option(
    "--image", "name", metavar="NAME", help="Image of a folder. Default: one of typical brightness."
)
@click.option(
    "--at",
    metavar="Y,X",
    help="Centre of the crop in px, row first. Default: a place with many nuclei.",
)
@click.option(
    "--size", type=int, metavar="PX", help="Edge of the crop. Default: 14 nuclear diameters."
)
@functools.partial(run_options, without=_WITHOUT_EFFECT)
@click.option(
    "--config",
    type=Path,
    metavar="FILE",
    help="TOML file with settings (`cellseg init` writes one); options given here come first.",
)
@click.option("--quiet", is_flag=True, help="Show warnings and failures only.")
def command(
    text: str,
    out: Path,
    segmenters: str,
    diameters: str,
    factors: str,
    name: str | None,
    at: str | None,
    size: int | None,
    config: Path | None,
    quiet: bool,
    **given: Any,
) -> int:
    """Segment one crop of an image in several ways, and draw them side by side, to choose by eye.

    INPUT is what `cellseg run` takes: an image, or a folder of images, of which one is shown. The
    crop is segmented as a run over INPUT would do it. The panels of the picture are numbered; for
    each, the command that runs with its settings is printed. The one with a frame is what
    `cellseg run` does by itself.

    \b
    Examples:
      cellseg preview tissue.ome.tif --nuclear DAPI
      cellseg preview tissue.ome.tif --diameters 10,14,20 --brightness-factors 1 --at 900,1200
      cellseg preview slides/ --nuclear DAPI --segmenters maskrcnn,stardist -o choose.png

    Exit status: 0 if every panel could be drawn, 1 if some failed, 2 for wrong use.
    """  # noqa: D301 - click takes \b for a paragraph to leave alone
    from cellseg_core.inputs import input_locations
    from cellseg_core.plugins import load_plugins
    from cellseg_core.preview import preview
    from cellseg_core.typical import find_typical

    if out.suffix.lower() != ".png":
        raise ConfigurationError(f"the picture is a PNG: -o {out.stem}.png instead of {out.name}.")
    (source,) = input_locations([text])
    _check_target(out, source)
    settings, plugins = config_from(given, config), load_plugins()
    chosen: dict[str, Any] = {
        "segmenters": [one.strip() for one in segmenters.split(",") if one.strip()],
        "diameters": () if diameters == "auto" else _numbers(diameters, "--diameters"),
        "factors": _numbers(factors, "--brightness-factors") if factors else (),
        "at": None if at is None else _point(at),
        "size": size,
    }
    if factors and settings.brightness == "each":
        raise ConfigurationError(
            "--brightness each leaves no choice of a factor: leave --brightness-factors out, or "
            "give the path of one image."
        )
    if settings.brightness == "each":
        chosen["factors"] = (1.0,)
    with naming_settings(config), Console(quiet=quiet) as console:
        typical = find_typical(source, settings, plugins, console, name)
        if typical.number > 1:
            console.say(f"Shown is {typical.image.name}, one of {typical.number} images.")
        made = preview(
            typical.image,
            settings,
            **chosen,
            levels=typical.levels,
            plugins=plugins,
            progress=lambda step, done, of: console.step(typical.image.name, step, done, of),
        )
        for note in (*typical.image.notes, *made.notes):
            console.warn(note)
        _write(made, out)
    base = _words(given, config)
    _tell(made, base, str(source), quiet=quiet)
    if not quiet:
        echo(f"Look at: {out}")
    done = all(panel.failed is None for panel in made.panels)
    return 0 if done and all(row.failed is None for row in made.rows) else 1


def _numbers(text: str, option: str) -> tuple[float, ...]:
    """Return the numbers that are separated by commas."""
    try:
        numbers = tuple(dict.fromkeys(float(one) for one in text.split(",") if one.strip()))
    except ValueError:
        numbers = ()
    if not numbers or not all(0 < one < math.inf for one in numbers):
        raise ConfigurationError(
            f"{option} are numbers over 0, separated by commas: {option} 1,2. Got {text!r}"
        )
    return numbers


def _point(text: str) -> tuple[float, float]:
    try:
        y, x = (float(one) for one in text.split(","))
    except ValueError:
        raise ConfigurationError(
            f"--at is a row and a column in px, separated by a comma: --at 900,1200. Got {text!r}"
        ) from None
    return y, x


def _check_target(out: Path, source: Location) -> None:
    """Check that the picture takes the place of an earlier preview at most."""
    from PIL import Image as Pillow

    if isinstance(source, Path) and source.is_dir() and out.parent.resolve() == source.resolve():
        raise ConfigurationError(
            f"{out} would be an image of {source} the next time. Choose another folder with -o."
        )
    if not out.is_file():
        return
    try:
        with Pillow.open(out) as picture:
            ours = picture.info.get("Software") == _MADE_BY
    except OSError:
        ours = False
    if not ours:
        raise ConfigurationError(
            f"{out} exists, and is no picture of cellseg preview. Choose another file with -o."
        )


def _write(made: Preview, out: Path) -> None:
    from PIL import Image as Pillow
    from PIL.PngImagePlugin import PngInfo

    from cellseg_core.contact_sheet import draw_sheet
    from cellseg_core.store import atomic_write, output_error

    told = PngInfo()
    told.add_text("Software", _MADE_BY)
    stream = io.BytesIO()
    Pillow.fromarray(draw_sheet(made)).save(stream, "PNG", optimize=True, pnginfo=told)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out.parent, error) from error
    atomic_write(out, stream.getvalue())


def _words(given: Mapping[str, Any], config: Path | None) -> dict[str, list[str]]:
    """Return the options that were given, as they are typed, by the name of the setting."""
    words = {} if config is None else {"config": ["--config", str(config)]}
    for field in attrs.fields(RunConfig):
        value = given.get(field.name)
        option = option_name(field)
        if field.name == "set":
            words["set"] = [word for one in value or () for word in (option, str(one))]
        elif value is not None:
            words[field.name] = [option, *([] if value is True else [_typed(value)])]
    return words


def _typed(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _tell(made: Preview, base: Mapping[str, list[str]], source: str, *, quiet: bool) -> None:
    """Print the command of each panel, and what could not be done."""
    for row in made.rows:
        if row.failed is not None:
            echo(f"FAILED {row.segmenter}: {row.failed}", err=True)
            continue
        for panel in row.panels:
            if panel.failed is not None:
                echo(f"FAILED panel {panel.number}: {panel.failed}", err=True)
            elif not quiet:
                echo(f"{panel.number:>2}: {_line(panel, base, source)}")


def _line(panel: Panel, base: Mapping[str, list[str]], source: str) -> str:
    """Return the command that runs with the settings of a panel, and how many nuclei it shows."""
    fields = attrs.fields_dict(RunConfig)
    changed = {
        name: [option_name(fields[name]), _typed(value)] for name, value in panel.settings.items()
    }
    options: Sequence[str] = [word for words in {**base, **changed}.values() for word in words]
    # A path that begins with a dash would be taken for an option.
    named = f"./{source}" if source.startswith("-") else source
    command = _quoted(["cellseg", "run", named, *options, "-o", "results"])
    by_itself = ", by itself" if panel.by_default else ""
    return f"{command}   # {panel.count:,} nuclei{by_itself}"


def _quoted(words: Sequence[str]) -> str:
    """Return words as they are typed into the usual shell of this system."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
