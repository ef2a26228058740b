"""Standardised convolutions: what the kernel is, and that signals keep their variance."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from cellseg_backends.maskrcnn.layers import AFTER_RELU, StandardizedConv2D


def numbers(value: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.cast(value, "float32")))


def effective_kernel(layer: StandardizedConv2D, size: int, channels: int) -> np.ndarray:
    """Return the kernel (size * size * channels, filters) that the layer multiplies by."""
    fan_in = size * size * channels
    return numbers(layer(np.eye(fan_in, dtype=np.float32).reshape(-1, size, size, channels)))[
        :, 0, 0
    ]


@pytest.mark.parametrize(("size", "channels", "scale"), [(3, 4, 1.0), (5, 1, 0.5), (1, 8, 2.0)])
def test_every_output_has_a_kernel_of_mean_0_and_set_variance(
    size: int, channels: int, scale: float
) -> None:
    layer = StandardizedConv2D(6, size, scale=scale)
    kernel = effective_kernel(layer, size, channels)
    np.testing.assert_allclose(kernel.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(kernel.var(axis=0) * len(kernel), scale**2, rtol=1e-4)


def test_shifting_or_stretching_the_kernel_changes_nothing() -> None:
    layer = StandardizedConv2D(6, 3)
    before = effective_kernel(layer, 3, 4)
    kernel, *rest = layer.get_weights()
    by = np.linspace(1, 4, 6, dtype=np.float32)
    layer.set_weights([kernel * by + by, *rest])
    np.testing.assert_allclose(effective_kernel(layer, 3, 4), before, atol=1e-5)


def test_the_gain_multiplies_its_output() -> None:
    layer = StandardizedConv2D(2, 3)
    before = effective_kernel(layer, 3, 4)
    layer.gain.assign(np.array([2.0, 0.0]))
    np.testing.assert_allclose(effective_kernel(layer, 3, 4), before * [2, 0], atol=1e-6)


def test_a_constant_kernel_gives_zeros_not_nan() -> None:
    layer = StandardizedConv2D(2, 3, kernel_initializer="ones")
    np.testing.assert_array_equal(effective_kernel(layer, 3, 4), 0)


def test_signals_keep_unit_variance_through_many_layers() -> None:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).standard_normal((4, 32, 32, 32)).astype(np.float32)
    for number in range(8):
        scale = 1.0 if number == 0 else AFTER_RELU
        x = StandardizedConv2D(32, 3, scale=scale)(x if number == 0 else ops.relu(x))
    assert 0.6 < numbers(x).std() < 1.5


def test_half_precision_gives_half_precision_near_the_full_result() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 8, 8, 4)).astype(np.float32)
    exact = StandardizedConv2D(6, 3)
    half = StandardizedConv2D(6, 3, dtype="mixed_bfloat16")
    expected = numbers(exact(x))
    half.build((None, None, None, 4))
    half.set_weights(exact.get_weights())
    found = half(x)
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    np.testing.assert_allclose(numbers(found), expected, atol=0.05)


def test_a_layer_is_remade_from_its_configuration() -> None:
    layer = StandardizedConv2D(6, 3, strides=2, scale=0.7, name="one")
    again = StandardizedConv2D.from_config(layer.get_config())
    assert (again.filters, again.strides, again.scale, again.name) == (6, (2, 2), 0.7, "one")
