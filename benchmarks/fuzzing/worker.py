"""A process that reads damaged inputs, so that one that dies or hangs is one result of many."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from cellseg_core.memory import own_memory, own_peak
from cellseg_io.lazy import DECODED
from fuzzing.damage import Damaged, numbered
from fuzzing.reading import Attempt, attempt
from fuzzing.running import run
from fuzzing.seeds import seeds_of

__all__ = ["READ_LIMIT", "RUN_LIMIT", "State", "Worker"]

READ_LIMIT = 10.0  # s
RUN_LIMIT = 60.0  # s
_CACHE = 2**20  # bytes
_START_LIMIT = 300.0  # s


@attrs.frozen
class State:
    """What a process holds: bytes resident, the most of them so far, files open, threads."""

    memory: int
    peak: int
    files: int
    threads: int

    @classmethod
    def now(cls) -> State:
        """Return what this process holds."""
        import psutil

        process = psutil.Process()
        files = process.num_handles() if sys.platform == "win32" else process.num_fds()
        return cls(own_memory(), own_peak() or 0, files, process.num_threads())


class Worker:
    """Reads the damaged inputs of one kind in a process of its own; a context manager.

    ``memory`` is how many bytes of address space it may take beyond those that reading the valid
    inputs takes; on systems without such a limit there is none.
    """

    def __init__(self, kind: str, seed: int, memory: int, *, runs: bool) -> None:
        self.kind, self.seed, self.memory, self.runs = kind, seed, memory, runs
        self._process: Any = None
        self._connection: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return int(self._process.pid)

    def attempt(self, number: int, *, whole: bool) -> Attempt | None:
        """Return what comes of an input: of a run of cellseg over it where ``whole``."""
        limit = RUN_LIMIT if whole else READ_LIMIT
        answer = self._ask((number, whole), limit)
        return Attempt(*answer) if answer is not None else None

    def state(self) -> State:
        """Return what the process holds now."""
        return State(*self._ask(None, READ_LIMIT))

    def _ask(self, what: Any, limit: float) -> Any:
        if self._process is None:
            self._start()
        self._connection.send(what)
        try:
            if self._connection.poll(limit):
                return self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            self._stop()
            return "crashed", f"exit code {code}"
        self._stop()
        return "hung", f"no answer in {limit:g} s"

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        given = (theirs, self.kind, self.seed, self.memory, self.runs)
        self._process = context.Process(target=_serve, args=given, daemon=True)
        self._process.start()
        theirs.close()
        if not self._connection.poll(_START_LIMIT):
            self._stop()
            raise TimeoutError(f"the process that reads {self.kind} did not start")
        self._connection.recv()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None


def _serve(connection: Connection, kind: str, seed: int, memory: int, runs: bool) -> None:
    """Answer with what comes of each input that is asked for, until nobody asks."""
    os.environ["CELLSEG_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "in"
        for valid in seeds_of(kind):
            whole = Damaged(valid, valid.files, ())
            for found in [attempt(kind, whole, folder), run(kind, whole, folder) if runs else None]:
                if found is not None and found.result != "read":
                    raise AssertionError(f"{kind} {valid.name}, undamaged: {found}")
        # What is kept on purpose would hide what is kept by mistake.
        DECODED.limit = _CACHE
        _limit_memory(memory)
        connection.send("ready")
        while True:
            try:
                asked = connection.recv()
            except EOFError:
                return
            if asked is None:
                connection.send(attrs.astuple(State.now()))
                continue
            number, whole_run = asked
            judge = run if whole_run else attempt
            found = judge(kind, numbered(kind, number, seed), folder)
            connection.send(None if found is None else attrs.astuple(found))


def _limit_memory(more: int) -> None:
    if sys.platform != "linux":
        return
    import resource

    import psutil

    limit = psutil.Process().memory_info().vms + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
