"""The light of simulated cells and what the microscope makes of it: patterns, optics, noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.synthetic.outlines import Outlines

__all__ = ["GAIN", "READ_NOISE", "add_noise", "cell_patterns", "optics", "point_spread"]

GAIN = 6.0
"""Counts for each photo-electron."""

READ_NOISE = 12.0
"""Standard deviation of the camera's read noise in counts."""


def cell_patterns(
    outlines: Outlines,
    visible: NDArray[np.bool_],
    grain: NDArray[np.float32],
    texture: float,
    scale: float,
) -> dict[str, NDArray[np.float32]]:
    """Return how each place of a cell shines: "nucleus", "membrane" and "cytoplasm", (Y, X).

    A nucleus is brighter at its edge, as condensed chromatin is, and grained; a membrane is a
    band of about 2 px along the cell's border; cytoplasm is all but the nucleus, with a weak
    haze over it. Every pattern has mean 1 over the visible pixels of every cell, so that a
    marker's expression times the pattern has the expression as its mean.

    Parameters
    ----------
    outlines
        The owners of the pixels.
    visible
        True for pixels on the slide.
    grain
        Noise of mean 0 and variance 1.
    texture
        Strength of the grain; 0 is smooth.
    scale
        Nuclear diameter in units of 12 px, which the width of the nuclear edge follows.
    """
    from scipy.ndimage import gaussian_filter

    owner, nuclear = outlines.owner, outlines.nuclear
    border = np.zeros(owner.shape, np.float32)
    for axis in range(2):
        ahead = tuple(slice(1, None) if a == axis else slice(None) for a in range(2))
        behind = tuple(slice(None, -1) if a == axis else slice(None) for a in range(2))
        differs = owner[ahead] != owner[behind]
        border[ahead][differs] = 1
        border[behind][differs] = 1
    edge = np.exp(-(((outlines.height + 1.6 * scale) / (1.1 * scale)) ** 2))
    rough = np.exp(np.float32(texture) * grain)
    shapes = {
        "nucleus": np.where(nuclear, (0.75 + 0.6 * edge) * rough, 0),
        "membrane": (0.04 + gaussian_filter(border, 0.7)) * rough * rough,
        "cytoplasm": np.where(nuclear, np.float32(0.3), np.float32(1)) * rough,
    }
    n = len(outlines.numbers) + 1
    seen = np.where(visible, owner, 0).ravel()
    count = np.bincount(seen, minlength=n)
    patterns = {}
    for name, shape in shapes.items():
        total = np.bincount(seen, shape.ravel(), n)
        # A cell that the canvas cuts may show none of its nucleus; its light is not needed.
        factor = np.divide(count, total, out=np.zeros(n), where=total > 0)
        factor[0] = 0
        patterns[name] = (shape * factor.astype(np.float32)[owner]).astype(np.float32)
    return patterns


def point_spread(
    blur: float, bleed: float, bleed_sigma: float
) -> list[tuple[float, NDArray[np.float64]]]:
    """Return the point-spread function as weights and separable 1-D kernels, each of sum 1.

    It is ``(1 - bleed) * Gaussian(blur) + bleed * Gaussian(bleed_sigma)``, the Gaussians sampled
    at whole px, cut at 4 sigma and scaled to sum 1; a Gaussian of sigma 0 is a point. Light is
    conserved: all kernels are positive and the weights add up to 1.

    >>> [(weight, len(kernel)) for weight, kernel in point_spread(1.0, 0.2, 3.0)]
    [(0.8, 9), (0.2, 25)]
    """
    parts = []
    for weight, sigma in ((1 - bleed, blur), (bleed, bleed_sigma)):
        if weight > 0:
            half = math.ceil(4 * sigma)
            kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / max(sigma, 1e-6)) ** 2)
            parts.append((weight, kernel / kernel.sum()))
    return parts


def optics(
    parts: list[tuple[float, NDArray[np.float64]]], shape: tuple[int, int]
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the function that convolves images of the shape with a point-spread function.

    It works by Fourier transform, which wraps around: the outer px, as many as half the longest
    kernel, are for the caller to drop. It leaves the image alone where all kernels are points.

    >>> blurred = optics(point_spread(1.0, 0.0, 0.0), (9, 9))(np.ones((9, 9), np.float32))
    >>> bool(np.isclose(blurred[4, 4], 1))
    True
    """
    from scipy.fft import irfft2, rfft2

    if all(len(kernel) == 1 for _, kernel in parts):
        return lambda light: light
    # Multiples of 32 have mostly small factors, which transform fast.
    padded = [-(-length // 32) * 32 for length in shape]
    rows, columns = (np.fft.fftfreq(padded[0]), np.fft.rfftfreq(padded[1]))
    transfer = np.zeros((len(rows), len(columns)))
    for weight, kernel in parts:
        transfer += weight * np.multiply.outer(*(_spectrum(kernel, f) for f in (rows, columns)))
    transfer = transfer.astype(np.float32)

    def convolve(light: NDArray[np.float32]) -> NDArray[np.float32]:
        spectrum = np.asarray(rfft2(light, padded)) * transfer
        image = np.asarray(irfft2(spectrum, padded), np.float32)
        return image[: light.shape[0], : light.shape[1]]

    return convolve


def _spectrum(
    kernel: NDArray[np.float64], frequencies: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the Fourier transform of a symmetric kernel, which is real."""
    places = np.arange(len(kernel)) - len(kernel) // 2
    return np.asarray(np.cos(2 * np.pi * np.multiply.outer(frequencies, places)) @ kernel)


def add_noise(
    light: NDArray[np.float32], strength: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the light with shot and read noise.

    Shot noise is Poisson in photo-electrons, ``GAIN`` counts each, taken as a Gaussian of equal
    variance; read noise is Gaussian with ``READ_NOISE`` counts. ``strength`` multiplies the
    standard deviation of both.
    """
    if strength == 0:
        return light
    spread = np.sqrt(np.maximum(light, 0) * np.float32(GAIN) + np.float32(READ_NOISE**2))
    noise = rng.standard_normal(light.shape, np.float32)
    return np.asarray(light + np.float32(strength) * spread * noise, np.float32)
