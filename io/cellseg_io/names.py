"""Names of channels and images: from the user, the file, ``channelNames.txt``, made unique."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import attrs

from cellseg_core.address import Location
from cellseg_core.channels import read_channel_names
from cellseg_core.errors import ChannelError, ImageError
from cellseg_core.naming import safe_name
from cellseg_io.files import stem

__all__ = [
    "Named",
    "as_names",
    "choose_series",
    "fit_names",
    "name_channels",
    "names_beside",
    "number_channels",
    "unique_names",
]

_FILE_NAMES = ("channelNames.txt", "channelnames.txt", "ChannelNames.txt")


@attrs.frozen
class Named:
    """Unique names of channels, where they are from, and what a user should know about them."""

    names: tuple[str, ...]
    source: Literal["given", "file", "beside", "numbers"]
    note: str = ""


def as_names(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return names from what was typed.

    >>> as_names("DAPI,CD3")
    ('DAPI', 'CD3')
    """
    return tuple(value.split(",") if isinstance(value, str) else value)


def name_channels(
    path: Location, count: int, given: Sequence[str] | None, listed: Sequence[str | None]
) -> Named | None:
    """Return the names of the ``count`` channels of an image, or None where nothing names them.

    They come from ``given``, else from those ``listed`` in the file, if it has one for each
    channel, else from a ``channelNames.txt`` beside it.

    Raises
    ------
    ChannelError
        If those given, or those beside the file, differ in number from the channels.
    """
    if given is not None:
        if len(given) != count:
            raise ChannelError(
                f"{path}: {len(given)} channel name{'s' * (len(given) != 1)} for {count} "
                f"channel{'s' * (count != 1)}: {', '.join(given)}."
            )
        names, note = unique_names(given)
        return Named(names, "given", note)
    if any(listed) and len(listed) == count:
        names, note = unique_names(name or f"channel_{i}" for i, name in enumerate(listed, 1))
        return Named(names, "file", note)
    beside = names_beside(path.parent) if isinstance(path, Path) else None
    if beside is None:
        return None
    names, note = unique_names(fit_names(beside, count, path.name))
    return Named(names, "beside", "; ".join(filter(None, [f"names from {beside.name}", note])))


def number_channels(count: int) -> Named:
    """Return names for channels that nothing names.

    >>> number_channels(2)
    Named(names=('channel_1', 'channel_2'), source='numbers', note='the file names no channels')
    """
    note = "the file names no channels" if count > 1 else ""
    return Named(tuple(f"channel_{i}" for i in range(1, count + 1)), "numbers", note)


def choose_series(series: int | None, own: Sequence[str], path: Location) -> dict[int, str]:
    """Return the numbers, from 0, and the names of the images to take of a file of several.

    Their names in the file are ``own``, empty where one has none. An image is named by the stem
    of the file and, of several, what tells them apart.

    Raises
    ------
    ImageError
        If ``series``, from 1, is not among them.

    >>> choose_series(None, ["a b", "c"], Path("scan.tif"))
    {0: 'scan_a b', 1: 'scan_c'}
    >>> choose_series(None, ["", ""], Path("scan.tif"))
    {0: 'scan_1', 1: 'scan_2'}
    """
    if series is not None:
        if series > len(own):
            raise ImageError(
                f"{path} has {len(own)} image{'s' * (len(own) != 1)}; "
                f"--set reader.series={series} is not among them."
            )
        return {series - 1: stem(path)}
    if len(own) == 1:
        return {0: stem(path)}
    safe = [safe_name(name) for name in own]
    if not all(own) or len({name.casefold() for name in safe}) < len(safe):
        safe = [str(number) for number in range(1, len(own) + 1)]
    return {number: f"{stem(path)}_{name}" for number, name in enumerate(safe)}


def names_beside(*folders: Path) -> Path | None:
    """Return the first ``channelNames.txt`` in the folders, or None where there is none."""
    for folder in folders:
        for name in _FILE_NAMES:
            if (folder / name).is_file():
                return folder / name
    return None


def fit_names(file: Path, channels: int, image: str) -> list[str]:
    """Return the names in ``file`` if there is one for each of the ``channels`` of ``image``.

    Raises
    ------
    ChannelError
        If the numbers differ; the message gives both.
    """
    names = list(read_channel_names(file))
    if len(names) != channels:
        raise ChannelError(
            f"{image}: {file} has {len(names)} names, but the image has {channels} "
            f"channel{'s' * (channels != 1)}. Write one name a line for each channel, cycle after "
            "cycle, or move the file away if it belongs to other images."
        )
    return names


def unique_names(names: Iterable[str]) -> tuple[tuple[str, ...], str]:
    """Return the names, the second and later ones of a kind numbered, and a note on which.

    The same nuclear stain in every cycle is the rule in cyclic imaging, not a mistake.

    >>> unique_names(["DAPI", "CD3", "DAPI"])
    (('DAPI', 'CD3', 'DAPI_2'), "repeated channel names numbered ('DAPI')")
    """
    wanted: Sequence[str] = list(names)
    taken = set(wanted)
    seen: dict[str, int] = {}
    unique = []
    for name in wanted:
        seen[name] = number = seen.get(name, 0) + 1
        if number > 1:
            fresh = f"{name}_{number}"
            while fresh in taken:
                number += 1
                fresh = f"{name}_{number}"
            seen[name] = number
            taken.add(fresh)
            name = fresh
        unique.append(name)
    repeated = ", ".join(repr(name) for name, count in seen.items() if count > 1)
    return tuple(unique), f"repeated channel names numbered ({repeated})" if repeated else ""
