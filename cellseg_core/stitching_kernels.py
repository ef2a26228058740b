"""The compiled loops that choose among the objects of tiles, and paint a window of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel

__all__ = ["claim", "rename", "resolve"]

Longs = NDArray[np.int64]
Flags = NDArray[np.bool_]


@kernel
def claim(window: NDArray[np.int32], labels: NDArray[np.int32], ranks: NDArray[np.int32]) -> None:
    """Give each pixel of ``window`` (Y, X) to the object of ``labels`` (Y, X) if it ranks lower.

    ``ranks`` is the rank of each label; that of background is not looked at.
    """
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label:
                window[y, x] = min(window[y, x], ranks[label])


@kernel
def rename(window: NDArray[np.int32], ids: NDArray[np.int32]) -> None:
    """Replace each value of ``window`` (Y, X) by ``ids[value]``."""
    height, width = window.shape
    for y in range(height):
        for x in range(width):
            window[y, x] = ids[window[y, x]]


@kernel
def resolve(
    order: Longs, rank: Longs, ends: Longs, other: Longs, joins: Flags, group: Longs
) -> None:
    """Drop each object that is the same as a deeper one, or join it to the deeper pieces of it.

    Parameters
    ----------
    order
        The objects that are linked to others, from the deepest on.
    rank
        (n,) place of each object in the order of all.
    ends, other, joins
        Object ``i`` is linked to ``other[ends[i]:ends[i + 1]]``; ``joins`` says of which of these
        it may be a piece, rather than the same.
    group
        (n,) each object's own number, or -1 for one that does not count; what is left is the
        number of the deepest piece, and -1 for what was dropped.
    """
    # The pieces of a group are a chain that begins with the deepest.
    behind = np.full(group.size, -1)
    last = np.arange(group.size)
    for place in range(order.size):
        index = int(order[place])
        if group[index] < 0:
            continue
        root, pieces = -1, True
        for link in range(ends[index], ends[index + 1]):
            to = other[link]
            if group[to] >= 0 and rank[to] < rank[index]:
                pieces = pieces and joins[link]
                if root < 0 or rank[group[to]] < rank[root]:
                    root = int(group[to])
        if root < 0:
            continue
        if not pieces:
            group[index] = -1
            continue
        _append(index, root, group, behind, last)
        for link in range(ends[index], ends[index + 1]):
            to = other[link]
            if group[to] >= 0 and rank[to] < rank[index] and group[to] != root:
                _append(int(group[to]), root, group, behind, last)


@kernel
def _append(first: int, root: int, group: Longs, behind: Longs, last: Longs) -> None:
    """Append the chain that begins with ``first`` to that of ``root``."""
    behind[last[root]] = first
    last[root] = last[first]
    piece = first
    while piece >= 0:
        group[piece] = root
        piece = behind[piece]
