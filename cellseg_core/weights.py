"""Published weights: found on this machine, or fetched; never another model than was asked for.

They are looked for in the folder that the environment variable ``CELLSEG_WEIGHTS`` names, in the
caches of the package that they belong to, and in cellseg's own; what is nowhere is downloaded,
with its checksum, unless ``CELLSEG_OFFLINE=1``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import attrs

from cellseg_core.errors import MissingPackageError, WeightsError, nearest
from cellseg_core.plugins import Plugins
from cellseg_core.published_weights import PublishedWeights
from cellseg_core.weights_download import download
from cellseg_core.weights_install import DownloadReporter, install_archive
from cellseg_core.weights_places import cache_folder, library, missing_files, search

__all__ = [
    "DownloadReporter",
    "PublishedWeights",
    "Table",
    "find",
    "locate",
    "obtain",
    "tables",
]


def locate(published: PublishedWeights) -> Path | None:
    """Return where weights lie on this machine, or None; nothing is downloaded.

    Single files are compared with their checksum, if it is known, once in a process. An archive
    that lies in the folder ``CELLSEG_WEIGHTS`` is unpacked into cellseg's cache.

    Raises
    ------
    WeightsError
        If what lies there is damaged, or another file than published.
    """
    found = search(published)
    if found is None:
        return None
    if found.archive:
        return install_archive(published, found.path, cache_folder())
    return found.path


def obtain(published: PublishedWeights, report: DownloadReporter | None = None) -> Path:
    """Return where weights lie, and download them into cellseg's cache if they are nowhere.

    Without ``report``, a download writes one line to the log.

    Raises
    ------
    WeightsError
        If they are damaged, or cannot be had; the message has the address, the checksum, the
        licence, and every place to put the file by hand.
    """
    found = locate(published)
    return found if found is not None else download(published, cache_folder(), report)


def find(
    wanted: str | os.PathLike[str],
    published: Sequence[PublishedWeights],
    kind: str,
    report: DownloadReporter | None = None,
) -> Path:
    """Return the file or folder of the weights that a user means.

    Parameters
    ----------
    wanted
        What the user wrote: the name of published weights, ``kind/name``, or a path, from the
        working folder or from the one that ``CELLSEG_WEIGHTS`` names; ``~`` is the home folder. A
        path that exists goes before a name, unless it is plainly something else: a folder where
        the published weights are a file, a file where they are a folder, or a folder without
        their files. ``./name`` is always a path.
    published
        The table of published weights.
    kind
        Name of the segmenter, for messages.
    report
        Told of a download.

    Raises
    ------
    WeightsError
        If there is nothing of that name, or the published weights cannot be had.
    MissingPackageError
        If they are for another version of the package than the one that is installed.
    """
    text = os.fspath(wanted)
    by_name = {one.name: one for one in published}
    named = by_name.get(text)
    tried = [Path(text)]
    told = library()
    try:
        tried[0] = tried[0].expanduser()
        if told is not None and not tried[0].is_absolute():
            tried.append(told / text)
        for path in tried[:1] if named is not None else tried:
            if text.strip() and path.exists() and (named is None or _may_be(named, path)):
                # Links are kept: the name of a file tells some packages what it is.
                return path.absolute()
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(
            f"the weights {text[:200]!r} cannot be looked for ({reason}). Allow this user to read "
            "the folder, or write another path."
        ) from error
    owner, _, rest = text.partition("/")
    named = by_name.get(rest) if named is None and owner == kind else named
    if named is not None:
        _check_version(named)
        return obtain(named, report)
    raise WeightsError(
        f"there is nothing at {' or '.join(map(str, tried))}, and {kind} has no published weights "
        f"named {text!r}: {nearest(text, by_name)}. Name a path, or one of these; "
        "`cellseg weights list` shows them all."
    )


def _check_version(published: PublishedWeights) -> None:
    """Refuse weights that the installed package cannot read, before they are downloaded."""
    if not published.requires:
        return
    from packaging.requirements import Requirement

    requirement = Requirement(published.requires)
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return  # whoever needs it says so
    if not requirement.specifier.contains(installed, prereleases=True):
        raise MissingPackageError(
            f"the weights {published.name!r} are for {published.requires}, and {requirement.name} "
            f"{installed} is installed. Install the other (pip install "
            f'"{published.requires}"), or choose other weights: see `cellseg weights list`.'
        )


def _may_be(published: PublishedWeights, path: Path) -> bool:
    if not published.folder:
        return path.is_file()
    return path.is_dir() and not missing_files(published, path)


@attrs.frozen
class Table:
    """The published weights of one segmenter; with ``problem``, why there are none to be seen."""

    segmenter: str
    origin: str
    weights: tuple[PublishedWeights, ...] = ()
    problem: str = ""


def tables(plugins: Plugins) -> list[Table]:
    """Return the tables of published weights of all segmenters that have one.

    Their packages need not be installed. A table that cannot be read becomes a problem, and the
    others are not affected.
    """
    found = []
    for entry in plugins.of_kind("segmenter"):
        place = entry.component.weights
        if place is None:
            continue
        module, _, name = place.partition(":")
        try:
            content = getattr(importlib.import_module(module), name)
            if not isinstance(content, Iterable) or isinstance(content, str):
                raise TypeError(f"it is a {type(content).__name__}")
            weights = tuple(content)
            wrong = [repr(one)[:80] for one in weights if not isinstance(one, PublishedWeights)]
            if wrong:
                raise TypeError(f"{wrong[0]} in it is no PublishedWeights")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may fail in any way
            reason = f"{place} cannot be read ({type(error).__name__}: {error})"[:500]
            found.append(Table(entry.name, entry.origin, problem=reason))
        else:
            found.append(Table(entry.name, entry.origin, weights))
    return found
