"""Which small parts of the images a report shows: typical of what is hard, and a fair one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.comparing.agreement import Disagreement, Pair, compare_pair
from cellseg_core.comparing.stain import nuclear_stain
from cellseg_core.label_files import read_label_file
from cellseg_core.label_image import read_labels
from cellseg_core.measure import measure
from cellseg_core.tiling import Box

if TYPE_CHECKING:
    from cellseg_core.comparing.comparison import Comparison
    from cellseg_core.comparing.findings import Findings, ImageFindings

__all__ = ["Crop", "choose_crops", "methods_by_image", "reference_method"]

_DIAMETERS = 10  # nuclei side by side in a crop
_EDGES = (24, 1024)  # px
_LOOKED_AT = 50  # images whose nuclei are measured
_FEWEST = 3  # nuclei in a window: one alone is a mistake as likely as an example
_TRIED = 100  # windows of a kind, in case others overlap crops that are shown already
_OVERLAP = 0.25  # of a crop that another one may show too
_SEED = 0


@attrs.frozen
class Crop:
    """A part of an image, and why it is shown."""

    why: str
    image: str
    box: Box


@attrs.frozen(eq=False)
class _Grid:
    """Windows of one size that cover an image, and what the nuclei in each are like.

    ``figures`` has (rows, columns) for each name: ``count``, and the medians ``area``,
    ``elongation`` and ``brightness``, NaN where there are fewer than ``_FEWEST`` nuclei.
    """

    image: str
    shape: tuple[int, int]
    edge: int
    figures: dict[str, NDArray[np.float64]]


def choose_crops(comparison: Comparison) -> list[Crop]:
    """Return the crops that a report shows, always the same ones of the same comparison.

    In this order, over all images: where the methods disagree most (:class:`Disagreement`; one
    method alone: where it differs most from the truth), the densest, the one with the dimmest, the
    largest and the most elongated nuclei (or cells, where these are compared), each by the median
    over the nuclei in it, and one drawn at random from all with nuclei. They are the true ones or,
    without truth, those of the method that agrees best with the others (:func:`reference_method`),
    as far as another one has them too. They are measured in up to 50 images, spread evenly over
    all. A crop is about 10 typical nuclear diameters of its image wide, and lies inside the image;
    where it would show what an earlier one does, the next best is taken, and none if there is no
    other.
    """
    done, kind = methods_by_image(comparison.findings), comparison.record["kind"]
    grids = _grids(comparison, done)
    most = max((float(grid.figures["count"].max(initial=0)) for grid in grids), default=0)
    if most == 0:
        return []
    kinds: list[tuple[str, Iterable[tuple[str, Box]]]] = [
        ("Where the methods disagree most", _disputed(comparison, done)),
        ("Densest", _extreme(grids, "count", lambda values: -values)),
        (f"Dimmest {kind}", _extreme(grids, "brightness", lambda values: values)),
        (f"Largest {kind}", _extreme(grids, "area", lambda values: -values)),
        (f"Most elongated {kind}", _extreme(grids, "elongation", lambda values: -values)),
        ("Drawn at random", _at_random(grids)),
    ]
    chosen: list[Crop] = []
    for why, candidates in kinds:
        for image, box in candidates:
            if not any(one.image == image and _alike(one.box, box) for one in chosen):
                chosen.append(Crop(why, image, box))
                break
    return chosen


def reference_method(comparison: Comparison) -> str | None:
    """Return the method whose mean F1 with the others is the highest; None if none did anything.

    The first of equal ones.
    """
    names = [one.method.name for one in comparison.findings.methods if one.images]
    means = {}
    for name in names:
        known = [
            found.f1
            for both, found in comparison.findings.agreement.items()
            if name in both and found.f1 is not None
        ]
        means[name] = sum(known) / len(known) if known else 0.0
    return max(names, key=lambda name: means[name], default=None)


def methods_by_image(findings: Findings) -> dict[str, dict[str, ImageFindings]]:
    """Return what each method found in each image: ``found[image][method]``."""
    found: dict[str, dict[str, ImageFindings]] = {}
    for one in findings.methods:
        for image in one.images:
            found.setdefault(image.image.name, {})[one.method.name] = image
    return found


def _edge(found: Iterable[ImageFindings]) -> int:
    """Return how wide a crop of an image is, in px, given what the methods found in it."""
    found = list(found)
    areas = np.concatenate([np.empty(0, np.int64), *(one.areas for one in found)])
    if areas.size:
        diameter = 2 * math.sqrt(float(np.median(areas)) / math.pi)
    else:
        decided = [one.image.facts["decided"]["nuclear_diameter_px"] for one in found]
        diameter = float(np.median(decided)) if decided else _EDGES[0] / _DIAMETERS
    return int(np.clip(round(_DIAMETERS * diameter), *_EDGES))


def _box(shape: tuple[int, int], edge: int, middle: tuple[float, float]) -> Box:
    """Return the box of this edge about a place, moved into the image; smaller if that is."""
    (y0, height), (x0, width) = (
        (max(0, min(round(at - edge / 2), length - edge)), min(edge, length))
        for at, length in zip(middle, shape, strict=True)
    )
    return Box(y0, y0 + height, x0, x0 + width)


def _alike(one: Box, other: Box) -> bool:
    common = one.intersection(other)
    return common is not None and math.prod(common.shape) > _OVERLAP * min(
        math.prod(one.shape), math.prod(other.shape)
    )


def _disputed(
    comparison: Comparison, done: Mapping[str, Mapping[str, ImageFindings]]
) -> list[tuple[str, Box]]:
    """Return the windows with the most disputed area, as a share of the window."""
    ranked = []
    for image, pairs in comparison.findings.pairs.items():
        edge = _edge(done[image].values())
        every = list(pairs.values()) or _with_truth(comparison, image, done[image].values())
        if not every:
            continue
        found = Disagreement.of(every, edge)
        for y0, y1, x0, x1 in found.worst(4):
            share = float(found.disputed[y0 // edge, x0 // edge]) / edge**2
            box = _box(found.shape, edge, ((y0 + y1) / 2, (x0 + x1) / 2))
            ranked.append((-share, image, box))
    return [(image, box) for _, image, box in sorted(ranked)[:_TRIED]]


def _with_truth(comparison: Comparison, image: str, found: Iterable[ImageFindings]) -> list[Pair]:
    """Return the one method there is against the truth; nothing without one."""
    if image not in comparison.true_files:
        return []
    truth = read_label_file(comparison.true_files[image])
    return [
        compare_pair(truth, one.image.labels(comparison.record["kind"]), ("the truth", image))
        for one in found
    ]


def _grids(comparison: Comparison, done: Mapping[str, Mapping[str, ImageFindings]]) -> list[_Grid]:
    """Return the windows of up to ``_LOOKED_AT`` images, with their nuclei measured."""
    reference = reference_method(comparison)
    if reference is None:
        return []
    (method,) = (one for one in comparison.findings.methods if one.method.name == reference)
    step = max(1.0, len(method.images) / _LOOKED_AT)
    places = [int(number * step) for number in range(min(len(method.images), _LOOKED_AT))]
    looked_at = [method.images[place].image.name for place in places]
    return [_grid(comparison, reference, image, done[image]) for image in looked_at]


def _grid(
    comparison: Comparison, reference: str, image: str, done: Mapping[str, ImageFindings]
) -> _Grid:
    found = done[reference]
    truth = comparison.true_files.get(image)
    if truth is None:
        labels = found.image.labels(comparison.record["kind"])
    else:
        labels = read_labels(read_label_file(truth))
    shape, edge = found.image.shape, _edge(done.values())
    stain = nuclear_stain(comparison.images[image], comparison.config, found.image.brightness)
    cells = measure(stain, labels, features=("axis_major_length", "axis_minor_length"))
    minor = np.maximum(cells.features["axis_minor_length"], 1)
    values = {
        "area": cells.areas.astype(np.float64),
        "elongation": cells.features["axis_major_length"] / minor,
        "brightness": cells.intensities[:, 0],
    }
    kept = np.ones(len(cells.areas), bool)
    if truth is None:
        kept = _shared(comparison, reference, image, len(kept))
    rows, columns = (max(1, math.ceil(length / edge)) for length in shape)
    place = np.floor((cells.centroids + 0.5) * (rows, columns) / shape).astype(np.int64)
    place = np.clip(place, 0, (rows - 1, columns - 1))
    window = (place[:, 0] * columns + place[:, 1])[kept]
    # Windows differ in size between images: nuclei per area of a crop.
    count = np.bincount(window, minlength=rows * columns) * (rows * columns * edge**2)
    figures = {"count": (count / math.prod(shape)).reshape(rows, columns)}
    for name, of_cells in values.items():
        medians = _medians(window, of_cells[kept], rows * columns)
        figures[name] = medians.reshape(rows, columns)
    return _Grid(image, shape, edge, figures)


def _shared(comparison: Comparison, reference: str, image: str, count: int) -> NDArray[np.bool_]:
    """Return (N,) bool: which nuclei of a method another one has too; all if there is none."""
    matched = [
        (pair.first if reference == first else pair.second).matched
        for (first, second), pair in comparison.findings.pairs.get(image, {}).items()
        if reference in (first, second)
    ]
    shared: NDArray[np.bool_] = np.logical_or.reduce(matched) if matched else np.ones(count, bool)
    return shared if shared.any() else np.ones(count, bool)


def _medians(
    window: NDArray[np.int64], values: NDArray[np.float64], windows: int
) -> NDArray[np.float64]:
    """Return the median of the values in each window; NaN where there are too few."""
    medians = np.full(windows, np.nan)
    order = np.argsort(window, kind="stable")
    begin = np.searchsorted(window[order], np.arange(windows + 1))
    for place in np.flatnonzero(np.diff(begin) >= _FEWEST):
        medians[place] = np.median(values[order[begin[place] : begin[place + 1]]])
    return medians


def _extreme(
    grids: Sequence[_Grid],
    figure: str,
    order: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> list[tuple[str, Box]]:
    """Return the windows in the order of a figure, the first ones of each image."""
    ranked: list[tuple[float, str, Box]] = []
    for grid in grids:
        values = order(grid.figures[figure])
        there = np.isfinite(values) & (grid.figures["count"] > 0)
        first = np.argsort(np.where(there, values, np.inf), axis=None, kind="stable")
        ranked += [
            (float(values.flat[place]), grid.image, _window(grid, int(place)))
            for place in first[: min(_TRIED, np.count_nonzero(there))]
        ]
    return [(image, box) for _, image, box in sorted(ranked)[:_TRIED]]


def _at_random(grids: Sequence[_Grid]) -> list[tuple[str, Box]]:
    """Return windows with nuclei, images drawn alike, then windows of each alike."""
    rng = np.random.default_rng(_SEED)
    there = [(grid, np.flatnonzero(grid.figures["count"])) for grid in grids]
    there = [(grid, places) for grid, places in there if places.size]
    drawn = []
    for _ in range(_TRIED):
        grid, places = there[int(rng.integers(len(there)))]
        drawn.append((grid.image, _window(grid, int(rng.choice(places)))))
    return drawn


def _window(grid: _Grid, place: int) -> Box:
    rows, columns = grid.figures["count"].shape
    row, column = divmod(place, columns)
    middle = (row + 0.5) * grid.shape[0] / rows, (column + 0.5) * grid.shape[1] / columns
    return _box(grid.shape, grid.edge, middle)
