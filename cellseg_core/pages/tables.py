"""Tables of a page as plain texts: columns with their meaning, rows of cells, and marks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import attrs

__all__ = ["DASH", "Cell", "Column", "Mark", "Table", "listed", "number", "share", "whole"]

Mark = Literal["", "best", "close"]
"""``close`` is what cannot be told from the best."""

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
