"""Measures of shape equal scikit-image's regionprops, on real masks and on strange ones."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

from cellseg_core.measure import measure


def check(labels: np.ndarray) -> None:
    """Compare every measure of every cell."""
    table = measure(
        np.zeros((1, *labels.shape), np.uint8),
        labels,
        nuclei=labels,
        features="shape,nucleus_shape",
    )
    found = table.features
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        props = regionprops(labels.astype(np.int32))
    assert [prop.label for prop in props] == table.labels.tolist()
    for row, prop in enumerate(props):
        assert found["perimeter"][row] == pytest.approx(prop.perimeter, rel=1e-12)
        assert found["solidity"][row] == pytest.approx(prop.solidity, rel=1e-12), prop.label
        assert found["axis_major_length"][row] == pytest.approx(prop.axis_major_length, abs=1e-9)
        # The root of a rounding error: both are right to this.
        slack = 1e-6 * max(1, prop.axis_major_length)
        assert found["axis_minor_length"][row] == pytest.approx(prop.axis_minor_length, abs=slack)
        assert found["eccentricity"][row] == pytest.approx(prop.eccentricity, rel=1e-9, abs=1e-6)
        if prop.eccentricity > 1e-3:
            # The axis is a line: both ends of the range are the same.
            turn = (found["orientation"][row] - prop.orientation) / np.pi
            assert abs(turn - round(turn)) < 1e-6
        else:
            assert -np.pi / 2 <= found["orientation"][row] <= np.pi / 2
        box = [int(found[f"bbox_{side}"][row]) for side in ("y0", "x0", "y1", "x1")]
        assert box == list(prop.bbox)
    for name in [name for name in found if name.startswith("nucleus_")]:
        assert np.array_equal(found[name], found[name.removeprefix("nucleus_")])


@given(
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    seed=st.integers(0, 10_000),
    coarse=st.integers(1, 6),
    ids=st.integers(1, 12),
    full=st.floats(0.1, 1),
)
@settings(max_examples=80, deadline=None)
def test_random_masks(shape, seed, coarse, ids, full) -> None:
    rng = np.random.default_rng(seed)
    blocks = rng.integers(1, ids + 1, shape).repeat(coarse, 0).repeat(coarse, 1)
    labels = blocks[: shape[0], : shape[1]] * (rng.random(shape) < full)
    check(labels)


def test_ellipses_of_all_sizes_and_directions() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40]
    labels = np.zeros((400, 400), int)
    for number in range(100):
        a, b = rng.uniform(1, 19, 2)
        turn = rng.uniform(0, np.pi)
        dy, dx = y - rng.uniform(19, 20), x - rng.uniform(19, 20)
        inside = ((dy * np.cos(turn) + dx * np.sin(turn)) / a) ** 2 + (
            (dx * np.cos(turn) - dy * np.sin(turn)) / b
        ) ** 2 <= 1
        top, left = divmod(number, 10)
        labels[top * 40 : top * 40 + 40, left * 40 : left * 40 + 40][inside] = number + 1
    check(labels)


@pytest.mark.parametrize(
    "rows",
    [
        ["#"], ["##"], ["#", "#"], ["#.", ".#"], [".#", "#."], ["###", "#.#", "###"],
        ["#....", ".....", "....#"], [".#.", "###", ".#."], ["#..#", "....", "#..#"], ["##", "##"],
    ],
)  # fmt: skip
def test_the_smallest_shapes(rows: list[str]) -> None:
    check(np.pad([[int(pixel == "#") for pixel in row] for row in rows], 1))


@pytest.mark.data
def test_real_cells(data_dir: Path) -> None:
    labels = tifffile.imread(data_dir / "imc_spleen" / "ROI002" / "cell_labels.tif")
    check(np.asarray(labels[:300, :300]))


def test_where_no_axis_is_longer_the_orientation_is_minus_45_degrees() -> None:
    table = measure(np.zeros((1, 5, 5)), np.pad(np.ones((3, 3), int), 1), features="shape")
    assert table.features["orientation"][0] == -np.pi / 4
    assert table.features["eccentricity"][0] == 0


def test_a_cell_without_a_nucleus_has_no_shape_of_it() -> None:
    cells = np.ones((4, 4), int)
    table = measure(
        np.zeros((1, 4, 4)), cells, nuclei=0 * cells, features="nucleus_shape,compartments"
    )
    for name, values in table.features.items():
        if name == "ring_area":
            assert values[0] == 16
        elif name.startswith("nucleus_bbox") or name == "nucleus_area":
            assert values[0] == 0
        else:
            assert np.isnan(values[0])
    assert np.isnan(table.statistics["nucleus_mean"][0, 0])
    assert table.statistics["ring_mean"][0, 0] == 0


def test_a_huge_cell_has_exact_moments() -> None:
    table = measure(
        np.zeros((1, 20_000, 300), np.uint8), np.ones((20_000, 300), np.uint8), features="shape"
    )
    # The variance of n whole numbers in a row is (n * n - 1) / 12.
    assert table.features["axis_major_length"][0] == pytest.approx(
        4 * np.sqrt((20_000**2 - 1) / 12), rel=1e-12
    )
    assert table.features["axis_minor_length"][0] == pytest.approx(
        4 * np.sqrt((300**2 - 1) / 12), rel=1e-9
    )
    assert table.features["perimeter"][0] == pytest.approx(2 * (20_000 + 300) - 4, rel=1e-12)
    assert table.features["solidity"][0] == 1
    assert table.features["orientation"][0] == 0
