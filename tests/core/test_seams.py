"""Whether seams between tiles show."""

from __future__ import annotations

import numpy as np

from cellseg_core.regions import find_regions
from cellseg_core.seams import check_seams, seams_of
from cellseg_core.tiling import tile_image

SHAPE = (300, 300)
SEAMS = seams_of(tile_image(SHAPE, 100, 10))


def squares(step: int = 20, size: int = 10, skip: int = 0) -> np.ndarray:
    labels = np.zeros(SHAPE, np.int32)
    for y in range(5, SHAPE[0] - size, step):
        for x in range(5, SHAPE[1] - size, step):
            labels[y : y + size, x : x + size] = labels.max() + 1
    return labels


def checked(labels: np.ndarray) -> dict:
    regions = find_regions(labels)
    return check_seams(SEAMS, labels, regions.centroids, regions.areas, 10.0)


def test_the_seams_are_the_first_rows_and_columns_of_tiles_but_for_the_image_s_own() -> None:
    assert SEAMS == {"y": [100, 200], "x": [100, 200]}


def test_an_image_in_one_piece_has_nothing_to_check() -> None:
    labels = squares()
    assert check_seams({"y": [], "x": []}, labels, np.zeros((0, 2)), np.zeros(0, int), 10) == {}


def test_every_cell_is_near_a_seam_or_elsewhere_and_densities_are_of_these_areas() -> None:
    labels = squares()
    found = checked(labels)
    assert found["near"]["cells"] + found["elsewhere"]["cells"] == labels.max()
    y, x = find_regions(labels).centroids.T
    near = np.zeros(len(y), bool)
    for seam in (99.5, 199.5):
        near |= (np.abs(y - seam) <= 10) | (np.abs(x - seam) <= 10)
    assert found["near"]["cells"] == np.count_nonzero(near)
    band = np.zeros(SHAPE, bool)
    for seam in (100, 200):
        band[seam - 10 : seam + 10], band[:, seam - 10 : seam + 10] = True, True
    expected = np.count_nonzero(near) / np.count_nonzero(band) * 1e6
    assert np.isclose(found["near"]["per_megapixel"], expected, rtol=0.1)


def test_nuclei_cut_at_seams_are_counted_and_whole_ones_are_not() -> None:
    whole = np.zeros(SHAPE, np.int32)
    y, x = np.indices(SHAPE)
    for number, place in enumerate(range(15, 290, 20), start=1):
        whole[(y - 100) ** 2 + (x - place) ** 2 <= 30] = number
    assert checked(whole)["near"]["straight"] == 0
    cut = whole.copy()
    cut[100:][whole[100:] > 0] += 100
    found = checked(cut)
    assert found["near"]["straight"] >= 20
    assert found["near"]["straight"] <= found["near"]["crossing"]
    assert found["elsewhere"]["straight"] == 0


def test_a_large_image_without_cells_is_no_error() -> None:
    empty = np.zeros(SHAPE, np.int32)
    found = check_seams(SEAMS, empty, np.zeros((0, 2)), np.zeros(0, np.int64), 10.0)
    assert found["near"]["median_area"] is None
    assert found["near"]["cells"] == 0
