"""The report of a comparison: one HTML file that needs no network and no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellseg_core.comparing.accuracy_tables import accuracy_table, same_sizes, size_table, verdict
from cellseg_core.comparing.charts import (
    Spot,
    correlation_chart,
    double_positive_chart,
    line_chart,
    spot_chart,
)
from cellseg_core.comparing.downstream import Correlation
from cellseg_core.comparing.downstream_tables import (
    correlation_table,
    double_positive_tables,
    gate_table,
    left_out,
    threshold_table,
)
from cellseg_core.comparing.gallery import gallery
from cellseg_core.comparing.image_table import per_image
from cellseg_core.comparing.quality import FIGURES
from cellseg_core.comparing.ranking import ACCURACY, FEW_IMAGES, Scores, default_methods
from cellseg_core.comparing.report_head import head
from cellseg_core.comparing.report_tables import (
    agreement_matrix,
    agreement_table,
    alone_listed,
    cost_table,
    found_table,
    quality_table,
)
from cellseg_core.comparing.shown import ImagesDone, worded
from cellseg_core.metrics import THRESHOLDS
from cellseg_core.metrics.figures import SIZES, percent
from cellseg_core.pages.template import template_of
from cellseg_core.store import atomic_write

if TYPE_CHECKING:
    from cellseg_core.comparing.comparison import Comparison
    from cellseg_core.comparing.findings import Findings
    from cellseg_core.label_files import Kind

__all__ = ["render", "write_report"]

_GATES_DRAWN = 12
_PAIRS_DRAWN = 6  # of a gate: a panel is 10 kB and more


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
    template = template_of("cellseg_core.comparing", "report.html.j2")
    found, kind = comparison.findings, comparison.record["kind"]
    done = ImagesDone.of(found)
    defaults = default_methods([one.method for one in found.methods], comparison.config)
    scores = {
        one.method.name: Scores(evaluations, accuracy)
        for one in found.methods
        for accuracy in [one.accuracy]
        for evaluations in [[i.evaluation for i in one.images if i.evaluation is not None]]
        if accuracy is not None
    }
    return template.render(
        head=head(comparison),
        one=worded("{one}", kind),
        many=kind,
        partial=[f"{name} did {done.note(name)}" for name in done.partial],
        accuracy=_accuracy(scores, done, defaults, kind) if scores else None,
        cost=_cost(found, scores),
        quality={"table": quality_table(found), "figures": FIGURES},
        agreement=_agreement(comparison),
        downstream=_downstream(found, defaults),
        rows=gallery(comparison),
        truth=bool(scores),
        per_image=per_image(found, kind),
        figures=[(one.title, worded(one.meaning, kind)) for one in ACCURACY if scores],
    )


def _accuracy(
    scores: Mapping[str, Scores], done: ImagesDone, defaults: Sequence[str], kind: Kind
) -> dict[str, Any]:
    summary = next(iter(scores.values())).summary
    sizes, alike = size_table(scores, done, kind), same_sizes(scores)
    names = [f"ap_{percent(level)}" for level in THRESHOLDS]
    return {
        "verdict": verdict(scores, done.images, defaults),
        "images": done.images,
        "few": done.images < FEW_IMAGES,
        "table": accuracy_table(scores, done, kind, pooled=False),
        "pooled": accuracy_table(scores, done, kind, pooled=True),
        "tolerance": summary.tolerance,
        "resamples": summary.resamples,
        "sizes": sizes,
        "curve": _safe(
            line_chart(
                {
                    done.legend(name): [
                        one.summary.figures[ap].mean_over_images.value for ap in names
                    ]
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
                    done.legend(name): [
                        one.summary.figures[f"recall_size_{size}"].pooled.value
                        if name in alike
                        else None
                        for size in range(1, SIZES + 1)
                    ]
                    for name, one in scores.items()
                },
                range(SIZES),
                xlabel=worded("area of the true {one}", kind),
                ylabel="recall at IoU 0.5",
                ticks=[column.title for column in sizes.columns],
            )
        ),
    }


def _cost(found: Findings, scores: Mapping[str, Scores]) -> dict[str, Any]:
    spots, done = [], ImagesDone.of(found)
    for one in found.methods:
        if not one.images:
            continue
        name, spent = one.method.name, one.cost.segment
        # A logarithm has no place for 0.
        seconds = spent.median if spent is not None and spent.median > 0 else None
        ends = (spent.low, spent.high) if spent is not None and len(spent.values) > 1 else None
        figure, between = one.quality["explained"], None
        if scores:
            mean = scores[name].summary.figures["mean_ap"].mean_over_images
            figure = mean.value
            between = None if mean.low is None or mean.high is None else (mean.low, mean.high)
        spots.append(Spot(done.legend(name), seconds, figure, ends, between))
    drawn = any(spot.x is not None and spot.y is not None for spot in spots)
    what = "mAP, mean over images" if scores else "share of the stain explained"
    chart = spot_chart(spots, xlabel="segmenter, s per megapixel", ylabel=what) if drawn else None
    return {
        "table": cost_table(found),
        "chart": None if chart is None else _safe(chart),
        "against": "accuracy" if scores else "the share of the stain that the nuclei explain",
        "lacking": [
            one.method.name
            for one in found.methods
            if one.failed is None
            and None in (one.cost.startup, one.cost.segment, one.cost.total, one.cost.peak)
        ],
    }


def _agreement(comparison: Comparison) -> dict[str, Any]:
    found, kind = comparison.findings, comparison.record["kind"]
    sizes = {image.pixel_size for image in comparison.images.values()}
    return {
        "found": found_table(found, kind, sizes.pop() if len(sizes) == 1 else None),
        "matrix": agreement_matrix(found, kind) if found.agreement else None,
        "table": agreement_table(found, kind) if found.agreement else None,
        "alone": alone_listed(found.methods),
    }


def _downstream(found: Findings, defaults: Sequence[str]) -> dict[str, Any] | None:
    doubles, done = double_positive_tables(found), ImagesDone.of(found)
    if not doubles and found.gates is None:
        return None
    charts = []
    for pair in dict.fromkeys(
        (d.first, d.second) for m in found.methods for d in m.double_positives
    ):
        bars = {
            "\n".join(filter(None, [one.method.name, done.note(one.method.name)])): double
            for one in found.methods
            for double in one.double_positives
            if (double.first, double.second) == pair
        }
        charts.append(_safe(double_positive_chart(bars)))
    gates = list(dict.fromkeys(one.gate for one in found.correlations))
    drawn, reference = _drawn(found.correlations, defaults)
    return {
        "left_out": left_out(found),
        "doubles": list(zip(doubles, charts, strict=True)),
        "thresholds": threshold_table(found),
        "gates": gate_table(found),
        "correlations": correlation_table(found),
        "over": found.correlations[0].over if found.correlations else "",
        "charts": [
            (gate, _safe(correlation_chart([one for one in drawn if one.gate == gate])))
            for gate in gates[:_GATES_DRAWN]
        ],
        "reference": reference,
        "not_drawn": gates[_GATES_DRAWN:],
    }


def _drawn(
    correlations: Sequence[Correlation], defaults: Sequence[str]
) -> tuple[list[Correlation], str | None]:
    """Return the correlations that are drawn, and the method that all of them are with.

    That is the default segmenter where it takes part, or else the first method; None where all
    are drawn.
    """
    pairs = list(dict.fromkeys((one.first, one.second) for one in correlations))
    if len(pairs) <= _PAIRS_DRAWN:
        return list(correlations), None
    taking_part = list(dict.fromkeys(name for pair in pairs for name in pair))
    reference = next((name for name in defaults if name in taking_part), taking_part[0])
    kept = [pair for pair in pairs if reference in pair][:_PAIRS_DRAWN]
    return [one for one in correlations if (one.first, one.second) in kept], reference


def _safe(svg: str) -> Any:
    """Return an SVG of our own as what need not be escaped; names in it are escaped already."""
    from markupsafe import Markup

    return Markup(svg)  # noqa: S704 - matplotlib escapes text
