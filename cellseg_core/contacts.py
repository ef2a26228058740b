"""Which cells touch, and over what length, counted in one pass over the label image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_core.label_image import LazyLabels, bands_of, check_labels, read_labels
from cellseg_core.overlapped import overlapped

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Contacts", "count_contacts"]

_MANY = 10_000_000


@attrs.frozen(eq=False)
class Contacts:
    """The contacts between N cells with the ids 1..N.

    A contact is a pair of pixels side by side (4-neighbours) that belong to different cells.

    Attributes
    ----------
    first, second
        (P,) int32: the ids of each pair of cells that touch; ``first < second``, sorted by both.
    lengths
        (P,) int64: how many contacts the pair has.
    borders
        (N,) int64: how many pixels of each cell have at least one 4-neighbour outside it.
        Background is outside; the edge of the image is not. 0 for an id that does not occur.
    areas
        (N,) int64: px.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    lengths: NDArray[np.int64]
    borders: NDArray[np.int64]
    areas: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of pairs of cells that touch."""
        return self.first.size

    def matrix(self) -> csr_array[np.float64]:
        """Return the number of contacts of cells ``i + 1`` and ``j + 1`` as a sparse (N, N).

        >>> count_contacts(np.array([[1, 2], [1, 2]])).matrix().toarray().tolist()
        [[0.0, 2.0], [2.0, 0.0]]
        """
        from scipy.sparse import coo_array

        above = coo_array(
            (self.lengths.astype(np.float64), (self.first - 1, self.second - 1)),
            shape=(self.areas.size, self.areas.size),
        ).tocsr()
        both: csr_array[np.float64] = (above + above.T).tocsr()
        return both


def count_contacts(labels: LazyLabels | NDArray[np.integer[Any]]) -> Contacts:
    """Return which cells of a label image touch, and how much border each has.

    Parameters
    ----------
    labels
        Integers (Y, X): 0 is background; the cells are 1..N, N being the largest value. A value
        that does not occur is a cell without contacts. It may be lazy: it is read once, in bands
        of rows. Memory is that of some bands and of the result.

    Raises
    ------
    ImageError
        If ``labels`` are not integers (Y, X) of 0 or more, or the largest is out of proportion:
        more than the image has pixels (and than 10 million), or than fits 32 bits.

    >>> contacts = count_contacts(np.array([[1, 1, 2], [0, 3, 2]]))
    >>> list(zip(contacts.first.tolist(), contacts.second.tolist(), contacts.lengths.tolist()))
    [(1, 2, 1), (1, 3, 1), (2, 3, 1)]
    >>> contacts.borders.tolist(), contacts.areas.tolist()
    ([2, 2, 1], [2, 2, 1])
    """
    from cellseg_core.contacts_kernels import count_band

    checked = check_labels(labels)

    def count(of: tuple[NDArray[np.int32], int, int]) -> _Counted:
        band, start, stop = of
        cells = np.zeros((int(band.max(initial=0)) + 1, 2), np.int64)
        keys, counts = count_band(band, start, stop, cells)
        # Ids that follow each other from band to band touch a small part of the table.
        lowest = int(band.min(initial=len(cells), where=band > 0))
        ids = lowest + np.flatnonzero(cells[lowest:, 0])
        return keys, counts, ids, cells[ids]

    found = list(overlapped(count, _bands(checked)))
    top = max((int(ids.max(initial=0)) for _, _, ids, _ in found), default=0)
    cells = np.zeros((top + 1, 2), np.int64)
    for _, _, ids, of in found:
        cells[ids] += of
    none = np.empty(0, np.int64)
    pairs, place = np.unique(np.concatenate([none, *(k for k, *_ in found)]), return_inverse=True)
    lengths = np.zeros(pairs.size, np.int64)
    np.add.at(lengths, place, np.concatenate([none, *(counts for _, counts, *_ in found)]))
    areas, borders = np.ascontiguousarray(cells[1:].T)
    return Contacts(
        first=(pairs >> 32).astype(np.int32),
        second=(pairs & 0xFFFFFFFF).astype(np.int32),
        lengths=lengths,
        borders=borders,
        areas=areas,
    )


_Counted = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _bands(labels: LazyLabels) -> Iterator[tuple[NDArray[np.int32], int, int]]:
    """Give bands of rows, and which of these are to be counted: each row with those beside it."""
    height, width = (int(length) for length in labels.shape)
    held, known = np.zeros((0, width), np.int32), 0
    for rows in bands_of(labels):
        # The last row waits for the next band, so that none is read twice.
        band = np.concatenate([held, read_labels(labels, rows)])
        if band.dtype != np.int32 or int(band.max()) > max(height * width, _MANY):
            _refuse(labels, rows)
        stop = len(band) - (rows.stop < height)
        yield band, known, stop
        above = max(stop - 1, 0)
        held, known = band[above:], stop - above


def _refuse(labels: LazyLabels, rows: slice) -> None:
    highest = int(np.max(labels[rows, :]))
    raise ImageError(
        f"contacts are counted for each id from 1 to the largest, which is {highest} in an image "
        f"of {math.prod(labels.shape)} pixels. Renumber the cells 1..N first, for example with "
        "skimage.segmentation.relabel_sequential."
    )
