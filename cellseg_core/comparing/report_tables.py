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
from cellseg_core.comparing.shown import ImagesDone, spread
from cellseg_core.label_files import Kind
from cellseg_core.pages.tables import DASH, Cell, Column, Table, number, share, whole

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


def cost_table(findings: Findings) -> Table:
    """Return start-up, time and memory of every method."""
    done = ImagesDone.of(findings)
    return Table(
        "What each method costs; the range is over the runs where there were several.",
        "Method",
        (
            Column(
                "Start-up, s",
                "Until a fresh process has done a first small image: imports, loading the network, "
                "compilation.",
            ),
            Column("Segmenter, s per megapixel", "Time in the segmenter itself, after that."),
            Column(
                "All, s per megapixel",
                "Reading, stitching, measuring and writing with it; start-up comes on top.",
            ),
            Column(
                "Most memory, GB",
                "Resident memory of the process and what it started; a GB is 1,000,000,000 bytes.",
            ),
        ),
        tuple(
            (
                done.head(one.method.name),
                (
                    spread(one.cost.startup),
                    spread(one.cost.segment),
                    spread(one.cost.total),
                    spread(one.cost.peak, 1e-9),
                ),
            )
            for one in findings.methods
        ),
    )


def quality_table(findings: Findings) -> Table:
    """Return how well the nuclei of every method fit the stain, the best of each figure marked.

    A method that did not do all images has no mark, since the ones it left out may be hard ones.
    """
    done = ImagesDone.of(findings)
    means: dict[str, Mapping[str, float | None]] = {
        one.method.name: one.quality if one.images else {} for one in findings.methods
    }
    marked = {
        figure.name: best_of(
            {n: found.get(figure.name) for n, found in means.items() if n not in done.partial},
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
                done.head(name),
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


def agreement_matrix(findings: Findings, kind: Kind) -> Table:
    """Return the F1 of every two methods, each cell shaded by it."""
    done = ImagesDone.of(findings)
    names = list(dict.fromkeys(name for both in findings.agreement for name in both))
    both_ways = {
        pair: found
        for (one, other), found in findings.agreement.items()
        for pair in ((one, other), (other, one))
    }
    return Table(
        f"Agreement of every two methods: F1 of {kind} matched at IoU over 0.5, from 0 (none in "
        "common) to 1 (all). Darker is more.",
        "Method",
        tuple(Column(done.head(name)) for name in names),
        tuple(
            (done.head(row), tuple(_agreed(both_ways.get((row, name))) for name in names))
            for row in names
        ),
    )


def _agreed(found: Agreement | None) -> Cell:
    if found is None or found.f1 is None:
        return Cell(DASH)
    return Cell(number(found.f1, 2), weight=found.f1)


def agreement_table(findings: Findings, kind: Kind) -> Table:
    """Return the figures behind the matrix."""
    done, some = ImagesDone.of(findings), kind.capitalize()
    return Table(
        f"{some} of every two methods, over all images that both did. What is neither matched nor "
        "alone is drawn otherwise: joined, cut, or of another size.",
        "Methods",
        (
            Column("F1", f"Matched {kind} as a share of all."),
            Column("Mean IoU", f"Of matched {kind}: how alike their outlines are."),
            Column("Matched", f"Pairs of {kind} with an IoU over 0.5."),
            Column("Only first", f"{some} of the first in whose place the second has nothing."),
            Column("Only second", f"{some} of the second in whose place the first has nothing."),
            Column("Otherwise, first", f"{some} of the first that the second draws otherwise."),
            Column("Otherwise, second", f"{some} of the second that the first draws otherwise."),
        ),
        tuple(
            (
                f"{done.head(first)} and {done.head(second)}",
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


def found_table(findings: Findings, kind: Kind, pixel_size: float | None) -> Table:
    """Return how many objects every method finds, how large they are, and how many it has alone.

    ``pixel_size`` is that of all images in um, None if they have several or it is not known.
    """
    methods, done = findings.methods, ImagesDone.of(findings)
    several = sum(bool(one.images) for one in methods) > 1
    return Table(
        f"{kind.capitalize()} of each method in all images that it did.",
        "Method",
        (
            Column(kind.capitalize()),
            Column("Median area, px", "With the quartiles."),
            Column("Median diameter", "Of the circle with the median area."),
            Column(
                "Only this method",
                f"{kind.capitalize()} in whose place no other method has anything.",
            ),
            Column("Images", "That the method did."),
        ),
        tuple(
            (done.head(one.method.name), _sizes(one, pixel_size, several=several))
            for one in methods
        ),
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
    """What one method finds alone: how many in each image, and the largest ones."""

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
    """Return where the objects are that one method finds alone; methods without any are left out.

    Of each, up to ``limit`` images and objects: those with the most, and the largest. A large one
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
