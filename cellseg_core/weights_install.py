"""Putting weights into a folder: whole or not at all, and one process at a time."""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from cellseg_core.archive import unpack
from cellseg_core.errors import WeightsError
from cellseg_core.locking import acquire
from cellseg_core.published_weights import PublishedWeights
from cellseg_core.weights_places import lies_in, missing_files, unavailable

__all__ = [
    "DownloadReporter",
    "LogReporter",
    "copy_weights",
    "exclusive",
    "install",
    "install_archive",
]

_LOG = logging.getLogger(__name__)


class DownloadReporter(Protocol):
    """Tells the user how far a download is."""

    def say(self, text: str) -> None:
        """Show one line that is worth knowing."""
        ...

    def received(self, name: str, done: int, total: int | None) -> None:
        """Show how many bytes of the weights ``name`` are there, of how many if that is known."""
        ...


class LogReporter:
    """A :class:`DownloadReporter` that writes lines to the log and shows nothing else."""

    def say(self, text: str) -> None:
        """Write a line."""
        _LOG.warning(text)

    def received(self, name: str, done: int, total: int | None) -> None:
        """Show nothing."""


def install_archive(published: PublishedWeights, archive: Path, folder: Path) -> Path:
    """Unpack an archive whose checksum was verified into ``folder``, and return the weights' own.

    Raises
    ------
    WeightsError
        If it cannot be unpacked or written, or does not hold what it should.
    """
    with exclusive(published, folder, LogReporter()) as partial:
        target = folder / published.entry
        if lies_in(published, target):
            return target
        return install(published, archive, partial, target)


def copy_weights(published: PublishedWeights, source: Path, folder: Path) -> Path:
    """Copy weights that are on this machine into ``folder``, and return where they are.

    Raises
    ------
    WeightsError
        If the folder cannot be written, or holds something else under their name.
    """
    with exclusive(published, folder, LogReporter()) as partial:
        target = folder / published.entry
        if lies_in(published, target):
            return target
        copy = partial / published.entry
        partial.mkdir()
        if published.folder:
            copy.mkdir()
            for file in source.iterdir():
                if file.is_file() and file.name != published.file:
                    shutil.copyfile(file, copy / file.name)
        else:
            shutil.copyfile(source, copy)
        _clear(published, target)
        return copy.replace(target)


@contextlib.contextmanager
def exclusive(
    published: PublishedWeights, folder: Path, report: DownloadReporter
) -> Iterator[Path]:
    """Give the name of a folder for what is not whole yet, which no other process uses."""
    import filelock

    partial = folder / f".{published.file}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / f".{published.file}.lock"
        try:
            lock = acquire(place, timeout=2)
        except filelock.Timeout:
            report.say(f"waiting for another process that fetches {published.name!r}")
            lock = acquire(place, timeout=-1)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            lock.release()
    except OSError as error:
        if isinstance(error, WeightsError):
            raise
        what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or error
        raise unavailable(
            published,
            f"they cannot be written to {folder} ({what}); choose a folder with "
            f"`cellseg weights fetch {published.name} -o FOLDER` and name it in CELLSEG_WEIGHTS",
        ) from error


def install(published: PublishedWeights, archive: Path, partial: Path, target: Path) -> Path:
    """Unpack an archive and move the folder of its contents to ``target``."""
    unpacked = partial / "unpacked"
    unpack(archive, unpacked)
    inside = [one for one in unpacked.iterdir() if one.is_dir()]
    content = next((one for one in [unpacked, *inside] if not missing_files(published, one)), None)
    if content is None:
        raise WeightsError(
            f"{archive.name} from {published.url} has no {' and '.join(published.needs)} in it: it "
            f"does not hold the weights {published.name!r}. Update cellseg, or report it."
        )
    _clear(published, target)
    return content.replace(target)


def _clear(published: PublishedWeights, target: Path) -> None:
    """Take an empty folder out of the way; what else there is under that name is not ours."""
    try:
        target.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        raise WeightsError(
            f"{target} is in the way: it is not the weights {published.name!r}, which belong "
            "there. Move it, or choose another folder."
        ) from error
