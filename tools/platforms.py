"""Tell for which systems and versions of Python everything that cellseg needs has wheels.

python tools/platforms.py [--constraints FILE]; it needs uv and a package index, installs nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = {
    "Linux x86-64": "x86_64-manylinux_2_36",  # of 2023
    "Linux ARM": "aarch64-manylinux_2_36",
    "macOS ARM": "aarch64-apple-darwin",
    "macOS Intel": "x86_64-apple-darwin",
    "Windows": "x86_64-pc-windows-msvc",
}
# They are pure Python, and published as source alone.
SOURCE_ONLY = ("docrep", "flowio", "pims")


def missing(python: str, system: str, extra: str, constraints: Path | None) -> str:
    """Return why an installation would fail, or nothing."""
    command = ["uv", "pip", "compile", "--quiet", "--no-header", "--python-version", python]
    command += ["--python-platform", system, "--only-binary", ":all:", "--output-file", os.devnull]
    for name in SOURCE_ONLY:
        command += ["--no-binary", name]
    if extra:
        command += ["--extra", extra]
    if constraints:
        command += ["--constraints", str(constraints)]
    done = subprocess.run(
        [*command, str(ROOT / "pyproject.toml")],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr


def main() -> None:
    """Print a table: what fails in each place, with the reasons below."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--constraints", type=Path, help="versions to hold to")
    given = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = ["", *(extra for extra in project["optional-dependencies"] if extra != "all")]
    reasons = []
    for name, system in SYSTEMS.items():
        for python in PYTHONS:
            lacking = []
            for extra in extras:
                reason = missing(python, system, extra, given.constraints)
                if reason:
                    lacking.append(extra or "cellseg itself")
                    reasons.append(f"{name}, {python}, {extra or 'itself'}: {reason}")
                if reason and not extra:
                    break
            print(f"{name:<14}{python:<6}{'without ' + ', '.join(lacking) if lacking else 'all'}")
    sys.stderr.write("\n".join(reasons))


if __name__ == "__main__":
    main()
