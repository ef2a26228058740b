"""How much memory processes need, and how much there is."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["MemoryWatch", "free_memory", "own_memory", "own_peak"]

_EVERY = 0.1  # s


def own_peak() -> int | None:
    """Return the most memory in bytes that this process has had resident; None if nobody knows."""
    if sys.platform == "linux":
        # Not getrusage: what that says begins with the memory of the process that started this.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        return int(found[1]) * 1024 if found else None
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def own_memory() -> int:
    """Return the bytes that this process has resident now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def free_memory() -> int:
    """Return how many bytes are free on this machine, within the limits of a container."""
    import psutil
    from distributed.system import MEMORY_LIMIT

    return int(min(psutil.virtual_memory().available, MEMORY_LIMIT))


class MemoryWatch:
    """Watches the resident memory of a process and all that it starts; a context manager.

    Attributes
    ----------
    peak
        Most bytes seen at one time. It is looked at ten times a second, so that a shorter peak can
        be missed: see :func:`own_peak`.
    """

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        while not self._over.wait(_EVERY):
            try:
                first = psutil.Process(self._pid)
                tree = [first, *first.children(recursive=True)]
            except psutil.Error:
                return  # it is over
            total = 0
            for process in tree:
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue  # that one is over
            self.peak = max(self.peak, total)
