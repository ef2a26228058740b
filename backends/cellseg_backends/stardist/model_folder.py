"""A folder with a StarDist model: what it says of the network, and the network itself."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs

from cellseg_backends.model_note import NOTE, ModelNote, read_note, sha256_of
from cellseg_backends.quiet import quiet
from cellseg_backends.stardist.library import stardist_models, start
from cellseg_core.errors import WeightsError

__all__ = ["StarDistModel", "check", "describe", "described", "load", "shipped"]

_CONFIG, _THRESHOLDS = "config.json", "thresholds.json"
_USUAL_THRESHOLDS = {"prob": 0.5, "nms": 0.4}  # the library's own where none were chosen
_LARGEST = 2**20
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Wider than any network that we know: what lies outside would fill the memory, or never end.
_RANGES = {
    "n_rays": (3, 2048),
    "unet_n_depth": (0, 8),
    "unet_n_filter_base": (1, 4096),
    "unet_n_conv_per_depth": (1, 16),
    "net_conv_after_unet": (0, 8192),
}
_GRIDS, _WIDEST_KERNEL = (1, 2, 4, 8, 16, 32), 31
_LARGEST_GROWTH = 4  # of the channels from one level to the next

_loading = threading.Lock()


def shipped() -> Path:
    """Return the folder of the weights that come with cellseg.

    >>> shipped().name
    'shipped'
    """
    return Path(__file__).parent / "shipped"


@attrs.frozen(kw_only=True)
class StarDistModel:
    """What the files in a folder say of a network.

    Attributes
    ----------
    folder, weights
        The folder, and the file of weights in it that the library would load.
    channels
        Of the images that it takes: 1, or 3 for colours.
    grid
        Px by which an image can be shifted for the network to see the same: its coarsest level.
    reach
        Px around a pixel that can change what the network says of it.
    prob_threshold, nms_threshold
        As chosen for the model.
    least_bytes
        That its weights take at least.
    note
        What ``cellseg train`` wrote, None for models from elsewhere.
    """

    folder: Path
    weights: Path
    channels: int
    grid: int
    reach: int
    prob_threshold: float
    nms_threshold: float
    least_bytes: int
    note: ModelNote | None

    @property
    def sha256(self) -> str:
        """Return the checksum of the weights as they are now."""
        facts = self.weights.stat()
        return _checksum(self.weights, facts.st_mtime_ns, facts.st_size)


def described(found: Path) -> StarDistModel:
    """Return what a folder holds, or the folder of a file of weights.

    Raises
    ------
    WeightsError
        As :func:`describe`; and if the file is not the one in its folder that would be loaded.
    """
    if found.is_dir():
        return describe(found)
    model = describe(found.parent)
    if model.weights.name != found.name:
        raise WeightsError(
            f"{found} is not what StarDist loads from its folder: that is {model.weights.name}, "
            f"the best, or the newest. Name the folder {found.parent} for it; for the other file, "
            f"copy that and {_CONFIG} to a folder of their own."
        )
    return model


def describe(folder: Path) -> StarDistModel:
    """Return what a folder holds; the network is not loaded, nor StarDist imported.

    Raises
    ------
    WeightsError
        If the folder does not hold a 2-D StarDist model, or what it says of itself is damaged.
    """
    config = _json(folder / _CONFIG)
    if config is None:
        raise WeightsError(
            f"{folder} holds no StarDist model: there is no {_CONFIG} in it. Name the folder that "
            "`cellseg train --segmenter stardist` or StarDist itself wrote."
        )
    thresholds = {**_USUAL_THRESHOLDS, **(_json(folder / _THRESHOLDS) or {})}
    # The library prefers the best to the last, and then the newest.
    files = [file for kind in ("*.h5", "*.hdf5") for file in folder.glob(kind) if file.is_file()]
    if not files:
        raise WeightsError(
            f"{folder} has no weights: a file such as weights_best.h5 belongs beside {_CONFIG}. "
            "Copy the folder again."
        )
    weights = max(files, key=lambda file: ("best" in file.name, file.stat().st_mtime))
    try:
        if config.get("n_dim", 2) != 2:
            raise WeightsError(
                f"{folder} holds a model for {config['n_dim']}-D images; cellseg takes 2-D ones."
            )
        if config.get("backbone", "unet") != "unet":
            raise ValueError(f"its backbone is {config['backbone']!r}, not 'unet'")
        channels = int(config["n_channel_in"])
        _check_config(config)
        step = max(int(edge) for edge in config["grid"])
        deepest = step * 2 ** int(config["unet_n_depth"])
        reach = _reach(config, step)
        least = _least_bytes(config)
        prob, nms = float(thresholds["prob"]), float(thresholds["nms"])
        if not (0 <= prob <= 1 and 0 <= nms <= 1):
            raise ValueError(f"its thresholds are {prob} and {nms}, and 0 to 1 is possible")
    except WeightsError:
        raise
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise WeightsError(
            f"the StarDist model in {folder} is damaged ({type(error).__name__}: {error}). Copy "
            "the folder again."
        ) from error
    if channels not in (1, 3):
        raise WeightsError(
            f"the StarDist model in {folder} takes {channels} channels; cellseg gives it the "
            "nuclear channel, or the three colours of an RGB image."
        )
    return StarDistModel(
        folder=folder,
        weights=weights,
        channels=channels,
        grid=deepest,
        reach=reach,
        prob_threshold=prob,
        nms_threshold=nms,
        least_bytes=least,
        note=read_note(folder),
    )


def check(model: StarDistModel) -> None:
    """Check the weights as far as that takes no time, before anything is done with them.

    Raises
    ------
    WeightsError
        If they are not those that were noted, no file of Keras, or too small for their network.
    """
    path, note = model.weights, model.note
    found = model.sha256
    if note is not None and note.sha256 != found:
        raise WeightsError(
            f"{path} is damaged: its checksum is {found[:12]}..., and {note.sha256[:12]}... was "
            f"expected ({NOTE}). Copy the folder again, or train again."
        )
    with path.open("rb") as file:
        signature = file.read(len(_SIGNATURE))
    size = path.stat().st_size
    if signature != _SIGNATURE or 2 * size < model.least_bytes:
        what = "it is no HDF5 file" if signature != _SIGNATURE else f"it has {size:,} bytes"
        raise WeightsError(
            f"the weights {path} cannot be loaded: {what}, and HDF5 of about {model.least_bytes:,} "
            f"bytes or more was expected ({_CONFIG}). It is damaged or cut off: copy or fetch it "
            "again."
        )


def load(model: StarDistModel) -> Any:
    """Return the network (a ``stardist.models.StarDist2D``); one for all threads of a process.

    Raises
    ------
    WeightsError
        If the weights are damaged or of another network than the folder says.
    MissingPackageError
        If StarDist or TensorFlow cannot be imported here.
    SegmentationError
        If this process was forked from one in which a network was at work: it would wait forever.
    """
    start()  # for a fork, which has the network of the other process: before any lock
    facts = model.weights.stat()
    with _loading:
        return _loaded(model.folder, model.weights, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=2)
def _loaded(folder: Path, weights: Path, _modified: int, _size: int) -> Any:
    library = stardist_models()
    check(describe(folder))
    try:
        # It tells of its doings on standard output, which is the user's.
        with quiet():
            network = library.StarDist2D(None, name=folder.name, basedir=str(folder.parent))
            network.load_weights(weights.name)
    except Exception as error:
        raise WeightsError(
            f"the weights {weights} cannot be loaded ({type(error).__name__}: {str(error)[:300]}): "
            f"they are damaged, or of another network than {_CONFIG} says. Copy the folder again, "
            "or train again."
        ) from error
    return network


@lru_cache(maxsize=8)
def _checksum(path: Path, _modified: int, _size: int) -> str:
    return sha256_of(path)


def _json(path: Path) -> dict[str, Any] | None:
    """Return the table in a file, None where there is no file."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            table = json.loads(file.read(_LARGEST))
        if not isinstance(table, dict):
            raise TypeError(f"a table was expected, and it is a {type(table).__name__}")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is damaged ({str(error)[:300]}). Copy the folder again, or train again."
        ) from error
    return table


