"""Smaller copies of the pixels that a file has."""

from __future__ import annotations

import pickle

import numpy as np
import tifffile

from cellseg_core import Image, read_image
from cellseg_io.ome_zarr.label_pyramid import write_label_pyramid

PLANES = np.arange(2 * 64 * 96, dtype=np.uint16).reshape(2, 64, 96)


def test_the_levels_of_a_pyramidal_tiff_are_read_channel_by_channel(tmp_path) -> None:
    path = tmp_path / "pyramid.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        options = {"tile": (16, 16), "compression": "zlib", "photometric": "minisblack"}
        tif.write(PLANES, subifds=2, metadata={"axes": "CYX"}, **options)
        tif.write(PLANES[:, ::2, ::2], subfiletype=1, **options)
        tif.write(PLANES[:, ::4, ::4], subfiletype=1, **options)
    image = read_image(path)
    assert [level.shape for level in image.levels] == [(2, 32, 48), (2, 16, 24)]
    assert np.array_equal(image.levels[1][1, 2:9, 3:20], PLANES[1, ::4, ::4][2:9, 3:20])
    assert np.array_equal(pickle.loads(pickle.dumps(image)).levels[0], PLANES[:, ::2, ::2])  # noqa: S301


def test_the_levels_of_an_ome_zarr_are_those_that_are_there(tmp_path) -> None:
    labels = np.arange(1100 * 700, dtype=np.int32).reshape(1100, 700)
    write_label_pyramid(tmp_path / "labels.ome.zarr", labels, "labels")
    image = read_image(tmp_path / "labels.ome.zarr")
    assert [level.shape for level in image.levels] == [(1, 550, 350), (1, 275, 175)]
    assert np.array_equal(image.levels[0][0, 5:9, :], labels[::2, ::2][5:9])
    (tmp_path / "labels.ome.zarr" / "1" / "zarr.json").unlink()
    assert [level.shape for level in read_image(tmp_path / "labels.ome.zarr").levels] == [
        (1, 275, 175)
    ]


def test_an_image_without_a_pyramid_has_no_levels(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "plain.tif", PLANES[0])
    assert read_image(tmp_path / "plain.tif").levels == ()
    assert Image(PLANES).levels == ()
