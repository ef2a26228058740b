"""The process of another environment ends with the segmenter, with ours, and with Ctrl-C."""

from __future__ import annotations

import _thread
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


def test_it_ends_with_close_and_starts_again(moody, tile, number, gone) -> None:
    first = number(moody.segment(tile()))
    moody.close()
    moody.close()
    assert gone(first)
    second = number(moody.segment(tile()))
    assert second != first
    assert not gone(second)


def test_it_ends_with_the_last_reference_and_leaves_no_file(
    env, tmp_path, monkeypatch, tile, number, gone
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    one = env.segmenter()
    other = attrs.evolve(one)
    pid = number(one.segment(tile()))
    assert len(list(tmp_path.iterdir())) == 1
    del one
    gc.collect()
    assert number(other.segment(tile())) == pid
    del other
    gc.collect()
    assert gone(pid)
    assert not list(tmp_path.iterdir())


ANOTHER_PYTHON = """
import sys, threading, time
import numpy as np
from cellseg_core.subprocess_segmenter import SubprocessSegmenter

segmenter = SubprocessSegmenter(python=sys.argv[1], component="elsewhere.moods:Moody")
tile = np.zeros((1, 4, 4), np.float32)
worker = segmenter.segment(tile).labels[0, 0]
tile[0, 0, 0] = int(sys.argv[2])
if tile.any():
    threading.Thread(target=segmenter.segment, args=(tile,), daemon=True).start()
    time.sleep(1)
print(worker, flush=True)
if sys.argv[3] == "wait":
    time.sleep(60)
"""


@pytest.fixture
def another_python(env, tile, tmp_path: Path) -> Callable[[str, str], subprocess.Popen[str]]:
    """Return a function that starts a Python which segments; its temporary files are ours."""

    def start(mood: str, then: str) -> subprocess.Popen[str]:
        number = str(int(tile(mood)[0, 0, 0]))
        return subprocess.Popen(
            [sys.executable, "-c", ANOTHER_PYTHON, str(env.folder), number, then],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path), "TEMP": str(tmp_path)},
        )

    return start


@pytest.mark.parametrize("mood", ["well", "sleeps"])
def test_it_ends_at_the_exit_of_the_interpreter(another_python, tmp_path, mood, gone) -> None:
    with another_python(mood, "leave") as ours:
        out, err = ours.communicate(timeout=60)
    assert gone(int(out))
    assert "Exception" not in err or mood == "sleeps"
    assert not list(tmp_path.iterdir())


@posix_only
@pytest.mark.parametrize("mood", ["well", "sleeps"])
def test_it_ends_when_our_process_is_killed(
    another_python, tmp_path, mood, gone, eventually
) -> None:
    with another_python(mood, "wait") as ours:
        assert ours.stdout is not None
        pid = int(ours.stdout.readline())
        assert not gone(pid)
        ours.kill()
        assert eventually(lambda: gone(pid))
    assert eventually(lambda: not list(tmp_path.iterdir()))


@posix_only
def test_what_the_component_has_started_ends_with_it(moody, tile, number, gone, eventually) -> None:
    pid = number(moody.segment(tile("starts")))
    assert not gone(pid)
    moody.close()
    assert eventually(lambda: gone(pid))


@posix_only
def test_a_process_that_ignores_termination_is_killed(moody, tile, number, gone) -> None:
    pid = number(moody.segment(tile("deaf")))
    moody.close()
    assert gone(pid)
    pid = number(moody.segment(tile()))
    os.kill(pid, signal.SIGSTOP)
    (running,) = moody._worker._running
    running.end(grace=0.5)
    assert gone(pid)


@pytest.fixture
def _ctrl_c_is_heard() -> Iterator[None]:
    # Programs that a shell starts in the background do not hear it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_ctrl_c_ends_the_process_and_the_next_tile_has_another(moody, tile, number, gone) -> None:
    first = number(moody.segment(tile()))
    timer = threading.Timer(0.5, _thread.interrupt_main)
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        moody.segment(tile("sleeps"))
    assert time.monotonic() - began < 20
    timer.join()
    assert gone(first)
    assert number(moody.segment(tile())) != first


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_ctrl_c_while_it_starts_leaves_no_process(env, tile) -> None:
    segmenter = env.segmenter("slow:find")
    timer = threading.Timer(1.0, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        segmenter.segment(tile())
    timer.join()
    assert segmenter._worker.pid is None
