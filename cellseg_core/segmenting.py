"""One segmenter on one tile: at the size that it knows, with every failure named by its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import CellsegError, ConfigurationError, SegmentationError
from cellseg_core.protocols import AdaptiveSegmenter, PlacedSegmenter, Segmentation, Segmenter
from cellseg_core.rescale import Rescaled
from cellseg_core.scaled import ScaledImage
from cellseg_core.stitching import TileObjects, nothing_in, tile_objects
from cellseg_core.tiling import Tile
from cellseg_core.workers import ThisProcess, Workers

if TYPE_CHECKING:
    from cellseg_core.tile_store import TileFiles, TileStore

__all__ = ["Segmented", "TileJob", "adapt", "margin_of", "segment_tile", "segment_tiles"]

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
    store: TileStore | None = None,
    workers: Workers | None = None,
    *,
    skip_failed: bool = False,
    progress: Callable[[int, int], None],
) -> Segmented:
    """Return the objects of each tile.

    Parameters
    ----------
    store
        Has those of an earlier run, and keeps those of this one.
    workers
        Who does it. Default: this process.
    skip_failed
        A tile in which the segmenter fails has no objects, rather than to end the work.

    Raises
    ------
    SegmentationError
        As :func:`segment_tile` does.
    OutputError
        If a tile cannot be kept in the store.
    WorkerError
        If workers are lost.
    """
    objects: list[TileObjects | None] = [None] * len(tiles)
    if store is not None:
        objects = list(map(store.get, tiles))
    todo = [number for number, made in enumerate(objects) if made is None]
    # The largest first: it tells how much memory one takes.
    todo.sort(key=lambda number: -math.prod(tiles[number].window.shape))
    before = done = len(tiles) - len(todo)
    failed: dict[int, str] = {}
    job = TileJob(segmenter, source, None if store is None else store.files, skip_failed)
    progress(done, len(tiles))
    for place, made in (workers or ThisProcess()).each(job, [tiles[number] for number in todo]):
        number = todo[place]
        tile = tiles[number]
        if isinstance(made, str):
            failed[number] = made
            made = nothing_in(tile)
        objects[number] = made if store is None or number in failed else store.written(tile)
        done += 1
        progress(done, len(tiles))
    return Segmented(
        [one for one in objects if one is not None],
        before,
        [failed[number] for number in sorted(failed)],
    )


@attrs.frozen(eq=False)
class Segmented:
    """The objects of all tiles.

    Attributes
    ----------
    objects
        Of each tile.
    before
        How many tiles were in the store before.
    failed
        Why tiles have none: a sentence for each that was left out.
    """

    objects: list[TileObjects]
    before: int
    failed: list[str]


@attrs.frozen(eq=False)
class TileJob:
    """What is to be done with each tile of an image, wherever that is.

    It returns the objects of a tile, or nothing where they were written to ``files``, or a
    sentence that says why there are none, where that is to be no error.
    """

    segmenter: Segmenter
    source: Rescaled
    files: TileFiles | None
    skip_failed: bool

    def __call__(self, tile: Tile) -> TileObjects | str | None:
        """Segment one tile."""
        try:
            found = segment_tile(self.segmenter, self.source, tile)
        except SegmentationError as error:
            if self.skip_failed:
                return str(error)
            raise
        if self.files is None:
            return found
        self.files.write(found)
        return None


def segment_tile(segmenter: Segmenter, source: Rescaled, tile: Tile) -> TileObjects:
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
        f"{source.source.image.name}: tile in row {tile.row + 1}, column {tile.col + 1} (rows "
        f"{window.y0} to {window.y1}, columns {window.x0} to {window.x1})"
    )
    kind = type(segmenter).__name__
    try:
        scaled = source.window(window, grid)
        pixels = source.read(scaled)
        pixels.flags.writeable = False
        if isinstance(segmenter, PlacedSegmenter):
            found = segmenter.segment_at(pixels, scaled, source.shape)
        else:
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
