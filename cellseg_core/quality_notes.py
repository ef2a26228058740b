"""What may be wrong with an image or with its cells, in plain words with what to do.

Each check has one stated criterion. They look at windows spread over the image, so that they cost
little and need little memory, and they are meant to stay silent about images that are merely poor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.focus import find_edge
from cellseg_core.image import Image
from cellseg_core.label_image import LazyLabels
from cellseg_core.protocols import Labels
from cellseg_core.scaled import ScaledImage
from cellseg_core.table import CellTable
from cellseg_core.tiling import Box

__all__ = ["CHECKS", "quality_notes"]

CHECKS = {
    "Out of focus": (
        "a part in which the edges of nuclei are over 1.5 times as wide as in the sharpest part; "
        "or all of them wider than 2.2 px and 1.1 \u00b5m (standard deviation)"
    ),
    "Dim": "nuclei less than 2.5 times the noise of a pixel brighter than what is around them",
    "Saturated": (
        "over 0.05 % of a channel's pixels at its highest value, and over three times as many as "
        "in the last twentieth below it"
    ),
    "Empty": (
        "all pixels of a channel equal, or no cell over 6 standard errors of noise above the "
        "median cell, which is as bright as what is outside of nuclei"
    ),
    "Nuclear size": (
        "median nucleus under 4 or over 15 \u00b5m, or over 1.7 times as large or small as was "
        "looked for"
    ),
    "Few nuclei": (
        "nuclei cover less than 0.5 % of the image, or over half of what is as bright as nuclei "
        "lies outside of them"
    ),
    "Removed": "over 40 % of the objects were removed because they are small",
    "Seams": "over 15 % more or fewer cells near the seams of tiles, or nuclei cut straight",
    "Compensation": "over 40 % of a channel's signal taken out",
}
"""What is looked for, and when a note is given."""

_EDGE = 256  # px of a window
_GRID = 6  # windows along an edge of the image, at most
_FEWEST = 10  # nuclei, or cells, that tell
_BLURRED = 1.5
_WIDE_PX, _WIDE_UM = 2.2, 1.1
_DIM = 2.5
_SATURATED = 5e-4
_FEWEST_SATURATED = 10  # pixels
_LOWEST_TOP = 32  # a channel of a few counts only has no plateau
_STANDS_OUT = 6.0
_HUGE = 1e150
_OVER_GROUND = 0.5
_SMALLEST_UM, _LARGEST_UM = 4.0, 15.0
_OTHER_SIZE = 1.7
_COVERED = 0.005
_MISSED = 0.5
_REMOVED = 0.4
_NAMED = 8  # channels in one sentence


@attrs.frozen(eq=False)
class _Window:
    """A part of the image: its nuclear plane (0 to 1) and labels of nuclei, (y, x) each."""

    box: Box
    plane: NDArray[np.float32]
    nuclei: NDArray[np.integer[Any]]


def quality_notes(
    image: Image,
    scaled: ScaledImage,
    nuclei: Labels | LazyLabels,
    table: CellTable,
    diameter: float,
    facts: Mapping[str, Any],
) -> list[str]:
    """Return what a user should look at, a full sentence or more each; nothing if all seems well.

    Parameters
    ----------
    image, scaled, nuclei, table
        What a pipeline worked with and made.
    diameter
        Of nuclei, in px, as was looked for.
    facts
        ``removed_small``, ``seams_checked`` and ``compensation``, as far as they are there.
    """
    windows = [
        _Window(box, scaled.read(*box.slices)[0], np.asarray(nuclei[box.slices]))
        for box in _boxes(image.shape)
    ]
    notes = [*_channels(image, table, windows)]
    if len(table):
        notes += _nuclear(image, windows)
        notes += _sizes(image, windows, diameter)
        notes += _few(windows)
    notes += _removed(facts.get("removed_small", 0), len(table))
    notes += _seams(facts.get("seams_checked") or {})
    notes += _moved(facts.get("compensation") or {})
    return notes


def _boxes(shape: tuple[int, int]) -> list[Box]:
    """Return windows spread evenly: all of a small image, 36 of 256 px of a large one."""
    (rows, height), (columns, width) = (
        (count, min(_EDGE, length // count))
        for length in shape
        for count in [min(_GRID, math.ceil(length / _EDGE))]
    )
    return [
        Box(top, top + height, left, left + width)
        for row in range(rows)
        for column in range(columns)
        for top in [(2 * row + 1) * shape[0] // (2 * rows) - height // 2]
        for left in [(2 * column + 1) * shape[1] // (2 * columns) - width // 2]
    ]


def _nuclear(image: Image, windows: Sequence[_Window]) -> Iterator[str]:
    """Look at focus and brightness of the nuclear image."""
    edges = [
        (window, edge)
        for window in windows
        if (edge := find_edge(window.plane, window.nuclei)) is not None
    ]
    if not edges:
        return
    widths = np.array([edge.width for _, edge in edges])
    blurred = widths > _BLURRED * np.quantile(widths, 0.1)
    if blurred.any():
        where = list(
            dict.fromkeys(
                _place(window.box, image.shape)
                for (window, _), bad in zip(edges, blurred, strict=True)
                if bad
            )
        )
        yield (
            f"part of the image seems to be out of focus: {', '.join(where[:4])}"
            f"{' and elsewhere' if len(where) > 4 else ''} ({np.count_nonzero(blurred)} of "
            f"{len(edges)} places looked at). Nuclei there may be merged or missed: leave that "
            "part out of the analysis, or image it again."
        )
    typical = float(np.median(widths))
    in_um = None if image.pixel_size is None else typical * image.pixel_size
    if not blurred.any() and in_um is not None and typical > _WIDE_PX and in_um > _WIDE_UM:
        yield (
            f"the whole image seems to be out of focus: the edges of nuclei are {in_um:.1f} um "
            "wide. Neighbours may be merged: look at the close-ups, and image the slide again if "
            "they are blurred."
        )
    signal = float(np.median([edge.contrast / max(edge.noise, 1e-9) for _, edge in edges]))
    if signal < _DIM:
        yield (
            f"the nuclear image is dim: nuclei are only {signal:.1f} times the noise brighter "
            "than what is around them. Dim nuclei may be missed: expose longer, or average "
            "several nuclear channels (--nuclear A,B)."
        )


def _place(box: Box, shape: tuple[int, int]) -> str:
    """Say where a window is.

    >>> _place(Box(0, 10, 80, 90), (100, 100)), _place(Box(45, 55, 45, 55), (100, 100))
    ('upper right', 'middle')
    """
    row, column = (
        min(2, 3 * (start + stop) // 2 // length)
        for start, stop, length in ((box.y0, box.y1, shape[0]), (box.x0, box.x1, shape[1]))
    )
    if row == column == 1:
        return "middle"
    return " ".join(
        name for name in (("upper", "", "lower")[row], ("left", "", "right")[column]) if name
    )


def _channels(image: Image, table: CellTable, windows: Sequence[_Window]) -> Iterator[str]:
    """Look for saturated and empty channels."""
    saturated, black, flat = [], [], []
    for number, name in enumerate(image.channels):
        read = [image.read(number, *window.box.slices) for window in windows]
        if not any(part.size for part in read):
            continue
        if not any(np.isfinite(part).any() for part in read):
            black.append(f"{name} (no number, only NaN or infinity)")
            continue
        parts = [_finite(part) for part in read]
        values = np.concatenate([part.ravel() for part in parts])
        values = values.astype(np.float64)
        low, top = float(values.min()), float(values.max())
        if low == top:
            means = table.intensities[:, number]
            if np.unique(means[np.isfinite(means)]).size <= 1:
                black.append(f"{name} (all {top:g})")
            continue
        at_top = int(np.count_nonzero(values == top))
        below = int(np.count_nonzero(values >= top - 0.05 * (top - low))) - at_top
        if (
            at_top > max(_SATURATED * values.size, 3 * below, _FEWEST_SATURATED)
            and top >= _LOWEST_TOP
            and not image.color
        ):
            saturated.append(f"{name} ({100 * at_top / values.size:.1f} % at {top:g})")
        elif not _stands_out(table, number, parts, windows):
            flat.append(name)
    if saturated:
        yield (
            f"saturated: {_listed(saturated)}. The brightest cells cannot be told apart there, and "
            "their means are too low: expose shorter, and compare them as positive or negative "
            "only."
        )
    if black:
        yield (
            f"empty: every pixel looked at has the same value in {_listed(black)}. Was the channel "
            "exported, and is it the right one?"
        )
    if flat:
        yield (
            f"no cell stands out from the noise in {_listed(flat)}. The marker is not there, or "
            "its staining failed: do not gate on it."
        )


def _finite(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        pixels = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
    return pixels


def _stands_out(
    table: CellTable, number: int, parts: Sequence[NDArray[Any]], windows: Sequence[_Window]
) -> bool:
    """Return whether any cell is brighter than noise explains, or all are than what is outside.

    Where there is too little to tell, or values are too large to be squared, it is True.
    """
    means = table.intensities[:, number]
    if table.uncompensated is not None:
        means = table.uncompensated[:, number]
    known = np.isfinite(means)
    largest = max(float(np.abs(part).max(initial=0)) for part in parts)
    if np.count_nonzero(known) < _FEWEST or largest > _HUGE:
        return True
    steps = [np.diff(part.astype(np.float64), axis=1).ravel() for part in parts]
    noise = float(np.std(np.concatenate(steps))) / math.sqrt(2)
    above = (means[known] - np.median(means[known])) * np.sqrt(table.areas[known])
    outside = [part[window.nuclei == 0] for part, window in zip(parts, windows, strict=True)]
    ground = np.concatenate(outside).astype(np.float64)
    if not ground.size or float(np.median(means[known]) - ground.mean()) > _OVER_GROUND * noise:
        return True
    return float(np.max(above)) > _STANDS_OUT * noise


def _sizes(image: Image, windows: Sequence[_Window], diameter: float) -> Iterator[str]:
    """Compare nuclei with what is usual, and with what was looked for."""
    whole = [areas for window in windows for areas in [_whole_areas(window.nuclei)] if areas.size]
    if not whole or sum(map(len, whole)) < _FEWEST:
        return
    found = 2 * math.sqrt(float(np.median(np.concatenate(whole))) / math.pi)
    in_um = None if image.pixel_size is None else found * image.pixel_size
    if in_um is not None and not _SMALLEST_UM <= in_um <= _LARGEST_UM:
        size = "small" if in_um < _SMALLEST_UM else "large"
        yield (
            f"nuclei are unusually {size}: {in_um:.1f} um across, where 4 to 15 um are usual. Is "
            "the pixel size right (--pixel-size), and are these nuclei and not "
            f"{'fragments' if size == 'small' else 'clusters'}?"
        )
    elif not diameter / _OTHER_SIZE <= found <= diameter * _OTHER_SIZE:
        size = "smaller" if found < diameter else "larger"
        yield (
            f"nuclei are {found:.0f} px across, much {size} than the {diameter:.0f} px that were "
            "looked for: they may be cut or merged. Give their diameter with --nuclear-diameter."
        )


def _whole_areas(nuclei: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return the areas of the nuclei that the edge of a window does not cut."""
    ids, areas = np.unique(nuclei, return_counts=True)
    rim = np.concatenate([nuclei[0], nuclei[-1], nuclei[:, 0], nuclei[:, -1]])
    whole: NDArray[np.int64] = areas[(ids > 0) & ~np.isin(ids, rim)]
    return whole


