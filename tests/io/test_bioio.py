"""Formats that the package bioio reads: by a fake of it, and by itself where it is installed."""

from __future__ import annotations

import importlib.util
import io
import logging
import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import dask.array
import numpy as np
import pytest
import tifffile

from cellseg_core.batch import run_batch
from cellseg_core.config import RunConfig
from cellseg_core.errors import ChannelError, ImageError, MissingPackageError
from cellseg_core.plugins import load_plugins
from cellseg_core.reading import find_sources, read_images
from cellseg_core.testing import ReaderTests
from cellseg_io.bioio_reader import BioioReader
from cellseg_io.lazy import DECODED

PIXELS = np.random.default_rng(1).integers(0, 60_000, (3, 41, 57)).astype(np.uint16)


def write(path: Path, *scenes: np.ndarray, dims: str = "CYX", **about: Any) -> Path:
    """Write what the fake bioio reads: scenes with their dimensions, names, sizes and chunks."""
    told = {"dims": dims, "names": ["DAPI", "CD3", "CD20"], "chunks": "auto", **about}
    with path.open("wb") as file:
        np.savez(file, *scenes, told=np.frombuffer(pickle.dumps(told), np.uint8))
    return path


class UnsupportedFileFormatError(Exception):
    """What bioio raises where no plugin takes a file."""


class FakeBioImage:
    """The part of ``bioio.BioImage`` that the reader uses; as there, the scene is a state."""

    opened: list[Path] = []
    read: list[tuple[int, ...]] = []

    def __init__(self, path: Path, *, use_plugin_cache: bool) -> None:
        self.opened.append(path)
        try:
            self._stored = dict(np.load(io.BytesIO(path.read_bytes())))
            told = self._stored.pop("told").tobytes()
        except Exception as error:
            logging.getLogger("bioio.bio_image").warning("Attempted file load failed")
            raise UnsupportedFileFormatError(f"it says {error}") from error
        self._told = pickle.loads(told)  # noqa: S301 - made here
        numbered = (f"Image:{number}" for number in range(len(self._stored)))
        self.scenes = tuple(self._told.get("scenes") or numbered)
        self.set_scene(0)

    def set_scene(self, number: int) -> None:
        pixels = self._stored[f"arr_{number}"]
        seen = self.read

        def look(block: np.ndarray, block_info: Any = None) -> np.ndarray:
            seen.append(tuple(block_info[0]["chunk-location"]))
            if self._told.get("breaks"):
                raise OSError("a piece is damaged")
            return block

        array = dask.array.from_array(pixels, self._told["chunks"])
        array = array.map_blocks(look, dtype=pixels.dtype, meta=pixels[..., :0])
        self.xarray_dask_data = SimpleNamespace(
            data=array, dims=tuple(self._told["dims"]), shape=pixels.shape, dtype=pixels.dtype
        )

    @property
    def channel_names(self) -> list[str]:
        return list(self._told["names"])

    @property
    def physical_pixel_sizes(self) -> Any:
        return SimpleNamespace(**dict(zip("YX", self._told.get("size", (0.5, 0.5)), strict=True)))

    @property
    def dimension_properties(self) -> Any:
        unit = SimpleNamespace(unit=self._told.get("unit"))
        return SimpleNamespace(Y=unit, X=unit)


@pytest.fixture
def bioio(monkeypatch: pytest.MonkeyPatch) -> type[FakeBioImage]:
    """Put a bioio in place that has a plugin for CZI and VSI."""
    module, plugins = ModuleType("bioio"), ModuleType("bioio.plugins")
    vars(module)["BioImage"] = FakeBioImage
    vars(plugins)["get_plugins"] = lambda use_cache: {".czi": ["bioio-czi"], ".vsi": ["x"]}
    monkeypatch.setitem(sys.modules, "bioio", module)
    monkeypatch.setitem(sys.modules, "bioio.plugins", plugins)
    monkeypatch.setattr(FakeBioImage, "opened", [])
    monkeypatch.setattr(FakeBioImage, "read", [])
    return FakeBioImage


