"""Reading ahead while compiled loops work on what was read, on several cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["overlapped"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def overlapped(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in their order, computed in threads.

    The items are made in the calling thread, so that what makes them may read a file in order; no
    more of them wait than there are threads. These are as many as numba is set to use: all cores,
    the environment variable ``NUMBA_NUM_THREADS``, or ``numba.set_num_threads`` in the calling
    thread. It pays where the function spends its time outside the interpreter's lock.

    >>> list(overlapped(abs, [-3, 2, -1]))
    [3, 2, 1]
    """
    import numba

    threads = numba.get_num_threads()
    if threads == 1:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
