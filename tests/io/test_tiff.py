"""TIFF files of every kind give the right pixels, names, pixel size, and words about their axes."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cellseg_core.errors import ChannelError, ConfigurationError, ImageError
from cellseg_core.image import Image
from cellseg_io.lazy import DECODED
from cellseg_io.tiff import TiffReader

WINDOWS = [
    (slice(None), slice(None)),
    (slice(3, 40), slice(17, 18)),
    (slice(30, 64), slice(0, 48)),
    (slice(10, 10), slice(0, 5)),
]
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8", "?"]


def noise(shape: tuple[int, ...], dtype: str = "u2", seed: int = 0) -> Any:
    values = np.random.default_rng(seed).integers(0, 255, shape)
    return (values % 2 == 1) if dtype == "?" else values.astype(dtype)


def read(path: Path, **options: Any) -> Image:
    (image,) = TiffReader(**options).read(path)
    return image


def assert_holds(image: Image, expected: Any) -> None:
    """Compare windows of every channel with (C, Y, X), and the type with what is stored."""
    assert image.pixels.shape == expected.shape
    assert image.dtype == expected.dtype
    for channel, plane in enumerate(expected):
        for rows, columns in WINDOWS:
            window = image.pixels[channel, rows, columns]
            assert window.dtype == expected.dtype
            np.testing.assert_array_equal(window, plane[rows, columns])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "storage",
    [
        {},
        {"compression": "zlib"},
        {"compression": "lzw", "predictor": True},
        {"compression": "zstd", "tile": (16, 32)},
        {"tile": (16, 16)},
        {"byteorder": ">"},
        {"byteorder": ">", "compression": "zlib", "rowsperstrip": 7},
        {"bigtiff": True, "rowsperstrip": 5},
    ],
    ids=str,
)
def test_every_type_and_storage_gives_the_exact_pixels(
    tmp_path: Path, dtype: str, storage: dict[str, Any]
) -> None:
    if dtype == "?":
        storage = {k: v for k, v in storage.items() if k != "predictor"}
    pixels = noise((3, 64, 48), dtype)
    tifffile.imwrite(
        tmp_path / "x.tif", pixels, metadata={"axes": "CYX"}, photometric="minisblack", **storage
    )
    assert_holds(read(tmp_path / "x.tif"), pixels)


@pytest.mark.parametrize("ending", [".tif", ".tiff", ".TIF", ".Tiff"])
def test_every_spelling_of_the_ending_is_read(tmp_path: Path, ending: str) -> None:
    tifffile.imwrite(tmp_path / f"a{ending}", noise((64, 48)))
    image = read(tmp_path / f"a{ending}")
    assert image.name == "a"
    assert_holds(image, noise((64, 48))[np.newaxis])


@pytest.mark.parametrize(
    ("axes", "shape", "order"),
    [
        ("YX", (64, 48), None),
        ("CYX", (3, 64, 48), "CYX"),
        ("YXC", (64, 48, 3), "CYX"),
        ("YCX", (64, 3, 48), "CYX"),
        ("XYC", (48, 64, 5), "CYX"),
        ("CXY", (5, 48, 64), "CYX"),
        ("ZCYX", (1, 3, 64, 48), "ZCYX"),
        ("CZYX", (3, 1, 64, 48), "ZCYX"),
        ("TZCYX", (1, 1, 3, 64, 48), "TZCYX"),
    ],
)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_named_axes_are_followed(
    tmp_path: Path, axes: str, shape: tuple[int, ...], order: str | None, compression: str | None
) -> None:
    pixels = noise(shape)
    tifffile.imwrite(
        tmp_path / "x.tif",
        pixels,
        metadata={"axes": axes},
        photometric="minisblack",
        compression=compression,
    )
    image = read(tmp_path / "x.tif")
    moved = pixels if order is None else np.einsum(f"{axes.lower()}->{order.lower()}", pixels)
    assert_holds(image, moved.reshape(-1, *moved.shape[-2:]))
    assert image.axes.startswith("axes in the file")


@pytest.mark.parametrize(
    ("shape", "last", "words"),
    [
        ((5, 64, 48), False, "the shorter of the first and the last axis is taken as channels"),
        ((64, 48, 5), True, "shape (64, 48, 5)"),
        ((64, 48, 64), False, "shape (64, 48, 64)"),
        ((64, 48), False, "shape (64, 48): 1 channel"),
        ((1, 64, 48), False, "1 channel"),
    ],
)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_unnamed_axes_follow_the_stated_rule(
    tmp_path: Path, shape: tuple[int, ...], last: bool, words: str, compression: str | None
) -> None:
    pixels = noise(shape)
    tifffile.imwrite(
        tmp_path / "x.tif",
        pixels,
        photometric="minisblack",
        compression=compression,
        planarconfig=None,
    )
    moved = np.moveaxis(pixels, -1, 0) if last else pixels.reshape(-1, *shape[-2:])
    if len(shape) == 2:
        # One plane: tifffile itself names the axes, and the sentence says so.
        words = "1 channel"
    image = read(tmp_path / "x.tif")
    assert_holds(image, moved)
    assert words in image.axes


def test_four_unnamed_axes_are_cycles_of_channels_in_cycle_order(tmp_path: Path) -> None:
    pixels = noise((2, 4, 64, 48))
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="minisblack")
    image = read(tmp_path / "x.tif")
    assert_holds(image, pixels.reshape(8, 64, 48))
    assert "2 cycles of 4 channels, one after the other" in image.axes
    tifffile.imwrite(tmp_path / "y.tif", np.moveaxis(pixels, 1, 3), photometric="minisblack")
    assert_holds(read(tmp_path / "y.tif"), pixels.reshape(8, 64, 48))


def test_five_unnamed_axes_are_an_error_that_says_how_to_name_them(tmp_path: Path) -> None:
    pixels = noise((2, 2, 3, 64, 48))
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="minisblack")
    with pytest.raises(ImageError, match=r"x\.tif: .*shape \(2, 2, 3, 64, 48\).*reader\.axes="):
        read(tmp_path / "x.tif")
    assert_holds(
        read(tmp_path / "x.tif", axes="tzcyx", t="all", z=2), pixels[:, 1].reshape(6, 64, 48)
    )


def test_pages_without_metadata_are_channels(tmp_path: Path) -> None:
    pixels = noise((70, 64, 48))
    with tifffile.TiffWriter(tmp_path / "x.tif") as tif:
        for page in pixels:
            tif.write(page, metadata=None, contiguous=False)
    image = read(tmp_path / "x.tif")
    assert_holds(image, pixels)
    assert "70 pages, each taken as a channel" in image.axes


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("storage", [{}, {"compression": "zlib"}, {"tile": (16, 32)}], ids=str)
@pytest.mark.parametrize("samples", [3, 4])
def test_interleaved_rgb_is_a_colour_photograph_without_its_alpha(
    tmp_path: Path, dtype: str, storage: dict[str, Any], samples: int
) -> None:
    pixels = noise((64, 48, samples), dtype)
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb", **storage)
    image = read(tmp_path / "x.tif")
    assert image.color
    assert image.channels == ("red", "green", "blue")
    assert ("alpha left out" in image.axes) == (samples == 4)
    assert_holds(image, np.moveaxis(pixels[..., :3], -1, 0))
    kept = read(tmp_path / "x.tif", axes="YXC")
    assert not kept.color
    assert_holds(kept, np.moveaxis(pixels, -1, 0))


def test_rgb_planes_stored_one_after_the_other_are_markers(tmp_path: Path) -> None:
    pixels = noise((3, 64, 48))
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb", planarconfig="separate")
    image = read(tmp_path / "x.tif")
    assert not image.color
    assert image.channels == ("channel_1", "channel_2", "channel_3")
    assert_holds(image, pixels)


def test_samples_of_a_pixel_that_are_no_colour_are_channels(tmp_path: Path) -> None:
    pixels = noise((64, 48, 5))
    tifffile.imwrite(
        tmp_path / "x.tif",
        pixels,
        photometric="minisblack",
        planarconfig="contig",
        compression="zlib",
    )
    assert_holds(read(tmp_path / "x.tif"), np.moveaxis(pixels, -1, 0))


def test_a_stack_of_planes_asks_for_a_choice_and_takes_it(tmp_path: Path) -> None:
    pixels = noise((4, 2, 64, 48))
    tifffile.imwrite(
        tmp_path / "x.tif", pixels, metadata={"axes": "ZCYX"}, photometric="minisblack"
    )
    with pytest.raises(ImageError, match=r"4 Z planes.*reader\.z=N \(1 to 4\).*reader\.z=max"):
        read(tmp_path / "x.tif")
    with pytest.raises(ImageError, match=r"reader\.z=5 is not among its 4 Z planes"):
        read(tmp_path / "x.tif", z=5)
    assert_holds(read(tmp_path / "x.tif", z="3"), pixels[2])
    projected = read(tmp_path / "x.tif", z="max")
    assert_holds(projected, pixels.max(axis=0))
    assert "maximum of 4 Z planes" in projected.axes


def test_time_points_can_be_staining_cycles(tmp_path: Path) -> None:
    pixels = noise((3, 2, 64, 48))
    tifffile.imwrite(
        tmp_path / "x.tif",
        np.moveaxis(pixels, 1, 0),
        metadata={"axes": "CTYX"},
        photometric="minisblack",
    )
    with pytest.raises(ImageError, match=r"3 time points.*reader\.t=all if they are staining"):
        read(tmp_path / "x.tif")
    assert_holds(read(tmp_path / "x.tif", t="all"), pixels.reshape(6, 64, 48))
    assert_holds(read(tmp_path / "x.tif", t=2), pixels[1])


@pytest.mark.parametrize(
    "options", [{"z": 0}, {"z": "all"}, {"t": "some"}, {"axes": "YY"}, {"series": "max"}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        TiffReader(**options)


def test_an_axis_of_no_use_is_an_error_that_names_it(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", noise((6, 64, 48)), metadata={"axes": "HYX"})
    with pytest.raises(ImageError, match=r"axis 'H' of size 6 .*reader\.axes=CYX"):
        read(tmp_path / "x.tif")
    assert len(read(tmp_path / "x.tif", axes="CYX").channels) == 6


def test_ome_names_and_pixel_size_are_read(tmp_path: Path) -> None:
    pixels = noise((3, 64, 48))
    tifffile.imwrite(
        tmp_path / "slide.ome.tif",
        pixels,
        photometric="minisblack",
        metadata={
            "axes": "CYX",
            "Channel": {"Name": ["DAPI", "CD3", "DAPI"]},
            "PhysicalSizeX": 325.0,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 325.0,
            "PhysicalSizeYUnit": "nm",
        },
    )
    (tmp_path / "channelNames.txt").write_text("only one\n")
    image = read(tmp_path / "slide.ome.tif")
    assert image.name == "slide"
    assert image.channels == ("DAPI", "CD3", "DAPI_2")
    assert image.pixel_size == pytest.approx(0.325)
    assert image.axes == (
        "OME-XML: 3 channels; repeated channel names numbered ('DAPI'); pixel size from OME-XML"
    )
    assert_holds(image, pixels)


@pytest.mark.parametrize(
    ("x", "y", "unit", "size", "words"),
    [
        (0.5, 0.6, "µm", 0.3**0.5, "not square"),
        (0.5, 0.502, "µm", 0.5, "pixel size from OME-XML"),
        (10000.0, 10000.0, "µm", None, "cannot be right"),
        (0.5, 2.0, "µm", None, "cannot be right"),
        (0.0005, 0.0005, "mm", 0.5, "pixel size from OME-XML"),
        (1.0, 1.0, "pixel", None, "1 channel"),
    ],
)
def test_ome_pixel_sizes_in_every_unit(
    tmp_path: Path, x: float, y: float, unit: str, size: float | None, words: str
) -> None:
    tifffile.imwrite(
        tmp_path / "x.ome.tif",
        noise((64, 48)),
        metadata={
            "axes": "YX", "PhysicalSizeX": x, "PhysicalSizeXUnit": unit,
            "PhysicalSizeY": y, "PhysicalSizeYUnit": unit,
        },
    )  # fmt: skip
    image = read(tmp_path / "x.ome.tif")
    assert image.pixel_size == (None if size is None else pytest.approx(size))
    assert words in image.axes


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_pyramid_gives_its_full_resolution_once(tmp_path: Path, compression: str | None) -> None:
    pixels = noise((3, 64, 48))
    with tifffile.TiffWriter(tmp_path / "x.ome.tif") as tif:
        options: dict[str, Any] = {
            "photometric": "minisblack", "tile": (16, 16), "compression": compression,
        }  # fmt: skip
        tif.write(pixels, subifds=2, metadata={"axes": "CYX"}, **options)
        tif.write(pixels[:, ::2, ::2], subfiletype=1, **options)
        tif.write(pixels[:, ::4, ::4], subfiletype=1, **options)
    image = read(tmp_path / "x.ome.tif")
    assert_holds(image, pixels)
    assert "full resolution of a pyramid of 3 levels" in image.axes


def test_every_image_of_a_file_is_read_unless_one_is_chosen(tmp_path: Path) -> None:
    first, second = noise((2, 64, 48)), noise((2, 64, 48), seed=1)
    with tifffile.TiffWriter(tmp_path / "x.ome.tif") as tif:
        tif.write(first, metadata={"axes": "CYX", "Name": "left"}, photometric="minisblack")
        tif.write(second, metadata={"axes": "CYX", "Name": "right/2"}, photometric="minisblack")
    images = TiffReader().read(tmp_path / "x.ome.tif")
    assert [image.name for image in images] == ["x_left", "x_right_2"]
    assert_holds(images[0], first)
    assert_holds(images[1], second)
    chosen = read(tmp_path / "x.ome.tif", series=2)
    assert chosen.name == "x"
    assert_holds(chosen, second)
    with pytest.raises(ImageError, match=r"has 2 images; --set reader\.series=3"):
        read(tmp_path / "x.ome.tif", series=3)


OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">
<Image ID="Image:0" Name="set"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16"
 SizeX="48" SizeY="64" SizeC="2" SizeZ="1" SizeT="1">
<Channel ID="Channel:0:0" Name="DAPI" SamplesPerPixel="1"/>
<Channel ID="Channel:0:1" Name="CD3" SamplesPerPixel="1"/>
<TiffData FirstC="0" IFD="0" PlaneCount="1"><UUID FileName="a.ome.tif">urn:uuid:a</UUID></TiffData>
<TiffData FirstC="1" IFD="0" PlaneCount="1"><UUID FileName="b.ome.tif">urn:uuid:b</UUID></TiffData>
</Pixels></Image></OME>"""
PART = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">
<BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:set"/></OME>"""


