"""Levels of planes: every n-th pixel, read where it is looked at, and never all at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellseg_core import Image
from cellseg_viewer import pyramid
from cellseg_viewer.pyramid import Level, levels_of, mapped


class Counting:
    """Pixels that know how much of them was read at once, and in all."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape, self.dtype = shape, np.dtype(np.uint16)
        self.most = self.total = 0

    def __getitem__(self, key):
        channel, rows, columns = key
        y, x = np.arange(self.shape[1])[rows], np.arange(self.shape[2])[columns]
        window = ((y[:, None] * 7 + x[None] + channel) % 60000).astype(np.uint16)
        self.most = max(self.most, window.size)
        self.total += window.size
        return window


@pytest.fixture
def small_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "_OVERVIEW", 40)
    monkeypatch.setattr(pyramid, "_SMALLEST", 10)


def test_levels_are_every_second_pixel_of_the_one_before_down_to_a_small_one(small_levels) -> None:
    pixels = Counting((2, 101, 230))
    levels = levels_of(Image(pixels), 1)
    full = pixels[1, :, :]
    assert [level.shape for level in levels][:3] == [(101, 230), (51, 115), (26, 58)]
    assert max(levels[-1].shape) <= 10
    for number, level in enumerate(levels):
        assert np.array_equal(level[:, :], full[:: 2**number, :: 2**number])


def test_nothing_is_read_before_it_is_looked_at_and_the_overview_once(small_levels) -> None:
    pixels = Counting((1, 100, 200))
    levels = levels_of(Image(pixels), 0)
    assert pixels.total == 0
    for _ in range(3):
        levels[-1][:, :]
        np.asarray(levels[-2])
    # Every 8th pixel of the file, once.
    assert 0 < pixels.total <= 100 * 200
    before = pixels.total
    levels[0][10:20, 5:30]
    assert pixels.total - before == 10 * 25


def test_a_slide_is_never_read_at_once() -> None:
    pixels = Counting((1, 9000, 9000))
    seen = levels_of(Image(pixels), 0)[-1][:, :]
    assert seen.shape == (1125, 1125) or max(seen.shape) <= 1024
    # Strides are of the array that is read; whatever decodes it has bands of 2**23 px to decode.
    assert pixels.most <= 2**23


def test_a_small_image_has_one_level() -> None:
    (level,) = levels_of(Image(np.arange(12).reshape(1, 3, 4)), 0)
    assert level[1, 2] == 6
    assert level[-1].tolist() == [8, 9, 10, 11]
    assert (level.ndim, level.size, len(level)) == (2, 12, 3)


def test_levels_of_the_file_are_taken_where_there_are_any(small_levels) -> None:
    class Stored(Counting):
        @property
        def levels(self):
            return [Counting((1, 50, 100)), Counting((1, 50, 100)), Counting((1, 25, 40))]

    levels = levels_of(Image(Stored((1, 100, 200))), 0)
    assert [level.shape for level in levels] == [(100, 200), (50, 100), (25, 40)]
    assert levels[2][3:5, 1].tolist() == [22, 29]


@given(st.data())
def test_any_window_is_that_of_the_whole(data) -> None:
    height, width = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30))
    step = data.draw(st.integers(1, 5))
    whole = np.arange(height * width).reshape(height, width)
    full = Level(whole.shape, whole.dtype, lambda rows, columns: whole[rows, columns])
    thinned = pyramid._every(full, step)
    rows = data.draw(st.slices(thinned.shape[0]).filter(lambda one: (one.step or 1) > 0))
    columns = data.draw(st.slices(thinned.shape[1]).filter(lambda one: (one.step or 1) > 0))
    assert np.array_equal(thinned[rows, columns], whole[::step, ::step][rows, columns])
    doubled = mapped([thinned], lambda window: window * 2.0, np.float64)[0]
    assert np.array_equal(doubled[rows, columns], 2.0 * whole[::step, ::step][rows, columns])
