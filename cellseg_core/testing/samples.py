"""Small label images that hold what is easily got wrong."""

from __future__ import annotations

import numpy as np

from cellseg_core.protocols import Labels

__all__ = ["sample_labels"]


def sample_labels() -> Labels:
    """Return touching, enclosed, single-pixel and edge-touching objects, with ids in no order."""
    labels = np.zeros((40, 50), np.int32)
    labels[4:12, 4:12] = 9
    labels[4:12, 12:18] = 2
    labels[12:16, 8:14] = 7
    labels[25, 25] = 1
    labels[30:40, 40:50] = 4
    labels[20:24, 30:44] = 12
    labels[26:29, 31:43] = 3
    return labels
