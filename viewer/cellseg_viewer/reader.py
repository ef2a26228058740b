"""Opens what ``cellseg run`` left when its folder, or its ``run.json``, is dropped into napari."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from cellseg_core.finished_run import FinishedRun
from cellseg_viewer.layers import LayerData, layers_of

__all__ = ["get_reader"]

_RECORD = "run.json"
_HEAD = 64  # bytes; the record begins with the version of cellseg


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return what reads a run's folder, an image's folder in it, or ``run.json``; else None.

    Only the first bytes of the record are looked at.
    """
    return None if isinstance(path, list) or _place(Path(path)) is None else _read


def _place(path: Path) -> tuple[Path, str | None] | None:
    """Return the folder of the run, and the image that was chosen, if one was."""
    for out, image in ((path, None), (path.parent, None if path.is_file() else path.name)):
        try:
            with (out / _RECORD).open("rb") as stream:
                ours = b'"cellseg"' in stream.read(_HEAD)
        except OSError:
            continue
        if ours and (path.is_dir() or path.name == _RECORD):
            return out, image
    return None


def _read(path: str | list[str]) -> list[LayerData]:
    """Return the layers of the image that was chosen, or of the first."""
    place = _place(Path(str(path)))
    assert place is not None
    out, name = place
    run = FinishedRun.read(out)
    done = run.choose(name)
    found = layers_of(run, done)
    told = list(found.warnings)
    if name is None and len(run.images) > 1:
        told.append(
            f"this run has {len(run.images)} images, and the first, {done.name}, is shown. Drop "
            f"the folder of another into napari: {out / 'NAME'}."
        )
    for text in told:
        warnings.warn(f"{done.name}: {text}", stacklevel=1)
    return list(found.layers)
