"""Checks of the options that trainers have, for attrs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from cellseg_core.errors import ConfigurationError

__all__ = ["PRECISIONS", "is_precision", "is_start", "multiple_of", "number", "whole"]

Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]

PRECISIONS = ("auto", "float32", "bfloat16")


def whole(low: int, high: int = 10**9) -> Check:
    """Return a check that an option is a whole number in a range, ends included."""

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ConfigurationError(
                f"trainer.{attribute.name} is a whole number from {low} to {high:,}; got {value!r}."
            )

    return check


def number(low: float, high: float) -> Check:
    """Return a check that an option is a number over one and up to another."""

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not (good and low < value <= high):
            raise ConfigurationError(
                f"trainer.{attribute.name} is a number over {low:g}, up to {high:g}; got {value!r}."
            )

    return check


def multiple_of(step: int, usual: int) -> Check:
    """Return a check that an option is a number of px, 64 or more, that a network can halve."""

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        whole_number = isinstance(value, int) and not isinstance(value, bool)
        if not whole_number or value < 64 or value % step:
            raise ConfigurationError(
                f"trainer.{attribute.name} is a multiple of {step} px, 64 or more; got {value!r}. "
                f"{usual} is usual."
            )

    return check


def is_start(choices: str) -> Check:
    """Return a check that an option can be a name or a path; ``choices`` tells which."""

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ConfigurationError(
                f"trainer.{attribute.name} is {choices}; got {value!r}. Where a folder is named "
                "like a number or a date, write ./ before it."
            )

    return check


def is_precision(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Check that an option is one of :data:`PRECISIONS`."""
    if value not in PRECISIONS:
        raise ConfigurationError(
            f"trainer.{attribute.name} is 'auto', 'float32' or 'bfloat16'; got {value!r}."
        )
