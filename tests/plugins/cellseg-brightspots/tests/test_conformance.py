"""The package follows cellseg's rules for segmenters and plugins, and its own."""

import numpy as np
import pytest

from cellseg_brightspots.segmenter import BrightSpots
from cellseg_core.errors import ConfigurationError
from cellseg_core.testing import PluginTests, SegmenterTests


class TestBrightSpots(SegmenterTests):
    def make(self):
        return BrightSpots()


class TestPlugin(PluginTests):
    distribution = "cellseg-brightspots"


def test_touching_nuclei_are_told_apart_and_scored():
    tile = np.zeros((1, 40, 60), np.float32)
    tile[0, 14:26, 14:26] = 0.8
    tile[0, 14:26, 28:40] = 0.4
    found = BrightSpots().segment(tile)
    assert sorted(set(found.labels.ravel())) == [0, 1, 2]
    bright, dim = found.labels[20, 20], found.labels[20, 34]
    assert found.scores[bright - 1] > found.scores[dim - 1]


@pytest.mark.parametrize("threshold", [0, 1, -0.5, "0.2", True, None, float("nan")])
def test_a_threshold_that_makes_no_sense_is_refused(threshold):
    with pytest.raises(ConfigurationError, match="threshold lies between 0 and 1; got"):
        BrightSpots(threshold=threshold)
