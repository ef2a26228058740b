"""What a simulated slide shows besides its cells: lamp, autofluorescence and debris."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.synthetic.fields import draw_waves
from cellseg_core.synthetic.outlines import Canvas

__all__ = ["autofluorescence", "draw_specks", "illumination", "speck_light"]

_SIGMAS = (0.6, 1.4)  # of a speck, in px
_PEAK = 6000.0  # typical light of a speck's brightest px, in counts
_LAMP_PERIOD = 1800.0  # px, of the order of a camera's field of view


def illumination(seed: int, strength: float, canvas: Canvas) -> NDArray[np.float32]:
    """Return the light of the lamp, (Y, X): 1 on average, at most ``strength`` from it."""
    waves = draw_waves(np.random.default_rng([seed, 2]), _LAMP_PERIOD, count=3)
    # Three waves of variance 1 in all reach sqrt(6) at most.
    field = waves.window(canvas.rows.astype(np.float64), canvas.columns.astype(np.float64))
    return 1 + np.float32(strength / np.sqrt(6)) * field


def autofluorescence(
    seed: int, level: float, diameter: float, canvas: Canvas
) -> NDArray[np.float32]:
    """Return a haze, (Y, X), of ``level`` counts on average, between half and 1.5 times that."""
    waves = draw_waves(np.random.default_rng([seed, 3]), 15 * diameter)
    field = waves.window(canvas.rows.astype(np.float64), canvas.columns.astype(np.float64))
    return np.float32(level) * (1 + np.float32(0.5) * np.tanh(field))


def draw_specks(shape: tuple[int, int], seed: int, per_million: float) -> NDArray[np.float64]:
    """Return the specks of debris, sorted by y: y, x, sigma in px, peak in counts; (M, 4).

    Their number is a Poisson draw of mean ``per_million`` for each million px of the slide.
    """
    rng = np.random.default_rng([seed, 1])
    height, width = shape
    n = rng.poisson(per_million * height * width / 1e6)
    y, x = rng.uniform(-0.5, height - 0.5, n), rng.uniform(-0.5, width - 0.5, n)
    peak = _PEAK * np.exp(rng.normal(0, 0.7, n).clip(-2, 1.5))
    table = np.stack([y, x, rng.uniform(*_SIGMAS, n), peak], axis=1)
    return np.asarray(table[np.argsort(y, kind="stable")])


def speck_light(specks: NDArray[np.float64], canvas: Canvas) -> NDArray[np.float32]:
    """Return the light of the specks before the optics, (Y, X): Gaussian spots, cut at 6 px."""
    light = np.zeros(canvas.shape, np.float32)
    far = 6
    first, last = np.searchsorted(specks[:, 0], [canvas.y0 - far, canvas.y1 + far])
    for y, x, sigma, peak in specks[first:last]:
        row, column = round(y), round(x)
        spot = Canvas(row - far, row + far + 1, column - far, column + far + 1)
        place = spot.within(canvas)
        down = np.exp(-0.5 * ((canvas.rows[place[0]] - y) / sigma) ** 2)
        right = np.exp(-0.5 * ((canvas.columns[place[1]] - x) / sigma) ** 2)
        light[place] += (peak * np.multiply.outer(down, right)).astype(np.float32)
    return light
