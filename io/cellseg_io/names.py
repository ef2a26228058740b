"""Channel names: from ``channelNames.txt``, and made unique where a stain comes more than once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cellseg_core.channels import read_channel_names
from cellseg_core.errors import ChannelError

__all__ = ["fit_names", "names_beside", "unique_names"]

_FILE_NAMES = ("channelNames.txt", "channelnames.txt", "ChannelNames.txt")


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
