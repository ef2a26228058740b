"""The same as fuzz.py, led by which lines of the readers a damaged file reaches (atheris).

libFuzzer changes the files that reach something new further and further. It needs
`pip install atheris` (Linux, Python 3.11 to 3.13), and stops at the first fault, which it keeps.

    python benchmarks/fuzz_guided.py [--readers tiff,png] [--seconds 60] [--out FOLDER]

`--again FILE --readers KIND` reads one input that was kept.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "fuzz-guided"
MEMORY_MB = 2048
INSTRUMENTED = ["cellseg_io", "tifffile", "zarr", "PIL", "tomllib"]


def main() -> int:
    """Lead the fuzzer over each reader for some time, and return 1 where there was a fault."""
    from fuzzing.seeds import KINDS

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--readers", default=",".join(KINDS), metavar="NAME,NAME...")
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for inputs at fault")
    parser.add_argument("--again", type=Path, metavar="FILE", help="read an input that was kept")
    options = parser.parse_args()
    failed = []
    for kind in options.readers.split(","):
        kept = options.out / kind
        kept.mkdir(parents=True, exist_ok=True)
        limits = [
            f"-max_total_time={options.seconds}", "-timeout=10", f"-rss_limit_mb={MEMORY_MB}",
            f"-seed={options.seed}", f"-artifact_prefix={kept}/", "-print_final_stats=1",
            "-max_len=65536",
        ]  # fmt: skip
        where = [str(options.again)] if options.again else []
        command = [sys.executable, __file__, "--lead", kind, *limits, *where]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False
        )
        stats = [line.split(": ")[-1].strip() for line in done.stderr.splitlines()
                 if "number_of_executed_units" in line or "peak_rss_mb" in line]  # fmt: skip
        tried, peak = [*stats, "?", "?"][:2]
        told = "no fault" if done.returncode == 0 else f"FAULT, kept in {kept}"
        print(f"{kind:<13} {tried:>8} inputs, peak {peak} MB: {told}", flush=True)
        if done.returncode:
            failed.append(kind)
            print(done.stderr[-3000:])
    return 1 if failed else 0


def lead(kind: str, arguments: list[str]) -> None:
    """Hand the reader of a kind to atheris, which does not return."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        import PIL.Image
        import tifffile
        import zarr

        import cellseg_io.codex
        import cellseg_io.ome_zarr
        import cellseg_io.picture
    del PIL, tifffile, zarr, cellseg_io
    from fuzzing.damage import Damaged, damage_content
    from fuzzing.reading import FAULTS, attempt
    from fuzzing.seeds import seeds_of

    # The first byte of an input says which file of which seed the rest stands for.
    slots = [(seed, name) for seed in seeds_of(kind) for name in sorted(seed.files)][:256]
    folder = Path(tempfile.mkdtemp()) / "in"

    def try_one(data: bytes) -> None:
        if not data:
            return
        seed, name = slots[data[0] % len(slots)]
        damaged = Damaged(seed, {**seed.files, name: data[1:]}, ("led",))
        found = attempt(kind, damaged, folder)
        if found.result in FAULTS:
            raise AssertionError(f"{kind} {seed.name} {name}: {found}")

    def change(data: bytes, longest: int, seed: int) -> bytes:
        chance = random.Random(seed)  # noqa: S311 - no secret
        if len(data) < 2 or chance.random() < 0.4:
            return bytes(atheris.Mutate(data, longest))
        _, name = slots[data[0] % len(slots)]
        changed, _ = damage_content(name, data[1:], chance)
        return (data[:1] + changed)[:longest]

    given: list[Any] = [sys.argv[0], *arguments]
    if all(one.startswith("-") for one in arguments):
        corpus = Path(tempfile.mkdtemp())
        for number, (seed, name) in enumerate(slots):
            (corpus / str(number)).write_bytes(bytes([number]) + seed.files[name])
        given.append(str(corpus))
    atheris.Setup(given, try_one, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--lead"]:
        lead(sys.argv[2], sys.argv[3:])
    raise SystemExit(main())
