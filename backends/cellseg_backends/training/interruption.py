"""Ctrl-C in a loop whose steps must not be cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cellseg_core.protocols import TrainingReporter

__all__ = ["interruption"]


@contextmanager
def interruption(report: TrainingReporter) -> Iterator[threading.Event]:
    """Give an event that is set on the first Ctrl-C; the second stops at once, as ever.

    Between two steps of a training, weights and counters fit each other; within one they do not.
    In a thread other than the main one, signals never arrive, and the event is never set.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)
    before = signal.default_int_handler if before is None else before

    def note(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        asked.set()
        report.say("Stopping after this step. Press Ctrl-C again to stop at once.")

    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
