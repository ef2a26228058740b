"""Conformance classes: what every component must do, built-in or third-party.

Subclass the one for your kind in your own tests and say how your component is made; pytest then
collects its tests. No pytest plugin is needed::

    from cellseg_core.testing import SegmenterTests
    from my_package.segmenter import Mine

    class TestMine(SegmenterTests):
        def make(self):
            return Mine()

A test that fails says which rule is broken.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.component import KINDS
from cellseg_core.errors import ImageError
from cellseg_core.image import Image
from cellseg_core.measure import measure
from cellseg_core.metrics import pairwise_iou
from cellseg_core.normalize import Brightness
from cellseg_core.pipeline import Pipeline, Result
from cellseg_core.plugins import load_plugins
from cellseg_core.protocols import (
    AdaptiveSegmenter,
    Compensator,
    Expander,
    Labels,
    Reader,
    Segmentation,
    Segmenter,
    Writer,
)
from cellseg_core.scaled import ScaledImage

__all__ = [
    "CompensatorTests",
    "ExpanderTests",
    "PluginTests",
    "ReaderTests",
    "SegmenterTests",
    "WriterTests",
]

_DIAMETER = 12.0


def _tissue(height: int, width: int, **parameters: Any) -> Any:
    from cellseg_core.synthetic import simulate_tissue

    return simulate_tissue(
        (height, width), seed=3, nuclear_diameter=_DIAMETER, channels=("DAPI",), **parameters
    )


def _labels() -> Labels:
    """Return touching, enclosed, single-pixel and edge-touching objects, with ids in no order."""
    labels = np.zeros((40, 50), np.int32)
    labels[4:12, 4:12] = 9
    labels[4:12, 12:18] = 2
    labels[12:16, 8:14] = 7
    labels[25, 25] = 1
    labels[30:40, 40:50] = 4
    labels[20:24, 30:44] = 12
    labels[26:29, 31:43] = 3
    return labels


class SegmenterTests:
    """Rules for a :class:`~cellseg_core.protocols.Segmenter`.

    Attributes
    ----------
    finds_nuclei
        Whether it finds fluorescent nuclei at all, so that counts and seams can be tested.
    tile_agreement
        Fraction of objects that must be the same (IoU over 0.9) whether an image is segmented
        whole or in tiles.
    """

    finds_nuclei = True
    tile_agreement = 0.99

    def make(self) -> Segmenter:
        """Return the segmenter under test, with the options it is tested with."""
        raise NotImplementedError("say in make() how your segmenter is made")

    def _adapted(self, tile: NDArray[np.float32]) -> Segmenter:
        segmenter = self.make()
        if isinstance(segmenter, AdaptiveSegmenter):
            return segmenter.adapt(tile, segmenter.native_diameter or _DIAMETER)
        return segmenter

    def _nuclei(self, height: int = 96, width: int = 128) -> NDArray[np.float32]:
        image = _tissue(height, width, density=0.2).image
        return ScaledImage(image, (0,), (), Brightness.of(image, (0,))).read()

    def test_follows_the_protocol(self) -> None:
        segmenter = self.make()
        assert isinstance(segmenter, Segmenter), "native_diameter, halo or segment() is missing"

    def test_declares_a_native_diameter_and_a_halo(self) -> None:
        segmenter = self._adapted(self._nuclei())
        native = segmenter.native_diameter
        assert native is None or 0 < native < 1000, f"native_diameter {native} makes no sense"
        assert int(segmenter.halo) >= 0, "a halo is not negative"

    def test_returns_labels_of_the_tile_s_size(self) -> None:
        for height, width in ((1, 1), (1, 40), (37, 53), (128, 96)):
            tile = self._nuclei(128, 128)[:, :height, :width]
            found = self._adapted(tile).segment(tile)
            assert isinstance(found, Segmentation), "segment() returns a Segmentation"
            assert found.labels.shape == (height, width), "labels must have the tile's size"
            assert found.labels.dtype.kind in "iu", "labels are integers"
            assert found.labels.min() >= 0, "labels are not negative"

    def test_gives_a_score_in_0_to_1_for_every_label_or_none_at_all(self) -> None:
        tile = self._nuclei()
        found = self._adapted(tile).segment(tile)
        if found.scores is None:
            return
        present = np.unique(found.labels[found.labels > 0])
        assert len(found.scores) >= present.max(initial=0), "each label needs a score"
        scores = np.asarray(found.scores)[present - 1]
        assert ((scores >= 0) & (scores <= 1)).all(), "scores lie in [0, 1]"

    def test_finds_nothing_in_a_black_tile(self) -> None:
        tile = np.zeros((1, 64, 64), np.float32)
        assert not self._adapted(tile).segment(tile).labels.any(), "a black tile has no nucleus"

    def test_leaves_the_tile_as_it_is(self) -> None:
        tile = self._nuclei()
        before = tile.copy()
        segmenter = self._adapted(tile)
        tile.flags.writeable = False
        segmenter.segment(tile)
        assert np.array_equal(tile, before), "segment() changed its input"

    def test_gives_the_same_labels_for_the_same_tile(self) -> None:
        tile = self._nuclei()
        segmenter = self._adapted(tile)
        one, other = segmenter.segment(tile).labels, segmenter.segment(tile).labels
        assert np.array_equal(one, other), "two calls gave two results"

    def test_can_be_sent_to_another_process(self) -> None:
        tile = self._nuclei()
        segmenter = self._adapted(tile)
        copy = pickle.loads(pickle.dumps(segmenter))  # noqa: S301 - made here
        assert np.array_equal(copy.segment(tile).labels, segmenter.segment(tile).labels)

    def test_finds_about_as_many_nuclei_as_there_are(self) -> None:
        if not self.finds_nuclei:
            return
        tissue = _tissue(256, 256, density=0.2)
        pipeline = Pipeline(segmenter=self.make(), nuclear_diameter=_DIAMETER, tile=4096)
        found, there = len(pipeline.run(tissue.image).table), int(tissue.nuclei.max())
        assert 0.6 * there <= found <= 1.5 * there, f"{found} nuclei found of {there}"

    def test_finds_the_same_nuclei_in_tiles_as_in_the_whole(self) -> None:
        if not self.finds_nuclei:
            return
        image = _tissue(430, 370, density=0.25).image
        whole, tiled = (
            Pipeline(segmenter=self.make(), nuclear_diameter=_DIAMETER, tile=tile).run(image)
            for tile in (4096, 128)
        )
        _, _, iou = pairwise_iou(whole.nuclei, tiled.nuclei)
        objects = max(len(whole.table), len(tiled.table))
        same = np.count_nonzero(iou > 0.9) / objects
        assert same >= self.tile_agreement, (
            f"only {same:.2%} of {objects} nuclei are the same in tiles of 128 px as in the "
            "whole: is the halo large enough for all that a pixel's label depends on?"
        )


class ExpanderTests:
    """Rules for an :class:`~cellseg_core.protocols.Expander`."""

    def make(self, distance: float) -> Expander:
        """Return the expander under test for a distance in px."""
        raise NotImplementedError("say in make() how your expander is made")

    def test_follows_the_protocol(self) -> None:
        assert isinstance(self.make(1), Expander), "expand() is missing"

    def test_keeps_every_pixel_of_every_nucleus(self) -> None:
        labels = _labels()
        for distance in (0, 1, 2, 7, 200):
            cells = self.make(distance).expand(labels.copy())
            assert cells.shape == labels.shape, "the label image changed its size"
            inside = labels > 0
            assert np.array_equal(cells[inside], labels[inside]), "a nucleus lost pixels"
            assert set(np.unique(cells)) <= set(np.unique(labels)), "an id came from nowhere"

    def test_does_not_grow_by_0_px(self) -> None:
        assert np.array_equal(self.make(0).expand(_labels()), _labels())

    def test_grows_no_further_than_the_distance(self) -> None:
        from scipy.ndimage import distance_transform_edt

        labels = _labels()
        away = distance_transform_edt(labels == 0)
        for distance in (1, 2, 7):
            cells = self.make(distance).expand(labels)
            assert away[cells > 0].max() <= distance, f"grew by more than {distance} px"
            assert (cells[away == 1] > 0).all(), "did not grow into the pixels beside nuclei"

    def test_does_not_depend_on_the_numbering(self) -> None:
        labels = _labels()
        other = np.zeros(labels.max() + 1, np.int32)
        ids = np.unique(labels[labels > 0])
        other[ids] = np.random.default_rng(0).permutation(100)[: ids.size] + 1
        for distance in (1, 3):
            one = other[self.make(distance).expand(labels)]
            assert np.array_equal(one, self.make(distance).expand(other[labels])), (
                "another numbering of the nuclei gave other cells"
            )

    def test_takes_an_image_without_nuclei(self) -> None:
        empty = np.zeros((5, 7), np.int32)
        assert np.array_equal(self.make(2).expand(empty), empty)


class CompensatorTests:
    """Rules for a :class:`~cellseg_core.protocols.Compensator`."""

    def make(self) -> Compensator:
        """Return the compensator under test."""
        raise NotImplementedError("say in make() how your compensator is made")

    def _case(self) -> tuple[Labels, NDArray[np.float64]]:
        labels = np.searchsorted(np.unique(_labels()), _labels()).astype(np.int32)
        return labels, np.random.default_rng(1).gamma(2, 100, (int(labels.max()), 4))

    def test_follows_the_protocol(self) -> None:
        assert isinstance(self.make(), Compensator), "compensate() is missing"

    def test_returns_means_that_are_not_negative(self) -> None:
        labels, means = self._case()
        means[0] = 0
        result = self.make().compensate(labels, means.copy())
        assert result.shape == means.shape, "the means changed their shape"
        assert (result >= 0).all(), "a mean became negative"

    def test_leaves_cells_without_neighbours_alone(self) -> None:
        labels = np.zeros((9, 9), np.int32)
        labels[1:3, 1:3], labels[5:8, 5:8] = 1, 2
        means = np.array([[3.0, 0.0], [5.0, 7.0]])
        assert np.allclose(self.make().compensate(labels, means), means, rtol=1e-12)

    def test_treats_channels_one_by_one(self) -> None:
        labels, means = self._case()
        together = self.make().compensate(labels, means)
        apart = self.make().compensate(labels, means[:, ::-1])[:, ::-1]
        assert np.allclose(together, apart, rtol=1e-9), "the order of channels made a difference"

    def test_does_not_depend_on_the_numbering(self) -> None:
        labels, means = self._case()
        order = np.random.default_rng(2).permutation(len(means))
        renumber = np.concatenate([[0], order + 1]).astype(np.int32)
        shuffled = np.empty_like(means)
        shuffled[order] = means
        one = self.make().compensate(labels, means)
        other = self.make().compensate(renumber[labels], shuffled)[order]
        assert np.allclose(one, other, rtol=1e-9), "another numbering gave other means"

    def test_takes_an_image_without_cells(self) -> None:
        result = self.make().compensate(np.zeros((4, 4), np.int32), np.zeros((0, 3)))
        assert result.shape == (0, 3)


class WriterTests:
    """Rules for a :class:`~cellseg_core.protocols.Writer`."""

    def make(self) -> Writer:
        """Return the writer under test."""
        raise NotImplementedError("say in make() how your writer is made")

    def result(self, *, empty: bool = False, channels: Sequence[str] = ("DAPI", "CD3")) -> Result:
        """Return a small result to write."""
        pixels = np.random.default_rng(5).integers(0, 60_000, (len(channels), 40, 50))
        image = Image(pixels.astype(np.uint16), channels=channels, pixel_size=0.5, name="small")
        labels = np.zeros_like(_labels()) if empty else _labels()
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


class PluginTests:
    """Rules for a package with plugins, by the name of its distribution.

    Attributes
    ----------
    distribution
        Name of the installed package, as in its pyproject.toml.
    light
        Packages that finding its components must not import.
    """

    distribution = ""
    light = ("tensorflow", "keras", "torch", "skimage", "scipy", "pandas", "tifffile")

    def _entries(self) -> list[Any]:
        found = entry_points(group="cellseg")
        return [e for e in found if e.dist is not None and e.dist.name == self.distribution]

    def test_is_found(self) -> None:
        assert self._entries(), (
            f"{self.distribution!r} has no entry point in the group 'cellseg'. Is it installed?"
        )

    def test_loads_without_a_problem(self) -> None:
        problems = load_plugins(self._entries()).problems
        assert not problems, "; ".join(f"{p.name}: {p.reason}" for p in problems)

    def test_describes_every_component(self) -> None:
        for entry in load_plugins(self._entries()).components:
            assert entry.kind in KINDS
            assert entry.component.description, f"{entry.kind} {entry.name} has no description"

    def test_says_how_to_install_what_a_component_needs(self) -> None:
        for entry in load_plugins(self._entries()).components:
            component = entry.component
            assert not component.requires or component.install, (
                f"{entry.kind} {entry.name} requires {component.requires}: give `install`, the "
                "command that brings them"
            )

    def test_clashes_with_no_other_package(self) -> None:
        everything = load_plugins()
        for entry in load_plugins(self._entries()).components:
            everything.find(entry.kind, entry.name)

    def test_builds_components_that_follow_their_protocols(self) -> None:
        protocols = {
            "segmenter": Segmenter,
            "expander": Expander,
            "compensator": Compensator,
            "reader": Reader,
            "writer": Writer,
        }
        plugins = load_plugins(self._entries())
        for entry in plugins.components:
            if entry.missing() is not None:
                assert entry.component.requires, f"{entry.kind} {entry.name} {entry.missing()}"
                continue
            options = {"distance": 1} if entry.kind == "expander" else {}
            built = plugins.build(entry.kind, entry.name, options)
            assert isinstance(built, protocols[entry.kind]), (
                f"{entry.kind} {entry.name} lacks a method of its protocol"
            )

    def test_imports_nothing_heavy_to_be_found(self) -> None:
        code = (
            "import sys; from cellseg_core.plugins import load_plugins; load_plugins(); "
            f"print(*sorted(set({self.light!r}) & set(sys.modules)))"
        )
        done = subprocess.run(  # noqa: S603 - this Python, with code from here
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert not done.stdout.strip(), f"finding the components imports {done.stdout.strip()}"
