"""Loops over pixels that are compiled to machine code on their first use, and kept on disk.

Only modules named ``*_kernels`` import this one, and they are imported inside the functions that
need them, since numba takes half a second.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache

__all__ = ["kernel"]

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function for the types that it is called with.

    It runs without the interpreter's lock and does not check bounds: its callers check what users
    give. Division by 0 gives what numpy gives.
    """
    compiled: Any = numba.njit(nogil=True, error_model="numpy")(function)
    # Where no folder can be written to: compile anew in each process.
    with contextlib.suppress(RuntimeError):
        compiled._cache = _Cache(function)
    result: Function = compiled
    return result


class _Cache(FunctionCache):
    """What is kept on disk only saves time: damaged, or where a disk is full, it is done without.

    numba itself would fail at it, and again in every process to come.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what was compiled for these types, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # noqa: BLE001 - a damaged pickle raises anything
            # So that it is written anew.
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for these types."""
        with contextlib.suppress(Exception):
            super().save_overload(sig, data)
