"""Folders, caches and clocks that are not what a program hopes for, and two runs at a time."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from faults_of.trials import (
    Row,
    Started,
    differences,
    draw,
    finish,
    left_over,
    run_of,
    wait_until,
    write_image,
)

_MAIN = "\nfrom cellseg_core.cli.main import main\nmain()\n"
_CLOCK = "import sys, time\nshift, real = float(sys.argv.pop(1)), time.time\n"
_NO_LOCK = """
import fcntl, os, sys
code = int(sys.argv.pop(1))
def refuse(*_):
    raise OSError(code, os.strerror(code))
fcntl.flock = refuse
"""
_CACHE = "import os, sys\nos.environ['NUMBA_CACHE_DIR'] = sys.argv.pop(1)\n"
CLOCKS = {
    "in 1970": ("1000", "time.time = lambda: shift"),
    "in 2112": ("4500000000", "time.time = lambda: shift"),
    "an hour back at every look": (
        "3600",
        "import itertools\nn = itertools.count()\ntime.time = lambda: real() - shift * next(n)",
    ),
}


def places(folder: Path) -> list[Row]:
    """Try all of them."""
    image = write_image(folder / "slide.ome.tif", draw(240, 1)[0])
    plain = folder / "undisturbed"
    finish(run_of(image, plain), folder / "temporary")
    return [
        _clocks(folder, image, plain),
        _locks(folder, image, plain),
        _caches(folder, image, plain),
        _two(folder, image, plain),
        _folders(folder, image),
    ]


def _same(row: Row, out: Path, plain: Path, temporary: Path) -> None:
    row.wrong += [*differences(out, plain), *left_over(out, temporary)]


def _clocks(folder: Path, image: Path, plain: Path) -> Row:
    row = Row("clocks", f"the clock is {', '.join(CLOCKS)}")
    for name, (shift, change) in CLOCKS.items():
        out = folder / f"clock {name}"
        ended = finish([shift, *run_of(image, out)], folder / "temporary", _CLOCK + change + _MAIN)
        row.times += 1
        row.check(ended.status == 0, f"{name}: {ended.said[-300:]}")
        _same(row, out, plain, folder / "temporary")
    return row


def _locks(folder: Path, image: Path, plain: Path) -> Row:
    row = Row("locks", "OUT on a file system that knows no locks, in three ways; with a kill")
    for code in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
        out = folder / f"locks-{code}"
        arguments = [str(code), *run_of(image, out)]
        first = Started(arguments, folder / "temporary", _NO_LOCK + _MAIN)
        held = out / ".cellseg" / "lock.held"
        row.check(wait_until(held.is_file), "no lock came")
        second = finish(arguments, folder / "temporary", _NO_LOCK + _MAIN)
        row.check(second.told and "another run" in second.said, f"twice: {second.said[-300:]}")
        first.process.kill()
        first.ended()
        ended = finish(arguments, folder / "temporary", _NO_LOCK + _MAIN)
        row.times += 1
        row.check(ended.status == 0, f"after a kill: {ended.said[-300:]}")
        row.check(not held.exists(), "the lock stays")
        _same(row, out, plain, folder / "temporary")
    return row


def _caches(folder: Path, image: Path, plain: Path) -> Row:
    row = Row("caches", "compiled loops on disk: none, cut to 0 and 100 bytes, two runs at once")
    cache = folder / "cache"
    out = folder / "cached"
    arguments = [str(cache), *run_of(image, out, "--fresh")]
    both = [
        Started(
            [str(cache), *run_of(image, folder / f"cached-{number}")],
            folder / "temporary",
            _CACHE + _MAIN,
        )
        for number in (1, 2)
    ]
    for number, started in enumerate(both, 1):
        ended = started.ended()
        row.times += 1
        row.check(ended.status == 0, f"two at once: {ended.said[-300:]}")
        _same(row, folder / f"cached-{number}", plain, folder / "temporary")
    for size in (0, 100):
        for path in cache.rglob("*.nb[ci]"):
            os.truncate(path, size)
        ended = finish(arguments, folder / "temporary", _CACHE + _MAIN)
        row.times += 1
        row.check(ended.status == 0, f"cut to {size} bytes: {ended.said[-300:]}")
        _same(row, out, plain, folder / "temporary")
    return row


def _two(folder: Path, image: Path, plain: Path) -> Row:
    row = Row("two runs", "two runs into one folder at once, five times")
    for number in range(5):
        out = folder / f"two-{number}"
        both = [Started(run_of(image, out), folder / "temporary") for _ in "12"]
        ended = sorted((one.ended() for one in both), key=lambda one: one.status or 0)
        row.times += 1
        row.check(ended[0].status == 0, f"none was done: {ended[0].said[-300:]}")
        refused = ended[1].told and "another run is writing into" in ended[1].said
        row.check(refused or "(done before)" in ended[1].said, f"the other: {ended[1].said[-300:]}")
        _same(row, out, plain, folder / "temporary")
    return row


def _folders(folder: Path, image: Path) -> Row:
    row = Row("folders", "OUT is a file, cannot be made, vanishes during the run; input vanishes")
    (folder / "file").write_text("")
    for out in (folder / "file", folder / "file" / "out", Path("/proc/cellseg")):
        ended = finish(run_of(image, out), folder / "temporary")
        row.times += 1
        row.check(ended.told and "cannot be written" in ended.said, f"{out}: {ended.said[-300:]}")
    for wanted in (0, 3, 9):
        out = folder / f"vanishes-{wanted}"
        started = Started(run_of(image, out), folder / "temporary")
        wait_until(lambda: len(list(out.rglob("*.npz"))) >= wanted)  # noqa: B023
        while started.process.poll() is None:
            shutil.rmtree(out, ignore_errors=True)
        ended = started.ended()
        row.times += 1
        row.check(ended.told, f"OUT vanished: {ended.said[-500:]}")
    gone = folder / "gone.ome.tif"
    shutil.copy(image, gone)
    started = Started(run_of(gone, folder / "input-gone"), folder / "temporary")
    wait_until(lambda: any((folder / "input-gone").rglob("*.npz")))
    gone.unlink()
    ended = started.ended()
    row.times += 1
    row.check(ended.status == 0 or ended.told, f"the input vanished: {ended.said[-300:]}")
    return row
