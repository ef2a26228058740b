"""A file with a Cellpose network: which version wrote it, and the network itself.

The library takes any path that it does not find for its default network, downloads that without
looking at certificates, and loads files whose arrays have other names without a word. So paths and
arrays are looked at here, before it sees them.
"""

from __future__ import annotations

import math
import os
import pickle
import threading
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs

from cellseg_backends.cellpose.library import cellpose_models, device_named
from cellseg_backends.cellpose.memory import keep_memory
from cellseg_backends.model_note import ModelNote, read_note, sha256_of
from cellseg_core.errors import MissingPackageError, SegmentationError, WeightsError

__all__ = ["CellposeModel", "check", "describe", "installed_version", "load", "shipped"]

_FILE = "cellpose_model"
_DIAMETERS = {3: 30.0, 4: 30.0}
_PATCHES = {3: 224, 4: 256}
_DIAMETER_RANGE = (1.0, 1000.0)
_FIRST_LAYER_3 = "downsample.down.res_down_0.conv.conv_0.0.weight"
_MARK_4 = "W2"  # as the library itself tells versions apart
_MARK_DINO = "encoder.cls_token"
_LARGEST_INDEX = 2**24  # bytes: the names of a few hundred arrays

_loading = threading.Lock()
_started_by: list[int] = []


def shipped() -> Path:
    """Return the file of the weights that come with cellseg.

    >>> shipped().parent.name
    'shipped'
    """
    return Path(__file__).parent / "shipped" / _FILE


def installed_version() -> int:
    """Return the major version of the ``cellpose`` package that is installed.

    Raises
    ------
    MissingPackageError
        If there is none, or it is not one that cellseg works with.
    """
    try:
        found = version("cellpose")
    except PackageNotFoundError as error:
        raise MissingPackageError(
            'Cellpose is not installed. Install it with: pip install "cellpose>=3.1,<4"'
        ) from error
    major = int(found.partition(".")[0])
    if major not in _DIAMETERS:
        raise MissingPackageError(
            f"cellseg works with cellpose 3 and 4, and {found} is installed. Install one of them: "
            'pip install "cellpose>=3.1,<4"'
        )
    return major


@attrs.frozen(kw_only=True)
class CellposeModel:
    """What is known of a network before it is loaded.

    Attributes
    ----------
    path
        The file.
    note
        What ``cellseg train`` wrote beside it, None for networks from elsewhere.
    """

    path: Path
    note: ModelNote | None

    @property
    def name(self) -> str:
        """Return what the network is called: its file, or the folder that it was trained in."""
        if self.path == shipped():
            return "dsb2018"
        return self.path.parent.name if self.path.name == _FILE else self.path.name

    @property
    def sha256(self) -> str:
        """Return the checksum of the file as it is now."""
        facts = self.path.stat()
        return _checksum(self.path, facts.st_mtime_ns, facts.st_size)


def describe(path: Path) -> CellposeModel:
    """Return what is known of a network in a file, or in a folder that ``cellseg train`` wrote.

    Raises
    ------
    WeightsError
        If there is none, or what is said of it is damaged.
    """
    file = path / _FILE if path.is_dir() else path
    if not file.is_file():
        raise WeightsError(
            f"{path} holds no Cellpose network: there is no file {_FILE} in it. Name the file of a "
            "network, or the folder that `cellseg train --segmenter cellpose` wrote."
        )
    note = read_note(file.parent) if file.name == _FILE else None
    return CellposeModel(path=file, note=note)


def check(model: CellposeModel) -> None:
    """Check a network as far as that takes no time, before anything is done with it.

    Raises
    ------
    WeightsError
        If it is not the one that was noted, or plainly one for another version of cellpose.
    MissingPackageError
        If cellpose is not installed, or neither version 3 nor 4.
    """
    if model.note is not None and model.note.sha256 != model.sha256:
        raise WeightsError(
            f"{model.path} is damaged: its checksum is not the one that was noted when it was "
            "written. Copy the folder again, or train again."
        )
    major, found = installed_version(), _named_version(model.path)
    if found not in (None, major):
        raise _of_another_version(model.path, found)


def _named_version(path: Path) -> int | None:
    """Return the version that the names of arrays in a file tell, None where torch must look.

    Names are texts of the pickle in it, which is read as bytes here and not executed.
    """
    try:
        with zipfile.ZipFile(path) as content:
            index = next(one for one in content.infolist() if one.filename.endswith("/data.pkl"))
            if index.file_size > _LARGEST_INDEX:
                return None
            names = content.read(index)
    except (OSError, zipfile.BadZipFile, zlib.error, StopIteration, RuntimeError, ValueError):
        return None  # an older format, or damaged: torch tells when it is loaded
    for name, number in ((_MARK_4, 4), (_FIRST_LAYER_3, 3)):
        if b"X" + len(name).to_bytes(4, "little") + name.encode() in names:
            return number
    return None


@attrs.frozen(kw_only=True)
class LoadedModel:
    """A network at work.

    Attributes
    ----------
    network
        A ``cellpose.models.CellposeModel``.
    version
        Of cellpose, 3 or 4.
    diameter
        Diameter in px to which the network brings what it looks for.
    channels
        That it takes, 1 to 3.
    on_cpu
        Whether it computes there.
    """

    network: Any
    version: int
    diameter: float
    channels: int
    on_cpu: bool

    @property
    def patch(self) -> int:
        """Return the px of the square patches that the network sees, at its own size."""
        return _PATCHES[self.version]


