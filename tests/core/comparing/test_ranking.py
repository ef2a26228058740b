"""Which method is marked as the best, and which as close to it."""

from __future__ import annotations

import numpy as np

from cellseg_core.comparing.accuracy_tables import accuracy_table, size_table, verdict
from cellseg_core.comparing.method import Method
from cellseg_core.comparing.ranking import ACCURACY, Scores, best_of, default_methods, rank
from cellseg_core.comparing.shown import ImagesDone
from cellseg_core.config import RunConfig
from cellseg_core.metrics import Evaluation, summary

SHAPE = (40, 120)


def squares(count: int, size: int = 6) -> np.ndarray:
    labels = np.zeros(SHAPE, np.int32)
    for number in range(count):
        labels[4 : 4 + size, 10 * number + 1 : 10 * number + 1 + size] = number + 1
    return labels


def scores(found: list[np.ndarray], truth: list[np.ndarray]) -> Scores:
    evaluations = [
        Evaluation.of(true, pred, f"image {number}")
        for number, (true, pred) in enumerate(zip(truth, found, strict=False))
    ]
    return Scores(evaluations, summary(evaluations))


def test_the_best_of_each_column_is_marked_and_fewer_mistakes_are_better() -> None:
    truth = [squares(8)] * 6
    marks = rank({"all": scores(truth, truth), "half": scores([squares(4)] * 6, truth)}, 6)
    assert marks["mean_ap"] == {"all": "best"}
    assert marks["recall_50"] == {"all": "best"}
    assert marks["missed"] == {"all": "best"}
    assert marks["count_ratio"] == {"all": "best"}
    # Neither splits, nor invents anything.
    for same in ("splits", "invented", "precision_50"):
        assert marks[same] == {"all": "best", "half": "best"}


def test_a_method_that_is_better_in_some_images_and_worse_in_others_is_close() -> None:
    truth = [squares(8)] * 12
    one = [squares(6 + number % 3) for number in range(12)]
    other = [squares(8 - number % 3 - (number == 0)) for number in range(12)]
    marks = rank({"one": scores(one, truth), "other": scores(other, truth)}, 12)
    assert marks["recall_50"] == {"one": "best", "other": "close"}


def test_a_small_difference_in_every_image_is_one_though_the_intervals_overlap() -> None:
    truth = [squares(11)] * 8
    better = [squares(count) for count in (2, 11, 4, 9, 3, 11, 6, 8)]
    worse = [squares(count) for count in (1, 10, 3, 8, 2, 10, 5, 7)]
    found = {"better": scores(better, truth), "worse": scores(worse, truth)}
    both = [one.summary.figures["recall_50"].mean_over_images for one in found.values()]
    assert both[1].high is not None
    assert both[0].low is not None
    assert both[1].high > both[0].low
    assert rank(found, 8)["recall_50"] == {"better": "best"}


def test_a_method_that_left_images_out_is_not_marked() -> None:
    truth = [squares(8)] * 4
    marks = rank(
        {
            "lucky": scores(truth[:1], truth),
            "whole": scores([squares(6)] * 4, truth),
            "worse": scores([squares(3)] * 4, truth),
        },
        4,
    )
    assert marks["mean_ap"] == {"whole": "best"}


def test_one_image_has_a_best_and_nothing_close_and_one_method_has_no_rank() -> None:
    truth = [squares(8)]
    found = {"a": scores([squares(7)], truth), "b": scores([squares(6)], truth)}
    assert rank(found, 1)["mean_ap"] == {"a": "best"}
    assert not any(rank({"a": found["a"]}, 1).values())
    assert "One image says little" in verdict(found, 1, [])[0]
    assert verdict({"a": found["a"]}, 1, ["a"]) == []


def test_values_that_look_alike_are_ties_and_unknown_ones_are_no_best() -> None:
    assert best_of({"a": 0.12345, "b": 0.12349, "c": None}) == ["a", "b"]
    assert best_of({"a": 1.0, "b": None}) == []
    assert best_of({"a": 1.0, "b": 2.0}, "neither") == []


def test_the_report_says_where_the_default_is_not_the_best() -> None:
    truth = [squares(8)] * 6
    found = {"default": scores([squares(4)] * 6, truth), "other": scores(truth, truth)}
    leader, own = verdict(found, 6, ["default"])
    assert leader.startswith("By mAP, the mean over 6 images, other is best (1.000")
    assert own.startswith("The default segmenter (default) is not the best in mAP, AP50")
    assert "Precision 50" not in own
    assert verdict(found, 6, ["other"])[1].endswith("is best, or among the best, in all.")


