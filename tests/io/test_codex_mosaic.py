"""CODEX tiles of a folder become one image a region: right to the pixel, and nothing invented."""

from __future__ import annotations

import functools
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.image import Image, Position
from cellseg_core.plugins import load_plugins
from cellseg_core.reading import find_sources, read_images
from cellseg_core.synthetic import simulate_tissue
from cellseg_io.codex import CodexReader
from cellseg_io.codex_tile import CodexTile

HEIGHT, WIDTH, OVERLAP = 700, 901, 37


@functools.cache
def tissue(noise: float = 1.0) -> Any:
    simulated = simulate_tissue((HEIGHT, WIDTH), seed=3, channels=("CD3", "DAPI"), noise=noise)
    return np.asarray(simulated.image.pixels)


def write(path: Path, pixels: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, photometric="minisblack", **options)
    return path


def cut(
    folder: Path, pixels: Any, rows: int, cols: int, down: int, right: int, *, noise: float = 0,
    region: int = 1, first: int = 1, z: str = "_Z05",
) -> Path:  # fmt: skip
    """Write an image (C, Y, X) as tiles of equal size, each with noise of its own."""
    rng = np.random.default_rng(region)
    _, height, width = pixels.shape
    tall, wide = (height + (rows - 1) * down) / rows, (width + (cols - 1) * right) / cols
    assert tall == int(tall), "the tiles come out even"
    assert wide == int(wide), "the tiles come out even"
    for row, col in np.ndindex(rows, cols):
        y, x = row * (int(tall) - down), col * (int(wide) - right)
        tile = pixels[:, y : y + int(tall), x : x + int(wide)]
        if noise:
            tile = np.clip(tile + rng.normal(0, noise, tile.shape), 0, 65535).astype(tile.dtype)
        name = f"reg{region:03}_X{col + first:02}_Y{row + first:02}{z}.tif"
        write(folder / name, tile)
    (folder / "channelNames.txt").write_text("CD3\nDAPI\n" if len(pixels) == 2 else "DAPI\n")
    return folder


def mosaic(folder: Path, **options: Any) -> Image:
    (image,) = CodexReader(assemble=True, **options).read(folder)
    return image


def constant_tiles(folder: Path, rows: int, cols: int, size: tuple[int, int] = (20, 30)) -> Path:
    """Write tiles that each hold their own number, from 1 on, in reading order."""
    for number, (row, col) in enumerate(np.ndindex(rows, cols), 1):
        plane = np.full((1, *size), number, np.uint16)
        write(folder / f"reg001_X{col + 1:02}_Y{row + 1:02}.tif", plane)
    return folder


def test_tiles_give_the_image_back_that_they_were_cut_from(tmp_path: Path) -> None:
    image = mosaic(cut(tmp_path, tissue(), 3, 4, OVERLAP, OVERLAP))
    np.testing.assert_array_equal(np.asarray(image.pixels), tissue())
    assert image.name == "reg001"
    assert image.channels == ("CD3", "DAPI")
    assert image.position == Position(1, 1, 1, 5, 0.0, 0.0)
    assert len(image.files) == 12
    assert "12 CODEX tiles as one image (X1 to X4, Y1 to Y3)" in image.axes
    assert "rows overlap by 37 px, as 8 of 8 pairs of neighbours show" in image.axes
    assert "columns overlap by 37 px, as 9 of 9 pairs of neighbours show" in image.axes
    assert image.notes == ()


@pytest.mark.parametrize(("down", "right"), [(37, 37), (79, 21), (10, 113)])
def test_the_overlap_is_exact_under_camera_noise_for_rows_and_columns_apart(
    tmp_path: Path, down: int, right: int
) -> None:
    height = (HEIGHT + 2 * down) // 3 * 3 - 2 * down
    width = (WIDTH + 3 * right) // 4 * 4 - 3 * right
    plane = tissue(noise=0.0)[1:, :height, :width]
    image = mosaic(cut(tmp_path, plane, 3, 4, down, right, noise=0.5 * float(plane.std())))
    assert image.shape == (height, width)
    assert f"rows overlap by {down} px" in image.axes
    assert f"columns overlap by {right} px" in image.axes


