"""The errors that a user can meet: each says what was expected, what came, and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CellsegError",
    "ChannelError",
    "ComponentError",
    "ConfigurationError",
    "ImageError",
    "MissingPackageError",
    "OutputError",
    "SegmentationError",
    "nearest",
]


class CellsegError(Exception):
    """Base of every error that cellseg raises on purpose.

    Anything else that escapes is a bug of cellseg, or of a component, and is reported as one.
    """


class ImageError(CellsegError, ValueError):
    """An image, label image or input path cannot be used: missing, damaged or of a wrong shape."""


class ChannelError(CellsegError, ValueError):
    """A channel that was asked for is not in the image, or names and channels differ in number."""


class ComponentError(CellsegError, LookupError):
    """A component is unknown, provided twice, broken, or was given an option it does not have."""


class MissingPackageError(ComponentError, ImportError):
    """A component exists, but a package that it needs is not installed."""


class ConfigurationError(CellsegError, ValueError):
    """A setting has a value that makes no sense, alone or together with another."""


class SegmentationError(CellsegError, RuntimeError):
    """A segmenter, expander or compensator failed, or returned something that breaks its rules."""


class OutputError(CellsegError, OSError):
    """A result cannot be written: no permission, no space, or a name that a format cannot hold."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a sentence that helps with a misspelt ``word``: the nearest names, or all of them.

    >>> nearest("DAPl", ["DAPI", "CD3", "CD20"])
    "did you mean 'DAPI'? There are: DAPI, CD3, CD20"
    """
    names = list(known)
    by_lower = {name.casefold(): name for name in reversed(names)}
    close = difflib.get_close_matches(word.casefold(), by_lower, n=3, cutoff=0.5)
    close += [low for low in by_lower if word.casefold() in low and low not in close]
    listed = ", ".join(names[:60]) + (f" and {len(names) - 60} more" if len(names) > 60 else "")
    there_are = f"there are: {listed}" if names else "there are none"
    if not close:
        return there_are
    choices = " or ".join(repr(by_lower[low]) for low in close[:3])
    return f"did you mean {choices}? {there_are[0].upper()}{there_are[1:]}"