@pytest.mark.usefixtures("bioio")
class TestPlanes(ReaderTests):
    def make(self) -> BioioReader:
        return BioioReader()

    def example(self, folder: Path):
        path = folder / "slide.czi"
        return write(path, PIXELS[None, :, None], dims="TCZYX", chunks=(1, 1, 1, 41, 57)), PIXELS


@pytest.mark.usefixtures("bioio")
class TestPieces(TestPlanes):
    def example(self, folder: Path):
        return write(folder / "slide.czi", PIXELS, chunks=((2, 1), (20, 21), (30, 20, 7))), PIXELS


@pytest.mark.usefixtures("bioio")
class TestColumnsFirst(TestPlanes):
    def example(self, folder: Path):
        pixels = np.ascontiguousarray(np.moveaxis(PIXELS, 0, -1).swapaxes(0, 1))
        return write(folder / "slide.czi", pixels, dims="XYC", chunks=(20, 16, 2)), PIXELS


def test_names_and_sizes_come_from_the_file(tmp_path: Path, bioio: type[FakeBioImage]) -> None:
    (image,) = BioioReader().read(write(tmp_path / "a b.czi", PIXELS))
    assert image.name == "a b"
    assert image.channels == ("DAPI", "CD3", "CD20")
    assert image.pixel_size == 0.5
    assert image.axes == "bioio: 3 channels; pixel size from bioio"
    assert image.files == (tmp_path / "a b.czi",)
    for unit, size in (("micrometer", 325), ("nanometer", 0.325), ("pixel", None)):
        path = write(tmp_path / "b.czi", PIXELS, size=(325, 325), unit=unit)
        expected = None if unit != "nanometer" else pytest.approx(size)
        assert BioioReader().read(path)[0].pixel_size == expected
    (image,) = BioioReader().read(write(tmp_path / "c.czi", PIXELS, size=(None, None)))
    assert image.pixel_size is None


def test_a_name_that_bioio_made_up_is_none(tmp_path: Path, bioio: type[FakeBioImage]) -> None:
    made_up = [f"Channel:0:{number}" for number in range(3)]
    path = write(tmp_path / "slide.czi", PIXELS, names=made_up)
    assert BioioReader().read(path)[0].channels == ("channel_1", "channel_2", "channel_3")
    assert BioioReader(names="a,b,c").read(path)[0].channels == ("a", "b", "c")
    with pytest.raises(ChannelError, match="2 channel names for 3 channels"):
        BioioReader(names="a,b").read(path)
    (tmp_path / "channelNames.txt").write_text("x\ny\nz\n")
    assert BioioReader().read(path)[0].channels == ("x", "y", "z")


def test_every_scene_is_an_image(tmp_path: Path, bioio: type[FakeBioImage]) -> None:
    path = write(tmp_path / "slide.czi", PIXELS, PIXELS[:, ::-1, :30], scenes=("left", "right 1"))
    images = BioioReader().read(path)
    assert [image.name for image in images] == ["slide_left", "slide_right 1"]
    # Whatever scene was opened last.
    assert np.array_equal(images[0].pixels[:], PIXELS)
    assert np.array_equal(images[1].pixels[:], PIXELS[:, ::-1, :30])
    (second,) = BioioReader(series=2).read(path)
    assert (second.name, second.shape) == ("slide", (41, 30))
    with pytest.raises(ImageError, match="is not among them"):
        BioioReader(series=3).read(path)


