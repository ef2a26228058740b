"""What the documentation says is run: doctests, and the README's blocks."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import attrs
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


def blocks(language: str, file: str = "README.md") -> list[str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_readme_s_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cellseg_core.cli.demo import write_demo_image

    monkeypatch.chdir(tmp_path)
    write_demo_image(tmp_path / "tissue.ome.tif")
    found = blocks("python")
    assert found
    for block in found:
        exec(compile(block, "README.md", "exec"), {})  # noqa: S102 - our own README


def test_the_options_in_the_documentation_exist() -> None:
    from cellseg_core.cli import run, train

    seen = set()
    for name, module in (("run", run), ("train", train)):
        known = {option for parameter in module.command.params for option in parameter.opts}
        for file in ("README.md", "docs/cells.md", "docs/nuclei.md"):
            lines = re.findall(rf"cellseg {name} .*", "\n".join(blocks("console", file)))
            used = set(re.findall(r"(?<= )--[a-z-]+", "\n".join(lines)))
            assert used <= known
            seen |= used
    assert seen


def test_the_page_on_cells_explains_every_column_in_its_order() -> None:
    from cellseg_core import Image
    from cellseg_core.features import GROUPS
    from cellseg_core.measure import measure

    page = (ROOT / "docs" / "cells.md").read_text(encoding="utf-8")
    table = page.split("### Columns", 1)[1].split("\n\n", 2)[1]
    first = [line.split("|")[1] for line in table.splitlines()[2:]]
    explained = [name for cell in first for name in re.findall(r"`([^`]+)`", cell)]
    labels = np.ones((4, 5), np.int32)
    image = Image(np.ones((1, 4, 5)), channels=("<channel>",), pixel_size=1.0)
    measured = measure(image, labels, nuclei=labels, features="all")
    measured = attrs.evolve(measured, uncompensated=measured.intensities)
    columns = [
        "nucleus_..." if name.startswith("nucleus_") and name != "nucleus_area" else name
        for name in measured.to_pandas().columns
    ]
    assert list(dict.fromkeys(columns)) == explained
    for group in GROUPS:
        assert f"| `{group}` |" in page


def test_the_pictures_of_the_documentation_are_there() -> None:
    for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", file.read_text(encoding="utf-8")):
            assert (file.parent / picture).is_file(), f"{file.name} shows {picture}"
