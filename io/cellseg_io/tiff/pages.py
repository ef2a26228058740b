"""Finds where in a TIFF file the pixels of its pages are, and that they are all there."""

from __future__ import annotations

import functools
import io
import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cellseg_core.errors import ImageError
from cellseg_io.limits import check_decoded
from cellseg_io.picture_size import any_size
from cellseg_io.tiff.blocks import Block, PagedBlock, PlainBlock, StoredPage

if TYPE_CHECKING:
    import tifffile

__all__ = ["check_chain", "stored_block", "stored_page"]

_LARGE = 2**28  # bytes
_JPEG = {6, 7, 34892, 33007}
_JPEG_2000 = {33003, 33004, 33005, 34712}
_TIMES = 4  # the pixels of its tile that a compressed picture may have; edges are padded


def check_chain(path: Path, tif: tifffile.TiffFile) -> None:
    """Check that the pages of a TIFF, each of which says where the next one is, come to an end.

    tifffile would follow a circle for hours.

    Raises
    ------
    ImageError
        If a page comes twice.
    """
    form, file = tif.tiff, tif.filehandle
    places: set[int] = set()
    place = tif.pages.first.offset
    while 0 < place < file.size:
        if place in places:
            raise ImageError(
                f"{path} is damaged: its pages follow each other in a circle, from page "
                f"{len(places)} back to an earlier one. Copy it again from where it came."
            )
        places.add(place)
        try:
            file.seek(place)
            (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
            file.seek(place + form.tagnosize + tags * form.tagsize)
            (place,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
        except (struct.error, OSError):
            return  # what tifffile finds, too


def stored_block(
    path: Path, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, shape: tuple[int, ...]
) -> Block:
    """Return the pixels of a series, of the given unsqueezed shape.

    Raises
    ------
    ImageError
        If a page is missing, or the file ends before its pixels do.
    """
    key = series.keyframe
    same_file = all(p is not None and p.parent is tif for p in series.pages)
    if same_file and series.dataoffset is not None:
        dtype = _dtype(key, tif)
        nbytes = math.prod(shape) * dtype.itemsize
        _check_end(path, [series.dataoffset], [nbytes], tif.filehandle.size)
        return PlainBlock(path, series.dataoffset, shape, dtype)
    pages = []
    for number, page in enumerate(series.pages):
        if page is None:
            raise ImageError(
                f"{path}: plane {number + 1} of {len(series.pages)} is missing from the file or "
                "from the set of files that it belongs to. Copy the whole set into one folder."
            )
        pages.append(stored_page(page))
    if len(pages) * math.prod(pages[0].shape) != math.prod(shape):
        raise ImageError(
            f"{path} is damaged or incomplete: it promises pixels of shape {shape}, and holds "
            f"{len(pages)} pages of {pages[0].shape}. Copy it again from where it came."
        )
    return PagedBlock(pages, shape)


def stored_page(page: tifffile.TiffPage | tifffile.TiffFrame) -> StoredPage:
    """Return where the pixels of one TIFF page are; every strip lies within its file.

    Raises
    ------
    ImageError
        If the file ends before its pixels do, its compression is not available, or a strip or
        tile is too large to be decoded.
    """
    key, file = cast("tifffile.TiffPage", page.keyframe), Path(page.parent.filehandle.path)
    _check_compression(key, file)
    samples, depth, height, width, interleaved = (int(n) for n in key.shaped)
    shape = (samples, depth, height, width, interleaved)
    dtype = _dtype(key, page.parent)
    offsets, nbytes = tuple(page.dataoffsets), tuple(page.databytecounts)
    size = math.prod(shape) * dtype.itemsize
    if key.is_final and _in_one_piece(offsets, nbytes, size):
        _check_end(file, offsets[:1], [size], page.parent.filehandle.size)
        return StoredPage(file, shape, dtype, offsets[0], (depth, height, width))
    if key.is_tiled:
        segment = (int(key.tiledepth), int(key.tilelength), int(key.tilewidth))
    else:
        segment = (1, min(int(key.rowsperstrip), height) or height, width)
    _check_segment(file, segment, shape, dtype)
    check_decoded(file, (*segment, interleaved), dtype.itemsize)
    counts = (-(-n // s) for n, s in zip((depth, height, width), segment, strict=True))
    expected = samples * math.prod(counts)
    if min(len(offsets), len(nbytes)) < expected:
        raise ImageError(
            f"{file} is damaged: a page of {expected} strips or tiles lists only {len(offsets)}. "
            "Copy it again from where it came."
        )
    if not key.is_tiled and 0 in nbytes[:expected]:
        raise ImageError(
            f"{file} is incomplete: a strip of its pixels was never written. Save it again."
        )
    _check_end(file, offsets, nbytes, page.parent.filehandle.size)
    options: dict[str, Any] = {}
    if key.compression in _JPEG:
        options = {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader}
    decode = functools.partial(key.decode, **options)
    if key.compression in _JPEG | _JPEG_2000:
        decode = functools.partial(_decode_picture, decode, _TIMES * math.prod(segment))
    return StoredPage(file, shape, dtype, None, segment, offsets, nbytes, decode, key.nodata)


def _decode_picture(decode: Callable[..., Any], most: int, data: bytes, number: int) -> Any:
    """Decode a strip or tile that is a picture with a size of its own, if it fits its place."""
    import PIL.Image

    with any_size():
        try:
            with PIL.Image.open(io.BytesIO(data), formats=("JPEG", "JPEG2000")) as picture:
                width, height = picture.size
        except (OSError, SyntaxError, ValueError):
            # What Pillow does not know, the decoder tells.
            width = height = 0
    if width * height > most:
        raise ValueError(f"it holds a picture of {width} x {height} px, far more than its place")
    return decode(data, number)


def _dtype(key: tifffile.TiffPage, tif: tifffile.TiffFile) -> np.dtype[Any]:
    if key.dtype is None:
        raise ImageError(
            f"{tif.filehandle.path}: pixels of {key.bitspersample} bits are of no known type. "
            "Save the image as 8, 16 or 32-bit integers or floats."
        )
    return np.dtype(tif.byteorder + key.dtype.char)


def _check_compression(key: tifffile.TiffPage, file: Path) -> None:
    import tifffile

    if key.compression == 1:
        return
    try:
        tifffile.TIFF.DECOMPRESSORS[key.compression]
    except KeyError as error:
        name = getattr(key.compression, "name", str(key.compression))
        raise ImageError(
            f"{file}: its pixels are compressed with {name}, which cannot be decoded here "
            f"({error.args[0]}). Run: pip install --upgrade imagecodecs; or save the image "
            "with LZW, deflate or no compression."
        ) from error


def _check_segment(
    path: Path, segment: tuple[int, int, int], shape: Sequence[int], dtype: np.dtype[Any]
) -> None:
    """Check that what is decoded in one piece is not far larger than the page that it is of."""
    page, piece = math.prod(shape[1:4]), math.prod(segment)
    if 0 in segment:
        raise ImageError(f"{path} is damaged: it has tiles of {segment[1:]} px. Copy it again.")
    if piece > 4 * page and piece * shape[4] * dtype.itemsize > _LARGE:
        raise ImageError(
            f"{path} is damaged: it has tiles of {segment[1:]} px in an image of {shape[2:4]} px. "
            "Copy it again from where it came."
        )


def _in_one_piece(offsets: Sequence[int], nbytes: Sequence[int], size: int) -> bool:
    if len(offsets) <= 1:
        return len(offsets) == 1
    ends = [o + n for o, n in zip(offsets, nbytes, strict=False)]
    return sum(nbytes) == size and ends[:-1] == list(offsets[1:])


def _check_end(path: Path, offsets: Sequence[int], nbytes: Sequence[int], size: int) -> None:
    end = max((o + n for o, n in zip(offsets, nbytes, strict=False) if n), default=0)
    if end > size:
        raise ImageError(
            f"{path} is cut off: its pixels should reach to byte {end}, but the file has {size} "
            "bytes. Its copy or download did not finish: copy it again from where it came."
        )
