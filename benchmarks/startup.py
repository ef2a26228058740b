"""How long it takes until cellseg is there: `import cellseg_core` and `cellseg --help`.

Compared in the same run with starting Python and with importing numpy, which is most of it.
Run it where all backends are installed: they must not cost anything before they are used.

    python benchmarks/startup.py [--repeats 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import distributions, version
from pathlib import Path

CASES = {
    "python": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import cellseg_core": ["-c", "import cellseg_core"],
    "import everything in cellseg_core.__all__": ["-c", "from cellseg_core import *"],
    "cellseg --help": ["-m", "cellseg_core", "--help"],
    "cellseg run --help": ["-m", "cellseg_core", "run", "--help"],
    "cellseg plugins": ["-m", "cellseg_core", "plugins"],
}
BACKENDS = ("tensorflow", "tensorflow_cpu", "keras", "torch", "stardist", "cellpose")


def seconds(arguments: list[str]) -> float:
    """Return the wall time of one fresh Python process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    installed = {d.metadata["Name"].lower().replace("-", "_") for d in distributions()}
    rows = {}
    # Turn by turn, so that a busy moment of the machine hits every case alike.
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(options.repeats + 1):
        for name, arguments in CASES.items():
            times[name].append(seconds(arguments))
    base = statistics.median(times["import numpy"][1:])
    for name, runs in times.items():
        median = statistics.median(runs[1:])
        rows[name] = {
            "median_s": round(median, 4),
            "min_s": round(min(runs[1:]), 4),
            "max_s": round(max(runs[1:]), 4),
            "ratio_to_import_numpy": round(median / base, 2),
        }
        print(f"{name:<44} {median:.3f} s  ({median / base:.2f} x import numpy)")
    report = {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "cellseg": version("cellseg-core"),
        "backends_installed": sorted(installed & set(BACKENDS)),
        "repeats": options.repeats,
        "cases": rows,
    }
    print(f"backends installed: {', '.join(report['backends_installed']) or 'none'}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
