"""The worker of one component, shared by all segmenters of this process that are set up alike."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ComponentError, ConfigurationError, SegmentationError
from cellseg_core.protocols import Segmentation
from cellseg_core.subprocess_worker.failures import NO_ROOM, error_at_start, error_at_work, place
from cellseg_core.subprocess_worker.interpreter import find_interpreter, what_is_wrong
from cellseg_core.subprocess_worker.process import WorkerLost, WorkerProcess

__all__ = ["Adaptation", "Limits", "Worker", "worker_for"]

_ADAPTATIONS = 4  # that a process keeps; the measured diameter needs one at a time


@attrs.frozen
class Limits:
    """How long to wait, in s: for the process to be ready, and for one tile."""

    start: float
    tile: float


@attrs.frozen(eq=False)
class Adaptation:
    """What the component is to adapt to; ``name`` is unique. A new process is shown it anew.

    ``sample`` is None where the component has no ``adapt``.
    """

    name: str
    diameter: float
    sample: NDArray[np.float32] | None


class Worker:
    """Starts the process when it is first needed, and again where it was lost.

    Only :func:`worker_for` makes one. Any number of threads may use it; they take turns. Pickled,
    it is the worker of the same component in the process where it is unpickled.
    """

    def __init__(self, python: str | None, component: str | None, options: str) -> None:
        self._key = (python, component, options)
        self._lock = threading.RLock()
        self._adapts = False
        # A list, so that the finalizer, which must not know the worker, sees what is in it.
        self._running: list[WorkerProcess] = []
        weakref.finalize(self, _end_all, self._running)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, self._key

    @property
    def pid(self) -> int | None:
        """Return the number of the running process, or None."""
        return self._running[0].pid if self._running else None

    def close(self) -> None:
        """End the process, after the tile that it is at; the next use starts a new one."""
        with self._lock:
            _end_all(self._running)

    def facts(self, limits: Limits) -> dict[str, Any]:
        """Return what decides over results in the other environment."""
        with self._lock:
            return self._ask(self._ready(limits), {"do": "facts"}, limits)

    def adapt(self, adaptation: Adaptation, limits: Limits) -> bool:
        """Show the image to the component, and tell whether it looks at it at all."""
        with self._lock:
            process = self._ready(limits)
            if self._adapts:
                self._adapt(process, adaptation, limits)
            return self._adapts

    def segment(
        self, tile: NDArray[np.float32], adaptation: Adaptation | None, limits: Limits
    ) -> Segmentation:
        """Return what the component finds in a tile (C, Y, X)."""
        with self._lock:
            process = self._ready(limits)
            message: dict[str, Any] = {"do": "segment"}
            if adaptation is not None and adaptation.sample is not None:
                if adaptation.name not in process.adapted:
                    self._adapt(process, adaptation, limits)
                message["adapted"] = adaptation.name
            self._write(process.folder / "tile.npy", tile)
            done = self._ask(process, message, limits)
            labels = self._read(process.folder / "labels.npy")
            scores = self._read(process.folder / "scores.npy") if done["scores"] else None
            return Segmentation(labels, scores)

    def _adapt(self, process: WorkerProcess, adaptation: Adaptation, limits: Limits) -> None:
        assert adaptation.sample is not None
        forget = process.adapted[: 1 - _ADAPTATIONS]
        del process.adapted[: len(forget)]
        self._write(process.folder / "sample.npy", adaptation.sample)
        message = {"name": adaptation.name, "diameter": adaptation.diameter, "forget": forget}
        self._ask(process, {"do": "adapt", **message}, limits)
        process.adapted.append(adaptation.name)

    def _ready(self, limits: Limits) -> WorkerProcess:
        """Return the process, started if there is none, or if it ended between two tiles."""
        if self._running and self._running[0].is_alive:
            return self._running[0]
        _end_all(self._running)
        given, component, options = self._key
        if component is None:
            raise ConfigurationError(
                "segmenter 'subprocess' needs to know what to run: --set "
                "segmenter.component=my_package.nuclei:Finder --set segmenter.python=FOLDER, the "
                "folder of the environment that has my_package."
            )
        python = find_interpreter(given)
        _survive_forks()
        with self._ended_if_interrupted():
            try:
                process = WorkerProcess(python)
                self._running.append(process)
                start = json.dumps({"component": component, "options": json.loads(options)})
                (process.folder / "start.json").write_text(start, encoding="utf-8")
                reply = process.request({"do": "start"}, limits.start, "start_timeout")
            except (OSError, WorkerLost) as error:
                wrong = what_is_wrong(python)
                if wrong is not None:
                    raise ConfigurationError(
                        f"{wrong}. Give the interpreter of an environment, or its folder: --set "
                        "segmenter.python=FOLDER"
                    ) from error
                what = f"the process {error}" if isinstance(error, WorkerLost) else str(error)
                raise ComponentError(
                    f"{place(component, python)} could not be started: {what}"
                ) from error
            if "failed" in reply:
                raise error_at_start(reply["failed"], component, options, python)
        self._adapts = bool(reply["done"]["adapts"])
        return process

    def _ask(
        self, process: WorkerProcess, message: Mapping[str, Any], limits: Limits
    ) -> dict[str, Any]:
        """Return the answer of the running process, which is ended if anything comes between."""
        component = str(self._key[1])
        with self._ended_if_interrupted():
            try:
                reply = process.request(message, limits.tile, "timeout")
            except WorkerLost as error:
                raise SegmentationError(
                    f"{place(component, process.python)}: the process {error}\nA new one is "
                    "started when it is needed next."
                ) from error
        if "failed" in reply:
            raise error_at_work(reply["failed"], component, process.python)
        done: dict[str, Any] = reply["done"]
        return done

    @contextlib.contextmanager
    def _ended_if_interrupted(self) -> Iterator[None]:
        """End the process at any error: what it answers later must not be taken for another's."""
        try:
            yield
        except BaseException:
            _end_all(self._running, grace=0)
            raise

    def _write(self, file: Path, array: NDArray[np.float32]) -> None:
        try:
            np.save(file, np.ascontiguousarray(array), allow_pickle=False)
        except OSError as error:
            file.unlink(missing_ok=True)
            raise SegmentationError(f"{file} cannot be written: {error}. {NO_ROOM}") from error

    def _read(self, file: Path) -> Any:
        try:
            array = np.load(file, allow_pickle=False)
            file.unlink()
        except (OSError, ValueError, EOFError) as error:
            raise SegmentationError(f"{file} cannot be read: {error}. {NO_ROOM}") from error
        return array

    def _after_fork(self) -> None:
        for process in self._running:
            process.abandon()
        self._running.clear()
        self._lock = threading.RLock()


