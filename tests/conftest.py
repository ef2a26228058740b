"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real images, or skip with the reason why it cannot be used."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CELLSEG_TEST_DATA", default))
    if not (folder / "imc_spleen").is_dir():
        pytest.skip(f"needs the real test images; {folder} has none (set CELLSEG_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that makes a folder once for all processes of this test run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder = shared / name
        with FileLock(shared / f"{name}.lock"):
            if not folder.is_dir():
                filling = tmp_path_factory.mktemp(name) / "filling"
                filling.mkdir()
                fill(filling)
                filling.rename(folder)
        return folder

    return make
