"""Gates: their file and its errors, thresholds that all methods share, and counts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cellseg_core.comparing.gates import Gates, Term, check_markers, parse_gates, read_gates
from cellseg_core.comparing.gating import MarkerValues, Thresholds, count_gate, count_rows, members
from cellseg_core.errors import ChannelError, ConfigurationError
from cellseg_core.table import CellTable


def table(values, uncompensated=None, image="one") -> CellTable:
    """Return a table with a list of values for each channel."""
    size = len(next(iter(values.values())))
    columns = np.array(list(values.values()), float).T.reshape(size, len(values))
    before = None if uncompensated is None else np.array(list(uncompensated.values()), float).T
    return CellTable(
        labels=np.arange(1, size + 1),
        areas=np.full(size, 9),
        centroids=np.arange(2.0 * size).reshape(size, 2),
        touches_edge=np.zeros(size, bool),
        channels=tuple(values),
        intensities=columns,
        uncompensated=before,
        image=image,
    )


def given_thresholds(**values: float) -> Thresholds:
    return Thresholds(values=values, sources=dict.fromkeys(values, "given"))


def test_the_three_ways_to_write_a_gate() -> None:
    gates = parse_gates(
        """
        [thresholds]
        CD3 = 12.5
        CD20 = "auto"
        [gates]
        "T cells" = "CD45+ CD3+ CD20\u2212"
        macrophages = "CD45+ CD68+|CD163+"
        odd = ["CD45++", ["a|b-", "HLA DR/DP+"], "HLA-DR-"]
        """
    )
    assert gates.thresholds == {"CD3": 12.5, "CD20": None}
    assert gates.facts() == {
        "T cells": "CD45+ CD3+ CD20-",
        "macrophages": "CD45+ CD68+|CD163+",
        "odd": "CD45++ a|b-|HLA DR/DP+ HLA-DR-",
    }
    assert gates.gates[2].clauses == (
        (Term("CD45+", positive=True),),
        (Term("a|b", positive=False), Term("HLA DR/DP", positive=True)),
        (Term("HLA-DR", positive=False),),
    )
    assert gates.markers[:5] == ("CD45", "CD3", "CD20", "CD68", "CD163")


markers = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)


@given(names=st.lists(markers, min_size=1, max_size=5, unique=True), sign=st.sampled_from("+-"))
@settings(max_examples=60, deadline=None)
def test_a_list_takes_any_name(names: list[str], sign: str) -> None:
    written = ", ".join(json.dumps(name + sign, ensure_ascii=False) for name in names)
    gate = parse_gates(f"[gates]\ng = [{written}]").gates[0]
    assert gate.markers == tuple(names)
    assert {term.positive for clause in gate.clauses for term in clause} == {sign == "+"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[gates]\n"T" = "CD3+"\nB cells = 3', r"my.toml is not valid TOML.*line 3.*quotes"),
        ('[gatse]\nT = "CD3+"', "got 'gatse', did you mean 'gates'"),
        ("", "has no gate"),
        ("[gates]", "has no gate"),
        ("gates = 3", r"\[gates\] is a table"),
        ('[gates]\nT = ""', "gate 'T' is empty"),
        ("[gates]\nT = []", "gate 'T' is empty"),
        ('[gates]\nT = ["CD3+", []]', "gate 'T' is empty"),
        ("[gates]\nT = " + 2000 * "[", "my.toml is not valid TOML"),
        ("[gates]\nT = 1" + 5000 * "0", "my.toml is not valid TOML"),
        ("[gates]\nT = 4", "is a text such as"),
        ('[gates]\nT = "CD3"', "ends with . or -, as in CD45.; got 'CD3'"),
        ('[gates]\nT = "CD3+ -"', "got '-'"),
        ('[gates]\nT = "CD3+|"', "got ''"),
        ('[gates]\nT = ["CD3+", 4]', "got 4"),
        ('[gates]\nT = "HLA DR+"', "got 'HLA'. A marker with a space"),
        ('[gates]\nT = "CD3+ CD3-"', "CD3 cannot be positive and negative"),
        ('[thresholds]\nCD3 = "high"\n[gates]\nT = "CD3+"', "'CD3' is a number or \"auto\""),
        ('[thresholds]\nCD3 = true\n[gates]\nT = "CD3+"', "got True"),
        ("[thresholds]\nCD3 = 1" + 400 * "0" + '\n[gates]\nT = "CD3+"', "'CD3' is a number"),
        ('[thresholds]\nCD3 = nan\n[gates]\nT = "CD3+"', "got nan"),
        ('[thresholds]\nCD3.x = 1\n[gates]\nT = "CD3+"', "dot stands in quotes"),
    ],
)
def test_a_wrong_file_is_refused_with_the_reason(tmp_path, text, message) -> None:
    (tmp_path / "my.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        read_gates(tmp_path / "my.toml")


def test_a_file_that_cannot_be_read_is_named(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.toml cannot be read"):
        read_gates(tmp_path / "gone.toml")
    (tmp_path / "latin.toml").write_bytes(b'[gates]\n"\xe9" = "CD3+"')
    with pytest.raises(ConfigurationError, match="UTF-8"):
        read_gates(tmp_path / "latin.toml")
    (tmp_path / "windows.toml").write_bytes('\ufeff[gates]\r\nT = "CD3+"\r\n'.encode())
    assert read_gates(tmp_path / "windows.toml").facts() == {"T": "CD3+"}


def test_a_marker_must_be_in_an_image() -> None:
    channels = {"one": ["DNA1_Ir191", "CD3_Er170", "CD20_Dy161"], "two": ["DNA1_Ir191", "CD3"]}
    assert check_markers(["CD3", "cd20"], channels) == {"cd20": ["two"]}
    with pytest.raises(ChannelError, match=r"g.toml: no channel is named 'CD33'; did you mean"):
        check_markers(["CD33"], channels, "g.toml")
    with pytest.raises(ChannelError, match="separated by spaces"):
        check_markers(parse_gates('[gates]\nT = "CD3+CD20-"').markers, channels)
    with pytest.raises(ChannelError, match="several channels: CD4_a, CD4_b"):
        check_markers(["CD4"], {"one": ["CD4_a", "CD4_b"]})


def test_hand_worked_counts() -> None:
    gates = parse_gates('[gates]\nT = "CD3+ CD20-"\nany = "CD3+|CD20+"\nnone = "CD3- CD20-"')
    #                     T, at the threshold, double, neither, unknown
    cells = {"CD3_Er": [9, 5, 9, 1, np.nan], "CD20": [1, 1, 9, 1, 1]}
    values = MarkerValues.of(table(cells), gates.markers)
    thresholds = given_thresholds(CD3=5, CD20=5)
    counts = [count_gate(gate, values, thresholds) for gate in gates.gates]
    assert counts == [1, 2, 2]
    inside = members(gates.gates[0], values, thresholds)
    assert inside is not None
    assert inside.tolist() == [True, False, False, False, False]


def test_gates_see_compensated_values_and_thresholds_do_not() -> None:
    before = {"CD3": [1.0, 1.1, 80.0, 90.0]}
    after = {"CD3": [0.0, 0.0, 0.5, 90.0]}
    gates = parse_gates('[gates]\nT = "CD3+"')
    values = MarkerValues.of(table(after, before), gates.markers)
    thresholds = Thresholds.of(gates.markers, [values])
    level = thresholds.values["CD3"]
    assert level is not None
    assert 1.1 <= level < 80
    assert count_gate(gates.gates[0], values, thresholds) == 1
    plain = MarkerValues.of(table(before), gates.markers)
    assert count_gate(gates.gates[0], plain, thresholds) == 2


def test_thresholds_are_shared_by_all_methods_and_images() -> None:
    low = MarkerValues.of(table({"CD3": [1.0, 2.0]}), ["CD3"])
    high = MarkerValues.of(table({"CD3": [500.0, 600.0]}), ["CD3"])
    none = MarkerValues.of(table({"DNA": [1.0]}), ["CD3"])
    together = Thresholds.of(["CD3"], [low, high, none])
    level = together.values["CD3"]
    assert level is not None
    assert 2 <= level < 500
    # In another order it is the same.
    assert Thresholds.of(["CD3"], [none, high, low]) == together
    assert together.facts() == {"CD3": {"threshold": level, "source": "otsu"}}


def test_given_thresholds_count_under_any_name_of_the_channel() -> None:
    values = MarkerValues.of(table({"CD3_Er170": [1.0, 8.0]}), ["CD3", "cd3_er170"])
    thresholds = Thresholds.of(["cd3_er170"], [values], {"CD3": 4.0})
    assert thresholds.facts() == {"cd3_er170": {"threshold": 4.0, "source": "given"}}
    with pytest.raises(ConfigurationError, match="one channel, with several thresholds: 4, 5"):
        Thresholds.of(["CD3"], [values], {"CD3": 4.0, "cd3_er170": 5.0})
    assert Thresholds.of(["CD3"], [values], {"CD3": None}).sources == {"CD3": "otsu"}


@pytest.mark.parametrize("values", [[7.3], [7.3, 7.3, 7.3], [0, 0], [-2.5, -2.5], [7.3, np.nan]])
def test_no_cell_is_positive_where_all_are_alike(values) -> None:
    cells = MarkerValues.of(table({"CD3": values}), ["CD3"])
    thresholds = Thresholds.of(["CD3"], [cells])
    assert thresholds.values["CD3"] == values[0]
    gate = parse_gates('[gates]\nT = "CD3+"').gates[0]
    assert count_gate(gate, cells, thresholds) == 0


def test_without_values_there_is_no_threshold() -> None:
    gate = parse_gates('[gates]\nT = "CD3-"').gates[0]
    for values in ([], [np.nan, np.inf * -1]):
        cells = MarkerValues.of(table({"CD3": values}), ["CD3"])
        thresholds = Thresholds.of(["CD3"], [cells])
        assert thresholds.facts() == {"CD3": {"threshold": None, "source": "no values"}}
        assert count_gate(gate, cells, thresholds) == 0


@example(values=[0.0, 5e-324], cut=0)
@given(
    values=st.lists(st.floats(-1e3, 1e6), min_size=2, max_size=40),
    cut=st.integers(0, 40),
)
@settings(max_examples=60, deadline=None)
def test_each_cell_is_positive_or_negative(values: list[float], cut: int) -> None:
    parts = [MarkerValues.of(table({"m": part}), ["m"]) for part in (values[:cut], values[cut:])]
    thresholds = Thresholds.of(["m"], parts)
    both = parse_gates('[gates]\np = "m+"\nn = "m-"').gates
    counts = [[count_gate(gate, part, thresholds) or 0 for part in parts] for gate in both]
    assert np.sum(counts) == len(values)
    # The largest is never negative where values differ by more than rounding.
    if np.ptp(np.arcsinh(values)) > 1e-6:
        assert sum(counts[0]) > 0


def test_rows_say_what_is_not_known() -> None:
    gates = parse_gates('[gates]\nT = "CD3+ CD20-"')
    thresholds = given_thresholds(CD3=5, CD20=5)
    whole = table({"CD3": [9, 1], "CD20": [1, 1]})
    cells = {
        "a": {"one": whole, "two": table({"CD3": [9.0]})},
        "b": {"one": table({"CD3": [], "CD20": []})},
    }
    values = {
        method: {name: MarkerValues.of(one, gates.markers) for name, one in images.items()}
        for method, images in cells.items()
    }
    rows = count_rows(gates, values, thresholds)
    assert [(row["method"], row["image"], row["count"], row["share"]) for row in rows] == [
        ("a", "one", 1, 0.5),
        ("a", "two", None, None),
        ("b", "one", 0, None),
    ]
    json.dumps(rows, allow_nan=False)
    assert count_rows(Gates(gates=()), values, thresholds) == []
