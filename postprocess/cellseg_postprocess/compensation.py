"""Compensation of lateral bleed: signal of neighbours taken out of each cell's mean.

The published rule (Goltsev et al., Cell 174:968, 2018; used by Lee et al. 2022): cells bleed into
each other in proportion to the border that they share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.contacts import Contacts, count_contacts
from cellseg_core.errors import ImageError
from cellseg_core.label_image import LazyLabels
from cellseg_core.protocols import Compensation, Labels

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["ContactCompensator", "as_means", "compensate", "contact_matrix"]


def contact_matrix(labels: LazyLabels | NDArray[np.integer[Any]]) -> csr_array[np.float64]:
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

    Raises
    ------
    ImageError
        If :func:`~cellseg_core.contacts.count_contacts` cannot take the labels.

    >>> contact_matrix(np.array([[1, 1, 2]])).toarray().tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    from scipy.sparse import eye_array

    from cellseg_postprocess.bleed_system import bleed_between

    bleed = bleed_between(count_contacts(labels))
    matrix: csr_array[np.float64] = (eye_array(bleed.shape[0], format="csr") + bleed).tocsr()
    return matrix


def compensate(
    labels: LazyLabels | NDArray[np.integer[Any]], means: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the means X (N, K) that solve ``contact_matrix(labels) @ X = means``, cut at 0.

    Where that has no unique solution, a warning says so and the one of least squares with the
    smallest values is taken. Cells without contact keep their means, cut at 0. A channel in which
    a cell has no finite mean is solved without that cell, which is NaN in the result.

    Raises
    ------
    ImageError
        If there is not one row of means for each id 1..N of the label image, or
        :func:`~cellseg_core.contacts.count_contacts` cannot take the labels.

    >>> means = np.array([[10.0], [5.0], [7.0]])
    >>> compensate(np.array([[1, 1, 2, 0, 3]]), means).round(9).tolist()
    [[10.0], [0.0], [7.0]]
    """
    return _compensated(labels, means)[0]


def _compensated(
    labels: LazyLabels | NDArray[np.integer[Any]], means: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    from cellseg_postprocess.bleed_system import bleed_between, solve_bleed

    contacts = count_contacts(labels)
    values = as_means(means, contacts)
    solved, facts = solve_bleed(bleed_between(contacts), values)
    return np.maximum(solved, 0, out=solved), facts


def as_means(means: NDArray[np.floating[Any]], contacts: Contacts) -> NDArray[np.float64]:
    """Return means as contiguous float64, having checked that there is a row for each cell.

    It may share memory with ``means``.

    Raises
    ------
    ImageError
        If they are not numbers of the shape (N, K).
    """
    values = np.asarray(means)
    count = contacts.areas.size
    if values.ndim != 2 or values.shape[0] != count or values.dtype.kind not in "buif":
        raise ImageError(
            f"compensation needs one row of means for each id from 1 to {count}; the means "
            f"have the shape {values.shape} and the type {values.dtype}. Measure them with the "
            "same label image."
        )
    return np.ascontiguousarray(values, np.float64)


@attrs.frozen
class ContactCompensator:
    """:func:`compensate` as a component.

    The facts that come with the means are those of
    :func:`~cellseg_postprocess.bleed_system.solve_bleed`.
    """

    def compensate(self, labels: Labels | LazyLabels, means: NDArray[np.float64]) -> Compensation:
        """Return the compensated means (N, K)."""
        return Compensation(*_compensated(labels, means))
