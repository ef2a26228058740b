"""What is decided over an image before it is segmented: brightness, diameter of nuclei, tiles."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ConfigurationError
from cellseg_core.image import Image
from cellseg_core.measured_diameter import measure_diameter
from cellseg_core.normalize import Brightness
from cellseg_core.protocols import Segmenter
from cellseg_core.rescale import Rescaled
from cellseg_core.scaled import DOUBTED, GUESSED, ScaledImage, guess_diameter, view
from cellseg_core.segmenting import adapt, margin_of, segment_tile
from cellseg_core.stitching import TileObjects
from cellseg_core.tiling import Tile, tile_image

__all__ = [
    "Prepared",
    "StepWatch",
    "check_diameter",
    "diameter_cautions",
    "find_diameter",
    "prepare",
    "seen_by",
]

_TILE = 1024
_WIDEST = 1000.0  # px: at 0.1 um a px, an egg cell


class StepWatch:
    """Seconds for each step."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, step: str) -> None:
        """Note the time since the step before, or since the start."""
        now = time.perf_counter()
        self.laps[step] = round(now - self._last, 3)
        self._last = now


@attrs.frozen(eq=False, kw_only=True)
class Prepared:
    """An image that is ready to be segmented.

    Attributes
    ----------
    scaled
        The image as segmenters see it.
    sample
        (C, y, x) float32, what of it was looked at.
    diameter, known_from
        Of nuclei, in px, and how it was found.
    segmenter, source
        The segmenter, set up for this image, and the image at the size that it knows.
    edge, margin
        Px of a tile, and of what it sees beyond its core.
    tiles
        The tiles.
    warnings
        What the user should look at, in full sentences.
    """

    scaled: ScaledImage
    sample: NDArray[np.float32]
    diameter: float
    known_from: str
    segmenter: Segmenter
    source: Rescaled
    edge: int
    margin: int
    tiles: Sequence[Tile]
    warnings: Sequence[str]

    def segment(self, tile: Tile) -> TileObjects:
        """Return the objects of one tile: ``labels`` (y, x) of its window, scores, areas.

        Raises
        ------
        SegmentationError
            If the segmenter fails; the message names the image and the tile.
        """
        return segment_tile(self.segmenter, self.source, tile)


def prepare(
    image: Image,
    nuclear: str | Sequence[str],
    membrane: str | Sequence[str],
    levels: Brightness | None,
    *,
    segmenter: Segmenter,
    brightness: float,
    nuclear_diameter: float | None,
    tile: int | None,
    overlap: int | None,
    watch: StepWatch,
    progress: Callable[[int, int], None],
) -> Prepared:
    """Return what is decided over an image; parameters are those of a pipeline and its ``run``.

    Raises
    ------
    ChannelError, ImageError, ConfigurationError, SegmentationError
        If a channel is not there, cannot be read, or the segmenter cannot work with the image.
    """
    scaled, warnings = seen_by(segmenter, image, nuclear, membrane, levels, brightness)
    sample = scaled.sample()
    if not sample[0].any():
        names = ", ".join(image.channels[n] for n in scaled.nuclear)
        warnings.append(f"the nuclear channel ({names}) is black in this image: no value over 0.")
    watch.lap("brightness")

    diameter, known_from = find_diameter(segmenter, scaled, sample, nuclear_diameter, progress)
    watch.lap("diameter")

    source, adapted = adapt(segmenter, scaled, sample, diameter)
    edge = tile or math.ceil(getattr(adapted, "tile", _TILE) / source.factor)
    margin = margin_of(adapted, source, edge, overlap)
    return Prepared(
        scaled=scaled,
        sample=sample,
        diameter=diameter,
        known_from=known_from,
        segmenter=adapted,
        source=source,
        edge=edge,
        margin=margin,
        tiles=tile_image(image.shape, edge, margin),
        warnings=warnings,
    )


def seen_by(
    segmenter: Segmenter,
    image: Image,
    nuclear: str | Sequence[str],
    membrane: str | Sequence[str],
    levels: Brightness | None,
    brightness: float,
) -> tuple[ScaledImage, list[str]]:
    """Return the image as a segmenter sees it, and what the user should know of the channels.

    Raises
    ------
    ChannelError, ImageError
        If a channel is not there, or cannot be read.
    """
    warnings = []
    in_color = getattr(segmenter, "uses_color", False)
    scaled, chosen = view(image, nuclear, membrane, levels, brightness, in_color=in_color)
    if chosen.startswith("no nuclear"):
        warnings.append(f"{chosen}. Name it with --nuclear if that is wrong.")
    if scaled.membrane and not getattr(segmenter, "uses_membrane", True):
        warnings.append(
            "this segmenter, or its weights, finds nuclei alone: it does not use the membrane "
            "channel."
        )
    return scaled, warnings


def find_diameter(
    segmenter: Segmenter,
    scaled: ScaledImage,
    sample: NDArray[np.float32],
    given: float | None,
    progress: Callable[[int, int], None],
) -> tuple[float, str]:
    """Return the diameter of nuclei in px that a segmenter works with, and how it is known.

    ``given`` is what the user gave, ``sample`` what ``scaled.sample()`` returned.

    Raises
    ------
    ConfigurationError
        If the diameter that was given makes no sense for the image.
    """
    if given is not None:
        check_diameter(given, scaled.image)
        return given, "given"
    diameter, known_from = guess_diameter(scaled, sample)
    measured = measure_diameter(segmenter, scaled, sample, diameter, progress=progress)
    if measured is not None:
        return measured, "measured on nuclei found in parts of the image"
    return diameter, known_from


def check_diameter(diameter: float, image: Image) -> None:
    """Check that nuclei of a diameter in px fit into an image.

    Raises
    ------
    ConfigurationError
        If they are more than twice as wide as the image is long, and wider than any nucleus.
    """
    if diameter > max(_WIDEST, 2 * max(image.shape)):
        height, width = image.shape
        raise ConfigurationError(
            f"{image.name}: nuclei cannot be {diameter:g} px wide in an image of {height} x "
            f"{width} px. Give their diameter in px with --nuclear-diameter, or leave it out: then "
            "it is measured."
        )


def diameter_cautions(image: Image, diameter: float, known_from: str) -> list[str]:
    """Return what the user should know of a diameter that :func:`find_diameter` returned."""
    told = []
    if known_from == DOUBTED and image.pixel_size is not None:
        told.append(
            f"nuclei seem to be {diameter:.0f} px wide, which is "
            f"{diameter * image.pixel_size:.3g} um at {image.pixel_size:g} um for each px: is "
            "the pixel size right? Give it with --pixel-size."
        )
    if known_from == GUESSED:
        told.append(
            f"nuclei were taken to be {diameter:g} px wide, for want of anything to go by. "
            "Give their diameter with --nuclear-diameter."
        )
    return told
