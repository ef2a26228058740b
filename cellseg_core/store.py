"""The memory of an output folder: which images are done, by input and parameters.

``OUT/.cellseg/images/<image>.json`` is written last, and atomically, when every file of an image
is in place. A crash before that leaves the image undone; one with another key is not trusted.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

import attrs

from cellseg_core.address import Address, Location
from cellseg_core.errors import ImageError, OutputError
from cellseg_core.locking import acquire, how_to_free

__all__ = [
    "TEMPORARY",
    "Store",
    "atomic_binary_file",
    "atomic_file",
    "atomic_path",
    "atomic_write",
    "fingerprint",
    "key_of",
    "output_error",
]

_EDGE_BYTES = 2**20
_OF_ALL_IMAGES = (
    "cells.csv",
    "cells.columns.csv",
    "cells.parquet",
    "cells.h5ad",
    "report.html",
    "run.json",
)
TEMPORARY = ".cellseg-"
"""How the names of files begin that are not whole yet."""


def fingerprint(files: Iterable[Location]) -> list[list[Any]]:
    """Return what tells one state of some files from another, without reading them whole.

    For each file: its name and folder, size in bytes, time of change in ns, and a hash of its
    first and last megabyte. For each folder: its name and that above, the size of all files in it,
    the time of the last change, and a hash of their names, sizes and times. Of a document at an
    address, which has no such times: the address, its size, and a hash of all of it.

    Raises
    ------
    ImageError
        If a file cannot be read.
    """
    rows: list[list[Any]] = []
    for file in sorted(files, key=_order):
        if isinstance(file, Address):
            content = file.fetch() or b""
            rows.append([str(file), len(content), hashlib.sha256(content).hexdigest()])
            continue
        try:
            rows.append(["/".join(file.parts[-2:]), *_state(file)])
        except OSError as error:
            raise ImageError(f"{file} cannot be read: {error.strerror or error}") from error
    return rows


def _order(file: Location) -> tuple[str, ...]:
    return (str(file),) if isinstance(file, Address) else file.parts


def _state(path: Path) -> tuple[int, int, str]:
    """Return size, time of change and hash of a file or folder."""
    digest = hashlib.sha256()
    status = path.stat()
    if not path.is_dir():
        with path.open("rb") as stream:
            digest.update(stream.read(_EDGE_BYTES))
            stream.seek(max(0, status.st_size - _EDGE_BYTES))
            digest.update(stream.read(_EDGE_BYTES))
        return status.st_size, status.st_mtime_ns, digest.hexdigest()
    size = changed = 0
    for file in sorted(path.rglob("*")):
        status = file.stat()
        if stat.S_ISREG(status.st_mode):
            size += status.st_size
            changed = max(changed, status.st_mtime_ns)
            name = file.relative_to(path).as_posix()
            digest.update(repr((name, status.st_size, status.st_mtime_ns)).encode())
    return size, changed, digest.hexdigest()


def key_of(facts: Mapping[str, Any]) -> str:
    """Return a hash of everything that decides over a result."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a path to write a new file at, which is at ``target`` whole or not at all.

    Raises
    ------
    OutputError
        If that is not possible: no permission, no space.
    """
    partial = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        try:
            yield partial
            with partial.open("r+b") as stream:
                os.fsync(stream.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise output_error(target, error) from error


@contextlib.contextmanager
def atomic_binary_file(target: Path) -> Iterator[IO[bytes]]:
    """Give a file to write, which is at ``target`` whole or not at all: see :func:`atomic_path`."""
    with atomic_path(target) as partial, partial.open("xb") as stream:
        yield stream


@contextlib.contextmanager
def atomic_file(target: Path) -> Iterator[IO[str]]:
    """Give a text file (UTF-8) to write: see :func:`atomic_binary_file`."""
    with atomic_binary_file(target) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        yield text
        text.detach()


def atomic_write(target: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all: see :func:`atomic_binary_file`."""
    with atomic_binary_file(target) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def output_error(path: Path, error: OSError) -> OutputError:
    """Return the error that says why ``path`` cannot be written, and what to do."""
    again = "free some space and run the same command again; what is done stays done."
    remedy = {
        errno.ENOSPC: f"The disk is full: {again}",
        errno.EDQUOT: f"Your share of the disk is used up: {again}",
        errno.EACCES: "Choose a folder that you may write to with -o.",
        errno.EROFS: "Choose a folder that you may write to with -o.",
    }.get(error.errno or 0, "Check that the folder is there and can be written to (-o).")
    told = OutputError(f"{path} cannot be written: {error.strerror or error}. {remedy}")
    told.errno = error.errno
    return told


