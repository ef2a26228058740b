"""Keeps a library from logging to the user's screen."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

__all__ = ["SILENT", "hushed"]

SILENT = logging.CRITICAL + 1  # a connection that closes while work is called off is "critical"


@contextlib.contextmanager
def hushed(*names: str) -> Iterator[None]:
    """Let parts of a library log nothing: what matters is raised."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(SILENT)
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
