"""Check that a release can be made, and make its files; nothing is uploaded.

python tools/release.py [--dry-run] [--out FOLDER] [--skip-demo]

It checks the tree, the changelog and the tag, builds sdist and wheel from two clones and compares
them to the byte, checks them with twine, installs the wheel into fresh environments with the oldest
and with the newest versions, runs ``cellseg demo`` there, and writes SHA256SUMS. At last it says
which commands would publish them. With ``--dry-run`` it says what is not ready and builds from the
last commit all the same. Run ``.ci/run`` before: it is not run here.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


class NotReady(Exception):  # noqa: N818 - it says what is the matter
    """Why there can be no release, and what to do."""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Return what a program writes; what it says is shown if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        shown = " ".join(str(part) for part in command)
        raise NotReady(f"{shown} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def version_of(root: Path) -> str:
    """Return the version, which stands in pyproject.toml alone."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def check_changelog(text: str, version: str) -> None:
    r"""Raise an error unless the first section is the version's, with its date and its lines.

    >>> check_changelog("# Changelog\n\n## 0.1.0 (2026-11-24)\n\n- New.\n", "0.1.0")
    """
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    first = sections[0] if sections else ""
    head, _, body = first.partition("\n")
    if not re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", head.strip()):
        raise NotReady(
            f"the first section of CHANGELOG.md is '## {head.strip()}'. Write "
            f"'## {version} (YEAR-MONTH-DAY)', or another version into pyproject.toml."
        )
    if not re.search(r"^- ", body, re.MULTILINE):
        raise NotReady(f"the section {version} of CHANGELOG.md has no line.")


def check_tree(root: Path, version: str) -> None:
    """Raise an error if something is not committed, or the version was released before."""
    left = run("git", "status", "--porcelain", cwd=root)
    if left:
        raise NotReady(f"commit these first, or remove them:\n{left}")
    if run("git", "tag", "--list", f"v{version}", cwd=root):
        raise NotReady(f"there is a tag v{version} already: raise the version in pyproject.toml.")


def build(clone: Path, out: Path) -> dict[str, str]:
    """Clone the last commit, build both files, and return their SHA-256."""
    run("git", "clone", "--quiet", "--no-hardlinks", ROOT, clone)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, clone)
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())
    }


def try_wheel(wheel: Path, constraints: Path, folder: Path) -> str:
    """Install a wheel into a fresh environment, run its main job, and return its version."""
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    run(scripts / "python", "-m", "pip", "install", "--quiet", "-c", constraints, wheel)
    run(scripts / "cellseg", "demo", "--quiet", "--output", folder / "demo", cwd=folder)
    return run(scripts / "cellseg", "--version", cwd=folder)


def check(version: str) -> Iterator[NotReady]:
    """Give every reason not to release the last commit as this version."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for look in (lambda: check_tree(ROOT, version), lambda: check_changelog(changelog, version)):
        try:
            look()
        except NotReady as reason:
            yield reason


def release(out: Path, *, dry: bool, demo: bool) -> None:
    """Do it all, or raise the first error."""
    version = version_of(ROOT)
    print(f"cellseg {version}")
    reasons = list(check(version))
    if reasons and not dry:
        raise reasons[0]
    for reason in reasons:
        print(f"not ready, but this is a dry run: {reason}")
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "one"), Path(folder, "another place")
        sums = build(first / "cellseg", out)
        again = build(second / "cellseg", second / "dist")
        if sums != again:
            raise NotReady(f"two builds differ: {sums} and {again}")
    print("two builds from two clones are the same to the byte")
    files = [out / name for name in sums]
    run(sys.executable, "-m", "twine", "check", "--strict", *files)
    print("twine finds no fault")
    (wheel,) = out.glob("*.whl")
    for name in ("constraints-minimum.txt", "constraints.txt") if demo else ():
        with tempfile.TemporaryDirectory() as folder:
            told = try_wheel(wheel, ROOT / name, Path(folder))
        if told != f"cellseg {version}":
            raise NotReady(f"the wheel says that it is {told!r}")
        print(f"the wheel works with {name}")
    lines = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    (out / "SHA256SUMS").write_text(lines, encoding="ascii", newline="\n")
    print(lines, end="")
    if dry:
        return
    shown = " ".join(str(file) for file in files)
    print(f"If .ci/run was green:\n  git tag v{version} && git push origin v{version}")
    print(f"  python -m twine upload {shown}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="a folder to make")
    parser.add_argument("--dry-run", action="store_true", help="go on where it is not ready")
    parser.add_argument("--skip-demo", action="store_true", help="do not install the wheel")
    given = parser.parse_args()
    if given.out.exists():
        parser.error(f"{given.out} is there already: remove it, or name another folder")
    try:
        release(given.out.absolute(), dry=given.dry_run, demo=not given.skip_demo)
    except NotReady as reason:
        sys.exit(f"Not ready: {reason}")


if __name__ == "__main__":
    main()
