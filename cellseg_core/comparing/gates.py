"""Phenotype gates, such as T cells = CD45+ CD3+ CD20-: their file, thresholds and counts.

A file of gates is TOML::

    [thresholds]                # optional; a marker left out, or "auto", gets Otsu's threshold
    CD3 = 12.5                  # in the units of the image's file
    CD20 = "auto"

    [gates]
    "T cells" = "CD45+ CD3+ CD20- Cytokeratin-"
    "macrophages" = "CD45+ CD20- CD3- CD68+|CD163+"          # | is "or"
    "M2-like" = ["CD45+", ["CD163+", "CD206+"], "HLA DR/DP-"]   # names with spaces: a list

The last character of a marker's word is its sign: ``CD45++`` is a marker ``CD45+`` that is
positive. In a list, each item is one marker with its sign, whatever its name contains, and a list
within it holds alternatives. Names find channels as everywhere in cellseg (``CD3`` finds
``CD3_Er170``).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.channels import find_channel
from cellseg_core.errors import ChannelError, ConfigurationError, nearest
from cellseg_core.table import CellTable

__all__ = [
    "Gate",
    "Gates",
    "MarkerValues",
    "Term",
    "Thresholds",
    "check_markers",
    "count_gate",
    "count_rows",
    "members",
    "parse_gates",
    "read_gates",
]

_BINS = 256

# Papers set a minus, a dash or superscripts.
_SIGNS = {"+": True, "\u207a": True, "-": False, "\u2212": False, "\u2013": False, "\u207b": False}


@attrs.frozen
class Term:
    """A marker that is positive (over its threshold) or negative (at or under it)."""

    marker: str
    positive: bool

    def __str__(self) -> str:
        return self.marker + ("+" if self.positive else "-")


@attrs.frozen
class Gate:
    """A population: a cell is in it if, of each clause, at least one term holds."""

    name: str
    clauses: tuple[tuple[Term, ...], ...]

    @property
    def markers(self) -> tuple[str, ...]:
        """Return the markers it needs, each once, in the order in which they are written."""
        return tuple(dict.fromkeys(term.marker for clause in self.clauses for term in clause))

    def __str__(self) -> str:
        return " ".join("|".join(map(str, clause)) for clause in self.clauses)


@attrs.frozen(kw_only=True)
class Gates:
    """Gates and the thresholds that their file gives.

    Attributes
    ----------
    gates
        In the order of the file.
    thresholds
        The number given for a marker, in the units of the image's file; None for ``"auto"``.
    source
        The file, for messages.
    """

    gates: tuple[Gate, ...]
    thresholds: Mapping[str, float | None] = attrs.field(factory=dict)
    source: str = "gates"

    @property
    def markers(self) -> tuple[str, ...]:
        """Return every marker of a gate or a threshold, each once."""
        named = [marker for gate in self.gates for marker in gate.markers]
        return tuple(dict.fromkeys([*named, *self.thresholds]))

    def facts(self) -> dict[str, str]:
        """Return each gate as text, by its name."""
        return {gate.name: str(gate) for gate in self.gates}


def check_markers(
    markers: Iterable[str], channels: Mapping[str, Sequence[str]], source: str = "gates"
) -> dict[str, list[str]]:
    """Check that each marker is in an image; return, by marker, the images that lack it.

    To be called before hours of work. ``channels`` has the channel names of each image by the
    image's name; ``source`` says in messages where the markers stand. A marker that no image lacks
    does not occur in the result.

    Raises
    ------
    ChannelError
        If a marker fits no channel, or several, in every image; the message has the nearest.

    >>> check_markers(["CD3"], {"one": ["CD3_Er170", "DNA"], "two": ["DNA"]})
    {'CD3': ['two']}
    """
    lacking: dict[str, list[str]] = {}
    for marker in dict.fromkeys(markers):
        errors = {}
        for image, names in channels.items():
            try:
                find_channel(marker, names)
            except ChannelError as error:
                errors[image] = error
        if errors and len(errors) == len(channels):
            joined = any(sign in marker for sign in _SIGNS)
            hint = " Markers of a gate are separated by spaces: CD45+ CD3-." if joined else ""
            raise ChannelError(f"{source}: {next(iter(errors.values()))}{hint}")
        if errors:
            lacking[marker] = list(errors)
    return lacking


def read_gates(path: Path | str) -> Gates:
    """Return the gates in a TOML file; the module has its format.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, is no TOML (with the line), or holds something else than
        gates and thresholds.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(
            f"the gates in {path} cannot be read ({error.strerror or error}). Give a TOML file "
            "with a table [gates]."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the gates in {path} cannot be read: it is not a text in UTF-8 ({error}). Save it as "
            "one."
        ) from error
    return parse_gates(text, str(path))


