"""Unpacking of downloaded archives: nothing leaves the folder, nothing bursts the disk."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from cellseg_core.errors import WeightsError

__all__ = ["unpack"]

_MOST_FILES = 10_000
_MOST_GROWTH = 50  # weights are numbers that look random: they shrink by a tenth or so
_ALWAYS_ALLOWED = 2**26  # bytes: small archives of text may shrink a lot


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of a zip archive into ``folder``, which must not exist.

    Raises
    ------
    WeightsError
        If the archive is damaged or encrypted; or if a file in it lies outside of it (an absolute
        path or ``..``), is a link, or unpacks to far more than weights can.
    OSError
        If the files cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            files = [one for one in content.infolist() if not one.is_dir()]
            _check(archive, files)
            folder.mkdir(parents=True)
            for one in files:
                target = folder / one.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                # It gives as many bytes as the archive declares at most, and checks their CRC.
                with content.open(one) as source, target.open("xb") as copy:
                    shutil.copyfileobj(source, copy)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,  # a kind of compression that is not known
        RuntimeError,  # encrypted
    ) as error:
        raise WeightsError(
            f"{archive} cannot be unpacked ({type(error).__name__}: {error}): it is damaged, or no "
            "zip archive. Remove it and get it again."
        ) from error


def _check(archive: Path, files: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive that no honest publisher of weights makes."""
    for one in files:
        name = one.filename
        outside = (
            PurePosixPath(name).is_absolute()
            or PureWindowsPath(name).anchor
            or PureWindowsPath(name).drive
            or ".." in PureWindowsPath(name).parts
        )
        if outside or stat.S_ISLNK(one.external_attr >> 16):
            raise WeightsError(
                f"{archive} is not safe to unpack: {name[:200]!r} in it "
                f"{'lies outside of it' if outside else 'is a link'}. Nothing was unpacked; do not "
                "use it, and tell those who published it."
            )
    largest = max(_ALWAYS_ALLOWED, _MOST_GROWTH * archive.stat().st_size)
    total = sum(one.file_size for one in files)
    if len(files) > _MOST_FILES or total > largest:
        raise WeightsError(
            f"{archive} is not safe to unpack: it holds {len(files):,} files of {total:,} bytes, "
            f"and at most {_MOST_FILES:,} of {largest:,} are weights. Nothing was unpacked."
        )
