"""The package follows cellseg's rules for segmenters and plugins."""

from cellseg_brightspots.segmenter import BrightSpots
from cellseg_core.testing import PluginTests, SegmenterTests


class TestBrightSpots(SegmenterTests):
    # Touching nuclei are one spot, so counts say nothing here.
    finds_nuclei = False

    def make(self):
        return BrightSpots()


class TestPlugin(PluginTests):
    distribution = "cellseg-brightspots"
