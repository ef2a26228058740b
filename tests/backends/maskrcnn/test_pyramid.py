"""The feature pyramid: shapes, signals at the start, and what a shift of the image does."""

from __future__ import annotations

from itertools import pairwise

import attrs
import keras
import numpy as np
import pytest
from keras import ops

from cellseg_backends.maskrcnn.presets import STRIDES, Preset
from cellseg_backends.maskrcnn.pyramid import feature_pyramid


def network(preset: Preset) -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 1))
    return keras.Model(image, feature_pyramid(image, preset))


def maps_of(model: keras.Model, image: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(ops.convert_to_numpy(one)) for one in model(image[None, ..., None])]


@pytest.fixture(scope="module")
def basic(tiny: Preset) -> keras.Model:
    return network(tiny)


@pytest.mark.parametrize(
    "change",
    [{}, {"depths": (0, 2, 1, 1, 1)}, {"block": "bottleneck", "depths": (0, 1, 2, 1, 1)}],
    ids=["basic", "empty first stage", "bottleneck"],
)
@pytest.mark.parametrize("shape", [(32, 32), (96, 64)])
def test_every_level_has_its_stride_and_the_same_channels(
    tiny: Preset, change: dict[str, object], shape: tuple[int, int]
) -> None:
    preset = attrs.evolve(tiny, **change)
    maps = maps_of(network(preset), np.ones(shape, np.float32))
    assert [one.shape for one in maps] == [
        (1, shape[0] // stride, shape[1] // stride, preset.pyramid) for stride in STRIDES
    ]


def test_strides_double() -> None:
    assert all(b == 2 * a for a, b in pairwise(STRIDES))


def test_signals_neither_vanish_nor_explode_before_training(basic: keras.Model) -> None:
    noise = np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)
    for one in maps_of(basic, noise):
        assert 0.01 < one.std() < 10


def test_a_black_image_gives_nothing_before_training(basic: keras.Model) -> None:
    for one in maps_of(basic, np.zeros((64, 64), np.float32)):
        np.testing.assert_array_equal(one, 0)


def test_a_shift_by_the_largest_stride_shifts_every_map(basic: keras.Model) -> None:
    step = STRIDES[-1]
    image = np.zeros((320, 320), np.float32)
    image[140:150, 120:126] = 1
    there = np.roll(image, (step, -step), (0, 1))
    for before, after, stride in zip(
        maps_of(basic, image), maps_of(basic, there), STRIDES, strict=True
    ):
        by = step // stride
        np.testing.assert_allclose(
            np.roll(before, (by, -by), (1, 2))[:, by:, :-by], after[:, by:, :-by], atol=1e-5
        )
