"""The light record of a component: what it is called, where its class is, what it needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, get_args

import attrs

__all__ = ["KINDS", "Component", "Kind"]

Kind = Literal["segmenter", "expander", "compensator", "reader", "writer"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _check_name(_: object, __: object, value: str) -> None:
    if not _NAME.fullmatch(str(value)):
        raise ValueError(
            f"a component's name has lower-case letters, digits, '-' and '_'; got {value!r}"
        )


def _check_factory(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not _FACTORY.fullmatch(str(value)):
        raise ValueError(f"a {attribute.name} reads 'package.module:Class'; got {value!r}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _strings(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


@attrs.frozen(kw_only=True)
class Component:
    """One entry of the table that a plugin's hook returns; importing it costs nothing.

    Parameters
    ----------
    name
        What users type, for example ``--segmenter NAME``: lower-case letters, digits, ``-``, ``_``.
    factory
        Where the class is, ``"package.module:Class"``. It is imported when the component is built,
        with its options as keyword arguments, and not before.
    description
        One line for ``cellseg plugins``.
    requires
        Packages that it needs beyond the plugin's own, as requirements: ``("stardist>=0.9",)``.
    install
        The command that brings them, shown where one is missing.
    patterns
        For readers: shell patterns of the file names they read, such as ``"*.tif"``; the longest
        that fits decides between readers. A pattern that ends in ``/`` fits folders.
    contains
        For readers: names of files. A folder that has one of them is read, if no pattern fits it.
    addresses
        For readers: whether ``read`` takes an :class:`~cellseg_core.address.Address` too. Patterns
        of folders then fit addresses.
    trainer
        For segmenters that ``cellseg train`` can train: where the class that does it is, as
        ``factory``; see :class:`~cellseg_core.protocols.Trainer`.
    weights
        For segmenters with published weights: where their table is, ``"package.module:NAME"``, a
        sequence of :class:`~cellseg_core.weights.PublishedWeights`. ``cellseg weights`` shows and
        fetches them; the module must import nothing heavy.
    """

    name: str = attrs.field(validator=_check_name)
    factory: str = attrs.field(validator=_check_factory)
    description: str = attrs.field(default="", converter=_one_line)
    requires: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    install: str = ""
    patterns: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    contains: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    addresses: bool = False
    trainer: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(_check_factory)
    )
    weights: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(_check_factory)
    )
