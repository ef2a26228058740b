"""How the axes of a stored array become (channel, y, x): by metadata, else by a stated rule.

Axis letters are those of OME and tifffile: T time, Z depth, C channel, Y, X, S samples of a
pixel; I a row of pages and Q an axis without a name.

The rule where nothing names the axes:

- two axes are (y, x);
- three axes: the shorter of the first and the last is the channels, the first where they tie;
- four axes: the first is the staining cycle, and the other three follow the rule for three;
  channels are counted cycle after cycle;
- separate pages of equal size are channels;
- red, green and blue interleaved in each pixel are the channels of one colour photograph.
"""

from __future__ import annotations

import itertools
from typing import Literal

import attrs

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_io.limits import check_size

__all__ = [
    "Plan",
    "Projection",
    "StoredAxes",
    "as_axes",
    "as_depth",
    "as_plane",
    "as_series",
    "plan_axes",
]

Projection = Literal["max", "all"]

_NAMES = {"Z": "Z planes", "T": "time points"}


@attrs.frozen
class StoredAxes:
    """What a file says about the axes of one array.

    Parameters
    ----------
    letters, shape
        One letter and one size for each axis as stored.
    origin
        What named the axes, such as "OME-XML"; empty where nothing did.
    rgb
        True where the samples of a pixel are interleaved red, green, blue.
    alpha
        True where the last sample is an opacity.
    """

    letters: str
    shape: tuple[int, ...]
    origin: str = ""
    rgb: bool = False
    alpha: bool = False


@attrs.frozen
class Plan:
    """Which stored planes make up each channel.

    ``planes[c]`` holds the indices over all stored axes (0 at ``y`` and ``x``) of channel ``c``;
    the maximum is taken where there are several. ``repeats`` is the number of cycles.
    """

    planes: tuple[tuple[tuple[int, ...], ...], ...]
    y: int
    x: int
    sentence: str
    color: bool = False
    repeats: int = 1


def as_plane(value: object) -> int | Projection | None:
    """Return a choice of plane from what was typed: None, a number from 1, "max" or "all"."""
    if value is None or value == "":
        return None
    if value in ("max", "all"):
        return "max" if value == "max" else "all"
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigurationError(
            "a plane is chosen by its number, from 1 on, or by 'max' for the maximum; "
            f"got {value!r}"
        )
    return number


def as_depth(value: object) -> int | Projection | None:
    """Return a choice of Z plane: None, a number from 1, or "max"."""
    plane = as_plane(value)
    if plane == "all":
        raise ConfigurationError("z is a number from 1 on, or 'max'; 'all' is for t only")
    return plane


def as_series(value: object) -> int | None:
    """Return the number of an image in a file, from 1 on, from what was typed, or None."""
    number = as_plane(value)
    if isinstance(number, str):
        raise ConfigurationError(f"series is the number of an image in the file; got {value!r}")
    return number


def as_axes(value: object) -> str | None:
    """Return axis letters in upper case, checked.

    >>> as_axes("cyx")
    'CYX'
    """
    if value is None or value == "":
        return None
    letters = str(value).upper()
    if (
        set(letters) - set("TZCYXS")
        or len(set(letters)) < len(letters)
        or not {*"YX"} <= {*letters}
    ):
        raise ConfigurationError(
            "axes are named by the letters T, Z, C, Y, X and S, each once, with Y and X among "
            f"them, such as CYX; got {value!r}"
        )
    return letters


