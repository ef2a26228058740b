"""Convolutions that need no normalisation of activations.

Weights are standardised instead (Qiao et al. 2019; Brock et al. 2021): every output channel's
kernel has mean 0 and a variance that keeps signals at unit variance. There is nothing to estimate
from a batch, so training behaves at any batch size, and the network does the same in training and
in use.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

__all__ = ["AFTER_RELU", "StandardizedConv2D"]

AFTER_RELU = 1 / math.sqrt(0.5 * (1 - 1 / math.pi))
"""What brings a standard normal signal back to variance 1 after a ReLU."""


@keras.saving.register_keras_serializable("cellseg")
class StandardizedConv2D(keras.layers.Conv2D):
    """A convolution whose kernel is standardised per output channel, with a learned gain.

    Parameters
    ----------
    scale
        Constant that the output is multiplied by (through the kernel, so at no cost).
    """

    def __init__(self, *args: Any, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scale = scale

    def build(self, input_shape: Any) -> None:
        """Add the gains (one for each output channel) to what a convolution has."""
        super().build(input_shape)
        self.gain = self.add_weight(name="gain", shape=(self.filters,), initializer="ones")

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve with the standardised kernel."""
        kernel = ops.cast(kernel, "float32")
        fan_in = math.prod(kernel.shape[:-1])
        mean = ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
        variance = ops.var(kernel, axis=(0, 1, 2), keepdims=True)
        gain = ops.cast(self.gain, "float32") * self.scale
        kernel = (kernel - mean) * (gain / ops.sqrt(ops.maximum(variance * fan_in, 1e-4)))
        return super().convolution_op(inputs, ops.cast(kernel, self.compute_dtype))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}
