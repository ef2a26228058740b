"""Per-cell means are right, against published tables and against plain numpy."""

from __future__ import annotations

import contextlib
import mmap
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flowio
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cellseg_core import Image, read_image
from cellseg_core import normalize as normalize_module
from cellseg_core.errors import ImageError
from cellseg_core.image import Position
from cellseg_core.intensity import as_kernel_pixels
from cellseg_core.measure import measure
from cellseg_core.table import FIXED_COLUMNS

EVERY_STATISTIC = ("count", "sum", "std", "min", "max", "median", "p0", "p5", "p90", "p99.9")


@contextlib.contextmanager
def bands_of(pixels: int) -> Iterator[None]:
    """Let everything be read in bands of about this many pixels."""
    before = normalize_module.row_bands.__defaults__
    normalize_module.row_bands.__defaults__ = (pixels,)
    try:
        yield
    finally:
        normalize_module.row_bands.__defaults__ = before


def expected(values: np.ndarray, statistic: str) -> float:
    """Return what numpy makes of the finite values."""
    values = np.asarray(values[np.isfinite(values)], np.float64)
    if statistic == "count":
        return values.size
    if not values.size:
        return np.nan
    if statistic.startswith("p"):
        return np.percentile(values, float(statistic[1:]))
    return getattr(np, statistic)(values)


