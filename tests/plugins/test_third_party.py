"""A package of somebody else's is built, installed, found, tested by its own tests, and used."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
import tifffile

PACKAGE = Path(__file__).parent / "cellseg-brightspots"


def run(*command: str | Path, **kwargs) -> subprocess.CompletedProcess[str]:
    """Run a program; its output is in the failure, if it fails."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **kwargs
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def wheel_of(source: Path) -> Path:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", source)
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel


def copied(target: Path) -> Path:
    """Copy the package's source, without what tests and builds have left in it."""
    left = shutil.ignore_patterns("__pycache__", "dist", ".*", "*.egg-info")
    return Path(shutil.copytree(PACKAGE, target, ignore=left))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs' folder of a fresh environment with the package installed.

    The environment sees the packages of this one, so that nothing needs to be downloaded.
    """
    folder = tmp_path_factory.mktemp("third-party")
    wheel = wheel_of(copied(folder / "source"))
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, "-c", code).stdout.strip())
    outer = sysconfig.get_path("purelib")
    (site / "outer.pth").write_text(f"import site; site.addsitedir({outer!r})\n")
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel)
    return scripts


def cellseg(environment: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = (environment / "python", "-m", "cellseg_core")
    return run(*command, *arguments)


@pytest.mark.slow
def test_it_is_listed(environment: Path) -> None:
    rows = json.loads(cellseg(environment, "plugins", "--json").stdout)
    (row,) = [row for row in rows if row["name"] == "brightspots"]
    assert row["kind"] == "segmenter"
    assert row["origin"] == "cellseg-brightspots 1.0.0"
    assert row["available"] is True


@pytest.mark.slow
def test_it_passes_its_own_conformance_tests(environment: Path) -> None:
    done = run(
        environment / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", PACKAGE / "tests"
    )
    assert "passed" in done.stdout


@pytest.mark.slow
def test_it_runs_by_its_name_with_its_options(environment: Path, tmp_path: Path) -> None:
    pixels = np.zeros((60, 70), np.uint16)
    pixels[10:20, 10:20] = 1000
    pixels[30:45, 40:52] = 400
    tifffile.imwrite(tmp_path / "image.tif", pixels)
    for threshold, cells in ((0.3, 2), (0.6, 1)):
        out = tmp_path / f"out{cells}"
        cellseg(
            environment, "run", tmp_path / "image.tif", "-o", out, "--segmenter", "brightspots",
            "--set", f"segmenter.threshold={threshold}", "--nuclear-diameter", "12",
        )  # fmt: skip
        record = json.loads((out / "run.json").read_text())
        assert record["cells"] == cells
        assert record["components"]["segmenter"] == {"brightspots": "cellseg-brightspots 1.0.0"}


@pytest.mark.slow
def test_it_is_compared_by_its_name(environment: Path, tmp_path: Path) -> None:
    pixels = np.zeros((60, 70), np.uint16)
    pixels[10:20, 10:20] = 1000
    tifffile.imwrite(tmp_path / "image.tif", pixels)
    cellseg(
        environment, "compare", tmp_path / "image.tif", "-o", tmp_path / "out",
        "--segmenters", "brightspots,watershed", "--nuclear-diameter", "12",
    )  # fmt: skip
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [(one["name"], one["cells"]) for one in found["methods"]] == [
        ("brightspots", 1),
        ("watershed", 1),
    ]
    assert found["methods"][0]["origin"] == "cellseg-brightspots 1.0.0"
    assert "brightspots" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_option_out_of_range_is_told_before_any_work(environment: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            environment / "python", "-m", "cellseg_core", "run", "image.tif",
            "-o", tmp_path / "out", "--segmenter", "brightspots", "--set", "segmenter.threshold=2",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "brightspots.threshold lies between 0 and 1; got 2" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_copied_and_renamed_as_its_readme_says_it_is_another_package(
    environment: Path, tmp_path: Path
) -> None:
    steps = (PACKAGE / "README.md").read_text(encoding="utf-8")
    assert "`brightspots` by `mynuclei`" in steps
    assert "`BrightSpots` by `MyNuclei`" in steps
    mine = copied(tmp_path / "cellseg-mynuclei")
    (mine / "src" / "cellseg_brightspots").rename(mine / "src" / "cellseg_mynuclei")
    for file in mine.rglob("*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            text = text.replace("brightspots", "mynuclei").replace("BrightSpots", "MyNuclei")
            file.write_text(text, encoding="utf-8")
    python = environment / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel_of(mine))
    done = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", mine / "tests")
    assert "passed" in done.stdout
    rows = json.loads(cellseg(environment, "plugins", "--json").stdout)
    names = [row["name"] for row in rows if re.search("brightspots|mynuclei", row["origin"])]
    assert sorted(names) == ["brightspots", "mynuclei"]
