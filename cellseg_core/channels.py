"""Finding channels by name: as a user types them, and the nuclear stain where none is named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cellseg_core.errors import ChannelError, nearest

if TYPE_CHECKING:
    from cellseg_core.image import Image

__all__ = ["NUCLEAR_STAIN", "find_channel", "nuclear_channels", "read_channel_names"]

# Stains of DNA and chromatin, in the order in which they are taken.
NUCLEAR_STAIN = re.compile(
    r"(dapi|hoechst|draq|dna|syto|nuclei|nuclear|nucleus|histone|h3)", re.IGNORECASE
)


def find_channel(name: str, channels: Sequence[str]) -> int:
    """Return the number of the channel that ``name`` means.

    The first of these rules that fits exactly one channel decides: the same name; the same name
    but for case; the name up to a separator, so that ``DNA1`` finds ``DNA1_Ir191``.

    Raises
    ------
    ChannelError
        If no channel, or more than one, fits; the message lists the candidates.

    >>> find_channel("dna1", ["CD3_Er170", "DNA1_Ir191"])
    1
    """
    folded = name.casefold()
    rules = (
        [i for i, channel in enumerate(channels) if channel == name],
        [i for i, channel in enumerate(channels) if channel.casefold() == folded],
        [
            i
            for i, channel in enumerate(channels)
            if channel.casefold().startswith(folded)
            and not channel.casefold().removeprefix(folded)[:1].isalnum()
        ],
    )
    for found in rules if name else ():
        if len(found) == 1:
            return found[0]
        if found:
            raise ChannelError(
                f"{name!r} fits several channels: {', '.join(channels[i] for i in found)}. "
                "Give the whole name."
            )
    raise ChannelError(f"no channel is named {name!r}; {nearest(name, channels)}.")


def nuclear_channels(image: Image, names: Sequence[str] = ()) -> tuple[tuple[int, ...], str]:
    """Return the numbers of the nuclear channels, and a sentence on why they were taken.

    Without ``names`` the only channel is taken, or the three of a photograph, or the first whose
    name begins with a known nuclear stain.

    Raises
    ------
    ChannelError
        If a name is not found, or nothing is named and no channel looks like a nuclear stain.
    """
    if names:
        numbers = tuple(dict.fromkeys(image.index(name) for name in names))
        return numbers, "nuclear channels as named"
    if len(image.channels) == 1:
        return (0,), "the only channel"
    if image.color:
        return tuple(range(len(image.channels))), "a photograph: the mean of its colours"
    for number, channel in enumerate(image.channels):
        if NUCLEAR_STAIN.match(channel):
            return (number,), f"no nuclear channel was named; {channel!r} looks like one"
    raise ChannelError(
        f"{image.name}: which channel shows the nuclei? Name it with --nuclear NAME. "
        f"There are: {', '.join(image.channels)}."
    )


def read_channel_names(path: Path) -> tuple[str, ...]:
    """Return the channel names in a file: one a line, or a CSV with a column of names.

    In a CSV the column is called ``name``, ``channel``, ``channel_name``, ``marker``,
    ``marker_name``, ``target`` or ``biomarker`` (any case). Blank lines are left out.

    Raises
    ------
    ChannelError
        If the file cannot be read, holds no name, or is a CSV without such a column.
    """
    import csv

    try:
        content = path.read_bytes()
    except OSError as error:
        raise ChannelError(
            f"the channel names in {path} cannot be read ({error.strerror or error}). Give a text "
            "file with one name a line."
        ) from error
    if b"\0" in content:
        raise ChannelError(
            f"the channel names in {path} cannot be read: it is not a text in UTF-8. Save it as "
            "one, with one name a line."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Excel and older acquisition programs write the code page of Western Windows.
        text = content.decode("cp1252", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ChannelError(f"{path} holds no channel name; write one a line.")
    if path.suffix.lower() == ".csv":
        try:
            rows = list(csv.reader(lines))
        except csv.Error as error:
            raise ChannelError(
                f"the channel names in {path} cannot be read as CSV ({error}). Save the table "
                "anew, or write one name a line into a text file."
            ) from error
        header = [cell.strip().casefold().replace(" ", "_") for cell in rows[0]]
        known = ("name", "channel_name", "marker_name", "marker", "biomarker", "target", "channel")
        column = next((header.index(word) for word in known if word in header), None)
        if column is None and any(len(row) > 1 for row in rows):
            raise ChannelError(
                f"{path} has no column of channel names: its columns are {', '.join(rows[0])}; "
                f"one of them should be called {', '.join(known)}."
            )
        if column is not None:
            return tuple(row[column].strip() for row in rows[1:] if len(row) > column)
        return tuple(row[0].strip() for row in rows)
    return tuple(lines)
