"""Charts of a report, drawn by matplotlib as SVG with text that is text.

The same figures always give the same SVG. Methods differ in colour, in marker and in line, so
that no colour vision, and no printer, is needed to tell them apart.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from cellseg_core.comparing.downstream import Correlation, DoublePositives

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Spot",
    "correlation_chart",
    "double_positive_chart",
    "line_chart",
    "spot_chart",
]

# Okabe & Ito's colours, which differ for any colour vision, the yellow left out.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_MARKERS = "osD^vPX*"
_DASHES = ("-", "--", "-.", ":")
_MANY = 300  # points: more are drawn as a picture within the SVG
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cellseg",
    # A name with two dollars is no formula.
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@attrs.frozen
class Spot:
    """A method in a chart of two figures, with the intervals of both where they are known.

    One without a figure is not drawn.
    """

    name: str
    x: float | None
    y: float | None
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


def line_chart(
    lines: Mapping[str, Sequence[float | None]],
    x: Sequence[float],
    *,
    xlabel: str,
    ylabel: str,
    ticks: Sequence[str] | None = None,
) -> str:
    """Return a line with markers for each method; the y axis goes from 0 to 1.

    ``ticks`` are texts for the places ``x``. A value of None is a gap; a method without any value
    is not drawn, and keeps its colour for the other charts.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (name, values) in enumerate(lines.items()):
            if all(value is None for value in values):
                continue
            known = [float("nan") if value is None else value for value in values]
            axes.plot(x, known, label=name, markersize=5, **_style(place))
        axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.02, 1.02))
        if ticks is not None:
            axes.set_xticks(x, ticks)
        _legend(axes)

    return _svg(draw, (6.4, 3.6), f"line {xlabel} {ylabel}")


def spot_chart(spots: Sequence[Spot], *, xlabel: str, ylabel: str) -> str:
    """Return a marker for each method over a logarithmic x axis, with a cross of its intervals."""

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes = figure.subplots()
        drawn = []
        for place, spot in enumerate(spots):
            if spot.x is None or spot.y is None:
                continue
            drawn.append(spot.x)
            style = _style(place)
            colour = style["color"]
            if spot.x_range is not None:
                axes.plot(spot.x_range, (spot.y, spot.y), color=colour, linewidth=1)
            if spot.y_range is not None:
                axes.plot((spot.x, spot.x), spot.y_range, color=colour, linewidth=1)
            style["linestyle"] = ""
            axes.plot([spot.x], [spot.y], markersize=9, label=spot.name, **style)
        axes.set_xscale("log")
        if drawn:
            axes.set_xlim(min(drawn) / 2.5, max(drawn) * 2.5)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.margins(y=0.15)
        _legend(axes)

    return _svg(draw, (6.4, 3.6), f"spots {xlabel} {ylabel}")


def double_positive_chart(pairs: Mapping[str, DoublePositives]) -> str:
    """Return bars of the share of double positive cells of each method, before and after."""
    first = next(iter(pairs.values()))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        stages: list[tuple[str, list[float | None], str | None]] = [
            ("before compensation", [pair.share for pair in pairs.values()], None)
        ]
        if any(pair.both_after is not None for pair in pairs.values()):
            stages.append(("after", [pair.share_after for pair in pairs.values()], "///"))
        wide = 0.8 / len(stages)
        for number, (label, shares, hatch) in enumerate(stages):
            places = [
                place + (number - (len(stages) - 1) / 2) * wide for place in range(len(pairs))
            ]
            heights = [100 * (share or 0) for share in shares]
            bars = axes.bar(
                places,
                heights,
                wide * 0.92,
                label=label,
                color="#9ecae1" if hatch else "#0072b2",
                edgecolor="#0b3c5d",
                hatch=hatch,
                linewidth=0.8,
            )
            texts = ["" if share is None else f"{100 * share:.1f}" for share in shares]
            axes.bar_label(bars, texts, padding=2, fontsize=8.5)
        axes.set_xticks(range(len(pairs)), list(pairs))
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.margins(y=0.15)
        axes.set_ylabel(f"double positive, % of positive cells\n{first.first} and {first.second}")
        _legend(axes)

    width = max(4.5, 1.1 * len(pairs) + 2.6)
    return _svg(draw, (width, 3.2), f"double {first.first} {first.second}")


def correlation_chart(correlations: Sequence[Correlation]) -> str:
    """Return a panel for every two methods of one gate: counts, the line through them, and r2."""
    columns = min(3, len(correlations))
    rows = -(-len(correlations) // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(correlations) :]:
            axes.set_visible(False)
        for axes, found in zip(grid, correlations, strict=False):
            most = max([1, *found.x, *found.y])
            axes.plot(
                found.x,
                found.y,
                linestyle="",
                marker="o",
                markersize=4,
                color=_COLOURS[0],
                alpha=0.6,
                markeredgewidth=0,
                rasterized=len(found.x) > _MANY,
            )
            axes.plot([0, most], [0, most], color="#999999", linestyle=":", linewidth=1)
            if found.slope is not None and found.intercept is not None:
                ends = [min(found.x), max(found.x)]
                line = [found.intercept + found.slope * end for end in ends]
                axes.plot(ends, line, color=_COLOURS[1], linewidth=1.6)
            told = "r\u00b2 not known" if found.r2 is None else f"r\u00b2 = {found.r2:.2f}"
            axes.set_title(told, fontsize=9.5)
            axes.set(
                xlabel=found.first,
                ylabel=found.second,
                xlim=(-0.04 * most, 1.04 * most),
                ylim=(-0.04 * most, 1.04 * most),
            )
            axes.locator_params(nbins=5, integer=True)
            axes.set_aspect("equal")

    return _svg(draw, (2.6 * columns, 2.7 * rows), f"counts {correlations[0].gate}")


def _style(place: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[place % len(_COLOURS)],
        "marker": _MARKERS[place % len(_MARKERS)],
        "linestyle": _DASHES[place % len(_DASHES)],
        "linewidth": 1.6,
    }


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), borderaxespad=0.3)


def _svg(draw: Any, size: tuple[float, float], what: str) -> str:
    """Return what ``draw`` draws into a figure as SVG for a page, with ids of its own."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's browser has the letters that the font for the layout has not.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return _of_its_own(text[text.index("<svg") :], hashlib.sha256(what.encode()).hexdigest()[:8])


def _of_its_own(svg: str, salt: str) -> str:
    """Return an SVG whose ids no other one in a page has, and whose size follows the page's."""
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # In tags only: text may look like an id.
    svg = re.sub(
        r"<[^>]*>",
        lambda tag: re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>c{salt}-", tag[0]),
        svg,
    )
    head, rest = svg.split(">", 1)
    return re.sub(r' (xmlns:xlink|xmlns|version)="[^"]*"', "", head) + ">" + rest
