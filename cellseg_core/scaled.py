"""An image as segmenters see it: which channels, how bright, and how large its nuclei are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.channels import nuclear_channels
from cellseg_core.diameter import estimate_diameter, is_bright_field
from cellseg_core.errors import ChannelError, ConfigurationError
from cellseg_core.image import Image
from cellseg_core.normalize import Brightness, row_bands
from cellseg_core.tiling import Box

__all__ = ["DOUBTED", "GUESSED", "ScaledImage", "guess_diameter", "is_plausible", "view"]

GUESSED = "nothing to go by: a guess"
DOUBTED = "estimated from the image, against its pixel size"
_TYPICAL_NUCLEUS_UM = 8.0
_PLAUSIBLE_NUCLEUS_UM = (3.0, 30.0)
_FEWEST_PX = 4.0
_SAMPLE_PIXELS = 2**20


@attrs.frozen(eq=False)
class ScaledImage:
    """An image as segmenters see it: the nuclear (and membrane) plane on the brightness scale.

    Several channels of one role are averaged, each on its own scale; but the colours of a
    photograph stay apart for a segmenter that looks at them.
    """

    image: Image
    nuclear: tuple[int, ...]
    membrane: tuple[int, ...]
    brightness: Brightness
    in_color: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Return (height, width) in px."""
        return self.image.shape

    def read(self, rows: slice = slice(None), columns: slice = slice(None)) -> NDArray[np.float32]:
        """Return a window (C, y, x) in [0, 1]: nuclear, and membrane where there is one.

        In colour it is red, green and blue.
        """
        return self._read(rows, columns, 0, 1)

    def _read(self, rows: slice, columns: slice, first: int, step: int) -> NDArray[np.float32]:
        """Return every ``step``-th pixel of a window, of its rows from the ``first`` on."""
        roles = [self.nuclear, self.membrane] if self.membrane else [self.nuclear]
        if self.in_color:
            roles = [(number,) for number in self.nuclear]
        means = []
        for numbers in roles:
            planes = [
                self.brightness.scale(
                    self.image.read(number, rows, columns)[first::step, ::step],
                    self.image.channels[number],
                )
                for number in numbers
            ]
            total = planes[0]
            for plane in planes[1:]:
                total += plane
            means.append(total / np.float32(len(planes)) if len(planes) > 1 else total)
        return np.stack(means)

    def sample(self, pixels: int = _SAMPLE_PIXELS) -> NDArray[np.float32]:
        """Return the pixels (C, y, x) on a regular grid over the whole image, about ``pixels``."""
        return self.every(self.sample_step(pixels))

    def sample_step(self, pixels: int = _SAMPLE_PIXELS) -> int:
        """Return the step in px of the grid of a sample of about ``pixels``."""
        return max(1, math.isqrt(math.prod(self.shape) // pixels))

    def every(self, step: int) -> NDArray[np.float32]:
        """Return every ``step``-th pixel (C, y, x) of both axes, read in bands of rows."""
        if step == 1:
            return self.read()
        bands = row_bands(self.shape)
        thinned = [self._read(band, slice(None), -band.start % step, step) for band in bands]
        return np.concatenate(thinned, axis=1)

    def signal_windows(
        self, sample: NDArray[np.float32], count: int = 4, size: int = 512
    ) -> list[Box]:
        """Return up to ``count`` windows of ``size`` px, spread over where nuclei seem to be.

        ``sample`` is what :meth:`sample` returned. An image of up to ``count`` windows is one
        window.
        """
        height, width = self.shape
        if height * width <= count * size * size:
            return [Box(0, height, 0, width)]
        signal = 1 - sample[0] if is_bright_field(sample[0, ::4, ::4]) else sample[0]
        rows, columns = max(1, height // size), max(1, width // size)
        ys = np.linspace(0, signal.shape[0], rows + 1).astype(int)[:-1]
        xs = np.linspace(0, signal.shape[1], columns + 1).astype(int)[:-1]
        totals = np.add.reduceat(np.add.reduceat(signal, ys, axis=0), xs, axis=1)
        order = np.argsort(-totals, axis=None, kind="stable")
        # Evenly over the signal that is there: neither empty glass nor only the brightest debris.
        share = np.cumsum(totals.ravel()[order] - totals.min(), dtype=np.float64)
        places = share[-1] * (np.arange(count) + 0.5) / count
        chosen = order[np.searchsorted(share, places)]
        windows = []
        for index in sorted(set(chosen.tolist())):
            top, left = (index // columns) * height // rows, (index % columns) * width // columns
            windows.append(Box(top, min(top + size, height), left, min(left + size, width)))
        return windows


def view(
    image: Image,
    nuclear: str | Sequence[str] = (),
    membrane: str | Sequence[str] = (),
    levels: Brightness | None = None,
    factor: float = 1.0,
    *,
    in_color: bool = False,
) -> tuple[ScaledImage, str]:
    """Return the image on its brightness scale, and why these nuclear channels were taken.

    Raises
    ------
    ChannelError
        If a channel is not found, or if ``in_color`` and the image is not a photograph in colour.
    """
    nuclear = (nuclear,) if isinstance(nuclear, str) else nuclear
    membrane = (membrane,) if isinstance(membrane, str) else membrane
    for name in (*nuclear, *membrane):
        if not isinstance(name, str):
            raise ConfigurationError(f"channels are named; got {name!r}. Names: {image.channels}")
    numbers, chosen = nuclear_channels(image, nuclear)
    if in_color and not (image.color and len(numbers) == 3):
        raise ChannelError(
            f"{image.name}: this segmenter looks at colours: it takes an RGB image, with red, "
            f"green and blue, and these are {len(numbers)} of the channels "
            f"{', '.join(image.channels)}. "
            "Choose other weights (--set segmenter.weights=...) or another --segmenter."
        )
    if in_color:
        # Red, green and blue are in that order in the image, in whichever one they were named.
        numbers = tuple(sorted(numbers))
    beside = tuple(image.index(name) for name in membrane)
    if levels is None:
        levels = Brightness.of(image, (*numbers, *beside), factor)
    return ScaledImage(image, numbers, beside, levels, in_color), chosen


def is_plausible(diameter: float, pixel_size: float | None) -> bool:
    """Return whether nuclei can be so many px wide: at least 4 px and, if it is known, 3 to 30 um.

    >>> is_plausible(10, None), is_plausible(10, 0.5), is_plausible(10, 5.0)
    (True, True, False)
    """
    low, high = _PLAUSIBLE_NUCLEUS_UM
    return diameter >= _FEWEST_PX and (pixel_size is None or low <= diameter * pixel_size <= high)


def guess_diameter(scaled: ScaledImage, sample: NDArray[np.float32]) -> tuple[float, str]:
    """Return the typical nuclear diameter in px, and how it is known.

    ``sample`` is what ``scaled.sample()`` returned. The result is the median of estimates over
    parts of the image. Where those say nothing, or nothing that is plausible for the pixel size,
    nuclei are taken to be 8 um across; without a pixel size, or with one at which nuclei would be
    smaller than 4 px or larger than the image, the estimate counts after all, or 16 px.
    """
    size = scaled.image.pixel_size
    windows = (scaled.read(*box.slices)[0] for box in scaled.signal_windows(sample))
    estimates = [estimate_diameter(window) for window in windows]
    found = [estimate for estimate in estimates if estimate is not None]
    estimate = float(np.median(found)) if found else None
    if estimate is not None and is_plausible(estimate, size):
        return estimate, "estimated from the image"
    if size is not None and _FEWEST_PX <= _TYPICAL_NUCLEUS_UM / size <= max(scaled.shape):
        return _TYPICAL_NUCLEUS_UM / size, f"{_TYPICAL_NUCLEUS_UM:g} um at this pixel size"
    if estimate is not None:
        return estimate, DOUBTED
    return 16.0, GUESSED
