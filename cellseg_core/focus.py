"""How sharp nuclei are, and how far they stand out from noise."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.outlines import inner_outlines

__all__ = ["Edge", "find_edge"]

_FEWEST = 10  # nuclei in a window that tells


@attrs.frozen
class Edge:
    """Of the nuclei of a window: width of edges in px, contrast, and noise of pixels (0 to 1)."""

    width: float
    contrast: float
    noise: float


def find_edge(plane: NDArray[np.floating[Any]], nuclei: NDArray[np.integer[Any]]) -> Edge | None:
    """Return how nuclei stand out from the background, None where they are too few to tell.

    ``plane`` (Y, X) holds values from 0 to 1, ``nuclei`` (Y, X) the label of each pixel.

    The width is the standard deviation of the blurred step that has the same contrast and the same
    mean slope across the outlines; noise does not bias the slope, as it has no direction.
    """
    from scipy.ndimage import binary_dilation, gaussian_filter

    inside = nuclei > 0
    if np.unique(nuclei).size - 1 < _FEWEST or inside.mean() > 0.97:
        return None
    outside = ~inside
    beside = inner_outlines(inside.astype(np.int8))
    core, near = inside & ~beside, binary_dilation(inside, iterations=4)
    around = near & ~binary_dilation(inside)
    if not (beside.any() and core.any() and around.any()):
        return None
    plane = plane.astype(np.float64)
    contrast = float(abs(plane[core].mean() - plane[around].mean()))
    down, right = np.gradient(gaussian_filter(plane, 1.0))
    inwards_y, inwards_x = np.gradient(gaussian_filter(inside.astype(np.float64), 1.5))
    steep = down * inwards_y + right * inwards_x
    slope = float(np.mean((steep / (np.hypot(inwards_y, inwards_x) + 1e-9))[beside]))
    bend = plane[:, 2:] + plane[:, :-2] - 2 * plane[:, 1:-1]
    noise = max(_spread(bend[part[:, 1:-1]]) for part in (core, around)) / math.sqrt(6)
    if contrast <= 0 or outside.sum() < _FEWEST:
        return None
    return Edge(contrast / max(abs(slope), 1e-9) / math.sqrt(2 * math.pi), contrast, noise)


def _spread(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of values, but for their outliers; 0 of none."""
    if not values.size:
        return 0.0
    return float(np.median(np.abs(values - np.median(values)))) / 0.6745
