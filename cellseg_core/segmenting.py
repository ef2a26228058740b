"""One segmenter on one tile: at the size that it knows, with every failure named by its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import CellsegError, ConfigurationError, SegmentationError
from cellseg_core.protocols import AdaptiveSegmenter, Segmentation, Segmenter
from cellseg_core.rescale import Rescaled
from cellseg_core.scaled import ScaledImage
from cellseg_core.stitching import TileObjects, tile_objects
from cellseg_core.tiling import Tile

if TYPE_CHECKING:
    from cellseg_core.tile_store import TileStore

__all__ = ["adapt", "margin_of", "segment_tile", "segment_tiles"]

_MOST = 32  # beyond it a nucleus would be a pixel, and an image a giant


def adapt(
    segmenter: Segmenter, scaled: ScaledImage, sample: NDArray[np.float32], diameter: float
) -> tuple[Rescaled, Segmenter]:
    """Return the image at the size that the segmenter knows, and the segmenter set up for it.

    ``sample`` is what ``scaled.sample()`` returned, ``diameter`` that of nuclei in px.

    Raises
    ------
    ConfigurationError
        If the image would have to be magnified by more than 32.
    SegmentationError
        If the segmenter cannot adapt to it.
    """
    native = segmenter.native_diameter
    factor = 1.0 if native is None else native / diameter
    if factor > _MOST:
        raise ConfigurationError(
            f"{scaled.image.name}: nuclei {diameter:g} px wide would have to be magnified "
            f"{factor:,.0f} times for {type(segmenter).__name__}, and {_MOST} times is the most. "
            "--nuclear-diameter is in px; a pixel size is in um."
        )
    source = Rescaled(scaled, factor)
    if isinstance(segmenter, AdaptiveSegmenter):
        try:
            segmenter = segmenter.adapt(sample, diameter * factor)
        except CellsegError:
            raise
        except Exception as error:
            raise SegmentationError(
                f"{scaled.image.name}: {type(segmenter).__name__} could not adapt to the image "
                f"({type(error).__name__}: {error})."
            ) from error
    return source, segmenter


def segment_tiles(
    segmenter: Segmenter,
    source: Rescaled,
    tiles: Sequence[Tile],
    name: str,
    store: TileStore | None = None,
    *,
    progress: Callable[[int, int], None],
) -> tuple[list[TileObjects], int]:
    """Return the objects of each tile, and how many tiles were in the store before.

    Raises
    ------
    SegmentationError
        As :func:`segment_tile` does.
    OutputError
        If a tile cannot be kept in the store.
    """
    objects, before = [], 0
    for done, tile in enumerate(tiles):
        progress(done, len(tiles))
        kept = None if store is None else store.get(tile)
        if kept is not None:
            objects.append(kept)
            before += 1
            continue
        made = segment_tile(segmenter, source, tile, name)
        objects.append(made if store is None else store.put(made))
    progress(len(tiles), len(tiles))
    return objects, before


def segment_tile(segmenter: Segmenter, source: Rescaled, tile: Tile, name: str) -> TileObjects:
    """Return the objects of one tile, at the size of the source image.

    Raises
    ------
    SegmentationError
        If the segmenter fails or breaks a rule; the message names the image and the tile.
    """
    window = tile.window
    # A network that halves its input several times sees a shifted image in another way; tiles
    # that begin on its grid show it the same image.
    grid = getattr(segmenter, "grid", 1)
    where = (
        f"{name}: tile in row {tile.row + 1}, column {tile.col + 1} (rows {window.y0} to "
        f"{window.y1}, columns {window.x0} to {window.x1})"
    )
    kind = type(segmenter).__name__
    try:
        scaled = source.window(window, grid)
        pixels = source.read(scaled)
        pixels.flags.writeable = False
        found = segmenter.segment(pixels)
        try:
            _check(found, pixels.shape[1:])
            labels = source.to_source(found.labels, scaled, window)
            return tile_objects(tile, Segmentation(labels, found.scores), source.source.shape)
        except SegmentationError as error:
            raise SegmentationError(f"{kind} broke a rule: {error}.") from error
    except SegmentationError as error:
        raise SegmentationError(f"{where}: {error}") from error
    except CellsegError:
        raise
    except MemoryError as error:
        raise SegmentationError(
            f"{where}: out of memory. Use smaller tiles, for example --tile 512."
        ) from error
    except Exception as error:
        raise SegmentationError(
            f"{where}: {kind} failed ({type(error).__name__}: {error})."
        ) from error


def _check(found: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(found, Segmentation):
        raise SegmentationError(
            f"segment() returns a Segmentation(labels, scores); this one returned "
            f"{type(found).__name__}"
        )
    if found.labels.shape != shape:
        raise SegmentationError(
            f"labels must have the size of the tile, {shape}; these have {found.labels.shape}"
        )


def margin_of(segmenter: Segmenter, source: Rescaled, tile: int, overlap: int | None = None) -> int:
    """Return the px of the source image that a tile's window adds to its core on every side.

    ``tile`` is the largest edge of a core and ``overlap`` what the user asked neighbours to share.

    Raises
    ------
    ConfigurationError
        If that is less than the segmenter declares.
    """
    declared = math.ceil(segmenter.halo / source.factor)
    if overlap is None:
        return declared
    if overlap < 2 * declared and tile < max(source.source.shape):
        raise ConfigurationError(
            f"an overlap of {overlap} px is too small: the segmenter needs "
            f"{2 * declared} px at this nuclear diameter, or seams would show. Leave --overlap "
            "out to take what it needs."
        )
    return math.ceil(overlap / 2)
