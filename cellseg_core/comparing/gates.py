"""Phenotype gates, such as T cells = CD45+ CD3+ CD20-, and their file.

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

import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cellseg_core.channels import find_channel
from cellseg_core.errors import ChannelError, ConfigurationError, nearest

__all__ = ["Gate", "Gates", "Term", "check_markers", "parse_gates", "read_gates"]

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
    except (ValueError, RecursionError) as error:
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
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and abs(value) <= sys.float_info.max):
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