def parse_gates(text: str, source: str = "gates") -> Gates:
    r"""Return the gates in a TOML text; ``source`` names it in messages.

    Raises
    ------
    ConfigurationError
        As :func:`read_gates`.

    >>> gates = parse_gates('[gates]\n"B cells" = "CD45+ CD20+|CD19+ CD3-"')
    >>> gates.facts(), gates.gates[0].markers
    ({'B cells': 'CD45+ CD20+|CD19+ CD3-'}, ('CD45', 'CD20', 'CD19', 'CD3'))
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"{source} is not valid TOML: {error}. Names with spaces or signs stand in quotes: "
            '"T cells" = "CD3+ CD20-".'
        ) from error
    for key, value in document.items():
        if key not in ("gates", "thresholds"):
            raise ConfigurationError(
                f"{source}: the tables are [gates] and [thresholds]; got {key!r}, "
                f"{nearest(key, ('gates', 'thresholds'))}."
            )
        if not isinstance(value, dict):
            raise ConfigurationError(f"{source}: [{key}] is a table; got {key} = {value!r}.")
    if not document.get("gates"):
        raise ConfigurationError(
            f"{source} has no gate. Write a table [gates] with lines such as "
            '"T cells" = "CD45+ CD3+ CD20-".'
        )
    thresholds = {
        marker: _threshold(marker, value, source)
        for marker, value in document.get("thresholds", {}).items()
    }
    gates = tuple(_gate(name, value, source) for name, value in document["gates"].items())
    return Gates(gates=gates, thresholds=thresholds, source=source)


def _threshold(marker: str, value: Any, source: str) -> float | None:
    if value == "auto":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigurationError(
            f'{source}: the threshold of {marker!r} is a number or "auto"; got {value!r}. A name '
            "with a dot stands in quotes."
        )
    return float(value)


def _gate(name: str, value: Any, source: str) -> Gate:
    about = f"{source}: gate {name!r}"
    if isinstance(value, str):
        items: list[Any] = [word.split("|") for word in value.split()]
    elif isinstance(value, list):
        items = [item if isinstance(item, list) else [item] for item in value]
    else:
        raise ConfigurationError(
            f'{about} is a text such as "CD45+ CD3+ CD20-", or a list with an item for each '
            f"marker; got {value!r}."
        )
    if not items or not all(items):
        raise ConfigurationError(f'{about} is empty. Name its markers: "CD45+ CD3+ CD20-".')
    clauses = tuple(tuple(_term(item, about) for item in clause) for clause in items)
    alone = {clause[0] for clause in clauses if len(clause) == 1}
    for term in alone:
        if attrs.evolve(term, positive=not term.positive) in alone:
            raise ConfigurationError(
                f"{about}: {term.marker} cannot be positive and negative. Alternatives are "
                'written "CD68+|CD163+".'
            )
    return Gate(name, clauses)


def _term(text: Any, about: str) -> Term:
    word = text.strip() if isinstance(text, str) else ""
    if len(word) < 2 or word[-1] not in _SIGNS:
        raise ConfigurationError(
            f"{about}: each marker ends with + or -, as in CD45+; got {text!r}. A marker with a "
            'space in its name stands in a list: ["CD45+", "HLA DR-"].'
        )
    return Term(word[:-1].strip(), _SIGNS[word[-1]])


@attrs.frozen(eq=False, kw_only=True)
class MarkerValues:
    """What gating needs of one method's cells in one image: a few columns of the table.

    Attributes
    ----------
    image
        Name of the image.
    centroids
        (N, 2) float64: row and column in px.
    columns
        The number of the channel that each marker means; an image without it has no entry.
    before
        (N,) float64 of each marker: the mean over the cell before compensation.
    after
        The same after compensation; None where compensation is off.
    """

    image: str
    centroids: NDArray[np.float64]
    columns: Mapping[str, int]
    before: Mapping[str, NDArray[np.float64]]
    after: Mapping[str, NDArray[np.float64]] | None = None

    @classmethod
    def of(cls, table: CellTable, markers: Iterable[str]) -> Self:
        """Return the values of some markers; those that the image has not are left out."""
        columns = {}
        for marker in dict.fromkeys(markers):
            try:
                columns[marker] = find_channel(marker, table.channels)
            except ChannelError:
                # check_markers has told of it.
                continue
        first = table.intensities if table.uncompensated is None else table.uncompensated
        return cls(
            image=table.image,
            centroids=table.centroids,
            columns=columns,
            before={name: first[:, column].copy() for name, column in columns.items()},
            after=None
            if table.uncompensated is None
            else {name: table.intensities[:, column].copy() for name, column in columns.items()},
        )

    def __len__(self) -> int:
        return len(self.centroids)

    @property
    def final(self) -> Mapping[str, NDArray[np.float64]]:
        """Return the values that a user of the table sees: compensated where that is on."""
        return self.before if self.after is None else self.after


@attrs.frozen(kw_only=True)
class Thresholds:
    """The threshold of each marker, one for all methods and images; None where it is not known.

    ``sources`` says of each where it comes from: ``"given"``, ``"otsu"`` or ``"no values"``.
    """

    values: Mapping[str, float | None]
    sources: Mapping[str, str]

    @classmethod
    def of(
        cls,
        markers: Iterable[str],
        cells: Sequence[MarkerValues],
        given: Mapping[str, float | None] | None = None,
    ) -> Self:
        """Return thresholds for markers, from the cells of all methods in all images together.

        Each is the number given, or else Otsu's threshold of the arcsinh of the values of all
        cells before compensation (256 bins; NaN left out), so that neither a method nor
        compensation moves it. Where all values are equal it is that value: no cell is positive.

        Raises
        ------
        ConfigurationError
            If two names of one channel are given different thresholds.

        >>> cells = [MarkerValues(image="a", centroids=np.zeros((4, 2)), columns={"CD3": 0},
        ...                       before={"CD3": np.array([1.0, 2.0, 90.0, 100.0])})]
        >>> bool(2 <= Thresholds.of(["CD3"], cells).values["CD3"] < 90)
        True
        """
        values: dict[str, float | None] = {}
        sources = {}
        for marker in dict.fromkeys(markers):
            numbers = {
                name: number
                for name, number in (given or {}).items()
                if number is not None and _same(name, marker, cells)
            }
            if len(set(numbers.values())) > 1:
                raise ConfigurationError(
                    f"{' and '.join(map(repr, numbers))} are one channel, with several thresholds: "
                    f"{', '.join(f'{number:g}' for number in numbers.values())}. Give one."
                )
            if numbers:
                values[marker], sources[marker] = next(iter(numbers.values())), "given"
                continue
            found = [one.before[marker] for one in cells if marker in one.before]
            values[marker] = _otsu(np.concatenate([np.empty(0), *found]))
            sources[marker] = "no values" if values[marker] is None else "otsu"
        return cls(values=values, sources=sources)

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return the threshold and its source by marker, as plain JSON values."""
        return {
            marker: {"threshold": value, "source": self.sources[marker]}
            for marker, value in self.values.items()
        }

    def calls(
        self, values: Mapping[str, NDArray[np.float64]], marker: str
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which cells are positive and which negative; one without a value is neither."""
        threshold = self.values[marker]
        level = math.nan if threshold is None else threshold
        return values[marker] > level, values[marker] <= level


def _same(one: str, other: str, cells: Sequence[MarkerValues]) -> bool:
    """Return whether two names mean one channel in some image."""
    return one == other or any(
        one in c.columns and other in c.columns and c.columns[one] == c.columns[other]
        for c in cells
    )


def _otsu(values: NDArray[np.float64]) -> float | None:
    from skimage.filters import threshold_otsu

    values = values[np.isfinite(values)]
    if not values.size:
        return None
    if values.min() == values.max():
        return float(values[0])
    counts, edges = np.histogram(np.arcsinh(values), _BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    # It is the centre of the last bin of the negative cells; all of that bin is negative.
    last = int(np.searchsorted(centres, threshold_otsu(hist=(counts, centres))))
    return float(np.sinh(edges[last + 1]))


def members(gate: Gate, values: MarkerValues, thresholds: Thresholds) -> NDArray[np.bool_] | None:
    """Return (N,) bool: which cells are in a gate; None if the image lacks a marker of it.

    Values are compensated where compensation is on. A cell without a value (NaN) of a
    marker is neither positive nor negative for it.
    """
    if any(marker not in values.columns for marker in gate.markers):
        return None
    inside = np.ones(len(values), bool)
    for clause in gate.clauses:
        either = np.zeros(len(values), bool)
        for term in clause:
            positive, negative = thresholds.calls(values.final, term.marker)
            either |= positive if term.positive else negative
        inside &= either
    return inside


def count_gate(gate: Gate, values: MarkerValues, thresholds: Thresholds) -> int | None:
    """Return how many cells of one method in one image are in a gate; None as in ``members``."""
    inside = members(gate, values, thresholds)
    return None if inside is None else int(inside.sum())


def count_rows(
    gates: Gates, cells: Mapping[str, Mapping[str, MarkerValues]], thresholds: Thresholds
) -> list[dict[str, Any]]:
    """Return a row of plain JSON values for each method, image and gate.

    ``cells`` is by method and by image. ``count`` is None where the image lacks a marker, and
    ``share``, of the method's cells in the image, also where there is no cell.
    """
    rows = []
    for method, images in cells.items():
        for image, values in images.items():
            for gate in gates.gates:
                count = count_gate(gate, values, thresholds)
                share = None if count is None or not len(values) else count / len(values)
                rows.append(
                    {
                        "method": method,
                        "image": image,
                        "gate": gate.name,
                        "count": count,
                        "share": share,
                        "cells": len(values),
                    }
                )
    return rows
