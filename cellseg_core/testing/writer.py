"""The rules that every writer follows."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cellseg_core.image import Image
from cellseg_core.measure import measure
from cellseg_core.normalize import Brightness
from cellseg_core.protocols import Writer
from cellseg_core.result import Result
from cellseg_core.scaled import ScaledImage
from cellseg_core.testing.samples import sample_labels

__all__ = ["WriterTests"]


class WriterTests:
    """Rules for a :class:`~cellseg_core.protocols.Writer`."""

    def make(self) -> Writer:
        """Return the writer under test."""
        raise NotImplementedError("say in make() how your writer is made")

    def result(self, *, empty: bool = False, channels: Sequence[str] = ("DAPI", "CD3")) -> Result:
        """Return a small result to write."""
        pixels = np.random.default_rng(5).integers(0, 60_000, (len(channels), 40, 50))
        image = Image(pixels.astype(np.uint16), channels=channels, pixel_size=0.5, name="small")
        labels = np.zeros_like(sample_labels()) if empty else sample_labels()
        return Result(
            image=image,
            nuclei=labels,
            cells=labels,
            table=measure(image, labels),
            scaled=ScaledImage(image, (0,), (), Brightness.of(image, (0,))),
            nuclear_diameter=8.0,
            facts={},
            warnings=(),
        )

    def _written(self, result: Result) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            paths = list(self.make().write(result, folder))
            for path in paths:
                assert Path(path).resolve().is_relative_to(folder.resolve()), (
                    f"{path} lies outside the folder"
                )
                assert Path(path).is_file(), f"{path} was returned but not written"
            there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
            told = {Path(p).resolve().relative_to(folder.resolve()).as_posix() for p in paths}
            assert there == told, f"written {sorted(there)}, returned {sorted(told)}"
            return {name: (folder / name).read_bytes() for name in there}

    def test_follows_the_protocol(self) -> None:
        assert isinstance(self.make(), Writer), "write() is missing"

    def test_writes_into_the_folder_and_says_what(self) -> None:
        files = self._written(self.result())
        assert files, "nothing was written"
        assert all(files.values()), "an empty file was written"

    def test_takes_an_image_without_cells(self) -> None:
        self._written(self.result(empty=True))

    def test_writes_the_same_bytes_for_the_same_result(self) -> None:
        assert self._written(self.result()) == self._written(self.result())

    def test_takes_names_that_are_hard_to_write(self) -> None:
        import warnings

        names = (
            "a/b\\c",
            "=cmd|' /C calc'!A0",
            'quo"te, and comma',
            "µ β ☃",
            "{brace}",
            "<b>x</b>",
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self._written(self.result(channels=names))
