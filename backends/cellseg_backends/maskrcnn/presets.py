"""The sizes in which the network comes.

``resnet18`` and ``resnet50`` have the widths and depths of He et al. (2016), with the stem and the
weight standardisation of :mod:`~cellseg_backends.maskrcnn.pyramid`: weights trained for the
originals do not fit them.
"""

from __future__ import annotations

from typing import Literal

import attrs

from cellseg_core.errors import ConfigurationError, nearest

__all__ = ["GRID", "HALO", "PRESETS", "STRIDES", "Preset", "preset"]

STRIDES = (2, 4, 8, 16, 32)
"""Of the levels of the feature pyramid, in px of the image."""

GRID = STRIDES[-1]
"""Images are padded to multiples of this, and tiles begin at multiples of it."""

HALO = 5.0
"""Nuclear diameters around the core of a tile that decide over what is found there."""


@attrs.frozen(kw_only=True)
class Preset:
    """The numbers that decide over the network's size; every weight's shape follows from them.

    Parameters
    ----------
    name
        What users type.
    block
        Residual blocks of two 3 x 3 convolutions (``"basic"``), or of 1 x 1, 3 x 3 and 1 x 1
        (``"bottleneck"``, four times as wide outside).
    widths, depths
        Channels and number of blocks at strides 2, 4, 8, 16 and 32.
    pyramid
        Channels of every level of the feature pyramid.
    box_units
        Units of the two dense layers of the box head.
    mask_channels, mask_convs
        Channels and number of the 3 x 3 convolutions of the mask head.
    """

    name: str
    block: Literal["basic", "bottleneck"] = "basic"
    widths: tuple[int, int, int, int, int]
    depths: tuple[int, int, int, int, int]
    pyramid: int
    box_units: int
    mask_channels: int
    mask_convs: int


PRESETS = {
    one.name: one
    for one in (
        Preset(
            name="light",
            widths=(32, 64, 128, 192, 256),
            depths=(1, 2, 2, 2, 2),
            pyramid=64,
            box_units=128,
            mask_channels=64,
            mask_convs=3,
        ),
        Preset(
            name="resnet18",
            widths=(64, 64, 128, 256, 512),
            depths=(0, 2, 2, 2, 2),
            pyramid=128,
            box_units=256,
            mask_channels=128,
            mask_convs=4,
        ),
        Preset(
            name="resnet50",
            block="bottleneck",
            widths=(64, 64, 128, 256, 512),
            depths=(0, 3, 4, 6, 3),
            pyramid=256,
            box_units=1024,
            mask_channels=256,
            mask_convs=4,
        ),
    )
}


def preset(name: str) -> Preset:
    """Return the preset of that name.

    >>> preset("light").pyramid
    64
    """
    if name not in PRESETS:
        raise ConfigurationError(f"there is no preset {name!r}: {nearest(name, PRESETS)}.")
    return PRESETS[name]
