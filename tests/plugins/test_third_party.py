"""A package of somebody else's is built, installed, found, tested by its own tests, and used."""

from __future__ import annotations

import json
import os
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


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs' folder of a fresh environment with the package installed.

    The environment sees the packages of this one, so that nothing needs to be downloaded.
    """
    folder = tmp_path_factory.mktemp("third-party")
    source = folder / "source"
    shutil.copytree(PACKAGE, source)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", source)
    (wheel,) = (source / "dist").glob("*.whl")
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