def plan_axes(
    stored: StoredAxes,
    image: str,
    *,
    z: int | Projection | None = None,
    t: int | Projection | None = None,
    axes: str | None = None,
) -> Plan:
    """Return where the planes of each channel are.

    Parameters
    ----------
    stored
        What the file says.
    image
        Name of the image, for messages.
    z, t
        Plane to use, from 1 on, or "max" for the maximum over all of them; ``t="all"`` takes
        time points as staining cycles and their channels one after the other.
    axes
        Letters that overrule what the file says, for the axes longer than 1 or for all.

    Raises
    ------
    ImageError
        If Z or T are longer than 1 and nothing was chosen, or an axis has no place in an image;
        or if the image is too large (see :mod:`cellseg_io.limits`).

    >>> plan = plan_axes(StoredAxes("QYX", (500, 400, 3)), "x.tif")
    >>> len(plan.planes), plan.y, plan.x, plan.planes[2]
    (3, 0, 1, ((0, 0, 2),))
    """
    letters, sentence = _name_axes(stored, image, axes)
    if letters.count("Y") != 1 or letters.count("X") != 1:
        raise ImageError(
            f"{image}: an image needs the axes Y and X once each; the file has the axes "
            f"{stored.letters} of sizes {stored.shape}. Name them with --set reader.axes=CYX."
        )
    check_size(image, stored.shape, letters.index("Y"), letters.index("X"))
    color = stored.rgb and axes is None and "S" in letters
    choices: dict[str, int | Projection | None] = {"Z": z, "T": t}
    flattened: list[int] = []
    fixed: dict[int, tuple[int, ...]] = {}
    notes = []
    for i, (letter, size) in enumerate(zip(letters, stored.shape, strict=True)):
        if letter in "YX":
            continue
        if letter in "KCS" or (letter == "T" and t == "all"):
            flattened.append(i)
        elif letter in choices:
            fixed[i], note = _choose(letter, size, choices[letter], image, stored)
            notes += [note] if note else []
        elif size == 1:
            fixed[i] = (0,)
        else:
            raise ImageError(
                f"{image}: cellseg knows no use for the axis {letter!r} of size {size} (axes "
                f"{stored.letters}, shape {stored.shape}). If it is the channels, say so with "
                "--set reader.axes=CYX; otherwise save the wanted part as its own file."
            )
    # Cycles and time points vary slowest, samples of a pixel fastest, however they are stored.
    flattened.sort(key=lambda i: "KTCS".index(letters[i]))
    sizes = {i: range(stored.shape[i]) for i in flattened}
    if axes is None and "S" in letters and (stored.alpha or (color and stored.shape[-1] == 4)):
        opacity = letters.index("S")
        sizes[opacity] = range(stored.shape[opacity] - 1)
        notes.append("alpha left out (--set reader.axes=YXC keeps it as a channel)")
    planes = []
    for channel in itertools.product(*(sizes[i] for i in flattened)):
        choice = dict(zip(flattened, channel, strict=True))
        planes.append(
            tuple(
                tuple(
                    {**choice, **dict(zip(fixed, rest, strict=True))}.get(i, 0)
                    for i in range(len(letters))
                )
                for rest in itertools.product(*fixed.values())
            )
        )
    color = color and len(planes) == 3
    repeats = 1
    for i in flattened:
        if letters[i] in "KT":
            repeats *= stored.shape[i]
    if repeats > 1:
        each = len(planes) // repeats
        notes.append(f"{repeats} cycles of {each} channel{'s' * (each != 1)}, one after the other")
    count = f"{len(planes)} channel" + "s" * (len(planes) != 1)
    heading = f"{sentence}: {'RGB colour' if color else count}"
    return Plan(
        planes=tuple(planes),
        y=letters.index("Y"),
        x=letters.index("X"),
        sentence="; ".join([heading, *notes]),
        color=color,
        repeats=repeats,
    )


