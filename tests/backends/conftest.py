"""What the tests of segmenters share: a tiny network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cellseg_backends.maskrcnn.presets import PRESETS, Preset


@pytest.fixture(scope="session")
def tiny() -> Preset:
    """Return a network of a few thousand weights, with all parts that the large ones have."""
    return Preset(
        name="tiny",
        widths=(8, 8, 8, 8, 8),
        depths=(1, 1, 1, 1, 1),
        pyramid=8,
        box_units=16,
        mask_channels=8,
        mask_convs=1,
    )


@pytest.fixture(scope="module")
def known_tiny(tiny: Preset) -> Iterator[Preset]:
    """Return the tiny network, which weights and options can name meanwhile."""
    PRESETS[tiny.name] = tiny
    yield tiny
    del PRESETS[tiny.name]
