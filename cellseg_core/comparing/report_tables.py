"""What a report shows of cost, quality without truth, and agreement, as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from cellseg_core.comparing.agreement import Agreement
from cellseg_core.comparing.findings import Findings, MethodFindings
from cellseg_core.comparing.quality import FIGURES
from cellseg_core.comparing.ranking import best_of
from cellseg_core.comparing.shown import (
    DASH,
    Cell,
    Column,
    Table,
    number,
    share,
    spread,
    whole,
)

__all__ = [
    "Alone",
    "agreement_matrix",
    "agreement_table",
    "alone_listed",
    "cost_table",
    "found_table",
    "quality_table",
]

_LISTED = 20


def cost_table(methods: Sequence[MethodFindings]) -> Table:
    """Return start-up, time and memory of every method."""
    return Table(
        "What each method costs; the range is over the runs where there were several.",
        "Method",
        (
            Column(
                "Start-up, s",
                "Until a fresh process has segmented a first small tile: imports, loading the "
                "network, compilation.",
            ),
            Column("Segmenter, s per megapixel", "Time in the segmenter itself, after that."),
            Column(
                "All, s per megapixel",
                "Reading, stitching, measuring and writing with it; start-up comes on top.",
            ),
            Column("Most memory, GB", "Resident memory of the process and what it started."),
        ),
        tuple(
            (
                one.method.name,
                (
                    spread(one.cost.startup),
                    spread(one.cost.segment),
                    spread(one.cost.total),
                    spread(one.cost.peak, 1e-9),
                ),
            )
            for one in methods
        ),
    )


def quality_table(methods: Sequence[MethodFindings]) -> Table:
    """Return how well the nuclei of every method fit the stain, the best of each figure marked."""
    means: dict[str, Mapping[str, float | None]] = {
        one.method.name: one.quality if one.images else {} for one in methods
    }
    marked = {
        figure.name: best_of(
            {name: found.get(figure.name) for name, found in means.items()},
            "higher" if figure.better == "higher" else "neither",
        )
        for figure in FIGURES
    }
    return Table(
        "Fit of nuclei to the nuclear stain, without truth: the mean over images.",
        "Method",
        tuple(
            Column(figure.name.replace("_", " ").capitalize(), figure.meaning) for figure in FIGURES
        ),
        tuple(
            (
                name,
                tuple(
                    Cell(
                        number(found.get(figure.name)),
                        mark="best" if name in marked[figure.name] else "",
                    )
                    for figure in FIGURES
                ),
            )
            for name, found in means.items()
        ),
    )


def agreement_matrix(findings: Findings) -> Table:
    """Return the F1 of every two methods, each cell shaded by it."""
    names = list(dict.fromkeys(name for both in findings.agreement for name in both))
    both_ways = {
        pair: found
        for (one, other), found in findings.agreement.items()
        for pair in ((one, other), (other, one))
    }
    return Table(
        "Agreement of every two methods: F1 of nuclei matched at IoU over 0.5, from 0 (none in "
        "common) to 1 (all). Darker is more.",
        "Method",
        tuple(map(Column, names)),
        tuple((row, tuple(_agreed(both_ways.get((row, name))) for name in names)) for row in names),
    )


def _agreed(found: Agreement | None) -> Cell:
    if found is None or found.f1 is None:
        return Cell(DASH)
    return Cell(number(found.f1, 2), weight=found.f1)


def agreement_table(findings: Findings) -> Table:
    """Return the figures behind the matrix."""
    return Table(
        "Nuclei of every two methods, over all images. What is neither matched nor alone is drawn "
        "otherwise: joined, cut, or of another size.",
        "Methods",
        (
            Column("F1", "Matched nuclei as a share of all."),
            Column("Mean IoU", "Of matched nuclei: how alike their outlines are."),
            Column("Matched", "Pairs of nuclei with an IoU over 0.5."),
            Column("Only first", "Nuclei of the first in whose place the second has nothing."),
            Column("Only second", "Nuclei of the second in whose place the first has nothing."),
            Column("Otherwise, first", "Nuclei of the first that the second draws otherwise."),
            Column("Otherwise, second", "Nuclei of the second that the first draws otherwise."),
        ),
        tuple(
            (
                f"{first} and {second}",
                (
                    Cell(number(found.f1)),
                    Cell(number(found.mean_iou)),
                    Cell(whole(found.matched)),
                    Cell(whole(found.first_alone), share(found.first_alone, found.first)),
                    Cell(whole(found.second_alone), share(found.second_alone, found.second)),
                    Cell(whole(found.first - found.matched - found.first_alone)),
                    Cell(whole(found.second - found.matched - found.second_alone)),
                ),
            )
            for (first, second), found in findings.agreement.items()
        ),
    )


def found_table(methods: Sequence[MethodFindings], pixel_size: float | None) -> Table:
    """Return how many nuclei every method finds, how large they are, and how many it has alone.

    ``pixel_size`` is that of all images in um, None if they have several or it is not known.
    """
    several = sum(bool(one.images) for one in methods) > 1
    return Table(
        "Nuclei of each method in all images.",
        "Method",
        (
            Column("Nuclei"),
            Column("Median area, px", "With the quartiles."),
            Column("Median diameter", "Of the circle with the median area."),
            Column("Only this method", "Nuclei in whose place no other method has anything."),
            Column("Images", "That the method did."),
        ),
        tuple((one.method.name, _sizes(one, pixel_size, several=several)) for one in methods),
    )


def _sizes(found: MethodFindings, pixel_size: float | None, *, several: bool) -> tuple[Cell, ...]:
    if not found.images:
        return (Cell(DASH),) * 4 + (Cell("0"),)
    sizes = found.sizes
    alone = sum(len(image.alone) for image in found.images)
    return (
        Cell(whole(sizes.count)),
        Cell(
            number(sizes.median, 0),
            "" if sizes.median is None else f"{number(sizes.lower, 0)} to {number(sizes.upper, 0)}",
        ),
        Cell(_diameter(sizes.median, pixel_size)),
        Cell(whole(alone), share(alone, sizes.count)) if several else Cell(DASH),
        Cell(whole(len(found.images))),
    )


def _diameter(area: float | None, pixel_size: float | None) -> str:
    if area is None:
        return DASH
    diameter = 2 * math.sqrt(area / math.pi)
    um = "" if pixel_size is None else f" ({number(diameter * pixel_size, 1)} \u00b5m)"
    return f"{number(diameter, 1)} px{um}"


@attrs.frozen
class Alone:
    """The nuclei that one method finds alone: how many in each image, and the largest ones."""

    method: str
    count: int
    images: tuple[tuple[str, int], ...]
    largest: tuple[Mapping[str, Any], ...]
    more_images: int

    @property
    def more(self) -> int:
        """Return how many are not among the largest."""
        return self.count - len(self.largest)


def alone_listed(methods: Sequence[MethodFindings], limit: int = _LISTED) -> list[Alone]:
    """Return where the nuclei are that one method finds alone; methods without any are left out.

    Of each, up to ``limit`` images and nuclei: those with the most, and the largest. A large one
    is more likely a nucleus, or a mistake worth seeing, than a speck.
    """
    listed = []
    for one in methods:
        cells = [cell for image in one.images for cell in image.alone]
        if not cells:
            continue
        images = sorted(
            ((image.image.name, len(image.alone)) for image in one.images if image.alone),
            key=lambda pair: (-pair[1], pair[0]),
        )
        cells.sort(key=lambda cell: (-cell["area"], cell["image"], cell["id"]))
        listed.append(
            Alone(
                one.method.name,
                len(cells),
                tuple(images[:limit]),
                tuple(cells[:limit]),
                max(0, len(images) - limit),
            )
        )
    return listed
