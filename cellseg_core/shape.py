"""Shape of the objects of a window, as scikit-image's ``regionprops`` defines it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.regions import Runs

__all__ = ["BOX", "MEASURED", "shapes"]

BOX = ("bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1")
"""The columns of a bounding box, in px; ends are exclusive."""

MEASURED = (
    "perimeter",
    "axis_major_length",
    "axis_minor_length",
    "eccentricity",
    "solidity",
    "orientation",
)
"""The measures of shape that are not whole numbers."""

_ELLIPSE = {"axis_major_length", "axis_minor_length", "eccentricity", "orientation"}


def shapes(
    runs: Runs, wanted: Iterable[str], origin: tuple[int, int] = (0, 0)
) -> dict[str, NDArray[Any]]:
    """Return measures of shape, (n,) each, of the n objects of ``runs``.

    Equal to :func:`skimage.measure.regionprops`, of the object's own pixels, in one piece or more:

    - ``perimeter``: the estimator of Benkrid and Crookes: border pixels (those with a 4-neighbour
      outside) weighted by how the border goes on at them: 1, the square root of 2, or the mean of
      both.
    - ``axis_major_length``, ``axis_minor_length``, ``eccentricity``, ``orientation``: of the
      ellipse with the same second central moments of the pixel centres. The orientation is the
      angle in rad from the y axis (rows) to the major axis, from -pi/2 to pi/2; where no axis is
      longer, it is -pi/4.
    - ``solidity``: the area, divided by the number of pixel centres in or on the convex hull of
      the middles of the pixels' edges.
    - ``bbox``: under the four names of :data:`BOX`, int64.

    All but ``bbox`` are float64. An object without pixels has NaN, and a box of 0.

    Parameters
    ----------
    runs
        The objects.
    wanted
        Which of the names above.
    origin
        Row and column, in the image, of the window's first pixel.

    >>> runs = Runs(*map(np.array, ([0, 2], [0, 1], [0, 0], [3, 3], [6])))
    >>> found = shapes(runs, ("perimeter", "eccentricity", "solidity", "bbox"))
    >>> {name: round(float(values[0]), 3) for name, values in found.items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'perimeter': 6.0, 'eccentricity': 0.791, 'solidity': 1.0,
     'bbox_y0': 0.0, 'bbox_x0': 0.0, 'bbox_y1': 2.0, 'bbox_x1': 3.0}
    """
    from cellseg_core.shape_kernels import bound

    wanted = tuple(wanted)
    boxes = np.zeros((runs.first.size - 1, 4), np.int64)
    if not wanted:
        return {}
    bound(runs.first, runs.row, runs.start, runs.stop, boxes)
    empty = runs.first[1:] == runs.first[:-1]
    found: dict[str, NDArray[Any]] = {}
    if "perimeter" in wanted:
        found["perimeter"] = _perimeters(runs, boxes)
    if _ELLIPSE & set(wanted):
        found |= _ellipses(runs, boxes)
    if "solidity" in wanted:
        found["solidity"] = _solidities(runs, boxes)
    for values in found.values():
        values[empty] = np.nan
    found["bbox"] = np.where(empty[:, None], 0, boxes + np.array([*origin, *origin]))
    shown: dict[str, NDArray[Any]] = {}
    for name in wanted:
        if name == "bbox":
            shown |= dict(zip(BOX, found["bbox"].T, strict=True))
        else:
            shown[name] = found[name]
    return shown


def _perimeters(runs: Runs, boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    from cellseg_core.shape_kernels import count_borders

    sizes = boxes[:, 2:] - boxes[:, :2] + 2
    plane = np.empty(int(sizes.prod(axis=1).max(initial=1)), np.uint8)
    kinds = np.empty((len(boxes), 3), np.int64)
    count_borders(runs.first, runs.row, runs.start, runs.stop, boxes, plane, kinds)
    straight, diagonal, both = kinds.T
    root = np.sqrt(2)
    # Term by term: a product of matrices rounds differently for other numbers of rows.
    lengths: NDArray[np.float64] = straight + root * diagonal + (1 + root) / 2 * both
    return lengths


def _ellipses(runs: Runs, boxes: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    from cellseg_core.shape_kernels import second_moments

    sums = np.empty((len(boxes), 6))
    second_moments(runs.first, runs.row, runs.start, runs.stop, boxes, sums)
    size, y, x, yy, xx, yx = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        # Whole numbers, and so exact for cells of all but a huge size, up to the division.
        var_y, var_x, cov = (
            (size * yy - y * y) / size**2,
            (size * xx - x * x) / size**2,
            (size * yx - y * x) / size**2,
        )
        middle = (var_y + var_x) / 2
        apart = np.hypot((var_y - var_x) / 2, cov)
        large = middle + apart
        small = np.maximum(middle - apart, 0)
        ratio = np.where(large > 0, small / large, 1)
    turned = np.where(
        var_y == var_x,
        np.where(cov > 0, np.pi / 4, -np.pi / 4),
        np.arctan2(2 * cov, var_y - var_x) / 2,
    )
    return {
        "axis_major_length": 4 * np.sqrt(large),
        "axis_minor_length": 4 * np.sqrt(small),
        "eccentricity": np.sqrt(1 - ratio),
        "orientation": turned,
    }


def _solidities(runs: Runs, boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    from cellseg_core.shape_kernels import count_hulls

    counts = np.empty(len(boxes), np.int64)
    count_hulls(runs.first, runs.row, runs.start, runs.stop, boxes, counts)
    with np.errstate(invalid="ignore"):
        solidities: NDArray[np.float64] = runs.areas / counts
    return solidities
