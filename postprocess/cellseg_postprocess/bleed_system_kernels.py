"""The compiled loops that solve for means without bleed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel

__all__ = ["largest_residual", "sweep_groups"]


@kernel
def sweep_groups(
    pointers: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    shares: NDArray[np.float64],
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    means: NDArray[np.float64],
    solved: NDArray[np.float64],
    tolerance: float,
) -> NDArray[np.int64]:
    """Solve ``(1 + B) solved = means`` group by group with the Gauss-Seidel method.

    Parameters
    ----------
    pointers, neighbours, shares
        B (N, N) in compressed rows.
    order, starts
        The cells of group ``g``, which touch no other group, are ``order[starts[g]:starts[g+1]]``.
    means, solved
        (N, K); ``solved`` is written. A cell is left out of the channels in which its mean is not
        finite, and is 0 there.
    tolerance
        A group is done when a sweep changes no value by more than this, relative to the largest
        mean of the channel in the group.

    Returns
    -------
    NDArray
        (groups,) int64: how many sweeps each group took; -1 where they did not come to an end.
    """
    channels = means.shape[1]
    sweeps = np.zeros(starts.size - 1, np.int64)
    row = np.empty(channels)
    scale = np.empty(channels)
    change = np.empty(channels)
    for group in range(starts.size - 1):
        members = order[starts[group] : starts[group + 1]]
        scale[:] = 0
        for cell in members:
            for k in range(channels):
                value = means[cell, k]
                value = value if np.isfinite(value) else 0.0
                solved[cell, k] = value
                scale[k] = max(scale[k], abs(value))
        if members.size == 1:
            continue
        earlier = np.inf
        while True:
            change[:] = 0
            for cell in members:
                for k in range(channels):
                    row[k] = means[cell, k]
                for place in range(pointers[cell], pointers[cell + 1]):
                    other = neighbours[place]
                    share = shares[place]
                    for k in range(channels):
                        row[k] -= share * solved[other, k]
                for k in range(channels):
                    value = row[k] if np.isfinite(means[cell, k]) else 0.0
                    change[k] = max(change[k], abs(value - solved[cell, k]))
                    solved[cell, k] = value
            sweeps[group] += 1
            worst = 0.0
            for k in range(channels):
                if scale[k] > 0:
                    worst = max(worst, change[k] / scale[k])
            if worst <= tolerance:
                break
            if sweeps[group] % 8 == 0:
                # It does not converge, or so slowly that another method is due.
                if not worst <= 0.25 * earlier:
                    sweeps[group] = -1
                    break
                earlier = worst
    return sweeps


@kernel
def largest_residual(
    pointers: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    shares: NDArray[np.float64],
    means: NDArray[np.float64],
    solved: NDArray[np.float64],
) -> float:
    """Return the largest ``abs((1 + B) solved - means)``, relative to the channel's largest mean.

    Cells are left out of the channels in which their mean is not finite.
    """
    cells, channels = means.shape
    row = np.empty(channels)
    scale = np.zeros(channels)
    largest = np.zeros(channels)
    for cell in range(cells):
        for k in range(channels):
            row[k] = solved[cell, k] - means[cell, k]
        for place in range(pointers[cell], pointers[cell + 1]):
            other = neighbours[place]
            share = shares[place]
            for k in range(channels):
                row[k] += share * solved[other, k]
        for k in range(channels):
            if np.isfinite(means[cell, k]):
                scale[k] = max(scale[k], abs(means[cell, k]))
                largest[k] = max(largest[k], abs(row[k]))
    worst = 0.0
    for k in range(channels):
        if scale[k] > 0:
            worst = max(worst, largest[k] / scale[k])
    return worst
