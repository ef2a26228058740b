"""Small valid inputs of every kind that cellseg reads, as the files that are then damaged."""

from __future__ import annotations

import functools
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image as Picture

from cellseg_backends.maskrcnn.weights import save_weights
from cellseg_core.cli.init import default_toml
from cellseg_core.plugins import load_plugins
from cellseg_core.synthetic import simulate_tissue

__all__ = ["KINDS", "Seed", "seeds_of"]

UUID = "urn:uuid:00000000-0000-0000-0000-000000000000"
CHANNELS = ("DAPI", "CD3", "CD20")
COMPANION = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:set">
<Image ID="Image:0" Name="set"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16"
 SizeX="56" SizeY="48" SizeC="2" SizeZ="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5">
<Channel ID="Channel:0:0" Name="DAPI" SamplesPerPixel="1"/>
<Channel ID="Channel:0:1" Name="CD3" SamplesPerPixel="1"/>
<TiffData FirstC="0" IFD="0" PlaneCount="1"><UUID FileName="a.ome.tif">urn:uuid:a</UUID></TiffData>
<TiffData FirstC="1" IFD="0" PlaneCount="1"><UUID FileName="b.ome.tif">urn:uuid:b</UUID></TiffData>
</Pixels></Image></OME>"""
PART = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">
<BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:set"/></OME>"""
BIOMARKER = (
    '<?xml version="1.0" encoding="utf-16"?><PerkinElmer-QPI-ImageDescription>'
    "<Identifier>x</Identifier><ImageType>FullResolution</ImageType><Biomarker>{}</Biomarker>"
    "</PerkinElmer-QPI-ImageDescription>"
)
GATES = """[thresholds]
CD3 = 12.5
CD20 = "auto"
[gates]
"T cells" = "CD3+ CD20-"
"other" = ["CD3-", ["CD20+", "DAPI+"]]
"""
SETTINGS = """nuclear = ["DAPI"]
segmenter = "watershed"
expand = "1um"
pixel-size = 0.5
min-size = 20
brightness = 1.5
features = ["shape", "median"]
write = ["csv", "labels"]
[set.segmenter]
threshold = 0.3
[set."csv"]
style = "cellseg"
"""


@attrs.frozen
class Seed:
    """A valid input.

    Attributes
    ----------
    name
        Tells it from the others of its kind.
    files
        Contents by path, relative to the folder that they are written into.
    opened
        Which of them, or which folder, is given to cellseg.
    layout
        How a folder is read.
    nuclear
        The channel that a run is given as the nuclear one; empty where none need be given.
    """

    name: str
    files: dict[str, bytes]
    opened: str
    layout: str = "auto"
    nuclear: str = "DAPI"


@functools.cache
def _tissue() -> NDArray[np.uint16]:
    made = simulate_tissue((48, 56), seed=1, nuclear_diameter=10, channels=CHANNELS)
    return np.asarray(made.image.pixels).astype(np.uint16)


@functools.cache
def _labels() -> NDArray[np.uint16]:
    made = simulate_tissue((48, 56), seed=1, nuclear_diameter=10, channels=CHANNELS)
    return np.asarray(made.nuclei).astype(np.uint16)


def _tiff(pixels: Any, **options: Any) -> bytes:
    held = io.BytesIO()
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(held, pixels, **options)
    return held.getvalue()


def _pyramid(pixels: Any, **options: Any) -> bytes:
    held = io.BytesIO()
    with tifffile.TiffWriter(held, **options) as tif:
        named = {"axes": "CYX", "UUID": UUID} if options else None
        common: dict[str, Any] = {
            "tile": (32, 32), "compression": "zlib", "photometric": "minisblack",
        }  # fmt: skip
        tif.write(pixels, subifds=1, metadata=named, **common)
        tif.write(pixels[:, ::2, ::2], subfiletype=1, metadata=None, **common)
    return held.getvalue()


