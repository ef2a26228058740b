"""Tiles cover an image, each pixel in one core."""

from __future__ import annotations

import numpy as np
import pytest

from cellseg_core.errors import ConfigurationError
from cellseg_core.tiling import Box, tile_image


def test_tiles_partition_the_image() -> None:
    for shape in ((1, 1), (5, 300), (128, 128), (257, 131)):
        covered = np.zeros(shape, int)
        for tile in tile_image(shape, 64, 10):
            covered[tile.core.slices] += 1
            assert tile.core.intersection(tile.window) == tile.core
            assert max(tile.core.shape) <= 64
        assert (covered == 1).all()


def test_boxes_that_only_touch_have_nothing_in_common() -> None:
    box = Box(10, 20, 30, 40)
    for other in (Box(20, 25, 30, 40), Box(10, 20, 40, 45), Box(0, 10, 0, 30)):
        assert box.intersection(other) is None
    assert box.intersection(Box(19, 25, 39, 45)) == Box(19, 20, 39, 40)


def test_a_tile_may_be_one_pixel() -> None:
    tiles = tile_image((2, 3), 1, 0)
    assert [tile.window.shape for tile in tiles] == [(1, 1)] * 6


@pytest.mark.parametrize(("size", "margin"), [(0, 4), (-1, 4), (8, -1)])
def test_a_tile_that_cannot_be_is_refused(size: int, margin: int) -> None:
    with pytest.raises(ConfigurationError, match=f"got {size} and {2 * margin}$"):
        tile_image((20, 20), size, margin)
