"""Whether damaged files of every kind are read, or refused with their name, and nothing else.

Valid files of each kind are damaged in ways that fit their format (tags, pages that follow each
other in a circle, sizes, descriptions, metadata) and in ways that do not (bits, parts left out,
the end cut off), and read in a process of their own. Every failure must be an error of cellseg
that names the file: no crash, nothing over 10 s, no memory over a bound, no pixels of a file that
was cut off. One in 50 goes through a whole run besides, which must leave nothing that looks like
results where it failed.

    python benchmarks/fuzz.py [--files 10000] [--readers tiff,png] [--seed 0] [--out FOLDER]

Input 123 of a kind is the same on every machine: --readers tiff --only 123 tries it alone.
What was at fault is kept in OUT/faults.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
from fuzzing.damage import numbered
from fuzzing.reading import FAULTS, Attempt
from fuzzing.seeds import KINDS
from fuzzing.worker import State, Worker
from rich.console import Console
from rich.progress import Progress

from cellseg_core.provenance import environment

RESULTS = Path(__file__).parent / "results" / "fuzz"
SETTLED = 200
"""Inputs after which what a process holds should grow no more."""
GROWTH = State(memory=64 * 2**20, peak=2**30, files=0, threads=8)
"""By how much it may grow all the same: allocators keep what was freed."""


def main() -> int:
    """Try the readers, print a table, write JSON, and return 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--files", type=int, default=10_000, help="damaged inputs of each kind")
    parser.add_argument("--readers", default=",".join(KINDS), metavar="NAME,NAME...")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=50, help="run cellseg on one in so many; 0: no")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this one input, and what it is")
    parser.add_argument("--memory", type=int, default=1024, help="MB beyond those of valid files")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for results")
    options = parser.parse_args()
    kinds = options.readers.split(",")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        parser.error(f"there is no reader {unknown[0]!r}; there are: {', '.join(KINDS)}")
    shutil.rmtree(options.out / "faults", ignore_errors=True)
    numbers = range(options.files) if options.only is None else [options.only]
    console = Console(stderr=True)
    found = {}
    with Progress(console=console, disable=not console.is_terminal) as progress:
        for kind in kinds:
            task = progress.add_task(kind, total=len(numbers))
            found[kind] = tried(kind, numbers, options, lambda task=task: progress.advance(task))
            print(row(kind, found[kind]), flush=True)
    faults = sum(len(one["faults"]) for one in found.values())
    inputs = sum(one["inputs"] for one in found.values())
    runs = sum(one["runs"] for one in found.values())
    print(f"{inputs:,} damaged inputs read and {runs:,} of them run as well: {verdict(found)}")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "fuzz.json"
    record = {**environment(), "seed": options.seed, "files": options.files, "readers": found}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")
    if options.only is not None:
        for kind in kinds:
            keep(kind, options.only, options, "input")
    return 1 if faults else 0


def tried(kind: str, numbers: Any, options: argparse.Namespace, step: Any) -> dict[str, Any]:
    """Return how often each result came out of the inputs of a kind, and every fault."""
    began = time.perf_counter()
    results: Counter[str] = Counter()
    faults: list[dict[str, Any]] = []
    slowest, runs, settled = 0.0, 0, None
    with Worker(kind, options.seed, options.memory * 2**20, runs=options.runs > 0) as worker:
        before = worker.state()
        for number in numbers:
            wholes = [False]
            wholes += [True] if options.runs and number % options.runs == 0 else []
            for whole in wholes:
                started = time.perf_counter()
                outcome = worker.attempt(number, whole=whole)
                if outcome is not None and outcome.result == "hung":
                    # The machine may have had other things to do.
                    outcome = worker.attempt(number, whole=whole)
                if outcome is None:
                    continue
                took = time.perf_counter() - started
                runs += whole
                slowest = slowest if whole else max(slowest, took)
                results["run" if whole else outcome.result] += 1
                if outcome.result in FAULTS:
                    faults.append(fault(kind, number, outcome, options, whole=whole))
            if number == SETTLED:
                settled = worker.state()
            step()
        after = worker.state()
    faults += leaks(settled or before, after) if settled else []
    return {
        "inputs": len(numbers),
        "runs": runs,
        "results": dict(results),
        "slowest_s": round(slowest, 2),
        "peak_mb": round(after.peak / 2**20),
        "grown_mb": round((after.memory - (settled or before).memory) / 2**20),
        "seconds": round(time.perf_counter() - began, 1),
        "faults": faults,
    }


def fault(
    kind: str, number: int, outcome: Attempt, options: argparse.Namespace, *, whole: bool
) -> dict[str, Any]:
    """Return what is recorded of a fault, and keep the input that led to it."""
    ways = keep(kind, number, options, "faults")
    return {"number": number, "ways": ways, "run": whole, **attrs.asdict(outcome)}


def keep(kind: str, number: int, options: argparse.Namespace, where: str) -> tuple[str, ...]:
    """Write an input into a folder of its own, and return what was done to it."""
    damaged = numbered(kind, number, options.seed)
    damaged.write(options.out / where / f"{kind}-{number}")
    return damaged.ways


def leaks(settled: State, after: State) -> list[dict[str, Any]]:
    """Return a fault for each thing of which a process holds more and more."""
    grown = {
        name: getattr(after, name) - getattr(settled, name)
        for name in ("memory", "files", "threads")
    }
    return [
        {"result": "leaked", "said": f"{name} grew by {more:,}"}
        for name, more in grown.items()
        if more > getattr(GROWTH, name)
    ]


def row(kind: str, found: dict[str, Any]) -> str:
    """Return what is printed of a kind."""
    results = found["results"]
    wrong = Counter(one["result"] for one in found["faults"])
    told = ", ".join(f"{count} {name}" for name, count in wrong.items()) or "no fault"
    return (
        f"{kind:<13} {found['inputs']:>6} tried: {results.get('read', 0):>5} read, "
        f"{results.get('refused', 0):>5} refused by name; {found['runs']:>3} runs; "
        f"slowest {found['slowest_s']:.1f} s, peak {found['peak_mb']} MB, "
        f"grown by {found['grown_mb']} MB; {told}"
    )


def verdict(found: dict[str, Any]) -> str:
    """Return the last line: that nothing went wrong, or what did and how often."""
    wrong = Counter(one["result"] for kind in found.values() for one in kind["faults"])
    if not wrong:
        return "nothing was lost, hung or leaked"
    told = {**FAULTS, "leaked": "a process that held more and more"}
    return "; ".join(f"{count} {name} ({told[name]})" for name, count in wrong.items())


if __name__ == "__main__":
    raise SystemExit(main())
