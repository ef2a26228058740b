"""Settings tried on a part find what a run over the whole finds there."""

from __future__ import annotations

import numpy as np
import pytest

from cellseg_core import Pipeline
from cellseg_core.config import RunConfig
from cellseg_core.errors import ConfigurationError
from cellseg_core.metrics import pairwise_iou
from cellseg_core.plugins import load_plugins
from cellseg_core.synthetic import simulate_tissue
from cellseg_core.tiling import Box
from cellseg_viewer.trial import try_settings


@pytest.fixture(scope="module")
def tissue():
    return simulate_tissue((400, 500), seed=3, channels=("DAPI",)).image


@pytest.mark.parametrize("box", [Box(130, 260, 170, 330), Box(0, 90, 410, 500)])
def test_a_part_has_the_cells_that_the_whole_has_there(tissue, box) -> None:
    config = RunConfig(nuclear=("DAPI",), segmenter="watershed", expand=2, brightness=1.5)
    found = try_settings(tissue, box, config, load_plugins())
    whole = Pipeline(segmenter="watershed", expand_by=2, brightness=1.5).run(tissue, "DAPI")
    assert found.diameter == whole.nuclear_diameter
    assert found.brightness == whole.scaled.brightness
    assert found.count > 20
    for ours, theirs in ((found.nuclei, whole.nuclei), (found.cells, whole.cells)):
        theirs = theirs[box.slices]
        assert ours.shape == theirs.shape == box.shape
        assert np.array_equal(ours > 0, theirs > 0)
        _, _, iou = pairwise_iou(ours, theirs)
        assert np.all(iou == 1)
        assert np.unique(ours).size == np.unique(theirs).size
    assert found.count == np.unique(found.cells).size - 1


def test_a_part_that_is_too_large_or_outside_is_refused(tissue) -> None:
    config, plugins = RunConfig(segmenter="watershed"), load_plugins()
    with pytest.raises(ConfigurationError, match="outside of the image"):
        try_settings(tissue, Box(500, 600, 0, 10), config, plugins)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cellseg_viewer.trial.LARGEST", 100)
        with pytest.raises(ConfigurationError, match=r"500 x 400 px, and 100 x 100 .* Zoom in"):
            try_settings(tissue, Box(0, 400, 0, 900), config, plugins)