def test_the_overlap_is_exact_under_uneven_light(tmp_path: Path) -> None:
    cut(tmp_path, tissue()[1:], 3, 4, OVERLAP, OVERLAP)
    for path in tmp_path.glob("*.tif"):
        plane = tifffile.imread(path).squeeze()
        y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in plane.shape), indexing="ij")
        write(path, (plane * (1 - 0.3 * (y**2 + x**2)) + 2000 * (x + 1)).astype(np.uint16))
    assert mosaic(tmp_path).shape == (HEIGHT, WIDTH)


def test_any_window_is_that_of_the_whole_in_another_process_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(tmp_path / "tiles", tissue(), 3, 4, OVERLAP, OVERLAP)
    monkeypatch.chdir(tmp_path)
    image = mosaic(Path("tiles"))
    content = pickle.dumps(image)
    monkeypatch.chdir("/")
    copy = pickle.loads(content)  # noqa: S301 - made here
    rng = np.random.default_rng(0)
    for _ in range(50):
        y0, y1 = sorted(rng.choice(HEIGHT + 1, 2, replace=False))
        x0, x1 = sorted(rng.choice(WIDTH + 1, 2, replace=False))
        rows, columns = slice(y0, y1), slice(x0, x1)
        np.testing.assert_array_equal(copy.read(1, rows, columns), tissue()[1, rows, columns])


def test_only_tiles_that_a_window_touches_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(tmp_path, tissue(), 3, 4, OVERLAP, OVERLAP)
    opened: Counter[str] = Counter()
    open_tile = CodexReader.open_tile

    def counted(self: CodexReader, tile: CodexTile) -> Image:
        opened[tile.path.name[:14]] += 1
        return open_tile(self, tile)

    monkeypatch.setattr(CodexReader, "open_tile", counted)
    image = mosaic(tmp_path)
    opened.clear()
    # The seam between columns 1 and 2 is at 216 + 18, and so is that of rows, at 221 + 18.
    for _ in range(2):
        image.read(0, slice(0, 239), slice(0, 234))
    assert opened == {"reg001_X01_Y01": 1}
    image.read(0, slice(238, 240), slice(233, 235))
    assert set(opened) == {
        "reg001_X01_Y01", "reg001_X02_Y01", "reg001_X01_Y02", "reg001_X02_Y02",
    }  # fmt: skip
    assert set(opened.values()) == {1}


def test_seams_run_along_the_middle_of_the_overlap(tmp_path: Path) -> None:
    image = mosaic(constant_tiles(tmp_path, 2, 3), overlap=7)
    plane = image.read(0)
    assert plane.shape == (33, 76)
    # Tiles start every 13 rows and 23 columns; 3 of the 7 px belong to the tile before.
    expected = np.zeros_like(plane)
    for number, (rows, columns) in enumerate(
        (r, c) for r in (slice(0, 16), slice(16, 33))
        for c in (slice(0, 26), slice(26, 49), slice(49, 76))
    ):  # fmt: skip
        expected[rows, columns] = number + 1
    np.testing.assert_array_equal(plane, expected)
    assert "rows overlap by 7 px, as given" in image.axes


def test_a_region_of_400_tiles_is_right(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).integers(1, 60000, (1, 20 * 12 - 76, 20 * 14 - 76))
    cut(tmp_path, whole.astype(np.uint16), 20, 20, 4, 4)
    np.testing.assert_array_equal(np.asarray(mosaic(tmp_path, overlap=4).pixels), whole)


def test_a_missing_tile_is_empty_up_to_what_its_neighbours_show(tmp_path: Path) -> None:
    constant_tiles(tmp_path, 3, 3)
    (tmp_path / "reg001_X02_Y02.tif").unlink()
    image = mosaic(tmp_path, overlap=6)
    plane = image.read(0)
    np.testing.assert_array_equal(plane[20:28, 30:48], 0)
    assert set(np.unique(plane)) == {0, 1, 2, 3, 4, 6, 7, 8, 9}
    assert plane[19, 40] == 2
    assert plane[28, 40] == 8
    assert (plane[24, 29], plane[24, 48]) == (4, 6)
    assert "8 CODEX tiles as one image" in image.axes
    assert "1 of 9 missing and empty (0)" in image.axes


