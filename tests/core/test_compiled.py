"""The loops that are compiled and kept on disk: what is kept may be damaged, or have no room."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from numba.core import caching

LOOP = """
from cellseg_core.compiled import kernel

@kernel
def double(number):
    return 2 * number
"""


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that imports a compiled loop anew, as another process would."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "loop_kernels.py").write_text(LOOP)

    def load() -> ModuleType:
        spec = importlib.util.spec_from_file_location("loop_kernels", tmp_path / "loop_kernels.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "__pycache__").glob("loop_kernels*.nb[ci]"))


@pytest.mark.parametrize("size", [0, 100])
@pytest.mark.parametrize("which", ["nbi", "nbc"])
def test_what_is_damaged_is_compiled_anew(loop, tmp_path: Path, which: str, size: int) -> None:
    assert loop().double(3) == 6
    whole = {path.name: path.stat().st_size for path in kept(tmp_path)}
    assert len(whole) == 2
    (damaged,) = (tmp_path / "__pycache__").glob(f"*.{which}")
    damaged.write_bytes(damaged.read_bytes()[:size])
    assert loop().double(4) == 8
    assert {path.name: path.stat().st_size for path in kept(tmp_path)} == whole
    again = loop().double
    assert again(5) == 10
    assert sum(again.stats.cache_hits.values()) == 1


def test_a_full_disk_only_costs_time(loop, tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "_save_data", full)
    assert loop().double(3) == 6
    assert not [path for path in kept(tmp_path) if path.suffix == ".nbc"]