def write_set(folder: Path, xml: str) -> Any:
    pixels = noise((2, 64, 48))
    for name, plane in zip("ab", pixels, strict=True):
        tifffile.imwrite(
            folder / f"{name}.ome.tif", plane, description=xml.format(own=name), metadata=None
        )
    return pixels


def test_an_ome_set_of_several_files_is_one_image(tmp_path: Path) -> None:
    pixels = write_set(tmp_path, OME)
    image = read(tmp_path / "a.ome.tif")
    assert image.channels == ("DAPI", "CD3")
    assert_holds(image, pixels)
    (tmp_path / "b.ome.tif").unlink()
    with pytest.raises(ImageError, match=r"a\.ome\.tif .*b\.ome\.tif"):
        read(tmp_path / "a.ome.tif")


def test_an_ome_set_with_a_companion_is_read_through_it(tmp_path: Path) -> None:
    pixels = write_set(tmp_path, PART)
    companion = tmp_path / "set.companion.ome"
    companion.write_text(OME.format(own="set"))
    image = read(companion)
    assert image.name == "set"
    assert image.channels == ("DAPI", "CD3")
    assert_holds(image, pixels)
    with pytest.raises(ImageError, match=r"one part of a multi-file OME-TIFF.*set\.companion\.ome"):
        read(tmp_path / "a.ome.tif")
    (tmp_path / "b.ome.tif").unlink()
    with pytest.raises(ImageError, match=r"b\.ome\.tif does not exist"):
        read(companion)
    with pytest.raises(ImageError, match=r"set\.companion\.ome, which needs it"):
        read(companion)
    for old, new in (
        ('PlaneCount="1"', f'PlaneCount="{2**62}"'),
        ('SizeC="2"', f'SizeC="{2**62}"'),
    ):
        companion.write_text(OME.format(own="set").replace(old, new))
        with pytest.raises(ImageError, match=r"set\.companion\.ome.* 4[\d,]+ planes"):
            read(companion)
    companion.write_text("<OME")
    with pytest.raises(ImageError, match="not an OME companion file"):
        read(companion)


