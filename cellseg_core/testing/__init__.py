"""Conformance classes: what every component must do, built-in or third-party.

Subclass the one for your kind in your own tests and say how your component is made; pytest then
collects its tests. No pytest plugin is needed::

    from cellseg_core.testing import SegmenterTests
    from my_package.segmenter import Mine

    class TestMine(SegmenterTests):
        def make(self):
            return Mine()

A test that fails says which rule is broken.
"""

from __future__ import annotations

from cellseg_core.testing.compensator import CompensatorTests
from cellseg_core.testing.expander import ExpanderTests
from cellseg_core.testing.plugin import PluginTests
from cellseg_core.testing.reader import ReaderTests
from cellseg_core.testing.segmenter import SegmenterTests
from cellseg_core.testing.writer import WriterTests

__all__ = [
    "CompensatorTests",
    "ExpanderTests",
    "PluginTests",
    "ReaderTests",
    "SegmenterTests",
    "WriterTests",
]
