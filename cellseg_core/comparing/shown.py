"""How a report of a comparison words what it shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from cellseg_core.comparing.cost import Spread
from cellseg_core.pages.tables import DASH, Cell, number

if TYPE_CHECKING:
    from cellseg_core.comparing.findings import Findings
    from cellseg_core.label_files import Kind

__all__ = [
    "ImagesDone",
    "interval",
    "spread",
    "worded",
]


@attrs.frozen
class ImagesDone:
    r"""Which methods did only some of the images, so that their figures are of other images.

    Attributes
    ----------
    images
        How many there are that at least one method did.
    partial
        How many each of these methods did. One that did none is not among them: it has no figures.

    >>> done = ImagesDone(12, {"b": 11})
    >>> done.head("a"), done.head("b"), done.legend("b")
    ('a', 'b\xa0†', 'b (11 of 12 images)')
    """

    images: int
    partial: Mapping[str, int] = attrs.field(factory=dict)

    @classmethod
    def of(cls, findings: Findings) -> ImagesDone:
        """Return what the methods of a comparison did."""
        images = len(findings.done)
        done = {one.method.name: len(one.images) for one in findings.methods}
        return cls(images, {name: count for name, count in done.items() if 0 < count < images})

    def note(self, name: str) -> str:
        """Return how many images a method did; empty if it did all."""
        return f"{self.partial[name]:,} of {self.images:,} images" if name in self.partial else ""

    def head(self, name: str) -> str:
        """Return how a table calls a method: with a dagger if it did not do all images."""
        return f"{name}\u00a0\u2020" if name in self.partial else name

    def legend(self, name: str) -> str:
        """Return how a chart calls a method."""
        return f"{name} ({self.note(name)})" if name in self.partial else name


def worded(text: str, kind: Kind) -> str:
    """Return a text of ours with the words for what is compared: ``{one}`` and ``{many}``.

    >>> worded("True {many}, each {one} once.", "cells")
    'True cells, each cell once.'
    """
    return text.format(one="nucleus" if kind == "nuclei" else "cell", many=kind)


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """Return an interval in words, empty where there is none.

    >>> interval(0.1, 0.25), interval(None, None)
    ('0.100 to 0.250', '')
    """
    return "" if low is None or high is None else f"{number(low, digits)} to {number(high, digits)}"


def spread(found: Spread | None, scale: float = 1.0) -> Cell:
    """Return a measured figure with three digits, and its range where there were several runs.

    >>> spread(Spread.of([3000.0, 2000.0]), 1e-3)
    Cell(text='2.50', note='2.00 to 3.00', mark='', weight=None)
    """
    if found is None:
        return Cell(DASH)
    several = len(found.values) > 1
    note = f"{_three(found.low * scale)} to {_three(found.high * scale)}" if several else ""
    return Cell(_three(found.median * scale), note)


def _three(value: float) -> str:
    """Return a number with three digits that count, and never as 1e+05."""
    if value == 0 or not math.isfinite(value):
        return number(value, 0)
    return number(value, max(0, min(6, 2 - math.floor(math.log10(abs(value))))))
