"""Which images of a training set are for what: as ``index.csv`` says, or a tenth set aside."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal, get_args

from cellseg_core.errors import ImageError, nearest

__all__ = ["Split", "listed", "read_index", "set_aside", "stem"]

Split = Literal["train", "val", "test"]

_SPLITS: tuple[Split, ...] = get_args(Split)
_ENOUGH = 10  # images of which a tenth can be set aside
_SHOWN = 10  # names in one message


def stem(name: str) -> str:
    """Return a file's name without its ending.

    >>> stem("a.b.ome.tif"), stem("a")
    ('a.b', 'a')
    """
    return (name.rpartition(".")[0] or name).removesuffix(".ome")


def listed(names: Iterable[str]) -> str:
    """Return names for a message, of many the first.

    >>> listed("abcdefghijklm")
    'a, b, c, d, e, f, g, h, i, j and 3 more'
    """
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def read_index(path: Path, images: Collection[str]) -> dict[str, tuple[Split | None, str]]:
    """Return split, where there is such a column, and modality of each image in ``index.csv``.

    ``images`` are the names of all. Without the file, the result is empty.

    Raises
    ------
    ImageError
        If the file cannot be read, has no column of names, or does not fit the images.
    """
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [
                {str(key).strip().lower(): str(value or "").strip() for key, value in row.items()}
                for row in csv.DictReader(file)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"{path} cannot be read ({error}). Save it as CSV in UTF-8.") from error
    columns = set(rows[0]) if rows else set()
    key = next((name for name in ("id", "name", "stem") if name in columns), None)
    if key is None:
        raise ImageError(
            f"{path} needs a column 'id' with the names of the images; it has "
            f"{', '.join(sorted(columns)) or 'no row'}."
        )
    found: dict[str, tuple[Split | None, str]] = {}
    for row in rows:
        name = row[key] if row[key] in images else stem(row[key])
        if name not in images:
            raise ImageError(
                f"{path} lists {row[key]!r}, of which there is no image: {nearest(name, images)}."
            )
        if name in found:
            raise ImageError(f"{path} lists {name!r} twice.")
        found[name] = (_split(row["split"], path) if "split" in columns else None,
                       row.get("modality", ""))  # fmt: skip
    absent = [name for name in images if name not in found]
    if "split" in columns and absent:
        raise ImageError(
            f"{path} has no row for {listed(absent)}. Add one for each, with the split."
        )
    return found


def set_aside(names: Iterable[str]) -> dict[str, Split]:
    """Return the split of each image where nobody chose: about a tenth is for validation.

    A hash of the name decides, so that images keep their split when others join. Of ten images or
    more at least one is set aside, of fewer none.

    >>> set_aside(["a", "b"])
    {'a': 'train', 'b': 'train'}
    """
    number = {name: int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) for name in names}
    chosen = [name for name in number if number[name] % 10 == 0]
    if len(number) < _ENOUGH:
        chosen = []
    elif not chosen:
        chosen = [min(number, key=lambda name: (number[name], name))]
    return {name: "val" if name in chosen else "train" for name in number}


def _split(value: str, path: Path) -> Split:
    split = {"training": "train", "valid": "val", "validation": "val"}.get(
        value.lower(), value.lower()
    )
    for known in _SPLITS:
        if split == known:
            return known
    raise ImageError(f"{path}: a split is one of {', '.join(_SPLITS)}; got {value!r}.")