def _name_axes(stored: StoredAxes, image: str, axes: str | None) -> tuple[str, str]:
    """Return one letter for each stored axis, K for cycles and 1 for none, and the reason."""
    letters, shape = stored.letters, stored.shape
    if axes is not None:
        long = [i for i, size in enumerate(shape) if size > 1]
        places = range(len(shape)) if len(axes) == len(shape) else long
        if len(axes) != len(places):
            raise ImageError(
                f"{image}: --set reader.axes={axes} names {len(axes)} axes, but the file has "
                f"{len(long)} longer than 1 (shape {shape})."
            )
        given = dict(zip(places, axes, strict=True))
        return "".join(given.get(i, "1") for i in range(len(shape))), f"axes {axes} as set"
    if stored.origin:
        # Bio-Formats and ImageJ leave an axis unnamed where there is only one kind of plane.
        others = [n for a, n in zip(letters, shape, strict=True) if a == "C"]
        if letters.count("I") == 1 and max(others, default=1) == 1:
            letters = letters.replace("C", "1").replace("I", "C")
            return letters, f"{stored.origin}, unnamed planes taken as channels"
        return letters, stored.origin
    unnamed = [i for i, a in enumerate(letters) if a in "IQ" and shape[i] > 1]
    samples = letters.find("S")
    if samples >= 0 and shape[samples] > 1:
        # Pages of colour photographs are planes of a stack; pages of other samples are cycles.
        return _rename(letters, unnamed, "Z" if stored.rgb else "K"), "no axis metadata; " + (
            f"shape {_long(shape)}, samples of a pixel stored together"
            if letters.endswith("S")
            else f"shape {_long(shape)}, samples stored as planes"
        )
    if not unnamed and "Q" not in letters:
        return letters, f"no axis metadata; shape {_long(shape)}"
    if unnamed and all(letters[i] == "I" for i in unnamed):
        return (
            _rename(letters, unnamed, "C"),
            f"no axis metadata; {shape[unnamed[0]]} pages, each taken as a channel",
        )
    places = [i for i, a in enumerate(letters) if a in "QYX"]
    while len(places) > 3 and shape[places[0]] == 1:
        del places[0]
    if len(places) > 4:
        raise ImageError(
            f"{image}: the file does not name its axes, and its shape {shape} has more than "
            "(cycle, channel, y, x). Name them with --set reader.axes=TZCYX, in the order stored."
        )
    *cycles, first, middle, last = places
    order = "YXC" if shape[last] < shape[first] else "CYX"
    named = dict(zip((first, middle, last), order, strict=True)) | dict.fromkeys(cycles, "K")
    rule = "the shorter of the first and the last axis"
    if cycles:
        rule = "the first axis is taken as cycles, the shorter of the second and the last axis"
    return (
        "".join(named.get(i, "1") for i in range(len(shape))),
        f"no axis metadata; shape {_long(shape)}: {rule} is taken as channels",
    )


def _choose(
    letter: str, size: int, choice: int | Projection | None, image: str, stored: StoredAxes
) -> tuple[tuple[int, ...], str]:
    """Return the planes to use of one axis, and a note for :attr:`Plan.sentence`."""
    if size == 1 and choice in (None, 1, "max", "all"):
        return (0,), ""
    option = f"--set reader.{letter.lower()}"
    if choice == "max":
        return tuple(range(size)), f"maximum of {size} {_NAMES[letter]}"
    if isinstance(choice, int) and choice <= size:
        return (choice - 1,), f"{_NAMES[letter][:-1]} {choice} of {size}"
    plural = _NAMES[letter] if size > 1 else _NAMES[letter][:-1]
    if choice is not None:
        raise ImageError(
            f"{image}: {option}={choice} is not among its {size} {plural}; give 1 to {size} or max."
        )
    cycles = f", or {option}=all if they are staining cycles" if letter == "T" else ""
    raise ImageError(
        f"{image}: it has {size} {plural} (axes {stored.letters}, shape {stored.shape}), and "
        f"cellseg works on one. Choose it with {option}=N (1 to {size}), the maximum of all with "
        f"{option}=max{cycles}; if they are really channels, name the axes: "
        "--set reader.axes=CYX."
    )


def _rename(letters: str, places: list[int], letter: str) -> str:
    return "".join(letter if i in places else a for i, a in enumerate(letters))


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape without the axes of size 1 that the file format adds."""
    return tuple(n for n in shape if n > 1) if len(shape) > 3 else shape