def load(model: CellposeModel, device: str) -> LoadedModel:
    """Return the network; one for all threads of a process.

    Raises
    ------
    WeightsError
        If the file is damaged, or not a network of the version that is installed.
    MissingPackageError
        If cellpose or torch cannot be imported here, or the device is not there.
    SegmentationError
        If this process was forked from one in which a network was at work: it would wait forever.
    """
    # Before any lock, which another thread of that process may have held.
    if _started_by and _started_by[0] != os.getpid():
        raise SegmentationError(
            "this process was forked from one in which Cellpose was at work already; the threads "
            "that torch computes with do not exist here. Start workers by "
            "multiprocessing.get_context('spawn'), or fork before anything is segmented"
        )
    facts = model.path.stat()
    with _loading:
        _started_by[:] = [os.getpid()]
        return _loaded(model.path, facts.st_mtime_ns, facts.st_size, device)


@lru_cache(maxsize=2)
def _loaded(path: Path, _modified: int, _size: int, device: str) -> LoadedModel:
    major = installed_version()
    models, torch = cellpose_models()
    where = device_named(device)
    check(describe(path))
    arrays = _arrays(torch, path)
    _check_version(path, arrays, major)
    channels = 3
    options: dict[str, Any] = {}
    if major == 3:
        channels = int(arrays[_FIRST_LAYER_3].shape[0])
        options["nchan"] = channels
    names = set(arrays)
    del arrays
    on_cpu = where.type == "cpu"
    if on_cpu:
        keep_memory()
    try:
        network = models.CellposeModel(
            gpu=not on_cpu, pretrained_model=str(path), device=where, **options
        )
    except Exception as error:
        raise WeightsError(
            f"the Cellpose network in {path} cannot be loaded ({type(error).__name__}: "
            f"{str(error)[:300]}). It is damaged, or of another kind than cellpose {major} reads."
        ) from error
    if str(network.pretrained_model) != str(path):
        # It went away meanwhile, and the library took its default in its place.
        raise WeightsError(f"{path} is no longer there. Copy or fetch it again.")
    missing = sorted(set(network.net.state_dict()) - names)
    if missing:
        raise WeightsError(
            f"{path} lacks {len(missing)} arrays of a Cellpose network ({missing[0]}, ...): it is "
            "of another kind. Name the file of a network for cellpose."
        )
    diameter = float(getattr(network, "diam_mean", _DIAMETERS[major]))
    low, high = _DIAMETER_RANGE
    # Images are brought to it: one that makes no sense would fill the memory.
    if not (math.isfinite(diameter) and low <= diameter <= high):
        raise WeightsError(
            f"{path} is damaged: the diameter of its nuclei would be {diameter:g} px. Copy or "
            "fetch it again, or train again."
        )
    return LoadedModel(
        network=network,
        version=major,
        diameter=diameter,
        channels=channels,
        on_cpu=on_cpu,
    )


def _arrays(torch: Any, path: Path) -> Mapping[str, Any]:
    """Return the arrays in a file, by name, without reading more of them than needed."""
    try:
        # Files of torch before 1.6 are no zip archives, and can only be read as a whole.
        partly = zipfile.is_zipfile(path)
        arrays = torch.load(path, map_location="cpu", weights_only=True, mmap=partly)
    except (
        *(RuntimeError, OSError, pickle.UnpicklingError, ValueError, EOFError, LookupError),
        *(TypeError, AttributeError, MemoryError, OverflowError, AssertionError),
    ) as error:
        raise WeightsError(
            f"{path} is not a Cellpose network, or it is damaged ({type(error).__name__}: "
            f"{str(error)[:200]}). Copy or fetch it again."
        ) from error
    if not isinstance(arrays, Mapping) or not all(
        isinstance(name, str) and isinstance(one, torch.Tensor) for name, one in arrays.items()
    ):
        raise WeightsError(f"{path} is not a Cellpose network: it holds no table of arrays.")
    return arrays


def _check_version(path: Path, arrays: Mapping[str, Any], major: int) -> None:
    first = arrays.get(_FIRST_LAYER_3)
    known = first is not None and first.ndim == 1
    found = 4 if _MARK_4 in arrays else 3 if known else None
    if found is None:
        raise WeightsError(
            f"{path} is not a network of cellpose 3 or 4: it has none of their arrays. Name the "
            "file of a network for cellpose."
        )
    if found != major:
        raise _of_another_version(path, found)
    if _MARK_DINO in arrays:
        raise WeightsError(
            f"{path} is a network of Cellpose-DINO, which cellseg does not know. Name one of "
            "Cellpose-SAM, such as cpsam."
        )
    if found == 3 and int(arrays[_FIRST_LAYER_3].shape[0]) > 2:
        raise WeightsError(
            f"{path} is a network for {int(arrays[_FIRST_LAYER_3].shape[0])} channels; cellseg "
            "gives it one or two, the nuclear and the membrane channel."
        )


def _of_another_version(path: Path, found: int) -> WeightsError:
    return WeightsError(
        f"{path} is a network of cellpose {found}, and cellpose {version('cellpose')} is "
        f'installed. Install the other (pip install "cellpose>={found},<{found + 1}"), or name a '
        f"network for version {installed_version()}: see `cellseg weights list`."
    )


@lru_cache(maxsize=8)
def _checksum(path: Path, _modified: int, _size: int) -> str:
    return sha256_of(path)
