"""Typical brightness of background and nuclei."""

from __future__ import annotations

import numpy as np
import pytest

from cellseg_backends.levels import Levels


def mixture(share: float, foreground: float, seed: int = 0, noise: float = 0.01) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = np.where(np.arange(20_000) < share * 20_000, foreground, 0.1)
    return np.clip(values + rng.normal(0, noise, values.shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("by_root", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_two_populations_are_told_apart(share: float, by_root: bool) -> None:
    levels = Levels.of(mixture(share, 0.6), by_root=by_root)
    assert levels.background == pytest.approx(0.1, abs=0.01)
    assert levels.foreground == pytest.approx(0.6, abs=0.01)
    assert levels.noise == pytest.approx(0.01, rel=0.3)


def test_the_order_and_the_shape_of_the_values_do_not_matter() -> None:
    values = mixture(0.3, 0.6)
    shuffled = np.random.default_rng(1).permutation(values).reshape(100, 200)
    assert Levels.of(values, by_root=True) == Levels.of(shuffled, by_root=True)


def test_the_values_are_left_as_they_were() -> None:
    values = mixture(0.3, 0.6)
    copy = values.copy()
    Levels.of(values, by_root=True)
    np.testing.assert_array_equal(values, copy)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("count", [1, 2, 1000])
def test_a_constant_is_all_background(value: float, count: int) -> None:
    levels = Levels.of(np.full(count, value, np.float32), by_root=True)
    assert levels == Levels(levels.background, levels.background, 0.0)
    assert levels.background == pytest.approx(value)


def test_two_values_are_background_and_foreground() -> None:
    levels = Levels.of(np.array([0.8, 0.2], np.float32), by_root=False)
    assert (levels.background, levels.foreground) == pytest.approx((0.2, 0.8))


def test_a_few_very_bright_nuclei_do_not_hide_the_dim_ones() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.full(900, 0.02), np.full(300, 0.15), np.full(6, 1.0)])
    values = np.clip(values + rng.normal(0, 0.005, values.shape), 0, 1).astype(np.float32)
    assert Levels.of(values, by_root=True).foreground == pytest.approx(0.15, abs=0.02)
