"""Splits, merges, missed and invented objects: what counts as which, and where it is."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellseg_core.metrics import FRAGMENT, Mistakes, Overlap, find_mistakes


def row(*runs: tuple[int, int]) -> np.ndarray:
    """Return a label image of one row from (value, pixels)."""
    return np.repeat([value for value, _ in runs], [pixels for _, pixels in runs])[None]


def found(truth: np.ndarray, pred: np.ndarray) -> Mistakes:
    return find_mistakes(Overlap.of(truth, pred))


def counts(mistakes: Mistakes) -> list[int]:
    return [
        len(one) for one in (mistakes.splits, mistakes.merges, mistakes.missed, mistakes.invented)
    ]


def test_a_split_has_its_parts_and_its_place_and_is_not_missed() -> None:
    truth = np.zeros((9, 20), int)
    truth[2:6, 4:14] = 3
    pred = np.zeros_like(truth)
    pred[2:6, 4:9], pred[2:6, 9:14] = 8, 5
    mistakes = found(truth, pred)
    assert counts(mistakes) == [1, 0, 0, 0]
    assert list(mistakes.rows()) == [
        {"mistake": "split", "id": 3, "y": 3.5, "x": 8.5, "area": 40, "best_iou": 0.5,
         "parts": (5, 8)}
    ]  # fmt: skip


def test_a_row_has_places_to_a_hundredth_of_a_px_and_iou_to_four_digits() -> None:
    truth, pred = np.zeros((2, 9, 9), int)
    truth[2, 2:4] = truth[3, 2] = 1
    pred[2, 2] = pred[5:, 8] = 6
    missed, invented = find_mistakes(Overlap.of(truth, pred)).rows()
    assert (missed["y"], missed["x"], missed["best_iou"]) == (2.33, 2.33, 0.1429)
    assert (invented["y"], invented["x"], invented["best_iou"]) == (5.6, 6.8, 0.1429)


def test_a_merge_is_a_split_with_the_roles_changed() -> None:
    truth, pred = row((1, 10), (2, 10), (0, 5)), row((7, 20), (0, 5))
    mistakes = found(truth, pred)
    assert counts(mistakes) == [0, 1, 0, 0]
    assert mistakes.merges.ids.tolist() == [7]
    assert mistakes.merges.parts == ((1, 2),)
    turned = found(pred, truth)
    assert turned.splits.ids.tolist() == [7]
    assert turned.splits.parts == ((1, 2),)


def test_a_split_object_with_a_match_counts_as_found_and_split() -> None:
    mistakes = found(row((1, 10)), row((4, 7), (5, 3)))
    assert counts(mistakes) == [1, 0, 0, 0]
    assert mistakes.splits.best_iou.tolist() == [0.7]


def test_crumbs_under_the_stated_share_make_no_split() -> None:
    assert FRAGMENT == 0.1
    assert counts(found(row((1, 100)), row((4, 90), (5, 10)))) == [1, 0, 0, 0]
    assert counts(found(row((1, 100)), row((4, 91), (5, 9)))) == [0, 0, 0, 1]


def test_a_part_must_lie_mostly_inside() -> None:
    # Of object 5, half of the pixels are inside, which is not most; then one more.
    assert counts(found(row((1, 20), (0, 10)), row((4, 10), (5, 20)))) == [0, 0, 1, 2]
    assert counts(found(row((1, 20), (0, 9)), row((4, 10), (5, 19)))) == [1, 0, 0, 0]


def test_missed_and_invented_have_no_match_and_tell_what_is_there() -> None:
    truth = row((1, 10), (0, 10), (2, 10), (0, 10))
    pred = row((0, 5), (6, 10), (0, 15), (7, 10))
    mistakes = found(truth, pred)
    assert mistakes.missed.ids.tolist() == [1, 2]
    assert mistakes.missed.best_iou.tolist() == [5 / 15, 0]
    assert mistakes.missed.centroids.tolist() == [[0, 4.5], [0, 24.5]]
    assert mistakes.invented.ids.tolist() == [6, 7]
    assert [one["mistake"] for one in mistakes.rows()] == ["missed"] * 2 + ["invented"] * 2


def test_three_parts_of_two_objects_are_told_apart() -> None:
    truth = row((9, 30), (2, 20))
    pred = row((4, 10), (6, 10), (1, 10), (3, 10), (8, 10))
    mistakes = found(truth, pred)
    assert mistakes.splits.ids.tolist() == [2, 9]
    assert mistakes.splits.parts == ((3, 8), (1, 4, 6))


def test_empty_images_have_only_missed_or_invented_objects() -> None:
    assert counts(found(row((0, 9)), row((0, 9)))) == [0, 0, 0, 0]
    assert counts(found(row((1, 9)), row((0, 9)))) == [0, 0, 1, 0]
    assert counts(found(row((0, 9)), row((1, 9)))) == [0, 0, 0, 1]


@settings(deadline=None)
@given(arrays(np.int32, (2, 6, 6), elements=st.integers(0, 5)))
def test_every_object_is_matched_or_explained_or_listed_once(images: np.ndarray) -> None:
    overlap = Overlap.of(*images)
    mistakes = find_mistakes(overlap)
    matched = set(overlap.true_ids[overlap.true_index[overlap.matched()]].tolist())
    parts = {one for group in mistakes.merges.parts for one in group}
    split, missed = set(mistakes.splits.ids.tolist()), set(mistakes.missed.ids.tolist())
    assert matched | parts | split | missed == set(overlap.true_ids.tolist())
    assert not missed & (matched | parts | split)
    turned = find_mistakes(Overlap.of(*images[::-1]))
    assert turned.splits.parts == mistakes.merges.parts
    assert turned.missed.ids.tolist() == mistakes.invented.ids.tolist()
