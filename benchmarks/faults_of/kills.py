"""Kills: at any time, at any file operation; of the run, of all its processes, of one worker."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import attrs
import numpy as np
import psutil
from numpy.typing import NDArray

from faults_of.trials import (
    PATIENCE,
    TILE,
    Row,
    Started,
    differences,
    draw,
    finish,
    left_over,
    lost_or_doubled,
    run_of,
    shared_memory,
    wait_until,
    write_image,
)

EDGE = 240  # px
MOST = 6  # kills of one run, which is then let finish
WRITERS = ("csv,fcs,labels,overlay,report", "csv,fcs,labels", "csv,labels,parquet,h5ad,geojson")
# From which file on operations are counted, and among how many of them a run is killed.
MOMENTS = ((".cellseg", 60), (".npz", 60), ("unfinished-", 80), ("images/.cellseg-", 12))
PHASES = ("start", "tiles", "after tiles", "writing", "combining", "finished")

# The process ends itself, or its whole group, some time after the n-th operation on files of OUT
# that it makes from that on the first of a certain name.
AT_OPERATION = """
import os, signal, sys, threading, time
out, first, left, delay = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
group, begun = sys.argv[5] == "all", False
del sys.argv[1:6]
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.listdir")
def die():
    time.sleep(delay)
    os.killpg(0, signal.SIGKILL) if group else os.kill(os.getpid(), signal.SIGKILL)
def seen(event, args):
    global left, begun
    if event in EVENTS and out in str(args[0]):
        begun = begun or first in str(args[0])
        left -= begun
        if left == 0:
            threading.Thread(target=die, daemon=True).start() if delay else die()