def test_imagej_axes_labels_and_pixel_size_are_read(tmp_path: Path) -> None:
    pixels = noise((2, 3, 64, 48))
    labels = [f"c:{c + 1}/3 z:{z + 1}/2 - {n}" for z in range(2) for c, n in enumerate("ABC")]
    tifffile.imwrite(
        tmp_path / "x.tif", pixels, imagej=True, resolution=(2.0, 2.0),
        metadata={"axes": "ZCYX", "unit": "um", "Labels": labels},
    )  # fmt: skip
    with pytest.raises(ImageError, match="2 Z planes"):
        read(tmp_path / "x.tif")
    image = read(tmp_path / "x.tif", z=2)
    assert image.channels == ("A", "B", "C")
    assert image.pixel_size == 0.5
    assert image.axes.startswith("ImageJ: 3 channels; Z plane 2 of 2; names from ImageJ labels")
    assert_holds(image, pixels[1])


@pytest.mark.parametrize(
    ("resolution", "unit", "size"),
    [((20000, 20000), "centimeter", 0.5), ((72, 72), "inch", None), ((1, 1), "none", None)],
)
def test_resolution_tags_count_where_a_microscope_can_have_them(
    tmp_path: Path, resolution: tuple[int, int], unit: str, size: float | None
) -> None:
    tifffile.imwrite(
        tmp_path / "x.tif", noise((64, 48)), resolution=resolution, resolutionunit=unit
    )
    image = read(tmp_path / "x.tif")
    assert image.pixel_size == size
    assert ("TIFF resolution tags" in image.axes) == (size is not None)


