"""What the documentation says is run: doctests, and the README's blocks."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import cellseg_backends
import cellseg_core
import cellseg_io
import cellseg_postprocess

ROOT = Path(__file__).parents[1]
MODULES = [
    info.name
    for package in (cellseg_core, cellseg_backends, cellseg_io, cellseg_postprocess)
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_right(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} does not say what it is for"
    result = doctest.testmod(module, extraglobs={"np": np})
    assert result.failed == 0


def test_every_public_name_that_a_module_lists_is_there_and_documented() -> None:
    for name in MODULES:
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            found = getattr(module, public)
            if callable(found) and getattr(found, "__module__", name) == name:
                assert found.__doc__, f"{name}.{public} is not documented"


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_readme_s_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cellseg_core.cli.demo import write_demo_image

    monkeypatch.chdir(tmp_path)
    write_demo_image(tmp_path / "tissue.ome.tif")
    found = blocks("python")
    assert found
    for block in found:
        exec(compile(block, "README.md", "exec"), {})  # noqa: S102 - our own README


def test_the_readme_s_options_exist() -> None:
    from cellseg_core.cli import run

    known = {option for parameter in run.command.params for option in parameter.opts}
    text = "\n".join(blocks("console"))
    used = set(re.findall(r"(?<= )--[a-z-]+", "\n".join(re.findall(r"cellseg run .*", text))))
    assert used
    assert used <= known
