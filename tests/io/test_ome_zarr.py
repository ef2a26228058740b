"""OME-Zarr in its versions: axes, names, pixel sizes, series, chunks and damage."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr

from cellseg_core.batch import run_batch
from cellseg_core.config import RunConfig
from cellseg_core.errors import ChannelError, ImageError
from cellseg_core.plugins import load_plugins
from cellseg_core.reading import find_sources, read_image, read_images
from cellseg_core.store import fingerprint
from cellseg_core.testing import ReaderTests
from cellseg_io import ome_zarr
from cellseg_io.lazy import DECODED
from cellseg_io.ome_zarr import OmeZarrReader

PIXELS = np.random.default_rng(1).integers(0, 60_000, (3, 41, 57)).astype(np.uint16)
UM = {"space": "micrometer", "time": "second"}
KINDS = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def write(
    folder: Path,
    pixels: np.ndarray = PIXELS,
    axes: str = "cyx",
    *,
    version: str = "0.5",
    scale: float = 0.5,
    labels: tuple[str, ...] = ("DAPI", "CD3", "CD20"),
    chunks: tuple[int, ...] | None = None,
    **more: Any,
) -> Path:
    """Write an image of two levels as the specification of a version wants it."""
    group = zarr.open_group(folder, mode="w", zarr_format=3 if version == "0.5" else 2)
    for level in (0, 1):
        step = (slice(None),) * (pixels.ndim - 2) + (slice(None, None, 1 + level),) * 2
        made = np.ascontiguousarray(pixels[step])
        group.create_array(str(level), data=made, chunks=chunks or "auto", **more)
    scales = [[1.0 if a in "tc" else scale * (1 + level) for a in axes] for level in (0, 1)]
    described = [{"name": a, "type": KINDS[a]} for a in axes]
    for one in described:
        if one["type"] in UM:
            one["unit"] = UM[one["type"]]
    metadata: dict[str, Any] = {
        "multiscales": [
            {
                "axes": described,
                "datasets": [
                    {
                        "path": str(level),
                        "coordinateTransformations": [{"type": "scale", "scale": scales[level]}],
                    }
                    for level in (0, 1)
                ],
            }
        ],
        "omero": {"channels": [{"label": label} for label in labels]},
    }
    if version == "0.5":
        group.attrs["ome"] = {"version": version, **metadata}
    else:
        metadata["multiscales"][0]["version"] = version
        group.attrs.update(metadata)
    return folder


class TestVersion5(ReaderTests):
    def make(self) -> OmeZarrReader:
        return OmeZarrReader()

    def example(self, folder: Path):
        return write(folder / "image.zarr", chunks=(1, 16, 16)), PIXELS


class TestVersion4(TestVersion5):
    def example(self, folder: Path):
        return write(folder / "image.ome.zarr", version="0.4", chunks=(2, 20, 30)), PIXELS


class TestShards(TestVersion5):
    def example(self, folder: Path):
        return write(folder / "shards.zarr", chunks=(1, 8, 8), shards=(1, 32, 32)), PIXELS


class TestOtherOrderAndBytes(TestVersion5):
    def example(self, folder: Path):
        pixels = np.moveaxis(PIXELS, 0, -1).swapaxes(0, 1).astype(">u2")
        return write(folder / "xyc.zarr", pixels, "xyc", version="0.4", chunks=(20, 16, 2)), PIXELS


def test_names_and_pixel_size_come_from_the_metadata(tmp_path: Path) -> None:
    for version in ("0.4", "0.5"):
        image = read_image(write(tmp_path / f"{version}.ome.zarr", version=version))
        assert image.name == version
        assert image.channels == ("DAPI", "CD3", "CD20")
        assert image.pixel_size == 0.5
        assert image.axes == f"OME-Zarr {version}: 3 channels; pixel size from OME-Zarr"
        assert image.shape == PIXELS.shape[1:]


def test_other_units_and_a_scale_of_all_levels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", scale=325.0)
    group = zarr.open_group(path)
    ome = dict(group.attrs["ome"])
    (scales,) = ome["multiscales"]
    for axis in scales["axes"][1:]:
        axis["unit"] = "nanometer"
    group.attrs["ome"] = ome
    assert read_image(path).pixel_size == pytest.approx(0.325)
    scales["coordinateTransformations"] = [{"type": "scale", "scale": [1, 2, 2]}]
    group.attrs["ome"] = ome
    assert read_image(path).pixel_size == pytest.approx(0.65)
    for without in ([], [{"type": "identity"}], [{"type": "scale", "scale": [1, 2, 2, 2]}], None):
        scales["coordinateTransformations"] = []
        scales["datasets"][0]["coordinateTransformations"] = without
        group.attrs["ome"] = ome
        assert read_image(path).pixel_size is None
    scales["datasets"][0]["coordinateTransformations"] = [{"type": "scale", "scale": [1, 2, 2]}]
    for axis in scales["axes"]:
        axis.pop("unit", None)
    group.attrs["ome"] = ome
    assert read_image(path).pixel_size is None


def test_of_several_planes_one_is_chosen(tmp_path: Path) -> None:
    stack = np.stack([PIXELS, PIXELS[::-1], PIXELS // 2], axis=1)[np.newaxis]
    path = write(tmp_path / "stack.zarr", stack, "tczyx", chunks=(1, 1, 2, 32, 32))
    with pytest.raises(ImageError, match=r"it has 3 Z planes .*reader\.z=N"):
        read_image(path)
    assert np.array_equal(read_image(path, z=2).read(0), PIXELS[2])
    assert np.array_equal(read_image(path, z="max").pixels[:], stack[0].max(axis=1))


def test_names_of_the_user_and_of_the_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "image.zarr", labels=())
    assert read_image(path).channels == ("channel_1", "channel_2", "channel_3")
    assert read_image(path, names="a,b,c").channels == ("a", "b", "c")
    with pytest.raises(ChannelError, match="2 channel names for 3 channels"):
        read_image(path, names="a,b")
    (tmp_path / "channelNames.txt").write_text("x\ny\nz\n")
    assert read_image(path).channels == ("x", "y", "z")


def test_names_that_are_not_there_do_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "image.zarr")
    group = zarr.open_group(path)
    ome = dict(group.attrs["ome"])
    for omero in (None, [], {"channels": None}, {"channels": [{"label": None}] * 3}):
        group.attrs["ome"] = {**ome, "omero": omero}
        assert read_image(path).channels == ("channel_1", "channel_2", "channel_3")


def test_no_path_leads_out_of_the_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "image.zarr")
    group = zarr.open_group(path)
    ome = dict(group.attrs["ome"])
    ome["multiscales"][0]["datasets"][0]["path"] = "/0"
    group.attrs["ome"] = ome
    (image,) = OmeZarrReader().read(path)
    assert image.files == (path / "0",)
    ome["multiscales"][0]["datasets"][0]["path"] = "../other.zarr/0"
    group.attrs["ome"] = ome
    write(tmp_path / "other.zarr")
    with pytest.raises(ImageError):
        OmeZarrReader().read(path)


@pytest.mark.parametrize("listed", [True, False])
def test_the_series_of_bioformats2raw(tmp_path: Path, *, listed: bool) -> None:
    path = tmp_path / "slides.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    for name in ("0", "10", "2"):
        write(path / name, version="0.4")
    if listed:
        group.create_group("OME").attrs["series"] = ["2", "0"]
    names = [image.name for image in read_images(path)]
    assert names == (["slides_2", "slides_0"] if listed else ["slides_0", "slides_2", "slides_10"])
    assert [image.name for image in read_images(path, series=2)] == ["slides"]
    with pytest.raises(ImageError, match="is not among them"):
        read_images(path, series=4)


def test_the_fields_of_a_plate(tmp_path: Path) -> None:
    path = tmp_path / "plate.zarr"
    plate = zarr.open_group(path, mode="w", zarr_format=3)
    plate.attrs["ome"] = {"version": "0.5", "plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}}
    for well in ("A/1", "B/2"):
        group = plate.require_group(well)
        group.attrs["ome"] = {"version": "0.5", "well": {"images": [{"path": "0"}, {"path": "1"}]}}
        for field in "01":
            write(path / well / field)
    names = [image.name for image in read_images(path)]
    assert names == ["plate_A_1_0", "plate_A_1_1", "plate_B_2_0", "plate_B_2_1"]


def test_the_images_of_spatialdata(tmp_path: Path) -> None:
    path = tmp_path / "data.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=3)
    root.create_group("images")
    root.create_group("points")
    write(path / "images" / "tissue")
    assert [image.name for image in read_images(path)] == ["data"]
    write(path / "images" / "other")
    assert [image.name for image in read_images(path)] == ["data_other", "data_tissue"]


def test_an_array_without_metadata_follows_the_rule_of_tiff(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "plain.zarr", data=PIXELS)
    image = read_image(tmp_path / "plain.zarr")
    assert np.array_equal(image.pixels[:], PIXELS)
    assert "the shorter of the first and the last axis" in image.axes


def test_a_chunk_is_decoded_once_for_all_windows_and_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = write(tmp_path / "image.zarr", chunks=(3, 32, 32)), []
    planes = ome_zarr.reader.ZarrPlanes
    real = planes._chunk
    monkeypatch.setattr(
        planes, "_chunk", lambda self, place: (read.append(place), real(self, place))[1]
    )
    monkeypatch.setattr(DECODED, "limit", 2**20)
    image = read_image(path)
    for channel in range(3):
        for top in range(0, 41, 10):
            image.read(channel, slice(top, top + 10), slice(5, 50))
    assert sorted(map(tuple, read)) == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]


def test_chunks_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "xyc.zarr", np.moveaxis(PIXELS, 0, -1), "yxc", chunks=(20, 16, 2))
    assert read_image(path).stored == (20, 16)


def test_damage_is_told_with_the_place(tmp_path: Path) -> None:
    path = write(tmp_path / "image.zarr", chunks=(1, 41, 57))
    image = read_image(path)
    chunk = path / "0" / "c" / "1" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:50])
    assert np.array_equal(image.read(0), PIXELS[0])
    with pytest.raises(ImageError, match=r"image\.zarr.0: rows 0 to 41, columns 0 to 57 cannot"):
        pickle.loads(pickle.dumps(image)).read(1)  # noqa: S301 - made here


@pytest.mark.parametrize("damaged", ['{"shape": 3}', "[" * 100_000, "", '{"zarr_format": 3}'])
def test_a_smaller_level_that_is_damaged_is_left_out(tmp_path: Path, damaged: str) -> None:
    path = write(tmp_path / "image.zarr")
    assert len(read_image(path).levels) == 1
    (path / "1" / "zarr.json").write_text(damaged)
    assert read_image(path).levels == ()
    assert np.array_equal(read_image(path).read(0), PIXELS[0])


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"multiscales": [{"datasets": [{"path": "9"}]}]}, "the array '9' of the image is not"),
        ({"multiscales": [{"datasets": []}]}, "cannot be understood"),
        ({"multiscales": []}, "without OME metadata; it holds 0, 1"),
        ({}, "without OME metadata; it holds 0, 1"),
        ({"multiscales": [{"axes": ["y", "x"], "datasets": [{"path": "0"}]}]}, "names 2 axes"),
    ],
)
def test_metadata_that_makes_no_sense_is_refused(tmp_path: Path, metadata, said: str) -> None:
    path = write(tmp_path / "image.zarr")
    zarr.open_group(path).attrs["ome"] = metadata
    with pytest.raises(ImageError, match=said):
        read_image(path)


@pytest.mark.parametrize("array", [np.zeros(5), np.array(["a", "b"]), np.zeros((4, 5), complex)])
def test_what_is_no_image_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "odd.zarr"
    zarr.open_group(path, mode="w", zarr_format=2).create_array("0", data=array)
    zarr.open_group(path).attrs["multiscales"] = [{"datasets": [{"path": "0"}]}]
    with pytest.raises(ImageError, match=r"odd\.zarr: the array '0' is no image"):
        OmeZarrReader().read(path)


def test_a_folder_that_is_no_zarr_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(ImageError, match="cannot be read as Zarr"):
        OmeZarrReader().read(tmp_path / "a.zarr")


def test_folders_of_images_hold_zarr_too(tmp_path: Path) -> None:
    write(tmp_path / "images" / "one.ome.zarr")
    write(tmp_path / "images" / "two.zarr", version="0.4")
    sources = find_sources(tmp_path / "images", load_plugins())
    assert [source.reader for source in sources] == ["ome-zarr", "ome-zarr"]
    config = RunConfig(nuclear=("DAPI",), segmenter="watershed", write=("csv",))
    done = run_batch([tmp_path / "images"], tmp_path / "out", config)
    assert [outcome.state for outcome in done.outcomes] == ["done", "done"]
    again = run_batch([tmp_path / "images"], tmp_path / "out", config)
    assert [outcome.state for outcome in again.outcomes] == ["resumed", "resumed"]


@pytest.mark.parametrize("missing", [1, 16])
@pytest.mark.parametrize("stored", ["0.4", "0.5", "0.5 in shards"])
def test_a_chunk_of_blosc_that_is_cut_off_is_not_decoded(
    tmp_path: Path, stored: str, missing: int
) -> None:
    blosc = numcodecs.Blosc() if stored == "0.4" else zarr.codecs.BloscCodec()
    shards = {"shards": (1, 16, 32)} if "shards" in stored else {}
    store = write(
        tmp_path / "a.zarr", version=stored[:3], chunks=(1, 16, 16), compressors=blosc, **shards
    )
    assert np.array_equal(read_image(store).pixels[:, :, :], PIXELS)
    chunk = next(p for p in sorted((store / "0").rglob("*")) if p.is_file() and "z" not in p.name)
    content = chunk.read_bytes()
    if shards:
        # The index at the end tells where chunks are: the first one says that it is longer.
        size = int.from_bytes(content[12:16], "little")
        chunk.write_bytes(content[:12] + (size + missing).to_bytes(4, "little") + content[16:])
    else:
        chunk.write_bytes(content[:-missing])
    with pytest.raises(ImageError, match=r"a\.zarr.*is cut off: it has"):
        read_image(store).read(0)


def test_a_changed_chunk_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "image.zarr", chunks=(1, 41, 57))
    (image,) = OmeZarrReader().read(path)
    before = fingerprint(image.files)
    assert before == fingerprint(image.files)
    zarr.open_array(path / "0")[2, 5, 5] = 7
    assert before != fingerprint(image.files)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "channels", "shape", "pixel_size"),
    [
        ("blobs_image_v04", 3, (12, 12), None),
        ("blobs_image_v05", 3, (12, 12), None),
        ("xyz_8bit__mitotic_plate_calibrated", 1, (263, 263), 0.0851964),
        ("input9", 1, (100, 100), 1.0),
        ("input13", 1, (265, 329), None),
    ],
)
def test_files_of_other_programs(data_dir: Path, name, channels, shape, pixel_size) -> None:
    (path,) = (data_dir / "readers" / "ome_zarr").glob(f"{name}*.zarr")
    deep = name in ("xyz_8bit__mitotic_plate_calibrated", "input9")
    image = read_image(path, **({"z": 2} if deep else {}))
    assert len(image.channels) == channels
    assert image.shape == shape
    assert image.pixel_size == (None if pixel_size is None else pytest.approx(pixel_size))
    assert image.read(channels - 1).any()
