"""Libraries that talk while they work."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

__all__ = ["quiet"]

_talking = threading.RLock()


@contextmanager
def quiet(warning: str = "") -> Iterator[None]:
    """Keep from the user what a library prints, and its warnings that begin with ``warning``.

    All of its warnings, unless that is given. Threads wait here for each other: all share one
    standard output and one list of filters, and two that change and restore them in turn would
    leave them changed.
    """
    with _talking, warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.filterwarnings("ignore", message=warning)
        yield
