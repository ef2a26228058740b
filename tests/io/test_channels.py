"""A folder of single-channel TIFFs is one image whose channels have the names of the files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cellseg_core.errors import ChannelError, ImageError
from cellseg_core.image import Image
from cellseg_io.channels import ChannelFolderReader


def noise(*shape: int, dtype: str = "u2", seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


def read(path: Path) -> Image:
    (image,) = ChannelFolderReader().read(path)
    return image


def test_file_names_are_channel_names_in_natural_order(tmp_path: Path) -> None:
    folder = tmp_path / "ROI002" / "channels"
    folder.mkdir(parents=True)
    names = {"c10.tif": "c10", "C2.tiff": "C2", "DAPI.ome.tif": "DAPI", "a b-1.TIF": "a b-1"}
    for seed, name in enumerate(names):
        compression = "zlib" if seed % 2 else None
        tifffile.imwrite(folder / name, noise(40, 30, seed=seed), compression=compression)
    for other in ("notes.txt", ".hidden.tif", "._c10.tif", "Thumbs.db"):
        (folder / other).write_bytes(b"not an image")
    (folder / "sub.tif").mkdir()
    (folder / "channelNames.txt").write_text("this file has nothing to say here\n")
    image = read(folder)
    assert image.name == "ROI002"
    assert image.channels == ("a b-1", "C2", "c10", "DAPI")
    assert image.axes == "a folder of 4 single-channel TIFFs, named by their file names"
    for channel, seed in zip(range(4), (3, 1, 0, 2), strict=True):
        np.testing.assert_array_equal(
            image.read(channel, slice(5, 20), slice(3, 9)), noise(40, 30, seed=seed)[5:20, 3:9]
        )
    copy = pickle.loads(pickle.dumps(image.pixels))  # noqa: S301 - our own object
    np.testing.assert_array_equal(np.asarray(copy), np.asarray(image.pixels))


def test_types_may_differ_and_are_promoted(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(40, 30, dtype="u1"))
    tifffile.imwrite(tmp_path / "b.tif", noise(40, 30, dtype="f4"))
    image = read(tmp_path)
    assert image.dtype == np.float32
    assert "types float32, uint8 read as float32" in image.axes
    assert image.read(0).dtype == np.float32
    np.testing.assert_array_equal(image.read(0), noise(40, 30))


@pytest.mark.parametrize(
    ("sizes", "expected"), [((0.5, 0.5), 0.5), ((0.5, 0.7), None), ((0.5, None), 0.5)]
)
def test_the_pixel_size_is_used_where_the_files_agree(
    tmp_path: Path, sizes: tuple[float | None, ...], expected: float | None
) -> None:
    for name, size in zip("ab", sizes, strict=True):
        metadata = {"axes": "YX"} | ({} if size is None else {"PhysicalSizeX": size})
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", noise(40, 30), metadata=metadata)
    assert read(tmp_path).pixel_size == expected


def test_a_channel_of_another_size_is_named(tmp_path: Path) -> None:
    for name in "abc":
        tifffile.imwrite(tmp_path / f"{name}.tif", noise(40, 31 if name == "b" else 30))
    with pytest.raises(ImageError, match=r"most here are \(40, 30\).*but not: b\.tif \(40, 31\)"):
        read(tmp_path)


@pytest.mark.parametrize("shape", [(3, 40, 30), (40, 30, 3)])
def test_a_file_of_several_channels_is_named(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(40, 30))
    photometric = "rgb" if shape[-1] == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "b.tif", noise(*shape), photometric=photometric)
    with pytest.raises(ImageError, match=r"b\.tif holds more than one channel"):
        read(tmp_path)


def test_two_files_of_one_name_are_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "DAPI.tif", noise(40, 30))
    tifffile.imwrite(tmp_path / "DAPI.tiff", noise(40, 30))
    with pytest.raises(ChannelError, match=r"DAPI\.tif and DAPI\.tiff would both be"):
        read(tmp_path)


def test_a_damaged_channel_is_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(40, 30))
    (tmp_path / "b.tif").write_bytes(b"II*\0")
    with pytest.raises(ImageError, match=r"b\.tif"):
        read(tmp_path)


def test_a_path_without_tiffs_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="it is empty"):
        read(tmp_path)
    (tmp_path / "a.png").touch()
    with pytest.raises(ImageError, match=r"it holds: a\.png"):
        read(tmp_path)
    with pytest.raises(ImageError, match="is a file; a folder"):
        read(tmp_path / "a.png")
    with pytest.raises(ImageError, match="does not exist"):
        read(tmp_path / "no")


@pytest.mark.data
def test_real_imaging_mass_cytometry_is_read(data_dir: Path) -> None:
    image = read(data_dir / "imc_spleen" / "ROI002" / "channels")
    assert (image.name, len(image.channels), image.shape) == ("ROI002", 15, (501, 500))
    assert {"DNA1_Ir191", "DNA3_Ir193", "HistoneH3_Yb176"} < {*image.channels}
    path = data_dir / "imc_spleen" / "ROI002" / "channels" / "DNA1_Ir191.tiff"
    np.testing.assert_array_equal(image.read(image.index("DNA1_Ir191")), tifffile.imread(path))
