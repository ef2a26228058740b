"""The options of ``run``, made from the one table of settings."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from cellseg_core.config import RunConfig, option_name, parse_setting
from cellseg_core.config_files import load_config
from cellseg_core.errors import ComponentError, ConfigurationError

__all__ = ["config_from", "memory_size", "naming_settings", "run_options"]

_BYTES = re.compile(r"(\d+(?:\.\d+)?) *([KMGT]?)(I?)B?", re.IGNORECASE)
_LEAST_MEMORY = 2**28


def memory_size(text: str) -> int:
    """Return the bytes that a text stands for.

    >>> memory_size("8GB"), memory_size("0.5 GiB")
    (8000000000, 536870912)
    """
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is no amount of memory: 8GB, 500MB, 1.5TB.")
    power = " KMGT".index(found[2].upper() or " ")
    amount: int = round(float(found[1]) * (1024 if found[3] else 1000) ** power)
    if amount < _LEAST_MEMORY:
        raise click.BadParameter(
            f"{text!r} is too little: the program by itself takes more. With its unit it reads 8GB."
        )
    return amount


Function = TypeVar("Function", bound=Callable[..., Any])


def run_options(function: Function, without: Collection[str] = ()) -> Function:
    """Add every setting of :class:`~cellseg_core.config.RunConfig` as an option of a command.

    But for those named in ``without``. An option that is not given arrives as None, so that a
    configuration file can set it.
    """
    fields = [field for field in attrs.fields(RunConfig) if field.name not in without]
    for field in reversed(fields):
        if field.name == "set":
            extra: dict[str, Any] = {"multiple": True}
        elif field.default is False:
            extra = {"is_flag": True, "flag_value": True, "default": None}
        else:
            extra = {"type": _type(field)}
        text = field.metadata["help"]
        if field.default not in (None, (), False) and not isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
            text += f" [default: {_shown(field.default)}]"
        function = click.option(
            option_name(field),
            field.name,
            metavar=field.metadata["metavar"] or None,
            help=text,
            **extra,
        )(function)
    return function


@contextlib.contextmanager
def naming_settings(file: Path | None) -> Iterator[None]:
    """Let errors over settings, which may stand in a file, name the file."""
    try:
        yield
    except (ComponentError, ConfigurationError) as error:
        if file is None or str(file) in str(error):
            raise
        raise type(error)(f"{error} Settings come from {file}, too.") from error


def config_from(given: Mapping[str, Any], file: Path | None) -> RunConfig:
    """Return the settings of a file, overridden by the options that were given.

    Raises
    ------
    ConfigurationError
        If a name is unknown, a value makes no sense, or the file alone asks for a program to be
        run.
    """
    if file is None:
        values: dict[str, Any] = {}
    else:
        values = RunConfig.normal_keys(load_config(file), str(file))
        stated = RunConfig.from_mapping(values, str(file))
        chosen = stated.segmenter
        if chosen == "subprocess" and given.get("segmenter", chosen) is None:
            raise ConfigurationError(
                f"{file} chooses the segmenter 'subprocess', which runs a program that settings "
                "name. If you know what it runs (python and component in it), say so: give "
                "--segmenter subprocess too."
            )
    for name, value in given.items():
        if name == "set":
            settings = RunConfig.from_mapping({"set": values.get("set", {})}).set
            merged = {owner: dict(options) for owner, options in settings.items()}
            for owner, options in RunConfig(set=dict(map(parse_setting, value))).set.items():
                merged.setdefault(owner, {}).update(options)
            values["set"] = merged
        elif value is not None:
            values[name] = value
    return RunConfig.from_mapping(values)


def _type(field: attrs.Attribute[Any]) -> Any:
    if str(field.type) in ("int", "int | None"):
        return int
    return float if str(field.type) in ("float", "float | None") else str


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