def test_of_several_planes_one_is_chosen(tmp_path: Path, bioio: type[FakeBioImage]) -> None:
    stack = np.stack([PIXELS, PIXELS[::-1], PIXELS // 2], axis=1)[np.newaxis]
    path = write(tmp_path / "stack.czi", stack, dims="TCZYX", chunks=(1, 1, 2, 41, 57))
    with pytest.raises(ImageError, match=r"it has 3 Z planes .*reader\.z=N"):
        BioioReader().read(path)
    assert np.array_equal(BioioReader(z=2).read(path)[0].read(0), PIXELS[2])
    highest = BioioReader(z="max").read(path)[0].pixels[:]
    assert np.array_equal(highest, stack[0].max(axis=1))
    path = write(tmp_path / "cycles.czi", np.stack([PIXELS, PIXELS // 2]), dims="TCYX")
    (image,) = BioioReader(t="all").read(path)
    assert image.channels == ("DAPI", "CD3", "CD20", "DAPI_2", "CD3_2", "CD20_2")
    assert np.array_equal(image.read(3), PIXELS[0] // 2)


def test_samples_of_a_pixel_are_colours(tmp_path: Path, bioio: type[FakeBioImage]) -> None:
    photo = np.moveaxis(PIXELS, 0, -1)[None, None, None].astype(np.uint8)
    path = write(tmp_path / "photo.czi", photo, dims="TCZYXS", names=["Channel:0:0"])
    (image,) = BioioReader().read(path)
    assert image.color
    assert image.channels == ("red", "green", "blue")
    assert np.array_equal(image.read(2), photo[0, 0, 0, :, :, 2])
    (named,) = BioioReader(names="a,b,c").read(path)
    assert (named.color, named.channels) == (False, ("a", "b", "c"))


def test_a_mosaic_in_pieces_is_refused(tmp_path: Path, bioio: type[FakeBioImage]) -> None:
    path = write(tmp_path / "mosaic.czi", np.stack([PIXELS, PIXELS]), dims="MCYX")
    with pytest.raises(ImageError, match=r"mosaic\.czi is a mosaic of 2 tiles, .*Stitch it"):
        BioioReader().read(path)


def test_a_piece_is_read_once_and_no_more_than_needed(
    tmp_path: Path, bioio: type[FakeBioImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DECODED, "limit", 2**20)
    path = write(tmp_path / "slide.czi", PIXELS, chunks=(1, 20, 30))
    (image,) = BioioReader().read(path)
    assert bioio.read == []
    for _ in "12":
        image.read(1, slice(5, 15), slice(10, 40))
        image.read(1, slice(8, 19), slice(31, 40))
    assert sorted(bioio.read) == [(1, 0, 0), (1, 0, 1)]
    assert len(bioio.opened) == 2


def test_files_beside_the_file_count(tmp_path: Path, bioio: type[FakeBioImage]) -> None:
    path = write(tmp_path / "slide.vsi", PIXELS)
    assert BioioReader().read(path)[0].files == (path,)
    (tmp_path / "_slide_").mkdir()
    assert BioioReader().read(path)[0].files == (path, tmp_path / "_slide_")


def test_a_damaged_file_is_told(
    tmp_path: Path, bioio: type[FakeBioImage], capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "slide.czi", PIXELS)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ImageError, match=r"slide\.czi cannot be read by bioio \(its plugin for"):
        BioioReader().read(path)
    (image,) = BioioReader().read(write(tmp_path / "piece.czi", PIXELS, breaks=True))
    with pytest.raises(ImageError, match=r"piece\.czi cannot .*OSError: a piece is damaged"):
        image.read(0)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "install"),
    [
        ("a.nd2", "pip install bioio-nd2$"),
        ("a.LIF", "pip install bioio-lif$"),
        ("a.ims", r"pip install bioio-bioformats \(it needs Java\)$"),
    ],
)
def test_the_plugin_that_is_missing_is_named(
    tmp_path: Path, bioio: type[FakeBioImage], name: str, install: str
) -> None:
    with pytest.raises(MissingPackageError, match=f"{name}: bioio has no plugin .*{install}"):
        BioioReader().read(write(tmp_path / name, PIXELS))


def test_files_of_microscopes_are_claimed(tmp_path: Path) -> None:
    plugins = load_plugins()
    names = ["slide.CZI", "b.nd2", "c.lif", "d.ims", "e.vsi", "f.mrxs", "g.dv", "h.oir"]
    for name in names:
        (tmp_path / name).touch()
    found = find_sources(tmp_path, plugins)
    assert [(one.path.name, one.reader) for one in found] == [(n, "bioio") for n in sorted(names)]


@pytest.mark.skipif(importlib.util.find_spec("bioio") is not None, reason="bioio is installed")
def test_without_bioio_the_other_images_are_done(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "slide.czi").write_bytes(b"ZISRAWFILE")
    tifffile.imwrite(tmp_path / "in" / "image.tif", PIXELS, photometric="minisblack")
    config = RunConfig(nuclear=("channel_1",), segmenter="watershed", write=("csv",))
    done = run_batch([tmp_path / "in"], tmp_path / "out", config)
    states = {outcome.name: outcome.state for outcome in done.outcomes}
    assert states == {"image": "done", str(tmp_path / "in" / "slide.czi"): "failed"}
    assert "Install it with: pip install bioio bioio-czi" in str(done.failed[0].error)


ome_tiff = pytest.mark.skipif(
    importlib.util.find_spec("bioio_ome_tiff") is None, reason="bioio-ome-tiff is missing"
)


def write_ome_tiff(path: Path, *scenes: np.ndarray) -> Path:
    with tifffile.TiffWriter(path, ome=True) as file:
        for number, pixels in enumerate(scenes):
            about = {
                "axes": "CYX", "Name": f"scene {number}", "Channel": {"Name": ["DAPI", "CD3", "a"]},
                "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm",
                "PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "µm",
            }  # fmt: skip
            file.write(pixels, photometric="minisblack", metadata=about)
    return path


@ome_tiff
@pytest.mark.filterwarnings("ignore")  # of a plugin: they would make bioio choose another one
class TestBioioItself(ReaderTests):
    def make(self) -> BioioReader:
        return BioioReader()

    def example(self, folder: Path):
        return write_ome_tiff(folder / "slide.ome.tiff", PIXELS), PIXELS

    def test_names_a_file_that_is_cut_short(self) -> None:
        pytest.skip("bioio-tifffile fills what is missing of a TIFF; cellseg reads TIFF by itself")


@ome_tiff
@pytest.mark.filterwarnings("ignore")
def test_bioio_itself_and_the_tiff_reader_see_the_same(tmp_path: Path) -> None:
    path = write_ome_tiff(tmp_path / "slide.ome.tiff", PIXELS, PIXELS[:, ::2])
    others = read_images(path)
    for image, other in zip(BioioReader().read(path), others, strict=True):
        assert (image.channels, image.pixel_size) == (other.channels, other.pixel_size)
        assert np.array_equal(image.pixels[:], other.pixels[:])
    assert len(others) == 2


@pytest.mark.skipif(importlib.util.find_spec("bioio_czi") is None, reason="bioio-czi is missing")
def test_a_czi_is_run(tmp_path: Path) -> None:
    from pylibCZIrw import czi

    y, x = np.mgrid[:120, :150] % 24 - 12
    plane = (200 + 800 * (np.hypot(y, x) < 6) + np.arange(150) % 7).astype(np.uint16)
    with czi.create_czi(str(tmp_path / "slide.czi")) as file:
        for number in (0, 1):
            file.write((plane // (1 + number))[..., None], plane={"C": number, "Z": 0, "T": 0})
        file.write_metadata(channel_names={0: "DAPI", 1: "CD3"}, scale_x=3e-7, scale_y=3e-7)
    (image,) = read_images(tmp_path / "slide.czi")
    assert (image.name, image.channels) == ("slide", ("DAPI", "CD3"))
    assert image.pixel_size == pytest.approx(0.3)
    assert np.array_equal(image.read(0), plane)
    config = RunConfig(nuclear=("DAPI",), segmenter="watershed", write=("csv",))
    done = run_batch([tmp_path / "slide.czi"], tmp_path / "out", config)
    assert done.cells > 10
