"""The segmenter: one tile in, labels and scores out."""

import attrs
import numpy as np

from cellseg_core import Segmentation
from cellseg_core.errors import ConfigurationError


def _check_share(_, attribute, value):
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ConfigurationError(
            f"brightspots.{attribute.name} lies between 0 and 1; got {value!r}."
        )


@attrs.frozen(kw_only=True)
class BrightSpots:
    """Finds the peaks of the smoothed image; a bright pixel belongs to the nearest.

    Parameters
    ----------
    threshold
        Brightness of a nucleus at least, from 0 (black) to 1 (white).
    """

    threshold: float = attrs.field(default=0.15, validator=_check_share)

    # Lengths in segment() are in px and fit nuclei of this diameter: tiles are rescaled to it.
    native_diameter = 12.0
    # What decides over a pixel: its peak is up to 12 px away, and 6 + 3 px around that count for
    # smoothing and for being the highest. Half of a nucleus twice as wide as most adds 12 px.
    halo = 33
    # It looks at tile[0] alone.
    uses_membrane = False

    def segment(self, tile):
        """Return the nuclei of a tile (C, Y, X); a score is the mean brightness of a nucleus."""
        from scipy import ndimage

        smooth = ndimage.gaussian_filter(tile[0], sigma=2, truncate=3)
        bright = smooth > self.threshold
        highest = smooth == ndimage.maximum_filter(smooth, size=7)
        peaks, count = ndimage.label(highest & bright)
        if not count:
            return Segmentation(peaks)
        away, nearest = ndimage.distance_transform_edt(peaks == 0, return_indices=True)
        labels = np.where(bright & (away < 12), peaks[tuple(nearest)], 0)
        scores = ndimage.mean(tile[0], labels, np.arange(1, count + 1))
        return Segmentation(labels, np.asarray(scores))
