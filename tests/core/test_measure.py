"""Per-cell means are right, against published tables and against plain numpy."""

from __future__ import annotations

from pathlib import Path

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
from cellseg_core.measure import measure
from cellseg_core.table import FIXED_COLUMNS


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
    before = normalize_module._BAND_PIXELS
    normalize_module.row_bands.__defaults__ = (band,)
    try:
        table = measure(pixels, labels)
    finally:
        normalize_module.row_bands.__defaults__ = (before,)
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
