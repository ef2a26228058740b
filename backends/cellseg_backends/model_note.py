"""What a folder of weights for StarDist or Cellpose says of them beyond the library's own files."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from cellseg_core.errors import WeightsError
from cellseg_core.store import atomic_write

__all__ = ["NOTE", "ModelNote", "read_note", "sha256_of", "write_note"]

NOTE = "cellseg.json"
_FORMAT = 1
_LARGEST = 2**20


@attrs.frozen(kw_only=True)
class ModelNote:
    """The facts of weights that ``cellseg train`` made.

    Attributes
    ----------
    segmenter
        Which one they are for.
    diameter
        Diameter in px of the nuclei that they were trained on.
    sha256
        Of the file of weights.
    options
        What was chosen on training images, thresholds above all: by name of the option.
    training
        How the weights came about: data, seed, steps and so on.
    """

    segmenter: str
    diameter: float
    sha256: str
    options: Mapping[str, float] = attrs.field(factory=dict)
    training: Mapping[str, Any] = attrs.field(factory=dict)


def write_note(folder: Path, note: ModelNote) -> None:
    """Write the facts beside the weights.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    text = json.dumps({"format": _FORMAT, **attrs.asdict(note)}, indent=1)
    atomic_write(folder / NOTE, f"{text}\n")


def read_note(folder: Path) -> ModelNote | None:
    """Return the facts in a folder of weights, None where there are none.

    Raises
    ------
    WeightsError
        If they are damaged, or written by a later version.
    """
    path = folder / NOTE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            facts = json.loads(file.read(_LARGEST))
        version = facts.pop("format")
        if version != _FORMAT:
            raise WeightsError(
                f"{path} has format {str(version)[:80]}; this version of cellseg reads {_FORMAT}. "
                "Update cellseg, or train again."
            )
        note = ModelNote(**facts)
        options = {str(name): float(value) for name, value in note.options.items()}
        good = 0 < float(note.diameter) < math.inf and all(map(math.isfinite, options.values()))
        plain = isinstance(facts["sha256"], str) and isinstance(facts.get("training", {}), dict)
        if not (good and plain):
            raise ValueError("a value is out of its range")
    except WeightsError:
        raise
    except (
        *(OSError, ValueError, OverflowError, TypeError, KeyError),
        *(AttributeError, RecursionError),
    ) as error:
        raise WeightsError(
            f"{path} is damaged ({str(error)[:300]}). Copy the folder again, or train again."
        ) from error
    return attrs.evolve(note, diameter=float(note.diameter), options=options)


def sha256_of(path: Path) -> str:
    """Return the checksum of a file.

    Raises
    ------
    WeightsError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror or error}). Allow this user to read it, or "
            "copy it again."
        ) from error
