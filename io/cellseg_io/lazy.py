"""Pixels that look like an array (C, Y, X) and come from their file window by window."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = ["DECODED", "DecodedCache", "LazyPlanes", "PlaneSource"]


class PlaneSource(Protocol):
    """Where the pixels of :class:`LazyPlanes` come from."""

    def window(self, channel: int, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Return a new array with rows ``y0:y1`` and columns ``x0:x1`` of one channel."""
        ...


@attrs.frozen(eq=False)
class LazyPlanes:
    """An array (C, Y, X) whose pixels are read when it is indexed.

    Parameters
    ----------
    shape
        (C, Y, X).
    dtype
        Data type of the pixels, in the byte order of this machine.
    source
        Gives the windows. It can be pickled, so that worker processes read for themselves.
    stored
        (rows, columns) of the tiles or strips that are decoded one by one; None where there are
        none.
    smaller
        Opens the smaller copies of the pixels that the file has, largest first.

    >>> class Ramp:
    ...     def window(self, channel, y0, y1, x0, x1):
    ...         return np.arange(y0, y1)[:, None] * 10 + np.arange(x0, x1) + 100 * channel
    >>> pixels = LazyPlanes((2, 5, 6), np.dtype(np.int64), Ramp())
    >>> pixels[1, 2:4, -2:].tolist()
    [[124, 125], [134, 135]]
    >>> np.asarray(pixels).shape
    (2, 5, 6)
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    source: PlaneSource
    stored: tuple[int, int] | None = None
    smaller: Callable[[], Sequence[LazyPlanes]] = tuple

    @property
    def levels(self) -> Sequence[LazyPlanes]:
        """Return the smaller copies of the pixels, largest first."""
        return self.smaller()

    @property
    def ndim(self) -> int:
        """Return 3."""
        return 3

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return a numpy array for integers and slices, one for each axis or fewer."""
        keys = key if isinstance(key, tuple) else (key,)
        if len(keys) > 3:
            raise IndexError(f"pixels have the axes (channel, y, x); got {len(keys)} indices")
        keys += (slice(None),) * (3 - len(keys))
        ranges = [_as_range(k, size) for k, size in zip(keys, self.shape, strict=True)]
        channels, rows, columns = ranges
        out = np.empty([len(r) for r in ranges], self.dtype)
        if out.size:
            y0, y1 = min(rows), max(rows) + 1
            x0, x1 = min(columns), max(columns) + 1
            for plane, channel in zip(out, channels, strict=True):
                window = self.source.window(channel, y0, y1, x0, x1)
                plane[:] = window[:: abs(rows.step), :: abs(columns.step)][
                    :: 1 if rows.step > 0 else -1, :: 1 if columns.step > 0 else -1
                ]
        return out[tuple(slice(None) if isinstance(k, slice) else 0 for k in keys)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read everything."""
        if copy is False:
            raise ValueError("pixels in a file can only be copied into memory")
        pixels = self[:]
        return pixels if dtype is None else pixels.astype(dtype)


def _as_range(key: Any, size: int) -> range:
    if isinstance(key, slice):
        return range(*key.indices(size))
    number = int(key)
    if not -size <= number < size:
        raise IndexError(f"index {number} is outside an axis of {size}")
    return range(number % size, number % size + 1)


class DecodedCache:
    """Keeps what was decoded last, up to a number of bytes, for all images of the process.

    A strip or tile that neighbouring windows share is then decoded once. The newest entry stays
    even where it alone is above the limit, or every window of a large strip would decode it anew.
    Safe to share between threads; two threads that miss the same entry both decode it.

    >>> cache = DecodedCache(limit=100)
    >>> cache.get("a", lambda: np.zeros(60, np.uint8)).size
    60
    >>> _ = cache.get("b", lambda: np.zeros(60, np.uint8))
    >>> len(cache), cache.nbytes
    (1, 60)
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self._entries: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the entry of ``key``, made where it is not there. It must not be changed."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        made = make()
        with self._lock:
            if key not in self._entries:
                self._entries[key] = made
                self.nbytes += made.nbytes
                while self.nbytes > self.limit and len(self._entries) > 1:
                    self.nbytes -= self._entries.popitem(last=False)[1].nbytes
        return made


DECODED = DecodedCache(limit=256 * 2**20)
"""The cache that all readers of this process share."""
