"""Write THIRD_PARTY_LICENSES.md: what cellseg needs, or can use, and under which licences.

python tools/third_party.py, in an environment with ``cellseg-core[all,dev]``. A package that is not
installed there, or that states nothing, keeps the line that it has.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "THIRD_PARTY_LICENSES.md"
HEAD = """# Licences of others

cellseg is under the MIT licence (`LICENSE`). The wheel holds no code of others. `pip` installs the
packages below beside it, each under its own licence, which comes with it. The lines are what the
packages say of themselves; `python tools/third_party.py` writes them.

The weights of networks that come with cellseg (Mask R-CNN, StarDist, Cellpose) were trained for it,
on images in the public domain (CC0), and are under the MIT licence too: `docs/model-card.md` and
`docs/model-card-peers.md`. Weights that `cellseg weights fetch` downloads have licences of their
own: `cellseg weights list` and `docs/weights.md` say which.

"""
ROW = re.compile(r"^\| ([\w.-]+) \| (.+) \|$", re.MULTILINE)


def licence(package: Distribution) -> str:
    """Return what a package says of its licence, in a line."""
    about = package.metadata
    stated = about.get("License-Expression") or ""
    named = [
        one.rpartition(" :: ")[2]
        for one in about.get_all("Classifier") or []
        if one.startswith("License :: ") and not one.endswith(" :: OSI Approved")
    ]
    text = (about.get("License") or "").strip().splitlines()
    if stated or named:
        return stated or ", ".join(named)
    return text[0] if text and len(text[0]) < 80 else ""


def needed(requirements: Iterable[str]) -> Iterable[str]:
    """Return the names of those requirements that hold here, without those of extras."""
    for one in map(Requirement, requirements):
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            yield canonicalize_name(one.name)


def closure(names: Iterable[str]) -> set[str]:
    """Return the packages and all that they ask for."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            try:
                waiting.extend(needed(distribution(name).requires or []))
            except PackageNotFoundError:
                continue
    return found


def table(title: str, names: Iterable[str], before: dict[str, str]) -> str:
    """Return the table of some packages."""
    rows = []
    for name in sorted(names):
        try:
            told = licence(distribution(name)).replace("|", "/")
        except PackageNotFoundError:
            told = ""
        told = told or before.get(name, "not stated")
        rows.append(f"| {name} | {told} |")
    return f"## {title}\n\n| package | licence |\n|---|---|\n" + "\n".join(rows) + "\n"


def page() -> str:
    """Return the page for the packages that are installed here."""
    before = dict(ROW.findall(TARGET.read_text(encoding="utf-8"))) if TARGET.is_file() else {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    always = closure(needed(project["dependencies"]))
    more = {
        name
        for extra in extras.keys() - {"all", "dev", "docs", "notebook"}
        for name in needed(extras[extra])
    } - always
    return "\n".join(
        [
            HEAD + table("Needed: installed with cellseg", always, before),
            table("Optional: installed where an extra asks for it", more, before),
        ]
    )


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8", newline="\n")
