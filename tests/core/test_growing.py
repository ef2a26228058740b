"""Expanders that break a rule are told so, with the name of the image."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest

from cellseg_core import growing, label_store
from cellseg_core.errors import ConfigurationError, SegmentationError
from cellseg_core.growing import grow
from cellseg_core.protocols import Labels
from cellseg_core.regions import find_regions
from cellseg_postprocess.expansion import SequentialExpander, StandardExpander, VoronoiExpander


@attrs.frozen
class Writing:
    """Writes a value into the first pixel, which is background."""

    value: int

    def expand(self, labels: Labels) -> Labels:
        cells = labels.copy()
        cells[0, 0] = self.value
        return cells


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_negative_label_is_laid_to_the_expander(tmp_path: Path, on_disk: bool) -> None:
    nuclei = np.zeros((9, 9), np.int32)
    nuclei[4:6, 4:6] = 1
    file = tmp_path / "cells.labels" if on_disk else None
    cells, regions = grow(Writing(1), nuclei, find_regions(nuclei), 1, "slide7", file)
    assert (int(cells[:, :][0, 0]), regions.areas.tolist()) == (1, [5])
    with pytest.raises(SegmentationError, match=r"slide7: Writing broke a rule.*negative"):
        grow(Writing(-1), nuclei, find_regions(nuclei), 1, "slide7", file)


def nuclei_across_windows() -> Labels:
    """Return nuclei of all lengths up to 40 px, upright and lying, in no order, over (130, 150)."""
    rng = np.random.default_rng(3)
    nuclei = np.zeros((130, 150), np.int32)
    for number in rng.permutation(60) + 1:
        height, width = rng.permutation([rng.integers(1, 40), rng.integers(1, 7)])
        y, x = rng.integers(0, 130), rng.integers(0, 150)
        nuclei[y : y + height, x : x + width] = number
    return nuclei


@pytest.mark.parametrize("rule", [SequentialExpander, StandardExpander, VoronoiExpander])
@pytest.mark.parametrize("distance", [1, 6])
def test_cells_that_are_grown_window_by_window_are_those_of_the_whole_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule, distance
) -> None:
    nuclei = nuclei_across_windows()
    regions = find_regions(nuclei)
    expected, found = grow(rule(distance), nuclei, regions, distance, "slide7")
    for module in (growing, label_store):
        monkeypatch.setattr(module, "WINDOW", 40)
    cells, there = grow(rule(distance), nuclei, regions, distance, "slide7", tmp_path / "cells")
    assert np.array_equal(cells[:, :], expected)
    assert np.array_equal(there.areas, found.areas)


@pytest.mark.parametrize(("gap", "seen"), [(4, 40 + 2 * 4 + 2 * 6), (5, 40 + 2 * 4)])
def test_a_window_is_seen_with_whole_nuclei_that_are_near_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gap: int, seen: int
) -> None:
    for module in (growing, label_store):
        monkeypatch.setattr(module, "WINDOW", 40)
    nuclei = np.zeros((120, 120), np.int32)
    low, high = 40 - gap, 79 + gap  # so far away is the nearest pixel of each from the window
    nuclei[low - 6 : low + 1, 58:60] = 1
    nuclei[high : high + 7, 60:62] = 2
    nuclei[60:62, low - 6 : low + 1] = 3
    nuclei[60:62, high : high + 7] = 4
    nuclei[0:120, 70:72] = 5  # longer than a window: a part is seen
    shapes = []

    class Looking:
        def expand(self, labels: Labels) -> Labels:
            shapes.append(labels.shape)
            return labels

    grow(Looking(), nuclei, find_regions(nuclei), 2.5, "slide7", tmp_path / "cells")
    assert (seen, seen) in shapes


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda nuclei: nuclei[1:], "slide7: Answering broke a rule.*the size"),
        (lambda nuclei: 0 * nuclei, "every pixel of their nuclei"),
        (lambda nuclei: nuclei / None, r"slide7: Answering failed \(TypeError"),
    ],
)
def test_an_expander_that_fails_or_breaks_a_rule_is_named(answer, message) -> None:
    class Answering:
        def expand(self, labels: Labels) -> Labels:
            return answer(labels)

    nuclei = np.ones((3, 3), np.int32)
    with pytest.raises(SegmentationError, match=message):
        grow(Answering(), nuclei, find_regions(nuclei), 1, "slide7")


def test_an_error_of_an_expander_with_a_message_for_the_user_comes_through() -> None:
    class Refusing:
        def expand(self, labels: Labels) -> Labels:
            raise ConfigurationError("as it is")

    nuclei = np.ones((3, 3), np.int32)
    with pytest.raises(ConfigurationError, match="as it is"):
        grow(Refusing(), nuclei, find_regions(nuclei), 1, "slide7")
