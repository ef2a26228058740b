"""The network in training as a segmenter: new weights are put in as often as it is looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.maskrcnn.contrast import Contrast, compressed
from cellseg_backends.maskrcnn.presets import GRID, HALO, Preset
from cellseg_core.protocols import Segmentation

__all__ = ["Trial", "TrialSegmenter"]


class Trial:
    """A second network of the same size, compiled once for all looks during a training.

    Parameters
    ----------
    preset, precision
        Of the network in training.
    diameter
        Diameter in px that nuclei have for it.
    """

    def __init__(self, preset: Preset, precision: str, diameter: float) -> None:
        from cellseg_backends.maskrcnn.model import MaskRCNN

        self._network = MaskRCNN(preset, precision)
        self._diameter = diameter
        self._detector: Any = None

    def segmenter(self, weights: Mapping[str, NDArray[np.float32]], score: float) -> TrialSegmenter:
        """Return a segmenter with these weights, until the next call."""
        import keras

        from cellseg_backends.maskrcnn.detector import Detector

        for name, variable in self._network.weights().items():
            variable.assign(weights[name])
        # JAX compiles the weights in; the others look them up.
        if self._detector is None or keras.backend.backend() == "jax":
            self._detector = Detector(self._network)
        return TrialSegmenter(self._detector, self._diameter, score)


@attrs.frozen
class TrialSegmenter:
    """What :class:`Trial` gives; an :class:`~cellseg_core.protocols.AdaptiveSegmenter`."""

    detector: Any
    native_diameter: float
    score: float
    contrast: Contrast | None = None

    uses_membrane: ClassVar[bool] = False
    grid: ClassVar[int] = GRID

    @property
    def halo(self) -> int:
        """Return the margin in px that a tile needs."""
        return math.ceil(HALO * self.native_diameter)

    def adapt(self, sample: NDArray[np.float32], diameter: float) -> TrialSegmenter:
        """Return a copy that is set up for the contrast of one image."""
        del diameter  # tiles come at the native one
        return attrs.evolve(self, contrast=Contrast.of(sample[0]))

    def segment(self, tile: NDArray[np.float32]) -> Segmentation:
        """Return the nuclei of ``tile`` (C, Y, X) in [0, 1], with their confidence."""
        from cellseg_backends.maskrcnn.detector import Thresholds

        assert self.contrast is not None
        plane = compressed(self.contrast.apply(tile[0]))
        found: Segmentation = self.detector.find(plane, Thresholds(score=self.score), 1)
        return found
