"""What is compared: segmenters with options and names."""

from __future__ import annotations

import pytest

from cellseg_core.comparing.method import Method, parse_methods
from cellseg_core.config import RunConfig
from cellseg_core.errors import ConfigurationError


def test_segmenters_come_under_their_own_names_and_described_ones_after_them() -> None:
    methods = parse_methods(["watershed", "mine/spots"], ["fine=watershed,threshold=0.3,split=1.5"])
    assert [(one.name, one.segmenter) for one in methods] == [
        ("watershed", "watershed"),
        ("spots", "mine/spots"),
        ("fine", "watershed"),
    ]
    assert methods[2].options == {"threshold": 0.3, "split": 1.5}


def test_a_method_has_its_own_options_and_none_of_another_segmenter() -> None:
    shared = RunConfig(expand=2, set={"watershed.split": 1.5, "stardist.nms_threshold": 0.4})
    fine, other = parse_methods(["stardist"], ["fine=watershed,threshold=0.3"])[::-1]
    config = fine.config(shared, [fine, other])
    assert config.segmenter == "watershed"
    assert config.expand == 2
    assert config.set == {"watershed": {"split": 1.5, "threshold": 0.3}}
    assert other.config(shared, [fine, other]).set == {"stardist": {"nms_threshold": 0.4}}


@pytest.mark.parametrize(
    "text", ["watershed", "=watershed", "a=", "a=watershed,threshold", "../a=watershed", "a b=c"]
)
def test_what_is_no_method_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ConfigurationError, match="NAME=SEGMENTER"):
        Method.parse(text)


def test_names_are_needed_once_each() -> None:
    with pytest.raises(ConfigurationError, match="nothing to compare"):
        parse_methods([], [])
    # Folders of some systems do not know case.
    with pytest.raises(ConfigurationError, match="two methods are called 'watershed'"):
        parse_methods(["watershed"], ["Watershed=watershed,split=1"])
