"""Every block of the README and of docs/ is run, or stands here with the reason why not.

Commands run on small images of the names that the pages use, with the watershed where a page names
no segmenter: the network is slow to load, and has tests of its own.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pytest
import tifffile

from cellseg_core.cli.main import _cellseg, main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# Python of these pages is run by other tests, or cannot be run.
OTHER_PYTHON = {
    "README.md": "tests/test_docs.py runs it",
    "write-a-backend.md": "tests/test_docs.py runs it",
    "preview.md": "tests/test_docs.py runs it",
    "shapes.md": "tests/io/test_shapes.py runs it",
    "tables.md": "tests/test_docs.py runs it",
    "walkthrough.md": "tests/test_walkthrough.py runs it",
    "whole-slides.md": "needs dask_jobqueue and SLURM",
}
# Commands of these pages are run by other tests.
OTHER_COMMANDS = {"walkthrough.md": "tests/test_walkthrough.py"}
# What begins a line that is not of cellseg: it installs packages, or sets up a terminal.
OTHER_PROGRAMS = ("pip", ".venv", "python -m venv", "py -m venv", "source", "export", "envs/")
# Commands of cellseg that are only parsed.
NOT_RUN = {
    "cellseg demo": "tests/cli/test_other_commands.py runs it",
    "cellseg view": "needs a screen, or Mesa; tests/viewer",
    "lymph_node.tif": "needs that image; tests/cli/test_preview.py",
    "--at 900,1200": "needs a larger image; tests/cli/test_preview.py",
    "--image patient_3": "needs an image of that name; tests/cli/test_preview.py",
    "--config settings.toml": "needs the file that a panel in napari writes; tests/viewer",
    "cellseg train": "takes minutes; tests/cli/test_train.py",
    "cellseg compare": "takes a minute; tests/cli/test_compare.py",
    "cellseg weights fetch": "needs a network; tests/cli/test_weights.py",
    "cellseg weights where cyto3": "needs weights that were fetched; tests/cli/test_weights.py",
    "cellseg run s3://": "needs a network; tests/io has servers of its own",
    "cellseg run IMAGE": "needs a plugin, or another environment; tests/plugins",
    "--segmenter stardist": "a network; tests/backends",
    "segmenter.weights=my_model": "needs weights that were trained; tests/cli/test_train.py",
    "--config results/run.json": "needs images where they were; tests/cli/test_repeat.py runs it",
    "--scheduler": "needs a cluster; tests/core/test_workers.py",
}
# Languages of blocks that are no program, and of one that is not here.
SHOWN = {"text", "{toctree}", "{eval-rst}", "{commands}", "{glossary}", "r"}


class Command(NamedTuple):
    """A command on a page, and what the page says that it prints."""

    page: str
    line: str
    shown: list[str]


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands() -> list[Command]:
    found: list[Command] = []
    for page in PAGES:
        for block in blocks(page, "console"):
            for line in block.splitlines():
                if line.startswith("$ "):
                    parts = line.removeprefix("$ ").split(" && ")
                    found += [Command(page.name, part, []) for part in parts]
                else:
                    found[-1].shown.append(line)
        for block in blocks(page, "bash"):
            lines = [line for line in block.splitlines() if line.startswith("cellseg ")]
            found += [Command(page.name, line, []) for line in lines]
    return found


OURS = [
    one
    for one in commands()
    if one.page not in OTHER_COMMANDS and not one.line.startswith(OTHER_PROGRAMS)
]
PARSED = [one for one in OURS if any(part in one.line for part in NOT_RUN)]
RUN = [one for one in OURS if one not in PARSED]


def write(path: Path, pixels: np.ndarray, names: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"axes": "CYX", "Channel": {"Name": list(names)}, "PhysicalSizeX": 0.5}
    tifffile.imwrite(path, pixels, ome=True, photometric="minisblack", metadata=metadata)


@pytest.fixture(scope="module")
def prepared(made_once: Callable[..., Path]) -> Path:
    """Return a folder with everything that commands on the pages name."""
    return made_once("prepared", prepare)


def prepare(place: Path) -> None:
    from cellseg_core.batch import run_batch
    from cellseg_core.cli.demo import write_demo_image
    from cellseg_core.config import RunConfig
    from cellseg_core.synthetic import simulate_tissue

    tissue = simulate_tissue((160, 280), seed=3, density=0.6)
    pixels, names = np.asarray(tissue.image.pixels), tissue.image.channels
    for name in ("tissue.ome.tif", "slide.ome.tif", "more/scan.tif"):
        write(place / name, pixels[..., :160], names)
    for name in ("crop.tif", "my-image.tif", "slides/a.tif", "slides/b.tif"):
        write(place / name, pixels[..., 120:], names)
    for name, plane in zip(("DNA1", "DNA3", "CD3"), pixels, strict=False):
        (place / "ROI002" / "channels").mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(place / "ROI002" / "channels" / f"{name}.tif", plane)
    for folder, stain in (("bestFocus", "DRAQ5"), ("processed", "DAPI")):
        (place / folder).mkdir()
        (place / folder / "channelNames.txt").write_text(f"{stain}\nCD3\n")
        for number, columns in enumerate((slice(0, 160), slice(120, 280)), 1):
            tile = place / folder / f"reg001_X0{number}_Y01_Z01.tif"
            tifffile.imwrite(tile, pixels[:2, :, columns], photometric="minisblack")
    (place / "cellseg-demo").mkdir()
    write_demo_image(place / "cellseg-demo" / "tissue.ome.tif")
    (place / "masks").mkdir()
    labels = tissue.nuclei[:, :160].astype(np.uint16)
    for name in ("masks/tissue.tif", "truth.tif", "predicted.tif"):
        tifffile.imwrite(place / name, labels)
    config = RunConfig(segmenter="watershed", nuclear=("DAPI",), write=("csv", "labels"))
    with contextlib.chdir(place):
        run_batch(["tissue.ome.tif"], "results", config)


@pytest.fixture
def place(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that folder, which is the working folder."""
    monkeypatch.chdir(shutil.copytree(prepared, tmp_path / "place"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return tmp_path / "place"


def test_every_block_is_of_a_language_that_is_tested() -> None:
    for page in PAGES:
        for language in re.findall(r"^```(\S+)\n", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert language in SHOWN | {"console", "bash", "python", "toml"}, page.name


def test_every_reason_not_to_run_a_block_is_needed() -> None:
    for part in NOT_RUN:
        assert any(part in one.line for one in OURS), part
    for page in OTHER_PYTHON:
        assert blocks(next(one for one in PAGES if one.name == page), "python")


@pytest.mark.parametrize("command", PARSED, ids=lambda one: f"{one.page}: {one.line}")
def test_a_command_that_is_not_run_is_understood(command: Command, place: Path) -> None:
    from cellseg_core.config import RunConfig, parse_setting

    _, name, *arguments = shlex.split(command.line, comments=True)
    parent = click.Context(_cellseg)
    found = _cellseg.get_command(parent, name)
    if isinstance(found, click.Group):
        found, (name, *arguments) = found.get_command(parent, arguments[0]), arguments
    assert found is not None
    (place / "gates.toml").touch()
    context = found.make_context(name, arguments, parent=parent)
    RunConfig(set=dict(map(parse_setting, context.params.get("set") or ())))


@pytest.mark.parametrize("command", RUN, ids=lambda one: f"{one.page}: {one.line}")
def test_a_command_of_a_page_does_what_it_says(
    command: Command,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = shlex.split(command.line, comments=True)
    if words[1] == "run" and "--segmenter" not in words:
        words += ["--segmenter", "watershed"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr()
    assert not stop.value.code, printed.err
    assert [line for line in command.shown if line not in printed.out.splitlines()] == []
    if words[1] == "run":
        out = place / words[words.index("-o") + 1]
        assert (out / "run.json").is_file()
        assert "0 cells" not in printed.out.split()


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks(page, "python") and page.name not in OTHER_PYTHON],
    ids=lambda page: page.name,
)
def test_the_python_of_a_page_runs(page: Path, place: Path) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)  # noqa: S102 - our own page


def test_the_toml_of_the_pages_is_valid() -> None:
    for page in PAGES:
        for block in blocks(page, "toml"):
            assert tomllib.loads(block)
