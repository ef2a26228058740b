"""A segmenter in a dozen lines."""

import attrs
import numpy as np

from cellseg_core import Segmentation


@attrs.frozen
class BrightSpots:
    """Connected pixels over a threshold.

    Parameters
    ----------
    threshold
        Brightness, on the scale from 0 (black) to 1 (white), that a nucleus has at least.
    reach
        Margin in px around a tile: more than the largest nucleus.
    """

    threshold: float = attrs.field(default=0.4, validator=[attrs.validators.gt(0)])
    reach: int = 40

    native_diameter = None

    @property
    def halo(self) -> int:
        """Return the margin in px around a tile."""
        return self.reach

    def segment(self, tile: np.ndarray) -> Segmentation:
        """Return the spots of a tile (C, Y, X); a spot's score is its mean brightness."""
        from scipy import ndimage

        nuclear = tile[0]
        labels, count = ndimage.label(nuclear > self.threshold)
        scores = ndimage.mean(nuclear, labels, np.arange(1, count + 1))
        return Segmentation(labels, np.asarray(scores))