def _few(windows: Sequence[_Window]) -> Iterator[str]:
    """Look for nuclei that are there and were not found."""
    from scipy.ndimage import gaussian_filter

    total = sum(window.nuclei.size for window in windows)
    inside = sum(int(np.count_nonzero(window.nuclei)) for window in windows)
    if inside < _COVERED * total:
        yield (
            f"nuclei cover only {100 * inside / total:.1f} % of the places looked at. If there is "
            "tissue, is the nuclear channel right (--nuclear), and its brightness (--brightness)?"
        )
        return
    values = np.concatenate([window.plane[window.nuclei > 0] for window in windows])
    ground = np.concatenate([window.plane[window.nuclei == 0] for window in windows])
    if not ground.size or np.median(values) <= np.median(ground):
        return
    middle = float(np.median(values) + np.median(ground)) / 2
    bright = [gaussian_filter(window.plane, 1.0) > middle for window in windows]
    missed = sum(
        int(np.count_nonzero(one & (window.nuclei == 0)))
        for one, window in zip(bright, windows, strict=True)
    )
    share = missed / max(1, sum(int(np.count_nonzero(one)) for one in bright))
    if share > _MISSED:
        yield (
            f"{100 * share:.0f} % of what is as bright as nuclei lies outside of them: many may be "
            "missed. Look at the overlay; another --nuclear-diameter or --segmenter may find them."
        )


