"""Solves the linear system of bleed between cells, sparse and for all channels at once."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.contacts import Contacts

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["bleed_between", "solve_bleed"]

_TOLERANCE = 1e-13
_SMALL = 400
"""Groups of up to this many cells are solved densely: least squares without further thought."""


def bleed_between(contacts: Contacts) -> csr_array[np.float64]:
    """Return the sparse matrix B (N, N): ``B[i, j] = n_ij / (2 max(b_i, 1))``, 0 on the diagonal.

    ``n_ij`` counts the contacts between the cells ``i + 1`` and ``j + 1``, ``b_i`` the border
    pixels of cell ``i + 1``.

    >>> from cellseg_core.contacts import count_contacts
    >>> bleed_between(count_contacts(np.array([[1, 1, 2]]))).toarray().tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    matrix = contacts.matrix()
    matrix.data *= np.repeat(0.5 / np.maximum(contacts.borders, 1), np.diff(matrix.indptr))
    return matrix


def solve_bleed(
    bleed: csr_array[np.float64], means: NDArray[np.float64]
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Return X (N, K) with ``X + bleed @ X = means``, and facts about the solution.

    Cells that touch, directly or through others, form a group; groups are independent. Each is
    solved by sweeps of the Gauss-Seidel method. They converge where ``1 + bleed``, which is
    similar to a symmetric matrix, is positive definite. A group where they do not, or slowly, is
    solved by factorisation; where it has no unique solution, the one of least squares with the
    smallest values is taken. A warning says how many cells that concerns. The result for a group
    does not depend on the other groups.

    A cell is left out of the channels in which its mean is NaN or infinite, and is NaN there.

    Parameters
    ----------
    bleed
        (N, N) from :func:`bleed_between`.
    means
        (N, K) float64, contiguous by rows.

    Returns
    -------
    solved : NDArray
        (N, K) float64; may be negative.
    facts : dict
        ``condition_bound``: the condition of ``1 + bleed`` in its symmetric form is at most this,
        by bounds on its eigenvalues; None where the bounds allow it to be singular. ``residual``:
        the largest ``abs(X + bleed @ X - means)`` of a channel relative to its largest mean; for
        the worst channel. ``sweeps``: for the slowest group. ``cells_solved_directly``, and of
        these ``cells_without_unique_solution``.
    """
    from scipy.sparse.csgraph import connected_components

    from cellseg_postprocess.bleed_system_kernels import largest_residual, sweep_groups

    count, group = connected_components(bleed, directed=False)
    order = np.argsort(group, kind="stable").astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=count))]).astype(np.int64)
    solved = np.empty_like(means)
    matrix = (
        bleed.indptr.astype(np.int32, copy=False),
        bleed.indices.astype(np.int32, copy=False),
        bleed.data,
    )
    sweeps = sweep_groups(*matrix, order, starts, means, solved, _TOLERANCE)
    direct = ambiguous = 0
    for hard in np.flatnonzero(sweeps < 0):
        cells = order[starts[hard] : starts[hard + 1]]
        direct += cells.size
        part, unique = _solve_directly(bleed[cells][:, cells], means[cells])
        solved[cells] = part
        ambiguous += 0 if unique else cells.size
    if direct:
        _warn(direct, ambiguous)
    facts = {
        "condition_bound": _condition_bound(bleed),
        "residual": float(largest_residual(*matrix, means, solved)),
        "sweeps": int(sweeps.max(initial=0)),
        "cells_solved_directly": direct,
        "cells_without_unique_solution": ambiguous,
    }
    solved[~np.isfinite(means)] = np.nan
    return solved, facts


def _warn(direct: int, ambiguous: int) -> None:
    if ambiguous:
        about = (
            f"the bleed between {ambiguous} cells has no unique solution (are there many cells of "
            "a few pixels, or cells that enclose others?); the smallest one was taken. Raise "
            "--min-size, or use --compensator conserving."
        )
    else:
        about = (
            f"the bleed between {direct} cells is badly conditioned (are there many cells of a "
            "few pixels?): their compensated means are uncertain. Raise --min-size, or use "
            "--compensator conserving."
        )
    warnings.warn(about, stacklevel=4)


def _condition_bound(bleed: csr_array[np.float64]) -> float | None:
    """Return a bound of the condition of ``1 + bleed`` in its symmetric form, or None.

    The eigenvalues of ``bleed`` are real and at most its spectral radius in size, and for any
    positive ``v`` that is at most ``max((bleed @ v) / v)`` (Collatz and Wielandt). A few steps of
    the power method make that bound sharp.
    """
    vector = np.ones(bleed.shape[0])
    radius = math.inf
    for _ in range(16):
        image: NDArray[np.float64] = np.asarray(bleed @ vector)
        radius = min(radius, float((image / vector).max(initial=0)))
        vector += image
        vector /= vector.max(initial=1)
    return (1 + radius) / (1 - radius) if radius < 1 - 1e-9 else None


def _solve_directly(
    bleed: csr_array[np.float64], means: NDArray[np.float64]
) -> tuple[NDArray[np.float64], bool]:
    """Return the solution for one group, and whether it is unique."""
    solved = np.zeros(means.shape)
    known = np.isfinite(means)
    unique = True
    # As a rule every mean is known, and all channels are solved at once.
    for cells in np.unique(known, axis=1).T:
        if not cells.any():
            continue
        channels = (known == cells[:, np.newaxis]).all(axis=0)
        here = np.ix_(cells, channels)
        solved[here], alone = _solve_once(bleed[cells][:, cells], means[here])
        unique &= alone
    return solved, unique


def _solve_once(
    bleed: csr_array[np.float64], means: NDArray[np.float64]
) -> tuple[NDArray[np.float64], bool]:
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import lsqr, splu

    size = bleed.shape[0]
    if size <= _SMALL:
        dense = np.eye(size) + bleed.toarray()
        # What is singular but for rounding counts as singular.
        least, _, rank, _ = np.linalg.lstsq(dense, means, rcond=1e-10)
        return np.asarray(least, np.float64), int(rank) == size
    system = (eye_array(size, format="csr") + bleed).tocsc()
    scale = np.abs(means).max(initial=0)
    try:
        found = np.asarray(splu(system).solve(means), np.float64)
        # A matrix that is singular but for rounding gives values out of all proportion.
        good = np.abs(system @ found - means).max() <= 1e-9 * scale
        if good and np.abs(found).max() <= 1e8 * scale:
            return found, True
    except RuntimeError:
        # splu says so where a pivot is exactly 0.
        pass
    smallest = np.empty(means.shape)
    for channel, column in enumerate(means.T):
        smallest[:, channel] = lsqr(system, column, atol=1e-12, btol=1e-12)[0]
    return smallest, False
