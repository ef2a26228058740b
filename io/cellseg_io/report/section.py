"""Everything that the page says of one image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.pages.tables import DASH, Table, number, share, whole
from cellseg_core.painting import CELL, NUCLEUS, Tone, overlaid
from cellseg_core.quality_notes import CHECKS
from cellseg_io.report.bleed import shown_pairs
from cellseg_io.report.figures import decided, figures, seams, seams_said
from cellseg_io.report.maps import Marker, bins_of, density, markers
from cellseg_io.report.nuclei import Nuclei, measure_nuclei
from cellseg_io.report.pictures import jpeg, palette_png
from cellseg_io.report.plots import (
    Axis,
    Heatmap,
    density_plot,
)
from cellseg_io.report.pyramid import TILE, Pyramid, build_pyramid
from cellseg_io.report.shape_plots import Shape, shapes
from cellseg_io.report.spots import CloseUp, choose_spots, draw_spot
from cellseg_io.report.units import unit_name, unit_of

if TYPE_CHECKING:
    from cellseg_core.result import Result

__all__ = ["Marker", "Section", "make_section", "safe_json"]

_OUTLINED = 10.0  # px of a nucleus in a picture: smaller ones are not outlined
_STILL = 1000  # px of the picture that is printed
_THUMBNAIL = 144


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
    bins = bins_of(table.centroids, image.shape)
    density_map, density_said = density(result, bins)
    name = image.channels[result.scaled.nuclear[0]]
    facts = tuple(_facts(result, nuclei))
    unit = unit_of(result)
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
        shapes=tuple(shapes(result, nuclei)),
        density=density_map,
        density_said=density_said,
        markers=tuple(markers(result, bins)),
        compensated=table.uncompensated is not None,
        figures=figures(result),
        size_plot=density_plot(
            nuclei.areas * unit**2,
            nuclear,
            (Axis.linear(nuclei.areas * unit**2), Axis.of_signal(nuclear)),
            (f"area of the nucleus, {unit_name(result)}\u00b2", "nuclear signal"),
        )
        if len(table)
        else "",
        size_said=f"Signal is the mean of {name} in each cell.",
        seams=seams(result),
        seams_said=seams_said(result),
        pairs=tuple(shown_pairs(result, pairs)),
        decided=tuple(decided(result)),
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


def _nuclear_of(result: Result) -> NDArray[np.float64]:
    """Return the nuclear signal of each cell, as it was measured."""
    table = result.table
    values = table.intensities if table.uncompensated is None else table.uncompensated
    return values[:, result.scaled.nuclear[0]]


def _facts(result: Result, nuclei: Nuclei) -> Iterator[tuple[str, str]]:
    table, image = result.table, result.image
    height, width = image.shape
    unit = unit_name(result)
    yield "Cells", whole(len(table))
    if image.pixel_size is None:
        yield "Density", f"{number(len(table) / (height * width / 1e6), 0)} per megapixel"
    else:
        area = height * width * image.pixel_size**2 / 1e6
        yield "Density", f"{number(len(table) / area, 0)} per mm\u00b2"
    middle = float(np.median(nuclei.areas)) if len(table) else float("nan")
    across = 2 * float(np.sqrt(middle / np.pi)) * unit_of(result)
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
