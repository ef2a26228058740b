"""Pixels of a TIFF array on disk: read by memory map where stored plainly, else by strip or tile.

No file stays open between two reads, so that files can be moved and deleted on any system.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_io.lazy import DECODED
from cellseg_io.limits import check_decoded

__all__ = ["Block", "PagedBlock", "PlainBlock", "StoredPage"]


class Block(Protocol):
    """A stored array of any number of axes that gives windows of its planes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the size of each stored axis."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the data type, with the byte order of the file."""
        ...

    @property
    def files(self) -> set[Path]:
        """Return the files that hold the pixels."""
        ...

    def stored(self, y: int, x: int) -> tuple[int, int] | None:
        """Return (rows, columns) of what is decoded in one piece, None if any part can be.

        ``y`` and ``x`` are the numbers of these two axes.
        """
        ...

    def window(
        self, index: tuple[int, ...], y: int, x: int, rows: slice, columns: slice
    ) -> NDArray[Any]:
        """Return a new array (rows, columns).

        ``y`` and ``x`` are the numbers of these two axes; ``index`` places the plane on the
        other axes and is ignored on these.
        """
        ...


def _plain(
    path: Path,
    offset: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    key: tuple[int | slice, ...],
) -> NDArray[Any]:
    """Return ``array[key]`` of an uncompressed array in a file, new and in the byte order here.

    Raises
    ------
    ValueError
        If the file is too short.
    """
    native = dtype.newbyteorder("=")
    spans = [
        range(part, part + 1) if isinstance(part, int) else range(part.start, part.stop)
        for part in key
    ]
    first = next(axis for axis, part in enumerate(key) if isinstance(part, slice))
    behind = range(first + 1, len(shape))
    if any(len(spans[axis]) < shape[axis] for axis in behind):
        # The copy lets the map go, and with it the hold on the file.
        return np.array(np.memmap(path, dtype, "r", offset, shape)[key], native)
    # In one piece, which takes a third of the time to read that the first look at a map takes.
    begin = 0
    for span, length in zip(spans[: first + 1], shape[: first + 1], strict=True):
        begin = begin * length + span.start
    width = math.prod(shape[first + 1 :])
    count = len(spans[first]) * width
    with path.open("rb") as file:
        pixels = np.fromfile(file, dtype, count, offset=offset + begin * width * dtype.itemsize)
    if pixels.size < count:
        raise ValueError("it ends before its pixels do")
    return pixels.reshape(-1, width).astype(native, copy=False)


