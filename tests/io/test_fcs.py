"""What is written as FCS can be read back, by flowio and FlowKit, to the values of the table."""

from __future__ import annotations

import json
import tracemalloc
import warnings
from pathlib import Path

import attrs
import flowio
import numpy as np
import pytest

from cellseg_core.errors import OutputError
from cellseg_core.result import Result
from cellseg_core.testing import WriterTests
from cellseg_io import fcs_file
from cellseg_io.fcs import FcsWriter
from cellseg_io.fcs_file import Parameter, write_fcs


class TestFcs(WriterTests):
    def make(self) -> FcsWriter:
        return FcsWriter()


HARD = ("a/b", "CD3 (ε)", "β-catenin", "{x}", "=1+1", "/lead", "x,y", 'q"t', "µm", "_a b?")


def result(channels: tuple[str, ...] = ("DAPI", "CD3")) -> Result:
    return WriterTests().result(channels=channels)


def events(path: Path) -> tuple[flowio.FlowData, np.ndarray]:
    fcs = flowio.FlowData(path)
    return fcs, np.reshape(fcs.events, (-1, fcs.channel_count))


def test_every_column_reads_back_under_its_own_name(case: Result, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        paths = FcsWriter().write(case, tmp_path)
    if not len(case.table):
        assert not paths
        assert not list(tmp_path.iterdir())
        return
    fcs, values = events(paths[0])
    columns = {
        name: np.asarray(column, np.float32)
        for name, column in case.table.columns().items()
        if not np.isnan(np.asarray(column, float)).all()
    }
    assert fcs.version == "3.1"
    assert fcs.pns_labels == list(columns)
    assert fcs.event_count == len(case.table)
    assert np.array_equal(values, np.stack([np.nan_to_num(c) for c in columns.values()], axis=1))
    assert len(set(fcs.pnn_labels)) == len(columns)
    assert "".join(fcs.pnn_labels).isascii()
    assert "," not in "".join(fcs.pnn_labels)


def test_flowkit_reads_names_values_and_where_they_come_from(make_result, tmp_path: Path) -> None:
    flowkit = pytest.importorskip("flowkit", reason="reads the file as its users do")
    one = make_result(("DAPI", "CD3/CD4", "CD3 (ε)"), name="tonsil/ä", features="statistics")
    with pytest.warns(UserWarning, match=r"'CD3 \(ε\)' as 'CD3 \(epsilon\)'"):
        (path,) = FcsWriter().write(one, tmp_path)
    sample = flowkit.Sample(path)
    frame = sample.as_dataframe(source="raw", col_multi_index=False)
    columns = one.table.columns()
    assert sample.pns_labels == [name for name in columns if name != "score"]
    assert np.array_equal(frame["CD3/CD4"], columns["CD3/CD4"].astype(np.float32))
    assert np.array_equal(frame["cell_id"], one.table.labels)
    told = sample.metadata
    assert (told["fil"], told["src"], told["cyt"]) == ("tonsil/ä.fcs", "tonsil/ä", "cellseg-core")
    assert (told["cellseg_pixel_size_um"], told["cellseg_compensated"]) == ("0.5", "no")
    assert json.loads(told["cellseg_decided"]) == {
        "segmenter": "watershed",
        "brightness": {"levels": {"a/b": 2.0}},
    }


def test_fcs_holds_exactly_the_values_of_the_table(tmp_path: Path) -> None:
    one = result()
    (path,) = FcsWriter().write(one, tmp_path)
    fcs, values = events(path)
    columns = one.table.columns()
    assert fcs.event_count == len(one.table)
    assert fcs.pnn_labels == [name for name in columns if name != "score"]
    assert fcs.pns_labels == fcs.pnn_labels
    for name, column in zip(fcs.pnn_labels, values.T, strict=True):
        assert np.array_equal(column, np.asarray(columns[name]).astype(np.float32)), name


def test_fcs_does_not_rescale_flip_or_drop(tmp_path: Path) -> None:
    one = result()
    table = attrs.evolve(
        one.table,
        intensities=np.stack([np.linspace(0, 1, 7), -np.arange(7.0)], axis=1),
        scores=np.linspace(0, 1, 7),
    )
    (path,) = FcsWriter().write(attrs.evolve(one, table=table), tmp_path)
    fcs, values = events(path)
    by_name = dict(zip(fcs.pnn_labels, values.T, strict=True))
    assert np.array_equal(by_name["DAPI"], np.linspace(0, 1, 7).astype(np.float32))
    assert np.array_equal(by_name["CD3"], -np.arange(7))
    assert np.array_equal(by_name["score"], np.linspace(0, 1, 7).astype(np.float32))


def test_fcs_short_names_lose_only_commas_and_what_ascii_lacks(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"'CD3 \(ε\)' as 'CD3 \(epsilon\)'"):
        (path,) = FcsWriter().write(result(HARD), tmp_path)
    fcs, values = events(path)
    assert fcs.pnn_labels[-10:] == [
        "a/b", "CD3 (epsilon)", "beta-catenin", "{x}", "=1+1", "/lead", "x_y", 'q"t', "mum",
        "_a b?",
    ]  # fmt: skip
    assert np.isfinite(values).all()
    assert fcs.event_count == 7


def test_fcs_keeps_cells_with_missing_values_and_warns(tmp_path: Path) -> None:
    one = result()
    intensities = one.table.intensities.copy()
    intensities[2, 1] = np.nan
    table = attrs.evolve(one.table, intensities=intensities)
    with pytest.warns(UserWarning, match=r"1 missing values \(CD3\) are written as 0"):
        (path,) = FcsWriter().write(attrs.evolve(one, table=table), tmp_path)
    fcs, values = events(path)
    assert fcs.event_count == 7
    assert values[2, fcs.pnn_labels.index("CD3")] == 0


def test_warnings_stay_short_with_many_columns(make_result, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"'ε:min' as 'epsilon:min' and 4 more\. Full"):
        FcsWriter().write(make_result(("ε",), features="statistics"), tmp_path)


def test_ids_that_would_be_rounded_are_split_in_two(tmp_path: Path) -> None:
    one = result()
    ids = one.table.labels + 2**24
    with pytest.warns(UserWarning, match=r"cell_id = 1,000,000 \* cell_id_millions"):
        (path,) = FcsWriter().write(
            attrs.evolve(one, table=attrs.evolve(one.table, labels=ids)), tmp_path
        )
    fcs, values = events(path)
    assert fcs.pnn_labels[:3] == ["cell_id_millions", "cell_id_rest", "region"]
    whole = values.astype(np.int64)
    assert np.array_equal(1_000_000 * whole[:, 0] + whole[:, 1], ids)


def test_fcs_refuses_numbers_that_it_cannot_hold(tmp_path: Path) -> None:
    one = result()
    table = attrs.evolve(one.table, intensities=one.table.intensities * 1e35)
    with pytest.raises(OutputError, match=r"up to 3\.4e38, and DAPI has larger ones"):
        FcsWriter().write(attrs.evolve(one, table=table), tmp_path)


@pytest.mark.parametrize(
    ("largest", "expected"),
    [(0.02, 2), (1, 2), (1.5, 4), (1023, 1024), (1023.5, 2048), (65535, 65536), (-3, 1)],
)
def test_the_range_is_a_power_of_two_of_at_least_the_largest_value_and_one(
    largest: float, expected: int
) -> None:
    assert Parameter("x", "x", np.array([-5, largest, np.nan])).range == expected


def test_data_beyond_the_numbers_of_the_header_are_found_by_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.fcs"
    parameter = Parameter("x", "x", np.arange(5))
    write_fcs(path, [parameter], {})
    fcs, values = events(path)
    assert path.read_bytes()[26:42].split() == [
        fcs.text["begindata"].encode(),
        fcs.text["enddata"].encode(),
    ]
    monkeypatch.setattr(fcs_file, "_LAST_IN_HEADER", int(fcs.text["enddata"]) - 1)
    write_fcs(path, [parameter], {})
    assert path.read_bytes()[26:42].split() == [b"0", b"0"]
    # flowio accepts that of files of their real size alone, and looks into the text all the same.
    large = flowio.FlowData(path, ignore_offset_discrepancy=True)
    assert np.array_equal(large.events, values.ravel())


def test_memory_does_not_grow_with_the_number_of_cells(tmp_path: Path) -> None:
    values = np.arange(500_000)
    parameters = [Parameter(f"x{n}", f"x{n}", values) for n in range(8)]
    tracemalloc.start()
    try:
        write_fcs(tmp_path / "x.fcs", parameters, {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "x.fcs").stat().st_size > 16_000_000
    assert peak < 6_000_000
