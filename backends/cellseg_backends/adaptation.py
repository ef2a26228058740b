"""What a segmenter is given to adapt to, checked."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ConfigurationError, SegmentationError

__all__ = ["check_adaptation"]


def check_adaptation(name: str, sample: NDArray[np.float32], diameter: float) -> None:
    """Check what the segmenter ``name`` is to adapt to.

    Raises
    ------
    ConfigurationError
        If the nuclear diameter is not a positive number.
    SegmentationError
        If the sample is not (C, y, x) with at least one pixel.
    """
    if not (math.isfinite(diameter) and diameter > 0):
        raise ConfigurationError(
            f"a nuclear diameter is a positive number of px; got {diameter!r} (--nuclear-diameter)."
        )
    if sample.ndim != 3 or sample.size == 0:
        raise SegmentationError(
            f"{name} adapts to a sample of the shape (C, y, x) with at least one pixel; "
            f"got the shape {sample.shape}."
        )
