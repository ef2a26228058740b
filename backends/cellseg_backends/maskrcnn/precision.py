"""In which precision the network computes: half where that is quicker and exact enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_backends.processor import cpu_flags, has_bfloat16

__all__ = ["TOLERANCE", "built", "computes_in_bfloat16", "disagreement"]

TOLERANCE = 0.05
"""Largest difference between the probabilities of one proposal in the two precisions.

With trained weights it is 0.007 on processors that compute in bfloat16; a proposal needs 0.1.
"""

_FULL, _HALF = "float32", "mixed_bfloat16"
_SIZE = 128
_BEST = 100


def computes_in_bfloat16() -> bool:
    """Return whether TensorFlow computes quickest in bfloat16 on this processor.

    It does on x86 with the instructions for it; Linux alone tells. Other backends of Keras do not
    gain on any processor that we measured.
    """
    import keras

    return has_bfloat16(cpu_flags()) and keras.backend.backend() == "tensorflow"


def built(build: Callable[[str], Any], precision: str) -> Any:
    """Return the network in the precision that was asked for.

    Parameters
    ----------
    build
        Returns a :class:`~cellseg_backends.maskrcnn.model.MaskRCNN` with its weights, given the
        name of a precision as Keras has it.
    precision
        ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the processor has it and both
        precisions find the same in a small image that is made here, to :data:`TOLERANCE`.
    """
    if precision != "auto":
        return build(_HALF if precision == "bfloat16" else _FULL)
    if not computes_in_bfloat16():
        return build(_FULL)
    full, half = build(_FULL), build(_HALF)
    # Written so that a difference that is not a number is too large.
    return half if disagreement(full, half) <= TOLERANCE else full


def disagreement(one: Any, other: Any) -> float:
    """Return by how much two networks differ on the likeliest proposals of a test image, 0 to 1.

    NaN if either computes something that is not a number.
    """
    from keras import ops

    image = ops.convert_to_tensor(_test_image()[None, ..., None])
    likely = []
    for network in (one, other):
        *_, logits, _ = network.first(image, training=False)
        logits = np.asarray(ops.convert_to_numpy(logits), np.float32)[0]
        likely.append(1 / (1 + np.exp(-np.clip(logits, -30, 30))))
    best = np.argsort(np.maximum(*likely))[-_BEST:]
    return float(np.abs(likely[0] - likely[1])[best].max())


def _test_image() -> NDArray[np.float32]:
    """Return discs of several sizes and brightnesses, as the network sees nuclei."""
    rows, columns = np.ogrid[:_SIZE, :_SIZE]
    plane = np.zeros((_SIZE, _SIZE), np.float32)
    for number in range(16):
        y, x = 16 + 32 * (number // 4), 16 + 32 * (number % 4)
        radius = 7 + number % 5 * 1.5
        far = np.hypot((rows - y) * (1 + 0.1 * (number % 3)), columns - x)
        plane += (0.3 + 0.06 * number) * np.clip((radius - far) / 2 + 0.5, 0, 1)
    return plane