class Lazy:
    """An array that only gives windows, and keeps count of the largest."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.largest = self.read = 0

    def __getitem__(self, key: Any) -> np.ndarray:
        window = self._array[key].copy()
        self.largest = max(self.largest, window.size)
        self.read += window.size
        return window


@pytest.mark.data
@pytest.mark.parametrize("roi", ["ROI002", "ROI004", "ROI008", "ROI010"])
def test_means_equal_the_table_that_the_authors_of_imc_spleen_published(
    data_dir: Path, roi: str
) -> None:
    folder = data_dir / "imc_spleen" / roi
    image = read_image(folder / "channels")
    table = measure(image, tifffile.imread(folder / "cell_labels.tif"))
    fcs = flowio.FlowData(folder / "cells.fcs")
    events = np.reshape(fcs.events, (-1, fcs.channel_count))
    assert len(events) == len(table) + 1, "event 1 is the background"
    # R writes an X before a name that begins with a digit.
    columns = {label.removeprefix("X"): i for i, label in enumerate(fcs.pnn_labels)}
    for number, channel in enumerate(image.channels):
        published = events[table.labels, columns[channel]]
        assert np.allclose(table.intensities[:, number], published, rtol=1e-6, atol=0), channel
    assert np.array_equal(table.areas, events[table.labels, columns["Area"]])


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 1000),
    band=st.integers(1, 300),
)
@settings(max_examples=50, deadline=None)
def test_means_positions_and_sizes_equal_numpy_s_for_any_bands(shape, seed, band) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 9, shape) * rng.integers(0, 2, shape)
    pixels = rng.integers(0, 65_536, (3, *shape)).astype(np.uint16)
    with bands_of(band):
        table = measure(pixels, labels)
    assert table.labels.tolist() == sorted(set(labels[labels > 0].tolist()))
    for row, label in enumerate(table.labels):
        inside = labels == label
        assert table.areas[row] == inside.sum()
        assert np.allclose(table.centroids[row], np.argwhere(inside).mean(axis=0))
        assert np.allclose(table.intensities[row], pixels[:, inside].mean(axis=1), rtol=1e-12)
        edge = inside[0].any() | inside[-1].any() | inside[:, 0].any() | inside[:, -1].any()
        assert table.touches_edge[row] == edge


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "int32", "float32"])
def test_large_values_do_not_overflow(dtype: str) -> None:
    top = np.finfo(dtype).max / 1e6 if dtype.startswith("f") else np.iinfo(dtype).max
    pixels = np.full((1, 300, 300), top, dtype)
    table = measure(pixels, np.ones((300, 300), np.int32))
    assert table.intensities[0, 0] == pytest.approx(float(pixels[0, 0, 0]), rel=1e-12)


def test_pixels_that_are_not_numbers_are_left_out() -> None:
    pixels = np.array([[[1.0, np.nan, 3.0, np.nan, np.inf]]], np.float32)
    table = measure(pixels, np.array([[1, 1, 1, 2, 2]]))
    assert table.intensities[0, 0] == 2
    assert np.isnan(table.intensities[1, 0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((4, 5), int), r"size \(4, 5\), the image \(4, 4\)"),
        (np.zeros((4, 4)), "holds integers; this one holds float64"),
        (np.full((4, 4), -2), "negative values"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message) -> None:
    with pytest.raises(ImageError, match=message):
        measure(np.zeros((1, 4, 4)), labels)


def test_the_columns_are_those_of_the_contract() -> None:
    image = Image(
        np.ones((2, 6, 6), np.uint8),
        channels=("CD3", "area"),
        pixel_size=0.5,
        name="one",
        position=Position(region=2, tile_row=3, tile_col=4, tile_z=5, y0=100, x0=200),
    )
    labels = np.zeros((6, 6), int)
    labels[1:3, 2:4] = 8
    frame = measure(image, labels).to_pandas()
    assert list(frame.columns) == [*FIXED_COLUMNS, "area_um2", "CD3", "area:mean"]
    row = frame.iloc[0]
    assert (row["image"], row["cell_id"], row["region"]) == ("one", 8, 2)
    assert (row["tile_row"], row["tile_col"], row["tile_z"]) == (3, 4, 5)
    assert (row["y"], row["x"]) == (1.5, 2.5)
    assert (row["absolute_y"], row["absolute_x"]) == (101.5, 202.5)
    assert (row["area"], row["area_um2"]) == (4, 1.0)
    assert np.isnan(row["score"])
    assert not row["touches_edge"]


def tissue(shape: tuple[int, int], seed: int, cells: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return cells of all kinds, in pieces and with gaps in their ids, and their nuclei."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int64)
    ids = rng.choice(5 * cells, cells, replace=False) + 1
    for cell in ids:
        y, x = (int(rng.integers(0, n)) for n in shape)
        height, width = rng.integers(1, 12, 2)
        labels[y : y + height, x : x + width] = cell
    labels[rng.random(shape) < 0.1] = 0
    if rng.random() < 0.3:
        labels[:, int(rng.integers(shape[1]))] = ids[0]
    nuclei = np.where((rng.random(shape) < 0.5) & (labels != ids[-1]), labels, 0)
    return labels, nuclei


@pytest.mark.parametrize(
    "dtype",
    [
        "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
        "float16", "float32", "float64", ">u2", ">f4", "bool",
    ],
)  # fmt: skip
def test_all_statistics_of_all_compartments_equal_numpy_s(dtype: str) -> None:
    rng = np.random.default_rng(3)
    labels, nuclei = tissue((60, 50), 1, 30)
    if dtype == "bool":
        pixels = rng.random((2, 60, 50)) < 0.5
    elif np.dtype(dtype).kind == "f":
        pixels = (rng.normal(5, 30, (2, 60, 50)) ** 2).astype(dtype)
        pixels[rng.random(pixels.shape) < 0.1] = np.nan
        pixels[rng.random(pixels.shape) < 0.05] = np.inf
        pixels[0, 5, 5] = -np.inf
        pixels[1][labels == labels.max()] = np.nan
    else:
        info = np.iinfo(dtype)
        pixels = rng.integers(
            max(info.min, -(2**52)), min(info.max, 2**52), (2, 60, 50), endpoint=True
        ).astype(dtype)
        # Skewed, with many equal values, as images are.
        pixels[1] = np.where(rng.random((60, 50)) < 0.9, pixels[1] % 5, pixels[1])
    names = [f"{part}{name}" for part in ("", "nucleus_", "ring_") for name in EVERY_STATISTIC]
    table = measure(
        pixels,
        labels,
        nuclei=nuclei,
        features=[*names, "nucleus_mean", "ring_mean", "compartments"],
    )
    masks = {"": labels, "nucleus": nuclei, "ring": np.where(nuclei > 0, 0, labels)}
    assert set(table.statistics) == {*names, "nucleus_mean", "ring_mean"}
    for name, values in table.statistics.items():
        part, _, statistic = name.rpartition("_")
        assert values.shape == (len(table), 2)
        for row, cell in enumerate(table.labels):
            for channel in range(2):
                inside = pixels[channel][masks[part] == cell]
                truth = expected(inside, statistic)
                # Sums and deviations have the precision of the largest values.
                slack = 1e-14 * np.abs(inside[np.isfinite(inside)].astype(float)).max(initial=0)
                assert np.isclose(
                    values[row, channel], truth, rtol=1e-11, atol=slack, equal_nan=True
                ), (name, cell, channel)
    for part in ("nucleus", "ring"):
        areas = [np.count_nonzero(masks[part] == cell) for cell in table.labels]
        assert table.features[f"{part}_area"].tolist() == areas


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 10_000),
    bands=st.tuples(st.integers(1, 60), st.integers(1, 2000)),
    stored=st.none() | st.tuples(st.integers(1, 30), st.integers(1, 30)),
    floats=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_no_value_depends_on_how_the_image_is_cut(shape, seed, bands, stored, floats) -> None:
    rng = np.random.default_rng(seed)
    labels, nuclei = tissue(shape, seed)
    pixels = rng.normal(1, 1e4, (2, *shape)).astype(np.float32)
    pixels[rng.random(pixels.shape) < 0.1] = np.nan
    if not floats:
        pixels = rng.integers(0, 65_536, (2, *shape)).astype(np.uint16)
    tables = []
    for band, tiles in zip(bands, (None, stored), strict=True):
        lazy = Lazy(pixels)
        lazy.stored = tiles
        with bands_of(band):
            tables.append(
                measure(lazy, Lazy(labels), nuclei=Lazy(nuclei), features="all").columns()
            )
    one, other = tables
    assert list(one) == list(other)
    for name, values in one.items():
        assert values.tobytes() == other[name].tobytes(), name
    assert one["cell_id"].tolist() == sorted(set(labels[labels > 0].tolist()))


@given(order=st.permutations(range(1, 13)), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_values_go_with_the_cell_whatever_its_id(order, seed) -> None:
    labels = np.arange(1, 13).repeat(30).reshape(18, 20)
    pixels = np.random.default_rng(seed).normal(size=(1, 18, 20))
    pixels[0, ::5, ::3] = np.nan
    renamed = np.array([0, *order])[labels]
    plain = measure(pixels, labels, features="all", nuclei=labels)
    other = measure(pixels, renamed, features="all", nuclei=renamed)
    rows = np.searchsorted(other.labels, order)
    assert np.array_equal(plain.intensities, other.intensities[rows])
    for name, values in plain.statistics.items():
        assert np.array_equal(values, other.statistics[name][rows], equal_nan=True)
    for name, column in plain.features.items():
        assert np.array_equal(column, other.features[name][rows], equal_nan=True)


def test_sums_of_the_largest_values_over_a_large_cell_do_not_overflow() -> None:
    for dtype in ("uint16", "uint32"):
        top = np.iinfo(dtype).max
        pixels = np.full((1, 500, 70_000), top, dtype)
        pixels[0, 0, 0] = top - 1
        table = measure(pixels, np.ones((500, 70_000), np.uint8), features="sum,std,median,min")
        size = 500 * 70_000
        total = float(size * top - 1)
        slack = 0 if dtype == "uint16" else 1e-13
        assert table.statistics["sum"][0, 0] == pytest.approx(total, rel=slack)
        assert table.intensities[0, 0] == pytest.approx(total / size, rel=slack)
        assert table.statistics["median"][0, 0] == top
        assert table.statistics["min"][0, 0] == top - 1
        assert table.statistics["std"][0, 0] == pytest.approx(size**-0.5, rel=1e-3)


def test_a_small_spread_far_from_the_first_pixel_is_not_lost() -> None:
    for dtype in ("float32", "float64", "uint16"):
        pixels = np.tile(np.array([40_000, 40_001], dtype), 5000)[None, None]
        pixels[0, 0, 0] = 0
        truth = np.std(pixels.astype(np.float64))
        found = measure(pixels, np.ones((1, 10_000), int), features="std").statistics["std"][0, 0]
        assert found == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("size", [1, 2, 3, 24, 25, 26, 400])
def test_percentiles_are_those_of_numpy_for_any_size_and_spread(dtype: str, size: int) -> None:
    rng = np.random.default_rng(size)
    spreads = [
        rng.integers(0, 200, size),
        np.full(size, 7),
        np.where(rng.random(size) < 0.9, 0, 250),
        rng.integers(0, 3, size),
        np.minimum(rng.exponential(3, size), 255),
        np.r_[255, rng.random(size - 1)],
    ]
    if dtype == "float64":
        spreads += [rng.choice([-1.5e308, 1.5e308, 1.0], size), rng.integers(0, 9, size) * 5e-324]
    names = ["p0", "p0.5", "p10", "p33.3", "p50", "median", "p66", "p90", "p99.5", "p100"]
    for spread in spreads:
        pixels = np.asarray(spread).astype(dtype).reshape(1, 1, -1)
        table = measure(pixels, np.ones((1, size), int), features=names)
        for name in names:
            level = 50 if name == "median" else float(name[1:])
            with np.errstate(over="ignore", invalid="ignore"):
                truth = np.percentile(pixels.astype(np.float64), level)
            assert table.statistics[name][0, 0] == pytest.approx(truth, rel=1e-12, nan_ok=True)


def test_lazy_images_are_read_in_windows_and_memory_stays_small() -> None:
    side, channels = 3000, 4
    labels = np.zeros((side, side), np.int32)
    grid = np.arange(side // 20 * (side // 20), dtype=np.int32).reshape(side // 20, -1) + 1
    labels[:] = grid.repeat(20, 0).repeat(20, 1)
    labels[::20] = labels[:, ::20] = 0

    class Made:
        shape, dtype = (channels, side, side), np.dtype(np.uint16)
        read = 0

        def __getitem__(self, key: Any) -> np.ndarray:
            _, rows, columns = key
            rows, columns = (range(*part.indices(side)) for part in (rows, columns))
            self.read += len(rows) * len(columns)
            return np.full((len(rows), len(columns)), 7, np.uint16)

    lazy = Made()
    wanted = "statistics,shape"
    with bands_of(side * 200):
        measure(np.zeros((1, 60, 60), np.uint16), labels[:60, :60], features=wanted)
        tracemalloc.start()
        try:
            table = measure(lazy, Lazy(labels), features=wanted)
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert np.all(table.intensities == 7)
    assert peak - kept < 0.3 * channels * side * side * 2
    assert lazy.read < 1.15 * channels * side * side


def test_an_image_stored_in_tiles_is_read_in_squares_of_tiles() -> None:
    labels = np.zeros((1000, 3000), np.int32)
    labels[5::10, 2::10] = np.arange(1, 30_001).reshape(100, 300)
    labels[1:3, 40:50] = 40_000
    asked = []

    class Tiled(Lazy):
        stored = (90, 110)

        def __getitem__(self, key: Any) -> np.ndarray:
            asked.append(key[1:])
            return super().__getitem__(key)

    pixels = Tiled(np.random.default_rng(0).integers(0, 99, (1, 1000, 3000)).astype(np.uint16))
    with bands_of(200 * 200):
        table = measure(pixels, labels)
    assert table.labels.size == 30_001
    assert {columns.start // 220 for _, columns in asked} == set(range(14))
    assert {rows.start // 180 for rows, _ in asked} == set(range(6))
    assert len(asked) == 14 * 6
    assert pixels.read <= 1000 * 3000


def test_one_tall_cell_makes_no_window_of_other_cells_larger() -> None:
    labels = np.zeros((1000, 300), np.int32)
    labels[5::10, 2::10] = np.arange(1, 3001).reshape(100, 30)
    labels[:, 299] = 9999
    pixels = Lazy(np.random.default_rng(0).integers(0, 99, (1, 1000, 300)).astype(np.uint16))
    with bands_of(50 * 300):
        table = measure(pixels, labels)
    assert pixels.largest <= 50 * 300
    assert pixels.read <= 1001 * 300
    assert table.intensities[-1, 0] == pixels._array[0, :, 299].mean()


@pytest.mark.parametrize("dtype", [np.int64, np.uint32, np.uint64])
def test_ids_may_be_huge_and_few(dtype: type) -> None:
    labels = np.zeros((30, 30), dtype)
    labels[2:5, 3:9] = 2_000_000_000
    labels[8:20, 8:30] = 3_999_999_999
    labels[25, 25] = 4
    pixels = np.arange(900.0).reshape(1, 30, 30)
    tracemalloc.start()
    try:
        table = measure(pixels, labels, nuclei=labels, features="neighbours,nucleus_max,bbox")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50e6
    assert table.labels.tolist() == [4, 2_000_000_000, 3_999_999_999]
    assert table.areas.tolist() == [1, 18, 264]
    assert table.intensities[:, 0].tolist() == [pixels[0][labels == i].mean() for i in table.labels]
    assert table.features["neighbours"].tolist() == [0, 0, 0]
    assert [int(table.features[f"bbox_{side}"][1]) for side in ("y0", "x0", "y1", "x1")] == [
        2, 3, 5, 9,
    ]  # fmt: skip


def test_neighbours_and_contacts_are_those_of_4_neighbours() -> None:
    labels = np.array([[7, 7, 2, 2], [7, 7, 2, 2], [0, 5, 5, 5], [9, 0, 0, 0]])
    table = measure(np.zeros((1, 4, 4), np.uint8), labels, features="neighbours")
    assert table.labels.tolist() == [2, 5, 7, 9]
    assert table.features["neighbours"].tolist() == [2, 2, 2, 0]
    assert table.features["contact_length"].tolist() == [4, 3, 3, 0]


def test_a_million_cells_of_one_pixel_take_little_time() -> None:
    labels = np.arange(1, 1_000_001, dtype=np.int32).reshape(1000, 1000)
    pixels = np.random.default_rng(0).integers(0, 65_536, (2, 1000, 1000)).astype(np.uint16)
    measure(pixels[:, :9, :9], labels[:9, :9], features="statistics,shape")
    start = time.perf_counter()
    table = measure(pixels, labels, features="statistics,shape")
    assert time.perf_counter() - start < 20
    assert np.array_equal(table.intensities, pixels.reshape(2, -1).T)
    assert np.array_equal(table.statistics["median"], table.intensities)
    assert not table.statistics["std"].any()
    assert np.all(table.features["solidity"] == 1)


def test_an_image_without_cells_has_a_table_without_rows() -> None:
    pixels = np.ones((2, 5, 6), np.float32)
    empty = np.zeros((5, 6), np.int32)
    table = measure(pixels, empty, nuclei=empty, features="all")
    assert len(table) == 0
    assert table.intensities.shape == (0, 2)
    columns = table.columns()
    assert {values.size for values in columns.values()} == {0}
    one = measure(pixels, np.ones((5, 6), int), nuclei=empty, features="all")
    assert list(columns) == list(one.columns())
    for name, values in columns.items():
        assert values.dtype == one.columns()[name].dtype, name


def test_one_cell_may_cover_the_whole_image() -> None:
    pixels = np.random.default_rng(0).normal(size=(1, 300, 200))
    with bands_of(400):
        table = measure(pixels, np.ones((300, 200), bool).astype(np.uint8), features="median,shape")
    assert table.areas.tolist() == [60_000]
    assert table.intensities[0, 0] == pytest.approx(pixels.mean(), rel=1e-9)
    assert table.statistics["median"][0, 0] == np.median(pixels)
    assert table.features["solidity"].tolist() == [1]


def test_read_only_and_strided_arrays_are_measured_alike() -> None:
    labels, _ = tissue((30, 40), 5)
    pixels = np.random.default_rng(0).integers(0, 99, (2, 30, 40)).astype(np.uint16)
    plain = measure(pixels, labels, features="statistics").columns()
    turned = np.asfortranarray(pixels), np.asfortranarray(labels)
    for array in turned:
        array.flags.writeable = False
    for name, values in measure(*turned, features="statistics").columns().items():
        assert np.array_equal(values, plain[name], equal_nan=True)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.ones((4, 4), bool), "True and False"),
        (np.ones((2, 4, 4), int), r"axes \(Y, X\)"),
        (np.full((4, 4), 2**63, np.uint64), r"2\*\*63"),
    ],
)
def test_labels_that_are_none_are_refused(labels, message) -> None:
    with pytest.raises(ImageError, match=message):
        measure(np.zeros((1, 4, 4)), labels)


def test_progress_counts_up_to_all() -> None:
    labels, _ = tissue((30, 40), 5)
    seen: list[tuple[int, int]] = []
    with bands_of(200):
        measure(np.zeros((3, 30, 40), np.uint8), labels, progress=lambda *step: seen.append(step))
    steps = seen[0][1]
    assert steps % 3 == 0
    assert seen == [(done, steps) for done in range(1, steps + 1)]


def test_statistics_follow_the_channels_and_never_clash() -> None:
    image = Image(np.ones((3, 2, 2)), channels=("CD3", "CD3:median", "area"), pixel_size=1.0)
    table = measure(image, np.ones((2, 2), int), features="median,p90,neighbours")
    assert list(table.columns())[12:] == [
        "area_um2", "neighbours", "contact_length",
        "CD3:mean", "CD3:median", "area:mean",
        "CD3:mean:median", "CD3:mean:p90",
        "CD3:median:median", "CD3:median:p90",
        "area:mean:median", "area:mean:p90",
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_pixels_of_a_type_that_loops_are_made_for_are_not_copied(dtype: str) -> None:
    window = np.ones((3, 4), dtype)
    pixels = as_kernel_pixels(window)
    assert pixels.dtype == dtype
    assert np.shares_memory(pixels, window)


@pytest.mark.skipif(sys.platform == "win32", reason="a mapped file cannot be cut")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_nothing_is_read_behind_the_last_pixel(tmp_path: Path, dtype: str) -> None:
    with (tmp_path / "pixels").open("w+b") as file:
        file.truncate(2 * mmap.PAGESIZE)
        memory = mmap.mmap(file.fileno(), 2 * mmap.PAGESIZE)
        # From now on the second page ends whoever reads it.
        file.truncate(mmap.PAGESIZE)
    size = mmap.PAGESIZE // np.dtype(dtype).itemsize
    pixels = np.frombuffer(memory, dtype, size).reshape(1, 1, size)
    pixels[...] = 3
    labels = (np.arange(size) >= size - 5).astype(int)[None]
    # Means alone are summed by another loop than with the spread.
    for features in ("sum", "statistics"):
        table = measure(pixels, labels, features=features)
        assert table.intensities.tolist() == [[3]]
        assert table.statistics["sum"].tolist() == [[15]]
    for name in ("min", "max", "median", "p10", "p90"):
        assert table.statistics[name].tolist() == [[3]]
