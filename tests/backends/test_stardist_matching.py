"""Figures equal those of ``stardist.matching``, which counts IoU >= t where ours counts IoU > t.

So theirs is asked for a little more than each threshold; one test shows the difference.
"""

from __future__ import annotations

import numpy as np
import pytest

from cellseg_core.metrics import Evaluation, average_precision, summary

pytest.importorskip("stardist", reason="what is compared with needs the package stardist")
# TensorFlow's variables follow numpy's older protocol of conversion.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LEVELS = (50, 55, 60, 65, 70, 75, 80, 85, 90, 95)
ABOVE = 1e-6  # less than between a threshold and another fraction of these areas
NAMES = {
    "precision": "precision",
    "recall": "recall",
    "accuracy": "ap",
    "f1": "f1",
}


def pair(seed: int, objects: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return a tissue of touching patches, and one where they moved, joined, broke or vanished."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 150, (objects, 2))
    pixels = np.stack(np.mgrid[:150, :150], axis=-1)

    def patches(centres: np.ndarray, radius: float) -> np.ndarray:
        squared = ((pixels[:, :, None] - centres) ** 2).sum(axis=-1)
        return np.where(squared.min(axis=-1) < radius**2, squared.argmin(axis=-1) + 1, 0)

    moved = points + rng.normal(0, 1.2, points.shape)
    kept = moved[rng.random(objects) < 0.85]
    more = np.concatenate([kept, rng.uniform(0, 150, (5, 2))])
    return patches(points, 9), patches(more, 9.7) * 3


def test_each_image_has_the_figures_of_matching() -> None:
    from stardist.matching import matching

    for seed in range(4):
        truth, pred = pair(seed)
        figures = Evaluation.of(truth, pred).figures()
        for level in LEVELS:
            theirs = matching(truth, pred, thresh=level / 100 + ABOVE)
            for their_name, name in NAMES.items():
                assert figures[f"{name}_{level}"] == pytest.approx(getattr(theirs, their_name))
        theirs = matching(truth, pred, thresh=0.5 + ABOVE)
        assert 10 < theirs.tp < theirs.n_true
        # These are of float32 there.
        assert figures["panoptic_quality"] == pytest.approx(theirs.panoptic_quality, rel=1e-6)
        assert figures["segmentation_quality"] == pytest.approx(theirs.mean_matched_score, rel=1e-6)
        assert figures["mean_true_score"] == pytest.approx(theirs.mean_true_score, rel=1e-6)


@pytest.mark.parametrize("by_image", [True, False])
def test_several_images_have_the_figures_of_matching_dataset(by_image: bool) -> None:
    from stardist.matching import matching_dataset

    pairs = [pair(seed, objects) for seed, objects in enumerate((20, 60, 90))]
    truths, preds = zip(*pairs, strict=True)
    result = summary([Evaluation.of(*one) for one in pairs])
    way = "mean_over_images" if by_image else "pooled"

    def ours(name: str) -> float:
        value = getattr(result.figures[name], way).value
        assert value is not None
        return float(value)

    every = matching_dataset(
        truths,
        preds,
        thresh=[level / 100 + ABOVE for level in LEVELS],
        by_image=by_image,
        show_progress=False,
    )
    for level, theirs in zip(LEVELS, every, strict=True):
        for their_name, name in NAMES.items():
            assert ours(f"{name}_{level}") == pytest.approx(getattr(theirs, their_name))
    assert ours("panoptic_quality") == pytest.approx(every[0].panoptic_quality, rel=1e-6)
    assert ours("segmentation_quality") == pytest.approx(every[0].mean_matched_score, rel=1e-6)
    assert ours("mean_true_score") == pytest.approx(every[0].mean_true_score, rel=1e-6)
    other = "pooled" if by_image else "mean_over_images"
    assert getattr(result.figures["ap_50"], other).value != pytest.approx(every[0].accuracy)


def test_an_iou_that_equals_the_threshold_counts_there_and_not_here() -> None:
    from stardist.matching import matching

    truth, pred = np.array([[1, 1, 1, 1]]), np.array([[1, 1, 0, 0]])
    assert matching(truth, pred, thresh=0.5).tp == 1
    assert average_precision(truth, pred, [0.5]).tolist() == [0]


@pytest.mark.data
def test_real_nuclei_have_the_same_figures(data_dir) -> None:
    from stardist.matching import matching

    from cellseg_core.label_files import find_label_files, read_label_file

    files = list(find_label_files(data_dir / "dsb2018" / "masks").values())[:6]
    for file in files:
        truth = np.asarray(read_label_file(file)[:, :]).astype(np.int32)
        pred = np.roll(truth, (1, 2), axis=(0, 1))
        figures = Evaluation.of(truth, pred).figures()
        theirs = matching(truth, pred, thresh=0.5 + ABOVE)
        assert figures["recall_50"] == pytest.approx(theirs.recall)
        assert figures["panoptic_quality"] == pytest.approx(theirs.panoptic_quality, rel=1e-6)
