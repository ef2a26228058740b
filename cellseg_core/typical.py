"""One image that stands for those of a run, and the brightness scale that all of them share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import attrs

from cellseg_core.address import Location
from cellseg_core.channels import nuclear_channels
from cellseg_core.config import RunConfig
from cellseg_core.errors import (
    CellsegError,
    ChannelError,
    ConfigurationError,
    ImageError,
    MissingPackageError,
    nearest,
)
from cellseg_core.image import Image
from cellseg_core.inputs import read_source
from cellseg_core.normalize import Brightness, UpperPercentile, channel_tails
from cellseg_core.plugins import Plugins
from cellseg_core.reading import find_sources, read_each
from cellseg_core.reference import reference_brightness
from cellseg_core.reporting import Reporter

__all__ = ["Typical", "find_typical"]


@attrs.frozen(eq=False)
class Typical:
    """An image, the scale (with the factor 1) that a run over all images gives it, and how many.

    ``number`` is how many images a run would do.
    """

    image: Image
    levels: Brightness
    number: int


def find_typical(
    path: Location, config: RunConfig, plugins: Plugins, reporter: Reporter, name: str | None = None
) -> Typical:
    """Return the image at ``path`` of that name, or by default the one of median brightness.

    What a run would leave out, since it cannot be read or lacks a channel, is told and left out.

    Raises
    ------
    CellsegError
        If no image can be read, or none has that name.
    """
    images = _images(path, config, plugins, reporter)
    names = [image.name for image, _ in images]
    if name is not None and name not in names:
        raise ConfigurationError(f"{path} has no image {name!r}; {nearest(name, names)}.")
    pixels: Counter[str] = Counter()
    for image, numbers in images:
        for number in numbers:
            pixels[image.channels[number]] += math.prod(image.shape)
    shared = {channel: UpperPercentile(count) for channel, count in pixels.items()}
    own: list[Brightness] = []
    kept: list[tuple[Image, Sequence[int]]] = []
    for done, (image, numbers) in enumerate(images):
        reporter.step(image.name, "brightness", done, len(images))
        try:
            tails = channel_tails(image, numbers, pixels)
        except ImageError as error:
            if len(images) == 1 or image.name == name:
                raise
            reporter.warn(f"FAILED {error}")
            continue
        kept.append((image, numbers))
        own.append(Brightness.from_tails(tails, source="this image"))
        for channel, tail in tails.items():
            shared[channel].merge(tail)
    if not kept:
        raise ImageError(f"{path}: no image can be read, for the reasons above.")
    images, names = kept, [image.name for image, _ in kept]
    if name is None:
        order = sorted(range(len(images)), key=lambda one: sum(own[one].levels.values()))
        place = order[len(order) // 2]
    else:
        place = names.index(name)
    levels = Brightness.from_tails(shared)
    if config.reference is not None:
        levels = reference_brightness(config, plugins, pixels, 1.0)
    elif config.brightness == "each":
        levels = own[place]
    return Typical(images[place][0], levels, len(images))


def _images(
    path: Location, config: RunConfig, plugins: Plugins, reporter: Reporter
) -> list[tuple[Image, Sequence[int]]]:
    """Return the images that a run would do, each with its nuclear and membrane channels."""
    sources = find_sources(path, plugins, config.layout, config.nuclear)
    for note in dict.fromkeys(source.note for source in sources if source.note):
        reporter.say(note)
    images: list[tuple[Image, Sequence[int]]] = []
    failed: list[tuple[Location, CellsegError]] = []
    for source, found in read_each(sources, lambda one: read_source(one, config, plugins)):
        if isinstance(found, CellsegError):
            failed.append((source.path, found))
            continue
        for image in found:
            try:
                nuclear, _ = nuclear_channels(image, config.nuclear)
                membrane = [image.index(name) for name in config.membrane]
            except ChannelError as error:
                failed.append((source.path, error))
            else:
                images.append((image, tuple(dict.fromkeys((*nuclear, *membrane)))))
    for where, why in failed:
        if not images or not isinstance(why, (ImageError, ChannelError, MissingPackageError)):
            raise why
        reporter.warn(f"FAILED {where}: {why}")
    return images
