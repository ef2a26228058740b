"""What a segmenter does to the results after it: impossible double positives, and cell counts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.comparing.gates import Gates
from cellseg_core.comparing.gating import MarkerValues, Thresholds, members
from cellseg_core.errors import ConfigurationError

__all__ = [
    "MIN_IMAGES",
    "WINDOWS",
    "Correlation",
    "DoublePositives",
    "Points",
    "correlate_counts",
    "parse_pair",
]

MIN_IMAGES = 10
"""With fewer images than this, cell counts are correlated over windows of the images."""

WINDOWS = 48
"""About how many windows there are then, in all images together."""


def parse_pair(text: str) -> tuple[str, str]:
    """Return two markers that exclude each other from a text such as ``CD3,CD20``.

    Raises
    ------
    ConfigurationError
        If it is not two different names.

    >>> parse_pair("CD3, CD20")
    ('CD3', 'CD20')
    """
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise ConfigurationError(
            "markers that exclude each other are two names with a comma, such as CD3,CD20; got "
            f"{text!r}"
        )
    return names[0], names[1]


@attrs.frozen(kw_only=True)
class DoublePositives:
    """Cells positive for both markers of a pair that exclude each other (Lee et al. 2022, Fig. 5B).

    Attributes
    ----------
    first, second
        The markers.
    cells
        Cells of one method in all images that have a value of both.
    either, both
        How many of them are positive for at least one, and for both, before compensation.
    either_after, both_after
        The same after compensation, at the same thresholds; None where compensation is off.
    kept
        How many are positive for at least one before and after: compensation that merely dims
        everything has few double positives, and loses these.
    """

    first: str
    second: str
    cells: int
    either: int
    both: int
    either_after: int | None = None
    both_after: int | None = None
    kept: int | None = None

    @classmethod
    def of(
        cls, pair: tuple[str, str], cells: Iterable[MarkerValues], thresholds: Thresholds
    ) -> Self:
        """Return the figures of one method: ``cells`` are its cells in each image.

        An image that lacks one of the markers is left out.
        """
        one, other = pair
        # Cells, either and both; then either, both and kept after compensation.
        first, later = np.zeros(3, np.int64), np.zeros(3, np.int64)
        compensated = False
        for values in cells:
            if one not in values.columns or other not in values.columns:
                continue
            stages = [values.before] if values.after is None else [values.before, values.after]
            columns = np.stack([stage[marker] for stage in stages for marker in pair])
            known = np.isfinite(columns).all(axis=0)
            either, both = _either_and_both(values.before, pair, thresholds)
            first += [int((known & which).sum()) for which in (known, either, both)]
            if values.after is not None:
                compensated = True
                after, both_after = _either_and_both(values.after, pair, thresholds)
                kept = either & after
                later += [int((known & which).sum()) for which in (after, both_after, kept)]
        return cls(
            first=one,
            second=other,
            cells=int(first[0]),
            either=int(first[1]),
            both=int(first[2]),
            either_after=int(later[0]) if compensated else None,
            both_after=int(later[1]) if compensated else None,
            kept=int(later[2]) if compensated else None,
        )

    @property
    def share(self) -> float | None:
        """Return both / either before compensation; None if no cell is positive."""
        return self.both / self.either if self.either else None

    @property
    def share_after(self) -> float | None:
        """Return the same after compensation; None also where compensation is off."""
        if self.both_after is None or not self.either_after:
            return None
        return self.both_after / self.either_after

    def facts(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            **attrs.asdict(self),
            "share": self.share,
            "share_after": self.share_after,
            "kept_share": None if self.kept is None or not self.either else self.kept / self.either,
        }


def _either_and_both(
    values: Mapping[str, NDArray[np.float64]], pair: tuple[str, str], thresholds: Thresholds
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    one, other = (thresholds.calls(values, marker)[0] for marker in pair)
    return one | other, one & other


@attrs.frozen(kw_only=True)
class Points:
    """What cells are counted in, so that counts of two methods can be correlated.

    Attributes
    ----------
    over
        In words: ``"images"``, or ``"windows of about 128 px"``.
    shapes
        (height, width) in px of each image by name.
    grids
        Rows and columns of windows in each image: (1, 1) where whole images are the points.
    """

    over: str
    shapes: Mapping[str, tuple[int, int]]
    grids: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, int]]) -> Self:
        """Return the points for images of these shapes.

        From ``MIN_IMAGES`` on each image is one point, as in the paper. Of fewer, each is cut into
        a regular grid of about square windows, as large in all images, ``WINDOWS`` of them in all.

        >>> points = Points.of({"a": (600, 800)})
        >>> points.over, points.grids
        ('windows of about 100 px', {'a': (6, 8)})
        """
        if len(shapes) >= MIN_IMAGES:
            return cls(over="images", shapes=shapes, grids=dict.fromkeys(shapes, (1, 1)))
        pixels = sum(height * width for height, width in shapes.values())
        edge = max(1.0, math.sqrt(pixels / WINDOWS))
        grids = {
            name: (max(1, round(height / edge)), max(1, round(width / edge)))
            for name, (height, width) in shapes.items()
        }
        return cls(over=f"windows of about {edge:.0f} px", shapes=shapes, grids=grids)

    def count(
        self, image: str, centroids: NDArray[np.float64], inside: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return how many of the cells (N, 2) that are ``inside`` a gate lie in each point.

        A cell is counted in the window in which its centre lies; windows are in reading order.
        """
        grid = np.array(self.grids[image])
        # Pixel centres are whole numbers, so the image begins at -0.5.
        place = np.floor((centroids[inside] + 0.5) * grid / self.shapes[image]).astype(np.int64)
        place = np.clip(place, 0, grid - 1)
        return np.bincount(place[:, 0] * grid[1] + place[:, 1], minlength=int(grid.prod()))


