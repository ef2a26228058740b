"""Figures equal those of ``cellpose.metrics``, which counts IoU >= t where ours counts IoU > t.

So theirs is asked for a little more than each threshold.
"""

from __future__ import annotations

import numpy as np
import pytest

from cellseg_core.metrics import Overlap, average_precision, one_to_one_jaccard

pytest.importorskip("cellpose", reason="what is compared with needs the package cellpose")

LEVELS = [0.5, 0.6, 0.75, 0.9]


def tissue(seed: int, moved: float) -> tuple[np.ndarray, np.ndarray]:
    """Return touching patches, numbered without gaps as Cellpose wants, and the same moved."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 120, (50, 2))
    pixels = np.stack(np.mgrid[:120, :120], axis=-1)

    def patches(centres: np.ndarray) -> np.ndarray:
        squared = ((pixels[:, :, None] - centres) ** 2).sum(axis=-1)
        found = np.where(squared.min(axis=-1) < 81, squared.argmin(axis=-1) + 1, 0)
        ids, numbered = np.unique(found, return_inverse=True)
        assert ids[0] == 0
        return numbered.reshape(found.shape)

    others = (points + rng.normal(0, moved, points.shape))[rng.random(50) < 0.9]
    return patches(points), patches(others)


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_the_same(seed: int) -> None:
    from cellpose import metrics

    truth, pred = tissue(seed, moved=1.5)
    above = [level + 1e-6 for level in LEVELS]
    theirs, _, _, _ = metrics.average_precision(truth, pred, threshold=above)
    assert 0 < theirs[0] < 1
    assert average_precision(truth, pred, LEVELS) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("moved", [0.5, 2, 6])
def test_the_one_to_one_aggregated_jaccard_index_is_the_same(moved: float) -> None:
    from cellpose import metrics

    pairs = [tissue(seed, moved) for seed in range(4)]
    truths, preds = map(list, zip(*pairs, strict=True))
    theirs = metrics.aggregated_jaccard_index(truths, preds)
    ours = [one_to_one_jaccard(Overlap.of(*one)).index for one in pairs]
    assert ours == pytest.approx(theirs)
