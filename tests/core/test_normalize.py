"""One brightness scale at native depth, and one grid for rescaled tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellseg_core import Image
from cellseg_core.errors import ImageError
from cellseg_core.normalize import Brightness, UpperPercentile
from cellseg_core.rescale import Rescaled
from cellseg_core.scaled import ScaledImage
from cellseg_core.tiling import Box


@given(
    pieces=st.lists(st.integers(0, 400), min_size=1, max_size=6),
    percentile=st.sampled_from([50, 90, 99.98, 100]),
    seed=st.integers(0, 99),
    kind=st.sampled_from(["u1", "u2", "i4", "f4"]),
)
@settings(max_examples=80, deadline=None)
def test_the_percentile_of_pieces_equals_numpy_s_of_the_whole(pieces, percentile, seed, kind):
    rng = np.random.default_rng(seed)
    values = [(rng.gamma(1, 30, n)).astype(kind) for n in pieces]
    together = np.concatenate(values).astype(float)
    one = UpperPercentile(together.size, percentile)
    merged = UpperPercentile(together.size, percentile)
    for piece in values:
        one.add(piece)
        other = UpperPercentile(together.size, percentile)
        other.add(piece)
        merged.merge(other)
    if together.size == 0:
        assert np.isnan(one.value())
    else:
        expected = np.percentile(together, percentile)
        assert one.value() == pytest.approx(expected, rel=1e-9)
        assert merged.value() == one.value()


def test_not_a_number_is_left_out_of_the_percentile() -> None:
    tail = UpperPercentile(4, 50)
    tail.add(np.array([np.nan, 1.0, 3.0, np.inf]))
    assert tail.value() == 2


def test_dim_16_bit_stains_keep_their_steps() -> None:
    pixels = np.arange(400, dtype=np.uint16).reshape(1, 20, 20)
    image = Image(pixels)
    scaled = ScaledImage(image, (0,), (), Brightness.of(image, (0,))).read()
    assert np.unique(scaled).size >= 399, "8-bit steps would leave 256"
    assert scaled.dtype == np.float32
    assert scaled.min() == 0
    assert scaled.max() == 1


def test_a_factor_makes_everything_brighter() -> None:
    image = Image(np.linspace(0, 100, 10_000).reshape(1, 100, 100))
    one, two = (
        ScaledImage(image, (0,), (), Brightness.of(image, (0,), factor)).read() for factor in (1, 2)
    )
    assert np.allclose(two, np.minimum(2 * one, 1))


def test_several_nuclear_channels_are_averaged_each_on_its_own_scale() -> None:
    pixels = np.zeros((3, 50, 50), np.uint16)
    pixels[0, 10:20], pixels[1, 10:20], pixels[2, 10:20] = 100, 50_000, 7
    image = Image(pixels)
    scaled = ScaledImage(image, (0, 1), (2,), Brightness.of(image, (0, 1, 2))).read()
    assert scaled.shape == (2, 50, 50)
    assert np.allclose(scaled[:, 10:20], 1)
    assert not scaled[:, :10].any()


def test_black_negative_and_missing_pixels_are_0_and_infinite_ones_1() -> None:
    pixels = np.array([[[-5.0, np.nan, np.inf, 10.0, 0.0]]], np.float32)
    image = Image(pixels)
    scaled = ScaledImage(image, (0,), (), Brightness.of(image, (0,))).read()
    assert scaled.ravel().tolist() == pytest.approx([0, 0, 1, 1, 0], abs=0.02)
    black = Image(np.zeros((1, 4, 4), np.uint8))
    assert not ScaledImage(black, (0,), (), Brightness.of(black, (0,))).read().any()


def test_an_image_of_nothing_but_nan_is_refused() -> None:
    image = Image(np.full((1, 4, 4), np.nan), channels=("DAPI",))
    with pytest.raises(ImageError, match=r"'DAPI' has no finite value .*--nuclear"):
        Brightness.of(image, (0,))


def test_a_sample_is_a_regular_grid_over_the_whole() -> None:
    pixels = np.arange(90 * 110).reshape(1, 90, 110)
    image = Image(pixels)
    scaled = ScaledImage(image, (0,), (), Brightness.of(image, (0,)))
    assert np.array_equal(scaled.sample(1000), scaled.read()[:, ::3, ::3])
    assert np.array_equal(scaled.sample(10**6), scaled.read())


@given(
    factor=st.floats(0.2, 4),
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    window=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    grid=st.integers(1, 40),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_a_window_of_the_rescaled_image_is_that_window_of_the_whole(
    factor, shape, window, grid, seed
):
    rng = np.random.default_rng(seed)
    image = Image(rng.integers(0, 1000, (1, *shape)))
    source = Rescaled(ScaledImage(image, (0,), (), Brightness.of(image, (0,))), factor)
    whole = source.read(Box(0, source.shape[0], 0, source.shape[1]))
    assert whole.shape[1:] == source.shape
    y0, x0 = int(window[0] * (shape[0] - 1)), int(window[1] * (shape[1] - 1))
    y1 = y0 + 1 + int(window[2] * (shape[0] - y0 - 1))
    x1 = x0 + 1 + int(window[3] * (shape[1] - x0 - 1))
    box = Box(y0, y1, x0, x1)
    seen = source.window(box, grid)
    assert seen.y0 % grid == seen.x0 % grid == 0
    part = source.read(seen)
    assert np.array_equal(part, whole[:, *seen.slices])
    labels = np.arange(whole[0].size).reshape(whole.shape[1:])
    everything = Box(0, source.shape[0], 0, source.shape[1])
    full = source.to_source(labels, everything, Box(0, shape[0], 0, shape[1]))
    assert full.shape == shape
    assert np.array_equal(source.to_source(labels[seen.slices], seen, box), full[box.slices])


def test_rescaling_keeps_brightness_and_places() -> None:
    pixels = np.zeros((1, 100, 80), np.uint16)
    pixels[0, 40:60, 20:40] = 1000
    image = Image(pixels)
    scaled = ScaledImage(image, (0,), (), Brightness.of(image, (0,)))
    for factor in (0.5, 2.5):
        source = Rescaled(scaled, factor)
        whole = source.read(Box(0, source.shape[0], 0, source.shape[1]))[0]
        y, x = ((axis.mean() + 0.5) / factor for axis in np.nonzero(whole > 0.5))
        assert (y, x) == pytest.approx((50, 30), abs=0.3)
        assert whole.mean() == pytest.approx(scaled.read().mean(), rel=0.05)