@attrs.frozen
class Store:
    """The folder of results and its memory."""

    out: Path

    @classmethod
    @contextlib.contextmanager
    def open(cls, out: Path) -> Iterator[Store]:
        """Give the store of ``out``, which is made if need be, to this process alone.

        Raises
        ------
        OutputError
            If the folder cannot be made or written to, another run is at work in it, or a link in
            it leads out of it.
        """
        from filelock import Timeout

        store = cls(out)
        try:
            for folder in (store.work, store._records, store._tiles, store.work / "lock"):
                store._check_inside(folder)
            store._records.mkdir(parents=True, exist_ok=True)
            lock = acquire(store._lock, timeout=0)
        except Timeout:
            raise OutputError(
                f"another run is writing into {out}. Wait until it is done, or choose another "
                f"folder with -o.{how_to_free(store._lock)}"
            ) from None
        except OSError as error:
            raise output_error(out, error) from error
        try:
            store._sweep()
            yield store
        finally:
            lock.release()

    def _sweep(self) -> None:
        """Remove what a crash left behind: folders of unfinished images, temporary files."""
        try:
            for left in self.work.glob("unfinished-*"):
                shutil.rmtree(left)
            for folder in (self.out, self._records):
                for file in folder.glob(f"{TEMPORARY}*"):
                    file.unlink()
                with tempfile.TemporaryFile(dir=folder, prefix=TEMPORARY):
                    pass
        except OSError as error:
            raise output_error(self.out, error) from error

    @property
    def work(self) -> Path:
        """Return the folder for what users need not see."""
        return self.out / ".cellseg"

    @property
    def _lock(self) -> Path:
        return self.work / "lock"

    @property
    def _records(self) -> Path:
        return self.work / "images"

    def _record_path(self, name: str) -> Path:
        return self._records / f"{name}.json"

    def record(self, name: str) -> dict[str, Any] | None:
        """Return what was recorded when the image was done, or None.

        A record that names files outside the image's folder is nobody's: it counts for none.
        """
        try:
            record = json.loads(self._record_path(name).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            return None
        return record if isinstance(record, dict) and _stays_inside(record.get("files")) else None

    def done(self, name: str, key: str) -> dict[str, Any] | None:
        """Return the record of an image that is done under ``key`` with all its files in place."""
        record = self.record(name)
        if record is None or record.get("key") != key:
            return None
        files = record.get("files")
        if not isinstance(files, dict) or not {"cells", "warnings", "decided"} <= set(record):
            return None
        for file, size in files.items():
            path = self.out / name / file
            if not path.is_file() or path.stat().st_size != size:
                return None
        return record

    def owns(self, path: Location) -> bool:
        """Tell whether a file or folder is a result that was written here."""
        if isinstance(path, Address):
            return False
        try:
            parts = Path(os.path.realpath(path)).relative_to(self.out.resolve()).parts
        except ValueError:  # also for a name with NUL, that no file has
            return False
        if not parts:
            return False
        if parts[0] == ".cellseg" or (len(parts) == 1 and parts[0] in _OF_ALL_IMAGES):
            return True
        record = self.record(parts[0])
        files = {} if record is None else record.get("files", {})
        inside = "/".join(parts[1:])
        return record is not None and (
            len(parts) == 1 or any(f == inside or f.startswith(f"{inside}/") for f in files)
        )

    def known(self) -> set[str]:
        """Return the names of all images that have a record."""
        return {path.stem for path in self._records.glob("*.json")}

    def tiles_of(self, name: str, key: str) -> Path:
        """Return where the segmented tiles of an image are kept whose input has this key.

        Those under another key are removed.

        Raises
        ------
        OutputError
            If a link leads from there to another place.
        """
        folder = self._tiles / name / key[:16]
        self._check_inside(folder)
        for other in folder.parent.glob("*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        return folder

    def forget_tiles(self, names: Iterable[str]) -> None:
        """Remove the segmented tiles of all images but these."""
        kept = set(names)
        for folder in self._tiles.glob("*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def _tiles(self) -> Path:
        return self.work / "tiles"

    @contextlib.contextmanager
    def image_folder(self) -> Iterator[Path]:
        """Give a folder to write an image's files into, which :meth:`finish` puts in place."""
        try:
            folder = Path(tempfile.mkdtemp(prefix="unfinished-", dir=self.work))
        except OSError as error:
            raise output_error(self.out, error) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def finish(self, name: str, key: str, folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Move the files in ``folder`` to ``OUT/<name>`` and record the image as done.

        Files of an earlier run of the image that were recorded, and are not among the new ones,
        are removed; other files in the folder are not touched. The table and record of all images
        go too: they would no longer fit, should the run end before they are written anew.
        """
        target = self.out / name
        before = self.record(name) or {}
        files, sizes = _files_in(folder)
        self._check_targets(target, [*files, *before.get("files", {})])
        try:
            for summary in _OF_ALL_IMAGES:
                (self.out / summary).unlink(missing_ok=True)
            # Old files go before the record that knows them: a crash in between leaves none.
            for old in set(before.get("files", {})) - set(files):
                (target / old).unlink(missing_ok=True)
                _remove_empty(target / old, target)
            self._record_path(name).unlink(missing_ok=True)
            # In a label image of Zarr a file that is not there means no objects.
            for made in folder.iterdir():
                if made.is_dir() and (target / made.name).is_dir():
                    shutil.rmtree(target / made.name)
            _move(files, target)
        except OSError as error:
            raise output_error(target, error) from error
        record = {"key": key, "files": sizes, **facts}
        atomic_write(self._record_path(name), json.dumps(record, indent=1))
        shutil.rmtree(self._tiles / name, ignore_errors=True)
        return record

    def add(self, name: str, folder: Path) -> dict[str, int]:
        """Move the files in ``folder`` to ``OUT/<name>`` too, and return their sizes in bytes.

        An image that is done stays so, and they are among its files from then on.
        """
        target, record = self.out / name, self.record(name) or {}
        files, sizes = _files_in(folder)
        self._check_targets(target, files)
        before, rest = record.get("files"), None
        if isinstance(before, dict):
            rest = {file: size for file, size in before.items() if file not in sizes}
            # A crash in between must not leave a file of another size than is recorded.
            atomic_write(self._record_path(name), json.dumps({**record, "files": rest}, indent=1))
        try:
            _move(files, target)
        except OSError as error:
            raise output_error(target, error) from error
        if rest is not None:
            record["files"] = dict(sorted({**rest, **sizes}.items()))
            atomic_write(self._record_path(name), json.dumps(record, indent=1))
        return sizes

    def _check_targets(self, target: Path, files: Iterable[str]) -> None:
        """Check every folder that files are to be written into."""
        for folder in {target, *((target / file).parent for file in files)}:
            self._check_inside(folder)

    def _check_inside(self, path: Path) -> None:
        """Raise an error if a link leads from a path in this folder to another place."""
        if not path.resolve().is_relative_to(self.out.resolve()):
            raise OutputError(
                f"{path} is, or lies behind, a link to {path.resolve()}: results are written into "
                f"{self.out} and nowhere else. Remove the link, or choose another folder with -o."
            )


def _stays_inside(files: object) -> bool:
    """Tell whether recorded files, if there are any, lie in the folder of their image."""
    if not isinstance(files, dict):
        return True
    paths = [flavour(file) for file in files for flavour in (PurePosixPath, PureWindowsPath)]
    return not any(path.anchor or ".." in path.parts for path in paths)


def _files_in(folder: Path) -> tuple[dict[str, Path], dict[str, int]]:
    """Return all files in a folder and in those in it, and their sizes, by relative path."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    files = {file: path for file, path in sorted(found.items()) if path.is_file()}
    return files, {file: path.stat().st_size for file, path in files.items()}


def _move(files: Mapping[str, Path], target: Path) -> None:
    for file, path in files.items():
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        path.replace(target / file)


def _remove_empty(file: Path, top: Path) -> None:
    """Remove the folders of a file that is gone, up to ``top``, as far as they are empty."""
    for folder in file.parents:
        if folder == top:
            return
        if folder.is_dir():
            if any(folder.iterdir()):
                return
            folder.rmdir()
