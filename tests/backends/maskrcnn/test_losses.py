"""The losses against numbers worked out by hand, and at the ends of the range of floats."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from keras import ops

from cellseg_backends.maskrcnn.losses import cross_entropy, focal, mask_loss, smooth_l1


def numbers(value: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(value))


def tensors(*values: object) -> list[object]:
    return [ops.convert_to_tensor(np.asarray(value, np.float32)) for value in values]


class TestCrossEntropy:
    def test_is_minus_the_log_likelihood(self) -> None:
        rng = np.random.default_rng(0)
        logits, targets = rng.normal(0, 3, 100), rng.random(100)
        chance = 1 / (1 + np.exp(-logits))
        expected = -targets * np.log(chance) - (1 - targets) * np.log(1 - chance)
        np.testing.assert_allclose(
            numbers(cross_entropy(*tensors(logits, targets))), expected, rtol=1e-4
        )

    def test_of_extreme_logits_is_their_distance_to_the_right_side(self) -> None:
        logits, targets = [1e4, 1e4, -1e4, -1e4, 0.0], [1, 0, 1, 0, 0.5]
        np.testing.assert_allclose(
            numbers(cross_entropy(*tensors(logits, targets))), [0, 1e4, 1e4, 0, math.log(2)]
        )


class TestFocal:
    def test_weighs_classes_and_hard_cases(self) -> None:
        # Probability 3/4; of the three elements that count, one is positive.
        logit = math.log(3)
        positive = 0.25 * 0.25**2 * -math.log(0.75)
        negative = 0.75 * 0.75**2 * -math.log(0.25)
        found = focal(*tensors([logit] * 4, [1, 0, 0, 0], [1, 1, 1, 0]))
        assert float(found) == pytest.approx(positive + 2 * negative, rel=1e-5)

    def test_is_shared_among_the_positives(self) -> None:
        one = float(focal(*tensors([1.0, -1.0], [1, 0], [1, 1])))
        many = float(focal(*tensors([1.0, -1.0] * 7, [1, 0] * 7, [1] * 14)))
        assert many == pytest.approx(one, rel=1e-5)

    def test_without_positives_is_the_sum(self) -> None:
        found = float(focal(*tensors([0.0] * 3, [0] * 3, [1] * 3)))
        assert found == pytest.approx(3 * 0.75 * 0.25 * math.log(2), rel=1e-5)


class TestSmoothL1:
    def test_is_a_parabola_near_zero_and_straight_beyond_one(self) -> None:
        deltas = [[0.5, -0.5, 0, 0], [3, 0, 0, -1], [9, 9, 9, 9]]
        found = smooth_l1(*tensors(deltas, np.zeros((3, 4)), [1, 1, 0]))
        assert float(found) == pytest.approx((0.25 + 3.0) / 2)

    def test_without_rows_that_count_is_zero(self) -> None:
        assert float(smooth_l1(*tensors(np.ones((3, 4)), np.zeros((3, 4)), np.zeros(3)))) == 0


class TestMaskLoss:
    def test_of_an_undecided_mask(self) -> None:
        # Every probability is a half: the entropy is log 2 whatever the weights of the rim.
        target = np.zeros((1, 28, 28))
        target[0, :14] = 1
        on = 14 * 28
        dice = 1 - (2 * 0.5 * on + 1) / (0.25 * 28 * 28 + on + 1)
        found = mask_loss(*tensors(np.zeros((1, 28, 28)), target, [1]))
        assert float(found) == pytest.approx(math.log(2) + dice, rel=1e-5)

    def test_weighs_the_cells_along_the_border_fourfold(self) -> None:
        target = np.zeros((1, 28, 28))
        target[0, :14] = 1
        logits = np.where(target > 0, 20.0, -20.0)
        logits[0, 13] = -20  # one row at the border is wrong; two rows are rim
        rim = 28 * (26 + 2 * 4)
        wrong, right = 28, 13 * 28
        dice = 1 - (2 * right + 1) / (right + 14 * 28 + 1)
        found = mask_loss(*tensors(logits, target, [1]))
        assert float(found) == pytest.approx(wrong * 4 * 20 / rim + dice, rel=1e-4)

    def test_is_the_mean_over_the_masks_that_count(self) -> None:
        rng = np.random.default_rng(0)
        logits, targets = rng.normal(0, 2, (3, 28, 28)), (rng.random((3, 28, 28)) < 0.5)
        alone = [
            float(mask_loss(*tensors(logits[i : i + 1], targets[i : i + 1], [1]))) for i in (0, 2)
        ]
        found = float(mask_loss(*tensors(logits, targets, [1, 0, 1])))
        assert found == pytest.approx(np.mean(alone), rel=1e-4)

    @pytest.mark.parametrize("fill", [0, 1])
    def test_of_the_perfect_mask_is_near_zero(self, fill: int) -> None:
        target = np.full((1, 28, 28), fill)
        logits = np.where(target > 0, 50.0, -50.0)
        assert float(mask_loss(*tensors(logits, target, [1]))) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("loss", [focal, smooth_l1, mask_loss])
@pytest.mark.parametrize("size", [1e30, -1e30, 1e4, 0.0])
@pytest.mark.parametrize("weight", [0, 1])
def test_losses_stay_finite(loss: Callable[..., object], size: float, weight: int) -> None:
    shape = {focal: (5,), smooth_l1: (5, 4), mask_loss: (5, 28, 28)}[loss]
    weights = np.full(5, weight)
    targets = np.broadcast_to((np.arange(5) % 2).reshape(-1, *[1] * (len(shape) - 1)), shape)
    found = loss(*tensors(np.full(shape, size), targets, weights))
    assert np.isfinite(numbers(found)).all()