@attrs.frozen(kw_only=True)
class Correlation:
    """Cell counts of two methods in one gate, and the least-squares line through them (Fig. 6C).

    Attributes
    ----------
    gate, first, second
        The gate and the methods.
    over
        What the points are, in words: :attr:`Points.over`.
    x, y
        The counts of the first and of the second method in each point.
    slope, intercept
        Of the line ``y = slope * x + intercept``; None with under 3 points or all ``x`` equal.
    r2
        The squared correlation, from 0 to 1; None also with all ``y`` equal.
    """

    gate: str
    first: str
    second: str
    over: str
    x: tuple[int, ...]
    y: tuple[int, ...]
    slope: float | None
    intercept: float | None
    r2: float | None

    @classmethod
    def of(
        cls, gate: str, methods: tuple[str, str], over: str, x: Iterable[int], y: Iterable[int]
    ) -> Self:
        """Return the line through the counts ``x`` and ``y`` of two methods.

        >>> found = Correlation.of("T cells", ("a", "b"), "images", [0, 1, 2, 3], [1, 3, 5, 7])
        >>> found.slope, found.intercept, found.r2
        (2.0, 1.0, 1.0)
        """
        x, y = tuple(map(int, x)), tuple(map(int, y))
        assert len(x) == len(y)
        slope = intercept = r2 = None
        if len(x) >= 3 and len(set(x)) > 1:
            one, other = np.array(x, np.float64), np.array(y, np.float64)
            from_mean, other_from_mean = one - one.mean(), other - other.mean()
            products, squares = from_mean @ other_from_mean, from_mean @ from_mean
            slope = float(products / squares)
            intercept = float(other.mean() - slope * one.mean())
            if len(set(y)) > 1:
                r2 = float(min(1.0, products**2 / (squares * (other_from_mean @ other_from_mean))))
        return cls(
            gate=gate,
            first=methods[0],
            second=methods[1],
            over=over,
            x=x,
            y=y,
            slope=slope,
            intercept=intercept,
            r2=r2,
        )

    def facts(self) -> dict[str, Any]:
        """Return the figures and the points as plain JSON values."""
        return {
            **attrs.asdict(self),
            "x": list(self.x),
            "y": list(self.y),
            "points": len(self.x),
            "first_count": sum(self.x),
            "second_count": sum(self.y),
        }


def correlate_counts(
    gates: Gates,
    cells: Mapping[str, Mapping[str, MarkerValues]],
    thresholds: Thresholds,
    shapes: Mapping[str, tuple[int, int]],
) -> list[Correlation]:
    """Return the correlation of cell counts for each gate and pair of methods, in their order.

    Parameters
    ----------
    cells
        By method and by image; an image in which a method failed has no entry. Of a pair, images
        that both have and that have the gate's markers count.
    shapes
        (height, width) in px of every image by name.
    """
    points = Points.of(shapes)
    found = []
    for gate in gates.gates:
        counts: dict[str, dict[str, NDArray[np.int64]]] = {method: {} for method in cells}
        for method, images in cells.items():
            for image, values in images.items():
                inside = members(gate, values, thresholds)
                if inside is not None:
                    counts[method][image] = points.count(image, values.centroids, inside)
        for one, other in itertools.combinations(counts, 2):
            shared = [image for image in shapes if image in counts[one] and image in counts[other]]
            x, y = (
                np.concatenate([np.empty(0, np.int64), *(counts[method][name] for name in shared)])
                for method in (one, other)
            )
            found.append(Correlation.of(gate.name, (one, other), points.over, x, y))
    return found
