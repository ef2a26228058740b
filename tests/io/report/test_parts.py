"""Plots, pairs, spots and what is measured for them."""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs
import numpy as np
import pytest
from skimage.measure import regionprops

from cellseg_core.measure import measure
from cellseg_core.result import Result
from cellseg_io.report.bleed import choose_pairs, threshold
from cellseg_io.report.nuclei import measure_nuclei
from cellseg_io.report.plots import Axis, density_plot, heatmap, histogram
from cellseg_io.report.spots import choose_spots

Make = Callable[..., Result]


def test_an_axis_is_linear_for_near_values_and_logarithmic_with_a_zero_for_far_ones() -> None:
    near = Axis.of_signal(np.linspace(8000, 12_000, 500))
    assert near.bend is None
    assert near.low > 7900
    far = Axis.of_signal(np.concatenate([np.zeros(50), np.geomspace(1, 1e5, 500)]))
    assert far.bend is not None
    places = far.place(np.array([0.0, 1e2, 1e3, 1e4]))
    assert places[0] == 0
    assert np.isclose(places[3] - places[2], places[2] - places[1], rtol=0.15)
    assert [text for _, text in far.ticks()][:1] == ["0"]


@pytest.mark.parametrize(
    "values",
    [
        *([], [np.nan], [5.0], [0.0, 0.0], [-3.0, -1.0, 2.0], [1e-9, 3], [-5.0, -3.0, -0.5]),
        *([1e20, 1e20], [-1e20, -1e20], [-2.0, 0.0]),
    ],
)
def test_odd_values_are_drawn_without_an_error(values: list[float]) -> None:
    column = np.array(values, np.float64)
    for axis in (Axis.of_signal(column), Axis.linear(column)):
        assert "nan" not in histogram(column, axis, "x")
        assert "nan" not in density_plot(column, column, (axis, axis), ("x", "y"), (0.0, 1.0))
    heatmap(column.reshape(1, -1) if column.size else np.full((1, 1), np.nan))


def test_a_histogram_has_every_cell_and_a_line_for_before() -> None:
    values = np.random.default_rng(0).lognormal(3, 1, 1000)
    svg = histogram(values, Axis.of_signal(values), "mean", values * 2)
    assert svg.count("<path class=") == 2
    steps = re.search(r'class="bars" d="M6 90(.*?)V90"', svg)
    assert steps is not None
    heights = [90 - float(top) for top in re.findall(r"V([\d.]+)", steps[1])]
    assert len(heights) == 48
    assert max(heights) <= 84


def test_plots_of_a_million_cells_are_as_small_as_those_of_a_thousand() -> None:
    values = np.random.default_rng(0).lognormal(3, 1, (2, 10**6))
    axes = tuple(Axis.of_signal(one) for one in values)
    assert len(histogram(values[0], axes[0], "x")) < 3000
    assert len(density_plot(*values, axes, ("x", "y"))) < 9000


def test_sizes_and_shapes_are_those_of_nuclei_in_the_order_of_the_table(make: Make) -> None:
    one = make()
    found = measure_nuclei(one)
    by_id = {region.label: region for region in regionprops(one.nuclei)}
    for row, label in enumerate(one.table.labels.tolist()):
        region = by_id.get(label)
        assert found.areas[row] == (region.area if region is not None else 0)
        if region is not None and region.area > 5:
            assert np.isclose(found.shapes["eccentricity"][row], region.eccentricity)
    features = measure(
        one.image, one.cells, nuclei=np.minimum(one.nuclei, one.cells), features="nucleus_shape"
    )
    again = measure_nuclei(attrs.evolve(one, table=features))
    assert np.array_equal(again.areas, found.areas)


def test_pairs_are_those_that_lost_double_positive_cells(make: Make) -> None:
    one = make(channels=("DAPI", "A", "B"))
    rng = np.random.default_rng(0)
    size = len(one.table)
    before = np.stack([rng.normal(1000, 50, size), *rng.normal(10, 1, (2, size))], axis=1)
    before[: size // 3, 1] += 1000
    before[size // 4 : size // 2, 2] += 1000
    after = before.copy()
    after[size // 4 : size // 3, 2] = 10
    table = attrs.evolve(one.table, intensities=after, uncompensated=before)
    (pair,) = choose_pairs(table, (), [0])
    assert (pair.first, pair.second) == (1, 2)
    assert (pair.double(before), pair.double(after)) == (size // 3 - size // 4, 0)
    asked = choose_pairs(table, [(0, 2)], [0])
    assert [(pair.first, pair.second) for pair in asked] == [(0, 2)]
    assert choose_pairs(one.table, [(0, 1)]) == []


def test_a_threshold_parts_two_groups_and_takes_any_values() -> None:
    rng = np.random.default_rng(0)
    two = np.concatenate([rng.normal(20, 3, 900), rng.normal(900, 90, 100)])
    assert 40 < threshold(two) < 600
    for odd in ([], [np.nan], [0.0, 0.0], [7.0]):
        assert np.isfinite(threshold(np.array(odd, np.float64)))


def test_spots_show_the_dense_the_dim_the_largest_and_a_seam(make: Make) -> None:
    one = make(facts={"seams": {"y": [100], "x": []}}, nuclear_diameter=5.0)
    nuclear = one.table.intensities[:, 0].copy()
    corner = (one.table.centroids < 60).all(axis=1)
    nuclear[corner] /= 10
    areas = measure_nuclei(one).areas
    spots = {spot.name: spot.box for spot in choose_spots(one, nuclear, areas)}
    assert {"Dense", "Dim", "At a seam"} <= set(spots)
    assert spots["Dim"].y0 < 60
    assert spots["Dim"].x0 < 60
    assert spots["At a seam"].y0 < 100 < spots["At a seam"].y1
    assert len({box.shape for box in spots.values()}) == 1
    assert all(box.y0 >= 0 and box.y1 <= 200 and box.x1 <= 260 for box in spots.values())


def test_an_image_without_cells_has_one_spot(make: Make) -> None:
    one = make(empty=True)
    (spot,) = choose_spots(one, np.zeros(0), np.zeros(0, np.int64))
    assert spot.why == "no cell was found"
