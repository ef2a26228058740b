"""``cellseg preview``: the picture, the commands it prints, and what it refuses."""

from __future__ import annotations

import re
import shlex

import numpy as np
import PIL.Image
import pytest
import tifffile

QUICK = ("--segmenter", "watershed", "--diameters", "8,10", "--brightness-factors", "1")


def commands(printed: str) -> dict[int, list[str]]:
    """Return the words of each command that was printed, by the number of its panel."""
    lines = re.findall(r"^ *(\d+): (cellseg run .*)$", printed, re.MULTILINE)
    return {int(number): shlex.split(line, comments=True) for number, line in lines}


def test_every_panel_has_the_command_that_runs_with_its_settings(
    cellseg, write_image, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_image("my image's.ome.tif")
    done = cellseg(
        "preview", path, "--nuclear", "DAPI", "--segmenter", "watershed", "--expand", "2",
        "--set", "segmenter.split=0.1",
    )  # fmt: skip
    assert done.status == 0, done.err
    with PIL.Image.open(tmp_path / "preview.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 500
    found = commands(done.out)
    assert list(found) == list(range(1, 10))
    for words in found.values():
        assert words[2] == str(path)
        assert words[words.index("--set") + 1] == "segmenter.split=0.1"
    assert "--brightness" not in found[5]
    assert "--nuclear-diameter" not in found[5]
    assert found[9][found[9].index("--brightness") + 1] == "2"
    assert re.search(r"^ 5: .*by itself$", done.out, re.MULTILINE)
    assert "Look at: preview.png" in done.out
    run = cellseg(*found[9][1:-1], tmp_path / "results")
    assert run.status == 0, run.err
    diameter = float(found[9][found[9].index("--nuclear-diameter") + 1])
    assert f"nuclei about {diameter:.1f} px (given)" in run.out


def write_plane(path, factor: float) -> None:
    y, x = np.mgrid[:80, :90]
    discs = (y % 16 - 8) ** 2 + (x % 16 - 8) ** 2 <= 25
    tifffile.imwrite(path, (factor * (100 + 800 * discs)).astype(np.uint16))


def test_of_a_folder_one_image_of_typical_brightness_is_shown_or_the_one_that_is_named(
    cellseg, tmp_path
) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    for name, factor in (("bright", 9), ("dim", 0.5), ("usual", 1)):
        write_plane(folder / f"{name}.tif", factor)
    (folder / "broken.tif").write_bytes(b"no")
    out = tmp_path / "new" / "a.png"
    done = cellseg("preview", folder, *QUICK, "-o", out)
    assert done.status == 0, done.err
    assert "Shown is usual, one of 3 images" in done.err
    assert f"FAILED {folder / 'broken.tif'}" in done.err
    assert all(words[2] == str(folder) for words in commands(done.out).values())
    each = cellseg(
        "preview", folder, "--segmenter", "watershed", "--brightness", "each", "--image", "dim",
        "--diameters", "8,10", "-o", out,
    )  # fmt: skip
    assert each.status == 0, each.err
    assert "Shown is dim" in each.err
    assert all("each" in words for words in commands(each.out).values())
    wrong = cellseg("preview", folder, *QUICK, "--image", "dimm", "-o", out)
    assert wrong.status == 2
    assert "did you mean 'dim'" in wrong.err


def test_the_reference_and_the_settings_file_count_and_are_in_the_commands(
    cellseg, write_image, tmp_path
) -> None:
    reference, config = tmp_path / "reference.tif", tmp_path / "settings.toml"
    write_plane(reference, 4)
    config.write_text('segmenter = "watershed"\nnuclear-diameter = 9\n', encoding="utf-8")
    image = write_image(channels=("DAPI",))
    done = cellseg(
        "preview", image, "--config", config, "--channels", tmp_path / "names.txt",
        "-o", tmp_path / "a.png",
    )  # fmt: skip
    assert done.status == 1
    assert "names.txt cannot be read" in done.err
    (tmp_path / "names.txt").write_text("channel_1", encoding="utf-8")
    given = ("--channels", tmp_path / "names.txt", "--reference", reference)
    done = cellseg("preview", image, "--config", config, *given, "-o", tmp_path / "a.png")
    assert done.status == 0, done.err
    words = commands(done.out)[5]
    assert words[words.index("--config") + 1] == str(config)
    assert words[words.index("--reference") + 1] == str(reference)
    assert "--nuclear-diameter" not in words
    assert "--nuclear-diameter" in commands(done.out)[2]


def test_a_segmenter_that_cannot_run_is_told_and_the_others_are_drawn(
    cellseg, write_image, tmp_path
) -> None:
    out = tmp_path / "a.png"
    done = cellseg(
        "preview", write_image(), "--segmenters", "subprocess,watershed", "--nuclear-diameter", "9",
        "-o", out, "--quiet",
    )  # fmt: skip
    assert done.status == 1
    assert re.search(r"^FAILED subprocess: .*--set segmenter.component=", done.err, re.MULTILINE)
    assert done.out == ""
    assert out.is_file()


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--at", "5"), 2, "--at 900,1200"),
        (("--at", "900,1"), 2, "60 rows and 80 columns"),
        (("--size", "4"), 2, "--size is from 32 to 4096 px"),
        (("--diameters", "a"), 2, "--diameters 1,2"),
        (("--brightness-factors", "-1"), 2, "--brightness-factors are numbers over 0"),
        (("--brightness", "each", "--brightness-factors", "2"), 2, "leaves no choice"),
        (("-o", "a.jpg"), 2, "-o a.png instead of a.jpg"),
        (("--nuclear", "DAPl"), 1, "did you mean 'DAPI'"),
        (("--segmenters", "maskrnn"), 2, "did you mean 'maskrcnn'"),
        (("--set", "segmenter.splitt=1"), 2, "splitt"),
    ],
)
def test_wrong_use_is_told_with_the_fix(
    cellseg, write_image, tmp_path, monkeypatch, options, status, words
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cellseg("preview", write_image(), "--segmenter", "watershed", *options)
    assert done.status == status
    assert words in done.err
    assert not list(tmp_path.glob("*.png"))


def test_an_image_is_not_overwritten_by_its_preview(cellseg, tmp_path) -> None:
    path = tmp_path / "cells.png"
    PIL.Image.fromarray(np.full((64, 64), 7, np.uint8)).save(path)
    before = path.read_bytes()
    done = cellseg("preview", path, *QUICK, "-o", path)
    assert done.status == 2
    assert f"{path} exists, and is no picture of cellseg preview" in done.err
    assert path.read_bytes() == before
    inside = cellseg("preview", tmp_path, *QUICK, "-o", tmp_path / "new.png")
    assert inside.status == 2
    assert "would be an image of" in inside.err


def test_a_preview_takes_the_place_of_an_earlier_one(cellseg, write_image, tmp_path) -> None:
    out = tmp_path / "pictures" / "preview.png"
    assert cellseg("preview", write_image(), *QUICK, "-o", out).status == 0
    assert cellseg("preview", write_image(), *QUICK, "-o", out).status == 0


def test_an_image_of_a_folder_whose_pixels_are_damaged_is_left_out(cellseg, tmp_path) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    y, x = np.mgrid[:80, :90]
    discs = ((y % 16 - 8) ** 2 + (x % 16 - 8) ** 2 <= 25) * np.uint8(200)
    for name in ("a", "b", "c"):
        PIL.Image.fromarray(discs).save(folder / f"{name}.png")
    whole = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(whole[: len(whole) // 2])
    done = cellseg("preview", folder, *QUICK, "-o", tmp_path / "preview.png")
    assert done.status == 0, done.err
    assert f"FAILED {folder / 'b.png'}" in done.err
    assert "one of 2 images" in done.err
    asked = cellseg("preview", folder, *QUICK, "--image", "b", "-o", tmp_path / "preview.png")
    assert asked.status == 1
    assert "cannot be decoded" in asked.err


def test_a_picture_that_cannot_be_written_is_told(cellseg, write_image, tmp_path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    done = cellseg("preview", write_image(), *QUICK, "-o", tmp_path / "file" / "a.png")
    assert done.status == 1
    assert "cannot be written" in done.err
