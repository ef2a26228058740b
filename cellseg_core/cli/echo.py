"""What the commands print: names come from files, and a terminal obeys some characters."""

from __future__ import annotations

import re

import click

__all__ = ["echo", "printable"]

# Control characters but tab and line break, marks that turn the direction of writing, and halves
# of characters.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return a text that a terminal shows and does not obey.

    >>> printable("a\x1b[2J.tif")
    'a\\x1b[2J.tif'
    """
    return _OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)


def echo(text: object = "", *, err: bool = False) -> None:
    """Print a line, to standard error with ``err``."""
    click.echo(printable(str(text)), err=err)
