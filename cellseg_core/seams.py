"""Whether the seams between tiles show in the cells: cut nuclei, or more or fewer of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.label_image import LazyLabels
from cellseg_core.overlapped import overlapped
from cellseg_core.protocols import Labels
from cellseg_core.tiling import Tile

__all__ = ["check_seams", "seams_of"]

_STRAIGHT = 0.7  # of a nucleus's diameter, along a line


def seams_of(tiles: Sequence[Tile]) -> dict[str, list[int]]:
    """Return the first rows (``y``) and columns (``x``) of tiles, but for the image's own.

    >>> from cellseg_core.tiling import tile_image
    >>> seams_of(tile_image((250, 90), 100, 8))
    {'y': [83, 167], 'x': []}
    """
    return {
        "y": sorted({tile.core.y0 for tile in tiles} - {0}),
        "x": sorted({tile.core.x0 for tile in tiles} - {0}),
    }


def check_seams(
    seams: dict[str, list[int]],
    nuclei: Labels | LazyLabels,
    centroids: NDArray[np.float64],
    areas: NDArray[np.int64],
    diameter: float,
) -> dict[str, Any]:
    """Return how cells near seams compare with the others; empty where there are no seams.

    Parameters
    ----------
    seams
        As :func:`seams_of` returns them.
    nuclei
        (Y, X) label image; only the lines of pixels at seams, and halfway between, are read.
    centroids, areas
        (N, 2) and (N,), in px. Near are centroids at most ``diameter`` px from a seam.
    diameter
        Of nuclei, in px.

    Returns
    -------
    dict
        ``near`` and ``elsewhere``: each with ``cells``, ``per_megapixel``, ``median_area`` in px
        (None without cells), ``crossing``, the nuclei that reach the lines, which are the seams or
        those halfway between, and ``straight``, those of them whose outline runs along the line
        over 0.7 of ``diameter``, as that of a nucleus that was cut does.

    >>> labels = np.zeros((40, 40), np.int32)
    >>> labels[14:20, 10:18] = 1
    >>> seams = {"y": [20], "x": []}
    >>> found = check_seams(seams, labels, np.array([[17.0, 14.0]]), np.array([48]), 8)
    >>> found["near"]["cells"], found["near"]["crossing"], found["near"]["straight"]
    (1, 1, 1)
    """
    if not (seams["y"] or seams["x"]):
        return {}
    height, width = (int(length) for length in nuclei.shape)
    near = np.zeros(len(centroids), bool)
    band = np.ones(2)
    for axis, (key, length) in enumerate((("y", height), ("x", width))):
        lines = np.asarray(seams[key], np.float64)
        if not lines.size:
            continue
        near |= _distance(centroids[:, axis], lines) <= diameter
        band[axis] = 1 - np.mean(_distance(np.arange(length), lines) <= diameter)
    share = 1 - band.prod()
    megapixels = height * width / 1e6
    checked = {}
    for name, chosen, part, lines_of in (
        ("near", near, share, lambda given, _: given),
        ("elsewhere", ~near, 1 - share, _halfway),
    ):
        crossing = straight = 0
        for key, length in (("y", height), ("x", width)):
            found = _cut(nuclei, key, lines_of(seams[key], length), _STRAIGHT * diameter)
            crossing, straight = crossing + found[0], straight + found[1]
        count = int(np.count_nonzero(chosen))
        checked[name] = {
            "cells": count,
            "per_megapixel": round(count / (megapixels * float(part)), 3) if part > 0 else None,
            "median_area": float(np.median(areas[chosen])) if count else None,
            "crossing": crossing,
            "straight": straight,
        }
    return checked


def _distance(places: NDArray[Any], lines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each place is from the nearest line, which lies between two pixels."""
    edges = lines - 0.5
    after = np.clip(np.searchsorted(edges, places), 0, edges.size - 1)
    before = np.clip(after - 1, 0, None)
    nearest: NDArray[np.float64] = np.minimum(
        np.abs(places - edges[after]), np.abs(places - edges[before])
    )
    return nearest


def _halfway(lines: Iterable[int], length: int) -> list[int]:
    """Return the lines halfway between seams and edges, as a control."""
    ends = [0, *lines, length]
    return [] if len(ends) == 2 else [(a + b) // 2 for a, b in itertools.pairwise(ends)]


def _cut(
    nuclei: Labels | LazyLabels, key: str, lines: Iterable[int], straight: float
) -> tuple[int, int]:
    """Return how many nuclei reach these lines, and how many run along one over ``straight`` px."""

    def beside(line: int) -> NDArray[np.integer[Any]]:
        sides = np.s_[line - 1 : line + 1, :] if key == "y" else np.s_[:, line - 1 : line + 1]
        pair = np.asarray(nuclei[sides])
        return pair if key == "y" else pair.T

    reached = cut = 0
    length = nuclei.shape[0 if key == "y" else 1]
    for pair in overlapped(beside, [line for line in lines if 1 <= line < length]):
        first, second = pair
        ids = np.unique(pair[pair > 0])
        reached += ids.size
        if ids.size:
            along = np.zeros(ids.size, np.int64)
            for own, other in ((first, second), (second, first)):
                edge = own[(own > 0) & (own != other)]
                along += np.bincount(np.searchsorted(ids, edge), minlength=ids.size)
            cut += int(np.count_nonzero(along >= straight))
    return reached, cut
