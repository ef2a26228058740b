"""Compensators of either kind are run alike, and what they return is checked."""

from __future__ import annotations

import numpy as np
import pytest

from cellseg_core.compensating import moved, run_compensator
from cellseg_core.errors import ConfigurationError, ImageError, SegmentationError
from cellseg_core.image import Image
from cellseg_core.protocols import Compensation

IMAGE = Image(np.ones((1, 1, 3)), name="slide")
LABELS = np.array([[1, 2, 3]], np.int32)
MEANS = np.array([[4.0], [np.nan], [np.inf]])


def run(answer):
    class Made:
        def compensate(self, labels, means):
            if isinstance(answer, Exception):
                raise answer
            return answer

    return run_compensator(Made(), IMAGE, LABELS, MEANS)


def test_arrays_and_compensations_are_taken() -> None:
    after = np.array([[3.0], [np.nan], [np.nan]])
    assert run(after).means is after
    assert dict(run(after).facts) == {}
    assert dict(run(Compensation(after, {"sweeps": 3})).facts) == {"sweeps": 3}
    assert run([[3], [np.nan], [np.inf]]).means.dtype == np.float64


def test_a_compensator_that_asks_for_pixels_gets_them() -> None:
    class Sees:
        def compensate(self, labels, means):
            raise AssertionError

        def compensate_image(self, image, labels, means):
            return means * image.read(0).mean()

    means = np.ones((3, 1))
    assert np.array_equal(run_compensator(Sees(), IMAGE, LABELS, means).means, means)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.ones((2, 1)), r"broke a rule: means must keep their shape \(3, 1\); got \(2, 1\)"),
        (np.array([["a"], ["b"], ["c"]]), "means must be numbers"),
        (np.array([[-1.0], [np.nan], [0]]), "not be negative; the lowest is -1"),
        (np.array([[1.0], [2.0], [0]]), "without a mean"),
        (np.array([[np.nan], [np.nan], [0]]), "1 means became NaN"),
        (None, "means must keep their shape"),
        (ValueError("no luck"), r"slide: Made failed \(ValueError: no luck\)"),
    ],
)
def test_a_compensator_that_breaks_a_rule_is_named(answer, message) -> None:
    with pytest.raises(SegmentationError, match=message):
        run(answer)


def test_errors_with_a_message_for_the_user_come_through() -> None:
    with pytest.raises(ImageError, match="as it is"):
        run(ImageError("as it is"))


def test_what_is_no_compensator_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="neither a method compensate"):
        run_compensator(object(), IMAGE, LABELS, MEANS)


def test_moved_signal_is_told_for_each_channel() -> None:
    before = np.array([[10.0, 0, np.nan], [5, 0, 3], [5, 0, 1]])
    after = np.array([[12.0, 0, np.nan], [0, 0, 2], [4, 0, 2]])
    signal, nothing, conserved = moved(before, after, np.array([2, 4, 4]))
    assert signal == {"removed": 0.4, "added": 0.066667, "net": -0.333333, "emptied": 0.333333}
    assert set(nothing.values()) == {0}
    assert conserved == {"removed": 0.25, "added": 0.25, "net": 0, "emptied": 0}
    assert moved(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, int))[1]["net"] == 0
    assert moved(np.array([[5.0]]), np.array([[0.0]]), np.array([2])) == [
        {"removed": 1, "added": 0, "net": -1, "emptied": 1}
    ]


def test_signal_under_one_count_is_told_as_well() -> None:
    before, after = np.array([[0.4], [0.1]]), np.array([[0.1], [0.4]])
    assert moved(before, after, np.array([1, 1])) == [
        {"removed": 0.6, "added": 0.6, "net": 0, "emptied": 0}
    ]
