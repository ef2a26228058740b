"""Places of an image that are worth a close look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.pages.scale import bar_length
from cellseg_core.painting import CELL, NUCLEUS, Tone, overlaid
from cellseg_core.tiling import Box
from cellseg_io.report.pictures import palette_png

if TYPE_CHECKING:
    from cellseg_core.result import Result

__all__ = ["CloseUp", "Spot", "choose_spots", "draw_spot"]

_WIDE = 9.0  # nuclei across a close-up
_SMALLEST = 40  # px across
_SHOWN = 360  # px of a picture, about
_TRIED = 20  # places of one kind, for one that shows what no other does
_FEWEST = 4  # cells in a place that is called dim


@attrs.frozen
class Spot:
    """A place, what it is called, and why it is shown."""

    name: str
    why: str
    box: Box


@attrs.frozen
class CloseUp:
    """A spot with its picture alone and with outlines, and its scale bar (share of the width)."""

    spot: Spot
    plain: str
    outlined: str
    cells: int
    bar: float
    bar_text: str


def choose_spots(
    result: Result, nuclear: NDArray[np.float64], areas: NDArray[np.int64]
) -> list[Spot]:
    """Return up to six places that do not overlap.

    Parameters
    ----------
    result
        The result.
    nuclear, areas
        (N,) each: mean of the nuclear channel and area of the nucleus of each cell.
    """
    shape = result.image.shape
    side = round(min(max(_WIDE * result.nuclear_diameter, _SMALLEST), *shape))
    spots: list[Spot] = []
    centres: list[tuple[float, float]] = []
    for name, why, places in _candidates(result, nuclear, areas, side):
        free = (
            (y, x)
            for y, x in places
            if all(max(abs(y - cy), abs(x - cx)) >= 0.7 * side for cy, cx in centres)
        )
        y, x = next(free, (None, None))
        if y is None or x is None:
            continue
        centres.append((y, x))
        top = int(np.clip(round(y - side / 2), 0, shape[0] - side))
        left = int(np.clip(round(x - side / 2), 0, shape[1] - side))
        spots.append(Spot(name, why, Box(top, top + side, left, left + side)))
    return spots


def _candidates(
    result: Result, nuclear: NDArray[np.float64], areas: NDArray[np.int64], side: int
) -> Iterator[tuple[str, str, list[tuple[float, float]]]]:
    """Yield, in the order of what they tell, kinds of places, and the best few of each."""
    places = result.table.centroids
    shape = result.image.shape
    if not len(places):
        yield "Middle", "no cell was found", [(shape[0] / 2, shape[1] / 2)]
        return
    rows, columns = (max(1, length // side) for length in shape)
    row = np.minimum((places[:, 0] * rows / shape[0]).astype(int), rows - 1)
    column = np.minimum((places[:, 1] * columns / shape[1]).astype(int), columns - 1)
    cell_bin = row * columns + column
    counts = np.bincount(cell_bin, minlength=rows * columns)

    def middles(numbers: Iterable[int]) -> list[tuple[float, float]]:
        return [
            (
                (number // columns + 0.5) * shape[0] / rows,
                (number % columns + 0.5) * shape[1] / columns,
            )
            for number in map(int, numbers)
        ]

    yield "Dense", "most cells", middles(np.argsort(-counts, kind="stable")[:1])
    seam = _at_seam(result, counts, (rows, columns))
    if seam:
        yield "At a seam", "where tiles meet", seam
    known = np.where(np.isfinite(nuclear), nuclear, 0)
    sums = np.bincount(cell_bin, known, rows * columns)
    enough = counts >= max(_FEWEST, 0.3 * float(np.median(counts[counts > 0])))
    if enough.any():
        means = np.where(enough, sums / np.maximum(counts, 1), np.inf)
        yield (
            "Dim",
            "the dimmest nuclei",
            middles(np.argsort(means, kind="stable")[: min(_TRIED, np.count_nonzero(enough))]),
        )
    largest = places[int(np.argmax(areas))]
    yield "Largest nucleus", "in the middle: is it one?", [(float(largest[0]), float(largest[1]))]
    bare = _bare(result, counts.reshape(rows, columns))
    if bare is not None:
        yield "Bright, few nuclei", "signal without nuclei: was something missed?", middles([bare])
    drawn = places[np.random.default_rng(0).integers(len(places), size=_TRIED)]
    yield "At random", "as good as the rest?", [(float(y), float(x)) for y, x in drawn]


def _at_seam(
    result: Result, counts: NDArray[np.intp], grid: tuple[int, int]
) -> list[tuple[float, float]]:
    """Return the middles of the densest places that a seam runs through."""
    seams = result.facts.get("seams") or {"y": [], "x": []}
    height, width = result.image.shape
    through = [
        *((y, (n + 0.5) * width / grid[1]) for y in seams["y"] for n in range(grid[1])),
        *(((n + 0.5) * height / grid[0], x) for x in seams["x"] for n in range(grid[0])),
    ]
    if not through:
        return []
    points = np.array(through, np.float64)
    rows = np.minimum((points[:, 0] * grid[0] / height).astype(int), grid[0] - 1)
    columns = np.minimum((points[:, 1] * grid[1] / width).astype(int), grid[1] - 1)
    best = np.argsort(-counts[rows * grid[1] + columns], kind="stable")[:_TRIED]
    return [(float(y), float(x)) for y, x in points[best]]


def _bare(result: Result, counts: NDArray[np.intp]) -> int | None:
    """Return the number of the brightest place with hardly any nuclei, None without a bright one.

    It is bright if it is as bright as the median place that has nuclei.
    """
    plane = result.scaled.sample()[0]
    if min(plane.shape) < max(counts.shape):
        return None
    edges = [
        np.linspace(0, length, count + 1).astype(int)[:-1]
        for length, count in zip(plane.shape, counts.shape, strict=True)
    ]
    light = np.add.reduceat(np.add.reduceat(plane, edges[0], axis=0), edges[1], axis=1)
    sizes = np.outer(*(np.diff([*edge, n]) for edge, n in zip(edges, plane.shape, strict=True)))
    light = light / sizes
    usual = float(np.median(counts[counts > 0]))
    few = counts <= 0.2 * usual
    if not few.any():
        return None
    best = int(np.argmax(np.where(few, light, -np.inf)))
    return best if light.flat[best] > float(np.median(light[~few])) else None


def draw_spot(result: Result, spot: Spot, tone: Tone) -> CloseUp:
    """Return the pictures of a spot."""
    box = spot.box
    gray = tone.gray(result.scaled.read(*box.slices)[0])
    zoom = max(1, round(_SHOWN / box.shape[1]))
    nuclei = np.asarray(result.nuclei[box.slices])
    outlined = [(nuclei, NUCLEUS)]
    if result.cells is not result.nuclei:
        outlined.insert(0, (np.asarray(result.cells[box.slices]), CELL))
    length, text = bar_length(box.shape[1], result.image.pixel_size)
    return CloseUp(
        spot=spot,
        plain=palette_png(overlaid(gray, [])),
        outlined=palette_png(overlaid(gray, outlined, zoom, 2)),
        cells=int(np.count_nonzero(np.unique(nuclei))),
        bar=length / box.shape[1],
        bar_text=text,
    )
