"""PNG and JPG pictures give gray or colour channels with the values that are stored."""

from __future__ import annotations

import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import pytest

from cellseg_core.errors import ImageError
from cellseg_core.image import Image
from cellseg_io.picture import PictureReader


def noise(*shape: int, top: int = 256, dtype: Any = np.uint8) -> Any:
    return np.random.default_rng(0).integers(0, top, shape).astype(dtype)


def read(path: Path) -> Image:
    (image,) = PictureReader().read(path)
    return image


def assert_holds(image: Image, expected: Any) -> None:
    assert image.pixels.shape == expected.shape
    assert image.dtype == expected.dtype
    for channel, plane in enumerate(expected):
        np.testing.assert_array_equal(image.read(channel), plane)
        np.testing.assert_array_equal(
            image.read(channel, slice(3, 20), slice(5, 9)), plane[3:20, 5:9]
        )


@pytest.mark.parametrize("ending", ["png", "PNG"])
def test_gray_is_one_channel(tmp_path: Path, ending: str) -> None:
    pixels = noise(40, 30)
    PIL.Image.fromarray(pixels).save(tmp_path / f"a.{ending}")
    image = read(tmp_path / f"a.{ending}")
    assert (image.name, image.channels, image.color) == ("a", ("gray",), False)
    assert image.pixel_size is None
    assert_holds(image, pixels[np.newaxis])


def test_sixteen_bits_stay_sixteen(tmp_path: Path) -> None:
    pixels = noise(40, 30, top=65536, dtype=np.uint16)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    assert_holds(read(tmp_path / "a.png"), pixels[np.newaxis])


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_sixteen_bits_stay_sixteen_in_colour_and_with_alpha(tmp_path: Path, samples: int) -> None:
    pixels = noise(40, 30, samples, top=65536, dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    image = read(tmp_path / "a.png")
    assert image.color == (samples > 2)
    assert_holds(image, np.moveaxis(pixels[..., : 1 if samples == 2 else 3], -1, 0))


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    pixels = noise(40, 30) > 100
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    assert_holds(read(tmp_path / "a.png"), pixels[np.newaxis].astype(np.uint8) * 255)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colour_is_red_green_and_blue(tmp_path: Path, mode: str) -> None:
    pixels = noise(40, 30, len(mode))
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png")
    assert (image.channels, image.color) == (("red", "green", "blue"), True)
    assert ("alpha left out" in image.axes) == (mode == "RGBA")
    assert_holds(image, np.moveaxis(pixels[..., :3], -1, 0))


def test_gray_with_alpha_loses_only_the_alpha(tmp_path: Path) -> None:
    pixels = noise(40, 30, 2)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png")
    assert image.axes == "gray picture: 1 channel; alpha left out"
    assert_holds(image, pixels[np.newaxis, ..., 0])


@pytest.mark.parametrize("samples", [3, 4])
def test_gray_stored_as_colour_is_one_channel(tmp_path: Path, samples: int) -> None:
    pixels = noise(40, 30)
    stored = np.stack([pixels] * 3 + [noise(40, 30)] * (samples - 3), axis=-1)
    PIL.Image.fromarray(stored).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png")
    assert (image.channels, image.color) == (("gray",), False)
    assert "gray picture stored as colour" in image.axes
    assert_holds(image, pixels[np.newaxis])


def test_a_palette_is_resolved(tmp_path: Path) -> None:
    colours = noise(256, 3)
    indices = noise(40, 30)
    picture = PIL.Image.fromarray(indices).convert("P")
    picture.putpalette(colours.tobytes())
    picture.save(tmp_path / "a.png")
    image = read(tmp_path / "a.png")
    assert image.color
    assert "converted from P" not in image.axes
    assert_holds(image, np.moveaxis(colours[np.asarray(picture)], -1, 0))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("CMYK", 3)])