def test_a_missing_column_keeps_its_place(tmp_path: Path) -> None:
    constant_tiles(tmp_path, 2, 3)
    for row in (1, 2):
        (tmp_path / f"reg001_X02_Y0{row}.tif").unlink()
    image = mosaic(tmp_path)
    assert image.shape == (40, 90)
    np.testing.assert_array_equal(image.read(0)[:20, [29, 30, 59, 60]], [[1, 0, 0, 3]] * 20)
    assert "2 of 6 missing" in image.axes
    assert "no overlap of columns was found in 0 pairs of neighbours" in image.axes


def test_tiles_counted_from_zero_start_at_the_origin(tmp_path: Path) -> None:
    image = mosaic(cut(tmp_path, tissue(), 3, 4, OVERLAP, OVERLAP, first=0))
    np.testing.assert_array_equal(image.read(1), tissue()[1])
    assert (image.position.y0, image.position.x0) == (0, 0)
    assert "X0 to X3, Y0 to Y2" in image.axes


def test_a_part_of_a_region_keeps_its_coordinates(tmp_path: Path) -> None:
    cut(tmp_path, tissue(), 3, 4, OVERLAP, OVERLAP, first=3)
    image = mosaic(tmp_path)
    assert image.shape == (HEIGHT, WIDTH)
    alone = CodexReader(overlap=OVERLAP).read(tmp_path)[0].position
    assert (image.position.y0, image.position.x0) == (alone.y0, alone.x0) == (442, 432)


def test_one_tile_is_the_image(tmp_path: Path) -> None:
    image = mosaic(constant_tiles(tmp_path, 1, 1))
    assert image.shape == (20, 30)
    assert "1 CODEX tile as one image (X1 to X1, Y1 to Y1)" in image.axes
    assert "overlap" not in image.axes
    assert image.notes == ()


def test_each_region_has_an_overlap_of_its_own(tmp_path: Path) -> None:
    cut(tmp_path, tissue(), 3, 4, OVERLAP, OVERLAP)
    cut(tmp_path, tissue()[:, :691, :892], 3, 4, 40, 40, region=2)
    first, second = CodexReader(assemble=True).read(tmp_path)
    assert [image.name for image in (first, second)] == ["reg001", "reg002"]
    assert second.position.region == 2
    np.testing.assert_array_equal(np.asarray(second.pixels), tissue()[:, :691, :892])


def test_tiles_of_several_z_give_an_image_for_each(tmp_path: Path) -> None:
    for z, pixels in ((2, tissue()), (3, tissue()[:, ::-1])):
        cut(tmp_path, pixels, 3, 4, OVERLAP, OVERLAP, z=f"_Z{z:02}")
    (tmp_path / "reg001_X01_Y01_Z03.tif").unlink()
    second, third = CodexReader(assemble=True).read(tmp_path)
    assert [(i.name, i.position.tile_z) for i in (second, third)] == [
        ("reg001_Z02", 2), ("reg001_Z03", 3),
    ]  # fmt: skip
    np.testing.assert_array_equal(np.asarray(second.pixels), tissue())
    np.testing.assert_array_equal(third.read(0)[300:], tissue()[0, ::-1][300:])
    assert "1 of 12 missing" in third.axes


def test_a_best_focus_at_its_own_z_in_each_tile_gives_one_image(tmp_path: Path) -> None:
    cut(tmp_path, tissue(), 3, 4, OVERLAP, OVERLAP)
    (tmp_path / "reg001_X02_Y01_Z05.tif").rename(tmp_path / "reg001_X02_Y01_Z07.tif")
    image = mosaic(tmp_path)
    np.testing.assert_array_equal(np.asarray(image.pixels), tissue())
    assert image.position.tile_z == 1
    assert "each at a Z of its own from 5 to 7" in image.axes


