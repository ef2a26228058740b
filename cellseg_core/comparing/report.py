"""The report of a comparison: one HTML file that needs no network and no other file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellseg_core.comparing.accuracy_tables import accuracy_table, size_table, verdict
from cellseg_core.comparing.charts import (
    Spot,
    correlation_chart,
    double_positive_chart,
    line_chart,
    spot_chart,
)
from cellseg_core.comparing.downstream_tables import (
    correlation_table,
    double_positive_tables,
    gate_table,
    threshold_table,
)
from cellseg_core.comparing.gallery import gallery
from cellseg_core.comparing.image_table import per_image
from cellseg_core.comparing.quality import FIGURES
from cellseg_core.comparing.ranking import ACCURACY, Scores
from cellseg_core.comparing.report_head import head
from cellseg_core.comparing.report_tables import (
    agreement_matrix,
    agreement_table,
    alone_listed,
    cost_table,
    found_table,
    quality_table,
)
from cellseg_core.metrics import THRESHOLDS
from cellseg_core.metrics.figures import SIZES, percent
from cellseg_core.pipeline import DEFAULT_SEGMENTER
from cellseg_core.store import atomic_write

if TYPE_CHECKING:
    from cellseg_core.comparing.comparison import Comparison
    from cellseg_core.comparing.findings import Findings

__all__ = ["render", "write_report"]

_GATES_DRAWN = 12


def write_report(comparison: Comparison) -> Path:
    """Write ``report.html`` into the folder of the comparison, and return its path.

    Raises
    ------
    ImageError
        If an image, or a label image of a run, cannot be read any more.
    OutputError
        If the file cannot be written.
    """
    path = comparison.out / "report.html"
    # A path that is no text in UTF-8 is shown with what stands for its bytes.
    atomic_write(path, render(comparison).encode("utf-8", "backslashreplace"))
    return path


def render(comparison: Comparison) -> str:
    """Return the report as HTML; what users named appears as text, whatever it holds."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    source = files("cellseg_core.comparing").joinpath("report.html.j2").read_text("utf-8")
    found = comparison.findings
    scores = {
        one.method.name: Scores(evaluations, accuracy)
        for one in found.methods
        for accuracy in [one.accuracy]
        for evaluations in [[i.evaluation for i in one.images if i.evaluation is not None]]
        if accuracy is not None
    }
    return environment.from_string(source).render(
        head=head(comparison),
        kind=comparison.record["kind"],
        accuracy=_accuracy(found, scores) if scores else None,
        cost=_cost(found, scores),
        quality={
            "table": quality_table(found.methods),
            "figures": FIGURES,
        },
        agreement=_agreement(comparison),
        downstream=_downstream(found),
        rows=gallery(comparison),
        truth=bool(scores),
        per_image=per_image(found),
        figures=ACCURACY if scores else (),
    )


def _accuracy(found: Findings, scores: Mapping[str, Scores]) -> dict[str, Any]:
    defaults = [one.method.name for one in found.methods if one.method.owner == DEFAULT_SEGMENTER]
    most = max(len(one.evaluations) for one in scores.values())
    partial = [name for name, one in scores.items() if len(one.evaluations) < most]
    summary = next(iter(scores.values())).summary
    sizes = size_table(scores)
    names = [f"ap_{percent(level)}" for level in THRESHOLDS]
    return {
        "verdict": verdict(scores, defaults),
        "images": most,
        "table": accuracy_table(scores, pooled=False, partial=partial),
        "pooled": accuracy_table(scores, pooled=True, partial=partial),
        "partial": partial,
        "tolerance": summary.tolerance,
        "resamples": summary.resamples,
        "sizes": sizes,
        "curve": _safe(
            line_chart(
                {
                    name: [one.summary.figures[ap].mean_over_images.value for ap in names]
                    for name, one in scores.items()
                },
                THRESHOLDS,
                xlabel="IoU threshold",
                ylabel="AP, mean over images",
            )
        ),
        "size_curve": None
        if sizes is None
        else _safe(
            line_chart(
                {
                    name: [
                        one.summary.figures[f"recall_size_{size}"].pooled.value
                        for size in range(1, SIZES + 1)
                    ]
                    for name, one in scores.items()
                },
                range(SIZES),
                xlabel="area of the true nucleus",
                ylabel="recall at IoU 0.5",
                ticks=[column.title for column in sizes.columns],
            )
        ),
    }


def _cost(found: Findings, scores: Mapping[str, Scores]) -> dict[str, Any]:
    spots = []
    for one in found.methods:
        spent = one.cost.segment
        if spent is None or spent.median <= 0 or not one.images:
            continue
        ends = (spent.low, spent.high) if len(spent.values) > 1 else None
        if scores:
            if one.method.name not in scores:
                continue
            mean = scores[one.method.name].summary.figures["mean_ap"].mean_over_images
            between = None if mean.low is None or mean.high is None else (mean.low, mean.high)
            if mean.value is not None:
                spots.append(Spot(one.method.name, spent.median, mean.value, ends, between))
        elif (explained := one.quality["explained"]) is not None:
            spots.append(Spot(one.method.name, spent.median, explained, ends))
    what = "mAP, mean over images" if scores else "share of the stain explained"
    chart = spot_chart(spots, xlabel="segmenter, s per megapixel", ylabel=what) if spots else None
    return {
        "table": cost_table(found.methods),
        "chart": None if chart is None else _safe(chart),
        "against": "accuracy" if scores else "the share of the stain that the nuclei explain",
        "lacking": [
            one.method.name
            for one in found.methods
            if one.failed is None and one.cost.total is None
        ],
    }


def _agreement(comparison: Comparison) -> dict[str, Any]:
    found = comparison.findings
    sizes = {image.pixel_size for image in comparison.images.values()}
    return {
        "found": found_table(found.methods, sizes.pop() if len(sizes) == 1 else None),
        "matrix": agreement_matrix(found) if found.agreement else None,
        "table": agreement_table(found) if found.agreement else None,
        "alone": alone_listed(found.methods),
    }


def _downstream(found: Findings) -> dict[str, Any] | None:
    doubles = double_positive_tables(found)
    if not doubles and found.gates is None:
        return None
    charts = []
    for pair in dict.fromkeys(
        (d.first, d.second) for m in found.methods for d in m.double_positives
    ):
        bars = {
            one.method.name: double
            for one in found.methods
            for double in one.double_positives
            if (double.first, double.second) == pair
        }
        charts.append(_safe(double_positive_chart(bars)))
    gates = list(dict.fromkeys(one.gate for one in found.correlations))
    return {
        "doubles": list(zip(doubles, charts, strict=True)),
        "thresholds": threshold_table(found),
        "gates": gate_table(found),
        "correlations": correlation_table(found),
        "over": found.correlations[0].over if found.correlations else "",
        "charts": [
            (gate, _safe(correlation_chart([o for o in found.correlations if o.gate == gate])))
            for gate in gates[:_GATES_DRAWN]
        ],
        "not_drawn": gates[_GATES_DRAWN:],
    }


def _safe(svg: str) -> Any:
    """Return an SVG of our own as what need not be escaped; names in it are escaped already."""
    from markupsafe import Markup

    return Markup(svg)  # noqa: S704 - matplotlib escapes text
