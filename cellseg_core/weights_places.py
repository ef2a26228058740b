"""Where published weights can lie on this machine, and whether what lies there is what it says."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import attrs

from cellseg_core.errors import WeightsError
from cellseg_core.published_weights import PublishedWeights

__all__ = [
    "Found",
    "cache_folder",
    "library",
    "lies_in",
    "missing_files",
    "offline",
    "package_caches",
    "search",
    "size_text",
    "unavailable",
]


@attrs.frozen
class Found:
    """Weights that were found: the file or folder, and the place in words.

    With ``archive``, ``path`` is that of an archive that is still to be unpacked.
    """

    path: Path
    place: str
    archive: bool = False


def library() -> Path | None:
    """Return the folder that the environment variable ``CELLSEG_WEIGHTS`` names, if any."""
    told = os.environ.get("CELLSEG_WEIGHTS", "").strip()
    return Path(os.path.expanduser(told)).absolute() if told else None  # noqa: PTH111 - no error without a home


def cache_folder() -> Path:
    """Return cellseg's own cache of weights, where ``cellseg weights fetch`` puts them."""
    import pooch

    return Path(pooch.os_cache("cellseg")) / "weights"


def offline() -> bool:
    """Tell whether the environment variable ``CELLSEG_OFFLINE`` forbids downloads."""
    told = os.environ.get("CELLSEG_OFFLINE", "").strip().casefold()
    return told not in ("", "0", "false", "no", "off")


def package_caches(published: PublishedWeights) -> list[Path]:
    """Return where the package itself may keep the weights, with variables filled in."""
    filled = (os.path.expanduser(os.path.expandvars(cache)) for cache in published.caches)  # noqa: PTH111
    # What is not set stays as it was written.
    known = (one for one in filled if not re.search(r"^~|\$\w|\$\{|%\w+%", one))
    return [Path(one).absolute() for one in dict.fromkeys(known)]


def search(published: PublishedWeights, *, verify: bool = True) -> Found | None:
    """Return where the weights lie on this machine; nothing is changed or downloaded.

    What comes with a package is found there. Otherwise the folder in ``CELLSEG_WEIGHTS`` comes
    first (in it, and one level down), then the package's own caches, and cellseg's. Single files
    and archives are compared with their checksum where it is known; without ``verify`` with their
    size alone, which takes no time. A file is read once in a process, unless it changes.

    Raises
    ------
    WeightsError
        If a file there is damaged, or another one than published, or may not be read. It is then
        neither used nor passed over.
    """
    for place, paths in _candidates(published):
        faults: list[str] = []
        for path in paths:
            try:
                archive = published.folder and path.name == published.file and path.is_file()
                fault = _fault(published, path, archive=archive, verify=verify)
            except OSError as error:
                raise WeightsError(
                    f"{path}, where the weights {published.name!r} may lie, cannot be looked at "
                    f"({error.strerror or error}). Allow this user to read it, or take it out of "
                    f"{place}."
                ) from error
            if fault == "":
                return Found(path, place, archive)
            if fault is not None:
                faults.append(fault)
        if faults:
            raise WeightsError(
                f"{faults[0]}. Remove it and run `cellseg weights fetch {published.name}`, or copy "
                "it there again. If it is what you want to use, name its path: "
                "--set segmenter.weights=PATH."
            )
    return None


def lies_in(published: PublishedWeights, path: Path, *, verify: bool = True) -> bool:
    """Tell whether the weights are at ``path``, whole; False if nothing is there.

    Raises
    ------
    WeightsError
        If something else is there.
    """
    fault = _fault(published, path, archive=False, verify=verify)
    if fault:
        raise WeightsError(f"{fault}. Remove it, or choose another folder.")
    return fault == ""


def missing_files(published: PublishedWeights, folder: Path) -> list[str]:
    """Return the names or patterns of files that the folder needs and that it lacks."""
    filled = [path.name for path in folder.iterdir() if path.is_file() and path.stat().st_size]
    return [need for need in published.needs if not any(fnmatch(one, need) for one in filled)]


def size_text(size: int | None) -> str:
    """Return a size in bytes for people, in units of 1000.

    >>> size_text(26_566_255), size_text(1_233_586_851), size_text(4)
    ('27 MB', '1.2 GB', '4 bytes')
    """
    if size is None:
        return "size unknown"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.{1 if size < 10 * scale else 0}f} {unit}"
    return f"{size} bytes"


