"""Locks between processes, also on file systems that have none, as some of a network."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["acquire", "how_to_free"]

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


def acquire(path: Path, timeout: float) -> BaseFileLock:
    """Return the lock of this name, which this process then has until it ends or releases it.

    Where the file system knows no locks, a file ``<name>.held`` is one, with the number of its
    process, and goes when it is released. That of a process that was killed is taken over on the
    same machine, by newer versions of filelock.

    Parameters
    ----------
    timeout
        Seconds to wait for another process that has it; a negative number: for ever.

    Raises
    ------
    filelock.Timeout
        If another process still has it; see :func:`how_to_free`.
    OSError
        If the folder cannot be written to.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     lock = acquire(Path(folder, "lock"), timeout=0)
    ...     lock.is_locked, lock.release()
    (True, None)
    """
    from filelock import FileLock, SoftFileLock

    lock = FileLock(path) if _knows_locks(path) else SoftFileLock(_held(path))
    lock.acquire(timeout=timeout)
    return lock


def how_to_free(path: Path) -> str:
    """Return what to do where nobody is at work and a lock is held: nothing on most systems."""
    held = _held(path)
    return f" If none is, as after a kill, delete {held}." if held.is_file() else ""


def _held(path: Path) -> Path:
    return path.with_name(f"{path.name}.held")


def _knows_locks(path: Path) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    with path.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in _NO_LOCKS
    return True
