"""Compensation of lateral bleed: signal of neighbours taken out of each cell's mean.

The published rule (Goltsev et al., Cell 174:968, 2018; used by Lee et al. 2022): cells bleed into
each other in proportion to the border that they share.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_core.protocols import Labels

if TYPE_CHECKING:
    from scipy.sparse import csc_array, csr_array

__all__ = ["ContactCompensator", "compensate", "contact_matrix"]

_MANY = 10_000_000


def contact_matrix(labels: NDArray[np.integer[Any]]) -> csr_array[np.float64]:
    """Return the sparse matrix A (N, N) that turns true means into means with bleed.

    ``A[i, i] = 1`` and ``A[i, j] = n_ij / (2 max(b_i, 1))``, where ``n_ij`` counts the contacts
    (4-neighbours) between pixels of cells ``i + 1`` and ``j + 1``, and ``b_i`` the border pixels
    of cell ``i + 1``: those with at least one 4-neighbour outside it. Background is outside; the
    edge of the image is not.

    Parameters
    ----------
    labels
        Integers (Y, X): 0 is background; the cells are 1..N. A value that does not occur is a
        cell without contacts.

    >>> contact_matrix(np.array([[1, 1, 2]])).toarray().tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    from scipy.sparse import coo_array, eye_array

    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
        raise ImageError(
            "a label image has the axes (Y, X) and integers of 0 or more; got "
            f"{labels.dtype} of shape {labels.shape}"
        )
    count = int(labels.max(initial=0))
    if count > max(labels.size, _MANY):
        raise ImageError(
            f"a contact matrix has a row for each id from 1 to the largest, which is {count} in an "
            f"image of {labels.size} pixels. Renumber the cells 1..N first."
        )
    labels = labels.astype(np.int64)
    border = np.zeros(labels.shape, bool)
    pairs = []
    for here, there in (
        (np.s_[:-1, :], np.s_[1:, :]),
        (np.s_[:, :-1], np.s_[:, 1:]),
    ):
        one, other = labels[here], labels[there]
        differ = one != other
        border[here] |= differ
        border[there] |= differ
        touch = differ & (one > 0) & (other > 0)
        pairs.append(np.stack([one[touch], other[touch]]))
    borders = np.bincount(labels[border], minlength=count + 1)[1:]
    one, other = np.concatenate(pairs, axis=1) - 1
    rows, columns = np.concatenate([one, other]), np.concatenate([other, one])
    contacts = coo_array((np.ones(rows.size), (rows, columns)), shape=(count, count)).tocsr()
    share = 0.5 / np.maximum(borders, 1)
    contacts.data *= np.repeat(share, np.diff(contacts.indptr))
    matrix: csr_array[np.float64] = (eye_array(count, format="csr") + contacts).tocsr()
    return matrix


def compensate(
    labels: NDArray[np.integer[Any]], means: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the means X (N, K) that solve ``contact_matrix(labels) @ X = means``, cut at 0.

    Where that has no unique solution, a warning says so and the one of least squares with the
    smallest values is taken. Cells without contact keep their means. A channel in which a cell has
    no mean (NaN) is solved without that cell, and the cell stays NaN.

    Raises
    ------
    ImageError
        If there is not one row of means for each id 1..N of the label image.

    >>> compensate(np.array([[1, 1, 2, 0, 3]]), np.array([[10.0], [5.0], [7.0]])).tolist()
    [[10.0], [0.0], [7.0]]
    """
    values = np.asarray(means).astype(np.float64)
    matrix = contact_matrix(labels)
    count = int(np.asarray(labels).max(initial=0))
    if values.ndim != 2 or values.shape[0] != count:
        raise ImageError(
            f"compensation needs one row of means for each id from 1 to {count}; the means "
            f"have the shape {values.shape}"
        )
    if values.size == 0:
        return values
    result = np.full(values.shape, np.nan)
    known = np.isfinite(values)
    # As a rule every mean is known, and all channels are solved at once.
    for cells in np.unique(known, axis=1).T:
        channels = (known == cells[:, np.newaxis]).all(axis=0)
        system = matrix[cells][:, cells].tocsc()
        if system.shape[0]:
            solved = _solve(system, values[np.ix_(cells, channels)])
            result[np.ix_(cells, channels)] = np.maximum(solved, 0)
    return result


def _solve(system: csc_array[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.sparse.linalg import lsqr, splu

    try:
        return np.asarray(splu(system).solve(means), np.float64)
    except RuntimeError:
        # Cells that share all their borders: their signals cannot be told apart.
        warnings.warn(
            "the bleed between some cells has no unique solution (does a cell enclose another?); "
            "the smallest one was taken.",
            stacklevel=3,
        )
        return np.stack([lsqr(system, column, atol=1e-12, btol=1e-12)[0] for column in means.T], 1)


@attrs.frozen
class ContactCompensator:
    """:func:`compensate` as a component."""

    def compensate(self, labels: Labels, means: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the compensated means (N, K)."""
        return compensate(labels, means)
