"""Weights on disk: a folder that any machine can read, check, and load without running code of it.

``model.json`` says what the network is, ``weights.npz`` holds its arrays. Nothing that the files
say of themselves is believed: sizes are compared with what the network needs before anything of
that size is read, and no array may hold Python objects.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, cast

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.maskrcnn.presets import PRESETS
from cellseg_core.errors import WeightsError, nearest
from cellseg_core.store import atomic_write, output_error

__all__ = [
    "Description",
    "describe",
    "find_weights",
    "load_weights",
    "save_weights",
    "shipped",
]

_FORMAT = 1
_DESCRIPTION, _ARRAYS = "model.json", "weights.npz"
_LARGEST_DESCRIPTION = 2**20
_HEADER = 2**12  # bytes that an array takes in the file beside its numbers, at most
_KINDS = tuple(np.dtype(kind) for kind in (np.float16, np.float32))


def _is_preset(_: object, __: object, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"preset is a text; got {value!r}")


def _is_diameter(_: object, __: object, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 4 <= value <= 200:
        raise ValueError(f"diameter is a number of px from 4 to 200; got {value!r}")


def _is_score(_: object, __: object, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"score is a number from 0 to below 1; got {value!r}")


def _is_checksum(_: object, __: object, value: Any) -> None:
    digits = isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
    if not digits:
        raise ValueError(f"sha256 is a text of 64 hexadecimal digits; got {str(value)[:80]!r}")


def _is_table(_: object, __: object, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"training is a table of facts; got {str(value)[:80]!r}")


@attrs.frozen(kw_only=True)
class Description:
    """What ``model.json`` says of the weights beside it.

    Attributes
    ----------
    preset
        Name of the network's size.
    diameter
        Diameter in px of the nuclei that it was trained on.
    score
        Least confidence of a nucleus, chosen on training data.
    sha256
        Of ``weights.npz``.
    training
        How the weights came about: data, seed, steps and so on.
    """

    preset: str = attrs.field(validator=_is_preset)
    diameter: float = attrs.field(validator=_is_diameter)
    score: float = attrs.field(validator=_is_score)
    sha256: str = attrs.field(validator=_is_checksum)
    training: Mapping[str, Any] = attrs.field(factory=dict, validator=_is_table)


def shipped() -> Path:
    """Return the folder of the weights that come with cellseg.

    >>> shipped().name
    'shipped'
    """
    return Path(__file__).parent / "shipped"


def find_weights(wanted: str | os.PathLike[str] | None) -> Path:
    """Return the folder of the weights that the user means.

    None: the shipped ones. Otherwise a folder, or one of the files in it, or the name of a folder
    in the one that the environment variable ``CELLSEG_WEIGHTS`` names.

    Raises
    ------
    WeightsError
        If there is no such folder, or it may not be looked into.
    """
    if wanted is None:
        return shipped()
    tried = [Path(wanted)]
    library = os.environ.get("CELLSEG_WEIGHTS")
    if library and not tried[0].is_absolute():
        tried.append(Path(library) / tried[0])
    try:
        # No shell does it for what stands behind a =.
        tried = [one.expanduser() for one in tried]
        for one in tried:
            if one.is_file() and one.name in (_DESCRIPTION, _ARRAYS):
                one = one.parent
            if (one / _DESCRIPTION).is_file():
                return one.resolve()
        there = next((one for one in tried if one.is_dir()), None)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(
            f"the weights {_either(tried)} cannot be looked for ({reason}). Allow this user to "
            "read the folder, or copy it to a place of your own."
        ) from error
    if there is not None:
        raise WeightsError(
            f"{there} holds no weights of a Mask R-CNN: there is no {_DESCRIPTION} in it. Name "
            "the folder that `cellseg train DATASET -o FOLDER` wrote."
        )
    raise WeightsError(
        f"there are no weights at {_either(tried)}. Name the folder that "
        "`cellseg train DATASET -o FOLDER` wrote, or leave segmenter.weights out for those that "
        "come with cellseg."
    )


def _either(paths: list[Path]) -> str:
    return " or ".join(map(str, paths))


def save_weights(
    folder: Path,
    arrays: Mapping[str, NDArray[np.float32]],
    *,
    preset: str,
    diameter: float,
    score: float,
    training: Mapping[str, Any],
) -> Description:
    """Write the weights of a network, in half precision, and what they are.

    Half precision keeps eleven bits of each weight, and the network computes with eight at most
    where it computes in bfloat16.

    Raises
    ------
    WeightsError
        If a weight is not a number, or beyond 65,504, the largest number in half precision:
        nothing is written then.
    OutputError
        If a file cannot be written.
    """
    with np.errstate(over="ignore"):
        halves = {name: np.asarray(value, np.float16) for name, value in arrays.items()}
    for name, value in halves.items():
        if not np.isfinite(value).all():
            worst = np.asarray(arrays[name]).ravel()[np.argmin(np.isfinite(value).ravel())]
            raise WeightsError(
                f"{folder} was not written: {name} holds {worst:g}, and weights are finite "
                "and at most 65504. Train again at a lower learning rate."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    held = io.BytesIO()
    np.savez(held, **cast("dict[str, Any]", halves))
    description = Description(
        preset=preset,
        diameter=diameter,
        score=score,
        sha256=hashlib.sha256(held.getbuffer()).hexdigest(),
        training=dict(training),
    )
    text = json.dumps({"format": _FORMAT, **attrs.asdict(description)}, indent=1)
    # Two files: what is interrupted between them has a checksum that does not fit.
    atomic_write(folder / _ARRAYS, held.getvalue())
    atomic_write(folder / _DESCRIPTION, f"{text}\n")
    return description


def describe(folder: Path) -> Description:
    """Return what ``model.json`` in a folder says.

    Raises
    ------
    WeightsError
        If it is missing, damaged, or written by a later version.
    """
    path = folder / _DESCRIPTION
    content = _content(path, _LARGEST_DESCRIPTION, "a description")
    try:
        facts = json.loads(content.decode("utf-8"))
        if not isinstance(facts, dict):
            raise TypeError(f"a table was expected, and it is a {type(facts).__name__}")
        version = facts.pop("format")
        if version != _FORMAT:
            raise WeightsError(
                f"{path} has format {str(version)[:80]}; this version of cellseg reads {_FORMAT}. "
                "Update cellseg, or train again."
            )
        found = Description(**facts)
    except KeyError as error:
        raise WeightsError(f"{path} is damaged: it has no {error}. {_again(path)}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged ({str(error)[:300]}). {_again(path)}") from error
    if found.preset not in PRESETS:
        raise WeightsError(
            f"{path} is of the preset {found.preset[:80]!r}, which this version of cellseg does "
            f"not have; {nearest(found.preset[:80], PRESETS)}. Update cellseg, or train again."
        )
    return found


def load_weights(folder: Path, variables: Mapping[str, Any]) -> Description:
    """Put the weights of a folder into a network's variables, and return what they are.

    Nothing is changed if anything is wrong with them.

    Raises
    ------
    WeightsError
        If the files are missing, damaged, or do not fit the network.
    """
    found = describe(folder)
    path = folder / _ARRAYS
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    # What the arrays can take in float32; anything larger is something else.
    largest = sum(4 * math.prod(shape) + _HEADER for shape in shapes.values())
    content = _content(path, largest, f"the preset {found.preset!r}")
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != found.sha256:
        raise WeightsError(
            f"{path} is damaged: its checksum is {checksum[:12]}..., and "
            f"{found.sha256[:12]}... was expected. {_again(path)}"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sorted(archive.namelist()) != sorted(f"{name}.npy" for name in shapes):
                other = ", ".join(name for name in PRESETS if name != found.preset)
                raise WeightsError(
                    f"{path} does not hold the weights of the preset {found.preset!r}; are they of "
                    f"another one ({other})? Train again."
                )
            values = {}
            for name, shape in shapes.items():
                with archive.open(f"{name}.npy") as file:
                    values[name] = _array(file, shape, path, name, found.preset)
    except (
        ValueError,
        KeyError,
        EOFError,
        RuntimeError,  # encrypted, or a kind of compression that is not known
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
    ) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{path} is damaged ({str(error)[:300]}). {_again(path)}") from error
    for name, variable in variables.items():
        variable.assign(values[name])
    return found


def _array(
    file: IO[bytes], shape: tuple[int, ...], path: Path, name: str, preset: str
) -> NDArray[np.float32]:
    """Return an array of that shape from a file of numpy's, whose header is read first."""
    what = f"{path}: {name}"
    version = np.lib.format.read_magic(file)
    if version != (1, 0):  # later ones allow headers of gigabytes
        raise WeightsError(f"{what} is damaged: it is not an array of numbers. {_again(path)}")
    try:
        declared, by_column, kind = np.lib.format.read_array_header_1_0(file)
    except (SyntaxError, TokenError, TypeError, LookupError, MemoryError) as error:
        raise ValueError(f"the header of {name} is garbage") from error
    if declared != shape:
        raise WeightsError(
            f"{what} has the shape {declared}, and the preset {preset!r} needs {shape}. "
            "Train again."
        )
    if kind not in _KINDS:
        raise WeightsError(
            f"{what} holds {str(kind)[:40]}, and weights are float16 or float32. {_again(path)}"
        )
    size = math.prod(shape) * kind.itemsize
    content = file.read(size + 1)
    if len(content) != size:
        raise WeightsError(f"{what} is damaged: its length is wrong. {_again(path)}")
    flat = np.frombuffer(content, kind)
    value: NDArray[np.float32] = (
        flat.reshape(shape[::-1]).T if by_column else flat.reshape(shape)
    ).astype(np.float32)
    if not np.isfinite(value).all():
        raise WeightsError(f"{what} holds values that are not finite numbers. Train again.")
    return value


def _again(path: Path) -> str:
    if path.parent == shipped():
        return "Install cellseg again."
    return "Copy the folder again, or train again."


def _content(path: Path, largest: int, what: str) -> bytes:
    """Return the bytes of a regular file that has at most ``largest``, enough for ``what``."""
    try:
        if not path.is_file():
            state = "is not a file" if path.exists() else "does not exist"
            raise WeightsError(
                f"{path} {state}: there are no weights in {path.parent}. {_again(path)}"
            )
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{path} cannot be read ({error.strerror or error}). Allow this user to read it, or "
            "copy the folder again."
        ) from error
    if len(content) > largest:
        raise WeightsError(
            f"{path} is not what it should be: it has more than {largest:,} bytes, "
            f"too many for {what}. {_again(path)}"
        )
    return content
