"""Numbers at their extremes: large ids, full counts, no counts, no numbers, ten million cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import flowio
import numpy as np
import pandas as pd
import pytest

from cellseg_core import Image, Pipeline, Segmentation
from cellseg_core.contacts import count_contacts
from cellseg_core.errors import ImageError, OutputError
from cellseg_core.measure import measure
from cellseg_core.objects import compact
from cellseg_core.testing import WriterTests
from cellseg_io.csv_table import CsvWriter
from cellseg_io.fcs import FcsWriter
from cellseg_io.fcs_file import Parameter, write_fcs
from cellseg_io.parquet import ParquetWriter
from cellseg_postprocess.compensation import compensate, contact_matrix
from cellseg_postprocess.expansion import expand_sequential, expand_standard

FULL = 2**16 - 1
LARGE = 2**31


def halves(left: int, right: int, dtype: Any = np.int64, shape=(40, 50)) -> np.ndarray:
    """Return a label image of two cells side by side."""
    labels = np.full(shape, left, dtype)
    labels[:, shape[1] // 2 :] = right
    return labels


@attrs.frozen
class LargeIds:
    """A segmenter whose ids are what no 32 bits with a sign hold."""

    dtype: str
    native_diameter: float | None = None
    halo: int = 12

    def segment(self, tile: np.ndarray) -> Segmentation:
        from skimage.measure import label

        found = label(tile[0] > 0.5).astype(self.dtype)
        return Segmentation(np.where(found, found + np.array(LARGE, self.dtype), 0))


@pytest.mark.parametrize("dtype", ["uint32", "int64", "uint64"])
def test_ids_over_31_bits_of_a_segmenter_are_stitched_and_numbered_anew(dtype: str) -> None:
    pixels = np.zeros((1, 90, 110), np.uint16)
    for y in range(5, 80, 16):
        for x in range(5, 100, 16):
            pixels[0, y : y + 8, x : x + 8] = 900
    image = Image(pixels)
    given: dict[str, Any] = {"nuclear_diameter": 8, "expand_by": 2, "features": "neighbours"}
    whole = Pipeline(segmenter=LargeIds(dtype), **given).run(image)
    tiled = Pipeline(segmenter=LargeIds(dtype), tile=40, **given).run(image)
    assert whole.table.labels.tolist() == list(range(1, 31))
    assert whole.nuclei.dtype == whole.cells.dtype == np.int32
    assert np.array_equal(whole.cells, tiled.cells)
    assert whole.table.to_pandas().equals(tiled.table.to_pandas())


def test_ids_over_31_bits_are_measured_under_their_own_number() -> None:
    for dtype, left, right in (
        ("uint32", 2**31, 2**32 - 1),
        ("int64", 2**53 + 1, 2**63 - 1),
        ("uint64", 7, 2**63 - 1),
    ):
        labels = halves(left, right, dtype)
        table = measure(np.full((1, 40, 50), 3), labels, features="neighbours,shape,median")
        assert table.labels.tolist() == [left, right]
        assert table.features["contact_length"].tolist() == [40, 40]
        assert table.intensities.tolist() == [[3.0], [3.0]]
        numbered, ids = compact(labels)
        assert numbered.max() == 2
        assert ids.tolist() == [left, right]
    with pytest.raises(ImageError, match=r"over 2\*\*63 - 1"):
        measure(np.ones((1, 40, 50)), halves(1, 2**63, np.uint64))


@pytest.mark.parametrize("grow", [expand_standard, expand_sequential])
def test_expansion_keeps_the_highest_id_and_refuses_what_is_beyond(grow) -> None:
    labels = np.zeros((9, 9), np.int64)
    labels[4, 2], labels[4, 6] = 1, LARGE - 1
    grown = grow(labels, 1)
    assert set(np.unique(grown)) == {0, 1, LARGE - 1}
    assert np.count_nonzero(grown == LARGE - 1) == np.count_nonzero(grown == 1) > 1
    labels[4, 6] = LARGE
    with pytest.raises(ImageError, match="relabel_sequential"):
        grow(labels, 1)


def test_contacts_are_refused_for_ids_out_of_proportion_and_not_cut_to_32_bits() -> None:
    # 2**32 + 2 would be 2 in 32 bits.
    for count in (count_contacts, contact_matrix):
        with pytest.raises(ImageError, match="4294967298"):
            count(halves(1, 2**32 + 2))
    highest = 5_000_000
    contacts = count_contacts(halves(1, highest))
    assert (contacts.first.tolist(), contacts.second.tolist()) == ([1], [highest])
    assert contacts.lengths.tolist() == [40]


def test_ids_are_exact_in_every_table(tmp_path: Path) -> None:
    one = WriterTests().result()
    count = len(one.table)
    for first in (2**24 + 1, LARGE, 2**53 + 1):
        ids = first + np.arange(count)
        case = attrs.evolve(one, table=attrs.evolve(one.table, labels=ids))
        path, _ = CsvWriter().write(case, tmp_path)
        assert pd.read_csv(path)["cell_id"].tolist() == ids.tolist()
        (path,) = ParquetWriter().write(case, tmp_path)
        assert pd.read_parquet(path)["cell_id"].tolist() == ids.tolist()
        if first > 2**50:
            with pytest.raises(OutputError, match=r"ids up to 1\.6e13"):
                FcsWriter().write(case, tmp_path)
            continue
        with pytest.warns(UserWarning, match="cell_id_millions"):
            (path,) = FcsWriter().write(case, tmp_path)
        fcs = flowio.FlowData(path)
        events = np.reshape(fcs.events, (count, -1)).astype(np.int64)
        names = list(fcs.pnn_labels)
        millions, rest = (
            events[:, names.index(f"cell_id_{part}")] for part in ("millions", "rest")
        )
        assert (1_000_000 * millions + rest).tolist() == ids.tolist()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_sums_of_a_large_full_cell_do_not_overflow(dtype: str) -> None:
    highest = min(FULL, int(np.iinfo(dtype).max)) if dtype != "float32" else FULL
    pixels = np.full((1, 1500, 1500), highest, dtype)
    pixels[0, 0, 0] = highest - 1
    labels = np.ones((1500, 1500), np.int32)
    table = measure(pixels, labels, features="statistics,p99.9")
    size = labels.size
    total = size * highest - 1
    assert table.statistics["sum"][0, 0] == total  # over 2**37
    assert table.intensities[0, 0] == total / size
    assert table.statistics["std"][0, 0] == pytest.approx(np.sqrt(1 / size - 1 / size**2), rel=1e-9)
    assert table.statistics["max"][0, 0] == table.statistics["median"][0, 0] == highest
    assert table.statistics["min"][0, 0] == highest - 1
    assert table.areas.tolist() == [size]
    assert table.statistics["count"][0, 0] == size


def test_integers_are_exact_up_to_2_to_the_53_and_floats_up_to_their_ends() -> None:
    labels = np.array([[1, 2]], np.int32)
    table = measure(np.array([[[2**53, 2**32 - 1]]], np.int64), labels)
    assert table.intensities[:, 0].tolist() == [2.0**53, 2.0**32 - 1]
    most = float(np.finfo(np.float32).max)
    table = measure(np.full((1, 30, 30), most, np.float32), np.ones((30, 30), int), features="std")
    assert table.intensities[0, 0] == most
    assert table.statistics["std"][0, 0] == 0
    tiny = np.full((1, 2, 2), 5e-324)
    assert measure(tiny, np.ones((2, 2), int)).intensities[0, 0] == 5e-324


def test_a_cell_of_one_pixel_has_every_feature() -> None:
    labels = np.zeros((5, 5), np.int32)
    labels[2, 3] = 1
    pixels = np.arange(25.0).reshape(1, 5, 5)
    table = measure(pixels, labels, nuclei=labels, features="all,p0,p100")
    values = {name: column[0] for name, column in table.columns().items()}
    assert (values["area"], values["y"], values["x"]) == (1, 2, 3)
    assert values["channel_1"] == values["channel_1:p0"] == values["channel_1:median"] == 13
    assert values["channel_1:std"] == values["perimeter"] == values["eccentricity"] == 0
    assert values["solidity"] == 1
    assert [values[f"bbox_{side}"] for side in ("y0", "x0", "y1", "x1")] == [2, 3, 3, 4]
    finite = [name for name, value in values.items() if np.isfinite(value)]
    # Without a ring there is nothing to measure in it.
    missing = {name for name in values if name not in finite}
    assert all(name == "score" or ":ring_" in name for name in missing), missing


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_saturated_image_and_one_without_cells_go_through(dtype: str) -> None:
    top = FULL if dtype != "uint8" else 255
    for pixels, cells in (
        (np.full((2, 60, 60), top, dtype), None),
        (np.pad(np.full((2, 12, 12), top, dtype), ((0, 0), (24, 24), (24, 24))), 1),
    ):
        image = Image(pixels, channels=("DAPI", "CD3"))
        found = Pipeline(
            segmenter="watershed", nuclear_diameter=12, expand_by=2, compensator="conserving",
            features=("statistics", "neighbours"),
        ).run(image, "DAPI")  # fmt: skip
        frame = found.table.to_pandas()
        assert cells is None or len(frame) == cells
        assert np.isfinite(frame.drop(columns=["image", "score"]).to_numpy(float)).all()
        if len(frame):
            assert 0 < frame["CD3"].max() <= top * 1.5


@pytest.mark.parametrize("compensator", ["contact", "conserving", "boundary"])
def test_pixels_that_are_no_numbers_stay_out_of_every_mean(compensator: str) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.uniform(1, 2, (3, 64, 64)).astype(np.float32)
    pixels[0] = 1
    for y in range(4, 56, 12):
        for x in range(4, 56, 12):
            pixels[:, y : y + 10, x : x + 10] += 50
    holes = pixels.copy()
    holes[1, ::3, ::2] = np.nan
    holes[1, 1::7, ::5] = np.inf
    holes[2, 5::9] = -np.inf
    image = Image(holes, channels=("DAPI", "CD3", "CD20"))
    pipeline = Pipeline(
        segmenter="watershed", nuclear_diameter=10, expand_by=1, compensator=compensator
    )
    table = pipeline.run(image, "DAPI").table
    assert len(table) > 10
    before = table.uncompensated
    assert before is not None
    assert np.isfinite(before).all()
    assert np.isfinite(table.intensities).all()
    assert (table.intensities >= 0).all()
    assert before[:, 1:].min() > 0
    assert before.max() < 60
    # A cell without any number in a channel has none, and its neighbours keep theirs.
    holes[1, 4:14, 4:14] = np.nan
    labels = np.zeros((64, 64), np.int32)
    labels[4:14, 4:14], labels[4:14, 14:24] = 1, 2
    means = measure(image, labels).intensities
    assert np.isnan(means[0, 1])
    assert np.isfinite(means[1]).all()
    compensated = compensate(labels, means)
    assert np.isnan(compensated[0, 1])
    assert np.isfinite(compensated[1]).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (64, 64)])
def test_an_image_without_any_cell_gives_empty_tables(shape, tmp_path: Path) -> None:
    image = Image(np.full((2, *shape), 7, np.uint16), channels=("DAPI", "CD3"), pixel_size=0.5)
    labels = np.zeros(shape, np.int32)
    table = measure(image, labels, nuclei=labels, features="all")
    assert len(table) == 0
    one = attrs.evolve(WriterTests().result(channels=("DAPI", "CD3")), image=image, table=table)
    path, _ = CsvWriter().write(one, tmp_path)
    assert list(pd.read_csv(path)) == list(table.to_pandas())
    (path,) = ParquetWriter().write(one, tmp_path)
    assert len(pd.read_parquet(path)) == 0
    assert compensate(labels, table.intensities).shape == (0, 2)


def test_ten_million_cells_are_written_to_fcs_and_read_back(tmp_path: Path) -> None:
    cells = 10_000_000
    ids = np.arange(1, cells + 1)
    full = np.full(cells, FULL, np.uint16)
    full[1::2] = 0
    values = ids / 7
    path = tmp_path / "cells.fcs"
    write_fcs(
        path,
        [Parameter(name, name, of) for name, of in (("id", ids), ("n", full), ("v", values))],
        {},
    )
    with path.open("rb") as stream:
        header = stream.read(256).decode()
        first, last = int(header[10:18]), int(header[18:26])
        stream.seek(first)
        words = stream.read(last + 1 - first).decode().split("\f")[1:-1]
    text = dict(zip(words[::2], words[1::2], strict=True))
    begin, end = int(text["$BEGINDATA"]), int(text["$ENDDATA"])
    # The header has no room for it: the text alone tells where the data end.
    assert end > 99_999_999
    assert header[26:42].split() == ["0", "0"]
    assert end - begin + 1 == cells * 3 * 4
    assert path.stat().st_size == end + 1 + 8
    assert (text["$TOT"], text["$PAR"], text["$DATATYPE"]) == (str(cells), "3", "F")
    events = np.memmap(path, "<f4", "r", begin, (cells, 3))
    assert np.array_equal(events[:, 0].astype(np.int64), ids)
    assert np.array_equal(events[:, 1], full)
    assert np.array_equal(events[:, 2], values.astype(np.float32))
    assert (int(text["$P2R"]), int(text["$P1R"])) == (2**16, 2**24)
