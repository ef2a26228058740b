"""Checks of options that several segmenters have, for attrs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs

from cellseg_core.errors import ConfigurationError

__all__ = ["as_text", "check_between", "check_path", "check_polarity"]

Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]

_POLARITIES = {
    "auto": "'auto' (told from the image)",
    "fluorescence": "'fluorescence' (bright nuclei)",
    "bright-field": "'bright-field' (dark nuclei on a bright background)",
}


def as_text(value: Any) -> Any:
    """Return a path as text, anything else as it is."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def check_between(segmenter: str, low: float, high: float, *, low_counts: bool = False) -> Check:
    """Return a check that an option is None or a number between two others.

    The lower one is good too if ``low_counts``.
    """
    words = "number from" if low_counts else "number over"

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and low <= value < high and (low_counts or value > low)):
            raise ConfigurationError(
                f"{segmenter}.{attribute.name} is a {words} {low:g} and below {high:g}; got "
                f"{value!r}. Leave it out for what suits the weights."
            )

    return check


def check_path(segmenter: str, what: str) -> Check:
    """Return a check that an option is a text that can be a name or a path, or None."""

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None:
            return
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ConfigurationError(
                f"{segmenter}.{attribute.name} names {what}; got {value!r}. Where it is named like "
                "a number or a date, write ./ before it; leave it out for the weights that come "
                "with cellseg."
            )

    return check


def check_polarity(segmenter: str) -> Check:
    """Return a check that an option is one of the polarities of an image."""

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, str) or value not in _POLARITIES:
            *most, last = _POLARITIES.values()
            raise ConfigurationError(
                f"{segmenter}.{attribute.name} is {', '.join(most)} or {last}; got {value!r}."
            )

    return check
