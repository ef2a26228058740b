"""Names of features are understood, and what is wrong with one is said."""

from __future__ import annotations

import pytest

from cellseg_core.errors import ConfigurationError
from cellseg_core.features import GROUPS, MORPHOLOGY, STATISTICS, Features, Statistic


def names(*asked: str) -> list[str]:
    wanted = Features.of(asked)
    return [*wanted.morphology, *(statistic.name for statistic in wanted.statistics)]


def test_names_stand_once_in_the_order_of_the_tables() -> None:
    asked = ("p90", "nucleus_p90", "neighbours", "p5", "cell_median", "nucleus_max", "p90", "bbox")
    assert names(*asked) == [
        "bbox", "neighbours", "contact_length",
        "median", "p5", "p90", "nucleus_max", "nucleus_p90",
    ]  # fmt: skip
    assert names(*asked) == names(*asked[::-1])
    assert Features.of("median, ring_std ,").statistics == (
        Statistic("median"), Statistic("std", "ring"),
    )  # fmt: skip


def test_groups_stand_for_their_names() -> None:
    assert names("statistics") == ["count", "sum", "std", "min", "max", "median", "p10", "p90"]
    assert names("compartments") == ["nucleus_area", "ring_area", "nucleus_mean", "ring_mean"]
    assert names("neighbours") == ["neighbours", "contact_length"]
    assert "nucleus_bbox" in names("nucleus_shape")
    assert set(names("all")) == {name for group in GROUPS for name in names(group)}


@pytest.mark.parametrize(
    ("name", "canonical"), [("p5", "p5"), ("p05", "p5"), ("p99.90", "p99.9"), ("p100", "p100")]
)
def test_a_percentile_is_any_number_up_to_100(name: str, canonical: str) -> None:
    assert names(name) == [canonical]
    assert Features.of(name).statistics[0].level == float(name[1:]) / 100


def test_what_is_always_there_may_be_asked_for() -> None:
    assert names("mean", "cell_mean", "area") == []
    assert names("nucleus_mean") == ["nucleus_mean"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("medain", "no feature 'medain': did you mean 'median'"),
        ("nucleus_medain", "did you mean 'nucleus_median'"),
        ("ring_perimeter", "no feature 'ring_perimeter'"),
        ("p101", "between p0 and p100"),
        ("membrane_mean", "no feature 'membrane_mean'"),
        ("P90", "no feature 'P90': did you mean 'p90'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Features.of([name])


def test_what_needs_nuclei_says_so() -> None:
    assert Features.of("shape,statistics,neighbours").needs_nuclei == ()
    assert Features.of("ring_p5,nucleus_bbox,max").needs_nuclei == ("nucleus_bbox", "ring_p5")


def test_every_feature_has_a_unit_and_a_sentence() -> None:
    for feature in (*STATISTICS, *MORPHOLOGY):
        assert feature.unit
        assert feature.meaning.endswith(".")
    known = {feature.name for feature in (*STATISTICS, *MORPHOLOGY)}
    assert {name for group in GROUPS.values() for name in group} - known == {
        "p10", "p90", "nucleus_mean", "ring_mean",
    }  # fmt: skip


@pytest.mark.parametrize("wrong", ["_mean", "cell_", None, 5, [None], "p101", "ring_p200"])
def test_what_is_no_feature_is_refused(wrong) -> None:
    with pytest.raises(ConfigurationError):
        Features.of(wrong)


def test_percentiles_far_from_the_middle_keep_their_level() -> None:
    tiny, large = Features.of("p0.00001,p99.9999999999999").statistics
    assert (tiny.name, tiny.level) == ("p0.00001", pytest.approx(1e-7))
    assert (large.name, large.level) == ("p99.9999999999999", pytest.approx(1))
