"""CODEX tiles know their place in the region, and raw folders become images of all cycles."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cellseg_core.errors import ChannelError, ConfigurationError, ImageError
from cellseg_core.image import Position
from cellseg_io.codex import CodexReader, is_codex_folder
from cellseg_io.codex_tile import find_tiles


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 60000, shape).astype(np.uint16)


def write(path: Path, pixels: Any, axes: str = "CYX", **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, metadata={"axes": axes}, photometric="minisblack", **options)
    return path


def test_a_tile_is_read_with_its_names_and_place(tmp_path: Path) -> None:
    pixels = noise(3, 40, 30)
    path = write(tmp_path / "tiles" / "REG002_X02_Y04_Z08.TIF", pixels)
    (tmp_path / "channelNames.txt").write_text("DAPI\nCD3\nDAPI\n")
    (image,) = CodexReader().read(path)
    assert image.name == "REG002_X02_Y04_Z08"
    assert image.channels == ("DAPI", "CD3", "DAPI_2")
    assert "names from channelNames.txt; repeated" in image.axes
    # Tiles that are not there count with this tile's own size.
    assert image.position == Position(2, 4, 2, 8, y0=120.0, x0=30.0)
    np.testing.assert_array_equal(np.asarray(image.pixels), pixels)


def test_places_are_sums_of_the_sizes_on_disk(tmp_path: Path) -> None:
    heights, widths = {1: 40, 2: 25, 3: 40}, {1: 30, 2: 22}
    for row, col in itertools.product(heights, widths):
        write(
            tmp_path / f"reg001_X{col:02}_Y{row:02}_Z0{row}.tif",
            noise(1, heights[row], widths[col]),
        )
    write(tmp_path / "reg002_X01_Y01.tiff", noise(1, 9, 8))
    images = CodexReader(overlap=5).read(tmp_path)
    assert [image.name for image in images] == [
        "reg001_X01_Y01_Z01", "reg001_X02_Y01_Z01", "reg001_X01_Y02_Z02", "reg001_X02_Y02_Z02",
        "reg001_X01_Y03_Z03", "reg001_X02_Y03_Z03", "reg002_X01_Y01",
    ]  # fmt: skip
    origins = [(image.position.y0, image.position.x0) for image in images]
    assert origins == [(0, 0), (0, 25), (35, 0), (35, 25), (55, 0), (55, 25), (0, 0)]
    (alone,) = CodexReader(overlap=5).read(tmp_path / "reg001_X02_Y03_Z03.tif")
    assert alone.position == images[5].position


def test_tiles_may_be_counted_from_zero(tmp_path: Path) -> None:
    for col in (0, 1):
        write(tmp_path / f"reg001_X0{col}_Y00.tif", noise(1, 40, 30))
    assert [image.position.x0 for image in CodexReader().read(tmp_path)] == [0, 30]


def test_time_points_of_a_tile_are_its_cycles(tmp_path: Path) -> None:
    pixels = noise(2, 3, 40, 30)
    write(tmp_path / "reg001_X01_Y01.tif", pixels, "TCYX", imagej=True)
    (tmp_path / "channelNames.txt").write_text("\n".join("abcdef"))
    (image,) = CodexReader().read(tmp_path)
    assert image.channels == tuple("abcdef")
    assert "2 cycles of 3 channels, one after the other" in image.axes
    np.testing.assert_array_equal(np.asarray(image.pixels), pixels.reshape(6, 40, 30))


def test_a_stack_of_a_tile_asks_for_a_plane(tmp_path: Path) -> None:
    pixels = noise(4, 2, 40, 30)
    path = write(tmp_path / "reg001_X01_Y01.tif", pixels, "ZCYX", imagej=True)
    with pytest.raises(ImageError, match=r"4 Z planes.*reader\.z=max"):
        CodexReader().read(path)
    (image,) = CodexReader(z="max").read(path)
    np.testing.assert_array_equal(np.asarray(image.pixels), pixels.max(axis=0))


def test_names_that_do_not_fit_are_an_error_with_both_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "tiles" / "reg001_X01_Y01.tif", noise(3, 40, 30))
    for folder in (tmp_path, tmp_path / "tiles"):
        (folder / "channelNames.txt").write_text("DAPI\n")
        with pytest.raises(ChannelError, match="has 1 names, but the image has 3 channels"):
            CodexReader().read(path)


def test_a_tile_given_twice_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "reg001_X01_Y01.tif", noise(1, 40, 30))
    write(tmp_path / "reg001_X01_Y01.tiff", noise(1, 40, 30))
    with pytest.raises(ImageError, match="are the same tile"):
        CodexReader().read(tmp_path)


@pytest.mark.parametrize("name", ["image.tif", "no"])
def test_paths_that_are_not_codex_say_what_is_expected(tmp_path: Path, name: str) -> None:
    write(tmp_path / "image.tif", noise(1, 40, 30))
    with pytest.raises(ImageError, match="is not named like a CODEX tile"):
        CodexReader().read(tmp_path / name)
    with pytest.raises(ImageError, match="holds no CODEX data"):
        CodexReader().read(tmp_path)
    with pytest.raises(ImageError, match="does not exist"):
        CodexReader().read(tmp_path / "reg001_X01_Y01.tif")
    assert not is_codex_folder(tmp_path)
    assert not is_codex_folder(tmp_path / "image.tif")


@pytest.mark.parametrize(
    "options", [{"overlap": -1}, {"overlap": "some"}, {"z": "all"}, {"z": "first"}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        CodexReader(**options)


def test_tiles_are_found_by_name_alone(tmp_path: Path) -> None:
    for name in ("reg001_X02_Y01.tif", "reg001_X01_Y02_Z03.tif", "._reg001_X01_Y02_Z03.tif"):
        (tmp_path / name).touch()
    assert is_codex_folder(tmp_path)
    assert [(t.region, t.row, t.col, t.z) for t in find_tiles(tmp_path)] == [
        (1, 1, 2, 1), (1, 2, 1, 3),
    ]  # fmt: skip


def write_raw(folder: Path, regions: int = 1, tiles: int = 2) -> dict[str, Any]:
    planes = {}
    for seed, (cycle, region, tile, z, channel) in enumerate(
        itertools.product((1, 2, 3), range(1, regions + 1), range(1, tiles + 1), (1, 2), (1, 2))
    ):
        name = f"Cyc{cycle}_reg{region}/1_{tile:05}_Z{z:03}_CH{channel}.tif"
        planes[name] = noise(40, 30, seed=seed)
        write(folder / name, planes[name], "YX", compression="zlib")
    return planes


def test_a_raw_folder_gives_an_image_of_all_cycles_for_each_tile_and_z(tmp_path: Path) -> None:
    planes = write_raw(tmp_path, regions=2)
    assert is_codex_folder(tmp_path)
    images = CodexReader().read(tmp_path)
    assert [image.name for image in images][:3] == [
        "reg001_T00001_Z001", "reg001_T00001_Z002", "reg001_T00002_Z001",
    ]  # fmt: skip
    assert len(images) == 2 * 2 * 2
    last = images[-1]
    assert last.position == Position(2, 1, 2, 2)
    assert last.channels[:3] == ("Cyc1_CH1", "Cyc1_CH2", "Cyc2_CH1")
    assert "cycles 1, 2, 3 of 2 channels each" in last.axes
    for number, (cycle, channel) in enumerate(itertools.product((1, 2, 3), (1, 2))):
        expected = planes[f"Cyc{cycle}_reg2/1_00002_Z002_CH{channel}.tif"]
        np.testing.assert_array_equal(last.read(number), expected)
    copy = pickle.loads(pickle.dumps(last.pixels))  # noqa: S301 - our own object
    np.testing.assert_array_equal(np.asarray(copy), np.asarray(last.pixels))
    assert len(CodexReader(z=2).read(tmp_path)) == 4
    with pytest.raises(ImageError, match="has no Z 7; there are 1, 2"):
        CodexReader(z=7).read(tmp_path)
    with pytest.raises(ConfigurationError, match="for stacks"):
        CodexReader(z="max").read(tmp_path)


def test_names_of_a_raw_folder_must_fit_cycles_times_channels(tmp_path: Path) -> None:
    write_raw(tmp_path)
    (tmp_path / "channelNames.txt").write_text("\n".join("abcdef"))
    assert CodexReader().read(tmp_path)[0].channels == tuple("abcdef")
    (tmp_path / "channelNames.txt").write_text("\n".join("abcde"))
    with pytest.raises(ChannelError, match="has 5 names, but the image has 6 channels"):
        CodexReader().read(tmp_path)


def test_a_missing_raw_plane_is_named(tmp_path: Path) -> None:
    write_raw(tmp_path)
    (tmp_path / "Cyc2_reg1" / "1_00002_Z001_CH2.tif").unlink()
    with pytest.raises(ImageError, match=r"Cyc2_reg1 has no plane .*_00002_Z001_CH2\.tif"):
        CodexReader().read(tmp_path)


def test_a_raw_plane_of_another_size_is_named_at_access(tmp_path: Path) -> None:
    write_raw(tmp_path)
    write(tmp_path / "Cyc2_reg1" / "1_00001_Z001_CH2.tif", noise(41, 30), "YX")
    image = CodexReader().read(tmp_path)[0]
    image.read(2)
    with pytest.raises(ImageError, match=r"Z001_CH2\.tif is \(41, 30\) px.*must be alike"):
        image.read(3)


def test_one_cycle_of_a_raw_folder_points_to_the_folder_above(tmp_path: Path) -> None:
    write_raw(tmp_path)
    with pytest.raises(ImageError, match="Give the folder above it"):
        CodexReader().read(tmp_path / "Cyc1_reg1")


@pytest.mark.data
def test_real_raw_acquisition_is_read(data_dir: Path) -> None:
    folder = data_dir / "readers" / "codex_raw"
    images = CodexReader().read(folder)
    assert [image.position.tile_z for image in images] == [1, 2, 3]
    assert images[0].channels == ("Cyc1_CH1", "Cyc1_CH2", "Cyc2_CH1", "Cyc2_CH2")
    np.testing.assert_array_equal(
        images[2].read(3), tifffile.imread(folder / "Cyc2_reg1" / "1_00001_Z003_CH2.tif")
    )


@pytest.mark.data
def test_real_codex_image_under_a_tile_name_is_read(data_dir: Path, tmp_path: Path) -> None:
    pixels = tifffile.imread(data_dir / "codex_lymph_node" / "image.tif")
    names = (data_dir / "codex_lymph_node" / "channelNames.txt").read_text()
    for col in (1, 2):
        write(tmp_path / f"reg001_X0{col}_Y01_Z01.tif", pixels)
    (tmp_path / "channelNames.txt").write_text(names)
    images = CodexReader().read(tmp_path)
    assert images[1].position.x0 == 500
    assert images[1].channels == ("DAPI", "CD4", "CD8", "FOXP3", "BCL6")
    np.testing.assert_array_equal(images[1].read(4), pixels[4])
