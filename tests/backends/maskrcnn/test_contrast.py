"""The contrast in which the network sees an image, ordinary and strange ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cellseg_backends.maskrcnn.contrast import Contrast, compressed


def nuclei(side: int = 128, background: float = 0.05, foreground: float = 0.4) -> np.ndarray:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    inside = (y % 32 - 16) ** 2 + (x % 32 - 16) ** 2 <= 8**2
    plane = np.where(inside, foreground, background) + rng.normal(0, 0.01, (side, side))
    return np.clip(plane, 0, 1).astype(np.float32)


def seen(plane: np.ndarray, dark_nuclei: bool | None = None) -> np.ndarray:
    contrast = Contrast.of(plane, dark_nuclei).apply(plane)
    assert contrast.dtype == np.float32
    assert np.isfinite(contrast).all()
    return contrast


def test_background_is_0_and_nuclei_are_1() -> None:
    plane = nuclei()
    contrast = seen(plane)
    assert np.median(contrast[plane < 0.2]) == pytest.approx(0, abs=0.02)
    assert np.median(contrast[plane > 0.2]) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("factor", [0.5, 0.1])
def test_dimmer_images_look_the_same(factor: float) -> None:
    plane = nuclei()
    np.testing.assert_allclose(seen(plane * np.float32(factor)), seen(plane), atol=0.1)


def test_bright_field_is_turned_over() -> None:
    plane = 1 - nuclei(background=0.1, foreground=0.6)
    found = Contrast.of(plane)
    assert found.dark_nuclei
    contrast = found.apply(plane)
    assert np.median(contrast[plane > 0.7]) == pytest.approx(0, abs=0.05)
    assert np.median(contrast[plane < 0.7]) == pytest.approx(1, abs=0.05)


def test_the_user_can_say_which_way_round_it_is() -> None:
    plane = nuclei()
    assert not Contrast.of(plane).dark_nuclei
    assert Contrast.of(plane, True).dark_nuclei
    assert not Contrast.of(1 - plane, False).dark_nuclei


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(64, 64), (1, 1), (1, 500), (7,)])
@pytest.mark.parametrize("dark", [None, True, False])
def test_constant_images_are_background(
    value: float, shape: tuple[int, ...], dark: bool | None
) -> None:
    plane = np.full(shape, value, np.float32)
    np.testing.assert_allclose(seen(plane, dark), 0, atol=1e-4)


@pytest.mark.parametrize("deviation", [1e-4, 0.003, 0.03])
def test_noise_alone_stays_dark(deviation: float) -> None:
    rng = np.random.default_rng(0)
    plane = np.clip(0.2 + rng.normal(0, deviation, (256, 256)), 0, 1).astype(np.float32)
    assert np.quantile(np.abs(seen(plane, False)), 0.999) < 0.7


def test_nuclei_in_saturation_stand_out() -> None:
    plane = np.where(nuclei() > 0.2, 1, 0).astype(np.float32)
    np.testing.assert_allclose(seen(plane), plane, atol=1e-6)


def test_an_image_saturated_almost_everywhere_stays_finite() -> None:
    plane = np.ones((64, 64), np.float32)
    plane[10:14, 10:14] = 0
    for dark in (None, True, False):
        assert np.abs(seen(plane, dark)).max() <= 1 / 0.01 + 1


@pytest.mark.parametrize(("noise", "dark"), [(0.0, None), (0.002, None), (0.01, False)])
def test_one_bright_nucleus_in_four_megapixels_stands_out(noise: float, dark: bool | None) -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(0.05, noise, (2048, 2048)).astype(np.float32)
    y, x = np.ogrid[:2048, :2048]
    inside = (y - 700) ** 2 + (x - 1300) ** 2 <= 12**2
    plane[inside] += np.float32(0.5)
    plane = np.clip(plane, 0, 1)
    contrast = seen(plane, dark)
    assert contrast[inside].min() > 0.8
    assert np.quantile(np.abs(contrast[~inside]), 0.999) < 0.7


def test_a_sample_of_a_large_image_gives_nearly_the_same_scale() -> None:
    plane = nuclei(1024)
    whole, part = Contrast.of(plane), Contrast.of(plane[:256, :256])
    assert whole.background == pytest.approx(part.background, abs=0.005)
    assert whole.step == pytest.approx(part.step, rel=0.03)


class TestCompressed:
    def test_keeps_background_and_typical_nuclei(self) -> None:
        found = compressed(np.array([0, 1], np.float32))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, [0, 1], atol=1e-6)

    def test_is_logarithmic_far_above(self) -> None:
        found = compressed(np.array([8, 80, 800], np.float32))
        assert found[0] == pytest.approx(2.1, abs=0.05)
        assert found[2] - found[1] == pytest.approx(found[1] - found[0], rel=0.01)
        assert found[2] - found[1] == pytest.approx(math.log(10) / math.asinh(3), rel=0.01)

    def test_is_odd_and_rises_everywhere(self) -> None:
        values = np.concatenate([np.linspace(-20, 20, 999), [1e30, 1e38]]).astype(np.float32)
        found = compressed(values)
        assert (np.diff(found) > 0).all()
        assert np.isfinite(found).all()
        np.testing.assert_allclose(compressed(-values), -found, rtol=1e-4, atol=1e-6)

    def test_leaves_its_argument_alone(self) -> None:
        values = np.array([0.5, 2], np.float32)
        compressed(values)
        np.testing.assert_array_equal(values, np.array([0.5, 2], np.float32))
