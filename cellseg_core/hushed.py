"""Keeps a library from logging to the user's screen."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

__all__ = ["SILENT", "hushed"]

SILENT = logging.CRITICAL + 1  # a connection that closes while work is called off is "critical"


@contextlib.contextmanager
def hushed(name: str) -> Iterator[None]:
    """Let a library log nothing: what matters is raised."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(SILENT)
    try:
        yield
    finally:
        logger.setLevel(before)
