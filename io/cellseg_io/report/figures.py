"""Figures of an image: tables of channels and of seams, and what was decided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from cellseg_core.pages.tables import DASH, Cell, Column, Table, number, share, whole
from cellseg_io.report.plots import short
from cellseg_io.report.units import unit_name, unit_of

if TYPE_CHECKING:
    from cellseg_core.result import Result

__all__ = ["decided", "figures", "seams", "seams_said"]


def figures(result: Result) -> Table:
    """Return what the histograms show, as figures."""
    table = result.table
    levels = (5, 50, 95, 99)
    rows = []
    for column, name in enumerate(table.channels):
        values = table.intensities[:, column]
        known = values[np.isfinite(values)]
        shown = np.percentile(known, levels).tolist() if known.size else [float("nan")] * 4
        top = float(known.max()) if known.size else float("nan")
        nothing = share(int(np.count_nonzero(known == 0)), known.size)
        figures = [*shown, top]
        rows.append(
            (
                name,
                (*(Cell(short(v) if np.isfinite(v) else DASH) for v in figures), Cell(nothing)),
            )
        )
    return Table(
        "Means of cells in each channel, in the units of the file"
        + (", after compensation." if table.uncompensated is not None else "."),
        "Channel",
        (
            Column("5 %", "5 % of the cells are below it"),
            Column("Median"),
            Column("95 %", "5 % of the cells are above it"),
            Column("99 %", "1 % of the cells are above it"),
            Column("Highest"),
            Column("At 0", "cells without any signal"),
        ),
        tuple(rows),
    )


def seams(result: Result) -> Table | None:
    """Return how cells near seams compare with the others, None without seams."""
    checked = result.facts.get("seams_checked")
    if not checked:
        return None
    unit = unit_of(result)
    rows = []
    for key, name in (("near", "Near seams"), ("elsewhere", "Elsewhere")):
        one = checked[key]
        per = one["per_megapixel"]
        density = DASH
        if per is not None:
            density = number(per / unit**2 if result.image.pixel_size else per, 0)
        area = one["median_area"]
        rows.append(
            (
                name,
                (
                    Cell(whole(one["cells"])),
                    Cell(density),
                    Cell(DASH if area is None else number(area * unit**2, 1)),
                    Cell(whole(one["crossing"])),
                    Cell(whole(one["straight"]), share(one["straight"], one["crossing"])),
                ),
            )
        )
    name = unit_name(result)
    return Table(
        "Cells whose middle is within a nucleus's diameter of a seam, and all others.",
        "Cells",
        (
            Column("Cells"),
            Column("Cells per mm\u00b2" if result.image.pixel_size else "Cells per megapixel"),
            Column(f"Median area, {name}\u00b2"),
            Column("Nuclei on the line", "on the seams; elsewhere, on lines halfway between them"),
            Column("Cut straight", "their outline runs along the line for most of their width"),
        ),
        tuple(rows),
    )


def seams_said(result: Result) -> str:
    """Say how the image was cut."""
    tiles = result.facts.get("tiles", 1)
    if tiles == 1:
        return "The image was segmented in one piece: it has no seams."
    overlap = result.facts.get("overlap_px", 0)
    return (
        f"The image was segmented in {tiles:,} tiles that overlap by {overlap:,} px. If the seams "
        "do no harm, both rows of the table tell the same."
    )


def decided(result: Result) -> Iterator[tuple[str, str]]:
    """Yield what was decided over this image."""
    facts = result.facts
    channels = result.image.channels
    yield "Source", result.image.source
    yield "Channels", f"{len(channels)}: {', '.join(channels)}"
    size = result.image.pixel_size
    yield "Pixel size", "not known" if size is None else f"{size:g} \u00b5m"
    yield "Type of pixels", str(result.image.dtype)
    found = facts.get("nuclear_diameter_from", "")
    yield (
        "Diameter looked for",
        f"{result.nuclear_diameter:.1f} px{f' ({found})' if found else ''}",
    )
    levels = result.scaled.brightness.levels
    yield "White at", ", ".join(f"{name} {level:g}" for name, level in levels.items())
    if "expand_px" in facts:
        grown = facts["expand_px"]
        yield "Grown into cells", f"by {grown:g} px" if grown else "no"
    if "removed_small" in facts:
        yield "Removed because small", whole(facts["removed_small"])
    compensation = facts.get("compensation")
    yield "Compensation", compensation["compensator"] if compensation else "no"
