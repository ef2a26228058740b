"""The brightness scale of a run that takes it from one image."""

from __future__ import annotations

from collections.abc import Iterable

from cellseg_core.config import RunConfig
from cellseg_core.errors import ImageError
from cellseg_core.inputs import read_source
from cellseg_core.normalize import Brightness
from cellseg_core.plugins import Plugins
from cellseg_core.reading import find_sources, read_all

__all__ = ["reference_brightness"]


def reference_brightness(
    config: RunConfig, plugins: Plugins, channels: Iterable[str], factor: float
) -> Brightness:
    """Return the scale of some channels as the image of ``config.reference`` has it.

    Raises
    ------
    ImageError
        If there is not one image.
    ChannelError
        If it lacks a channel.
    """
    path = config.reference
    assert path is not None
    sources = find_sources(path, plugins, config.layout, config.nuclear)
    images = read_all(sources, lambda one: read_source(one, config, plugins))
    if len(images) != 1:
        raise ImageError(f"--reference takes one image; {path} holds {len(images)}.")
    numbers = {name: images[0].index(name) for name in channels}
    measured = Brightness.of(images[0], numbers.values(), factor).levels
    # The images may spell a channel in another way than the reference does.
    levels = {name: measured[images[0].channels[n]] for name, n in numbers.items()}
    return Brightness(levels, factor, str(path.absolute()))
