"""A batch of which a tenth is broken, and again after these were mended."""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from faults_of.trials import Row, differences, draw, finish, left_over, run_of, write_image

EDGE = 100  # px
_WRITE = ("--write", "csv,fcs,labels")


def _link(path: Path, to: str) -> None:
    path.unlink()
    path.symlink_to(to)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _overwrite(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:8] + random.Random(0).randbytes(len(content) - 8))  # noqa: S311


BROKEN: dict[str, Callable[[Path], object]] = {
    "cut in the middle": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut after 100 bytes": lambda path: os.truncate(path, 100),
    "no bytes": lambda path: os.truncate(path, 0),
    "text": lambda path: path.write_text("not found"),
    "random bytes after the first 8": _overwrite,
    "another channel": lambda path: write_image(path, draw(EDGE, 0)[0], nuclear="CD3"),
    "nothing but NaN": lambda path: write_image(path, np.full((2, EDGE, EDGE), np.nan, "f4")),
    "a link in a circle": lambda path: _link(path, path.name),
    "a pipe": _pipe,
    "a folder named like a TIFF": _folder,
}


def batch(folder: Path, count: int = 100) -> Row:
    """Run images of which ten are broken, mend these, and run again."""
    row = Row("batch", f"{count} images, ten broken in ten ways; mended and run again", count)
    images = folder / "images"
    images.mkdir()
    paths = [
        write_image(images / f"image{number:03}.ome.tif", draw(EDGE, number)[0])
        for number in range(count)
    ]
    more = (*_WRITE, "--reference", paths[0])
    ended = finish(run_of(paths, folder / "undisturbed", *more), folder / "temporary")
    row.check(ended.status == 0, f"undisturbed, it ended so: {ended.said[-300:]}")
    kept, out = {}, folder / "out"
    for number, breaks in enumerate(BROKEN.values()):
        path = paths[1 + number * (count - 1) // len(BROKEN)]
        kept[path] = path.read_bytes()
        breaks(path)
    ended = finish(run_of(paths, out, *more), folder / "temporary")
    row.check(ended.told, f"ended with {ended.status}: {ended.said[-300:]}")
    states = _states(out)
    for path, how in zip(kept, BROKEN, strict=True):
        row.check(states.get(str(path)) == "failed", f"{how}: {states.get(str(path))}")
        row.check(f"FAILED {path}" in ended.said, f"{how}: the reason is not told")
    done = {path.name.partition(".")[0] for path in paths} - {
        path.name.partition(".")[0] for path in kept
    }
    row.check(set(_rows(out)) == done, "cells.csv is not of the other images")
    whole = _rows(folder / "undisturbed")
    row.check(all(_rows(out)[name] == whole[name] for name in done), "cells differ")
    for path, content in kept.items():
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        path.write_bytes(content)
    ended = finish(run_of(paths, out, *more), folder / "temporary")
    row.check(ended.status == 0, f"mended, it ended so: {ended.said[-300:]}")
    states = _states(out)
    anew = {path for path, state in states.items() if state != "resumed"}
    row.check(anew == {str(path) for path in kept}, f"{len(anew)} images done anew, not ten")
    wrong = [*differences(out, folder / "undisturbed"), *left_over(out, folder / "temporary")]
    row.wrong += wrong
    row.notes |= {"broken": list(BROKEN), "cells": sum(map(len, whole.values()))}
    return row


def _states(out: Path) -> dict[str, str]:
    record = json.loads((out / "run.json").read_text())
    return {image["source"]: image["state"] for image in record["images"]}


def _rows(out: Path) -> dict[str, list[tuple[str, ...]]]:
    rows: dict[str, list[tuple[str, ...]]] = {}
    with (out / "cells.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            rows.setdefault(row["image"], []).append(tuple(row.values()))
    return rows
