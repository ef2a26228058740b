"""Whether anything is lost, hangs or leaks when runs are killed, robbed, or given what is broken.

Draws a small slide whose cells are known, a third of them at the seams of tiles, and runs `cellseg
run` over it (watershed) under each kind of fault:

- kills: SIGKILL at any time, or at any operation on files, of the run, of all its processes, or of
  one worker, until it is done; one process and two workers; all writers
- batch: 100 images of which ten are broken in ten ways, mended and run again
- disks: OUT on a disk that is full at a random point, and has room later
- places: clocks, locks, caches, two runs at once, folders that are not there or go away
- network: an OME-Zarr from a web server that fails at random

Results are compared with those of an undisturbed run, to the last byte, and the cells with those
that were drawn. Prints what was tried and what went wrong, writes JSON, and leaves with 1 if
anything did.

    python benchmarks/faults.py [--kinds kills,batch,disks,places,network] [--kills 200]
                                [--images 100] [--disks 12] [--servers 3] [--seed 1] [--out FOLDER]

For POSIX systems; a kind that cannot be tried on one says so.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import common
from faults_of.batches import batch
from faults_of.full_disks import full_disks
from faults_of.kills import soak
from faults_of.networks import networks
from faults_of.places import places
from faults_of.trials import Row

KINDS: dict[str, Callable[[Path, argparse.Namespace], list[Row]]] = {
    "kills": lambda folder, options: [soak(folder, options.kills, options.seed)],
    "batch": lambda folder, options: [batch(folder, options.images)],
    "disks": lambda folder, options: [full_disks(folder, options.disks, options.seed)],
    "places": lambda folder, _: places(folder),
    "network": lambda folder, options: [networks(folder, options.servers, options.seed)],
}


def main() -> None:
    """Try all kinds, print the table, and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--kinds", default=",".join(KINDS), metavar="KIND,KIND...")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--images", type=int, default=100, help="ten of them are broken")
    parser.add_argument("--disks", type=int, default=12)
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=common.RESULTS, help="folder for results")
    options = parser.parse_args()
    chosen = options.kinds.split(",")
    if not set(chosen) <= set(KINDS):
        parser.error(f"--kinds are among {', '.join(KINDS)}")
    found: dict[str, object] = {}
    wrong = 0
    print(f"{'kind':<12}{'tried':>6}{'wrong':>7}{'s':>7}  what")
    for kind in chosen:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="cellseg-faults-") as folder:
            rows = KINDS[kind](Path(folder), options)
        seconds = time.monotonic() - began
        found[kind] = {"seconds": round(seconds), "rows": [attrs.asdict(row) for row in rows]}
        for row in rows:
            print(f"{row.kind:<12}{row.times:>6}{len(row.wrong):>7}{seconds:>7.0f}  {row.tried}")
            for name, value in row.notes.items():
                print(f"{'':<34}{name}: {value}")
            for what in row.wrong:
                print(f"{'':<12}WRONG: {what}", flush=True)
            wrong += len(row.wrong)
    common.write(options, "faults", {"seed": options.seed, "kinds": found}, None)
    print("nothing was lost, hung or leaked" if not wrong else f"{wrong} things went wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
