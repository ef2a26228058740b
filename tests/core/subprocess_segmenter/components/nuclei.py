"""Nuclei around the peaks of the smoothed image."""

import sys

import numpy as np
from scipy import ndimage


def find(tile, threshold=0.15, size=7):
    smooth = ndimage.gaussian_filter(tile[0], size / 4, truncate=3)
    mask = smooth > threshold
    peaks, count = ndimage.label((ndimage.maximum_filter(smooth, size) == smooth) & mask)
    if not count:
        return np.zeros(mask.shape, np.int32)
    away, nearest = ndimage.distance_transform_edt(peaks == 0, return_indices=True)
    return np.where(mask & (away < 2 * size), peaks[tuple(nearest)], 0)


class Finder:
    def __init__(self, threshold=0.15):
        if not 0 < threshold < 1:
            raise ValueError(f"threshold is between 0 and 1; got {threshold}")
        self.threshold = threshold

    def adapt(self, sample, diameter):
        return Fitted(self.threshold, diameter)

    def segment(self, tile):
        raise RuntimeError("adapt first")

    def facts(self):
        return {"has_cellseg": any(name.startswith("cellseg") for name in sys.modules)}


class Fitted:
    def __init__(self, threshold, diameter):
        self.threshold, self.diameter = threshold, diameter

    def segment(self, tile):
        labels = find(tile, self.threshold, round(self.diameter * 0.6))
        return labels, np.full(labels.max(), 0.5)
