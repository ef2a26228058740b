"""Files that are no TIFF, are damaged, or cannot be decoded, are named with the reason."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cellseg_core.errors import ImageError
from cellseg_core.image import Image
from cellseg_io.tiff import TiffReader


def noise(shape: tuple[int, ...], dtype: str = "u2", seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 255, shape).astype(dtype)


def read(path: Path) -> Image:
    (image,) = TiffReader().read(path)
    return image


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "slide1.tif").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"slide2\.tif does not exist; did you mean 'slide1\.tif'"):
        TiffReader().read(tmp_path / "slide2.tif")
    with pytest.raises(ImageError, match="is not there either"):
        TiffReader().read(tmp_path / "no" / "slide2.tif")


def test_a_folder_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"is a folder.*--layout"):
        TiffReader().read(tmp_path)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.tif").touch()
    with pytest.raises(ImageError, match=r"x\.tif is empty \(0 bytes\)"):
        TiffReader().read(tmp_path / "x.tif")


def test_a_file_that_may_not_be_opened_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.tif").write_bytes(b"II*\0")

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match=r"x\.tif cannot be opened \(Permission denied\)"):
        TiffReader().read(tmp_path / "x.tif")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\n rest", "begins like a PNG picture"),
        (b"<html>404</html>", "begins like an XML or HTML text"),
        (b"hello world", "begins with the bytes"),
        (b"II*\0", "x.tif"),
        (b"II*\0\x08\0\0\0\xff\xff garbage", "x.tif"),
        (b"MM\0*\xff\xff\xff\xff", "x.tif"),
    ],
)
def test_what_is_not_a_tiff_is_an_error_that_says_what_it_is(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(ImageError, match=words):
        TiffReader().read(tmp_path / "x.tif")


@pytest.mark.parametrize("storage", [{}, {"compression": "zlib"}, {"tile": (16, 16)}], ids=str)
@pytest.mark.parametrize("kind", ["shaped", "imagej", "ome", "pages"])
def test_a_file_cut_off_anywhere_is_an_error_and_never_wrong_pixels(
    tmp_path: Path, storage: dict[str, Any], kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if kind == "imagej" and "tile" in storage:
        pytest.skip("ImageJ files have no tiles")
    pixels = noise((3, 64, 48))
    whole = tmp_path / ("whole.ome.tif" if kind == "ome" else "whole.tif")
    options: dict[str, Any] = {"photometric": "minisblack", **storage}
    if kind == "pages":
        with tifffile.TiffWriter(whole) as tif:
            for page in pixels:
                tif.write(page, metadata=None, contiguous=False, **options)
    else:
        tifffile.imwrite(
            whole, pixels, imagej=kind == "imagej", metadata={"axes": "CYX"}, **options
        )
    data = whole.read_bytes()
    cut = tmp_path / whole.name.replace("whole", "cut")
    for end in [5, 9, 100, len(data) // 3, len(data) // 2, len(data) * 9 // 10, len(data) - 40]:
        cut.write_bytes(data[:end])
        with pytest.raises(ImageError, match=r"cut\."):
            np.asarray(read(cut).pixels)
    assert capfd.readouterr() == ("", "")


def test_damaged_pixels_are_an_error_at_access(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, noise((64, 48)), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        start = tif.pages.first.dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[start : start + 200] = bytes(200)
    path.write_bytes(data)
    image = read(path)
    with pytest.raises(ImageError, match=r"x\.tif: part 1 of its pixels cannot be decoded"):
        image.read(0)


@pytest.mark.parametrize("pages", [2, 150])
def test_pages_in_a_circle_are_an_error_at_once(tmp_path: Path, pages: int) -> None:
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as writer:
        for number in range(pages):
            writer.write(noise((8, 8), seed=number), metadata=None, contiguous=False)
    with tifffile.TiffFile(path) as tif:
        first, last = tif.pages[0].offset, tif.pages[-1].offset
    data = bytearray(path.read_bytes())
    (tags,) = struct.unpack_from("<H", data, last)
    struct.pack_into("<I", data, last + 2 + 12 * tags, first)
    path.write_bytes(data)
    with pytest.raises(ImageError, match=rf"x\.tif is damaged.*circle, from page {pages} "):
        read(path)


def test_a_tile_far_larger_than_its_image_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, noise((64, 48)), compression="zlib", tile=(16, 16))
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages.first.tags["TileWidth"].overwrite(65536, dtype="I")
        tif.pages.first.tags["TileLength"].overwrite(65536, dtype="I")
    with pytest.raises(ImageError, match=r"x\.tif is damaged: it has tiles of \(65536, 65536\)"):
        read(path)


def test_a_file_changed_after_opening_is_an_error(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", noise((64, 48)))
    image = read(tmp_path / "x.tif")
    (tmp_path / "x.tif").write_bytes(b"short")
    with pytest.raises(ImageError, match="moved, cut off or changed"):
        image.read(0)
    (tmp_path / "x.tif").unlink()
    with pytest.raises(ImageError, match="can no longer be read"):
        image.read(0)


def test_pixels_that_are_no_numbers_of_gray_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((64, 48), np.complex64))
    with pytest.raises(ImageError, match=r"c\.tif: its pixels are complex64"):
        read(tmp_path / "c.tif")
    tifffile.imwrite(tmp_path / "k.tif", noise((64, 48, 4), "u1"), photometric="separated")
    with pytest.raises(ImageError, match=r"k\.tif: it is stored in CMYK colours"):
        read(tmp_path / "k.tif")


def test_a_compression_without_decoder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "x.tif", noise((64, 48)), compression="zstd")

    class Without(dict[int, Any]):
        def __missing__(self, key: int) -> Any:
            raise KeyError(f"{key} requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", Without())
    with pytest.raises(ImageError, match=r"compressed with ZSTD.*pip install .*imagecodecs"):
        read(tmp_path / "x.tif")
