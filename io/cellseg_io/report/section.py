"""Everything that the page says of one image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.pages.tables import DASH, Cell, Column, Table, number, share, whole
from cellseg_core.painting import CELL, NUCLEUS, Tone, overlaid
from cellseg_core.quality_notes import CHECKS
from cellseg_io.report.bleed import Pair, choose_pairs
from cellseg_io.report.nuclei import Nuclei, measure_nuclei
from cellseg_io.report.pictures import jpeg, palette_png
from cellseg_io.report.plots import (
    Axis,
    Heatmap,
    density_plot,
    heatmap,
    histogram,
    short,
)
from cellseg_io.report.pyramid import TILE, Pyramid, build_pyramid
from cellseg_io.report.spots import CloseUp, choose_spots, draw_spot

if TYPE_CHECKING:
    from cellseg_core.pipeline import Result

__all__ = ["Marker", "Section", "make_section", "safe_json"]

_OUTLINED = 10.0  # px of a nucleus in a picture: smaller ones are not outlined
_STILL = 1000  # px of the picture that is printed
_THUMBNAIL = 144
_MAP = 100  # bins along the longer edge of a map, at most
_PER_BIN = 6.0  # cells in a bin, about


@attrs.frozen
class Marker:
    """A channel: its histogram, its map and what its figures are, in a sentence."""

    name: str
    plot: str
    map: Heatmap
    said: str


@attrs.frozen
class Shape:
    """A plot of size or shape: a title, what to see in it, the plot and its figures in words."""

    title: str
    how: str
    plot: str
    said: str


@attrs.frozen(kw_only=True)
class Section:
    """What the template shows of an image; texts are not escaped, but for plots."""

    id: str
    name: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    checks: tuple[tuple[str, str], ...]
    close_ups: tuple[CloseUp, ...]
    grown: bool
    still: str
    still_size: tuple[int, int]
    viewer: str
    coarse: str
    shapes: tuple[Shape, ...]
    density: Heatmap
    density_said: str
    markers: tuple[Marker, ...]
    compensated: bool
    figures: Table
    size_plot: str
    size_said: str
    seams: Table | None
    seams_said: str
    pairs: tuple[dict[str, Any], ...]
    decided: tuple[tuple[str, str], ...]
    summary: dict[str, Any]


def make_section(result: Result, *, budget: int, pairs: Sequence[tuple[int, int]] = ()) -> Section:
    """Return what is shown of a result.

    Parameters
    ----------
    result
        The result.
    budget
        Characters that the tiles of the viewer may take.
    pairs
        Numbers of channels that are shown before and after compensation. Default: chosen.
    """
    table, image = result.table, result.image
    nuclei = measure_nuclei(result)
    sample = result.scaled.sample()[0]
    tone = Tone.suited(sample)
    nuclear = _nuclear_of(result)
    spots = choose_spots(result, nuclear, nuclei.areas)
    pyramid = build_pyramid(result, tone, budget, [spot.box for spot in spots])
    still = _still(result, tone)
    bins = _bins(table.centroids, image.shape)
    density, density_said = _density(result, bins)
    name = image.channels[result.scaled.nuclear[0]]
    facts = tuple(_facts(result, nuclei))
    unit = _unit(result)
    notes = tuple(dict.fromkeys((*image.notes, *result.warnings)))
    own_id = "image-" + sha256(image.name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return Section(
        id=own_id,
        name=image.name,
        facts=facts,
        notes=notes,
        checks=tuple(CHECKS.items()),
        close_ups=tuple(draw_spot(result, spot, tone) for spot in spots),
        grown=result.cells is not result.nuclei,
        still=palette_png(still),
        still_size=(still.shape[1], still.shape[0]),
        viewer=safe_json(_viewer(result, pyramid, spots)),
        coarse=_coarse(pyramid),
        shapes=tuple(_shapes(result, nuclei)),
        density=density,
        density_said=density_said,
        markers=tuple(_markers(result, bins)),
        compensated=table.uncompensated is not None,
        figures=_figures(result),
        size_plot=density_plot(
            nuclei.areas * unit**2,
            nuclear,
            (Axis.linear(nuclei.areas * unit**2), Axis.of_signal(nuclear)),
            (f"area of the nucleus, {_unit_name(result)}\u00b2", "nuclear signal"),
        )
        if len(table)
        else "",
        size_said=f"Signal is the mean of {name} in each cell.",
        seams=_seams(result),
        seams_said=_seams_said(result),
        pairs=tuple(_pairs(result, pairs)),
        decided=tuple(_decided(result)),
        summary={
            "id": own_id,
            "notes": notes,
            "thumbnail": _thumbnail(sample, tone),
            "facts": [value for _, value in facts[:3]],
        },
    )


def safe_json(value: Any) -> str:
    r"""Return JSON that can stand in a script element, whatever texts it holds.

    >>> safe_json("</script>\u2028")
    '"\\u003c/script\\u003e\\u2028"'
    """
    text = json.dumps(value, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _unit(result: Result) -> float:
    return 1.0 if result.image.pixel_size is None else result.image.pixel_size


def _unit_name(result: Result) -> str:
    return "px" if result.image.pixel_size is None else "\u00b5m"


def _nuclear_of(result: Result) -> NDArray[np.float64]:
    """Return the nuclear signal of each cell, as it was measured."""
    table = result.table
    values = table.intensities if table.uncompensated is None else table.uncompensated
    return values[:, result.scaled.nuclear[0]]


def _facts(result: Result, nuclei: Nuclei) -> Iterator[tuple[str, str]]:
    table, image = result.table, result.image
    height, width = image.shape
    unit = _unit_name(result)
    yield "Cells", whole(len(table))
    if image.pixel_size is None:
        yield "Density", f"{number(len(table) / (height * width / 1e6), 0)} per megapixel"
    else:
        area = height * width * image.pixel_size**2 / 1e6
        yield "Density", f"{number(len(table) / area, 0)} per mm\u00b2"
    middle = float(np.median(nuclei.areas)) if len(table) else float("nan")
    across = 2 * float(np.sqrt(middle / np.pi)) * _unit(result)
    yield "Nuclei, median", f"{number(across, 1)} {unit} across" if len(table) else DASH
    yield "Covered by nuclei", share(int(nuclei.areas.sum()), height * width)
    extent = f"{width:,} \u00d7 {height:,} px"
    if image.pixel_size is not None:
        size = image.pixel_size
        extent += f", {number(width * size / 1e3, 2)} \u00d7 {number(height * size / 1e3, 2)} mm"
    yield "Image", extent
    yield "Nuclear channel", ", ".join(result.image.channels[n] for n in result.scaled.nuclear)


def _viewer(result: Result, pyramid: Pyramid, spots: Sequence[Any]) -> dict[str, Any]:
    height, width = result.image.shape
    return {
        "width": width,
        "height": height,
        "tile": TILE,
        "um": result.image.pixel_size,
        "outlined": _OUTLINED / result.nuclear_diameter,
        "layers": pyramid.layers,
        "spots": [[s.box.x0, s.box.y0, s.box.x1, s.box.y1] for s in spots],
    }


def _coarse(pyramid: Pyramid) -> str:
    if pyramid.step == 1:
        return ""
    return (
        f"To keep this file small, one pixel here stands for {pyramid.step} \u00d7 {pyramid.step} "
        "of the image; around the close-ups it is as sharp as the image. All of it at full "
        "resolution: open the label images in a viewer."
    )


def _still(result: Result, tone: Tone) -> NDArray[np.uint8]:
    """Return the whole image as a picture, with outlines where nuclei are large enough."""
    extent = max(result.image.shape)
    step = -(-extent // _STILL)
    gray = tone.gray(result.scaled.every(step)[0])
    zoom = max(1, min(4, _STILL // extent))
    if result.nuclear_diameter * zoom / step < 1.6 * _OUTLINED:
        return overlaid(gray, [], zoom)
    kinds = [(result.nuclei, NUCLEUS)]
    if result.cells is not result.nuclei:
        kinds.insert(0, (result.cells, CELL))
    return overlaid(gray, [(np.asarray(kind[::step, ::step]), c) for kind, c in kinds], zoom)


def _thumbnail(sample: NDArray[np.float32], tone: Tone) -> str:
    step = -(-max(sample.shape) // _THUMBNAIL)
    return jpeg(tone.gray(sample[::step, ::step]))


def _shapes(result: Result, nuclei: Nuclei) -> Iterator[Shape]:
    if not len(result.table):
        return
    unit, name = _unit(result), _unit_name(result)
    across = 2 * np.sqrt(nuclei.areas / np.pi) * unit
    yield Shape(
        "Nucleus diameter",
        "One smooth hill is what one tissue gives. A second hill at twice the area is merged "
        "nuclei; a wall at the left is the smallest size that was kept.",
        histogram(across, Axis.linear(across), f"diameter of a circle as large, {name}"),
        _spread_said(across, name),
    )
    if result.cells is not result.nuclei:
        area = result.table.areas * unit**2
        yield Shape(
            "Cell area",
            "Nuclei after they were grown into cells.",
            histogram(area, Axis.linear(area), f"area, {name}\u00b2"),
            _spread_said(area, f"{name}\u00b2"),
        )
    for key, title, how in (
        (
            "eccentricity",
            "Elongation",
            (
                "Eccentricity: 0 is a circle, 1 a line. Round cells such as lymphocytes lie at the "
                "left, spindles at the right."
            ),
        ),
        (
            "solidity",
            "Solidity",
            (
                "1 is a shape without dents. A tail to the left is nuclei that were merged, or "
                "ragged outlines."
            ),
        ),
    ):
        values = nuclei.shapes[key]
        yield Shape(title, how, histogram(values, Axis(0.0, 1.0), key), _spread_said(values, "", 2))


def _spread_said(values: NDArray[Any], unit: str, digits: int = 1) -> str:
    known = values[np.isfinite(values)]
    if not known.size:
        return "No value."
    low, middle, high = (float(v) for v in np.percentile(known, (5, 50, 95)))
    unit = f" {unit}" if unit else ""
    return (
        f"Median {number(middle, digits)}{unit}; nine of ten between {number(low, digits)} and "
        f"{number(high, digits)}{unit}."
    )


@attrs.frozen(eq=False)
class _Bins:
    """A grid over the image: its (rows, columns), and the bin of each cell."""

    shape: tuple[int, int]
    of: NDArray[np.intp]

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return means over the cells of each bin (Y, X), NaN where there are none."""
        size = self.shape[0] * self.shape[1]
        known = np.isfinite(values)
        counts = np.bincount(self.of[known], minlength=size)
        sums = np.bincount(self.of[known], values[known], size)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        return means.reshape(self.shape)