sys.addaudithook(seen)
from cellseg_core.cli.main import main
main()
"""


@attrs.define
class Soak:
    """Runs that are killed until they are done, again and again.

    Attributes
    ----------
    folder
        Where everything is.
    chance
        What decides over moments and victims.
    row
        What comes of it.
    """

    folder: Path
    chance: random.Random
    row: Row
    phases: Counter[str] = attrs.field(factory=Counter)
    victims: Counter[str] = attrs.field(factory=Counter)
    finished: int = 0
    cells: int = 0

    def run(self, kills: int) -> None:
        """Kill so often, and let the last run finish."""
        pixels, centres = draw(EDGE, seed=1)
        image = write_image(self.folder / "slide.ome.tif", pixels)
        plain: dict[int, tuple[Path, float]] = {}
        temporary, before = self.folder / "temporary", shared_memory()
        while self.row.times < kills:
            number = self.finished % len(WRITERS)
            if number not in plain:
                plain[number] = self._undisturbed(image, number)
            out = self.folder / f"killed-{self.finished}"
            arguments = run_of(image, out, "--write", WRITERS[number])
            lasts = plain[number][1]
            for _ in range(min(MOST, kills - self.row.times)):
                if not self._killed(arguments, out, temporary, lasts):
                    break
            ended = finish(arguments, temporary)
            self.row.check(ended.status == 0, f"ended with {ended.status}: {ended.said[-300:]}")
            self._look_at(out, plain[number][0], centres)
            self.finished += 1
            self._tell(kills)
        # What a killed worker of Dask left in the folder for it is removed by the next.
        out = self.folder / "last"
        if left_over(out, temporary):
            ended = finish([*run_of(image, out, "--write", "csv"), "--workers", "2"], temporary)
            self.row.check(ended.status == 0, f"ended with {ended.status}: {ended.said[-300:]}")
            self.row.wrong += left_over(out, temporary)
        left = shared_memory() - before
        wait_until(lambda: not shared_memory() & left, 10)
        self.row.notes |= {
            "runs that were killed until they were done": self.finished,
            "kills by phase": {name: self.phases[name] for name in PHASES},
            "kills by victim": dict(sorted(self.victims.items())),
            "cells in the results": self.cells,
            "names that came into shared memory and stayed": sorted(shared_memory() & left),
        }

    def _tell(self, kills: int) -> None:
        wrong = "; ".join(self.row.wrong[-3:]) or "nothing wrong"
        print(
            f"{self.row.times} of {kills} kills, {self.finished} runs done: {wrong}",
            file=sys.stderr,
            flush=True,
        )

    def _undisturbed(self, image: Path, number: int) -> tuple[Path, float]:
        """Return a folder of results, and how long they take in s."""
        out, temporary = self.folder / f"undisturbed-{number}", self.folder / "temporary"
        arguments = run_of(image, out, "--write", WRITERS[number])
        began = time.monotonic()
        ended = finish(arguments, temporary)
        self.row.check(ended.status == 0, f"undisturbed, it ended so: {ended.said[-300:]}")
        return out, time.monotonic() - began

    def _killed(self, arguments: list[str], out: Path, temporary: Path, lasts: float) -> bool:
        """Start a run that lasts some s, kill at some moment, and tell whether that ended it."""
        workers = self.chance.random() < 0.2
        victim = self.chance.choice(["run", "all", "worker"] if workers else ["run", "all"])
        if workers:
            arguments, lasts = [*arguments, "--workers", "2"], 2 * lasts
        if victim == "worker" or self.chance.random() < 0.5:
            started = Started(arguments, temporary)
            alive = self._kill_after(started, victim, self.chance.uniform(0, lasts))
        else:
            after = self.chance.choice([0.0, self.chance.uniform(0, 0.1)])
            first, among = self.chance.choice(MOMENTS)
            when = (str(out), first, str(self.chance.randint(1, among)), f"{after:.4f}", victim)
            started = Started([*when, *arguments], temporary, AT_OPERATION)
            alive = True
        if not alive:
            return self._over(started, out, "")
        return self._over(started, out, victim)

    def _kill_after(self, started: Started, victim: str, seconds: float) -> bool:
        try:
            started.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        else:
            return False
        if victim == "all":
            os.killpg(started.process.pid, signal.SIGKILL)
        elif victim == "run":
            started.process.kill()
        else:
            at_work = _workers(started.process.pid)
            if not at_work:
                return False
            self.chance.choice(at_work).kill()
        return True

    def _over(self, started: Started, out: Path, victim: str) -> bool:
        """Look at what is left after a kill, and tell whether the run has to go on."""
        at = phase(out) if victim == "worker" else ""
        ended = started.ended()
        self.row.check(ended.status is not None, f"hung for {PATIENCE:g} s: {ended.said[-300:]}")
        orphans = started.orphans()
        self.row.check(not orphans, f"processes outlived the run: {orphans}")
        if ended.status == -signal.SIGKILL or (victim == "worker" and at):
            self.row.times += 1
            self.phases[at or phase(out)] += 1
            self.victims[{"run": "main process", "all": "all processes"}.get(victim, victim)] += 1
        killed = ended.status == -signal.SIGKILL
        self.row.check(killed or ended.status == 0, f"ended with {ended.status}: {ended.said}")
        return ended.status != 0

    def _look_at(self, out: Path, undisturbed: Path, centres: NDArray[np.int64]) -> None:
        lost, doubled = lost_or_doubled(out / "cells.csv", centres)
        self.cells += len(centres)
        self.row.check(lost == 0, f"{lost} cells lost")
        self.row.check(doubled == 0, f"{doubled} cells doubled or invented")
        self.row.wrong += [*differences(out, undisturbed), *left_over(out)]
        shutil.rmtree(out)


def phase(out: Path) -> str:
    """Return how far a run into a folder came."""
    work = out / ".cellseg"
    if (work / "images" / "slide.json").is_file():
        return "finished" if (out / "run.json").is_file() else "combining"
    if any(work.glob("unfinished-*")):
        return "writing"
    if not any(work.glob("tiles/*/*/plan.json")):
        return "start"
    all_tiles = (EDGE // TILE) ** 2
    return "tiles" if len(list(work.glob("tiles/*/*/*.npz"))) < all_tiles else "after tiles"


def _workers(process: int) -> list[psutil.Process]:
    try:
        children = psutil.Process(process).children(recursive=True)
        return [one for one in children if "resource_tracker" not in " ".join(one.cmdline())]
    except psutil.Error:
        return []


def soak(folder: Path, kills: int, seed: int) -> Row:
    """Kill runs so many times, at random."""
    row = Row("kills", "SIGKILL of the run, of all its processes, or of a worker, at random")
    Soak(folder, random.Random(seed), row).run(kills)  # noqa: S311 - no secret
    return row
