"""``cellseg demo``, ``info``, ``plugins``, ``init`` and help."""

from __future__ import annotations

import json
import re
import tomllib

import attrs
import numpy as np
import pandas as pd
import pytest
import tifffile

import cellseg_core
from cellseg_core.config import RunConfig


def test_demo_makes_an_image_and_finds_most_of_its_cells(cellseg, tmp_path) -> None:
    out = tmp_path / "demo"
    done = cellseg("demo", "-o", out)
    assert done.status == 0, done.err
    frame = pd.read_csv(out / "cells.csv")
    made = int(re.search(r"made with ([\d,]+) nuclei", done.out)[1].replace(",", ""))
    assert 0.8 * made < len(frame) < 1.2 * made
    matched = int(re.search(r"(\d+) of those found match", done.out)[1])
    assert matched > 0.65 * made
    assert (out / "tissue" / "overlay.png").is_file()
    assert str(out / "report.html") in done.out
    with tifffile.TiffFile(out / "tissue.ome.tif") as file:
        assert file.is_ome


def test_info_says_what_was_read_and_how(cellseg, write_image) -> None:
    done = cellseg("info", write_image())
    assert done.status == 0
    for part in (
        "60 x 80 px, 2 channels, uint16", "OME", "DAPI, CD3", "0.5 um", "30 x 40 um",
        "'DAPI' looks like one", "diameter:", "image.ome.tif",
    ):  # fmt: skip
        assert part in done.out, part


def test_info_explains_the_axes_that_it_had_to_guess(cellseg, tmp_path) -> None:
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, np.zeros((5, 40, 50), np.uint8), metadata=None, photometric="minisblack")
    done = cellseg("info", path)
    assert done.status == 0
    assert "40 x 50 px, 5 channels" in done.out
    assert "which channel shows the nuclei? Name it with --nuclear" in done.out
    assert "not known (give --pixel-size)" in done.out


def test_info_names_what_cannot_be_read(cellseg, tmp_path, write_image) -> None:
    done = cellseg("info", tmp_path / "no.tif", write_image())
    assert done.status == 1
    assert "no.tif does not exist" in done.err
    assert "DAPI" in done.out, "the others are shown"


def test_plugins_lists_every_component_for_people_and_for_scripts(cellseg) -> None:
    rows = json.loads(cellseg("plugins", "--json").out)
    assert {"kind", "name", "origin", "available", "reason", "install"} <= set(rows[0])
    names = {(row["kind"], row["name"]) for row in rows if row["available"]}
    assert {
        ("segmenter", "watershed"), ("expander", "sequential"), ("expander", "standard"),
        ("expander", "voronoi"), ("compensator", "contact"), ("reader", "tiff"),
        ("compensator", "boundary"), ("compensator", "conserving"),
        ("writer", "csv"), ("writer", "fcs"), ("writer", "labels"), ("writer", "overlay"),
    } <= names  # fmt: skip
    text = cellseg("plugins").out
    for _, name in names:
        assert name in text


def test_init_writes_every_option_with_its_default(cellseg, tmp_path) -> None:
    path = tmp_path / "settings.toml"
    assert cellseg("init", path).status == 0
    text = path.read_text(encoding="utf-8")
    assert RunConfig.from_mapping(tomllib.loads(text)) == RunConfig()
    for field in attrs.fields(RunConfig):
        if field.name != "set":
            assert re.search(rf"^(# )?{field.name.replace('_', '-')} = ", text, re.MULTILINE)
    assert "[set.watershed]" in text
    assert re.search(r"^# polarity = ", text, re.MULTILINE)
    again = cellseg("init", path)
    assert again.status == 1
    assert "exists already" in again.err
    assert cellseg("init").out == text


def test_every_option_in_the_settings_file_can_be_used(cellseg, tmp_path, write_image) -> None:
    text = cellseg("init").out
    # Take the comments from the options of components, all at their defaults.
    components = text.split("by their name", 1)[1].split("\n", 1)[1]
    used = re.sub(r"(?m)^# (\w+ = (?!\.\.\.).*)$", r"\1", components)
    (tmp_path / "all.toml").write_text(used, encoding="utf-8")
    done = cellseg("run", write_image(), "-o", tmp_path / "out", "--config", tmp_path / "all.toml")
    assert done.status == 0, done.err


def test_help_is_short_and_complete(cellseg) -> None:
    done = cellseg("--help")
    assert done.status == 0
    for command in ("run", "demo", "info", "plugins", "init"):
        assert re.search(rf"^  {command} ", done.out, re.MULTILINE)
        help_text = cellseg(command, "--help")
        assert help_text.status == 0
        assert "Usage: " in help_text.out
        assert "\\b" not in help_text.out
    run = cellseg("run", "--help").out
    for field in attrs.fields(RunConfig):
        assert f"--{field.name.replace('_', '-')}" in run


@pytest.mark.parametrize(
    ("command", "sections"),
    [
        ("run", ["Images", "Finding nuclei", "Cells and what is measured", "Results"]),
        ("compare", ["What is compared", "Images", "Finding nuclei"]),
    ],
)
def test_help_of_many_options_has_sections(cellseg, command, sections) -> None:
    text = cellseg(command, "--help").out
    titles = re.findall(r"(?m)^(\w[\w ]+):$", text)
    assert titles[: len(sections)] == sections
    assert titles[-1] == "Everything else"
    # Those left over are few: a new option belongs somewhere.
    assert text.partition("Everything else:")[2].count("\n  -") <= 3
    assert "-o, --output OUT" in text.partition("Results:")[2]


def test_version_and_wrong_commands(cellseg) -> None:
    assert cellseg("--version").out.strip() == f"cellseg {cellseg_core.__version__}"
    done = cellseg("rum")
    assert done.status == 2
    assert "there is no command 'rum'; did you mean 'run'" in done.err


@pytest.mark.parametrize("command", ["run", "info"])
def test_a_command_without_input_says_so(cellseg, command) -> None:
    done = cellseg(command)
    assert done.status == 2
    assert "INPUT" in done.err
    assert "Name an image, or a folder of images." in done.err
