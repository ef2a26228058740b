"""Names of images that are safe as names of folders, and unique within a run."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

__all__ = ["safe_name", "unique_names"]

# Windows takes these for devices, whatever comes after the first dot.
_RESERVED = re.compile(
    r"(con|prn|aux|nul|com[\d\xb9\xb2\xb3]|lpt[\d\xb9\xb2\xb3]) *(?=\.|$)", re.IGNORECASE
)
_OURS = (
    "cells.csv",
    "cells.columns.csv",
    "cells.parquet",
    "cells.h5ad",
    "run.json",
    "report.html",
)
_LONGEST_BYTES = 120


def safe_name(name: str) -> str:
    """Return ``name`` as the name of one folder on every system.

    Letters (of any script), digits, blanks and ``._-+()=,&`` stay; the rest becomes ``_``. A
    letter and its accent are one character, as they are not in names from a Mac.

    >>> safe_name("../a<b>:c.ome"), safe_name("con.1"), safe_name("")
    ('_a_b__c.ome', '_con.1', 'image')
    """
    composed = unicodedata.normalize("NFC", name)
    safe = re.sub(r"[^\w .\-+()=,&]", "_", composed).strip(" .")
    safe = safe.encode()[:_LONGEST_BYTES].decode(errors="ignore").rstrip(" .")
    if _RESERVED.match(safe):
        return f"_{safe}"
    return f"{safe}_" if safe.casefold() in _OURS else safe or "image"


def unique_names(names: Sequence[str], sources: Sequence[str]) -> list[str]:
    """Return a safe and unique name for each image; case does not make a difference.

    Images of one name are told apart by the folders that they come from (``sources``), then by
    the ending of the file, and at last by a number in the order of their sources. The order of
    the images makes no difference.

    >>> unique_names(["a", "a", "b"], ["x/a.tif", "y/a.tif", "x/b.tif"])
    ['x_a', 'y_a', 'b']
    """
    chosen = [safe_name(name) for name in names]
    for attempt in (_with_folder, _with_ending):
        twice = _repeated(chosen)
        chosen = [
            safe_name(attempt(name, source)) if name.casefold() in twice else name
            for name, source in zip(chosen, sources, strict=True)
        ]
    twice = _repeated(chosen)
    used = {name.casefold() for name in chosen if name.casefold() not in twice}
    for index in sorted(range(len(chosen)), key=lambda i: (sources[i], names[i], i)):
        if chosen[index].casefold() not in twice:
            continue
        number = 1
        while f"{chosen[index]}_{number}".casefold() in used:
            number += 1
        chosen[index] = f"{chosen[index]}_{number}"
        used.add(chosen[index].casefold())
    return chosen


def _repeated(names: Sequence[str]) -> set[str]:
    counts = Counter(name.casefold() for name in names)
    return {name for name, count in counts.items() if count > 1}


def _with_folder(name: str, source: str) -> str:
    return f"{PurePath(source).parent.name}_{name}"


def _with_ending(name: str, source: str) -> str:
    return f"{name}_{PurePath(source).suffix.lstrip('.')}"
