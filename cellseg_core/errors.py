"""The errors that a user can meet: each says what was expected, what came, and the fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = [
    "CellsegError",
    "ChannelError",
    "ComponentError",
    "ConfigurationError",
    "ImageError",
    "MissingPackageError",
    "OutputError",
    "PartOfImageError",
    "SegmentationError",
    "WeightsError",
    "WorkerError",
    "nearest",
]


class CellsegError(Exception):
    """Base of every error that cellseg raises on purpose.

    Anything else that escapes is a bug of cellseg, or of a component, and is reported as one.
    """


class ImageError(CellsegError, ValueError):
    """An image, label image or input path cannot be used: missing, damaged or of a wrong shape."""


class PartOfImageError(ImageError):
    """A file holds a part of an image, which ``whole``, another file, describes."""

    def __init__(self, message: str, whole: Path) -> None:
        super().__init__(message, whole)
        self.whole = whole

    def __str__(self) -> str:
        return str(self.args[0])


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


class WeightsError(CellsegError, OSError):
    """Weights are missing, damaged, or of another network than they say."""


class OutputError(CellsegError, OSError):
    """A result cannot be written: no permission, no space, or a name that a format cannot hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        # To other processes, the reason goes along.
        return type(self), self.args, {"errno": self.errno}


class WorkerError(CellsegError, RuntimeError):
    """Processes that do parts of the work are lost: they died, or their cluster did."""


def nearest(misspelt: str, known: Iterable[str]) -> str:
    """Return a sentence that helps with a misspelt word: the nearest names, or all of them.

    >>> nearest("DAPl", ["DAPI", "CD3", "CD20"])
    "did you mean 'DAPI'? There are: DAPI, CD3, CD20"
    """
    names = list(known)
    listed = ", ".join(names[:60]) + (f" and {len(names) - 60} more" if len(names) > 60 else "")
    if not names:
        return "there are none"
    # A name stands for itself and for its first word: CD3 for CD3_Er170.
    by_word: dict[str, str] = {}
    for name in names:
        for word in (name, re.split(r"[\W_]", name, maxsplit=1)[0]):
            by_word.setdefault(word.casefold(), name)
    asked = misspelt.casefold()
    close = difflib.get_close_matches(asked, by_word, n=3, cutoff=0.6)
    close += [word for word in by_word if asked and asked in word]
    choices = list(dict.fromkeys(by_word[word] for word in close))[:3]
    if not choices:
        return f"there are: {listed}"
    return f"did you mean {' or '.join(map(repr, choices))}? There are: {listed}"
