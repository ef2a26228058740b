"""One of the methods that are compared: a segmenter with its options, under a name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from cellseg_core.config import RunConfig, parse_setting
from cellseg_core.errors import ConfigurationError
from cellseg_core.naming import safe_name

__all__ = ["Method", "parse_methods"]

_NAME = re.compile(r"[^\W_][\w.+-]{0,39}")
_FORM = "--method takes NAME=SEGMENTER[,OPTION=VALUE...], for example sam=cellpose,weights=cpsam"


def _is_name(_: object, __: object, value: str) -> None:
    if not _NAME.fullmatch(value) or safe_name(value) != value:
        raise ConfigurationError(
            f"a method's name has up to 40 letters, digits, dots, dashes and underscores, and "
            f"begins with a letter or digit (and none is called like a device: con, nul); got "
            f"{value!r}. {_FORM}."
        )


@attrs.frozen(kw_only=True)
class Method:
    """A segmenter with its options, and what it is called in the comparison.

    Raises
    ------
    ConfigurationError
        If the name cannot be that of a folder.

    >>> Method.parse("sam=cellpose,weights=cpsam").options
    {'weights': 'cpsam'}
    """

    name: str = attrs.field(validator=_is_name)
    segmenter: str
    options: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, segmenter: str) -> Method:
        """Return a segmenter with its usual options, under its own name (PACKAGE/NAME too)."""
        return cls(name=segmenter.rpartition("/")[2], segmenter=segmenter)

    @classmethod
    def parse(cls, text: str) -> Method:
        """Return the method that ``NAME=SEGMENTER,OPTION=VALUE...`` describes.

        Raises
        ------
        ConfigurationError
            If that is not its form.
        """
        name, equals, rest = text.partition("=")
        segmenter, *given = rest.split(",")
        if not equals or not segmenter.strip() or any("=" not in one for one in given):
            raise ConfigurationError(f"{_FORM}; got {text!r}.")
        pairs = (parse_setting(f"segmenter.{one.strip()}") for one in given)
        options = {key.partition(".")[2]: value for key, value in pairs}
        return cls(name=name.strip(), segmenter=segmenter.strip(), options=options)

    @property
    def owner(self) -> str:
        """Return the segmenter's name, by which its options are set."""
        return self.segmenter.rpartition("/")[2]

    def config(self, shared: RunConfig, methods: Sequence[Method] = ()) -> RunConfig:
        """Return the settings of a run of this method, given those that all methods share.

        What is set for the segmenters of other ``methods`` is left out.
        """
        others = {method.owner for method in methods} - {self.owner}
        kept = {owner: options for owner, options in shared.set.items() if owner not in others}
        own = {**kept.get(self.owner, {}), **self.options}
        return attrs.evolve(shared, segmenter=self.segmenter, set={**kept, self.owner: own})


def parse_methods(segmenters: Sequence[str], described: Iterable[str]) -> list[Method]:
    """Return the methods that are named, in order: those of ``--segmenters``, then ``--method``.

    Raises
    ------
    ConfigurationError
        If there is none, or two have one name.
    """
    methods = [*map(Method.of, segmenters), *map(Method.parse, described)]
    if not methods:
        raise ConfigurationError(
            "there is nothing to compare: name segmenters, --segmenters maskrcnn,watershed. "
            "`cellseg plugins` lists them."
        )
    names = [method.name.casefold() for method in methods]
    for method in methods:
        if names.count(method.name.casefold()) > 1:
            raise ConfigurationError(
                f"two methods are called {method.name!r}. Give one another name: --method "
                f"{method.name}2={method.segmenter},OPTION=VALUE."
            )
    return methods
