"""Labels become objects: each in one piece, without holes."""

from __future__ import annotations

import numpy as np
import pytest

from cellseg_core.objects import compact, tidy


def test_tidying_keeps_the_largest_piece_and_fills_holes() -> None:
    labels = np.zeros((12, 14), np.uint16)
    labels[1:8, 1:8] = 3
    labels[3:5, 3:5] = 0  # a hole
    labels[6, 6] = 0  # a hole in a corner
    labels[10, 1:3] = 3  # a crumb of 3
    labels[1:6, 9:13] = 8
    labels[3, 10] = 5  # another object inside 8
    labels[0, 9], labels[0, 12] = 8, 8
    found = tidy(labels)
    assert (found[1:8, 1:8] == 3).all()
    assert not found[10].any()
    assert found[3, 10] == 5
    assert not found[0, 10:12].any(), "a bay at the edge is not a hole"
    assert found.dtype == np.int32


@pytest.mark.parametrize("turns", range(4))
def test_a_bay_at_any_edge_of_the_array_is_not_a_hole(turns: int) -> None:
    labels = np.zeros((7, 11), int)
    labels[2:, 1:10] = 4
    labels[4:, 3:6] = 0
    labels[6, 7] = 0  # of 1 px
    labels = np.rot90(labels, turns)
    assert np.array_equal(tidy(labels), labels)


@pytest.mark.parametrize("background", [0, 7])
def test_ids_of_any_size_are_numbered_in_their_order(background: int) -> None:
    labels = np.array([[background, 2_000_000_000], [30, 30]])
    numbered, ids = compact(labels)
    there = [30, 2_000_000_000] if background == 0 else [7, 30, 2_000_000_000]
    assert ids.tolist() == there
    assert numbered.max() == len(there)
    assert np.array_equal(np.array([0, *there])[numbered], labels)


def test_a_hole_between_two_objects_is_not_filled() -> None:
    labels = np.ones((5, 6), int)
    labels[:, 3:] = 2
    labels[2, 2:4] = 0
    assert not tidy(labels)[2, 2:4].any()


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    labels = np.array([[4, 0, 0], [0, 4, 0], [0, 0, 4]])
    assert np.array_equal(tidy(labels), labels)


def test_the_only_gap_of_an_array_is_filled() -> None:
    labels = np.full((3, 4), 4)
    labels[1, 2] = 0
    assert (tidy(labels) == 4).all()


def test_a_hole_that_meets_the_outside_at_a_corner_is_filled() -> None:
    labels = np.zeros((6, 6), int)
    labels[1:5, 1:5] = 4
    labels[1, 1] = labels[2, 2] = 0
    found = tidy(labels)
    assert found[2, 2] == 4
    assert found[1, 1] == 0


def test_of_each_object_in_pieces_the_largest_stays() -> None:
    labels = np.array([[1, 0, 1, 1, 0, 2, 0, 2, 2], [0] * 9, [3, 3, 0, 3, 0, 4, 0, 0, 0]])
    assert tidy(labels).tolist() == [
        [0, 0, 1, 1, 0, 0, 0, 2, 2],
        [0] * 9,
        [3, 3, 0, 0, 0, 4, 0, 0, 0],
    ]