def test_time_points_are_cycles_and_colours_stay_colours(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 200, (4, 100, 110, 3)).astype(np.uint8)
    for name in ("cycles", "colour"):
        (tmp_path / name).mkdir()
    for col in (0, 1):
        columns = slice(col * 50, col * 50 + 60)
        cycles = np.moveaxis(whole, -1, 1)[:, :, :, columns]
        write(tmp_path / "cycles" / f"reg001_X0{col + 1}_Y01.tif", cycles, imagej=True,
              metadata={"axes": "TCYX"})  # fmt: skip
        tifffile.imwrite(tmp_path / "colour" / f"reg001_X0{col + 1}_Y01.tif",
                         whole[0, :, columns], photometric="rgb")  # fmt: skip
    image = mosaic(tmp_path / "cycles")
    assert "4 cycles of 3 channels" in image.axes
    assert "columns overlap by 10 px" in image.axes
    np.testing.assert_array_equal(
        np.asarray(image.pixels), np.moveaxis(whole, -1, 1).reshape(12, 100, 110)
    )
    image = mosaic(tmp_path / "colour")
    assert image.color
    np.testing.assert_array_equal(np.asarray(image.pixels), np.moveaxis(whole[0], -1, 0))


def test_rows_and_columns_may_differ_in_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 60000, (1, 200, 170)).astype(np.uint16)
    for y, rows in ((1, slice(0, 120)), (2, slice(110, 200))):
        for x, columns in ((1, slice(0, 100)), (2, slice(90, 170))):
            write(tmp_path / f"reg001_X0{x}_Y0{y}.tif", whole[:, rows, columns])
    np.testing.assert_array_equal(np.asarray(mosaic(tmp_path).pixels), whole)


def flat(shape: tuple[int, int], _: np.random.Generator) -> Any:
    return np.full(shape, 400)


def dark(shape: tuple[int, int], rng: np.random.Generator) -> Any:
    return rng.normal(100, 3, shape)


def rows_of_the_camera(shape: tuple[int, int], rng: np.random.Generator) -> Any:
    pattern = np.random.default_rng(7).normal(0, 5, (shape[0], 1))
    return 100 + pattern + rng.normal(0, 3, shape)


def edge(shape: tuple[int, int], _: np.random.Generator) -> Any:
    return np.broadcast_to(np.where(np.arange(shape[0]) < 100, 90, 2000)[:, None], shape)


