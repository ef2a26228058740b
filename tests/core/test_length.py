"""Lengths in px and um."""

from __future__ import annotations

import pytest

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.length import Length


@pytest.mark.parametrize(
    ("given", "pixels"),
    [
        (2, 2),
        (1.5, 1.5),
        ("2", 2),
        ("2px", 2),
        ("1um", 2),
        ("1.2 µm", 2),
        ("1.3 UM", 3),
        ("0um", 0),
        ("0.25um", 1),
        ("0.75um", 2),
        ("1.25um", 3),
    ],
)
def test_px_stay_as_they_are_and_um_become_whole_px(given, pixels) -> None:
    assert Length.of(given).in_px(0.5) == pixels


@pytest.mark.parametrize("given", [-1, "-1um", "two", "2 mm", "", "..", None, True, "nan", 1e12])
def test_what_is_no_length_is_refused(given) -> None:
    with pytest.raises(ConfigurationError, match="--expand is a number of 0 or more"):
        Length.of(given, "--expand")


def test_um_need_a_pixel_size_and_at_least_half_a_pixel() -> None:
    assert Length.of(3).in_px(None) == 3
    with pytest.raises(ImageError, match=r"slide: the image does not say how large.*--pixel-size"):
        Length.of("1um").in_px(None, "slide")
    with pytest.raises(ImageError, match=r"0.1 um is less than half a pixel, which is 0.5 um"):
        Length.of("0.1um").in_px(0.5)
