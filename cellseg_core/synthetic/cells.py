"""The cells of a simulated tissue as a table: where they lie and the shape of their outlines."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.synthetic.fields import draw_waves
from cellseg_core.synthetic.panel import PANEL, TYPES, draw_expression, draw_types, factors

__all__ = ["Cells", "draw_cells"]


_PACKING = 0.76  # coverage of the lattice on which cells start: about the densest real tissue
_DEEPEST = 0.45  # two outlines overlap by at most this share of the smaller radius
_APART = 0.18  # largest gap that two nuclei push for, of a nuclear diameter; the least is none
_STEPS = 8


@attrs.frozen(eq=False)
class Cells:
    """The table of N cells, in reading order of their centres: cell ``i`` has the id ``i + 1``.

    Attributes
    ----------
    y, x
        Centre of the nucleus in px, (N,) float64.
    major, minor
        Half axes of the nucleus in px, (N,).
    angle
        Direction of the major axis, atan2(row, column), in radians, (N,).
    waviness
        Relative deviation of the outline from the ellipse: cosine and sine amplitudes of the
        2nd, 3rd and 4th harmonic of the angle, (N, 6).
    rim
        Width of the cytoplasm around the nucleus where no neighbour limits it, px, (N,).
    types
        Index into ``TYPES``, (N,) int8.
    expression
        True mean over the cell, in counts, of each marker of ``PANEL``, (N, 10) float32.
    """

    y: NDArray[np.float64]
    x: NDArray[np.float64]
    major: NDArray[np.float32]
    minor: NDArray[np.float32]
    angle: NDArray[np.float32]
    waviness: NDArray[np.float32]
    rim: NDArray[np.float32]
    types: NDArray[np.int8]
    expression: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, which: NDArray[Any]) -> Cells:
        """Return the cells of an index, mask or slice."""
        columns = (getattr(self, field.name)[which] for field in attrs.fields(Cells))
        return Cells(*columns)

    @property
    def reach(self) -> NDArray[np.float32]:
        """Return a bound on the distance in px of a cell's pixels from its centre, (N,)."""
        harmonics = np.hypot(self.waviness[:, 0::2], self.waviness[:, 1::2]).sum(axis=1)
        return np.asarray(self.major * (1 + harmonics) + self.rim, np.float32)

    def radius(
        self, down: NDArray[np.floating[Any]], right: NDArray[np.floating[Any]]
    ) -> NDArray[np.float32]:
        """Return the radius of each nucleus in px along unit vectors (down, right).

        The vectors have the shape (N, ...): any number of directions for each cell.
        """

        def column(values: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.expand_dims(values, tuple(range(1, down.ndim)))

        sine, cosine = column(np.sin(self.angle)), column(np.cos(self.angle))
        along = (cosine * right + sine * down) / column(self.major)
        across = (cosine * down - sine * right) / column(self.minor)
        ellipse = 1 / np.sqrt(along * along + across * across)
        wave_cosine, wave_sine = right * right - down * down, 2 * down * right
        deviation = np.ones_like(down)
        for harmonic in range(3):
            deviation += column(self.waviness[:, 2 * harmonic]) * wave_cosine
            deviation += column(self.waviness[:, 2 * harmonic + 1]) * wave_sine
            if harmonic < 2:  # the next power of the complex number right + i down
                wave_cosine, wave_sine = (
                    wave_cosine * right - wave_sine * down,
                    wave_cosine * down + wave_sine * right,
                )
        return np.asarray(ellipse * deviation, np.float32)


def draw_cells(
    shape: tuple[int, int],
    seed: int,
    *,
    nuclear_diameter: float,
    size_variation: float,
    elongation: float,
    irregularity: float,
    rim: float,
    density: float,
    patchiness: float,
    clustering: float,
    dimness: float,
) -> Cells:
    """Return the cells of a tissue; :class:`cellseg_core.synthetic.Tissue` has the parameters.

    Cells start on a jittered hexagonal lattice as dense as tissue gets. A smooth field with thin
    clefts decides which sites are taken, so that sparse tissue has clusters of touching cells and
    not lone ones. Overlapping pairs then push each other apart for a few steps, and a nucleus
    that still lies too deep in another is left out: what remains of each, after the overlap is
    shared out, holds its own centre.
    """
    rng = np.random.default_rng([seed, 0])
    cleft = draw_waves(rng, 34 * nuclear_diameter)
    crowd, fine = draw_waves(rng, 30 * nuclear_diameter), draw_waves(rng, 9 * nuclear_diameter)
    y, x = _sites(rng, shape, nuclear_diameter, size_variation)
    distance = np.abs(cleft.at(y, x))
    field = crowd.at(y, x) + 0.8 * fine.at(y, x) - 3 * np.exp(-((distance / 0.11) ** 2))
    taken = _taken(rng, field, density, patchiness)
    y, x, distance = y[taken], x[taken], distance[taken]
    types = draw_types(rng, y, x, distance, 14 * nuclear_diameter, clustering)
    n = len(y)
    kind = {name: np.array([getattr(t, name) for t in TYPES]) for name in ("size", "elongation")}
    size = factors(rng, n, size_variation) * kind["size"][types] * nuclear_diameter / 2
    stretch = 1 + np.abs(rng.normal(0, 1, n)).clip(0, 2) * elongation / 0.8
    stretch += kind["elongation"][types] * rng.uniform(0.6, 1.4, n) * min(1.0, 4 * elongation)
    # Cells along a cleft lie along it; the others point anywhere.
    angle = rng.uniform(0, np.pi, n)
    beside = (distance < 0.3) & (rng.random(n) < 0.8)
    angle[beside] = cleft.direction(y[beside], x[beside]) + rng.normal(0, 0.2, beside.sum())
    cells = Cells(
        y=y,
        x=x,
        major=(size * np.sqrt(stretch)).astype(np.float32),
        minor=(size / np.sqrt(stretch)).astype(np.float32),
        angle=angle.astype(np.float32),
        waviness=_waviness(rng, n, irregularity),
        rim=(rim * rng.uniform(2 / 3, 4 / 3, n)).astype(np.float32),
        types=types,
        expression=draw_expression(rng, types, dimness),
    )
    cells = _spaced(rng, cells, nuclear_diameter)
    inset = nuclear_diameter / 4
    inside = (np.minimum(cells.y, shape[0] - 1 - cells.y) >= inset) & (
        np.minimum(cells.x, shape[1] - 1 - cells.x) >= inset
    )
    cells = cells.take(inside)
    return cells.take(np.lexsort((cells.x, np.rint(cells.y))))


def _sites(
    rng: np.random.Generator, shape: tuple[int, int], diameter: float, size_variation: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a jittered lattice over the slide and a margin, so that edges are packed alike."""
    share = np.array([t.share for t in TYPES])
    mean_square = float((share * np.array([t.size for t in TYPES]) ** 2).sum())
    area = np.pi / 4 * diameter**2 * mean_square * np.exp(2 * size_variation**2)
    # A hexagonal lattice of distance s has one site per sqrt(3) / 2 s^2.
    step = np.sqrt(area / _PACKING * 2 / np.sqrt(3))
    margin = 3 * diameter
    rows = np.arange(-margin, shape[0] + margin, step * np.sqrt(3) / 2)
    columns = np.arange(-margin, shape[1] + margin, step)
    y = np.repeat(rows, len(columns))
    x = (columns + (np.arange(len(rows)) % 2 * step / 2)[:, np.newaxis]).ravel()
    jitter = rng.uniform(-0.38 * step, 0.38 * step, (2, len(y)))
    return y + jitter[0], x + jitter[1]


def _taken(
    rng: np.random.Generator, field: NDArray[np.float64], density: float, patchiness: float
) -> NDArray[np.bool_]:
    """Return which sites hold a cell: ``density / _PACKING`` of them, more where the field is high.

    The chance is a logistic function of the field, steeper with more patchiness; its threshold
    is found by bisection.
    """
    wanted = min(1.0, density / _PACKING)
    if patchiness == 0 or wanted in (0.0, 1.0):
        return rng.random(len(field)) < wanted
    slope = patchiness / (1.02 - patchiness) * 3.0
    sample = field[:: max(1, len(field) // 20_000)]
    low, high = float(sample.min()) - 40 / slope, float(sample.max()) + 40 / slope

    def chance(values: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
        return np.asarray(0.5 + 0.5 * np.tanh(slope / 2 * (values - threshold)))

    for _ in range(50):
        middle = (low + high) / 2
        if chance(sample, middle).mean() > wanted:
            low = middle
        else:
            high = middle
    return rng.random(len(field)) < chance(field, (low + high) / 2)


def _waviness(rng: np.random.Generator, n: int, irregularity: float) -> NDArray[np.float32]:
    """Return harmonics whose summed deviation has the standard deviation ``irregularity``."""
    share = np.repeat([0.7, 0.6, 0.4], 2)
    amplitude = rng.normal(0, 1, (n, 6)).clip(-2, 2) * share * irregularity
    return np.asarray(amplitude, np.float32)


def _spaced(rng: np.random.Generator, cells: Cells, diameter: float) -> Cells:
    """Return the cells moved apart, without those whose nucleus still lies deep in another's."""
    if len(cells) < 2:
        return cells
    slack = 0.25 * diameter  # no cell moves farther on an axis: the list of near pairs is complete
    start = np.stack([cells.y, cells.x], axis=1)
    first, second = _near_pairs(start, cells.reach - cells.rim, 3 * slack)
    one, other = cells.take(first), cells.take(second)

    def between(
        centres: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[NDArray[np.float32], ...]]:
        """Return the offset and distance of pairs, and both radii along the line of centres."""
        offset = centres[second] - centres[first]
        distance = np.maximum(np.hypot(*offset.T), 1e-3)
        down, right = (offset / distance[:, np.newaxis]).astype(np.float32).T
        return offset, distance, (one.radius(down, right), other.radius(-down, -right))

    wanted = rng.uniform(0, _APART * diameter, len(first))
    moved = start
    for _ in range(_STEPS):
        offset, distance, radii = between(moved)
        push = 0.35 * np.maximum(wanted - (distance - radii[0] - radii[1]), 0) / distance
        force = push[:, np.newaxis] * offset
        shift = np.stack(
            [
                np.bincount(second, along, len(cells)) - np.bincount(first, along, len(cells))
                for along in force.T
            ],
            axis=1,
        )
        moved = start + np.clip(moved + shift - start, -slack, slack)
    _, distance, radii = between(moved)
    gap = distance - radii[0] - radii[1]
    # Centres 2 px apart lie in different pixels, however small the nuclei.
    deep = (gap < -_DEEPEST * np.minimum(*radii)) | (distance < 2)
    kept = np.ones(len(cells), bool)
    kept[np.maximum(first, second)[deep]] = False
    expression = _shared_out(cells, gap, ((first, radii[0]), (second, radii[1])))
    placed = attrs.evolve(cells, y=moved[:, 0], x=moved[:, 1], expression=expression)
    return placed.take(kept)


def _near_pairs(
    centres: NDArray[np.float64], bound: NDArray[np.float32], slack: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of cells whose circles of radius ``bound`` are at most ``slack`` apart."""
    from scipy.spatial import KDTree

    tree = KDTree(centres)
    pairs = tree.query_pairs(2 * float(bound.max()) + slack, output_type="ndarray")
    first, second = pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)
    near = np.hypot(*(centres[first] - centres[second]).T) < bound[first] + bound[second] + slack
    return first[near], second[near]


def _shared_out(
    cells: Cells,
    gap: NDArray[np.float64],
    ends: tuple[tuple[NDArray[np.int64], NDArray[np.float32]], ...],
) -> NDArray[np.float32]:
    """Return the expression with nuclear markers as means over the cell, not the nucleus.

    What a nucleus holds is shared out over the cell: the less cytoplasm its neighbours leave it,
    the higher the mean. So nuclei are about as bright in a crowd as alone. The area of the cell
    is estimated: a neighbour narrows the rim to half the gap along a sixth of the way round.
    """
    whole = (1 + cells.rim / np.sqrt(cells.major * cells.minor)).astype(np.float64) ** 2
    for cell, radius in ends:
        narrow = np.clip(gap / 2, 0, cells.rim[cell]) / radius
        loss = (1 + cells.rim[cell] / radius) ** 2 - (1 + narrow) ** 2
        whole -= np.bincount(cell, loss / 6, len(cells))
    nuclear = [column for column, marker in enumerate(PANEL) if marker.place == "nucleus"]
    expression = cells.expression.copy()
    expression[:, nuclear] /= np.maximum(whole, 1)[:, np.newaxis]
    return expression
