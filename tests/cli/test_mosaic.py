"""A folder of overlapping CODEX tiles gives the cells of the region, each once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from cellseg_core.synthetic import simulate_tissue

OVERLAP, TALL, WIDE = 37, 258, 253
SETTINGS = (
    "--segmenter", "watershed", "--nuclear-diameter", 12, "--tile", 300, "--write", "csv,labels",
    "--expand", 2,
)  # fmt: skip


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return an image of 700 x 901 px, and a folder of the 3 x 4 tiles that it is cut into."""
    simulated = simulate_tissue((700, 901), seed=3, channels=("DAPI", "CD3"))
    pixels = np.asarray(simulated.image.pixels)
    folder = tmp_path_factory.mktemp("region")
    whole, tiles = folder / "whole.tif", folder / "tiles"
    tiles.mkdir()
    tifffile.imwrite(whole, pixels, photometric="minisblack")
    (folder / "channelNames.txt").write_text("DAPI\nCD3\n")
    for row, col in np.ndindex(3, 4):
        y, x = row * (TALL - OVERLAP), col * (WIDE - OVERLAP)
        tifffile.imwrite(
            tiles / f"reg001_X{col + 1:02}_Y{row + 1:02}_Z04.tif",
            pixels[:, y : y + TALL, x : x + WIDE],
            photometric="minisblack",
        )
    return whole, tiles


@pytest.mark.parametrize("workers", [1, 2])
def test_tiles_put_together_give_the_cells_of_the_whole_image(
    cellseg, region, tmp_path, workers
) -> None:
    whole, tiles = region
    done = cellseg("run", whole, "-o", tmp_path / "whole", *SETTINGS)
    assert done.status == 0, done.err
    done = cellseg(
        "run",
        tiles,
        "-o",
        tmp_path / "tiles",
        "--layout",
        "mosaic",
        "--workers",
        workers,
        *SETTINGS,
    )
    assert done.status == 0, done.err
    expected = pd.read_csv(tmp_path / "whole" / "cells.csv")
    found = pd.read_csv(tmp_path / "tiles" / "cells.csv")
    assert len(found) > 1000
    assert (found["image"] == "reg001").all()
    assert (found["tile_z"] == 4).all()
    for table in (expected, found):
        del table["image"], table["tile_z"]
    pd.testing.assert_frame_equal(found, expected)
    for name in ("nuclei", "cells"):
        labels = [
            tifffile.imread(tmp_path / run / image / f"{name}.ome.tif")
            for run, image in (("whole", "whole"), ("tiles", "reg001"))
        ]
        np.testing.assert_array_equal(*labels)


def test_each_tile_by_itself_counts_cells_in_overlaps_twice_and_points_to_the_layout(
    cellseg, region, tmp_path
) -> None:
    whole, tiles = region
    done = cellseg("run", whole, tiles, "-o", tmp_path / "out", *SETTINGS)
    assert done.status == 0, done.err
    assert "each tile is an image of its own, --layout mosaic puts them together" in done.err
    table = pd.read_csv(tmp_path / "out" / "cells.csv")
    assert (table["image"] != "whole").sum() > 1.1 * (table["image"] == "whole").sum()


def test_info_says_how_tiles_overlap(cellseg, region) -> None:
    done = cellseg("info", region[1], "--layout", "mosaic")
    assert done.status == 0, done.err
    assert "700 x 901 px, 2 channels, uint16" in done.out
    assert "rows overlap by 37 px, as 8 of 8 pairs of neighbours show" in done.out


def test_an_overlap_that_was_not_found_is_a_warning_of_the_run(cellseg, region, tmp_path) -> None:
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    for col in (1, 3):
        name = f"reg001_X0{col}_Y01_Z04.tif"
        (tiles / name).write_bytes((region[1] / name).read_bytes())
    for option, told in (((), True), (("--set", "codex.overlap=37"), False)):
        done = cellseg(
            "run", tiles, "-o", tmp_path / "out", "--layout", "mosaic", "--nuclear", "DAPI",
            "--channels", region[0].with_name("channelNames.txt"), *option, *SETTINGS,
        )  # fmt: skip
        assert ("no overlap of columns was found" in done.err) == told


def test_a_tile_that_cannot_be_read_fails_its_folder(cellseg, region, tmp_path) -> None:
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    for path in region[1].iterdir():
        (tiles / path.name).write_bytes(path.read_bytes())
    (tiles / "reg001_X02_Y03_Z04.tif").write_bytes(b"II*\0")
    done = cellseg("run", tiles, "-o", tmp_path / "out", "--layout", "mosaic", *SETTINGS)
    assert done.status == 1
    assert "reg001_X02_Y03_Z04.tif" in done.err
    assert "its place stays empty" in done.err
