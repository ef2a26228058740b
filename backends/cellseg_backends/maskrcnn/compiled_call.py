"""Running a model's function compiled, on whichever backend Keras works with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["compiled"]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` of tensors, compiled.

    TensorFlow: one graph for all sizes of images and maps (B, Y, X, C) and numbers of boxes
    (N, 4). JAX: just-in-time, for each shape. Torch: the function as it is, without a record for
    gradients. Otherwise the function as it is.
    """
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _graph(function)
    if backend == "jax":
        import jax

        return jax.jit(function)  # type: ignore[no-any-return]
    if backend == "torch":
        import torch

        without_gradients: Callable[..., Any] = torch.no_grad()(function)
        return without_gradients
    return function


def _graph(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function as a graph, made when it is first called.

    Left to itself, TensorFlow makes a graph for the first sizes that it meets, seconds each, and
    complains before it makes one for all.
    """
    import tensorflow as tf

    made: list[Callable[..., Any]] = []

    def call(*tensors: Any) -> Any:
        if not made:
            # Only channels, the four edges of boxes, and images at a time stay as they are.
            signature = [
                tf.TensorSpec(
                    [*one.shape[:1], None, None, one.shape[-1]]
                    if len(one.shape) == 4
                    else [None] * (len(one.shape) - 1) + [one.shape[-1]],
                    one.dtype,
                )
                for one in tensors
            ]
            made.append(tf.function(function, input_signature=signature, autograph=False))
        return made[0](*tensors)

    return call
