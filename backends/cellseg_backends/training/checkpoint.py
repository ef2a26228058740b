"""Checkpoints that cannot be read."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError

from cellseg_core.errors import WeightsError

__all__ = ["DAMAGE", "damaged"]

DAMAGE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, TokenError, pickle.UnpicklingError, AttributeError),
)
"""What reading a damaged file raises."""


def damaged(path: Path, error: Exception) -> WeightsError:
    """Return the error that names a checkpoint that cannot be read, and what to do."""
    return WeightsError(
        f"the checkpoint {path} cannot be read ({type(error).__name__}: {error}). Start over with "
        "--fresh, or in another folder."
    )
