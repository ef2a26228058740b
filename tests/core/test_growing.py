"""Expanders that break a rule are told so, with the name of the image."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest

from cellseg_core.errors import SegmentationError
from cellseg_core.growing import grow
from cellseg_core.protocols import Labels
from cellseg_core.regions import find_regions


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