def _check_config(config: Mapping[str, Any]) -> None:
    for name, (low, high) in _RANGES.items():
        if not low <= int(config[name]) <= high:
            raise ValueError(f"its {name} is {config[name]!r}, and {low} to {high} is possible")
    grid, kernel = config["grid"], config["unet_kernel_size"]
    if len(grid) != 2 or any(int(edge) not in _GRIDS for edge in grid):
        raise ValueError(f"its grid is {grid!r}, and two powers of 2 up to {_GRIDS[-1]} are known")
    if len(kernel) != 2 or not all(1 <= int(edge) <= _WIDEST_KERNEL for edge in kernel):
        raise ValueError(f"its unet_kernel_size is {kernel!r}")
    # The size of its levels, and so the grid and the reach, follow from this.
    if list(config.get("unet_pool", (2, 2))) != [2, 2]:
        raise ValueError(f"its unet_pool is {config['unet_pool']!r}, and cellseg knows [2, 2]")
    if not 1 <= float(config.get("unet_expansion", 2)) <= _LARGEST_GROWTH:
        raise ValueError(f"its unet_expansion is {config['unet_expansion']!r}")
    if int(config.get("n_classes") or 0) > _RANGES["n_rays"][1]:
        raise ValueError(f"its n_classes is {config['n_classes']!r}")


def _least_bytes(config: Mapping[str, Any]) -> int:
    """Return the bytes of some layers: the last below, those after the U-net, and the rays."""
    filters, after = int(config["unet_n_filter_base"]), int(config["net_conv_after_unet"])
    depth, growth = int(config["unet_n_depth"]), float(config.get("unet_expansion", 2))
    kernel = math.prod(int(edge) for edge in config["unet_kernel_size"])
    below = filters * int(growth ** (depth - 1)) if depth else 0
    last = after or filters
    return 4 * (kernel * (below**2 + after * filters) + last * int(config["n_rays"]))


def _reach(config: Mapping[str, Any], step: int) -> int:
    """Return the px around a pixel that the network looks at.

    Two convolutions at each size on the way down to the grid, then the U-net: its convolutions at
    each level, down and up, and what pooling adds.
    """
    half: int = max(int(edge) for edge in config["unet_kernel_size"]) // 2
    each = int(config["unet_n_conv_per_depth"]) * half
    depth = int(config["unet_n_depth"])
    before = [2**n for n in range((step - 1).bit_length())]
    levels = [step * 2**n for n in range(depth)]
    bottom = step * 2**depth
    after = half * step if int(config["net_conv_after_unet"]) else 0
    pooled = bottom - 1
    reach: int = each * (sum(before) + 2 * sum(levels) + bottom) + after + pooled
    return reach
