"""The tiles of the viewer show the image and the outlines, at every level."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import attrs
import numpy as np
import pytest
from PIL import Image as Picture

from cellseg_core.image import Image
from cellseg_core.normalize import Brightness
from cellseg_core.outlines import inner_outlines
from cellseg_core.painting import Tone, magnified
from cellseg_core.result import Result
from cellseg_core.scaled import ScaledImage
from cellseg_core.tiling import Box
from cellseg_io.report import pyramid
from cellseg_io.report.pyramid import build_pyramid

Make = Callable[..., Result]
TONE = Tone(white=1.0)
PLENTY = 10**9


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "TILE", 64)


def decoded(uri: str) -> Picture.Image:
    return Picture.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def joined(level: dict, shape: tuple[int, int], outlines: bool) -> np.ndarray:
    """Return a level as one plane: gray, or where lines are."""
    whole = np.zeros(shape, np.uint8)
    for place, uri in level["tiles"].items():
        column, row = map(int, place.split("_"))
        picture = decoded(uri)
        tile = np.asarray(picture.convert("RGBA"))[..., 3] if outlines else np.asarray(picture)
        y, x = row * 64, column * 64
        assert tile.shape == whole[y : y + 64, x : x + 64].shape
        whole[y : y + 64, x : x + 64] = tile
    return whole


def test_the_finest_tiles_are_the_image_and_the_coarser_ones_its_means(make: Make) -> None:
    one = make()
    made = build_pyramid(one, TONE, PLENTY)
    levels = made.layers["image"]
    assert [level["scale"] for level in levels] == [1 / 8, 1 / 4, 1 / 2, 1]
    assert made.step == 1
    gray = TONE.gray(one.scaled.read()[0])
    shown = joined(levels[-1], gray.shape, outlines=False)
    assert np.abs(shown.astype(float) - gray).mean() < 4
    means = gray[:200, :260].reshape(100, 2, 130, 2).mean(axis=(1, 3))
    shown = joined(levels[-2], means.shape, outlines=False)
    assert np.abs(shown - means).mean() < 4


@pytest.mark.parametrize("layer", ["nuclei", "cells"])
def test_outlines_are_exact_across_tiles_at_every_level(make: Make, layer: str) -> None:
    one = make()
    labels = getattr(one, layer)
    for level in build_pyramid(one, TONE, PLENTY).layers[layer]:
        step, zoom = max(1, round(1 / level["scale"])), max(1, round(level["scale"]))
        lines = inner_outlines(magnified(labels[::step, ::step], zoom))
        assert np.array_equal(joined(level, lines.shape, outlines=True) > 0, lines)


def test_nuclei_too_small_to_be_outlined_are_not(make: Make) -> None:
    levels = build_pyramid(make(), TONE, PLENTY).layers["nuclei"]
    assert [level["scale"] for level in levels] == [1 / 2, 1, 2]


def test_a_large_image_is_coarser_but_for_the_spots_and_stays_in_the_budget(make: Make) -> None:
    one = make()
    whole = build_pyramid(one, TONE, PLENTY)
    budget = whole.size // 4
    made = build_pyramid(one, TONE, budget, [Box(10, 40, 70, 100)])
    assert made.step > 1
    finest = made.layers["image"][-1]
    assert finest["scale"] == 1
    assert list(finest["tiles"]) == ["1_0"]
    assert list(made.layers["nuclei"][-1]["tiles"]) == ["1_0"]
    closest = sum(len(made.layers[name][-1]["tiles"]["1_0"]) for name in made.layers)
    assert made.size - closest < budget
    # A sharp tile is the one of the whole image at full resolution.
    assert finest["tiles"]["1_0"] == whole.layers["image"][-1]["tiles"]["1_0"]


def test_the_image_is_read_in_bands_not_at_once(make: Make) -> None:
    one = make()
    asked = []

    class Lazy:
        shape, dtype = one.image.pixels.shape, one.image.pixels.dtype

        def __getitem__(self, key):
            asked.append(len(range(*key[1].indices(self.shape[1]))))
            return one.image.pixels[key]

    image = Image(Lazy(), channels=one.image.channels)
    scaled = ScaledImage(image, (0,), (), Brightness.of(one.image, (0,)))
    asked.clear()
    build_pyramid(attrs.evolve(one, image=image, scaled=scaled), TONE, PLENTY)
    assert max(asked) <= 66
