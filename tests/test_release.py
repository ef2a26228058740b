"""What is released: the same bytes each time, all that belongs in it, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from cellseg_core.provenance import environment

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = {
    "cellseg_core/": "cellseg_core/",
    "backends/cellseg_backends/": "cellseg_backends/",
    "io/cellseg_io/": "cellseg_io/",
    "postprocess/cellseg_postprocess/": "cellseg_postprocess/",
    "viewer/cellseg_viewer/": "cellseg_viewer/",
}
# Beside modules, a wheel has these, and everything in the folders `shipped`.
DATA = {".css", ".j2", ".js", ".json", ".typed", ".yaml"}
MIB = 2**20


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tracked() -> set[str]:
    """Return the files of the checkout, but for those that are ignored."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout, to know which files belong to it")
    listing = ("ls-files", "--cached", "--others", "--exclude-standard")
    done = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", *listing, "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    return {name for name in done.stdout.split("\0") if (ROOT / name).is_file()}


def built(folder: Path, moment: int, mode: int) -> dict[str, bytes]:
    """Build a copy of the checkout, with files left about, and return what was made."""
    for name in tracked():
        target = folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
        target.chmod(mode | (0o111 if os.access(ROOT / name, os.X_OK) else 0))
        os.utime(target, (moment, moment))
    for left in (
        ".env",
        ".ci-work/big",
        "cellseg_core/__pycache__/old.pyc",
        "cellseg-demo/cells.csv",
    ):
        (folder / "source" / left).parent.mkdir(exist_ok=True)
        (folder / "source" / left).write_bytes(b"left here")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist")]
    done = subprocess.run(
        [*command, str(folder / "source")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: path.read_bytes() for path in (folder / "dist").iterdir()}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    built(folder, 1_600_000_000, 0o644)
    return folder / "dist"


def test_two_builds_in_two_places_at_two_times_are_the_same_to_the_byte(
    dist: Path, tmp_path: Path
) -> None:
    again = built(tmp_path / "another place", 1_700_000_000, 0o600)
    assert sorted(again) == [
        f"cellseg_core-{PROJECT['version']}-py3-none-any.whl",
        f"cellseg_core-{PROJECT['version']}.tar.gz",
    ]
    for name, content in again.items():
        assert content == (dist / name).read_bytes(), name


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(dist: Path) -> None:
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
    info = f"cellseg_core-{PROJECT['version']}.dist-info/"
    about = {"METADATA", "RECORD", "WHEEL", "entry_points.txt"}
    about |= {f"licenses/{name}" for name in PROJECT["license-files"]}
    modules = {
        place + name.removeprefix(folder)
        for name in tracked()
        for folder, place in PACKAGES.items()
        if name.startswith(folder)
    }
    assert names == modules | {info + name for name in about}
    kinds = {Path(name).suffix for name in modules if "/shipped/" not in name}
    assert kinds == {".py", *DATA}
    assert path.stat().st_size < 40 * MIB


def test_the_sdist_has_the_whole_checkout_and_nothing_that_lies_about(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        members = archive.getmembers()
    assert all(member.isfile() for member in members)
    inside = {member.name.partition("/")[2] for member in members}
    assert inside == tracked() | {"PKG-INFO"}
    assert path.stat().st_size < 50 * MIB


def test_the_version_stands_in_one_place() -> None:
    told = PROJECT["version"]
    assert version("cellseg-core") == told
    assert environment()["cellseg"] == told
    said = subprocess.run(
        [sys.executable, "-m", "cellseg_core", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == f"cellseg {told}"
    for page in ("README.md", "docs/install.md", "docs/citation.md"):
        assert set(re.findall(r"\bcellseg (\d+\.\d+\.\d+)", text(page))) <= {told}, page
    assert "version:" not in text("CITATION.cff").replace("cff-version:", "")
    for name in tracked():
        if name.endswith(".py") and any(name.startswith(folder) for folder in PACKAGES):
            assert "__version__ =" not in text(name), name


def pins(name: str) -> dict[str, Version]:
    lines = [line for line in text(name).splitlines() if line and not line.startswith("#")]
    pairs = (line.split("==") for line in lines)
    return {canonicalize_name(package): Version(number) for package, number in pairs}


def test_the_oldest_versions_are_the_bounds_and_the_newest_are_within_them() -> None:
    oldest, newest = pins("constraints-minimum.txt"), pins("constraints.txt")
    for requirement in map(Requirement, PROJECT["dependencies"]):
        package = canonicalize_name(requirement.name)
        (bound,) = (part for part in requirement.specifier if part.operator == ">=")
        assert oldest[package].release[:3] >= Version(bound.version).release[:3], package
        assert str(oldest[package]).startswith(bound.version), package
        assert newest[package] in requirement.specifier, package
    for requirement in map(Requirement, PROJECT["optional-dependencies"]["dev"]):
        assert newest[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_licence_of_every_direct_dependency_is_listed() -> None:
    listed = set(
        re.findall(r"^\| ([a-z\d-]+) \| \S", text("THIRD_PARTY_LICENSES.md"), re.MULTILINE)
    )
    extras = PROJECT["optional-dependencies"]
    wanted = [
        *PROJECT["dependencies"],
        *(
            one
            for extra in extras.keys() - {"all", "dev", "docs", "notebook"}
            for one in extras[extra]
        ),
    ]
    assert {canonicalize_name(Requirement(one).name) for one in wanted} <= listed
    assert "not stated" not in text("THIRD_PARTY_LICENSES.md")


def test_the_workflow_runs_the_same_check_on_three_systems_with_the_versions_we_name() -> None:
    workflow = yaml.safe_load(text(".github/workflows/ci.yml"))
    assert workflow["permissions"] == {"contents": "read"}
    job = workflow["jobs"]["check"]
    matrix = job["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["system"]} == {"ubuntu", "macos", "windows"}
    pythons = {*matrix["python"], *(one["python"] for one in matrix["include"])}
    named = {one.rpartition(" :: ")[2] for one in PROJECT["classifiers"] if "Python :: 3." in one}
    assert pythons == named
    assert job["steps"][-1]["run"] == ".ci/run"
    for step in job["steps"]:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step.get("uses", "a/a@" + "0" * 40))


def test_every_file_that_the_oldest_versions_are_tested_with_is_there() -> None:
    for name in text(".ci/oldest.txt").split():
        assert (ROOT / name).exists(), name


@pytest.fixture
def copy(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the release script of a small repository."""
    root = tmp_path / "repository"
    (root / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "release.py", root / "tools")
    (root / "pyproject.toml").write_text(
        '[project]\nname = "x"\nversion = "1.0"\n', encoding="utf-8"
    )

    def run(changelog: str, *, commit: bool = True, tag: str = "") -> str:
        (root / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        commands = [("init", "--quiet")]
        if commit:
            commands += [("add", "."), ("commit", "--quiet", "-m", "all")]
        if tag:
            commands += [("tag", tag)]
        for command in commands:
            subprocess.run(["git", *identity, *command], cwd=root, check=True, capture_output=True)
        command = [sys.executable, str(root / "tools" / "release.py"), "--skip-demo"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stdout
        assert not (root / "dist").exists() or "two builds" not in done.stdout
        return done.stderr

    return run


READY = "# Changelog\n\n## 1.0 (2026-11-24)\n\n- New.\n"


def test_nothing_is_released_that_is_not_committed(copy) -> None:
    assert "commit these first" in copy(READY, commit=False)


def test_no_version_is_released_twice(copy) -> None:
    assert "there is a tag v1.0 already" in copy(READY, tag="v1.0")


@pytest.mark.parametrize(
    ("changelog", "why"),
    [
        ("# Changelog\n\n## Unreleased\n\n- New.\n", "'## Unreleased'"),
        ("# Changelog\n\n## 0.9 (2026-11-24)\n\n- New.\n", "'## 0.9 (2026-11-24)'"),
        ("# Changelog\n\n## 1.0 (2026-11-24)\n\n", "has no line"),
    ],
)
def test_nothing_is_released_without_its_section_of_the_changelog(copy, changelog, why) -> None:
    assert why in copy(changelog)
