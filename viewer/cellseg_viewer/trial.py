"""Settings tried on a part of an image, with what a run over the whole would find there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import get_context

import attrs
import numpy as np

from cellseg_core.config import RunConfig
from cellseg_core.errors import CellsegError, ConfigurationError
from cellseg_core.growing import grow
from cellseg_core.image import Image
from cellseg_core.label_store import make_labels
from cellseg_core.length import Length
from cellseg_core.normalize import Brightness
from cellseg_core.pipeline import Pipeline
from cellseg_core.plugins import Plugins, load_plugins
from cellseg_core.preparing import StepWatch, prepare
from cellseg_core.protocols import Labels
from cellseg_core.reading_order import reading_order
from cellseg_core.segmenting import segment_tiles
from cellseg_core.stitching import stitch
from cellseg_core.tiling import Box, Tile, tile_image

__all__ = ["LARGEST", "Trial", "TrialProcess", "try_settings"]

LARGEST = 2048
"""Px: edges of a part that can be tried."""

_AROUND = 2  # diameters: nuclei cut by the edge of the part are found whole


@attrs.frozen(eq=False)
class Trial:
    """What was found in a part of an image.

    Attributes
    ----------
    box
        The part.
    nuclei, cells
        (Y, X) int32 of the part; ids are of this trial alone.
    diameter, known_from
        Of nuclei, in px, and how it was found.
    brightness
        The scale of the whole image.
    warnings
        What the user should look at, in full sentences.
    """

    box: Box
    nuclei: Labels
    cells: Labels
    diameter: float
    known_from: str
    brightness: Brightness
    warnings: Sequence[str]

    @property
    def count(self) -> int:
        """Return how many cells have a pixel in the part."""
        return int(np.count_nonzero(np.unique(self.cells)))


def try_settings(
    image: Image,
    box: Box,
    config: RunConfig,
    plugins: Plugins,
    *,
    levels: Brightness | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Trial:
    """Return the nuclei and cells of a part of an image.

    Brightness, the diameter of nuclei and what else is decided over an image come from the whole
    of it, so that a run with these settings finds the same.

    Parameters
    ----------
    box
        The part.
    config
        Looked at are its channels, segmenter, diameter, brightness, least size and expansion.
    levels
        The brightness scale, where it is known. Default: from the whole image.

    Raises
    ------
    ConfigurationError
        If the part is empty or too large, or a setting makes no sense.
    ChannelError, ComponentError, ImageError, SegmentationError
        As a run does.
    """
    whole = Box(0, image.shape[0], 0, image.shape[1])
    part = box.intersection(whole)
    if part is None:
        raise ConfigurationError("the part lies outside of the image. Move to where nuclei are.")
    if max(part.shape) > LARGEST:
        raise ConfigurationError(
            f"the part is {part.shape[1]} x {part.shape[0]} px, and {LARGEST} x {LARGEST} px is "
            "the most for a trial. Zoom in, or draw a smaller rectangle."
        )
    factor = 1.0 if isinstance(config.brightness, str) else float(config.brightness)
    pipeline = Pipeline(
        segmenter=config.segmenter,
        expander=config.expander,
        expand_by=config.expand,
        nuclear_diameter=config.nuclear_diameter,
        min_size=config.min_size,
        plugins=plugins,
    )
    distance = Length.of(config.expand).in_px(image.pixel_size, image.name)
    built = pipeline.build(distance)
    ready = prepare(
        image,
        config.nuclear,
        config.membrane,
        None if levels is None else attrs.evolve(levels, factor=factor),
        segmenter=built.segmenter,
        brightness=factor,
        nuclear_diameter=config.nuclear_diameter,
        tile=None,
        overlap=None,
        watch=StepWatch(),
        progress=progress,
    )
    around = part.grown(math.ceil(_AROUND * ready.diameter + distance), image.shape)
    tiles = _tiles_of(around, ready.edge, ready.margin, image.shape)
    found = segment_tiles(ready.segmenter, ready.source, tiles, progress=progress)
    stitched = stitch(image.shape, found.objects)
    painted, regions = make_labels(around.shape, lambda _: stitched[around.slices])
    order = reading_order(regions, config.min_size)
    nuclei = order.apply(painted[:, :])
    cells = nuclei
    if built.expander is not None:
        grown, _ = grow(built.expander, nuclei, order.regions, distance, image.name)
        cells = grown[:, :]
    inside = part.within(around)
    return Trial(
        box=part,
        nuclei=np.ascontiguousarray(nuclei[inside]),
        cells=np.ascontiguousarray(cells[inside]),
        diameter=ready.diameter,
        known_from=ready.known_from,
        brightness=ready.scaled.brightness,
        warnings=tuple(ready.warnings),
    )


def _tiles_of(box: Box, edge: int, margin: int, shape: tuple[int, int]) -> list[Tile]:
    """Return tiles whose cores cover a part of an image of ``shape``, the outer ones to its edges.

    So nuclei whose centre lies beyond the part belong to a tile as well.
    """
    height, width = shape
    tiles = tile_image(box.shape, edge, 0)
    rows, columns = tiles[-1].row, tiles[-1].col
    found = []
    for tile in tiles:
        y0, y1 = tile.core.y0 + box.y0, tile.core.y1 + box.y0
        x0, x1 = tile.core.x0 + box.x0, tile.core.x1 + box.x0
        window = Box(y0, y1, x0, x1).grown(margin, shape)
        core = Box(
            0 if tile.row == 0 else y0,
            height if tile.row == rows else y1,
            0 if tile.col == 0 else x0,
            width if tile.col == columns else x1,
        )
        found.append(Tile(tile.row, tile.col, core, window))
    return found


class TrialProcess:
    """Tries settings in a process of its own, which stays for the next trial.

    The software that draws without a graphics card and TensorFlow cannot be in one process: both
    have a compiler of the same name in them.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def run(
        self, image: Image, box: Box, config: RunConfig, levels: Brightness | None
    ) -> Trial | str:
        """Return what :func:`try_settings` does, or what is wrong."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            return self._pool.submit(_tried, image, box, config, levels).result()
        except BrokenExecutor:
            self.close()
            return (
                "the trial ended without a word: perhaps memory was short. Try a smaller part, or "
                "another segmenter."
            )

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None


def _tried(image: Image, box: Box, config: RunConfig, levels: Brightness | None) -> Trial | str:
    try:
        return try_settings(image, box, config, load_plugins(), levels=levels)
    except CellsegError as error:
        return str(error)
