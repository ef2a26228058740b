"""The rules that every package with plugins follows."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from typing import Any

from cellseg_core.component import KINDS
from cellseg_core.plugins import load_plugins
from cellseg_core.protocols import (
    Compensator,
    Expander,
    ImageCompensator,
    Reader,
    Segmenter,
    Writer,
)

__all__ = ["PluginTests"]


class PluginTests:
    """Rules for a package with plugins, by the name of its distribution.

    Attributes
    ----------
    distribution
        Name of the installed package, as in its pyproject.toml.
    light
        Packages that finding its components must not import.
    """

    distribution = ""
    light = ("tensorflow", "keras", "torch", "skimage", "scipy", "pandas", "tifffile")

    def _entries(self) -> list[Any]:
        found = entry_points(group="cellseg")
        return [e for e in found if e.dist is not None and e.dist.name == self.distribution]

    def test_is_found(self) -> None:
        assert self._entries(), (
            f"{self.distribution!r} has no entry point in the group 'cellseg'. Is it installed?"
        )

    def test_loads_without_a_problem(self) -> None:
        problems = load_plugins(self._entries()).problems
        assert not problems, "; ".join(f"{p.name}: {p.reason}" for p in problems)

    def test_describes_every_component(self) -> None:
        for entry in load_plugins(self._entries()).components:
            assert entry.kind in KINDS
            assert entry.component.description, f"{entry.kind} {entry.name} has no description"

    def test_says_how_to_install_what_a_component_needs(self) -> None:
        for entry in load_plugins(self._entries()).components:
            component = entry.component
            assert not component.requires or component.install, (
                f"{entry.kind} {entry.name} requires {component.requires}: give `install`, the "
                "command that brings them"
            )

    def test_clashes_with_no_other_package(self) -> None:
        everything = load_plugins()
        for entry in load_plugins(self._entries()).components:
            everything.find(entry.kind, entry.name)

    def test_builds_components_that_follow_their_protocols(self) -> None:
        protocols: dict[str, Any] = {
            "segmenter": Segmenter,
            "expander": Expander,
            "compensator": Compensator | ImageCompensator,
            "reader": Reader,
            "writer": Writer,
        }
        plugins = load_plugins(self._entries())
        for entry in plugins.components:
            if entry.missing() is not None:
                assert entry.component.requires, f"{entry.kind} {entry.name} {entry.missing()}"
                continue
            options = {"distance": 1} if entry.kind == "expander" else {}
            built = plugins.build(entry.kind, entry.name, options)
            assert isinstance(built, protocols[entry.kind]), (
                f"{entry.kind} {entry.name} lacks a method of its protocol"
            )

    def test_imports_nothing_heavy_to_be_found(self) -> None:
        code = (
            "import sys; from cellseg_core.plugins import load_plugins; load_plugins(); "
            f"print(*sorted(set({self.light!r}) & set(sys.modules)))"
        )
        done = subprocess.run(  # noqa: S603 - this Python, with code from here
            [sys.executable, "-c", code],
            capture_output=True,
            encoding="utf-8",
            check=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert not done.stdout.strip(), f"finding the components imports {done.stdout.strip()}"
