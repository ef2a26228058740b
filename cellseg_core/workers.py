"""Who does the parts of an image: this process, processes beside it, or those of a Dask cluster.

A part of the work is a function of one tile or window. Workers read their part of the image
themselves and hand over what they found, or leave it in a folder that all of them see, so that the
result is the same for any number of them.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from cellseg_core.errors import ConfigurationError, WorkerError
from cellseg_core.hushed import SILENT, hushed
from cellseg_core.memory import free_memory, own_memory, own_peak
from cellseg_core.provenance import deciding_packages

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["DaskWorkers", "ThisProcess", "Workers", "open_workers"]

_THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)
_TRIES = 3  # of a part whose worker died
_IDLE = 2**28  # bytes that a worker takes before its first part
_PATIENCE = 30.0  # s until a scheduler has answered
_START = 120.0  # s until a process has started: a slow file system takes a minute to import from
_OF_DASK = {
    "distributed.scheduler.allowed-failures": _TRIES - 1,
    "distributed.comm.timeouts.connect": f"{_PATIENCE:g}s",
}
_ALLOCATOR = {
    # Buffers of tiles are used again, rather than given back to the system and cleared anew: with
    # what Dask sets by itself, a tile of the watershed takes half as long again.
    "MALLOC_MMAP_THRESHOLD_": 2**25,
    "MALLOC_TRIM_THRESHOLD_": 2**28,
}


class Workers(Protocol):
    """Does the parts of a piece of work, in any order."""

    @property
    def alive(self) -> bool:
        """Whether more can be done."""
        ...

    def each(self, do: Callable[[Any], Any], parts: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Give the number of each part and what ``do`` returned for it, as soon as that is there.

        ``do`` and ``parts`` must be such as can be pickled. What ``do`` raises comes from here;
        parts that were not begun are then not done.
        """
        ...