def _removed(removed: int, kept: int) -> Iterator[str]:
    if removed > _REMOVED * (removed + kept) and removed >= _FEWEST:
        yield (
            f"{removed:,} of {removed + kept:,} objects were removed because they are small. If "
            "there are nuclei among them, give a lower --min-size."
        )


def _seams(checked: Mapping[str, Any]) -> Iterator[str]:
    """Compare what is near the seams of tiles with what is elsewhere."""
    if not checked:
        return
    near, other = checked["near"], checked["elsewhere"]
    if other["per_megapixel"] and near["per_megapixel"] is not None:
        ratio = near["per_megapixel"] / other["per_megapixel"]
        expected = near["cells"] / max(ratio, 1e-9)
        if abs(ratio - 1) > 0.15 and abs(near["cells"] - expected) > 5 * math.sqrt(expected + 1):
            yield (
                f"there are {abs(ratio - 1):.0%} {'more' if ratio > 1 else 'fewer'} cells near the "
                "seams of tiles than elsewhere. Leave --overlap out, so that the segmenter gets "
                "what it needs, and tell its author."
            )
    rate, usual = (
        one["straight"] / one["crossing"] if one["crossing"] else 0.0 for one in (near, other)
    )
    if near["straight"] >= 5 and rate > max(0.05, 4 * usual):
        yield (
            f"{near['straight']:,} nuclei are cut straight at the seams of tiles. Leave --overlap "
            "out, so that the segmenter gets what it needs, and tell its author."
        )


def _moved(compensation: Mapping[str, Any]) -> Iterator[str]:
    shares = compensation.get("channels", {})
    much = [
        f"{name} ({one['removed']:.0%})" for name, one in shares.items() if one["removed"] > 0.4
    ]
    if much:
        yield (
            f"compensation took out much of the signal of {_listed(much)}. Compare the plots "
            "before and after; leave nuclear stains alone with --compensate-except."
        )


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more
