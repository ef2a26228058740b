"""The losses: what an error of each output costs. All but the first are one number for a batch."""

from __future__ import annotations

from typing import Any

from keras import ops

__all__ = ["cross_entropy", "focal", "mask_loss", "smooth_l1"]

_ALPHA, _GAMMA = 0.25, 2.0
_RIM = 3.0  # how much more a cell at the nucleus' border counts than any other


def cross_entropy(logits: Any, targets: Any) -> Any:
    """Return the binary cross-entropy of each element; targets in [0, 1]."""
    return ops.softplus(logits) - logits * targets


def _share(total: Any, count: Any) -> Any:
    return total / ops.maximum(count, 1.0)


def focal(logits: Any, targets: Any, weights: Any) -> Any:
    """Return the focal loss (Lin et al. 2017) for each positive; ``targets`` are 0 or 1."""
    probability = ops.sigmoid(logits)
    missed = targets * (1 - probability) + (1 - targets) * probability
    alpha = targets * _ALPHA + (1 - targets) * (1 - _ALPHA)
    loss = alpha * missed**_GAMMA * cross_entropy(logits, targets)
    return _share(ops.sum(loss * weights), ops.sum(targets * weights))


def smooth_l1(deltas: Any, targets: Any, weights: Any) -> Any:
    """Return the mean over weighted rows of the smooth L1 distance, summed over coordinates."""
    distance = ops.abs(deltas - targets)
    loss = ops.where(distance < 1.0, 0.5 * distance**2, distance - 0.5)
    return _share(ops.sum(ops.sum(loss, axis=-1) * weights), ops.sum(weights))


def mask_loss(logits: Any, targets: Any, weights: Any) -> Any:
    """Return cross-entropy, in which borders weigh more, plus the Dice loss; a mean over masks.

    ``logits`` and ``targets`` are (R, S, S), ``weights`` (R,).
    """
    wide = ops.max_pool(targets[..., None], 3, strides=1, padding="same")
    narrow = -ops.max_pool(-targets[..., None], 3, strides=1, padding="same")
    rim = 1.0 + _RIM * (wide - narrow)[..., 0]
    entropy = ops.sum(cross_entropy(logits, targets) * rim, axis=(1, 2)) / ops.sum(rim, axis=(1, 2))
    predicted = ops.sigmoid(logits)
    common = ops.sum(predicted * targets, axis=(1, 2))
    dice = 1 - (2 * common + 1) / (
        ops.sum(predicted**2, axis=(1, 2)) + ops.sum(targets**2, axis=(1, 2)) + 1
    )
    return _share(ops.sum((entropy + dice) * weights), ops.sum(weights))
