"""Every figure of one image: by hand, by definition, and where there is nothing to count."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.metrics import (
    Evaluation,
    Overlap,
    aggregated_jaccard,
    compare_boundaries,
    one_to_one_jaccard,
)


def by_hand() -> tuple[np.ndarray, np.ndarray]:
    """Return four true bars of 10 px; found whole, found by 8, found by 6, missed; one invented."""
    truth, pred = np.zeros((2, 7, 20), int)
    for row, (begin, end) in enumerate([(0, 10), (0, 8), (0, 6)]):
        truth[2 * row, :10] = row + 1
        pred[2 * row, begin:end] = 10 * (row + 1)
    truth[6, :10] = 4
    pred[6, 12:17] = 7
    return truth, pred


def test_the_figures_of_a_case_worked_by_hand() -> None:
    # IoU 1, 0.8, 0.6 and none, of 4 true and 4 predicted objects.
    figures = Evaluation.of(*by_hand()).figures()
    expected = {
        "ap_50": 3 / 5, "ap_60": 2 / 6, "ap_80": 1 / 7, "ap_95": 1 / 7,
        "precision_50": 3 / 4, "recall_75": 2 / 4, "f1_50": 6 / 8, "f1_80": 2 / 8,
        "mean_ap": (2 * 3 / 5 + 4 * 2 / 6 + 4 * 1 / 7) / 10,
        "segmentation_quality": 2.4 / 3, "recognition_quality": 3 / 4, "panoptic_quality": 2.4 / 4,
        "mean_true_score": 2.4 / 4, "aggregated_jaccard": 24 / 45, "count_ratio": 1,
        "split_share": 0, "merge_share": 0,
    }  # fmt: skip
    assert {name: figures[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("true", "predicted", "score", "nothing"),
    [
        (0, 0, 1, {"precision_50", "recall_50", "segmentation_quality", "mean_true_score",
                   "boundary_precision", "boundary_recall", "count_ratio", "split_share",
                   "merge_share"}),
        (1, 0, 0, {"precision_50", "segmentation_quality", "boundary_precision", "merge_share"}),
        (0, 1, 0, {"recall_50", "segmentation_quality", "mean_true_score", "boundary_recall",
                   "count_ratio", "split_share"}),
    ],
)  # fmt: skip
def test_empty_truth_and_empty_prediction_follow_the_conventions(
    true: int, predicted: int, score: float, nothing: set[str]
) -> None:
    square = np.pad(np.ones((3, 3), int), 1)
    figures = Evaluation.of(true * square, predicted * square).figures()
    for name in ("mean_ap", "ap_50", "f1_50", "panoptic_quality", "recognition_quality",
                 "aggregated_jaccard", "boundary_f1"):  # fmt: skip
        assert figures[name] == score, name
    missing = {name for name, value in figures.items() if math.isnan(value)}
    levels = ("55", "60", "65", "70", "75", "80", "85", "90", "95")
    assert {name for name in missing if not name.endswith(levels)} == nothing


@st.composite
def label_images(draw: Any) -> list[np.ndarray]:
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=8))
    labels = arrays(np.int32, shape, elements=st.integers(0, 4))
    return [draw(labels), draw(labels)]


def iou_of(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def objects(labels: np.ndarray) -> list[np.ndarray]:
    return [labels == one for one in np.unique(labels) if one]


def kumar(truth: np.ndarray, pred: np.ndarray) -> float:
    """Return the aggregated Jaccard index as its algorithm is written."""
    common = union = 0
    used = set()
    predicted = objects(pred)
    for true in objects(truth):
        scores = [iou_of(true, one) for one in predicted]
        if not scores or max(scores) == 0:
            union += true.sum()
            continue
        best = int(np.argmax(scores))
        common += (true & predicted[best]).sum()
        union += (true | predicted[best]).sum()
        used.add(best)
    union += sum(one.sum() for n, one in enumerate(predicted) if n not in used)
    return float(common / union) if union else 1.0


@settings(deadline=None)
@given(label_images())
def test_the_figures_are_those_of_their_definitions(images: list[np.ndarray]) -> None:
    truth, pred = images
    figures = Evaluation.of(truth, pred).figures()
    scores = [iou_of(one, other) for one in objects(truth) for other in objects(pred)]
    n_true, n_pred = len(objects(truth)), len(objects(pred))
    for level in (50, 75, 95):
        matches = sum(score > level / 100 for score in scores)
        if n_true:
            assert figures[f"recall_{level}"] == matches / n_true
        if n_pred:
            assert figures[f"precision_{level}"] == matches / n_pred
        if n_true + n_pred:
            assert figures[f"ap_{level}"] == matches / (n_true + n_pred - matches)
            assert figures[f"f1_{level}"] == 2 * matches / (n_true + n_pred)
    good = [score for score in scores if score > 0.5]
    if good:
        assert figures["segmentation_quality"] == pytest.approx(np.mean(good))
        assert figures["panoptic_quality"] == pytest.approx(
            figures["segmentation_quality"] * figures["recognition_quality"]
        )
    assert figures["aggregated_jaccard"] == pytest.approx(kumar(truth, pred))


@settings(deadline=None)
@given(label_images(), st.permutations(range(1, 5)))
def test_figures_do_not_depend_on_ids_and_symmetric_ones_not_on_roles(
    images: list[np.ndarray], names: list[int]
) -> None:
    truth, pred = images
    renamed = (np.array([0, *names]) * 1000)[truth]
    one = Evaluation.of(truth, pred).figures()
    # Of equal IoU, the aggregated Jaccard index takes the predicted object of the lower id.
    again = Evaluation.of(renamed, pred).figures()
    assert again == pytest.approx(one, nan_ok=True)
    turned = Evaluation.of(pred, truth).figures()
    for name in ("mean_ap", "f1_50", "panoptic_quality", "segmentation_quality", "boundary_f1"):
        assert turned[name] == pytest.approx(one[name], nan_ok=True)
    assert turned["recall_50"] == pytest.approx(one["precision_50"], nan_ok=True)
    assert turned["split_share"] == pytest.approx(one["merge_share"], nan_ok=True)


@settings(deadline=None)
@given(label_images())
def test_a_prediction_that_equals_the_truth_is_perfect(images: list[np.ndarray]) -> None:
    found = Evaluation.of(images[0], images[0])
    figures = found.figures()
    assert found.mistakes.missed.ids.size == found.mistakes.invented.ids.size == 0
    for name in ("mean_ap", "f1_95", "panoptic_quality", "aggregated_jaccard", "boundary_f1"):
        assert figures[name] == 1


def outline(labels: np.ndarray) -> np.ndarray:
    padded = np.pad(labels, 1, mode="edge")
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return (labels > 0) & np.any([one != labels for one in around], axis=0)


@settings(deadline=None)
@given(label_images(), st.sampled_from([0, 1, 1.5, 2, 3]))
def test_boundaries_equal_distances_between_all_pixels(
    images: list[np.ndarray], tolerance: float
) -> None:
    lines = [np.argwhere(outline(labels)) for labels in images]
    apart = np.sqrt(((lines[0][:, None] - lines[1][None]) ** 2).sum(axis=2))
    near = apart <= tolerance
    found = compare_boundaries(*images, tolerance)
    assert (found.true, found.pred) == (len(lines[0]), len(lines[1]))
    assert found.true_found == near.any(axis=1).sum()
    assert found.pred_right == near.any(axis=0).sum()


@pytest.mark.parametrize("tolerance", [0, 1, 3])
@pytest.mark.parametrize("size", [1, 3])
def test_boundaries_are_the_same_in_bands(
    monkeypatch: pytest.MonkeyPatch, tolerance: int, size: int
) -> None:
    from cellseg_core.metrics import boundary

    rng = np.random.default_rng(0)
    # Among few objects, only one is near at most.
    truth, pred = (
        np.kron(ids * (rng.random(ids.shape) < 0.1), np.ones((size, size), int))
        for ids in rng.integers(1, 9, (2, 60 // size, 30))
    )
    whole = compare_boundaries(truth, pred, tolerance)
    rows = [slice(start, start + 2) for start in range(0, 60, 2)]
    monkeypatch.setattr(boundary, "row_bands", lambda _: rows)
    assert compare_boundaries(truth, pred, tolerance) == whole


def test_outlines_are_compared_within_2_px_unless_said_otherwise() -> None:
    truth = np.pad(np.ones((1, 1), int), ((0, 0), (0, 5)))
    right = [
        Evaluation.of(truth, np.roll(truth, shift)).figures()["boundary_f1"] for shift in range(5)
    ]
    assert right == [1, 1, 1, 0, 0]
    assert Evaluation.of(truth, truth).tolerance == 2


def test_a_tolerance_that_makes_no_sense_is_refused() -> None:
    labels = np.ones((3, 3), int)
    for wrong in (-1, 51, math.nan):
        with pytest.raises(ConfigurationError, match="from 0 to 50 px"):
            Evaluation.of(labels, labels, tolerance=wrong)


def test_messages_name_the_image() -> None:
    with pytest.raises(ImageError, match="the prediction of a: a label image holds integers"):
        Evaluation.of(np.ones((3, 3), int), np.ones((3, 3)), "a")


def test_a_prediction_over_many_true_objects_counts_for_each_in_the_index_of_kumar() -> None:
    overlap = Overlap.of(np.array([[1, 1, 2, 2, 0]]), np.array([[9, 9, 9, 9, 9]]))
    assert aggregated_jaccard(overlap).index == 4 / 10
    assert one_to_one_jaccard(overlap).index == 2 / 5


def blobs(seed: int, objects: int = 12) -> np.ndarray:
    """Return a label image (40, 40) of patches around random points, some of them background."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 40, (objects, 2))
    pixels = np.stack(np.mgrid[:40, :40], axis=-1)
    nearest = ((pixels[:, :, None] - points) ** 2).sum(axis=-1).argmin(axis=-1)
    return np.where(rng.random(objects) < 0.7, np.arange(1, objects + 1), 0)[nearest]


@pytest.mark.parametrize("seed", range(20))
def test_the_one_to_one_index_is_that_of_the_best_assignment(seed: int) -> None:
    from scipy.optimize import linear_sum_assignment

    truth, pred = blobs(seed), blobs(seed + 100)
    scores = np.array([[iou_of(a, b) for b in objects(pred)] for a in objects(truth)])
    rows, columns = linear_sum_assignment(-((scores > 0.5) + scores / (2 * min(scores.shape))))
    common = sum(
        int((objects(truth)[row] & objects(pred)[column]).sum())
        for row, column in zip(rows, columns, strict=True)
    )
    found = one_to_one_jaccard(Overlap.of(truth, pred))
    assert (found.common, found.union) == (common, np.count_nonzero(truth | pred))
