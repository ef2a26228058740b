"""Crops show what they say, lie inside their image, and are always the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cellseg_core.comparing.comparison import Comparison
from cellseg_core.comparing.crops import choose_crops, reference_method
from cellseg_core.tiling import Box

Make = Callable[..., Comparison]

SHAPE = (400, 400)
# Corners, each with another kind of nuclei; the rest of the image is as usual.
DENSE, DIM, LARGE, LONG = (0, 0), (0, 320), (320, 0), (320, 320)


def ellipse(labels: np.ndarray, y: float, x: float, high: float, wide: float) -> None:
    rows, columns = np.indices(labels.shape)
    inside = ((rows - y) / high) ** 2 + ((columns - x) / wide) ** 2 <= 1
    labels[inside & (labels == 0)] = labels.max() + 1


@pytest.fixture(scope="module")
def tissue() -> tuple[np.ndarray, np.ndarray]:
    """Return nuclei and their stain: a corner each of dense, dim, large and elongated ones."""
    labels = np.zeros(SHAPE, np.int32)
    for top in range(0, 400, 80):
        for left in range(0, 400, 80):
            corner = (top, left)
            step, high, wide = {DENSE: (10, 4, 4), LARGE: (26, 10, 10), LONG: (20, 9, 2)}.get(
                corner, (20, 4, 4)
            )
            for y in range(top + step // 2, top + 80 - step // 2 + 1, step):
                for x in range(left + step // 2, left + 80 - step // 2 + 1, step):
                    ellipse(labels, y, x, high, wide)
    stain = (labels > 0) * 1000 + 20
    stain[: DIM[0] + 80, DIM[1] :] //= 4
    return labels, stain


def holds(box: Box, corner: tuple[int, int]) -> bool:
    middle = (box.y0 + box.y1) / 2 - 40, (box.x0 + box.x1) / 2 - 40
    return box.shape == (79, 79) and max(abs(np.subtract(middle, corner))) < 4


def test_each_kind_is_found_where_it_is(compared: Make, tissue: tuple) -> None:
    labels, stain = tissue
    disputed = labels.copy()
    disputed[160:240, 160:240] = 0
    found = choose_crops(compared({"a": {"i": labels}, "b": {"i": disputed}}, planes={"i": stain}))
    at = {crop.why: crop.box for crop in found}
    assert holds(at["Where the methods disagree most"], (160, 160))
    assert holds(at["Densest"], DENSE)
    assert holds(at["Dimmest nuclei"], DIM)
    assert holds(at["Largest nuclei"], LARGE)
    assert holds(at["Most elongated nuclei"], LONG)
    assert "Drawn at random" in at


def test_they_are_the_same_each_time_and_none_shows_what_another_does(
    compared: Make, tissue: tuple
) -> None:
    labels, stain = tissue
    made = compared({"a": {"i": labels}, "b": {"i": np.roll(labels, 2, 1)}}, planes={"i": stain})
    first, second = choose_crops(made), choose_crops(made)
    assert first == second
    assert len(first) == 6
    for number, crop in enumerate(first):
        for other in first[:number]:
            common = crop.box.intersection(other.box)
            assert common is None or np.prod(common.shape) <= 0.25 * np.prod(crop.box.shape)


@pytest.mark.parametrize("shape", [(1, 1), (5, 30), (23, 23), (70, 500)])
def test_crops_lie_inside_small_and_narrow_images(compared: Make, shape: tuple[int, int]) -> None:
    labels = np.zeros(shape, np.int32)
    labels[: max(1, shape[0] // 2), : max(1, shape[1] // 3)] = 7
    other = np.where(labels, 3, 0)
    other[:, -1] = 9
    crops = choose_crops(compared({"a": {"i": labels}, "b": {"i": other}}))
    assert crops
    for crop in crops:
        box = crop.box
        assert 0 <= box.y0 < box.y1 <= shape[0]
        assert 0 <= box.x0 < box.x1 <= shape[1]


def test_where_nothing_is_found_nothing_is_chosen(compared: Make) -> None:
    nothing = np.zeros((60, 60), np.int32)
    made = compared({"a": {"i": nothing}, "b": {"i": nothing}})
    assert choose_crops(made) == []
    assert choose_crops(compared({"c": {}})) == []


def test_one_method_is_held_against_the_truth(compared: Make, tissue: tuple) -> None:
    labels, stain = tissue
    found = labels.copy()
    found[80:160, 80:160] = 0
    made = compared({"a": {"i": found}}, {"i": labels}, planes={"i": stain})
    first = choose_crops(made)[0]
    assert first.why == "Where the methods disagree most"
    assert holds(first.box, (80, 80))


def test_the_reference_agrees_best_with_the_others(compared: Make, tissue: tuple) -> None:
    labels, _ = tissue
    few, half = labels.copy(), labels.copy()
    few[:, 100:] = 0
    half[:, 220:] = 0
    made = compared({"few": {"i": few}, "half": {"i": half}, "all": {"i": labels}})
    assert reference_method(made) == "half"
    assert reference_method(compared({"none": {}})) is None
