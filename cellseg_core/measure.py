"""Per-cell measurements from an image and its label images, window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.features import SHAPES, Features, Statistic
from cellseg_core.image import Image
from cellseg_core.intensity import as_kernel_pixels, intensities
from cellseg_core.label_image import LazyLabels, check_labels
from cellseg_core.overlapped import overlapped
from cellseg_core.regions import (
    Regions,
    Renumbered,
    Runs,
    Window,
    check_nuclei,
    find_regions,
    plan,
    read_window,
    runs_in,
)
from cellseg_core.shape import BOX, MEASURED, shapes
from cellseg_core.table import CellTable

__all__ = ["measure"]

_MEAN = Statistic("mean")


def measure(
    image: Image | NDArray[Any],
    labels: LazyLabels | NDArray[np.integer[Any]],
    *,
    nuclei: LazyLabels | NDArray[np.integer[Any]] | None = None,
    features: str | Iterable[str] = (),
    scores: NDArray[np.float64] | None = None,
    regions: Regions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CellTable:
    """Return size, position, mean intensity in every channel, and more, of each labelled cell.

    Each cell is measured at once, from its own pixels in reading order, and the image is read in
    windows that hold their cells whole. So no value depends on how the image is cut, and memory is
    that of a window of one channel (some million pixels, or the bounding box of the largest cell)
    and of the table.

    Parameters
    ----------
    image
        An :class:`~cellseg_core.image.Image`, or an array (C, Y, X) or (Y, X). It may be lazy.
    labels
        Integers (Y, X): 0 is background, each other value one cell. Gaps and large ids are fine: a
        row of the table for each value that occurs. It may be lazy; it is read twice, or once where
        regions are given.
    nuclei
        The label image before expansion, with the same ids, for what is measured of nuclei and
        rings (:data:`~cellseg_core.features.COMPARTMENTS`). A cell without one has NaN there.
    features
        What to measure beyond the means: names and groups of :mod:`cellseg_core.features`, such as
        ``("shape", "median", "nucleus_p90")``, or a text with commas.
    scores
        Confidence of each row, where there is one.
    regions
        Where the cells are, as :func:`~cellseg_core.regions.find_regions` says. Default: that is
        found out.
    progress
        Called with (steps done, steps); a step is a window in one channel.

    Returns
    -------
    CellTable
        Statistics are of a cell's finite pixels; a cell without any has NaN, and the count 0.
        Sums of 8 and 16-bit integers are exact; everything else is computed in float64, to which
        other integers are converted (exactly up to 2**53). With a pixel size the feature
        ``area_um2`` is there as well.

    Raises
    ------
    ImageError
        If label images and image differ in size, labels are negative or not integers, or a
        nucleus does not lie in the cell of its id.
    ConfigurationError
        If a feature is unknown, or needs nuclei and none are given.

    >>> table = measure(np.array([[[1, 3, 9]]]), np.array([[5, 5, 0]]), features="max")
    >>> table.labels.tolist(), table.areas.tolist(), table.intensities.tolist()
    ([5], [2], [[2.0]])
    >>> table.statistics["max"].tolist()
    [[3.0]]
    """
    image = image if isinstance(image, Image) else Image(image)
    wanted = Features.of(features)
    cells = _checked(labels, image, "label image")
    inner = None
    if wanted.needs_nuclei:
        if nuclei is None:
            raise ConfigurationError(
                f"{image.name}: {', '.join(wanted.needs_nuclei)} cannot be measured without the "
                "nuclei: give the label image before expansion, measure(..., nuclei=...)."
            )
        inner = _checked(nuclei, image, "label image of the nuclei")
    where = find_regions(cells, image.name) if regions is None else regions
    if inner is not None:
        check_nuclei(inner, cells, image.name)
    if scores is not None and np.shape(scores) != (where.ids.size,):
        raise ImageError(
            f"{image.name}: scores are one for each of the {where.ids.size} cells; got the shape "
            f"{np.shape(scores)}."
        )
    found = _Columns.empty(where.ids.size, len(image.channels), wanted)
    windows = list(plan(where, image.shape, image.stored))
    steps = len(windows) * len(image.channels)

    # Each cell belongs to one window, so no two threads write to the same place.
    def find_pixels(of: tuple[Window, Mapping[str, Any]]) -> tuple[Window, dict[str, Runs]]:
        window, labels_of_parts = of
        parts = runs_in(window, labels_of_parts, where, image.name)
        if not np.array_equal(parts["cell"].areas, where.areas[window.cells]):
            raise ImageError(
                f"{image.name}: regions are not those of this label image. Leave them out, or "
                "give find_regions(labels)."
            )
        _measure_morphology(found, window, parts)
        return window, parts

    def read_pixels() -> Iterator[tuple[Window, dict[str, Runs], int, NDArray[Any]]]:
        labelled = ((window, read_window(window, cells, inner)) for window in windows)
        for window, parts in overlapped(find_pixels, labelled):
            for channel in range(len(image.channels)):
                pixels = image.read(channel, window.rows, window.columns)
                yield window, parts, channel, as_kernel_pixels(pixels)

    def fill_in(what: tuple[Window, dict[str, Runs], int, NDArray[Any]]) -> None:
        window, parts, channel, pixels = what
        for part, statistics in found.by_part.items():
            for statistic, values in intensities(pixels, parts[part], statistics).items():
                found.statistics[statistic][channel, window.cells] = values

    for step, _ in enumerate(overlapped(fill_in, read_pixels()), start=1):
        if progress is not None:
            progress(step, steps)
    named: dict[str, NDArray[np.generic]] = {}
    if image.pixel_size is not None:
        named["area_um2"] = where.areas * image.pixel_size**2
    if {"neighbours", "contact_length"} & set(wanted.morphology):
        found.morphology.update(_contacts(cells, where))
    for name in wanted.morphology:
        named |= {column: found.morphology[column] for column in _columns_of(name)}
    return CellTable(
        labels=where.ids,
        areas=where.areas,
        centroids=where.centroids,
        touches_edge=where.touches_edge(image.shape),
        channels=image.channels,
        intensities=found.statistics[_MEAN].T,
        statistics={
            statistic.name: found.statistics[statistic].T for statistic in wanted.statistics
        },
        features=named,
        image=image.name,
        position=image.position,
        **({} if scores is None else {"scores": np.asarray(scores, np.float64)}),
    )


def _checked(labels: Any, image: Image, what: str) -> LazyLabels:
    checked = check_labels(labels, image.name)
    shape = tuple(int(length) for length in checked.shape)
    if shape != image.shape:
        raise ImageError(
            f"{image.name}: the {what} has the size {shape}, the image {image.shape}; "
            "they must be the same. Was the label image made from this image, without cropping?"
        )
    return checked


def _columns_of(name: str) -> tuple[str, ...]:
    """Return the columns of one name of the morphology: four for a box, one for anything else."""
    if not name.endswith("bbox"):
        return (name,)
    return tuple(f"{name.removesuffix('bbox')}{side}" for side in BOX)


@attrs.frozen(eq=False)
class _Columns:
    """The values as they come in: statistics (K, N), and one array (N,) for all else."""

    by_part: dict[str, tuple[Statistic, ...]]
    statistics: dict[Statistic, NDArray[Any]]
    morphology: dict[str, NDArray[Any]]

    @classmethod
    def empty(cls, cells: int, channels: int, wanted: Features) -> _Columns:
        """Return room for what is wanted."""
        statistics = tuple(dict.fromkeys((_MEAN, *wanted.statistics)))
        return cls(
            by_part={
                part: tuple(one for one in statistics if one.compartment == part)
                for part in dict.fromkeys(one.compartment for one in statistics)
            },
            statistics={
                one: np.empty((channels, cells), np.int64 if one.kind == "count" else np.float64)
                for one in statistics
            },
            morphology={
                column: np.empty(cells, np.float64 if name.endswith(MEASURED) else np.int64)
                for name in wanted.morphology
                for column in _columns_of(name)
            },
        )


def _measure_morphology(found: _Columns, window: Window, parts: dict[str, Runs]) -> None:
    """Fill in what the places of pixels tell: shapes, and the areas of nuclei and rings."""
    origin = (window.rows.start or 0, window.columns.start or 0)
    for prefix, part in (("", "cell"), ("nucleus_", "nucleus")):
        # A box is wanted if its first side is.
        wanted = [name for name in SHAPES if _columns_of(f"{prefix}{name}")[0] in found.morphology]
        if wanted:
            for column, values in shapes(parts[part], wanted, origin).items():
                found.morphology[f"{prefix}{column}"][window.cells] = values
    for part in ("nucleus", "ring"):
        if f"{part}_area" in found.morphology:
            found.morphology[f"{part}_area"][window.cells] = parts[part].areas


def _contacts(cells: LazyLabels, regions: Regions) -> dict[str, NDArray[np.int64]]:
    """Return with how many others each cell is in contact, and over what length."""
    from cellseg_core.contacts import count_contacts

    count = regions.ids.size
    if count and regions.ids[-1] != count:
        cells = Renumbered(cells, regions)
    contacts = count_contacts(cells)
    ends = np.concatenate([contacts.first, contacts.second]) - 1
    lengths = np.zeros(count, np.int64)
    np.add.at(lengths, ends, np.tile(contacts.lengths, 2))
    return {"neighbours": np.bincount(ends, minlength=count), "contact_length": lengths}
