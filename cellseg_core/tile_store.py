"""Segmented tiles on disk: an interrupted run goes on with the tile where it stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

import attrs
import numpy as np

from cellseg_core.errors import OutputError
from cellseg_core.protocols import Labels
from cellseg_core.stitching import TileObjects
from cellseg_core.store import TEMPORARY, atomic_binary_file, atomic_write, output_error
from cellseg_core.tiling import Tile

__all__ = ["StoredLabels", "TileFiles", "TileStore"]

_LABELS = "labels.zst"
_UNPACKED = 24  # label images of tiles that are kept in memory: those of two windows


class TileStore:
    """The tiles of one image in a folder, a file for each.

    Parameters
    ----------
    folder
        It is made if need be.
    plan
        What decides over the tiles. What was made under another plan is removed.

    Raises
    ------
    OutputError
        If the folder cannot be made or written to, or holds something else.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder = folder
        self._unpacked = lru_cache(maxsize=_UNPACKED)(_read_labels)
        content = json.dumps(plan, sort_keys=True, default=str).encode()
        written = folder / "plan.json"
        self._there: set[str] = set()
        try:
            if written.is_file():
                if written.read_bytes() == content:
                    self._there = {one.name for one in folder.iterdir()}
                    return
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            others = [one.name for one in folder.iterdir() if not one.name.startswith(TEMPORARY)]
        except OSError as error:
            raise output_error(folder, error) from error
        if others:
            raise OutputError(
                f"{folder} is to hold segmented tiles and nothing else, and there is {others[0]!r} "
                "in it. Give a new folder."
            )
        atomic_write(written, content)

    @property
    def files(self) -> TileFiles:
        """Return how tiles are written: that goes to the workers."""
        return TileFiles(self.folder.absolute())

    def get(self, tile: Tile) -> TileObjects | None:
        """Return what was kept of a tile; None if that is nothing, or damaged."""
        path = self.files.path(tile)
        # Of a file that was asked for in vain, a network's file system may say so for a while.
        if path.name not in self._there:
            return None
        try:
            with path.open("rb") as stream, np.load(stream) as kept:
                # A damaged file shows when it is read, by its checksums.
                arrays = {name: kept[name] for name in kept.files}
            arrays.pop(_LABELS)
            return TileObjects(tile=tile, labels=StoredLabels(path, tile, self._unpacked), **arrays)
        except (OSError, ValueError, LookupError, EOFError, TypeError, RuntimeError, BadZipFile):
            return None

    def written(self, tile: Tile) -> TileObjects:
        """Return the objects of a tile that was just written; its labels are read when needed.

        Raises
        ------
        OutputError
            If there is no such file, or it is damaged.
        """
        self._there.add(self.files.path(tile).name)
        found = self.get(tile)
        if found is None:
            raise OutputError(
                f"{self.files.path(tile)} was written and cannot be read again. Workers of a "
                "cluster must see the same folders as this machine."
            )
        return found


@attrs.frozen
class TileFiles:
    """Writes tiles into a folder, a file for each."""

    folder: Path

    def path(self, tile: Tile) -> Path:
        """Return the file of a tile."""
        return self.folder / f"{tile.row:05}-{tile.col:05}.npz"

    def write(self, objects: TileObjects) -> None:
        """Keep the objects of a tile.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        import imagecodecs

        labels = np.ascontiguousarray(objects.labels[:, :], np.int32)
        arrays = {name: getattr(objects, name) for name in ("centres", "depths", "areas", "scores")}
        with atomic_binary_file(self.path(objects.tile)) as stream, ZipFile(stream, "w") as kept:
            # A name alone would bring in the time, which a clock before 1980 has no place for.
            kept.writestr(ZipInfo(_LABELS), imagecodecs.zstd_encode(labels.tobytes(), 1))
            for name, array in arrays.items():
                with kept.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)


@attrs.frozen(eq=False)
class StoredLabels:
    """The labels of a tile's window as :class:`~cellseg_core.label_image.LazyLabels`, on disk."""

    path: Path
    tile: Tile
    _read: Any
    dtype = np.dtype(np.int32)

    @property
    def shape(self) -> tuple[int, int]:
        """Return ``(Y, X)`` of the window."""
        return self.tile.window.shape

    def __getitem__(self, key: Any) -> Labels:
        """Return the labels of a part of the window. They must not be changed."""
        part: Labels = self._read(self.path, self.shape)[key]
        return part


def _read_labels(path: Path, shape: tuple[int, int]) -> Labels:
    import imagecodecs

    # Not by numpy, which parses a header as Python: in several threads, Python 3.11 fails at that.
    with ZipFile(path) as kept:
        packed = kept.read(_LABELS)
    labels: Labels = np.frombuffer(imagecodecs.zstd_decode(packed), np.int32)
    return labels.reshape(shape)
