"""One run of one method in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellseg_core.comparing.trial import run_trial
from cellseg_core.config import RunConfig
from cellseg_core.finished_run import FinishedRun
from cellseg_core.memory import MemoryWatch, own_peak
from cellseg_core.reporting import Silent

RESULT = {
    "failed": {},
    "startup": 1.0,
    "segment": 1.0,
    "seconds": 1.0,
    "peak": 1,
    "megapixels": 1.0,
}


class Told(Silent):
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.steps: set[str] = set()

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def step(self, image: str, step: str, done: int, total: int) -> None:
        self.steps.add(step)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    y, x = np.mgrid[:80, :100] % 20 - 10
    tifffile.imwrite(images / "good.tif", (900 * (y**2 + x**2 < 30)).astype(np.uint16))
    (images / "bad.tif").write_bytes(b"II*\0 and then nothing")
    return images


def test_a_run_leaves_its_results_and_tells_its_cost_and_failures(folder, tmp_path) -> None:
    told = Told()
    config = RunConfig(segmenter="watershed", nuclear_diameter=10)
    trial = run_trial([folder], tmp_path / "out", config, told)
    assert trial.failed is None
    assert list(trial.errors) == [str(folder / "bad.tif")]
    assert any(text.startswith("FAILED") for text in told.warnings)
    assert "segment" in told.steps
    assert trial.megapixels == 80 * 100 / 1e6
    assert trial.startup is not None
    assert 0 < trial.startup < 60
    assert trial.segment is not None
    assert trial.seconds is not None
    assert 0 < trial.segment < trial.seconds
    assert trial.peak is not None
    assert 2**25 < trial.peak < 2**33
    assert FinishedRun.read(tmp_path / "out").images["good"].cells == 20

    again = run_trial([folder / "good.tif"], tmp_path / "out", config, told)
    assert (again.failed, again.seconds, again.peak) == (None, None, None)  # it was done before
    assert again.segment == trial.segment


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"segmenter": "stardist", "set": {"stardist.weights": "nowhere"}}, "nowhere"),
        ({"segmenter": "watershed", "set": {"watershed.no": 1}}, "no watershed has the option"),
    ],
)
def test_what_cannot_be_run_says_why(folder, tmp_path, settings, why) -> None:
    trial = run_trial([folder], tmp_path / "out", RunConfig(**settings), Silent())
    assert trial.failed is not None
    assert why in trial.failed
    assert (trial.startup, trial.seconds, trial.peak) == (None, None, None)


@pytest.mark.skipif(os.name == "nt", reason="the process to crash is a script with a first line")
@pytest.mark.parametrize(
    ("does", "why"),
    [
        ("import sys; sys.exit('no luck')", "ended with status 1. Its last words: no luck"),
        ("import os; os.kill(os.getpid(), 9)", "was killed, as the system does when memory"),
        ("import os; os.kill(os.getpid(), 6)", f"ended by signal {int(signal.SIGABRT)}"),
    ],
)
def test_a_crash_is_told(folder, tmp_path, monkeypatch, does, why) -> None:
    crashing = tmp_path / "python"
    crashing.write_text(f"#!{sys.executable}\n{does}\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crashing))
    trial = run_trial([folder], tmp_path / "out", RunConfig(segmenter="watershed"), Silent())
    assert trial.failed is not None
    assert why in trial.failed


@pytest.mark.skipif(os.name == "nt", reason="the process is a script with a first line")
@pytest.mark.parametrize(
    ("last", "failed"),
    [
        ("print(json.dumps(['result', RESULT]), flush=True)", None),
        ("os.kill(os.getpid(), 9)", "its process was killed"),
    ],
)
def test_what_a_process_leaves_running_is_not_waited_for(
    folder, tmp_path, monkeypatch, last, failed
) -> None:
    """Something that it started holds its standard output open."""
    script = tmp_path / "python"
    pids = tmp_path / "pid"
    script.write_text(
        f"#!{sys.executable}\nimport json, os, subprocess, sys\nRESULT = {RESULT!r}\n"
        "one = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(pids)!r}, 'w').write(str(one.pid))\n{last}\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    try:
        trial = run_trial([folder], tmp_path / "out", RunConfig(segmenter="watershed"), Silent())
    finally:
        os.kill(int(pids.read_text()), signal.SIGKILL)
    assert (trial.failed is None) == (failed is None)
    assert failed is None or failed in str(trial.failed)


def test_memory_is_watched_with_what_a_process_starts() -> None:
    own = own_peak()
    assert own is None or own > 2**24
    with MemoryWatch(os.getpid()) as memory:
        held = np.ones(2**26, np.uint8)
        for _ in range(200):
            if memory.peak > held.nbytes:
                break
            memory._over.wait(0.05)
    assert memory.peak > held.nbytes
