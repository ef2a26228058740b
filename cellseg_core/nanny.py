"""What looks after a worker process of Dask, and replaces it if it dies."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed import Nanny
from distributed.core import Status

__all__ = ["PatientNanny"]

_TRIES = 3


class PatientNanny(Nanny):
    """A nanny that starts one process at a time.

    Where a process dies while it starts, Dask's own starts another beside the first attempt, which
    may take the one message that the second waits for: both then wait for ever.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._starting = asyncio.Lock()

    async def instantiate(self) -> Status:
        """Start the process, and another if that dies before it is ready."""
        async with self._starting:
            status = Status.init
            for _ in range(_TRIES):
                status = await super().instantiate()
                if status == Status.running:
                    break
            return status

    async def _on_worker_exit(self, exitcode: int) -> None:
        if not self._starting.locked():
            await super()._on_worker_exit(exitcode)
