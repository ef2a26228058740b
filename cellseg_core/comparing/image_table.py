"""A row of a report for each image: cells and accuracy of each method, most disputed first."""

from __future__ import annotations

import attrs

from cellseg_core.comparing.agreement import Disagreement
from cellseg_core.comparing.findings import Findings, ImageFindings
from cellseg_core.label_files import Kind
from cellseg_core.pages.tables import DASH, Cell, Column, Table, number, whole

__all__ = ["PerImage", "per_image"]

_SHOWN = 200


@attrs.frozen
class PerImage:
    """The table, and how many images it leaves out."""

    table: Table
    left_out: int


def per_image(findings: Findings, kind: Kind, limit: int = _SHOWN) -> PerImage:
    """Return the table of images; of more than ``limit`` the most disputed."""
    names = [one.method.name for one in findings.methods]
    found: dict[str, dict[str, ImageFindings]] = {
        one.method.name: {image.image.name: image for image in one.images}
        for one in findings.methods
    }
    truth = any(i.evaluation is not None for images in found.values() for i in images.values())
    disputed = {image: _disputed(findings, image) for image in findings.images}
    order = sorted(disputed, key=lambda image: (-(disputed[image] or 0), image))
    figures = (kind, "mAP") if truth else (kind,)
    table = Table(
        "Each image, the most disputed first.",
        "Image",
        (
            Column("Size, px", "Width and height."),
            Column(
                "Disputed",
                f"Share of the area of {kind} on which the methods do not agree.",
            ),
            *(Column(f"{name}, {figure}") for figure in figures for name in names),
        ),
        tuple(
            (
                image,
                (
                    Cell("{1:,}\u00a0\u00d7\u00a0{0:,}".format(*findings.images[image])),
                    Cell(_percent(disputed[image])),
                    *(_cells(found[name].get(image)) for name in names),
                    *(_accuracy(found[name].get(image)) for name in names if truth),
                ),
            )
            for image in order[:limit]
        ),
    )
    return PerImage(table, max(0, len(order) - limit))


def _disputed(findings: Findings, image: str) -> float | None:
    """Return the share of the area of objects that methods dispute; None without two methods."""
    pairs = list(findings.pairs.get(image, {}).values())
    if not pairs:
        return None
    found = Disagreement.of(pairs, edge=max(1, *findings.images[image]))
    total = float(found.total.sum())
    return float(found.disputed.sum()) / total if total else None


def _percent(part: float | None) -> str:
    return DASH if part is None else f"{100 * part:.0f} %"


def _cells(found: ImageFindings | None) -> Cell:
    return Cell("failed") if found is None else Cell(whole(found.image.cells))


def _accuracy(found: ImageFindings | None) -> Cell:
    if found is None or found.evaluation is None:
        return Cell(DASH)
    return Cell(number(found.evaluation.figures()["mean_ap"]))
