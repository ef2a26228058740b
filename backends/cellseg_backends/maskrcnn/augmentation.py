"""Random variation of training crops: where and how large, how bright, how sharp, how crowded.

The published recipe (contrast, brightness, blur, independent zoom of both axes, flips, rotation)
and more: illumination, haze, noise, coarse pixels, nuclei of different brightness beside each
other, and a second set of nuclei laid among the first, so that more of them touch. Brightness is
in contrast (:mod:`~cellseg_backends.maskrcnn.contrast`): background 0, typical nuclei 1.
"""

from __future__ import annotations

import math

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = ["Augmentation"]

_Plane = NDArray[np.float32]
_Labels = NDArray[np.int32]


@attrs.frozen(kw_only=True)
class Augmentation:
    """How crops vary. Probabilities are per crop.

    Parameters
    ----------
    scale
        Nuclei are mostly within this factor of the native diameter, and all but those of
        ``far_scale`` within its 1.4th power.
    far_scale
        The factor for one crop in twelve, as when a diameter was badly estimated.
    zoom
        Largest ratio of the zooms of the two axes.
    rotate
        Probability of a rotation by any angle; flips and quarter turns are always drawn.
    crowd
        Probability that another crop of the same image is laid over this one.
    """

    scale: float = 1.7
    far_scale: float = 3.0
    zoom: float = 1.25
    rotate: float = 0.5
    crowd: float = 0.2

    def placement(
        self, rng: np.random.Generator, factor: float
    ) -> tuple[NDArray[np.float64], float]:
        """Return the matrix from px of the crop to px of the source, and the magnification.

        ``factor`` magnifies the source so that its nuclei have the native diameter.
        """
        far = rng.random() < 1 / 12
        reach = math.log(self.far_scale if far else self.scale)
        # The sum of two draws: small changes of scale more often than large ones.
        jitter = rng.uniform(-reach, reach) if far else rng.uniform(-reach, reach, 2).mean() * 1.4
        magnified = factor * math.exp(jitter)
        unequal = math.sqrt(self.zoom) ** rng.uniform(-1, 1)
        matrix = np.diag([1 / (magnified * unequal), unequal / magnified])
        matrix *= rng.choice([-1.0, 1.0], 2)
        if rng.random() < 0.5:
            matrix = matrix[:, ::-1]
        if rng.random() < self.rotate:
            angle = rng.uniform(-math.pi / 4, math.pi / 4)
            turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
            matrix = matrix @ np.array(turn)
        return np.ascontiguousarray(matrix), magnified

    def brightness(self, rng: np.random.Generator, plane: _Plane, labels: _Labels) -> _Plane:
        """Return the plane with nuclei, light and sharpness varied."""
        from scipy.ndimage import gaussian_filter

        if rng.random() < 0.3:
            gains = np.exp(rng.normal(0, 0.45, int(labels.max()) + 1)).clip(0.2, 2.5)
            gains[0] = 1
            field = gaussian_filter(gains.astype(np.float32)[labels], 1.0)
            plane = np.where(plane > 0, plane * field, plane).astype(np.float32)
        if rng.random() < 0.5:
            power = math.exp(rng.uniform(-0.45, 0.45))
            plane = np.sign(plane) * np.abs(plane) ** np.float32(power)
        if rng.random() < 0.3:
            plane = plane * (1 + _field(rng, plane.shape, rng.uniform(0.1, 0.5)))
        if rng.random() < 0.25:
            plane = plane + np.abs(_field(rng, plane.shape, rng.uniform(0.05, 0.5)))
        if rng.random() < 0.35:
            plane = gaussian_filter(plane, rng.uniform(0.4, 1.8))
        if rng.random() < 0.2:
            plane = _coarse(rng, plane)
        elif rng.random() < 0.4:
            noise = rng.uniform(0.01, 0.12)
            deviation = noise * np.sqrt(0.25 + np.maximum(plane, 0))
            drawn = rng.standard_normal(plane.shape, dtype=np.float32)
            if rng.random() < 0.5:  # noise of a magnified image is smooth
                drawn = gaussian_filter(drawn, 0.8) * np.float32(2.5)
            plane = np.asarray(plane + deviation * drawn, np.float32)
        gain = math.exp(rng.uniform(-0.6, 0.6))
        return np.asarray(plane * gain + rng.normal(0, 0.04), np.float32)

    def crowded(
        self, plane: _Plane, labels: _Labels, other: _Plane, others: _Labels
    ) -> tuple[_Plane, _Labels]:
        """Return one crop with the nuclei of another among its own.

        Nuclei that would cover more than a fifth of themselves with those that are there stay out;
        where two share pixels, light adds up and the pixel stays with the first.
        """
        from scipy.ndimage import gaussian_filter

        area = np.bincount(others.ravel())
        covered = np.bincount(others[labels > 0], minlength=area.size)
        taken = covered <= 0.2 * area
        taken[0] = False
        shown = taken[others]
        light = gaussian_filter(shown.astype(np.float32), 1.0) * np.maximum(other, 0)
        number = np.where(taken, np.cumsum(taken) + labels.max(), 0).astype(np.int32)
        return plane + light, np.where((labels == 0) & shown, number[others], labels)


def _coarse(rng: np.random.Generator, plane: _Plane) -> _Plane:
    """Return the plane as a camera with pixels up to four times as wide shows it, magnified.

    Noise and hot pixels are those of the coarse pixels, as in imaging mass cytometry.
    """
    from scipy.ndimage import gaussian_filter, zoom

    factor = rng.uniform(1.5, 4.0)
    coarse: _Plane = zoom(
        gaussian_filter(plane, (factor - 1) / 2),
        1 / factor,
        order=1,
        grid_mode=True,
        mode="nearest",
    )
    deviation = rng.uniform(0.01, 0.15) * np.sqrt(0.25 + np.maximum(coarse, 0))
    noise = deviation * rng.standard_normal(coarse.shape, dtype=np.float32)
    coarse = np.asarray(coarse + noise, np.float32)
    if rng.random() < 0.4:
        hot = rng.random(coarse.shape) < rng.uniform(0.0005, 0.006)
        coarse = np.where(hot, rng.uniform(0.5, 4.0, coarse.shape), coarse).astype(np.float32)
    again = [n / m for n, m in zip(plane.shape, coarse.shape, strict=True)]
    result: _Plane = zoom(coarse, again, order=1, grid_mode=True, mode="nearest")
    return result


def _field(rng: np.random.Generator, shape: tuple[int, ...], height: float) -> _Plane:
    """Return a smooth random field (Y, X) in [-height, height]."""
    knots = rng.uniform(-height, height, (4, 4))
    along = [np.linspace(0, 3, size) for size in shape]
    low = [np.minimum(a.astype(int), 2) for a in along]
    share = [a - b for a, b in zip(along, low, strict=True)]
    share = [s * s * (3 - 2 * s) for s in share]
    rows = knots[low[0]] + (knots[low[0] + 1] - knots[low[0]]) * share[0][:, None]
    field = rows[:, low[1]] + (rows[:, low[1] + 1] - rows[:, low[1]]) * share[1]
    return np.asarray(field, np.float32)
