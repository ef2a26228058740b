"""The backbone and the feature pyramid: an image becomes feature maps at five scales.

A residual network (He et al. 2016, with pre-activation) and a feature pyramid (Lin et al. 2017),
without normalisation of activations (:mod:`~cellseg_backends.maskrcnn.layers`). The pyramid
reaches down to stride 2, where a border can be placed to a fraction of a pixel; that level only
adds the finest features to the enlarged next one, since convolutions there cost the most.
"""

from __future__ import annotations

import math
from typing import Any

from keras import layers, ops

from cellseg_backends.maskrcnn.layers import AFTER_RELU, StandardizedConv2D
from cellseg_backends.maskrcnn.presets import Preset

__all__ = ["feature_pyramid"]

# What a residual branch adds, in standard deviations (Brock et al. 2021).
_BRANCH = 0.2


def _conv(
    x: Any, channels: int, size: int, name: str, stride: int = 1, scale: float = AFTER_RELU
) -> Any:
    return StandardizedConv2D(
        channels, size, strides=stride, padding="same", scale=scale, name=name
    )(x)


def _block(x: Any, preset: Preset, width: int, stride: int, variance: float, name: str) -> Any:
    """Add one residual block; ``variance`` is that of ``x`` before training."""
    wide = width * (4 if preset.block == "bottleneck" else 1)
    active = layers.ReLU()(x)
    first, last = AFTER_RELU / math.sqrt(variance), AFTER_RELU * _BRANCH
    shortcut = x
    if stride > 1 or x.shape[-1] != wide:
        pooled = layers.AveragePooling2D(stride)(active) if stride > 1 else active
        shortcut = _conv(pooled, wide, 1, f"{name}_shortcut", scale=first)
    if preset.block == "bottleneck":
        y = layers.ReLU()(_conv(active, width, 1, f"{name}_in", scale=first))
        y = layers.ReLU()(_conv(y, width, 3, f"{name}_middle", stride))
        y = _conv(y, wide, 1, f"{name}_out", scale=last)
    else:
        y = layers.ReLU()(_conv(active, width, 3, f"{name}_in", stride, scale=first))
        y = _conv(y, width, 3, f"{name}_out", scale=last)
    return shortcut + y


def feature_pyramid(image: Any, preset: Preset) -> list[Any]:
    """Return the maps (B, H / s, W / s, preset.pyramid) for each stride ``s`` of ``STRIDES``.

    ``image`` is (B, H, W, 1); H and W are multiples of 32.
    """
    x = _conv(image, preset.widths[0], 5, "stem", stride=2, scale=1.0)
    stages = []
    variance = 1.0
    for number, (width, depth) in enumerate(zip(preset.widths, preset.depths, strict=True)):
        for block in range(depth):
            stride = 2 if number > 0 and block == 0 else 1
            x = _block(x, preset, width, stride, variance, f"stage{number + 1}_block{block + 1}")
            variance = (1.0 if block == 0 and number > 0 else variance) + _BRANCH**2
        stages.append(layers.ReLU()(x))

    above = None
    maps: list[Any] = []
    for number in reversed(range(len(stages))):
        lateral = layers.Conv2D(preset.pyramid, 1, name=f"lateral{number + 1}")(stages[number])
        if above is not None:
            # UpSampling2D does the same, ten times slower in float32 on a CPU.
            lateral = lateral + ops.repeat(ops.repeat(above, 2, axis=1), 2, axis=2)
        above = lateral
        if number > 0:
            lateral = layers.Conv2D(preset.pyramid, 3, padding="same", name=f"smooth{number + 1}")(
                layers.ReLU()(lateral)
            )
        maps.insert(0, layers.ReLU()(lateral))
    return maps
