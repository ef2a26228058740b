"""The built-in readers and packages pass the tests that third parties run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from cellseg_core.plugins import load_plugins
from cellseg_core.testing import PluginTests, ReaderTests
from cellseg_io.channels import ChannelFolderReader
from cellseg_io.codex import CodexReader
from cellseg_io.picture import PictureReader
from cellseg_io.tiff import TiffReader

PIXELS = np.random.default_rng(0).integers(0, 65_536, (3, 41, 57)).astype(np.uint16)


class TestPlainTiff(ReaderTests):
    def make(self) -> TiffReader:
        return TiffReader()

    def example(self, folder: Path):
        tifffile.imwrite(folder / "plain.tif", PIXELS, photometric="minisblack")
        return folder / "plain.tif", PIXELS


class TestCompressedOmeTiff(TestPlainTiff):
    def example(self, folder: Path):
        path = folder / "tiled.ome.tif"
        tifffile.imwrite(path, PIXELS, ome=True, tile=(16, 16), compression="zlib",
                         photometric="minisblack", metadata={"axes": "CYX"})  # fmt: skip
        return path, PIXELS


class TestPicture(ReaderTests):
    def make(self) -> PictureReader:
        return PictureReader()

    def example(self, folder: Path):
        pixels = (PIXELS >> 8).astype(np.uint8)
        Picture.fromarray(np.moveaxis(pixels, 0, -1)).save(folder / "colour.png")
        return folder / "colour.png", pixels


class TestChannelFolder(ReaderTests):
    def make(self) -> ChannelFolderReader:
        return ChannelFolderReader()

    def example(self, folder: Path):
        for name, plane in zip("abc", PIXELS, strict=True):
            tifffile.imwrite(folder / f"{name}.tif", plane)
        return folder, PIXELS


class TestCodexTile(ReaderTests):
    def make(self) -> CodexReader:
        return CodexReader()

    def example(self, folder: Path):
        path = folder / "reg001_X01_Y02_Z03.tif"
        tifffile.imwrite(path, PIXELS, photometric="minisblack")
        (folder / "channelNames.txt").write_text("a\nb\nc\n")
        return path, PIXELS


class TestCodexMosaic(ReaderTests):
    def make(self) -> CodexReader:
        return CodexReader(assemble=True, overlap=11)

    def example(self, folder: Path):
        for col, columns in ((1, slice(0, 34)), (2, slice(23, 57))):
            path = folder / f"reg001_X0{col}_Y01.tif"
            tifffile.imwrite(path, PIXELS[:, :, columns], photometric="minisblack")
        return folder, PIXELS


class TestOurPlugins(PluginTests):
    distribution = "cellseg-core"


@pytest.mark.parametrize("kind", ["reader", "writer", "segmenter", "expander", "compensator"])
def test_every_kind_has_a_built_in(kind) -> None:
    assert load_plugins().of_kind(kind)
