"""Where cells are, and the windows in which they are read."""

from __future__ import annotations

import numpy as np
import pytest

from cellseg_core import Image
from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.measure import measure
from cellseg_core.normalize import row_bands
from cellseg_core.regions import find_regions, plan


@pytest.fixture
def read_in(monkeypatch: pytest.MonkeyPatch):
    """Let everything be read in bands of about so many pixels."""
    return lambda pixels: monkeypatch.setattr(row_bands, "__defaults__", (pixels,))


def test_boxes_and_first_pixels_are_those_of_all_pixels_of_an_id() -> None:
    labels = np.random.default_rng(0).integers(0, 30, (9, 14))
    regions = find_regions(labels)
    assert regions.ids.tolist() == sorted(set(labels[labels > 0].tolist()))
    for number, box, first in zip(regions.ids, regions.boxes, regions.first, strict=True):
        y, x = np.nonzero(labels == number)
        assert box.tolist() == [y.min(), x.min(), y.max() + 1, x.max() + 1]
        assert first == np.flatnonzero(labels == number)[0]


def test_an_id_that_does_not_occur_has_no_row() -> None:
    labels = np.array([[7, 0, 3, 7]])
    asked = np.array([3, 7, 1, 5, 9])
    assert find_regions(labels).rows_of(asked).tolist() == [0, 1, -1, -1, -1]
    assert find_regions(0 * labels).rows_of(asked).tolist() == [-1] * 5


@pytest.mark.parametrize(
    ("stored", "window"),
    [
        ((50, 50), (100, 100)),
        # Beside the long side of a tile the other one is short, or windows were large.
        ((400, 10), (400, 20)),
        ((10, 400), (20, 400)),
    ],
)
def test_windows_are_whole_tiles_as_large_as_a_band(read_in, stored, window) -> None:
    labels = np.arange(1, 6401).reshape(80, 80).repeat(10, 0).repeat(10, 1)
    read_in(12 * 800)
    windows = list(plan(find_regions(labels), labels.shape, stored))
    assert len(windows) == 800 * 800 / (window[0] * window[1])
    for one in windows:
        assert (one.rows.stop - one.rows.start, one.columns.stop - one.columns.start) == window


def test_a_cell_taller_than_a_band_has_a_window_of_its_own_and_the_others_theirs(read_in) -> None:
    labels = np.array([[1, 2, 9], [3, 4, 9], [5, 6, 9], [7, 8, 9]])
    read_in(3)
    windows = [
        (window.rows, window.cells.tolist()) for window in plan(find_regions(labels), (4, 3))
    ]
    assert windows == [
        (slice(0, 4), [8]),
        *((slice(row, row + 1), [2 * row, 2 * row + 1]) for row in range(4)),
    ]


def test_cells_that_all_reach_over_the_whole_image_have_one_window(read_in) -> None:
    labels = np.random.default_rng(0).integers(1, 50, (60, 60))
    read_in(600)
    (window,) = plan(find_regions(labels), labels.shape)
    assert window.cells.tolist() == list(range(49))


def test_nuclei_must_fit_their_cells() -> None:
    pixels, cells = np.zeros((1, 6, 6)), np.zeros((6, 6), int)
    cells[1:3, 1:3] = 3
    with pytest.raises(ConfigurationError, match=r"nucleus_mean cannot be measured .* nuclei="):
        measure(pixels, cells, features="nucleus_mean")
    with pytest.raises(ImageError, match="label image of the nuclei has the size"):
        measure(pixels, cells, nuclei=cells[:5], features="nucleus_mean")
    for wrong in (4, 3):
        nuclei = cells.copy()
        nuclei[(2, 2) if wrong == 4 else (5, 5)] = wrong
        with pytest.raises(ImageError, match=rf"the nucleus has the id {wrong} and the cell"):
            measure(pixels, cells, nuclei=nuclei, features="ring_area")


def test_regions_of_another_label_image_are_refused() -> None:
    nuclei = np.zeros((20, 20), np.int32)
    nuclei[5:8, 5:8] = 1
    cells = np.zeros((20, 20), np.int32)
    cells[3:10, 3:10] = 1
    image = Image(np.ones((1, 20, 20), np.uint8))
    table = measure(image, cells, regions=find_regions(cells))
    assert table.areas.tolist() == [49]
    with pytest.raises(ImageError, match="regions are not those of this label image"):
        measure(image, cells, regions=find_regions(nuclei))
