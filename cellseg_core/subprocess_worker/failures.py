"""What a user is told where the component in the other environment cannot be built, or fails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellseg_core.errors import (
    CellsegError,
    ComponentError,
    ConfigurationError,
    MissingPackageError,
    SegmentationError,
    nearest,
)

__all__ = ["NO_ROOM", "error_at_start", "error_at_work", "place"]

NO_ROOM = (
    "Arrays travel through files in the temporary folder: is there room? The environment variable "
    "TMPDIR (on Windows TEMP) names another."
)


def place(component: str, python: Path) -> str:
    """Return how a component is called in messages.

    >>> place("my_package:find", Path("python"))
    'my_package:find in python'
    """
    return f"{component} in {python}"


def error_at_start(
    failed: Mapping[str, Any], component: str, options: str, python: Path
) -> CellsegError:
    """Return the error for what the worker said when it was to build the component."""
    kind, text, where = failed["kind"], failed["text"], place(component, python)
    module, _, attribute = component.partition(":")
    lines = "".join(f"\n{line}" for line in failed["lines"])
    install = f"{python} -m pip install"
    if kind == "numpy":
        return MissingPackageError(
            f"numpy cannot be imported by {python} ({text}), and arrays travel by it. Install it "
            f"there with: {install} numpy"
        )
    if kind == "module":
        return MissingPackageError(
            f"there is no module {text!r} for {python}, so {component} cannot be imported. Install "
            f"its package there ({install} ...), or choose with --set segmenter.python=FOLDER "
            "--set segmenter.component=MODULE:NAME"
        )
    if kind == "attribute":
        known = nearest(attribute, failed["lines"])
        return ComponentError(f"{module} in {python} has no {attribute!r}; {known}.")
    if kind == "options":
        return ConfigurationError(f"{where} does not accept its options {options}: {text}{lines}")
    if kind == "unusable":
        return ComponentError(
            f"{where} {text}. A component is a class that is built with the options and has "
            "segment(tile), or a function that is called with a tile and the options."
        )
    doing = "importing it" if kind == "import" else "building it"
    return ComponentError(f"{where} is broken: {doing} failed ({text}).{lines}")


def error_at_work(failed: Mapping[str, Any], component: str, python: Path) -> SegmentationError:
    """Return the error for what the worker said when the component was to work."""
    kind, text, where = failed["kind"], failed["text"], place(component, python)
    lines = "".join(f"\n{line}" for line in failed["lines"])
    if kind == "rule":
        return SegmentationError(f"{where} broke a rule: {text}")
    if kind == "transfer":
        return SegmentationError(f"{where}: {text}. {NO_ROOM}")
    if kind == "memory":
        return SegmentationError(
            f"{where}: out of memory ({text}). Use smaller tiles, for example --tile 512.{lines}"
        )
    return SegmentationError(f"{where} failed: {text}{lines}")
