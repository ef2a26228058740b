"""``cellseg run`` and what it cannot do: bad input, wrong use, outputs that cannot be written."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

import cellseg_io.csv_table

# These tests are about the machinery around a segmenter: the fastest does.
D = ("--nuclear-diameter", 10, "--segmenter", "watershed")


def images_in(out: Path) -> list[str]:
    """Return the names of the images that have cells in the table of a run."""
    return pd.read_csv(out / "cells.csv")["image"].unique().tolist()


def bad_inputs(folder: Path) -> dict[str, tuple[Path, str]]:
    """Write inputs that cannot be done; return each with a part of its message."""
    rng = np.random.default_rng(0)
    good = rng.integers(0, 999, (2, 40, 50)).astype(np.uint16)

    def tif(name: str, pixels: np.ndarray, **kwargs) -> Path:
        tifffile.imwrite(folder / name, pixels, **kwargs)
        return folder / name

    cut = tif("cut.tif", good[0], compression="zlib")
    cut.write_bytes(cut.read_bytes()[:-600])
    text = folder / "text.tif"
    text.write_text("not an image")
    empty = folder / "empty.png"
    empty.write_bytes(b"")
    names = folder / "names" / "x.tif"
    names.parent.mkdir()
    tifffile.imwrite(names, good)
    (names.parent / "channelNames.txt").write_text("DAPI\nCD3\nCD4\n")
    (folder / "nothing").mkdir()
    (folder / "table.xlsx").write_bytes(b"PK")
    return {
        "missing": (folder / "missing.tif", "does not exist"),
        "cut": (cut, "cut.tif"),
        "text": (text, "text.tif"),
        "empty": (empty, "empty.png"),
        "5-D": (tif("5d.tif", np.zeros((2, 2, 2, 20, 20), np.uint8)), "5d.tif"),
        "complex": (tif("complex.tif", good[0].astype(complex)), "complex"),
        "nan": (tif("nan.tif", np.full((40, 50), np.nan, np.float32)), "only NaN or infinity"),
        "no such channel": (
            tif("other.ome.tif", good, ome=True, photometric="minisblack",
                metadata={"axes": "CYX", "Channel": {"Name": ["CD3", "CD4"]}}),
            "channel",
        ),
        "names": (names, "3"),
        "no image": (folder / "nothing", "holds no image"),
        "no reader": (folder / "table.xlsx", "no reader takes a file of this name"),
    }  # fmt: skip


def test_bad_inputs_are_named_and_the_others_done(cellseg, write_image, tmp_path, files) -> None:
    bad = bad_inputs(tmp_path)
    good = [write_image("good/one.tif"), write_image("good/two.tif", seed=3)]
    paths = [path for path, _ in bad.values()]
    out = tmp_path / "out"
    done = cellseg("run", *paths[:5], good[0], *paths[5:], good[1], "-o", out, *D)
    assert done.status == 1
    record = json.loads((out / "run.json").read_text())
    errors = {image["source"]: image["error"] for image in record["images"] if image["error"]}
    assert set(errors) == {str(path) for path in paths}
    for path, message in bad.values():
        assert message in errors[str(path)], errors[str(path)]
        assert len(errors[str(path)]) < 1000
        assert "unexpected" not in errors[str(path)], errors[str(path)]
    assert images_in(out) == ["one", "two"]
    assert f"{len(bad)} failed" in done.err
    alone = tmp_path / "alone"
    cellseg("run", *good, "-o", alone, *D)
    assert files(alone) == files(out), "inputs that failed changed the results of the others"


def test_a_wrong_channel_lists_the_nearest(cellseg, write_image, tmp_path) -> None:
    done = cellseg("run", write_image(), "-o", tmp_path / "out", "--nuclear", "DAPl", *D)
    assert done.status == 1
    assert "no channel is named 'DAPl'; did you mean 'DAPI'? There are: DAPI, CD3" in done.err


def test_black_everywhere_is_an_error_that_asks_for_the_channel(cellseg, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "black.tif", np.zeros((40, 50), np.uint8))
    done = cellseg("run", tmp_path / "black.tif", "-o", tmp_path / "out", *D)
    assert done.status == 1
    assert "the nuclear channel (channel_1) is black in every image" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--segmenter", "watershet"), "no segmenter named 'watershet'; did you mean 'watershed'"),
        (("--expander", "x", "--expand", 1), "there is no expander named 'x'"),
        (("--write", "csv,xlsx"), "there is no writer named 'xlsx'"),
        (("--set", "segmenter.polaroty=1"), "has the option 'polaroty'; did you mean 'polarity'"),
        (("--set", "segmenter.polarity=purple"), "polarity"),
        (("--set", "segmentor.x=1"), "did you mean 'segmenter'"),
        (("--set", "contact.foo=1"), "no contact has the option 'foo'"),
        (("--expander", "nope"), "there is no expander named 'nope'"),
        (("--set", "expander.distance=7"), "the distance to grow is set by --expand"),
        (("--set", "overlay.longest=64.5"), "overlay.longest is a whole number"),
        (("--pixel-size", "1e12"), "--pixel-size is a number over 0"),
        (("--set", "nonsense"), "--set takes KIND.OPTION=VALUE"),
        (("--set", "writer.styl=x"), "no writer has the option 'styl'; did you mean 'style'"),
        (("--expand", -1), "in px (2) or with its unit (1um); got -1"),
        (("--expand", 1.5), "whole px"),
        (("--expand", "2mm"), "--expand is a number of 0 or more, in px (2) or with its unit"),
        (("--features", "shape,medain"), "no feature 'medain': did you mean 'median'"),
        (("--compensate", "--compensator", "redsea"), "there is no compensator named 'redsea'"),
        (("--tile", 0), "--tile is a whole number of 1 or more; got 0"),
        (("--tile", "big"), "'big' is not a valid integer"),
        (("--brightness", "bright"), "--brightness is a number over 0; got 'bright'"),
        (
            ("--layout", "tiles"),
            "--layout is one of auto, images, channels, codex, mosaic; got 'tiles'",
        ),
        (("--overlap", 3, "--tile", 20), "an overlap of 3 px is too small"),
        (("--config", "no-such.toml"), "no-such.toml cannot be read"),
        (("--nuclear-diamter", 3), "nuclear-diameter"),
    ],
)
def test_wrong_use_is_exit_status_2_and_says_what_is_right(
    cellseg, write_image, tmp_path, arguments, message
) -> None:
    done = cellseg("run", write_image(), "-o", tmp_path / "out", *D, *arguments)
    assert message in done.err
    assert done.status == (1 if "overlap" in message else 2)


def test_an_output_that_is_a_file_is_refused(cellseg, write_image, tmp_path) -> None:
    (tmp_path / "out").write_text("a file")
    done = cellseg("run", write_image(), "-o", tmp_path / "out", *D)
    assert done.status == 1
    assert "cannot be written" in done.err
    assert "-o" in done.err


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="the superuser may write everywhere"
)
def test_an_output_without_permission_is_refused(cellseg, write_image, tmp_path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    done = cellseg("run", write_image(), "-o", locked / "out", *D)
    assert done.status == 1
    assert "Choose a folder that you may write to" in done.err


def test_a_full_disk_stops_the_run_and_keeps_what_is_done(
    cellseg, write_image, tmp_path, monkeypatch
) -> None:
    paths = [write_image(f"{name}.tif", seed=i) for i, name in enumerate("abc")]
    out = tmp_path / "out"
    real = cellseg_io.csv_table.CsvWriter.write

    def full(self, result, folder):
        if result.image.name == "b":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, result, folder)

    monkeypatch.setattr(cellseg_io.csv_table.CsvWriter, "write", full)
    done = cellseg("run", *paths, "-o", out, *D)
    assert done.status == 1
    assert "The disk is full: free some space and run the same command again" in done.err
    monkeypatch.setattr(cellseg_io.csv_table.CsvWriter, "write", real)
    again = cellseg("run", *paths, "-o", out, *D)
    assert again.status == 0
    assert again.out.count("(done before)") == 1


def test_a_segmenter_that_raises_on_one_image_costs_that_image_only(
    cellseg, write_image, tmp_path, monkeypatch
) -> None:
    from cellseg_backends.watershed import WatershedSegmenter

    paths = [write_image("a.tif"), write_image("b.tif", shape=(60, 96)), write_image("c.tif")]
    real = WatershedSegmenter.segment

    def fails(self, tile):
        if tile.shape[2] == 96:
            raise ZeroDivisionError("by the backend")
        return real(self, tile)

    monkeypatch.setattr(WatershedSegmenter, "segment", fails)
    done = cellseg("run", *paths, "-o", tmp_path / "out", *D)
    assert done.status == 1
    assert "b.tif: tile in row 1, column 1" in done.err
    assert "WatershedSegmenter failed (ZeroDivisionError: by the backend)" in done.err
    assert images_in(tmp_path / "out") == ["a", "c"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links of POSIX")
def test_pipes_and_links_in_a_circle_are_named_and_the_others_done(
    cellseg, write_image, tmp_path
) -> None:
    folder = write_image("in/a.tif").parent
    os.mkfifo(folder / "pipe.tif")
    (folder / "circle.tif").symlink_to("circle.tif")
    # Where it would be read, something comes, so that nobody waits for ever.
    writing = os.open(folder / "pipe.tif", os.O_RDWR)
    os.write(writing, b"II*\0" * 9)
    done = cellseg("run", folder, folder / "circle.tif", "-o", tmp_path / "out", *D)
    os.close(writing)
    assert done.status == 1
    assert "pipe.tif is no file but a pipe, a socket or a device" in done.err
    assert "circle.tif" in done.err
    assert "bug in cellseg" not in done.err
    assert images_in(tmp_path / "out") == ["a"]
