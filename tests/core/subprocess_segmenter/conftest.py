"""What the tests of the segmenter of another environment share: that environment, and its moods."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from cellseg_core.protocols import Segmentation
from cellseg_core.subprocess_segmenter import SubprocessSegmenter

COMPONENTS = Path(__file__).with_name("components")


@attrs.frozen
class Environment:
    """An environment with numpy and a package, ``elsewhere``, that is not in this one."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def site(self) -> Path:
        """The folder that its packages are installed in."""
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        found = subprocess.run(
            [self.python, "-c", code], capture_output=True, check=True, text=True
        )
        return Path(found.stdout.strip())

    def set_version(self, version: str) -> None:
        """Make the package one that is installed in this version."""
        info = self.site / "Else_Where-1.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: Else.Where\nVersion: {version}\n"
            "Requires-Dist: SciPy (>=1)\nRequires-Dist: pytest; extra == 'test'\n"
        )
        (info / "RECORD").write_text("elsewhere/__init__.py,,\nElse_Where-1.dist-info/RECORD,,\n")

    def segmenter(self, component: str = "moods:Moody", **options: Any) -> SubprocessSegmenter:
        """Return the segmenter of a component in the folder ``components``."""
        return SubprocessSegmenter(
            python=str(self.folder), component=f"elsewhere.{component}", **options
        )


@pytest.fixture(scope="session")
def env(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return an environment whose package ``elsewhere`` is the folder ``components``."""
    made = Environment(tmp_path_factory.mktemp("other") / "another env, é")
    venv.create(made.folder)
    site = made.site
    (site / "outer.pth").write_text(str(Path(np.__file__).parents[1]), encoding="utf-8")
    shutil.copytree(COMPONENTS, site / "elsewhere")
    (site / "elsewhere" / "__init__.py").touch()
    made.set_version("1.2")
    with pytest.raises(ImportError):
        __import__("elsewhere")
    return made


@pytest.fixture
def moody(env: Environment) -> Iterator[SubprocessSegmenter]:
    """Return a segmenter that does what its tile says."""
    with env.segmenter() as segmenter:
        yield segmenter


@pytest.fixture(scope="session")
def tile() -> Callable[..., np.ndarray]:
    """Return a function that makes a tile which puts the component in a mood."""
    moods = runpy.run_path(str(COMPONENTS / "moods.py"))["ACTIONS"]

    def make(mood: str = "well") -> np.ndarray:
        made = np.ones((1, 6, 5), np.float32)
        made[0, 0, 0] = moods.index(mood)
        return made

    return make


@pytest.fixture(scope="session")
def number() -> Callable[[Segmentation], int]:
    """Return a function that reads the number of the process that answered with it."""

    def read(found: Segmentation) -> int:
        assert (found.labels == found.labels[0, 0]).all()
        return int(found.labels[0, 0])

    return read


@pytest.fixture(scope="session")
def gone() -> Callable[[int], bool]:
    """Return a function that tells whether the process of a number has ended."""

    def has_ended(pid: int) -> bool:
        if sys.platform == "linux":
            # A zombie whose parent is no child of ours has ended too.
            try:
                stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
            except (FileNotFoundError, ProcessLookupError):
                return True
            return stat.rpartition(")")[2].split()[0] == "Z"
        if os.name == "nt":
            listed = subprocess.run(
                ["tasklist", "/FI", f"PID eq {pid}"], check=True, capture_output=True, text=True
            )
            return str(pid) not in listed.stdout
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    return has_ended


@pytest.fixture(scope="session")
def eventually() -> Callable[..., bool]:
    """Return a function that tells whether something comes true within some seconds."""

    def comes(true: Callable[[], bool], seconds: float = 15) -> bool:
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    return comes
