"""HDF5 files on disks that fill up, and damaged ones."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["disk_checked"]

_MARGIN = 2**18  # bytes


@contextlib.contextmanager
def disk_checked(folder: Path, size: int) -> Iterator[None]:
    """Raise a full disk as OSError, before about ``size`` bytes are written into ``folder``.

    HDF5 itself raises RuntimeError when the disk is full, and a file that it could not close then
    ends the process with a fault.
    """
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if shutil.disk_usage(folder).free < size + _MARGIN:
        raise full
    try:
        yield
    except RuntimeError as error:
        if f"errno = {errno.ENOSPC}" not in str(error):
            raise
        raise full from error
