"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real images, or skip with the reason why it cannot be used."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CELLSEG_TEST_DATA", default))
    if not (folder / "imc_spleen").is_dir():
        pytest.skip(f"needs the real test images; {folder} has none (set CELLSEG_TEST_DATA)")
    return folder
