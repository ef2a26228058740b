"""The rules that every reader follows."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_core.image import Image
from cellseg_core.protocols import Reader

__all__ = ["ReaderTests"]


class ReaderTests:
    """Rules for a :class:`~cellseg_core.protocols.Reader`."""

    def make(self) -> Reader:
        """Return the reader under test."""
        raise NotImplementedError("say in make() how your reader is made")

    def example(self, folder: Path) -> tuple[Path, NDArray[Any]]:
        """Write an image in the format into ``folder``; return its path and pixels (C, Y, X)."""
        raise NotImplementedError("say in example() how a file of the format is written")

    @contextmanager
    def _example(self) -> Iterator[tuple[Path, NDArray[Any]]]:
        with tempfile.TemporaryDirectory() as name:
            yield self.example(Path(name))

    def test_follows_the_protocol(self) -> None:
        assert isinstance(self.make(), Reader), "read() is missing"

    def test_reads_the_pixels_as_they_are(self) -> None:
        with self._example() as (path, pixels):
            (image,) = self.make().read(path)
            assert isinstance(image, Image), "read() returns Images"
            assert image.pixels.shape == pixels.shape, "the shape is (C, Y, X)"
            assert image.dtype == pixels.dtype, "the type is that of the file"
            for number, plane in enumerate(pixels):
                assert np.array_equal(image.read(number), plane), f"channel {number} differs"

    def test_reads_windows(self) -> None:
        with self._example() as (path, pixels):
            (image,) = self.make().read(path)
            _, height, width = pixels.shape
            rows, columns = slice(height // 3, height), slice(0, max(1, width // 2))
            for number, plane in enumerate(pixels):
                assert np.array_equal(image.read(number, rows, columns), plane[rows, columns])

    def test_says_how_axes_were_understood(self) -> None:
        with self._example() as (path, _):
            (image,) = self.make().read(path)
            assert image.axes, "Image.axes explains the axes"
            assert str(path.name) in str(image.source), "Image.source names the file"

    def test_can_be_sent_to_another_process(self) -> None:
        with self._example() as (path, pixels):
            (image,) = self.make().read(path)
            copy = pickle.loads(pickle.dumps(image))  # noqa: S301 - made here
            assert np.array_equal(copy.read(0), pixels[0])

    def test_names_a_file_that_is_missing(self) -> None:
        with self._example() as (path, _):
            self._refuses(path.with_name(f"missing-{path.name}"))

    def test_names_a_file_that_is_empty_or_garbage(self) -> None:
        with self._example() as (path, _):
            if path.is_dir():
                return
            for content in (b"", b"this is not an image" * 50):
                path.write_bytes(content)
                self._refuses(path)

    def test_names_a_file_that_is_cut_short(self) -> None:
        with self._example() as (path, _):
            if path.is_dir():
                return
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
            self._refuses(path)

    def _refuses(self, path: Path) -> None:
        message = ""
        try:
            for image in self.make().read(path):
                for number in range(len(image.channels)):
                    image.read(number)
        except ImageError as error:
            message = str(error)
        assert message, f"{path.name} should have been refused with an ImageError"
        assert path.name in message, f"the message does not name the file: {message}"
