"""Pictures of crops: their size, their outlines and the scale bar."""

from __future__ import annotations

import base64
import io

import numpy as np
import PIL.Image
import pytest

from cellseg_core.comparing.pictures import LINES, Picture, draw_crop
from cellseg_core.pages.scale import bar_length


def decoded(picture: Picture) -> np.ndarray:
    head, data = picture.uri.split(",")
    assert head == "data:image/png;base64"
    opened = PIL.Image.open(io.BytesIO(base64.b64decode(data)))
    assert opened.size == (picture.width, picture.height)
    return np.asarray(opened.convert("RGB"))


def has(pixels: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((pixels == colour).all(axis=2).any())


def test_small_crops_are_magnified_and_large_ones_reduced() -> None:
    assert draw_crop(np.zeros((40, 64))).width == 320
    assert draw_crop(np.zeros((40, 64))).height == 200
    large = draw_crop(np.random.default_rng(0).random((1024, 900)))
    assert large.height == 512
    assert draw_crop(np.zeros((1, 1))).width == 320


def test_each_kind_of_outline_has_its_colour_and_the_image_alone_is_gray() -> None:
    stain = np.random.default_rng(1).random((40, 40)) / 3
    labels = np.zeros((40, 40), np.int32)
    labels[10:20, 10:20] = 4
    gray = decoded(draw_crop(stain))
    assert (gray[..., 0] == gray[..., 1]).all()
    for line, colour in LINES.items():
        drawn = decoded(draw_crop(stain, [(labels, line)]))
        assert has(drawn, colour)
        # Nothing is drawn outside the object, or deep in it.
        assert (drawn[:80] == gray[:80]).all()
        assert (drawn[100:140, 100:140] == gray[100:140, 100:140]).all()


def test_dashed_and_dotted_lines_have_gaps() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[10:30, 10:30] = 1
    inked = {
        line: int((decoded(draw_crop(np.zeros((40, 40)), [(labels, line)])).sum(axis=2) > 0).sum())
        for line in LINES
    }
    assert inked["same"] == inked["truth"]
    for line in ("other", "missed"):
        assert 0.3 < inked[line] / inked["same"] < 0.7


def test_touching_objects_have_a_line_between_them() -> None:
    labels = np.repeat([[1, 2]], 40, axis=0).repeat(20, axis=1)
    drawn = decoded(draw_crop(np.zeros((40, 40)), [(labels, "same")]))
    assert has(drawn[:, 150:170], LINES["same"])
    assert not has(drawn[:, 40:120], LINES["same"])


def test_the_bar_has_its_length() -> None:
    drawn = decoded(draw_crop(np.zeros((64, 64)), bar=20))
    white = (drawn == 255).all(axis=2)
    assert white.any(axis=0).sum() == 100


@pytest.mark.parametrize(
    ("extent", "size", "said"),
    [
        (64, None, "20 px"),
        (400, None, "100 px"),
        (100, 0.325, "10 \u00b5m"),
        (24, 50, "200 \u00b5m"),
    ],
)
def test_bars_are_round_numbers(extent: int, size: float | None, said: str) -> None:
    length, text = bar_length(extent, size)
    assert text == said
    assert extent / 9 < length <= extent / 3


def test_pictures_are_the_same_each_time() -> None:
    stain = np.random.default_rng(2).random((50, 70))
    assert draw_crop(stain, bar=10) == draw_crop(stain, bar=10)
