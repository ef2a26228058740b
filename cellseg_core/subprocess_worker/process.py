"""One worker process: started, spoken to with a time limit, and ended in every case."""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from cellseg_core.subprocess_worker.interpreter import environment_for

__all__ = ["WorkerLost", "WorkerProcess"]

_SCRIPT = Path(__file__).with_name("script.py")
_POLL = 0.2  # s: so that Ctrl-C is heard on Windows, and an end without end-of-file is seen
_GRACE = 5.0  # s for a process that was asked to end
_ENDING = 1.0  # s from the end of what it writes to its own, or the other way round
_LONGEST_LINE = 2**20
_KEPT_BYTES, _SHOWN_LINES, _SHOWN_COLUMNS = 2**13, 12, 300

_CRASHES = {"SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE"}


class WorkerLost(Exception):  # noqa: N818 - it says what happened
    """The process ended, or answered with what no worker says, or not in time."""


class WorkerProcess:
    """A process that runs the worker script; it ends when its standard input is closed.

    Its messages on standard error are read all the time, so that it never waits for us, and the
    last of them are kept.

    Parameters
    ----------
    python
        The interpreter to start.

    Raises
    ------
    OSError
        If it cannot be started.
    """

    def __init__(self, python: Path) -> None:
        self.python = python
        self.folder = Path(tempfile.mkdtemp(prefix="cellseg-"))
        self.adapted: list[str] = []
        self._ended = False
        self._replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._heard = b""
        try:
            self._popen = _started([str(python), str(_SCRIPT), str(self.folder)], python)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self._threads = [
            threading.Thread(target=target, daemon=True, name=f"cellseg worker {self._popen.pid}")
            for target in (self._read_replies, self._read_errors)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        """Tell whether the process has not ended."""
        return self._popen.poll() is None

    def request(self, message: Mapping[str, Any], timeout: float, option: str) -> dict[str, Any]:
        """Return the answer to a message; ``option`` is the setting that ``timeout`` comes from.

        Raises
        ------
        WorkerLost
            If none comes in ``timeout`` s, or ever. The process is of no use then: end it. The
            same is true where anything else interrupts this, Ctrl-C for one: the answer would be
            taken for that to the next message.
        """
        try:
            _pipe(self._popen.stdin).write(json.dumps(message).encode() + b"\n")
        except OSError:
            raise WorkerLost(self._how_it_ended()) from None
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            try:
                reply = self._replies.get(timeout=max(0.0, min(_POLL, left)))
            except queue.Empty:
                if self._popen.poll() is None and left > 0:
                    continue
                if self._popen.poll() is None:
                    raise WorkerLost(
                        f"gave no answer in {timeout:g} s and was stopped. If it only needs more "
                        f"time: --set segmenter.{option}={2 * timeout:g}{self.last_words()}"
                    ) from None
                # It may have answered between the two looks.
                reply = None if self._replies.empty() else self._replies.get()
            if isinstance(reply, dict) and ("done" in reply or "failed" in reply):
                return reply
            raise WorkerLost(self._how_it_ended())

    def end(self, grace: float = _GRACE) -> None:
        """Ask the process to end, and kill it and all that it started after ``grace`` s."""
        if self._ended:
            return
        self._ended = True
        try:
            with contextlib.suppress(OSError):
                _pipe(self._popen.stdin).close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(grace)
        finally:
            self._kill()
            for thread, stream in zip(
                self._threads, (self._popen.stdout, self._popen.stderr), strict=True
            ):
                thread.join(_ENDING)
                # One that still reads does so for a program that the component has set free.
                if not thread.is_alive():
                    _pipe(stream).close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def abandon(self) -> None:
        """Let go of the process in a fork of ours, where it is still the parent's."""
        self._ended = True
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            with contextlib.suppress(OSError):
                _pipe(stream).close()
        # It is not our child, so we can neither wait for it nor learn what became of it.
        self._popen.returncode = 0

    def last_words(self) -> str:
        """Return the last lines of its standard error in brackets of their own, or nothing."""
        lines = self._heard.decode(errors="replace").replace("\r", "\n").splitlines()
        kept = [line[:_SHOWN_COLUMNS].rstrip() for line in lines if line.strip()][-_SHOWN_LINES:]
        if not kept:
            return ""
        return "; the last that it wrote:\n" + "\n".join(f"  {line}" for line in kept)

    def _how_it_ended(self) -> str:
        try:
            status = self._popen.wait(_ENDING)
        except subprocess.TimeoutExpired:
            return f"answered with what no worker says{self.last_words()}"
        self._threads[1].join(_ENDING)  # so that its last words are complete
        return f"{_said_of(status)}{self.last_words()}"

    def _kill(self) -> None:
        if sys.platform == "win32":
            self._popen.kill()
        else:
            # The process leads a group of its own, which holds all that it started.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(_GRACE)

    def _read_replies(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            # A stream of this thread alone: a fork closes the pipe below it at any time.
            lines = io.BufferedReader(io.FileIO(_pipe(self._popen.stdout).fileno(), closefd=False))
            for line in iter(lambda: lines.readline(_LONGEST_LINE), b""):
                self._replies.put(json.loads(line))
        self._replies.put(None)

    def _read_errors(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            number = _pipe(self._popen.stderr).fileno()
            while chunk := os.read(number, 2**16):
                self._heard = (self._heard + chunk)[-_KEPT_BYTES:]


def _started(command: list[str], python: Path) -> subprocess.Popen[bytes]:
    # Ctrl-C in a terminal goes to its whole group of processes; ours alone decides what to do.
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    return subprocess.Popen(  # noqa: S603 - the interpreter that the user named
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=environment_for(python),
        creationflags=flags,
        start_new_session=True,
    )


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _said_of(status: int) -> str:
    """Say how a process ended.

    >>> _said_of(3), _said_of(-11)[:26], _said_of(0xC0000005)
    ('ended with exit status 3', 'was killed by SIGSEGV, a c', 'ended with exit status 0xC0000005')
    """
    if status >= 0:
        return f"ended with exit status {status if status < 2**31 else f'0x{status:08X}'}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name == "SIGKILL":
        return (
            "was killed by SIGKILL, for want of memory most likely: smaller tiles need less, for "
            "example --tile 512"
        )
    if name in _CRASHES:
        return f"was killed by {name}, a crash in compiled code of a package there"
    return f"was killed by {name}"