def two_nuclei(shape: tuple[int, int], rng: np.random.Generator) -> Any:
    y, x = np.ogrid[: shape[0], : shape[1]]
    plane = np.full(shape, 100.0)
    for column in (rng.integers(10, 50), shape[1] - rng.integers(10, 50)):
        plane += 5000 * np.exp(-((np.hypot(y - shape[0] // 2, x - column) / 8) ** 2))
    return plane


def apart(shape: tuple[int, int], rng: np.random.Generator) -> Any:
    return simulate_tissue(shape, seed=int(rng.integers(1000)), channels=("DAPI",)).image.read(0)


@pytest.mark.parametrize("content", [flat, dark, rows_of_the_camera, edge, two_nuclei, apart])
@pytest.mark.parametrize("shape", [(240, 260), (64, 48), (9, 11), (1, 1)])
def test_no_overlap_is_invented(tmp_path: Path, content: Any, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for row, col in np.ndindex(3, 3):
        plane = content(shape, rng).astype(np.uint16)
        write(tmp_path / f"reg001_X0{col + 1}_Y0{row + 1}.tif", plane)
    image = mosaic(tmp_path)
    assert image.shape == (3 * shape[0], 3 * shape[1])
    for lines, note in zip(("rows", "columns"), image.notes, strict=True):
        assert note in image.axes
        assert f"no overlap of {lines} was found in 6 pairs of neighbours" in note
        assert "--set reader.overlap=PX" in note
    # Whoever knows that there is none says so.
    assert mosaic(tmp_path, overlap=0).notes == ()


def test_neighbouring_tiles_without_overlap_have_none(tmp_path: Path) -> None:
    plane = tissue()[1:, :699, :900]
    image = mosaic(cut(tmp_path, plane, 3, 4, 0, 0))
    np.testing.assert_array_equal(np.asarray(image.pixels), plane)
    assert len(image.notes) == 2


def test_pixels_that_are_no_numbers_do_not_disturb(tmp_path: Path) -> None:
    plane = tissue()[1:].astype(np.float32)
    plane[0, 100:120, 230:240] = np.nan
    plane[0, 300, 250] = np.inf
    assert mosaic(cut(tmp_path, plane, 3, 4, OVERLAP, OVERLAP)).shape == (HEIGHT, WIDTH)


def test_tiles_that_were_not_registered_are_told(tmp_path: Path) -> None:
    plane = tissue()[1]
    for row, col in np.ndindex(3, 4):
        # The stage drifts 4 px to one side from tile to tile of a column, and misses column 4.
        y, x = row * 200, col * 190 + 4 * row + 6 * (col == 3)
        write(tmp_path / f"reg001_X0{col + 1}_Y0{row + 1}.tif", plane[y : y + 230, x : x + 230])
    rows, columns = mosaic(tmp_path).notes
    assert rows.startswith("8 of 8 pairs of rows lie more than 2 px")
    assert "an overlap of 30 px" in rows
    assert "need registration first, for example with ASHLAR" in rows
    assert columns.startswith("3 of 9 pairs of columns lie more than 2 px")
    assert "an overlap of 40 px" in columns


def test_an_overlap_that_the_pixels_contradict_is_taken_and_told(tmp_path: Path) -> None:
    image = mosaic(cut(tmp_path, tissue(), 3, 4, OVERLAP, OVERLAP), overlap="30")
    assert image.shape == (714, 922)
    assert image.notes == (
        "rows overlap by 37 px, and not by 30, as 8 of 8 pairs of neighbours show",
        "columns overlap by 37 px, and not by 30, as 9 of 9 pairs of neighbours show",
    )


def test_an_overlap_of_more_than_half_a_tile_is_refused(tmp_path: Path) -> None:
    constant_tiles(tmp_path, 2, 3)
    assert mosaic(tmp_path, overlap=10).shape == (30, 70)
    with pytest.raises(
        ImageError, match=r"tiles of 20 px cannot overlap by 11 px.*reader\.overlap"
    ):
        mosaic(tmp_path, overlap=11)
    for overlap in (-1, "10%", 2.5):
        with pytest.raises(ConfigurationError, match="a number of px, 0 or more"):
            CodexReader(assemble=True, overlap=overlap)
    with pytest.raises(ConfigurationError, match="assemble is true or false; got 'perhaps'"):
        CodexReader(assemble="perhaps")


def test_a_tile_given_twice_is_an_error(tmp_path: Path) -> None:
    constant_tiles(tmp_path, 1, 2)
    shutil.copy(tmp_path / "reg001_X02_Y01.tif", tmp_path / "reg1_x2_y1_z1.tif")
    with pytest.raises(ImageError, match="are the same tile; take one of them out"):
        mosaic(tmp_path)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (np.zeros((1, 19, 30), np.uint16), r"is 19 x 30 px; most .* row are 20 px.*Take it out"),
        (np.zeros((1, 20, 31), np.uint16), r"is 20 x 31 px; most .* column 30 px.*--layout codex"),
        (np.zeros((2, 20, 30), np.uint16), r"has 2 channels of uint16, and .* 1 channel of uint16"),
        (np.zeros((1, 20, 30), np.uint8), r"has 1 channel of uint8, .*Take the odd one out"),
    ],
)
def test_a_tile_that_does_not_fit_is_named_with_the_fix(
    tmp_path: Path, odd: Any, said: str
) -> None:
    constant_tiles(tmp_path, 3, 3)
    write(tmp_path / "reg001_X02_Y02.tif", odd, metadata={"axes": "CYX"}, ome=True)
    with pytest.raises(ImageError, match=r"reg001_X02_Y02\.tif " + said):
        mosaic(tmp_path)


@pytest.mark.parametrize("content", [b"", b"II*\0garbage", None])
def test_a_damaged_tile_is_named_with_the_fix(tmp_path: Path, content: bytes | None) -> None:
    constant_tiles(tmp_path, 2, 2)
    path = tmp_path / "reg001_X02_Y02.tif"
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    with pytest.raises(ImageError, match=r"reg001_X02_Y02\.tif.*out of the folder: its place"):
        mosaic(tmp_path)
    path.unlink()
    assert "1 of 4 missing" in mosaic(tmp_path).axes


def test_a_tile_that_changes_under_the_mosaic_is_named(tmp_path: Path) -> None:
    image = mosaic(constant_tiles(tmp_path, 2, 2))
    write(tmp_path / "reg001_X02_Y01.tif", np.zeros((40, 60), np.uint16))
    image.read(0, slice(0, 20), slice(0, 30))
    with pytest.raises(ImageError, match=r"X02_Y01\.tif was changed after it was opened"):
        image.read(0)


def test_tiles_that_name_channels_otherwise_are_told(tmp_path: Path) -> None:
    for col, names in ((1, ["DAPI", "CD3"]), (2, ["CD3", "DAPI"])):
        write(tmp_path / f"reg001_X0{col}_Y01.ome.tif", np.zeros((2, 20, 30), np.uint16), ome=True,
              metadata={"axes": "CYX", "Channel": {"Name": names}})  # fmt: skip
    image = mosaic(tmp_path, overlap=0)
    assert image.channels == ("DAPI", "CD3")
    (note,) = image.notes
    assert "named as in reg001_X01_Y01.ome.tif, and other tiles name them otherwise" in note


def test_what_does_not_say_where_it_lies_cannot_be_put_together(tmp_path: Path) -> None:
    plane = np.zeros((20, 30), np.uint16)
    write(tmp_path / "raw" / "Cyc1_reg1" / "1_00001_Z001_CH1.tif", plane)
    for read in (mosaic, functools.partial(read_images, layout="mosaic")):
        with pytest.raises(ImageError, match=r"raw CODEX folder.*--layout codex.*reg001_X01_Y01"):
            read(tmp_path / "raw")
    write(tmp_path / "plain" / "image.tif", plane)
    with pytest.raises(ImageError, match="holds no CODEX data"):
        mosaic(tmp_path / "plain")
    path = write(tmp_path / "tiles" / "reg001_X01_Y01.tif", plane)
    with pytest.raises(ImageError, match=r"is one tile.*Read the folder with --layout mosaic"):
        mosaic(path)


def test_the_layout_decides_whether_tiles_are_put_together(tmp_path: Path) -> None:
    constant_tiles(tmp_path, 2, 3)
    write(tmp_path / "overview.tif", np.zeros((20, 30), np.uint16))
    plugins = load_plugins()
    (source,) = find_sources(tmp_path, plugins, "mosaic")
    assert "put together; left out, since they are not: overview.tif" in source.note
    (image,) = read_images(tmp_path, "mosaic", overlap=5)
    assert image.shape == (35, 80)
    tiles = find_sources(tmp_path, plugins, "auto")
    assert len(tiles) == 6
    assert "each tile is an image of its own, --layout mosaic puts them together" in tiles[0].note
    assert [i.position.x0 for i in read_images(tmp_path, "codex")] == [0, 0, 30, 30, 60, 60]
    for name in ("reg001_X01_Y01_Z01.tif", "reg001_X01_Y01_Z02.tif", "reg002_X01_Y01_Z01.tif"):
        write(tmp_path / "apart" / name, np.zeros((20, 30), np.uint16))
    assert "--layout mosaic" not in find_sources(tmp_path / "apart", plugins, "codex")[0].note


@pytest.mark.data
def test_a_real_image_cut_into_noisy_tiles_is_put_together(data_dir: Path, tmp_path: Path) -> None:
    plane = tifffile.imread(data_dir / "codex_lymph_node" / "image.tif")[:1]
    cut(tmp_path / "clean", plane, 2, 2, 50, 50)
    np.testing.assert_array_equal(np.asarray(mosaic(tmp_path / "clean").pixels), plane)
    cut(tmp_path / "noisy", plane, 2, 2, 50, 50, noise=float(plane.std()))
    assert mosaic(tmp_path / "noisy").shape == plane.shape[1:]
    cut(tmp_path / "apart", plane, 2, 2, 0, 0)
    assert len(mosaic(tmp_path / "apart").notes) == 2