def _bins(centroids: NDArray[np.float64], shape: tuple[int, int]) -> _Bins:
    """Return bins that are about square and hold about six cells each, up to 100 in a row."""
    edge = max(max(shape) / _MAP, (_PER_BIN * shape[0] * shape[1] / max(1, len(centroids))) ** 0.5)
    rows, columns = (max(1, round(length / edge)) for length in shape)
    row = np.minimum((centroids[:, 0] + 0.5) * rows / shape[0], rows - 1).astype(np.intp)
    column = np.minimum((centroids[:, 1] + 0.5) * columns / shape[1], columns - 1).astype(np.intp)
    return _Bins((rows, columns), row * columns + column)


def _density(result: Result, bins: _Bins) -> tuple[Heatmap, str]:
    height, width = result.image.shape
    rows, columns = bins.shape
    counts = np.bincount(bins.of, minlength=rows * columns).reshape(bins.shape).astype(np.float64)
    per, unit = height * width / (rows * columns) / 1e6, "megapixel"
    if result.image.pixel_size is not None:
        per, unit = per * result.image.pixel_size**2, "mm\u00b2"
    made = heatmap(counts / per)
    return made, f"{made.low} to {made.high} cells per {unit}"


def _markers(result: Result, bins: _Bins) -> Iterator[Marker]:
    table = result.table
    if not len(table):
        return
    for column, name in enumerate(table.channels):
        values = table.intensities[:, column]
        before = None if table.uncompensated is None else table.uncompensated[:, column]
        axis = Axis.of_signal(values if before is None else np.concatenate([values, before]))
        middle, high = (
            np.percentile(known, (50, 99)).tolist()
            if (known := values[np.isfinite(values)]).size
            else (float("nan"),) * 2
        )
        yield Marker(
            name,
            histogram(values, axis, "mean of the cell", before),
            heatmap(bins.means(values)),
            f"median {short(middle)}, 99th percentile {short(high)}",
        )


