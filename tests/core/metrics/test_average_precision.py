"""Average precision as the 2018 Data Science Bowl defines it, by hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.metrics import average_precision, mean_average_precision, pairwise_iou


def bars(*widths: int) -> np.ndarray:
    """Return 10 px high bars beside each other, of these widths with a gap of 20 - width."""
    labels = np.zeros((10, 20 * len(widths)), int)
    for number, width in enumerate(widths):
        labels[:, 20 * number : 20 * number + width] = number + 1
    return labels


def test_it_counts_found_missed_and_invented_objects() -> None:
    truth, pred = bars(10, 10, 10, 0), bars(10, 7, 0, 10)
    # IoU 1 and 0.7; one true object is missed and one is invented.
    assert average_precision(truth, pred, [0.5, 0.65, 0.75]).tolist() == [2 / 4, 2 / 4, 1 / 5]


def test_an_iou_must_be_over_the_threshold() -> None:
    assert average_precision(bars(10), bars(5), [0.5]).tolist() == [0]
    assert average_precision(bars(10), bars(6), [0.5]).tolist() == [1]


def test_perfect_and_empty_images_score_1_and_disjoint_ones_0() -> None:
    assert average_precision(bars(10, 5), bars(10, 5) * 7).tolist() == [1] * 10
    assert average_precision(bars(0), bars(0)).tolist() == [1] * 10
    assert average_precision(bars(10, 0), bars(0, 10)).tolist() == [0] * 10


def test_the_mean_is_over_images() -> None:
    pairs = [(bars(10), bars(10)), (bars(10), bars(0))]
    assert mean_average_precision(pairs) == 0.5
    with pytest.raises(ImageError, match="no image"):
        mean_average_precision([])


def test_labels_with_large_values_and_gaps_are_matched() -> None:
    truth = bars(10, 10) * 1_000_000_007
    true_ids, pred_ids, iou = pairwise_iou(truth, bars(10, 10))
    assert true_ids.tolist() == [1_000_000_007, 2_000_000_014]
    assert pred_ids.tolist() == [1, 2]
    assert iou.tolist() == [1, 1]


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ImageError, match=r"one size.*got \(10, 20\) and \(10, 40\)"):
        average_precision(bars(1), bars(1, 1))
    with pytest.raises(ImageError, match=r"prediction: .* holds float64.*astype\('int32'\)"):
        average_precision(bars(1), bars(1) * 1.0)
    for threshold in (0.3, 1):
        with pytest.raises(ConfigurationError, match=r"from 0\.5 to under 1"):
            average_precision(bars(1), bars(1), [threshold])
