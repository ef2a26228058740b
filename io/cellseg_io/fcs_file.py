"""The file format FCS 3.1, as far as a table of numbers needs it.

Spidlen et al., Data File Standard for Flow Cytometry, version FCS 3.1, Cytometry A 77:97 (2010).
Written here, since the packages that write FCS take a Python list of all values, or take the slash
for the mark between values: a slash within a name is then doubled, which R's flowCore reads as an
empty value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = ["Parameter", "write_fcs"]

_TEXT_BEGINS = 256
_LAST_IN_HEADER = 99_999_999
_MARK = "\f"  # between keywords and values, as in files of BD instruments
_ROWS = 2**16  # converted at a time


@attrs.frozen(eq=False)
class Parameter:
    """One column of the file.

    Parameters
    ----------
    short, long
        ``$PnN``, unique, and ``$PnS``.
    values
        (N,) finite numbers, which are written as 32-bit floats; NaN as 0.
    """

    short: str
    long: str
    values: NDArray[Any]

    @property
    def range(self) -> int:
        """Return ``$PnR``: the lowest power of two that is at least the largest value + 1.

        It is where axes end, and R's flowCore cuts off what lies beyond it.
        """
        largest = float(np.nanmax(self.values, initial=0))
        return 1 << math.ceil(largest).bit_length()


def write_fcs(path: Path, parameters: Sequence[Parameter], keywords: Mapping[str, str]) -> None:
    """Write a data set with one event for each row; memory does not grow with the rows.

    ``keywords`` are written in the same order, before those of the parameters.
    """
    events = len(parameters[0].values)
    size = events * len(parameters) * 4
    known = {**_of_the_data(events, len(parameters)), **keywords}
    for number, parameter in enumerate(parameters, start=1):
        known |= {
            f"$P{number}B": "32",
            f"$P{number}E": "0,0",
            f"$P{number}G": "1",
            f"$P{number}N": parameter.short,
            f"$P{number}R": str(parameter.range),
            f"$P{number}S": parameter.long,
        }
    # The text says where the data begin, and they begin behind the longest that it can be.
    longest = 2 * len(str(2**63))
    begin = _TEXT_BEGINS + len(_text(known)) + longest
    end = begin + size - 1
    text = _text({**known, "$BEGINDATA": str(begin), "$ENDDATA": str(end)})
    places = [_TEXT_BEGINS, _TEXT_BEGINS + len(text) - 1]
    places += [begin, end] if end <= _LAST_IN_HEADER else [0, 0]
    header = "FCS3.1    " + "".join(f"{place:>8}" for place in (*places, 0, 0))
    with path.open("wb") as stream:
        stream.write(header.encode().ljust(_TEXT_BEGINS))
        stream.write(text.ljust(begin - _TEXT_BEGINS))
        for start in range(0, events, _ROWS):
            rows = slice(start, min(start + _ROWS, events))
            block = np.empty((rows.stop - start, len(parameters)), "<f4")
            for column, parameter in enumerate(parameters):
                block[:, column] = parameter.values[rows]
            block[np.isnan(block)] = 0
            stream.write(block.tobytes())
        stream.write(b"0" * 8)  # no checksum


def _of_the_data(events: int, parameters: int) -> dict[str, str]:
    return {
        "$BEGINANALYSIS": "0",
        "$BEGINDATA": "0",
        "$BEGINSTEXT": "0",
        "$BYTEORD": "1,2,3,4",
        "$DATATYPE": "F",
        "$ENDANALYSIS": "0",
        "$ENDDATA": "0",
        "$ENDSTEXT": "0",
        "$MODE": "L",
        "$NEXTDATA": "0",
        "$PAR": str(parameters),
        "$TOT": str(events),
    }


def _text(keywords: Mapping[str, str]) -> bytes:
    """Return the text segment; the mark cannot occur in it, nor any other control character."""
    words = [word for pair in keywords.items() for word in pair]
    plain = ("".join(c if c.isprintable() else " " for c in word) or "-" for word in words)
    return f"{_MARK}{_MARK.join(plain)}{_MARK}".encode()
