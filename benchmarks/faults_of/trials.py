"""What all kinds of faults share: a slide whose truth is known, runs over it, and their check."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import numpy as np
import psutil
import tifffile
from numpy.typing import NDArray

PATIENCE = 600.0
"""Seconds after which a run counts as hung; undisturbed it takes about five on an idle machine."""

STEP = 20  # px between nuclei
TILE = 60  # px: every third row and column of nuclei is at a seam
DIAMETER = 10
_BUG = ("Traceback", "bug in cellseg")
_TIMES = re.compile(rb">[\d.,]+</td></tr>|Started</dt><dd>.*?</dd>")


@attrs.define
class Row:
    """A line of the table: what was tried, how often, and what went wrong."""

    kind: str
    tried: str
    times: int = 0
    wrong: list[str] = attrs.field(factory=list)
    notes: dict[str, object] = attrs.field(factory=dict)

    def check(self, right: bool, otherwise: str) -> None:
        """Note what is wrong, unless it is right."""
        if not right:
            self.wrong.append(otherwise)


def draw(edge: int, seed: int) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Return two channels (C, Y, X) with bright discs, and the centres (N, 2) of these."""
    rng = np.random.default_rng(seed)
    rows = np.arange(STEP // 2, edge - STEP // 2 + 1, STEP)
    grid = np.stack(np.meshgrid(rows, rows, indexing="ij"), axis=-1).reshape(-1, 2)
    centres = grid + rng.integers(-3, 4, grid.shape)
    planes = rng.normal(200, 10, (2, edge, edge))
    y, x = np.mgrid[:edge, :edge]
    for number, (row, col) in enumerate(centres):
        box = np.s_[max(0, row - 8) : row + 9, max(0, col - 8) : col + 9]
        disc = (y[box] - row) ** 2 + (x[box] - col) ** 2 <= (DIAMETER / 2) ** 2
        planes[0][box] += 900 * disc
        planes[1][box] += 100 * (number % 7) * disc
    return planes.clip(0, 65535).astype(np.uint16), centres


def write_image(path: Path, pixels: NDArray[np.generic], nuclear: str = "DAPI") -> Path:
    """Write an OME-TIFF of two channels."""
    names = {"axes": "CYX", "Channel": {"Name": [nuclear, "CD45"]}}
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=names)
    return path


def run_of(inputs: Path | str | Sequence[Path], out: Path, *more: object) -> list[str]:
    """Return the arguments of ``cellseg`` for a run."""
    images = [inputs] if isinstance(inputs, (str, Path)) else inputs
    given = (
        *("run", *images, "-o", out, "--nuclear", "DAPI", "--segmenter", "watershed"),
        *("--nuclear-diameter", DIAMETER, "--tile", TILE, "--expand", 2, "--compensate", *more),
    )
    return list(map(str, given))


@attrs.frozen
class Ended:
    """How a command ended: None as status where it hung and was killed."""

    status: int | None
    said: str

    @property
    def told(self) -> bool:
        """Whether it failed with a message for users, and not as a bug."""
        return self.status == 1 and not any(sign in self.said for sign in _BUG)


class Started:
    """A command in a session of its own, so that whatever it leaves behind is found."""

    def __init__(self, arguments: Sequence[str], temporary: Path, code: str = "") -> None:
        self.log = (temporary.parent / f"{temporary.name}-{time.monotonic_ns()}.log").open("w+b")
        start = ("-c", code) if code else ("-m", "cellseg_core")
        temporary.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, *start, *arguments],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(temporary)},
            start_new_session=True,
        )

    def mates(self) -> list[psutil.Process]:
        """Return all living processes of its session, itself included."""
        found = []
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
                if os.getsid(one.pid) == self.process.pid and one.status() != "zombie":
                    found.append(one)
        return found

    def ended(self) -> Ended:
        """Wait until it is over."""
        try:
            status: int | None = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            status = None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.seek(0)
        said = self.log.read().decode(errors="replace")
        self.log.close()
        Path(self.log.name).unlink()
        return Ended(status, said)

    def orphans(self) -> list[str]:
        """Return what still runs half a minute after the end, having killed it."""
        left = wait_until(lambda: not self.mates(), 30) or self.mates()
        for one in [] if left is True else left:
            one.kill()
        return [] if left is True else [" ".join(one.cmdline())[:80] for one in left]


def finish(arguments: Sequence[str], temporary: Path, code: str = "") -> Ended:
    """Run a command to its end."""
    return Started(arguments, temporary, code).ended()


def wait_until(what: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Wait for something, and tell whether it came."""
    end = time.monotonic() + patience
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def differences(out: Path, undisturbed: Path) -> list[str]:
    """Return which results are not those of the undisturbed run, to the last byte.

    ``run.json`` and the folder ``.cellseg`` hold seconds and times; those in the report are left
    out of it.
    """
    there, wanted = (_contents(folder) for folder in (out, undisturbed))
    return [
        f"{name} {'differs' if name in there and name in wanted else 'is missing or too many'}"
        for name in sorted(set(there) | set(wanted))
        if there.get(name) != wanted.get(name)
    ]


def _contents(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(".cellseg/") and name != "run.json":
            content = path.read_bytes()
            found[name] = _TIMES.sub(b"", content) if name.endswith(".html") else content
    return found


def lost_or_doubled(table: Path, centres: NDArray[np.int64]) -> tuple[int, int]:
    """Return how many true cells no row is of, and how many rows are of no cell or a second."""
    with table.open(encoding="utf-8", newline="") as stream:
        found = [(float(row["y"]), float(row["x"])) for row in csv.DictReader(stream)]
    from scipy.spatial import KDTree

    far, nearest = KDTree(centres).query(np.array(found).reshape(-1, 2))
    counts = Counter(np.asarray(nearest)[np.asarray(far) < DIAMETER / 4].tolist())
    return len(centres) - len(counts), len(found) - len(counts)


def left_over(out: Path, temporary: Path | None = None) -> list[str]:
    """Return the files that should have gone with the run: parts, tiles, what is temporary."""
    work = out / ".cellseg"
    left = [*out.rglob(".cellseg-*"), *work.glob("unfinished-*"), *work.glob("tiles/*/*")]
    # Dask keeps two empty files that it locks, for ever.
    if temporary is not None:
        left += [one for one in temporary.rglob("*") if one.is_file() and one.suffix != ".lock"]
    return [str(path) for path in left]


def shared_memory() -> set[str]:
    """Return the names of what lies in shared memory, but for what others may have there."""
    place = Path("/dev/shm")  # noqa: S108 - looked at only
    return {path.name for path in place.iterdir()} if place.is_dir() else set()