@attrs.frozen
class ThisProcess:
    """Does one part after the other.

    >>> list(ThisProcess().each(str.upper, ["a", "b"]))
    [(0, 'A'), (1, 'B')]
    """

    alive = True

    def each(self, do: Callable[[Any], Any], parts: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Give the number of each part and what ``do`` returned for it."""
        for number, part in enumerate(parts):
            yield number, do(part)


class DaskWorkers:
    """Processes that Dask looks after: a lost one is replaced, and its part done again.

    Parameters
    ----------
    started
        Returns a ``distributed.Client`` of the scheduler, as soon as that is there, and the
        ``LocalCluster``, where this process started one. One of its workers does the first part;
        as many as were asked for, or as fit into the memory, then do the others.
    asked
        How many shall be at work.
    running
        How many there are when they have started.
    memory
        Bytes that all of them and this process may take together. What they take is looked at
        again after 1, 2, 4, 8... parts; some end where it is too much.
    tell
        Is called with a sentence where fewer are at work.
    """

    def __init__(
        self,
        started: Callable[[], tuple[Client, Any]],
        asked: int = 1,
        running: int = 1,
        memory: int = 0,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._started = started
        self._asked, self._memory, self._tell = asked, memory, tell
        self._running, self._most = running, 0

    @property
    def alive(self) -> bool:
        """Whether more can be done."""
        try:
            return bool(self._client.status == "running")
        except WorkerError:
            return False

    @property
    def _client(self) -> Any:
        return self._started()[0]

    @property
    def _cluster(self) -> Any:
        return self._started()[1]

    def each(self, do: Callable[[Any], Any], parts: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Give the number of each part and what ``do`` returned for it, as soon as that is there.

        Raises
        ------
        ConfigurationError
            If ``do`` cannot be sent to another process.
        WorkerError
            If none can be started, if they die again and again without a part being done, or if
            the cluster is lost.
        """
        from distributed import CancelledError, KilledWorker

        packed = _packed(do)
        left, lost, done = dict(enumerate(parts)), 0, 0
        raised: Exception | None = None
        while left and raised is None:
            first = dict([next(iter(left.items()))])
            alone = self._cluster is not None and not self._most
            answers = self._submitted(packed, first if alone else left)
            try:
                for number, answer in answers:
                    del left[number]
                    lost, done = 0, done + 1
                    if isinstance(answer, _Raised):
                        raised = answer.error
                        break
                    yield number, answer
                    if left and done.bit_count() == 1:
                        self._adjust()
            except KilledWorker as error:
                raise _killed() from error
            except (CancelledError, OSError) as error:
                if not self.alive:
                    raise WorkerError(
                        "the connection to the Dask scheduler was lost. What is done stays done: "
                        "run the same command again when the cluster is back."
                    ) from error
                # With all workers what was sent to them is lost.
                lost += 1
                if lost == _TRIES:
                    raise _killed() from error
            finally:
                answers.close()
        if raised is not None:
            raise raised

    def _submitted(self, packed: bytes, parts: Mapping[int, Any]) -> Generator[tuple[int, Any]]:
        from distributed import as_completed

        shared = self._client.scatter(packed, broadcast=True, hash=False)
        waiting = {
            self._client.submit(_do, shared, part, pure=False): number
            for number, part in parts.items()
        }
        try:
            for future in as_completed(list(waiting), loop=self._client.loop):
                answer = future.result()
                # Otherwise workers would keep it until all parts are done.
                number = waiting.pop(future)
                future.release()
                yield number, answer
        finally:
            self._client.cancel([*waiting, shared])

    def _adjust(self) -> None:
        """Have as many workers at work as were asked for, or as fit into the memory."""
        if self._cluster is None or self._asked == 1:
            return
        seen = self._client.run(_most_memory, on_error="ignore").values()
        self._most = max([self._most, *seen])
        fit = self._asked
        if self._most:
            fit = min(self._asked, max(1, (self._memory - own_memory()) // self._most))
        if fit < self._asked:
            self._tell(
                f"{fit} of {self._asked} workers: each takes {self._most / 1e9:.1f} GB, and "
                f"{self._memory / 1e9:.3g} GB may be used (--memory). Smaller tiles take less "
                "(--tile)."
            )
            self._asked = fit
        if fit != self._running:
            self._cluster.scale(fit)
            if fit > self._running:
                # Those that come later are at work when they come.
                with contextlib.suppress(TimeoutError):
                    self._client.wait_for_workers(fit, timeout=_PATIENCE)
            self._running = fit


@attrs.frozen(eq=False)
class _Raised:
    """What a part raised, on its way back."""

    error: Exception


def _packed(do: Callable[[Any], Any]) -> bytes:
    import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps(do)
    except Exception as error:
        raise ConfigurationError(
            "this image, or this segmenter, cannot be sent to other processes "
            f"({type(error).__name__}: {str(error)[:200]}). Leave --workers and --scheduler out; "
            "or give what holds open files or locks a way to be pickled."
        ) from error
    return packed


@lru_cache(maxsize=1)
def _unpacked(packed: bytes) -> Any:
    import cloudpickle

    return cloudpickle.loads(packed)


def _do(packed: bytes, part: Any) -> Any:
    import cloudpickle

    try:
        return _unpacked(packed)(part)
    except Exception as error:  # noqa: BLE001 - it is raised again, in the main process
        # What it came from may be of a kind that cannot travel.
        error.__cause__ = error.__context__ = None
        try:
            cloudpickle.loads(cloudpickle.dumps(error))
        except Exception:  # noqa: BLE001 - whatever keeps it from travelling
            return _Raised(RuntimeError(f"{type(error).__name__}: {error}"))
        return _Raised(error)


def dask_setup(_: object) -> None:
    """Let a worker of this machine, in which Dask calls this, leave Ctrl-C to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _killed() -> WorkerError:
    return WorkerError(
        f"the processes of workers were lost {_TRIES} times before a part of the image was done: "
        "most likely memory ran out, or a library crashed. Use fewer --workers or a smaller "
        "--tile. What is done stays done: run the same command again."
    )


def _packages() -> dict[str, str] | None:
    try:
        from cellseg_core.provenance import deciding_packages
    except ImportError:
        return None
    return deciding_packages()


def _most_memory() -> int:
    return own_peak() or own_memory()


@contextlib.contextmanager
def open_workers(
    count: int = 1,
    scheduler: str | None = None,
    *,
    memory: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Workers]:
    """Give ``count`` processes on this machine, or those of the cluster at an address.

    With neither, that is this process. The cores are divided among processes, unless
    ``OMP_NUM_THREADS`` says how many threads each may have.

    Parameters
    ----------
    scheduler
        ``tcp://HOST:PORT``, or the file that ``dask scheduler --scheduler-file`` wrote.
    memory
        Bytes that all processes on this machine together may take. Default: three quarters of
        what is free. A cluster minds its own.
    tell
        Is called with what the user should know.

    Raises
    ------
    ConfigurationError
        If the cluster does not answer, or has no workers.
    WorkerError
        At their first part, or in the end, if no worker can be started: that takes more than a
        second, in which something else can be done.
    """
    if count < 1:
        raise ConfigurationError(f"--workers is a whole number from 1; got {count}")
    if scheduler is not None and count > 1:
        raise ConfigurationError(
            "--workers starts processes on this machine, and --scheduler uses those of a cluster: "
            "leave one of them out."
        )
    if scheduler is None and count == 1:
        yield ThisProcess()
        return
    # Before its settings are changed: they are read on import, and would go with the change.
    import distributed  # noqa: F401
    from dask import config

    started_with = {
        "distributed.nanny.pre-spawn-environ": _ALLOCATOR,
        "distributed.worker.profile.enabled": False,
    }
    with config.set({**_OF_DASK, **started_with}), hushed("distributed", "distributed.client"):
        if scheduler is not None:
            with _connected(scheduler) as client:
                yield DaskWorkers(lambda: (client, None))
            return
        with contextlib.ExitStack() as stack:
            bound = memory or free_memory() * 3 // 4
            first = min(count, max(1, bound // _IDLE))
            started = _beside(lambda: _start_cluster(stack, count, first))
            try:
                yield DaskWorkers(started, count, first, bound, tell)
            finally:
                with contextlib.suppress(WorkerError):
                    started()
            started()


def _beside(start: Callable[[], tuple[Client, Any]]) -> Callable[[], tuple[Client, Any]]:
    """Start workers while other work is done; what is returned waits for them, but not for ever."""
    started: Future[tuple[Client, Any]] = Future()

    def work() -> None:
        try:
            started.set_result(start())
        except BaseException as error:  # noqa: BLE001 - it is raised where they are waited for
            started.set_exception(error)

    # A thread that hangs does not keep the process from ending.
    Thread(target=work, daemon=True).start()
    latest = monotonic() + _START

    def wait() -> tuple[Client, Any]:
        try:
            return started.result(max(0.0, latest - monotonic()))
        except TimeoutError as error:
            if started.done():
                raise
            raise WorkerError(
                f"no worker has started within {_START:g} s: the machine is too busy, or the file "
                "system that Python is on too slow. Run the same command again, or with "
                "--workers 1."
            ) from error

    return wait


def _start_cluster(stack: contextlib.ExitStack, count: int, first: int) -> tuple[Client, Any]:
    """Start the first of ``count`` workers on this machine; they end with the stack."""
    from distributed import Client, LocalCluster

    from cellseg_core.nanny import PatientNanny

    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // count))
    try:
        cluster = LocalCluster(
            n_workers=first,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            env=dict.fromkeys(_THREADS, threads),
            silence_logs=SILENT,
            preload=[__name__],
            worker_class=PatientNanny,
        )
    except RuntimeError as error:
        raise WorkerError(
            f"no worker could be started ({error}). In a script of your own, what starts them "
            'must be under `if __name__ == "__main__":`.'
        ) from error
    stack.callback(_close, cluster)
    return stack.enter_context(Client(cluster, set_as_default=False)), cluster


def _close(cluster: Any) -> None:
    # It would wait for ever for a process that never starts; such a one ends with this process.
    with contextlib.suppress(TimeoutError):
        cluster.close(timeout=_PATIENCE)


@contextlib.contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    from distributed import Client

    is_file = Path(scheduler).is_file()
    there: dict[str, Any] = {"scheduler_file" if is_file else "address": scheduler}
    try:
        client = Client(**there, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"no Dask scheduler answers at {scheduler!r} ({error}). Start one with `dask "
            "scheduler`, and workers with `dask worker ADDRESS --nthreads 1`, in environments "
            "where cellseg is installed."
        ) from error
    with client:
        if not client.nthreads():
            raise ConfigurationError(
                f"the Dask scheduler at {scheduler} has no workers. Start some with `dask worker "
                f"{scheduler} --nthreads 1`."
            )
        _check_packages(client)
        yield client


def _check_packages(client: Any) -> None:
    """Refuse workers whose packages would give other results than those here."""
    here = deciding_packages()
    for worker, there in client.run(_packages).items():
        if there is None:
            raise ConfigurationError(
                f"the worker at {worker} cannot import cellseg. Install the same version there."
            )
        other = [
            f"{name} {there.get(name, 'missing')} and not {found}"
            for name, found in here.items()
            if there.get(name) != found
        ]
        if other:
            raise ConfigurationError(
                f"the worker at {worker} has {', '.join(other)}: results would depend on who made "
                "them. Install the same versions there."
            )
