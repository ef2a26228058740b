"""The nuclear diameter as the segmenter measures it: the size at which it finds nuclei best.

An estimate from brightness alone can follow cells, clusters or grains of chromatin. A segmenter
that knows one diameter and gives scores can tell: it is shown parts of the image at several sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.diameter import disc_diameter
from cellseg_core.errors import SegmentationError
from cellseg_core.protocols import Segmenter
from cellseg_core.scaled import ScaledImage, is_plausible
from cellseg_core.segmenting import adapt, segment_tile
from cellseg_core.tiling import Tile

__all__ = ["measure_diameter"]

_FACTORS = (0.25, 0.5, 1.0, 2.0)  # of the guess
_LOOKS = len(_FACTORS) + 2  # at most: the best is looked at again
_SETTLED = 0.15  # octaves: a look from so near would find the same
_SPOTS, _EDGE = 2, 512  # px as the segmenter sees them
_FEW = 3
# Both chosen on the training images of the 2018 Data Science Bowl.
_DENSITY, _REACH = 0.15, 2.0


@attrs.frozen
class _Look:
    """What was found where nuclei were taken to have the diameter ``assumed``, in px."""

    assumed: float
    measured: float
    value: float


def measure_diameter(
    segmenter: Segmenter,
    scaled: ScaledImage,
    sample: NDArray[np.float32],
    guess: float,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> float | None:
    """Return the median diameter in px of the nuclei that the segmenter finds, or None.

    Two parts of the image, 512 px wide as the segmenter sees them, are segmented with nuclei taken
    to be a quarter, half, once and twice as wide as the guess. The best of these is the one whose
    nuclei have the highest mean score, weighed by how dense they lie and how near they come to the
    diameter that was assumed. It is looked at again with the diameter that was found there.

    Parameters
    ----------
    segmenter
        As built, before it was adapted to the image.
    scaled, sample
        The image, and what ``scaled.sample()`` returned.
    guess
        Diameter in px to start from.
    progress
        Called before every look with how many are done, and how many there are at most.

    Returns
    -------
    float or None
        None where a segmenter takes any size (its ``native_diameter`` is None) or gives no
        scores, and where it finds fewer than three whole nuclei, or none of a plausible size.

    Raises
    ------
    SegmentationError
        If the segmenter fails; the message names the image and the place.
    """
    if segmenter.native_diameter is None:
        return None
    looks: list[_Look] = []
    for done, factor in enumerate(_FACTORS):
        progress(done, _LOOKS)
        if is_plausible(guess * factor, scaled.image.pixel_size):
            look = _look(segmenter, scaled, sample, guess * factor)
            if look is None:
                return None
            looks.append(look)
    for done in range(len(_FACTORS), _LOOKS):
        progress(done, _LOOKS)
        best = max(looks, key=lambda look: look.value, default=None)
        if best is None or best.value == 0:
            return None
        known = (abs(math.log2(best.measured / earlier.assumed)) for earlier in looks)
        if min(known) < _SETTLED:
            break
        look = _look(segmenter, scaled, sample, best.measured)
        if look is None:
            return None
        looks.append(look)
    best = max(looks, key=lambda look: look.value)
    return best.measured if is_plausible(best.measured, scaled.image.pixel_size) else None


def _look(
    segmenter: Segmenter, scaled: ScaledImage, sample: NDArray[np.float32], assumed: float
) -> _Look | None:
    """Return what was found at one size, None where the segmenter gives no scores."""
    source, adapted = adapt(segmenter, scaled, sample, assumed)
    areas, scores, seen = [], [], 0
    for window in scaled.signal_windows(sample, _SPOTS, math.ceil(_EDGE / source.factor)):
        try:
            found = segment_tile(adapted, source, Tile(0, 0, window, window))
        except SegmentationError as error:
            raise SegmentationError(
                f"{error} This happened while the nuclear diameter was measured on parts of the "
                "image, which --nuclear-diameter spares."
            ) from error
        areas.append(found.areas[found.depths > 0])
        scores.append(found.scores)
        seen += math.prod(window.shape)
    area, score = np.concatenate(areas), np.concatenate(scores)
    if np.isnan(score).any():
        return None
    if area.size < _FEW:
        return _Look(assumed, assumed, 0.0)
    measured = disc_diameter(area)
    density = score.size / seen
    near = math.exp(-((math.log2(measured / assumed) / _REACH) ** 2))
    return _Look(assumed, measured, float(score.mean()) * density**_DENSITY * near)
