"""Which values the parameters of a simulated tissue may have, and what is said of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from cellseg_core.errors import ChannelError, ConfigurationError, nearest
from cellseg_core.synthetic.panel import CHANNELS

__all__ = ["as_names", "check_channels", "check_seed", "check_shape", "parameter"]


def _number(low: float, high: float, what: str) -> Callable[[Any, Any, Any], None]:
    """Return a validator: a finite number from ``low`` to ``high``, both included."""

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not (good and low <= value <= high):
            raise ConfigurationError(
                f"simulated tissue: {attribute.name} is {what}, from {low:g} to {high:g}; "
                f"got {value!r}."
            )

    return check


def parameter(default: float, low: float, high: float, what: str) -> Any:
    """Return an attrs field: a number with a default and a range, and what it is in words."""
    return attrs.field(default=default, validator=_number(low, high, what))


def check_shape(_: object, __: object, value: Any) -> None:
    """Accept (height, width)."""
    good = isinstance(value, tuple) and len(value) == 2
    if not (good and all(isinstance(n, int) and 1 <= n < 2**31 for n in value)):
        raise ConfigurationError(
            "simulated tissue: shape is (height, width) in px, a tuple of two positive integers; "
            f"got {value!r}."
        )


def check_seed(_: object, __: object, value: Any) -> None:
    """Accept what seeds a random generator."""
    if not (isinstance(value, int) and 0 <= value < 2**64):
        raise ConfigurationError(
            f"simulated tissue: seed is an integer from 0 to 2**64 - 1; got {value!r}."
        )


def as_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return names as a tuple; a single name is one channel, not its letters."""
    return (names,) if isinstance(names, str) else tuple(names)


def check_channels(_: object, __: object, value: tuple[str, ...]) -> None:
    """Accept one or more markers of the panel, each once."""
    for name in value:
        if name not in CHANNELS:
            raise ChannelError(
                f"simulated tissue has no channel {name!r}; {nearest(name, CHANNELS)}."
            )
    if not value or len(set(value)) < len(value):
        raise ChannelError(
            "simulated tissue: channels are one or more markers, each once; got "
            f"{', '.join(value) or 'none'}."
        )