def test_empty_truth_and_predictions_have_dashes_and_no_rank_by_them() -> None:
    empty = [squares(0)] * 3
    found = {"a": scores(empty, empty), "b": scores(empty, empty)}
    table = accuracy_table(found, ImagesDone(3), "nuclei", pooled=False)
    row = dict(zip([c.title for c in table.columns], table.rows[0][1], strict=True))
    assert row["Recall 50"].text == "\u2013"
    assert row["mAP"].text == "1.000"
    assert rank(found, 3)["recall_50"] == {}
    assert size_table(found, ImagesDone(3), "nuclei") is None


def test_the_tables_have_a_row_for_each_method_and_all_columns() -> None:
    truth = [squares(8)] * 3
    found = {"a": scores(truth, truth), "b": scores([squares(2)] * 3, truth)}
    done = ImagesDone(4, {"b": 3})
    for pooled in (False, True):
        table = accuracy_table(found, done, "nuclei", pooled=pooled)
        assert [name for name, _ in table.rows] == ["a", "b\u00a0\u2020"]
        assert len(table.columns) == len(ACCURACY)
    sizes = size_table(found, done, "nuclei")
    assert sizes is not None
    assert [name for name, _ in sizes.rows] == ["a", "b\u00a0\u2020"]


def test_a_better_method_without_all_images_is_not_said_to_be_worse() -> None:
    truth = [squares(8)] * 12
    found = {
        "maskrcnn": scores(truth[:11], truth),
        "one": scores([squares(5)] * 12, truth),
        "other": scores([squares(5)] * 12, truth),
    }
    said = verdict(found, 12, ["maskrcnn"])
    assert said[0].startswith(
        "By mAP, the mean over 12 images, one and other are best of the methods that did all (0.625"
    )
    assert said[1:] == ["maskrcnn did 11 of 12 images and is not ranked."]


def test_methods_that_each_left_out_another_image_are_not_ranked() -> None:
    truth = [squares(8)] * 4
    found = {"a": scores(truth[:3], truth), "b": scores([squares(4)] * 3, truth)}
    assert not any(rank(found, 4).values())
    assert verdict(found, 4, ["a"]) == [
        "No method did all 4 images, so that there is nothing to rank.",
        "a did 3 of 4 images and is not ranked.",
        "b did 3 of 4 images and is not ranked.",
    ]
    found["c"] = scores(truth, truth)
    assert verdict(found, 4, ["c"])[0].startswith("Only c did all 4 images")
    assert len(verdict(found, 4, ["c"])) == 3


def test_with_few_images_the_verdict_says_that_intervals_are_too_narrow() -> None:
    for images, few in ((9, True), (10, False)):
        truth = [squares(8)] * images
        found = {"a": scores(truth, truth), "b": scores([squares(4)] * images, truth)}
        assert ("every interval is too narrow" in verdict(found, images, [])[0]) == few


def test_a_default_that_found_nothing_is_not_said_to_be_worse_in_what_is_not_known() -> None:
    truth = [squares(8)] * 3
    found = {"default": scores([squares(0)] * 3, truth), "other": scores(truth, truth)}
    assert found["default"].value(ACCURACY[3], pooled=False) is None
    own = verdict(found, 3, ["default"])[1]
    assert "Recall 50" in own
    assert "Precision 50" not in own


def test_only_the_default_segmenter_as_it_comes_is_the_default() -> None:
    methods = [
        Method.parse("mine=maskrcnn,weights=mine.weights.h5"),
        Method.parse("plain=maskrcnn"),
        Method.of("stardist"),
        Method.of("elsewhere/maskrcnn"),
    ]
    assert default_methods(methods, RunConfig()) == ["plain"]
    assert default_methods(methods, RunConfig(set={"maskrcnn": {"quality": "high"}})) == []


def test_of_cells_the_tables_say_cells() -> None:
    truth = [squares(8)] * 3
    found = {"a": scores(truth, truth), "b": scores([squares(2)] * 3, truth)}
    for pooled in (False, True):
        table = accuracy_table(found, ImagesDone(3), "cells", pooled=pooled)
        told = table.caption + "".join(column.meaning for column in table.columns)
        assert "nucle" not in told
        assert "{" not in told
        assert "True cells cut into two or more." in told
