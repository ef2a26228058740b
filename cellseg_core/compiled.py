"""Loops over pixels that are compiled to machine code on their first use, and kept on disk.

Only modules named ``*_kernels`` import this one, and they are imported inside the functions that
need them, since numba takes half a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

__all__ = ["kernel"]

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function for the types that it is called with.

    It runs without the interpreter's lock and does not check bounds: its callers check what users
    give. Division by 0 gives what numpy gives.
    """
    compiled: Any
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # No folder can be written to: compile anew in each process.
        compiled = numba.njit(**options)(function)
    result: Function = compiled
    return result
