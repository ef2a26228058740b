"""``cellseg info``: what an image holds, and how it was understood."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from cellseg_core.address import Location
from cellseg_core.cli.echo import echo

if TYPE_CHECKING:
    from cellseg_core.image import Image
    from cellseg_core.reading import Source

__all__ = ["command"]


@click.command("info", short_help="Show what is in an image.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--nuclear", metavar="NAME[,NAME]", default="", help="Channel that shows the nuclei.")
@click.option(
    "--layout",
    type=click.Choice(["auto", "images", "channels", "codex", "mosaic"]),
    default="auto",
    help="How to read a folder.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KIND.OPTION=VALUE", help="Option of a reader."
)
@click.option("--channels", type=Path, metavar="FILE", help="File with the channel names.")
@click.option("--pixel-size", type=float, metavar="UM", help="Edge of a pixel in um.")
def command(
    inputs: tuple[str, ...],
    nuclear: str,
    layout: str,
    settings: tuple[str, ...],
    channels: Path | None,
    pixel_size: float | None,
) -> int:
    """Show the size, type, axes, channels and pixel size of images, as cellseg understands them.

    Also shown: which channel would be taken for the nuclear one, and the diameter of nuclei that
    is estimated from it. Nothing is written.
    """
    from cellseg_core.channels import read_channel_names
    from cellseg_core.config import RunConfig, parse_setting
    from cellseg_core.errors import CellsegError
    from cellseg_core.inputs import input_locations
    from cellseg_core.plugins import load_plugins
    from cellseg_core.reading import find_sources, read_each

    config = RunConfig(
        nuclear=tuple(nuclear.split(",")), layout=layout, set=dict(map(parse_setting, settings))
    )
    plugins = load_plugins()
    config.check_options(plugins)
    names = read_channel_names(channels) if channels else None
    failed = 0
    sources: list[Source] = []
    for path in input_locations(inputs):
        try:
            sources += find_sources(path, plugins, config.layout, config.nuclear)
        except CellsegError as error:
            failed += _fail(path, error)

    def read(source: Source) -> list[Image]:
        return source.read(plugins, config.options("reader", source.reader, plugins))

    told: set[str] = set()
    for source, found in read_each(sources, read):
        if source.note and source.note not in told:
            told.add(source.note)
            echo(source.note)
        if isinstance(found, CellsegError):
            failed += _fail(source.path, found)
            continue
        for image in found:
            try:
                if names is not None:
                    image = attrs.evolve(image, channels=names, color=False)
                if pixel_size is not None:
                    image = attrs.evolve(image, pixel_size=pixel_size)
                _show(image, source.reader, config.nuclear)
            except CellsegError as error:
                failed += _fail(source.path, error)
    return 1 if failed else 0


def _fail(path: Location, error: Exception) -> int:
    from cellseg_core.reporting import failure

    echo(failure(path, error), err=True)
    return 1


def _show(image: Image, reader: str, nuclear: tuple[str, ...]) -> None:
    from cellseg_core.cli.run import counted
    from cellseg_core.errors import ChannelError
    from cellseg_core.scaled import guess_diameter, view

    height, width = image.shape
    pixel = "not known (give --pixel-size)"
    if image.pixel_size is not None:
        pixel = f"{image.pixel_size:g} um, the image is {height * image.pixel_size:.0f} x "
        pixel += f"{width * image.pixel_size:.0f} um"
    rows = {
        "file": f"{image.source} (reader {reader!r})",
        "size": f"{height} x {width} px, {counted(len(image.channels), 'channel')}, {image.dtype}",
        "axes": image.axes,
        "channels": ", ".join(image.channels),
        "pixel size": pixel,
    }
    try:
        scaled, why = view(image, nuclear)
    except ChannelError as error:
        rows["nuclei"] = str(error)
    else:
        names = ", ".join(image.channels[number] for number in scaled.nuclear)
        rows["nuclei"] = f"{names} ({why})"
        diameter, known_from = guess_diameter(scaled, scaled.sample())
        rows["diameter"] = f"about {diameter:.1f} px ({known_from})"
    echo(image.name)
    for name, value in rows.items():
        echo(f"  {name + ':':<11} {value}")
