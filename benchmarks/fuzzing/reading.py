"""Reads a damaged input as cellseg does, and judges what comes of it."""

from __future__ import annotations

import functools
import math
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.maskrcnn.weights import load_weights
from cellseg_core.cli.options import config_from, naming_settings
from cellseg_core.comparing.gates import read_gates
from cellseg_core.config import RunConfig
from cellseg_core.errors import CellsegError
from cellseg_core.image import Image
from cellseg_core.inputs import read_source
from cellseg_core.label_files import read_label_file
from cellseg_core.plugins import Plugins, load_plugins
from cellseg_core.reading import find_sources, read_all
from fuzzing.damage import Damaged
from fuzzing.seeds import Seed

__all__ = ["FAULTS", "Attempt", "attempt", "read"]

Result = Literal["read", "refused", "unnamed", "escaped", "memory", "lost"]
FAULTS = {
    "unnamed": "an error of ours that does not name the file",
    "escaped": "an error that is not ours",
    "memory": "more memory than the bound",
    "lost": "pixels of a file that was cut off, read as if it were whole",
    "crashed": "the process died",
    "hung": "over the time limit",
    "partial": "a run that left what looks like results, or said nothing of a failure",
}
_PART = 512  # px: larger images are read in windows at their corners
_CHANNELS = 8
_IMAGES = 8


@attrs.frozen
class Attempt:
    """What came of an input: ``read``, ``refused`` or one of the faults, and what was said."""

    result: str
    said: str = ""


def attempt(kind: str, damaged: Damaged, folder: Path) -> Attempt:
    """Write a damaged input into an empty folder, read it, and judge what comes of it."""
    path = damaged.write(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = read(kind, path, damaged.seed)
    except Exception as error:  # noqa: BLE001 - what escapes is what is looked for
        return _judged(error, folder, damaged)
    if damaged.cut and pixels and not _same(pixels, _whole(kind, damaged.seed, folder)):
        return Attempt("lost", "; ".join(damaged.ways))
    return Attempt("read")


def read(kind: str, path: Path, seed: Seed) -> list[NDArray[Any]]:
    """Open a path as cellseg does, and return pixels of every channel, where it has pixels."""
    return _READ.get(kind, _images)(path, seed)


def _judged(error: Exception, folder: Path, damaged: Damaged) -> Attempt:
    said = f"{type(error).__name__}: {error}"
    chain = list(_causes(error))
    if any(isinstance(one, MemoryError) for one in chain):
        return Attempt("memory", said)
    if not isinstance(error, CellsegError):
        at = error.__traceback__
        while at is not None and at.tb_next is not None:
            at = at.tb_next
        where = "" if at is None else f" ({at.tb_frame.f_code.co_filename}:{at.tb_lineno})"
        return Attempt("escaped", said + where)
    names = {damaged.seed.opened, *damaged.seed.files, *damaged.files}
    if not any(Path(name).name in str(error) for name in names):
        return Attempt("unnamed", said)
    return Attempt("refused", re.sub(re.escape(str(folder)), "", said))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _same(pixels: list[NDArray[Any]], whole: list[NDArray[Any]]) -> bool:
    return len(pixels) == len(whole) and all(map(np.array_equal, pixels, whole))


@functools.cache
def _plugins() -> Plugins:
    return load_plugins()


@functools.cache
def _whole_of(kind: str, name: str, folder: Path) -> list[NDArray[Any]]:
    from fuzzing.seeds import seeds_of

    (seed,) = (one for one in seeds_of(kind) if one.name == name)
    apart = folder.with_name(f"{folder.name}-whole")
    return read(kind, Damaged(seed, seed.files, ()).write(apart), seed)


def _whole(kind: str, seed: Seed, folder: Path) -> list[NDArray[Any]]:
    return _whole_of(kind, seed.name, folder)


def _images(path: Path, seed: Seed) -> list[NDArray[Any]]:
    names = path.parent / "names.csv"
    config = RunConfig(channels=names if names.exists() else None, layout=seed.layout)
    sources = find_sources(path, _plugins(), seed.layout, (seed.nuclear,))
    images = read_all(sources, lambda source: read_source(source, config, _plugins()))
    # Each is opened; of very many, a few are enough to read.
    images = images[:_IMAGES]
    found = [part for image in images for part in _parts(image)]
    for image in images:
        for level in image.levels:
            np.asarray(level[0, :_PART, :_PART])
    return found


def _parts(image: Image) -> Iterator[NDArray[Any]]:
    height, width = image.shape
    small = math.prod(image.shape) <= _PART**2
    ends = [slice(0, _PART), slice(max(0, height - _PART), height)][: 1 if small else 2]
    for channel in range(min(_CHANNELS, len(image.channels))):
        if small:
            yield image.read(channel)
            continue
        for rows in ends:
            yield image.read(channel, rows, slice(0, min(width, _PART)))
            yield image.read(channel, rows, slice(max(0, width - _PART), width))


def _settings(path: Path, seed: Seed) -> list[NDArray[Any]]:
    if seed.name == "gates":
        read_gates(path)
    else:
        with naming_settings(path):
            config = config_from({}, path)
            config.check_options(_plugins())
            config.without_effect(_plugins())
    return []


def _labels(path: Path, seed: Seed) -> list[NDArray[Any]]:  # noqa: ARG001 - all are read alike
    labels = read_label_file(path)
    height, width = labels.shape
    return [np.asarray(labels[: min(height, _PART), : min(width, _PART)])]


class _Variable:
    """What weights are put into: as much of a variable of keras as that needs."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def assign(self, value: NDArray[Any]) -> None:
        assert value.shape == self.shape


def _weights(path: Path, seed: Seed) -> list[NDArray[Any]]:  # noqa: ARG001 - all are read alike
    load_weights(path, {"conv/kernel": _Variable(3, 3, 2), "conv/bias": _Variable(2)})
    return []


_READ: dict[str, Callable[[Path, Seed], list[NDArray[Any]]]] = {
    "toml": _settings,
    "labels": _labels,
    "weights": _weights,
}