@attrs.frozen(eq=False)
class PlainBlock:
    """An array that lies in the file uncompressed and in one piece.

    ``dtype`` has the byte order of the file.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def files(self) -> set[Path]:
        """Return the file that holds the pixels."""
        return {self.path}

    def stored(self, y: int, x: int) -> None:  # noqa: ARG002 - any part is read by itself
        """Return None."""
        return

    def window(
        self, index: tuple[int, ...], y: int, x: int, rows: slice, columns: slice
    ) -> NDArray[Any]:
        """Return a new array (rows, columns)."""
        key: list[int | slice] = list(index)
        key[y], key[x] = rows, columns
        window = _plain(self.path, self.offset, self.shape, self.dtype, tuple(key))
        return np.ascontiguousarray(window if y < x else window.T)


@attrs.frozen(eq=False)
class StoredPage:
    """One page of a TIFF: where its strips or tiles lie and how they are decoded.

    Parameters
    ----------
    path
        The file; the pages of a multi-file OME-TIFF lie in several.
    shape
        (separate samples, depth, rows, columns, interleaved samples).
    dtype
        With the byte order of the file.
    plain_offset
        Where the pixels start if they are uncompressed and in one piece, else None.
    segment_shape
        (depth, rows, columns) of a tile or strip.
    offsets, nbytes
        One for each strip or tile, in the order of the TIFF specification; 0 bytes stand for one
        that was left out because it is empty.
    decode
        ``decode(data, number)`` gives (array (depth, rows, columns, samples), place, shape).
    fill
        Value of segments that were left out.
    """

    path: Path
    shape: tuple[int, int, int, int, int]
    dtype: np.dtype[Any]
    plain_offset: int | None
    segment_shape: tuple[int, int, int]
    offsets: Sequence[int] = ()
    nbytes: Sequence[int] = ()
    decode: Callable[[bytes, int], Any] | None = None
    fill: float = 0

    def window(
        self, sample: int, depth: int, interleaved: int, rows: slice, columns: slice
    ) -> NDArray[Any]:
        """Return a new array with one sample of the pixels in a window."""
        if self.plain_offset is not None:
            key = (sample, depth, rows, columns, interleaved)
            return _plain(self.path, self.plain_offset, self.shape, self.dtype, key)
        _, depths, height, width, _ = self.shape
        deep, tall, wide = self.segment_shape
        across, down = math.ceil(width / wide), math.ceil(height / tall)
        first = (sample * math.ceil(depths / deep) + depth // deep) * down
        out = np.full(
            (rows.stop - rows.start, columns.stop - columns.start),
            self.fill,
            self.dtype.newbyteorder("="),
        )
        with self.path.open("rb") as file:
            for i in range(rows.start // tall, math.ceil(rows.stop / tall)):
                for j in range(columns.start // wide, math.ceil(columns.stop / wide)):
                    number = (first + i) * across + j
                    if self.nbytes[number] == 0:
                        continue
                    read = functools.partial(self._read, file, number)
                    segment = DECODED.get((self, number), read)
                    y, x = i * tall, j * wide
                    y0, y1 = max(y, rows.start), min(y + segment.shape[1], rows.stop)
                    x0, x1 = max(x, columns.start), min(x + segment.shape[2], columns.stop)
                    out[
                        y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start
                    ] = segment[depth % deep, y0 - y : y1 - y, x0 - x : x1 - x, interleaved]
        return out

    def _read(self, file: Any, number: int) -> NDArray[Any]:
        file.seek(self.offsets[number])
        data = file.read(self.nbytes[number])
        if len(data) < self.nbytes[number]:
            raise ImageError(
                f"{self.path} ends before its pixels do: it was cut off while it was copied or "
                "written. Copy it again from where it came."
            )
        decode = cast(Callable[[bytes, int], Any], self.decode)
        try:
            decoded: NDArray[Any] = decode(data, number)[0]
        except Exception as error:
            raise ImageError(
                f"{self.path}: part {number + 1} of its pixels cannot be decoded "
                f"({type(error).__name__}: {error}). The file is damaged: copy it again from "
                "where it came."
            ) from error
        return decoded


@attrs.frozen(eq=False)
class PagedBlock:
    """An array that is stored as pages one after the other, the last axes within the page."""

    pages: Sequence[StoredPage]
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the data type with the byte order of the first file."""
        return self.pages[0].dtype

    @property
    def files(self) -> set[Path]:
        """Return the files that hold the pixels."""
        return {page.path for page in self.pages}

    def stored(self, y: int, x: int) -> tuple[int, int] | None:
        """Return (rows, columns) of a tile or strip; of all where the whole is decoded."""
        page = self.pages[0]
        if not self._in_pages(y, x):
            return self.shape[y], self.shape[x]
        return None if page.plain_offset is not None else page.segment_shape[1:]

    def _in_pages(self, y: int, x: int) -> bool:
        """Return whether a plane over two axes lies in one page, row by row."""
        _, _, height, width, samples = self.pages[0].shape
        strides = [math.prod(self.shape[axis + 1 :]) for axis in (y, x)]
        size = (self.shape[y], self.shape[x])
        return strides == [width * samples, samples] and size == (height, width)

    def window(
        self, index: tuple[int, ...], y: int, x: int, rows: slice, columns: slice
    ) -> NDArray[Any]:
        """Return a new array (rows, columns)."""
        inside = self.pages[0].shape
        strides = [math.prod(self.shape[i + 1 :]) for i in range(len(self.shape))]
        place = [0 if axis in (y, x) else i for axis, i in enumerate(index)]
        start = sum(i * step for i, step in zip(place, strides, strict=True))
        if self._in_pages(y, x):
            number, rest = divmod(start, math.prod(inside))
            sample, depth, _, _, interleaved = (int(i) for i in np.unravel_index(rest, inside))
            return self.pages[number].window(sample, depth, interleaved, rows, columns)
        # Channels last in an array whose rows became pages: only the whole of it makes sense.
        key: list[int | slice] = list(index)
        key[y], key[x] = rows, columns
        window = DECODED.get(self, self._whole)[tuple(key)]
        return np.array(window if y < x else window.T)

    def _whole(self) -> NDArray[Any]:
        check_decoded(self.pages[0].path, self.shape, self.dtype.itemsize)
        whole = np.empty((len(self.pages), *self.pages[0].shape), self.dtype.newbyteorder("="))
        for out, page in zip(whole, self.pages, strict=True):
            samples, depths, height, width, interleaved = page.shape
            for s, d, i in np.ndindex(samples, depths, interleaved):
                out[s, d, :, :, i] = page.window(s, d, i, slice(0, height), slice(0, width))
        return whole.reshape(self.shape)
