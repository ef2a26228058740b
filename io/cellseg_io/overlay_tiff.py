"""A picture of the result at full resolution, for viewers of whole slides."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.label_image import read_labels
from cellseg_core.outlines import inner_outlines
from cellseg_core.painting import CELL, GAMMA, NUCLEUS, Colour, Tone
from cellseg_core.tiling import Box
from cellseg_io.cell_outlines import grown
from cellseg_io.overlay import at_least

if TYPE_CHECKING:
    from cellseg_core.label_image import LazyLabels
    from cellseg_core.protocols import Labels
    from cellseg_core.result import Result

__all__ = ["OverlayTiffWriter"]

_TILE = 512  # px
_WIDEST = 8192  # px: what is drawn at a time is a row of tiles of this width
_SMALLEST = 512  # px: a level of no more on both sides is the last one
_QUALITY = 90

_Picture = NDArray[np.uint8]


@attrs.frozen
class OverlayTiffWriter:
    """Writes ``overlay.ome.tif``: the nuclear image with outlines, every pixel of it.

    As ``overlay`` does: an image that is dim at the run's brightness is shown brighter, nuclei are
    outlined in orange and, where they were grown, cells in blue. OME-TIFF in RGB, with tiles of
    512 px, compressed as JPEG, and a pyramid, which QuPath, napari and Fiji (by Bio-Formats) open
    at any size. It is drawn tile by tile.

    Parameters
    ----------
    gamma
        Exponent that lifts dim nuclei into sight; 1 shows the brightness scale as it is.
    """

    gamma: float = attrs.field(
        default=GAMMA, validator=at_least(0.01, (int, float), "overlay-tiff")
    )

    def write(self, result: Result, folder: Path) -> list[Path]:
        """Write the picture and return its path."""
        import tifffile

        path = folder / "overlay.ome.tif"
        shapes = [result.image.shape]
        while max(shapes[-1]) > _SMALLEST:
            shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2)))
        tile = tuple(min(_TILE, -(-max(shapes[0]) // 16) * 16) for _ in range(2))
        options: dict[str, Any] = {
            "dtype": np.uint8,
            "photometric": "rgb",
            "tile": tile,
            "compression": "jpeg",
            # Thin lines in colour need their colour in every pixel.
            "subsampling": (1, 1),
            "compressionargs": {"level": _QUALITY},
        }
        with (
            tempfile.TemporaryDirectory(dir=folder) as spare,
            tifffile.TiffWriter(path, bigtiff=_is_large(shapes[0]), ome=True) as writer,
        ):
            draw = self._drawn(result)
            for level, shape in enumerate(shapes):
                below = None
                if level + 1 < len(shapes):
                    below = _spare(Path(spare) / str(level), shapes[level + 1])
                first = level == 0
                writer.write(
                    _tiles(draw, shape, tile[0], below),
                    shape=(*shape, 3),
                    subifds=len(shapes) - 1 if first else None,
                    subfiletype=0 if first else 1,
                    metadata=_metadata(result) if first else None,
                    **options,
                )
                if below is not None:
                    draw = _stored(below)
        return [path]

    def _drawn(self, result: Result) -> Callable[[Box], _Picture]:
        tone = Tone.of(result.scaled.sample()[0], self.gamma)
        kinds: list[tuple[Labels | LazyLabels, Colour]] = [(result.nuclei, NUCLEUS)]
        if grown(result):
            kinds.insert(0, (result.cells, CELL))
        height, width = result.image.shape

        def draw(box: Box) -> _Picture:
            gray = tone.gray(result.scaled.read(*box.slices)[0])
            picture = np.repeat(gray[..., np.newaxis], 3, axis=2)
            # The neighbours of its outermost pixels decide whether these are on an outline.
            y0, x0 = max(box.y0 - 1, 0), max(box.x0 - 1, 0)
            y1, x1 = min(box.y1 + 1, height), min(box.x1 + 1, width)
            inner = np.s_[box.y0 - y0 : box.y1 - y0, box.x0 - x0 : box.x1 - x0]
            for labels, colour in kinds:
                around = read_labels(labels, slice(y0, y1), slice(x0, x1))
                picture[inner_outlines(around)[inner]] = colour
            return picture

        return draw


def _tiles(
    draw: Callable[[Box], _Picture], shape: tuple[int, int], edge: int, below: Any
) -> Iterator[_Picture]:
    """Yield the tiles of a level, row by row, and write the next one into ``below``."""
    height, width = shape
    for top in range(0, height, edge):
        bottom = min(top + edge, height)
        for left in range(0, width, _WIDEST):
            right = min(left + _WIDEST, width)
            picture = draw(Box(top, bottom, left, right))
            if below is not None:
                half = _halved(picture)
                y, x = top // 2, left // 2
                below[y : y + half.shape[0], x : x + half.shape[1]] = half
            for at in range(0, right - left, edge):
                piece = picture[:, at : at + edge]
                missing = ((0, edge - piece.shape[0]), (0, edge - piece.shape[1]), (0, 0))
                yield np.ascontiguousarray(np.pad(piece, missing, mode="edge"))


def _halved(picture: _Picture) -> _Picture:
    """Return a picture of half the size, of means of 2 x 2 px; at an odd edge, of what is there."""
    odd = tuple((0, length % 2) for length in picture.shape[:2])
    even = np.pad(picture, (*odd, (0, 0)), mode="edge").astype(np.uint16)
    total = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    half: _Picture = ((total + 2) // 4).astype(np.uint8)
    return half


def _spare(path: Path, shape: tuple[int, int]) -> Any:
    """Return an array on disk for a level that is made while the one above is written."""
    import zarr

    return zarr.create_array(
        path,
        shape=(*shape, 3),
        dtype=np.uint8,
        chunks=(_TILE // 2, _TILE, 3),
    )


def _stored(array: Any) -> Callable[[Box], _Picture]:
    return lambda box: np.asarray(array[box.slices])


def _is_large(shape: tuple[int, int]) -> bool:
    return shape[0] * shape[1] * 4 > 2**31


def _metadata(result: Result) -> dict[str, Any]:
    # OME wants a UUID; one made from what is shown gives the same file for the same result.
    content = hashlib.sha256(repr((result.image.name, result.image.shape)).encode())
    for values in (result.table.labels, result.table.areas, result.table.centroids):
        content.update(np.ascontiguousarray(values).tobytes())
    identity = uuid.UUID(bytes=content.digest()[:16], version=4)
    pixel_size = result.image.pixel_size
    size = {
        "PhysicalSizeX": pixel_size,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": pixel_size,
        "PhysicalSizeYUnit": "µm",
    }
    return {
        "axes": "YXS",
        "Name": f"{result.image.name} overlay",
        "UUID": f"urn:uuid:{identity}",
        **({} if pixel_size is None else size),
    }
