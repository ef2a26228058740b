"""How the C library keeps memory that a network frees, where that is what takes the time."""

from __future__ import annotations

import ctypes
import platform

__all__ = ["keep_memory"]

# Of mallopt(3), as glibc's <malloc.h> numbers them.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_KEPT, _STEP = 2**31 - 1, 2**26


def keep_memory() -> None:
    """Have large buffers reused instead of given back to the system, where that can be said.

    Cellpose 3 frees and asks for the same large buffers over and over; glibc returns each to the
    system, which clears it page by page when it comes again. Up to 2 GB that are not used stay
    with the process in exchange. Elsewhere than on glibc, or where the environment has settings of
    its own, nothing changes.
    """
    import os

    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_TOP_PAD, _STEP)
