"""Label images that are made window by window: in memory, or on disk where they are large."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from cellseg_core.label_image import LazyLabels
from cellseg_core.overlapped import overlapped
from cellseg_core.protocols import Labels
from cellseg_core.regions import PartialRegions, Regions, find_regions, regions_in, united
from cellseg_core.store import output_error
from cellseg_core.tiling import Box

__all__ = ["WINDOW", "LabelFile", "make_labels", "windows_of"]

WINDOW = 2048
"""Edge in px of what is made at a time."""


def windows_of(shape: tuple[int, ...], edge: int) -> Iterator[Box]:
    """Give the windows of an image (Y, X) with edges of so many px, row by row.

    >>> [box.slices[1] for box in windows_of((5, 12), 10)]
    [slice(0, 10, None), slice(10, 12, None)]
    """
    height, width = shape
    for top in range(0, height, edge):
        for left in range(0, width, edge):
            yield Box(top, min(top + edge, height), left, min(left + edge, width))


def make_labels(
    shape: tuple[int, int], make: Callable[[Box], Labels], file: Path | None = None
) -> tuple[Labels | LazyLabels, Regions]:
    """Return a label image (Y, X) and where its objects are; ``make`` returns its windows, int32.

    With ``file``, in whose place it comes, it is made there, window by window in several threads,
    and read from there window by window; without, in memory, in one piece.

    Raises
    ------
    OutputError
        If the file cannot be written.

    >>> labels, regions = make_labels((2, 3), lambda box: np.full(box.shape, 7, np.int32))
    >>> labels.tolist(), regions.areas.tolist()
    ([[7, 7, 7], [7, 7, 7]], [6])
    """
    if file is None:
        whole = make(Box(0, shape[0], 0, shape[1]))
        return whole, find_regions(whole)
    labels = LabelFile(file, shape, WINDOW)
    labels.create()

    def made(box: Box) -> PartialRegions:
        window = make(box)
        labels.write(box, window)
        return regions_in(window, box, shape[1])

    return labels, united(overlapped(made, windows_of(shape, WINDOW)))


@attrs.frozen(eq=False)
class LabelFile:
    """A label image (Y, X) in a file of plain int32, window after window; any part can be read.

    No format that compresses: labels are read over and over in parts of all shapes, and to decode
    them takes longer than all that is done with them.

    Attributes
    ----------
    path
        The file.
    shape
        (Y, X).
    edge
        Most px of a window; those at the right edge have as many in the file.
    """

    path: Path
    shape: tuple[int, int]
    edge: int
    dtype = np.dtype(np.int32)

    def create(self) -> None:
        """Make the file, in whose place it comes, without any label.

        Raises
        ------
        OutputError
            If that is not possible.
        """
        try:
            with self.path.open("wb") as stream:
                stream.truncate(math.prod(self._windows) * self.dtype.itemsize)
        except OSError as error:
            raise output_error(self.path, error) from error

    def write(self, box: Box, labels: Labels) -> None:
        """Write the labels of one window of :func:`windows_of`.

        Raises
        ------
        OutputError
            If that is not possible.
        """
        _, across, height, width = self._windows
        # Rows below the image are left out, and take no place on most disks.
        window = np.zeros((box.shape[0], width), self.dtype)
        window[:, : box.shape[1]] = labels
        number = box.y0 // height * across + box.x0 // width
        try:
            # Not by mapping it: a full disk would then end the process without a word.
            with self.path.open("r+b", buffering=0) as stream:
                stream.seek(number * height * width * self.dtype.itemsize)
                left = window.data.cast("B")
                while left:
                    left = left[stream.write(left) :]
        except OSError as error:
            raise output_error(self.path, error) from error

    def __getitem__(self, key: Any) -> Labels:
        """Return a new array with the labels of some rows and columns, of steps of 1 px or more."""
        if not (isinstance(key, tuple) and [type(part) for part in key] == [slice, slice]):
            raise IndexError(f"large label images are read by slices, labels[y0:y1, x0:x1]: {key}")
        rows, columns = (
            range(*part.indices(length)) for part, length in zip(key, self.shape, strict=True)
        )
        if min(rows.step, columns.step) < 1:
            raise IndexError(f"large label images are read in steps of 1 px or more: {key}")
        out = np.empty((len(rows), len(columns)), self.dtype)
        if out.size:
            # Mapped for this one part: what stays mapped counts as memory in use.
            windows = np.memmap(self.path, self.dtype, "r", 0, self._windows)
            for down, to_rows, of_rows in _pieces(rows, windows.shape[2]):
                for across, to_columns, of_columns in _pieces(columns, windows.shape[3]):
                    out[to_rows, to_columns] = windows[down, across, of_rows, of_columns]
        return out

    @property
    def _windows(self) -> tuple[int, int, int, int]:
        """Return how many windows lie below and beside each other, and their size."""
        height, width = (min(self.edge, max(length, 1)) for length in self.shape)
        return -(-self.shape[0] // height), -(-self.shape[1] // width), height, width


def _pieces(places: range, edge: int) -> Iterator[tuple[int, slice, slice]]:
    """Give the windows that some places lie in: which of the places these are, and where in it.

    >>> list(_pieces(range(4, 12, 3), 10))
    [(0, slice(0, 2, None), slice(4, 8, 3)), (1, slice(2, 3, None), slice(0, 1, 3))]
    """
    for window in range(places[0] // edge, places[-1] // edge + 1):
        begin = window * edge
        first, last = (
            min(max(-((places.start - end) // places.step), 0), len(places))
            for end in (begin, begin + edge)
        )
        if first < last:
            inside = slice(places[first] - begin, places[last - 1] - begin + 1, places.step)
            yield window, slice(first, last), inside
