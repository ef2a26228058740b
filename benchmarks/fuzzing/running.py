"""Runs cellseg from the command line on a damaged input, and looks at what it leaves."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import sys
from pathlib import Path
from unittest import mock

from cellseg_core.cli.main import main
from fuzzing.damage import Damaged
from fuzzing.reading import Attempt
from fuzzing.seeds import Seed, seeds_of

__all__ = ["run"]


def run(kind: str, damaged: Damaged, folder: Path) -> Attempt | None:
    """Write a damaged input into an empty folder, run cellseg on it, and judge what comes of it.

    None for kinds that no cheap command reads.
    """
    if kind == "weights" or damaged.seed.name == "gates":
        return None
    path, out = damaged.write(folder), folder.with_name(f"{folder.name}-out")
    shutil.rmtree(out, ignore_errors=True)
    if kind == "labels":
        truth = folder.with_name(f"{folder.name}-truth.tif")
        truth.write_bytes(seeds_of("labels")[0].files["a.tif"])
        status, said = _command("evaluate", truth, path)
    else:
        status, said = _command(
            "run", *_inputs(kind, path, folder), "-o", out, *_given(kind, damaged.seed, path)
        )
    for word in ("Traceback", "bug in cellseg"):
        if word in said:
            return Attempt("escaped", said[-1500:])
    if "MemoryError" in said:
        return Attempt("memory", said[-1500:])
    # Of settings it may be the image that they do not fit.
    names = {Path(name).name for name in (damaged.seed.opened, *damaged.files, "image.tif")}
    if status and not any(name in said for name in names):
        return Attempt("unnamed", said[-1500:])
    wrong = "" if kind == "labels" else _wrong_in(out, status)
    if wrong:
        return Attempt("partial", f"{wrong}; exit status {status}: {said[-1000:]}")
    return Attempt("refused" if status else "read", said[-300:])


def _inputs(kind: str, path: Path, folder: Path) -> list[Path]:
    if kind != "toml":
        return [path]
    image = folder / "image.tif"
    image.write_bytes(seeds_of("channels")[0].files["image.tif"])
    (folder / "channelNames.txt").write_text("DAPI\nCD3\nCD20\n", encoding="utf-8")
    return [image]


def _given(kind: str, seed: Seed, path: Path) -> list[str]:
    given = ["--segmenter=watershed", "--write=csv,fcs,labels,overlay", "--quiet"]
    given += [f"--nuclear={seed.nuclear}"] if seed.nuclear else []
    if kind == "tiff":
        given.append("--brightness=each")
    if seed.layout != "auto":
        given.append(f"--layout={seed.layout}")
    if kind == "toml":
        given.append(f"--config={path}")
    names = path.parent / "names.csv"
    return [*given, f"--channels={names}"] if names.exists() else given


def _command(*arguments: object) -> tuple[int, str]:
    """Return the exit status of a command of cellseg, and what it said."""
    said = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["cellseg", *map(str, arguments)]),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        try:
            main()
        except SystemExit as stopped:
            return int(stopped.code or 0), said.getvalue()
        except Exception as error:  # noqa: BLE001 - what escapes is what is looked for
            return 1, f"{said.getvalue()}Traceback: {type(error).__name__}: {error}"
    return 0, said.getvalue()


def _wrong_in(out: Path, status: int) -> str:
    """Return what is wrong with a folder of results: too little, or more than was done."""
    left = sorted(one.name for one in out.glob("*") if not one.name.startswith("."))
    if not (out / "run.json").is_file():
        return f"no run.json, but {left}" if left or not status else ""
    images = json.loads((out / "run.json").read_text(encoding="utf-8"))["images"]
    done = {one["name"]: one for one in images if one["state"] != "failed"}
    if bool(status) != (len(done) < len(images)):
        return f"{len(done)} of {len(images)} images are done"
    folders = {one.name for one in out.iterdir() if one.is_dir() and not one.name.startswith(".")}
    if folders != set(done):
        return f"folders {sorted(folders)} and images done {sorted(done)}"
    for name, one in done.items():
        missing = [file for file in one["facts"]["files"] if not (out / name / file).is_file()]
        if missing:
            return f"{name} has no {', '.join(missing)}"
    if not (out / "cells.csv").is_file():
        return ""
    with (out / "cells.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    if table and "image" not in table[0]:  # the columns of another style
        cells = sum(one["cells"] for one in done.values())
        return "" if len(table) == cells else f"cells.csv has {len(table)} cells of {cells}"
    rows = [row["image"] for row in table]
    counted = {name: one["cells"] for name, one in done.items() if one["cells"]}
    found = {name: rows.count(name) for name in dict.fromkeys(rows)}
    return "" if found == counted else f"cells.csv has {found}, and run.json {counted}"
