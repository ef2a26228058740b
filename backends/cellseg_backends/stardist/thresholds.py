"""The thresholds of a StarDist network, chosen on images that it did not learn from."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from cellseg_backends.quiet import quiet
from cellseg_backends.stardist.training import Pair

__all__ = ["choose_thresholds"]

_CROWDED = 0.25  # of all places: no network that has learnt proposes more
_RANGE = (0.01, 0.99)  # beyond, the library takes a threshold for a mistake


def choose_thresholds(network: Any, pairs: Sequence[Pair]) -> tuple[float, float] | None:
    """Return the least probability of a nucleus, and the largest overlap of two.

    They are what the library's ``optimize_thresholds`` finds best over IoU 0.3, 0.5 and 0.7. It
    looks from half the highest probability upwards; here not below where the candidates become a
    crowd, with which a network that has hardly learnt would keep the suppression busy for hours.

    Parameters
    ----------
    network
        A ``stardist.models.StarDist2D``.
    pairs
        Images (Y, X), between their percentiles, with their labels.

    Returns
    -------
    tuple of float, or None
        None where the network says the same everywhere, so that there is nothing to choose.
    """
    images = [pixels for pixels, _ in pairs]
    truths = [labels for _, labels in pairs]
    probabilities = np.concatenate(
        [np.ravel(network.predict(one, show_tile_progress=False)[0]) for one in images]
    )
    highest = float(probabilities.max())
    lowest = max(highest / 2, float(np.quantile(probabilities, 1 - _CROWDED)))
    # Written so that what is not a number ends here.
    if not lowest < highest:
        return None
    # It tells of its doings, and flushes standard error, where there may be none.
    with quiet():
        stderr, sys.stderr = sys.stderr, sys.stderr or io.StringIO()
        try:
            found = network.optimize_thresholds(
                images,
                truths,
                optimize_kwargs={"bracket": (lowest, highest), "verbose": 0},
                save_to_json=False,
            )
        finally:
            sys.stderr = stderr
    # The search may end outside its range, where the value at the end of the range was meant.
    prob = float(np.clip(found["prob"], lowest, highest))
    return float(np.clip(prob, *_RANGE)), float(found["nms"])
