"""Agreement between methods: matches, what only one finds, and where they differ most."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellseg_core.comparing.agreement import (
    Agreement,
    Disagreement,
    Sizes,
    alone,
    alone_facts,
    compare_pair,
)
from cellseg_core.errors import ConfigurationError, ImageError


def row(text: str) -> np.ndarray:
    """Return a label image of one row: a digit for each pixel, a dot for background."""
    return np.array([[0 if letter == "." else int(letter) for letter in text]])


def test_hand_worked_figures() -> None:
    # 1: the same; 2: IoU 2/4; 3: joined by the other with its neighbour 4; 5: only here.
    first = row("111.2222.3344.5555.....")
    second = row("111.22...6666......7777")
    pair = compare_pair(first, second)
    assert pair.first.best_iou.tolist() == [1, 0.5, 0.5, 0.5, 0]
    assert pair.first.covered.tolist() == [1, 0.5, 1, 1, 0]
    assert pair.first.matched.tolist() == [True, False, False, False, False]
    assert pair.first.alone.tolist() == [False, False, False, False, True]
    assert pair.second.alone.tolist() == [False, False, False, True]
    facts = Agreement.of([pair]).facts()
    assert facts == {
        "images": 1,
        "first": 5,
        "second": 4,
        "matched": 1,
        "f1": 2 / 9,
        "mean_iou": 1.0,
        "first_unmatched": 4,
        "second_unmatched": 3,
        "first_alone": 1,
        "second_alone": 1,
    }


def test_counts_are_pooled_and_not_averaged_over_images() -> None:
    empty = compare_pair(row("....."), row(".1..."))
    full = compare_pair(row("11.22"), row("11.22"))
    agreement = Agreement.of(iter([empty, full]))
    assert (agreement.images, agreement.matched, agreement.f1) == (2, 2, 4 / 5)


def test_a_nucleus_cut_joined_or_grazed_is_not_found_by_one_alone() -> None:
    one = row("1111111111")
    for other, by_one_alone in (
        ("..........", True),
        ("22........", False),  # a small object is there: IoU 0.2
        ("1122334455", False),  # cut
        ("1111111111", False),
    ):
        assert compare_pair(one, row(other)).first.alone.tolist() == [by_one_alone]
    # A neighbour that is drawn too wide reaches in: 2 of 10 px, 3 of 10 px.
    for reach, by_one_alone in ((2, True), (3, False)):
        labels, wide = np.zeros((1, 60), int), np.zeros((1, 60), int)
        labels[0, :10], wide[0, 10 - reach : 55] = 1, 1
        assert compare_pair(labels, wide).first.alone.tolist() == [by_one_alone]


def test_alone_means_that_none_of_the_others_finds_it() -> None:
    one = row("11.22.33")
    others = [compare_pair(one, row(text)).first for text in ("44......", ".....55.")]
    assert alone(others).tolist() == [False, True, False]
    assert alone(others[:1]).tolist() == [False, True, True]
    facts = alone_facts("a.tif", others)
    assert facts == [{"image": "a.tif", "id": 2, "y": 0.0, "x": 3.5, "area": 2}]
    json.dumps(facts)
    assert alone([]).size == 0
    assert alone_facts("a.tif", []) == []


def test_without_objects_there_is_no_figure() -> None:
    empty = np.zeros((4, 5), int)
    agreement = Agreement.of([compare_pair(empty, empty)])
    assert (agreement.f1, agreement.mean_iou, agreement.first_alone) == (None, None, 0)
    assert Agreement.of([]).f1 is None
    one = Agreement.of([compare_pair(empty, np.ones((4, 5), int))])
    assert (one.f1, one.mean_iou, one.second_alone) == (0, None, 1)
    assert Sizes.of([]) == Sizes.of([np.empty(0, int)])
    assert Sizes.of([]).facts()["area_median"] is None


@given(seed=st.integers(0, 999), top=st.integers(0, 9), other_top=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_laws(seed: int, top: int, other_top: int) -> None:
    rng = np.random.default_rng(seed)
    one = np.kron(rng.integers(0, top + 1, (4, 5)) * 3, np.ones((2, 2), int))
    other = rng.integers(0, other_top + 1, (8, 10)).astype(np.uint16)
    pair = compare_pair(one, other)
    mirrored = compare_pair(other, one)
    for side, same in ((pair.first, mirrored.second), (pair.second, mirrored.first)):
        assert np.array_equal(side.best_iou, same.best_iou)
        assert np.array_equal(side.covered, same.covered)
        assert ((side.best_iou >= 0) & (side.best_iou <= side.covered + 1e-12)).all()
        assert (side.covered <= 1).all()
        assert not (side.matched & side.alone).any()
    assert pair.first.matched.sum() == pair.second.matched.sum()
    found = Agreement.of([pair])
    assert found.matched + found.first_alone <= found.first
    same = compare_pair(one, one)
    assert (same.first.best_iou == 1).all()
    assert Disagreement.of([same], edge=3).worst(9) == []
    disagreement = Disagreement.of([pair], edge=3)
    assert disagreement.total.sum() == (np.sum(one > 0) + np.sum(other > 0)) / 2
    assert (disagreement.disputed <= disagreement.total + 1e-9).all()


def test_the_worst_windows_come_first_and_stay_inside_the_image() -> None:
    one, other = np.zeros((50, 70), int), np.zeros((50, 70), int)
    one[1:4, 1:4] = 1  # 9 px in the window (0, 0)
    one[42:49, 61:69] = 2  # 56 px in the last window, which is cut off
    one[22:26, 22:26] = other[22:26, 22:26] = 3
    disagreement = Disagreement.of([compare_pair(one, other)], edge=20)
    assert disagreement.disputed.shape == (3, 4)
    assert disagreement.disputed.sum() == (9 + 56) / 2
    assert disagreement.worst(1) == [(40, 50, 60, 70)]
    assert disagreement.worst(5) == [(40, 50, 60, 70), (0, 20, 0, 20)]
    assert disagreement.worst(0) == []


def test_bad_input_is_refused() -> None:
    with pytest.raises(ImageError, match=r"stardist and cellpose must have one size"):
        compare_pair(np.zeros((2, 3), int), np.zeros((3, 2), int), names=("stardist", "cellpose"))
    with pytest.raises(ImageError, match="integers"):
        compare_pair(np.zeros((2, 3)), np.zeros((2, 3), int))
    with pytest.raises(ConfigurationError, match="at least 1 px"):
        Disagreement.of([], edge=0)
