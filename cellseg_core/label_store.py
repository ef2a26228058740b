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
    labels = LabelFile(file, shape)
    try:
        with file.open("wb") as stream:
            stream.truncate(math.prod(shape) * labels.dtype.itemsize)
    except OSError as error:
        raise output_error(file, error) from error

    def made(box: Box) -> PartialRegions:
        window = make(box)
        labels.write(box, window)
        return regions_in(window, box, shape[1])

    return labels, united(overlapped(made, windows_of(shape, WINDOW)))


@attrs.frozen(eq=False)
class LabelFile:
    """A label image (Y, X) in a file of plain int32, of which windows are read.

    No format that compresses: labels are read over and over in windows of all shapes, and to
    decode them takes longer than all that is done with them.
    """

    path: Path
    shape: tuple[int, int]
    dtype = np.dtype(np.int32)

    def __getitem__(self, key: Any) -> Labels:
        """Return a new array with the labels of a window."""
        if not math.prod(self.shape):
            return np.zeros(self.shape, np.int32)[key]  # type: ignore[no-any-return]
        # Mapped for this one window: what stays mapped counts as memory in use.
        window: Labels = np.array(np.memmap(self.path, self.dtype, "r", 0, self.shape)[key])
        return window

    def write(self, box: Box, labels: Labels) -> None:
        """Write the labels of a window.

        Raises
        ------
        OutputError
            If that is not possible.
        """
        rows = np.ascontiguousarray(labels, self.dtype)
        try:
            # Not by mapping it: a full disk would then end the process without a word.
            with self.path.open("r+b", buffering=0) as stream:
                for y, row in enumerate(rows, start=box.y0):
                    stream.seek((y * self.shape[1] + box.x0) * self.dtype.itemsize)
                    left = memoryview(row).cast("B")
                    while left:
                        left = left[stream.write(left) :]
        except OSError as error:
            raise output_error(self.path, error) from error