def _figures(result: Result) -> Table:
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


def _seams(result: Result) -> Table | None:
    checked = result.facts.get("seams_checked")
    if not checked:
        return None
    unit = _unit(result)
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
    name = _unit_name(result)
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


def _seams_said(result: Result) -> str:
    tiles = result.facts.get("tiles", 1)
    if tiles == 1:
        return "The image was segmented in one piece: it has no seams."
    overlap = result.facts.get("overlap_px", 0)
    return (
        f"The image was segmented in {tiles:,} tiles that overlap by {overlap:,} px. If the seams "
        "do no harm, both rows of the table tell the same."
    )


def _pairs(result: Result, asked: Sequence[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """Yield pairs of channels before and after compensation."""
    table = result.table
    before = table.uncompensated
    if before is None:
        return
    untouched = [
        *result.scaled.nuclear,
        *(
            table.channels.index(name)
            for name in (result.facts.get("compensation") or {}).get("left_alone", ())
        ),
    ]
    for pair in choose_pairs(table, asked, untouched):
        yield _shown_pair(result, before, pair)


def _shown_pair(result: Result, before: NDArray[np.float64], pair: Pair) -> dict[str, Any]:
    from markupsafe import escape

    table = result.table
    chosen = (pair.first, pair.second)
    axes = tuple(
        Axis.of_signal(np.concatenate([before[:, n], table.intensities[:, n]])) for n in chosen
    )
    names = tuple(table.channels[n] for n in chosen)
    labels = tuple(str(escape(name if len(name) <= 28 else f"{name[:27]}\u2026")) for name in names)
    shown = []
    for title, values in (("Before", before), ("After", table.intensities)):
        double = pair.double(values)
        shown.append(
            {
                "title": title,
                "said": f"{double:,} double positive ({share(double, len(table))})",
                "plot": density_plot(
                    values[:, pair.first],
                    values[:, pair.second],
                    (axes[0], axes[1]),
                    (labels[0], labels[1]),
                    pair.cuts,
                ),
            }
        )
    return {"names": names, "plots": shown}


def _decided(result: Result) -> Iterator[tuple[str, str]]:
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
