"""Settings from files: TOML that a user writes, and the record that a run leaves."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from cellseg_core.errors import ConfigurationError

__all__ = ["SCHEMA", "is_record", "load_config", "load_record"]

SCHEMA = 1
"""Version of what ``run.json`` holds: ``run.schema.json`` beside this module tells it."""


def is_record(path: Path) -> bool:
    """Tell whether a file with settings is the record of a run, by its name."""
    return path.suffix.lower() == ".json"


def load_record(path: Path) -> dict[str, Any]:
    """Return what is in the record of a run, ``run.json``.

    Raises
    ------
    ConfigurationError
        If it cannot be read, is no record, or is of a later version.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is damaged: it is no JSON ({error}).") from error
    if not (isinstance(record, dict) and isinstance(record.get("settings"), dict)):
        raise ConfigurationError(
            f"{path} holds no settings. Give the run.json that `cellseg run` wrote, or a TOML file "
            "of `cellseg init`."
        )
    version = record.get("schema", SCHEMA)
    if version != SCHEMA:
        raise ConfigurationError(
            f"{path} was written by cellseg {record.get('cellseg', 'of another version')}, and "
            f"this version does not read it (schema {version}, known is {SCHEMA}). Install that."
        )
    return record


def load_config(path: Path) -> dict[str, Any]:
    """Return the settings in a TOML file, or in the record of a run (``run.json``).

    Raises
    ------
    ConfigurationError
        If it cannot be read, is not TOML (the message has the line), or no record.
    """
    if is_record(path):
        settings: dict[str, Any] = load_record(path)["settings"]
        return settings
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"the settings in {path} cannot be read: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"{path} is not valid TOML: {error}. Texts need quotes, for example "
            'nuclear = "DAPI". `cellseg init` writes a file to start from.'
        ) from error
