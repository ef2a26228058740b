"""Tables of a report as plain texts: columns with their meaning, rows of cells, and marks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from cellseg_core.comparing.cost import Spread
from cellseg_core.comparing.ranking import Mark

if TYPE_CHECKING:
    from cellseg_core.comparing.findings import Findings
    from cellseg_core.label_files import Kind

__all__ = [
    "DASH",
    "Cell",
    "Column",
    "ImagesDone",
    "Table",
    "interval",
    "listed",
    "number",
    "share",
    "spread",
    "whole",
    "worded",
]

DASH = "\u2013"
"""What stands for a figure that is not known."""

_NAMED = 10  # names in one sentence


@attrs.frozen
class Cell:
    """One cell: its text, a smaller note under it, its mark, and for maps how dark it is, 0 to 1.

    ``weight`` is None where the cell has no shade.
    """

    text: str
    note: str = ""
    mark: Mark = ""
    weight: float | None = None


@attrs.frozen
class Column:
    """The head of a column, and what it means."""

    title: str
    meaning: str = ""


@attrs.frozen
class Table:
    """A table whose rows have a head.

    Attributes
    ----------
    caption
        What it shows, in a sentence.
    corner
        What the heads of the rows are.
    columns
        The others.
    rows
        The head of each, and a cell for each column.
    """

    caption: str
    corner: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]

    def __attrs_post_init__(self) -> None:
        assert all(len(cells) == len(self.columns) for _, cells in self.rows)


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


def listed(names: Sequence[str], limit: int = _NAMED) -> str:
    """Return names as a sentence has them, of more than ``limit`` the first.

    >>> listed(["a", "b", "c"]), listed("abcdefghijklm")
    ('a, b and c', 'a, b, c, d, e, f, g, h, i, j and 3 more')
    """
    shown = list(names[:limit])
    if len(names) > limit:
        return f"{', '.join(shown)} and {len(names) - limit:,} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits after the point; a dash for None, NaN or infinity.

    >>> number(0.70954), number(None), number(12345, 0), number(-0.0001)
    ('0.710', '–', '12,345', '0.000')
    """
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def whole(value: int | None) -> str:
    """Return a whole number with commas, or a dash.

    >>> whole(12345), whole(None)
    ('12,345', '–')
    """
    return DASH if value is None else f"{value:,}"


def share(part: float, total: float) -> str:
    """Return a part in percent; a dash of nothing.

    >>> share(1, 8), share(0, 0)
    ('12.5 %', '–')
    """
    return f"{100 * part / total:.1f} %" if total else DASH


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