def test_jpg_is_read_as_pillow_decodes_it(tmp_path: Path, mode: str, channels: int) -> None:
    shape = (40, 30) if mode == "L" else (40, 30, len(mode))
    PIL.Image.fromarray(noise(*shape), mode=mode if mode == "CMYK" else None).save(
        tmp_path / "a.jpeg"
    )
    image = read(tmp_path / "a.jpeg")
    assert len(image.channels) == channels
    assert ("converted from CMYK" in image.axes) == (mode == "CMYK")
    with PIL.Image.open(tmp_path / "a.jpeg") as picture:
        decoded = np.asarray(picture.convert("RGB") if channels == 3 else picture)
    assert_holds(image, np.moveaxis(decoded.reshape(40, 30, channels), -1, 0))


def test_the_orientation_of_a_photograph_is_not_applied(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(noise(40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path / "a.jpg").shape == (40, 30)


def test_no_file_stays_open_and_pixels_travel_to_other_processes(tmp_path: Path) -> None:
    pixels = noise(40, 30)
    path = tmp_path / "a.png"
    PIL.Image.fromarray(pixels).save(path)
    image = read(path)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(image.pixels))[0], pixels)  # noqa: S301
    descriptors = Path("/proc/self/fd")
    if descriptors.is_dir():
        held = {os.path.realpath(link) for link in descriptors.iterdir()}
        assert str(path.resolve()) not in held
    path.unlink()


def test_a_picture_too_large_for_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PIL.Image.fromarray(noise(40, 30)).save(tmp_path / "a.png")
    monkeypatch.setenv("CELLSEG_MAX_DECODE_GB", "1e-6")
    with pytest.raises(
        ImageError, match=r"a\.png is stored in pieces of 40 x 30 x .*MAX_DECODE_GB=1"
    ):
        PictureReader().read(tmp_path / "a.png")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 500)
    monkeypatch.setenv("CELLSEG_MAX_DECODE_GB", "1")
    assert PictureReader().read(tmp_path / "a.png")[0].read(0).shape == (40, 30)
    assert PIL.Image.MAX_IMAGE_PIXELS == 500


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"a\.png is empty"),
        (b"II*\0\x08\0\0\0", r"a\.png is not a readable PNG or JPG.*like a TIFF file"),
        (b"hello", r"a\.png is not a readable PNG or JPG"),
        (b"\x89PNG\r\n\x1a\n", r"a\.png (is not|cannot be)"),
    ],
)
def test_what_is_no_picture_is_an_error(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=words):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("samples", [1, 3])
def test_a_picture_cut_off_anywhere_is_an_error(tmp_path: Path, ending: str, samples: int) -> None:
    pixels = noise(64, 64) if samples == 1 else noise(64, 64, samples)
    PIL.Image.fromarray(pixels).save(tmp_path / f"whole.{ending}")
    data = (tmp_path / f"whole.{ending}").read_bytes()
    path = tmp_path / f"cut.{ending}"
    for end in [3, 20, 60, len(data) // 2, len(data) * 9 // 10]:
        path.write_bytes(data[:end])
        with pytest.raises(ImageError, match=rf"cut\.{ending}"):
            read(path).read(0)


def test_a_picture_that_promises_more_than_its_bytes_hold_takes_no_memory(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.zeros((2000, 2000), np.uint8)).save(tmp_path / "a.png", optimize=True)
    assert (tmp_path / "a.png").stat().st_size < 2000 * 2000 / 900  # as small as it can be
    assert not read(tmp_path / "a.png").read(0).any()
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = (20_000).to_bytes(4) + (20_000).to_bytes(4)
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    (tmp_path / "b.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"20,000 x 20,000 px, and its [34],"):
        read(tmp_path / "b.png")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.png does not exist"):
        read(tmp_path / "a.png")
    with pytest.raises(ImageError, match="is a folder"):
        read(tmp_path)


@pytest.mark.data
def test_real_pictures_are_gray_or_colour_as_their_channels_say(data_dir: Path) -> None:
    gray = colour = 0
    for path in sorted((data_dir / "dsb2018" / "images").glob("*.png"))[:40]:
        image = read(path)
        with PIL.Image.open(path) as picture:
            pixels = np.asarray(picture)
        planes = pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels[..., :3], -1, 0)
        if image.color:
            colour += 1
            assert_holds(image, planes)
        else:
            gray += 1
            assert_holds(image, planes[:1])
    assert gray
    assert colour