_WORKERS: weakref.WeakValueDictionary[tuple[str | None, str | None, str], Worker]
_WORKERS = weakref.WeakValueDictionary()
# The last that came from another process. Tasks that are sent to a pool bring their segmenter
# with every tile and drop it again: each would start a process.
_CAME: deque[Worker] = deque(maxlen=1)
_MAKING = threading.Lock()
_FORKS: list[bool] = []


def worker_for(python: str | None, component: str | None, options: str) -> Worker:
    """Return the worker of a component; ``options`` is a JSON object.

    >>> one = worker_for(None, "a:b", "{}")
    >>> one is worker_for(None, "a:b", "{}")
    True
    """
    key = (python, component, options)
    with _MAKING:
        worker = _WORKERS.get(key)
        if worker is None:
            worker = _WORKERS[key] = Worker(*key)
    return worker


def _unpickled(python: str | None, component: str | None, options: str) -> Worker:
    known = (python, component, options) in _WORKERS
    worker = worker_for(python, component, options)
    if not known:
        _CAME.append(worker)
    return worker


def _end_all(running: list[WorkerProcess], grace: float | None = None) -> None:
    while running:
        process = running.pop()
        process.end() if grace is None else process.end(grace)


def _survive_forks() -> None:
    """See to it that a fork of this process leaves our processes to us and starts its own."""
    if sys.platform != "win32" and not _FORKS:
        _FORKS.append(True)
        os.register_at_fork(after_in_child=_forget_all)


def _forget_all() -> None:
    global _MAKING  # noqa: PLW0603 - another thread may have held it
    _MAKING = threading.Lock()
    for worker in list(_WORKERS.values()):
        worker._after_fork()
