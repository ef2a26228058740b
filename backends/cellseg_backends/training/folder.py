"""The rules about the folder that a training writes into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cellseg_core.errors import ConfigurationError
from cellseg_core.store import output_error

__all__ = ["check_same", "check_unfinished", "clear"]

_CHECKSUMS = ("images", "start")


def check_unfinished(model: Path, checkpoint: Path) -> None:
    """Check that no finished training is overwritten.

    A training that goes on has its checkpoint; a model without one was finished and tidied up.

    Raises
    ------
    ConfigurationError
        If there is a model and no checkpoint.
    """
    if model.is_file() and not checkpoint.is_file():
        raise ConfigurationError(
            f"{model.parent} holds a trained network already. Choose another folder, or give "
            "--fresh to replace it."
        )


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Check that a training goes on with the settings that it was begun with.

    Raises
    ------
    ConfigurationError
        If not; the message names what differs.
    """

    def shown(key: str, facts: Mapping[str, Any]) -> str:
        value = facts.get(key, "not known")
        return str(value)[:12] if key in _CHECKSUMS else str(value)

    differ = [key for key in now if before.get(key) != now[key]]
    if differ:
        told = ", ".join(f"{key} ({shown(key, before)}, now {shown(key, now)})" for key in differ)
        raise ConfigurationError(
            f"{folder} holds a training with other settings: {told}. Give the same again to go on "
            "with it, choose another folder, or start over with --fresh."
        )


def clear(folder: Path, names: Iterable[str]) -> None:
    """Remove what an earlier training wrote.

    Raises
    ------
    OutputError
        If that is not allowed.
    """
    for name in names:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise output_error(folder / name, error) from error