def _made(build: Callable[[Path], object]) -> dict[str, bytes]:
    """Return the files that ``build`` writes into a folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


def _tiffs() -> Iterator[Seed]:
    pixels, planes = _tissue(), {"metadata": {"axes": "CYX"}}
    kinds = {
        "plain": _tiff(pixels, **planes),
        "strips": _tiff(pixels, compression="zlib", predictor=True, rowsperstrip=13, **planes),
        "tiles": _tiff(pixels, compression="lzw", tile=(16, 32), byteorder=">", **planes),
        "big": _tiff(pixels, bigtiff=True, compression="zstd", rowsperstrip=16, metadata=None),
        "jpeg": _tiff(np.moveaxis(pixels, 0, -1).astype(np.uint8), compression="jpeg",
                      photometric="rgb", tile=(32, 32)),
        "packbits": _tiff((pixels[0] >> 4).astype(np.uint8), compression="packbits"),
        "floats": _tiff(pixels.astype(np.float32), compression="zlib", predictor=3, **planes),
        "pyramid": _pyramid(pixels),
    }  # fmt: skip
    for name, content in kinds.items():
        nuclear = "" if name in ("jpeg", "packbits") else "channel_1"
        yield Seed(name, {f"{name}.tif": content}, f"{name}.tif", nuclear=nuclear)


def _ome_tiffs() -> Iterator[Seed]:
    pixels = _tissue()
    metadata = {
        "axes": "CYX", "Channel": {"Name": list(CHANNELS)}, "UUID": UUID,
        "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "um",
        "PhysicalSizeY": 500, "PhysicalSizeYUnit": "nm",
    }  # fmt: skip
    plain = _tiff(pixels, ome=True, compression="zlib", metadata=metadata)
    yield Seed("ome", {"ome.ome.tif": plain}, "ome.ome.tif")
    pyramid = {"pyramid.ome.tif": _pyramid(pixels, ome=True)}
    yield Seed("pyramid", pyramid, "pyramid.ome.tif", nuclear="channel_1")
    parts = {
        f"{name}.ome.tif": _tiff(plane, description=PART.format(own=name), metadata=None)
        for name, plane in zip("ab", pixels, strict=False)
    }
    whole = {"set.companion.ome": COMPANION.encode(), **parts}
    yield Seed("companion", whole, "set.companion.ome")


def _qptiffs() -> Iterator[Seed]:
    held = io.BytesIO()
    with tifffile.TiffWriter(held) as tif:
        for step, name in ((1, ""), (2, "")):
            for channel, plane in zip(CHANNELS, _tissue(), strict=True):
                tif.write(
                    plane[::step, ::step],
                    description=BIOMARKER.format(channel),
                    software="PerkinElmer-QPI" + name,
                    tile=(16, 16),
                    compression="lzw",
                    subfiletype=step - 1,
                    metadata=None,
                )
    yield Seed("qptiff", {"scan.qptiff": held.getvalue()}, "scan.qptiff")


def _imagej() -> Iterator[Seed]:
    metadata = {"axes": "CYX", "Labels": list(CHANNELS), "unit": "um"}
    for name, pixels in (("stack", _tissue()), ("hyperstack", _tissue()[None, None])):
        axes = "CYX" if pixels.ndim == 3 else "TZCYX"
        content = _tiff(pixels, imagej=True, resolution=(2, 2), metadata={**metadata, "axes": axes})
        yield Seed(name, {f"{name}.tif": content}, f"{name}.tif")


def _zarrs(version: str) -> Iterator[Seed]:
    def build(folder: Path) -> None:
        form = 3 if version == "0.5" else 2
        group = zarr.open_group(folder / "image.zarr", mode="w", zarr_format=form)
        datasets = []
        for level in (0, 1):
            made = np.ascontiguousarray(_tissue()[:, :: 1 + level, :: 1 + level])
            group.create_array(str(level), data=made, chunks=(1, 32, 32))
            scale = [{"type": "scale", "scale": [1.0, 0.5 * (1 + level), 0.5 * (1 + level)]}]
            datasets.append({"path": str(level), "coordinateTransformations": scale})
        axes = [{"name": "c", "type": "channel"}]
        axes += [{"name": a, "type": "space", "unit": "micrometer"} for a in "yx"]
        metadata: dict[str, Any] = {
            "multiscales": [{"axes": axes, "datasets": datasets, "version": version}],
            "omero": {"channels": [{"label": name} for name in CHANNELS]},
        }
        group.attrs.update(metadata if form == 2 else {"ome": {**metadata, "version": version}})

    def plate(folder: Path) -> None:
        build(folder)
        form = 3 if version == "0.5" else 2
        (folder / "image.zarr").rename(folder / "field")
        group = zarr.open_group(folder / "image.zarr", mode="w", zarr_format=form)
        facts: dict[str, Any] = {"plate": {"wells": [{"path": "A/1"}]}}
        group.attrs.update(facts if form == 2 else {"ome": facts})
        well = group.create_group("A/1")
        facts = {"well": {"images": [{"path": "0"}]}}
        well.attrs.update(facts if form == 2 else {"ome": facts})
        (folder / "field").rename(folder / "image.zarr" / "A" / "1" / "0")

    yield Seed("image", _made(build), "image.zarr")
    yield Seed("plate", _made(plate), "image.zarr")


def _pictures(ending: str) -> Iterator[Seed]:
    gray = _tissue()[0]
    color = np.moveaxis(_tissue(), 0, -1).astype(np.uint8)
    forms: dict[str, Any] = {"color": color, "gray": gray.astype(np.uint8)}
    if ending == "png":
        forms["deep"] = gray
        forms["palette"] = Picture.fromarray(color).quantize(16)
    for name, pixels in forms.items():
        held = io.BytesIO()
        picture = pixels if isinstance(pixels, Picture.Image) else Picture.fromarray(pixels)
        picture.save(held, {"png": "PNG", "jpg": "JPEG"}[ending])
        file = f"{name}.{ending}"
        yield Seed(name, {file: held.getvalue()}, file, nuclear="")


def _channel_files() -> Iterator[Seed]:
    image = {"image.tif": _tiff(_tissue(), metadata={"axes": "CYX"})}
    lines = "\n".join(CHANNELS).encode()
    table = b"number,name,cycle\n1,DAPI,1\n2,CD3,1\n3,CD20,2\n"
    yield Seed("beside", {**image, "channelNames.txt": lines}, "image.tif")
    yield Seed("table", {**image, "names.csv": table}, "image.tif")
    folder = {f"folder/{n}.tif": _tiff(p) for n, p in zip(CHANNELS, _tissue(), strict=True)}
    yield Seed("folder", folder, "folder", "channels")


def _codex() -> Iterator[Seed]:
    pixels = _tissue()
    tiles = {
        f"tiles/reg001_X0{x + 1}_Y0{y + 1}.tif": _tiff(
            pixels[:, 20 * y : 20 * y + 28, 20 * x : 20 * x + 36], metadata={"axes": "CYX"}
        )
        for y in (0, 1)
        for x in (0, 1)
    }
    tiles["tiles/channelNames.txt"] = "\n".join(CHANNELS).encode()
    raw = {
        f"raw/Cyc{cycle}_reg1/1_00001_Z001_CH{channel}.tif": _tiff(pixels[channel])
        for cycle in (1, 2)
        for channel in (1, 2)
    }
    raw["raw/channelNames.txt"] = b"DAPI\nCD3\nblank\nCD20\n"
    yield Seed("tiles", tiles, "tiles", "codex")
    yield Seed("mosaic", tiles, "tiles", "mosaic")
    yield Seed("raw", raw, "raw", "codex")


def _settings() -> Iterator[Seed]:
    yield Seed("settings", {"settings.toml": SETTINGS.encode()}, "settings.toml")
    yield Seed("all", {"settings.toml": default_toml(load_plugins()).encode()}, "settings.toml")
    yield Seed("gates", {"gates.toml": GATES.encode()}, "gates.toml")


def _label_files() -> Iterator[Seed]:
    labels = _labels()
    yield Seed("tiff", {"a.tif": _tiff(labels, compression="zlib")}, "a.tif")
    yield Seed("floats", {"a.tif": _tiff(labels.astype(np.float32))}, "a.tif")
    held = io.BytesIO()
    Picture.fromarray(labels).save(held, "PNG")
    yield Seed("png", {"a.png": held.getvalue()}, "a.png")
    held = io.BytesIO()
    np.save(held, labels)
    yield Seed("npy", {"a.npy": held.getvalue()}, "a.npy")

    def build(folder: Path) -> None:
        zarr.create_array(folder / "a.zarr", data=labels, chunks=(32, 32))

    yield Seed("zarr", _made(build), "a.zarr")


def _weights() -> Iterator[Seed]:
    arrays = {"conv/kernel": np.ones((3, 3, 2), np.float32), "conv/bias": np.zeros(2, np.float32)}

    def build(folder: Path) -> None:
        facts = {"preset": "light", "diameter": 20.0, "score": 0.5, "training": {"seed": 1}}
        save_weights(folder / "model", arrays, **facts)

    yield Seed("weights", _made(build), "model")


KINDS: dict[str, Callable[[], Iterator[Seed]]] = {
    "tiff": _tiffs,
    "ome-tiff": _ome_tiffs,
    "qptiff": _qptiffs,
    "imagej": _imagej,
    "ome-zarr-0.4": functools.partial(_zarrs, "0.4"),
    "ome-zarr-0.5": functools.partial(_zarrs, "0.5"),
    "png": functools.partial(_pictures, "png"),
    "jpg": functools.partial(_pictures, "jpg"),
    "channels": _channel_files,
    "codex": _codex,
    "toml": _settings,
    "labels": _label_files,
    "weights": _weights,
}


@functools.cache
def seeds_of(kind: str) -> tuple[Seed, ...]:
    """Return the valid inputs of a kind, the same in every process."""
    return tuple(KINDS[kind]())
