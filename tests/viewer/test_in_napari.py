"""What needs napari is tested in a process of its own.

Mesa, which draws without a screen, and TensorFlow, which other tests import, cannot be in one
process: both bring LLVM.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "in_napari"


def test_the_tests_in_napari_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", FOLDER],
        cwd=FOLDER.parents[2],
        env={**os.environ, "CELLSEG_IN_NAPARI": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    if " passed" not in done.stdout or "SKIPPED" in done.stdout:
        pytest.skip(done.stdout[-500:])