def unavailable(published: PublishedWeights, reason: str) -> WeightsError:
    """Return the error that says why weights cannot be had, and every way to get them."""
    told = library()
    folders = [told] if told is not None and told.is_dir() else []
    own = cache_folder()
    lines = [
        f"the weights {published.name!r} are not on this machine, and {reason}.",
        f"  file:    {published.file} ({size_text(published.bytes)})",
        f"  address: {published.url or 'none'}",
        f"  sha256:  {published.sha256 or 'not known to cellseg'}",
        f"  licence: {published.licence}",
        "  Get the file by hand and put it at any of these places"
        + (f" (unpacked where it says {published.name}{os.sep}):" if published.folder else ":"),
    ]
    suffix = os.sep if published.folder else ""
    lines += [f"    {folder / published.file}  (CELLSEG_WEIGHTS)" for folder in folders]
    lines += [f"    {folder / published.entry}{suffix}" for folder in [*folders, own]]
    lines += [f"    {path}{suffix}" for path in package_caches(published)]
    if not folders:
        lines.append(
            "    or in a folder of your own that the environment variable CELLSEG_WEIGHTS names"
            + (f" ({told} does not exist)" if told is not None else "")
        )
    if published.sha256 and published.url:
        lines += [
            "  Or fetch it on a machine with network, and copy the folder here:",
            f"    cellseg weights fetch {published.name} -o FOLDER",
            "    and set the environment variable CELLSEG_WEIGHTS to that folder.",
        ]
    return WeightsError("\n".join(lines))


def _candidates(published: PublishedWeights) -> Iterator[tuple[str, list[Path]]]:
    """Yield the places in their order, in words, with the paths to look at in each."""
    if published.shipped:
        # Before all others: a folder of one's own may have files of these names.
        package, _, inside = published.shipped.partition(":")
        spec = importlib.util.find_spec(package)
        folders = list(spec.submodule_search_locations or []) if spec is not None else []
        yield f"the package {package}", [Path(folder) / inside for folder in folders]
    names = [published.entry]
    if published.folder and published.sha256:
        names.append(published.file)
    told = library()
    if told is not None:
        try:
            below = sorted(one for one in told.iterdir() if one.is_dir()) if told.is_dir() else []
        except OSError as error:
            raise WeightsError(
                f"the folder {told} in CELLSEG_WEIGHTS cannot be looked into "
                f"({error.strerror or error}). Allow this user to read it, or name another."
            ) from error
        yield "CELLSEG_WEIGHTS", [folder / name for name in names for folder in (told, *below)]
    yield "the package's own cache", package_caches(published)
    yield "cellseg's cache", [cache_folder() / published.entry]


def _fault(published: PublishedWeights, path: Path, *, archive: bool, verify: bool) -> str | None:
    """Return None if nothing is there, "" if the weights are, and otherwise what is wrong."""
    if published.folder and not archive:
        if not path.is_dir():
            return None
        missing = missing_files(published, path)
        if not missing:
            return ""
        if len(missing) == len(published.needs):
            return None  # it has nothing to do with them
        return (
            f"{path} is not whole: the weights {published.name!r} need {', '.join(missing)}, "
            "which is missing or empty there"
        )
    if not path.is_file():
        return None
    status = path.stat()
    if published.sha256 and verify:
        digest = _digest(path, status.st_size, status.st_mtime_ns)
        if digest != published.sha256:
            return (
                f"{path} is damaged, or not the published {published.name!r}: its sha256 is "
                f"{digest[:12]}..., and {published.sha256[:12]}... was expected"
            )
    elif status.st_size == 0 or (published.bytes or status.st_size) != status.st_size:
        return (
            f"{path} is damaged, or not the published {published.name!r}: it has "
            f"{status.st_size:,} bytes"
            + (f", and {published.bytes:,} were expected" if published.bytes else "")
        )
    return ""


@functools.lru_cache(maxsize=256)
def _digest(path: Path, size: int, changed: int) -> str:  # noqa: ARG001 - they are the key
    """Return the checksum of a file; of one that did not change since, without reading it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
