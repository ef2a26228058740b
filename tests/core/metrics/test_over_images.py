"""Figures over several images: means, pooled figures, sizes and intervals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.metrics import Evaluation, draws, mean_average_precision, summary
from cellseg_core.metrics.bootstrap import resampled_figures


def image(found: int, missed: int, width: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return a truth of bars with gaps, and a prediction that has the first ``found`` of them."""
    number = found + missed
    truth = np.zeros((1, number * (width + 1) + 1), int)
    for bar in range(number):
        truth[0, bar * (width + 1) : bar * (width + 1) + width] = bar + 1
    return truth, np.where(truth <= found, truth, 0)


def test_the_mean_weighs_images_and_the_pooled_figure_objects() -> None:
    images = [image(1, 0), image(0, 9)]
    result = summary([Evaluation.of(*one) for one in images])
    recall = result.figures["recall_50"]
    assert recall.mean_over_images.value == 0.5
    assert recall.pooled.value == 0.1
    assert result.figures["mean_ap"].mean_over_images.value == mean_average_precision(images)
    assert (result.true_objects, result.predicted_objects, result.missed) == (10, 1, 9)


def test_an_image_without_a_figure_is_left_out_of_its_mean() -> None:
    nothing = np.zeros((1, 9), int)
    result = summary([Evaluation.of(*image(3, 1)), Evaluation.of(nothing, nothing)])
    assert result.figures["recall_50"].mean_over_images.value == 0.75
    assert result.figures["recall_50"].images == 1
    # Of draws that hold the other image alone there is no recall either, rather than one of 0.
    assert result.figures["recall_50"].mean_over_images.low == 0.75
    assert result.figures["ap_50"].mean_over_images.value == (0.75 + 1) / 2
    empty = summary([Evaluation.of(nothing, nothing)] * 2)
    assert empty.figures["recall_50"].pooled.value is None
    assert empty.figures["recall_50"].mean_over_images.value is None
    assert empty.figures["ap_50"].pooled.value == 1
    assert empty.size_edges is None


def test_one_image_has_no_interval_and_equal_values() -> None:
    result = summary([Evaluation.of(*image(3, 1))])
    for figure in result.figures.values():
        assert figure.mean_over_images == figure.pooled
        assert figure.pooled.low is figure.pooled.high is None


def test_the_interval_is_that_of_a_bootstrap_done_by_hand() -> None:
    evaluations = [Evaluation.of(*image(found, 9 - found)) for found in (1, 3, 5, 8, 9)]
    recalls = np.array([one.figures()["recall_50"] for one in evaluations])
    counts = np.concatenate(list(draws(5, 300, seed=4)))
    means = counts @ recalls / 5
    figure = summary(evaluations, resamples=300, seed=4).figures["recall_50"]
    assert [figure.mean_over_images.low, figure.mean_over_images.high] == pytest.approx(
        np.percentile(means, [2.5, 97.5])
    )
    # All images have nine objects, so both ways of taking them together agree.
    assert figure.pooled.low == pytest.approx(figure.mean_over_images.low)
    assert summary(evaluations, 300, 5).figures["recall_50"] != figure
    assert summary(evaluations, 300, 4).figures["recall_50"] == figure


def test_draws_do_not_depend_on_their_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    from cellseg_core.metrics import bootstrap

    whole = np.concatenate(list(draws(7, 100)))
    monkeypatch.setattr(bootstrap, "_VALUES", 40)
    assert np.array_equal(np.concatenate(list(draws(7, 100))), whole)
    assert whole.shape == (100, 7)
    assert (whole.sum(axis=1) == 7).all()


def test_draws_of_very_many_images_come_one_by_one_and_are_always_the_same() -> None:
    assert [len(counts) for counts in draws(2_000_001, resamples=2)] == [1, 1]
    (first,) = draws(4, resamples=3)
    assert first.tolist() == [[1, 0, 0, 3], [0, 2, 2, 0], [1, 1, 1, 1]]
    assert np.array_equal(next(draws(4, resamples=3, seed=0)), first)


def test_a_draw_leaves_images_out_that_have_no_figure() -> None:
    nothing, some = np.zeros((5, 7), int), Evaluation.of(*image(3, 1))
    sums = {
        name: np.array([value, Evaluation.of(nothing, nothing).sums()[name]])
        for name, value in some.sums().items()
    }
    drawn = resampled_figures(sums, resamples=50)[0]["recall_50"]
    (counts,) = draws(2, resamples=50)
    assert np.array_equal(drawn, np.where(counts[:, 0] > 0, 0.75, np.nan), equal_nan=True)
    assert {0, 1, 2} == set(counts[:, 0].tolist())


def test_an_interval_covers_the_true_mean_in_about_95_of_100_cases() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        evaluations = [Evaluation.of(*image(n, 20 - n)) for n in rng.binomial(20, 0.6, 40)]
        interval = summary(evaluations, resamples=200).figures["recall_50"].mean_over_images
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= 0.6 <= interval.high
    assert 88 <= covered <= 100


def test_recall_by_size_takes_quartiles_of_all_true_areas() -> None:
    # Areas 1 to 4, 5 objects each; all but those of 1 px are found.
    evaluations = [Evaluation.of(*image(0, 5, 1))]
    evaluations += [Evaluation.of(*image(5, 0, width)) for width in (2, 3, 4)]
    result = summary(evaluations)
    assert result.size_edges == (1.75, 2.5, 3.25)
    assert result.size_objects == (5, 5, 5, 5)
    recall = [result.figures[f"recall_size_{size}"].pooled.value for size in (1, 2, 3, 4)]
    assert recall == [0, 1, 1, 1]
    same = summary([Evaluation.of(*image(3, 1))])
    assert same.size_edges == (3, 3, 3)
    assert same.size_objects == (4, 0, 0, 0), "an area at an edge is of the smaller size"
    assert same.figures["recall_size_2"].pooled.value is None


def test_everything_can_be_written_as_json() -> None:
    nothing = np.zeros((1, 9), int)
    result = summary([Evaluation.of(*image(3, 1)), Evaluation.of(nothing, nothing)])
    text = json.dumps(result.as_dict(), allow_nan=False)
    assert json.loads(text)["figures"]["recall_50"]["pooled"]["value"] == 0.75


def test_what_cannot_be_taken_together_is_refused() -> None:
    with pytest.raises(ImageError, match="no image"):
        summary([])
    one, other = (Evaluation.of(*image(1, 1), tolerance=tolerance) for tolerance in (1, 2))
    with pytest.raises(ConfigurationError, match=r"different tolerances.*1, 2 px"):
        summary([one, other])
