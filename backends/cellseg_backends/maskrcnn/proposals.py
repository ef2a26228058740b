"""The region proposal network: how likely each anchor holds a nucleus, and where its box is."""

from __future__ import annotations

from typing import Any

from keras import initializers, layers, ops

from cellseg_backends.maskrcnn.anchors import PER_PLACE
from cellseg_backends.maskrcnn.presets import Preset

__all__ = ["propose"]


def propose(maps: list[Any], preset: Preset) -> tuple[Any, Any]:
    """Return logits (B, N) and deltas (B, N, 4) for the anchors of the pyramid's levels.

    One small network slides over all levels (Ren et al. 2015).
    """
    common = layers.Conv2D(
        preset.pyramid, 3, padding="same", activation="relu", name="proposal_common"
    )
    # One convolution for both: five numbers for each anchor, the logit first.
    output = layers.Conv2D(
        5 * PER_PLACE,
        1,
        kernel_initializer=initializers.RandomNormal(stddev=0.01),
        bias_initializer=_prior,
        name="proposal_output",
    )
    rows = layers.Reshape((-1, 5), dtype="float32")
    found = ops.concatenate([rows(output(common(one))) for one in maps], axis=1)
    return found[..., 0], found[..., 1:]


def _prior(shape: tuple[int, ...], dtype: str | None = None) -> Any:
    """Nearly every anchor is background: start by saying so (Lin et al. 2017, focal loss)."""
    return ops.tile(ops.convert_to_tensor([-4.0, 0.0, 0.0, 0.0, 0.0], dtype), shape[0] // 5)