def test_channel_names_beside_the_file_are_used_and_must_fit(tmp_path: Path) -> None:
    pixels = noise((3, 64, 48))
    tifffile.imwrite(tmp_path / "x.tif", pixels, metadata={"axes": "CYX"}, photometric="minisblack")
    (tmp_path / "channelNames.txt").write_bytes(b"\xef\xbb\xbfDAPI\r\nCD3 \r\nDAPI\r\n\r\n")
    image = read(tmp_path / "x.tif")
    assert image.channels == ("DAPI", "CD3", "DAPI_2")
    assert "names from channelNames.txt" in image.axes
    (tmp_path / "channelNames.txt").write_text("DAPI\nCD3\n")
    with pytest.raises(ChannelError, match=r"x\.tif: .*has 2 names, but the image has 3 channels"):
        read(tmp_path / "x.tif")


def test_names_can_be_given(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", noise((2, 64, 48)), metadata={"axes": "CYX"})
    assert read(tmp_path / "x.tif", names="DAPI,CD3").channels == ("DAPI", "CD3")
    with pytest.raises(ChannelError, match="1 channel name for 2 channels"):
        read(tmp_path / "x.tif", names=("DAPI",))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_no_file_stays_open_and_pixels_travel_to_other_processes(
    tmp_path: Path, compression: str | None
) -> None:
    pixels = noise((2, 64, 48))
    path = tmp_path / "x.tif"
    tifffile.imwrite(
        path, pixels, metadata={"axes": "CYX"}, photometric="minisblack", compression=compression
    )
    image = read(path)
    window = image.pixels[1, 2:9, 3:7]
    descriptors = Path("/proc/self/fd")
    if descriptors.is_dir():
        held = {os.path.realpath(link) for link in descriptors.iterdir()}
        held |= {
            line.split()[-1]
            for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        }
        assert str(path.resolve()) not in held
    copy = pickle.loads(pickle.dumps(image.pixels))  # noqa: S301 - our own object
    np.testing.assert_array_equal(copy[1, 2:9, 3:7], window)
    np.testing.assert_array_equal(np.asarray(image.pixels), pixels)
    path.unlink()
    np.testing.assert_array_equal(window, pixels[1, 2:9, 3:7])


def test_windows_decode_only_their_part_and_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = noise((4, 64, 64))
    tifffile.imwrite(
        tmp_path / "x.tif", pixels, metadata={"axes": "CYX"}, photometric="minisblack",
        compression="zlib", tile=(16, 16),
    )  # fmt: skip
    image = read(tmp_path / "x.tif")
    before = len(DECODED)
    image.pixels[2, 20:30, 20:30]
    image.pixels[2, 17:31, 17:31]
    assert len(DECODED) == before + 1
    monkeypatch.setattr(DECODED, "limit", 2000)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        planes = list(pool.map(lambda c: image.pixels[c % 4], range(16)))
    for number, plane in enumerate(planes):
        np.testing.assert_array_equal(plane, pixels[number % 4])
    assert DECODED.nbytes <= 2000


def test_palette_and_inverted_files_keep_their_stored_values(tmp_path: Path) -> None:
    pixels = noise((64, 48), "u1")
    tifffile.imwrite(
        tmp_path / "p.tif", pixels, photometric="palette",
        colormap=np.zeros((3, 256), np.uint16),
    )  # fmt: skip
    tifffile.imwrite(tmp_path / "w.tif", pixels, photometric="miniswhite")
    for name, words in [("p.tif", "colour table is left aside"), ("w.tif", "calls 0 white")]:
        image = read(tmp_path / name)
        assert words in image.axes
        assert_holds(image, pixels[np.newaxis])


def test_pixels_can_be_indexed_like_an_array(tmp_path: Path) -> None:
    pixels = noise((3, 64, 48))
    tifffile.imwrite(tmp_path / "x.tif", pixels, metadata={"axes": "CYX"}, photometric="minisblack")
    lazy = read(tmp_path / "x.tif").pixels
    for key in [
        1,
        -1,
        (slice(None), 5),
        (0, 3, 4),
        (slice(2, 0, -1), slice(9, 2, -3), slice(0, 9, 2)),
    ]:
        np.testing.assert_array_equal(lazy[key], pixels[key])
    with pytest.raises(IndexError):
        lazy[3]
    with pytest.raises(IndexError):
        lazy[0, 0, 0, 0]


REAL = [
    ("readers/tiff/nuclei_imagej_uint16.tif", (1, 832, 960), "uint16", 0.65),
    ("readers/tiff/input2_float64.tiff", (1, 265, 329), "float64", None),
    ("readers/ome_tiff/cycif_48ch_pyramid.ome.tiff", (48, 100, 100), "uint16", None),
    ("readers/ome_tiff/multi-channel.ome.tif", (3, 167, 439), "int8", None),
    ("readers/ome_tiff/pyramid_jpeg.ome.tiff", (2, 2048, 2048), "uint8", None),
    ("readers/qptiff/small_vectra.qptiff", (3, 1440, 1920), "uint8", 0.4965),
    ("codex_lymph_node/image.tif", (5, 500, 500), "uint16", None),
    ("readers/codex_raw/Cyc2_reg1/1_00001_Z003_CH2.tif", (1, 128, 128), "uint8", None),
]


@pytest.mark.data
@pytest.mark.parametrize(("name", "shape", "dtype", "size"), REAL, ids=[r[0] for r in REAL])
def test_real_files_agree_with_tifffile(
    data_dir: Path, name: str, shape: tuple[int, ...], dtype: str, size: float | None
) -> None:
    image = read(data_dir / name)
    assert (image.pixels.shape, image.dtype) == (shape, np.dtype(dtype))
    assert image.pixel_size == (None if size is None else pytest.approx(size, rel=1e-3))
    with tifffile.TiffFile(data_dir / name) as tif:
        whole = tif.series[0].asarray().reshape(shape)
    rows, columns = slice(37, 91), slice(11, 97)
    for channel in range(shape[0]):
        np.testing.assert_array_equal(
            image.read(channel, rows, columns), whole[channel, rows, columns]
        )
    np.testing.assert_array_equal(image.read(0), whole[0])


@pytest.mark.data
def test_real_channel_names_are_found(data_dir: Path) -> None:
    assert read(data_dir / "codex_lymph_node/image.tif").channels == (
        "DAPI", "CD4", "CD8", "FOXP3", "BCL6",
    )  # fmt: skip
    assert read(data_dir / "readers/qptiff/small_vectra.qptiff").channels == ("DAPI", "FITC", "Cy3")
    pyramid = read(data_dir / "readers/ome_tiff/pyramid_jpeg.ome.tiff")
    assert pyramid.channels == ("CHAN_0", "CHAN_1")


@pytest.mark.data
def test_real_multi_series_file_gives_each_image(data_dir: Path) -> None:
    images = TiffReader().read(data_dir / "readers/ome_tiff/multiseries.ome.tiff")
    assert len(images) == 6
    assert len({image.name for image in images}) == 6
    assert [image.pixel_size for image in images] == pytest.approx([0.65] * 6)
    assert all(image.pixels.shape == (4, 5, 5) for image in images)


@pytest.mark.data
def test_real_multi_file_set_and_stack_ask_for_a_plane(data_dir: Path) -> None:
    folder = data_dir / "readers/ome_tiff/multifile"
    with pytest.raises(ImageError, match="5 Z planes"):
        read(folder / "multifile.companion.ome")
    np.testing.assert_array_equal(
        read(folder / "multifile.companion.ome", z=4).read(0),
        tifffile.imread(folder / "multifile-Z4.ome.tiff"),
    )
    path = data_dir / "readers/tiff/input4_float16.tiff"
    with pytest.raises(ImageError, match="10 Z planes"):
        read(path)
    stack = tifffile.imread(path)
    np.testing.assert_array_equal(read(path, z="max").read(0), stack.max(axis=0))
    np.testing.assert_array_equal(read(path, axes="CYX").read(7), stack[7])


def test_the_rule_for_axes_is_the_one_that_json_metadata_lacks(tmp_path: Path) -> None:
    # tifffile writes the shape, and names axes only where it is told to.
    tifffile.imwrite(tmp_path / "x.tif", noise((4, 64, 48)), photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "x.tif") as tif:
        assert "axes" not in json.loads(tif.pages.first.description)


def test_tiles_and_strips_are_told(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 999, (2, 70, 90)).astype(np.uint16)
    for name, how, expected in (
        ("tiles", {"tile": (32, 48), "compression": "zlib"}, (32, 48)),
        ("strips", {"rowsperstrip": 7, "compression": "zlib"}, (7, 90)),
        ("plain", {}, None),
    ):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, pixels, photometric="minisblack", **how)
        assert TiffReader().read(path)[0].stored == expected, name
