"""Accuracy of the segmenters by kind of image, as in Fig. 2 of Lee et al. 2022.

Runs every method over the images of a split of the 2018 Data Science Bowl, each image on its own
brightness scale and with its own nuclear diameter, found as for any image. Prints mAP and F1 with
95 % confidence intervals (bootstrap over images), marks the best of each column among the methods
that did all its images, and says where the default segmenter is not. The paper evaluates on the
Bowl's second stage, whose truth is not open; here it is the validation split, which no segmenter
was trained on.

    python benchmarks/paper_fig2.py [--segmenters maskrcnn,stardist,cellpose,watershed]
                                    [--split val] [--data FOLDER] [--out FOLDER] [--fresh]

The data folder holds dsb2018/ with images/, masks/ and index.csv (columns id, modality, split).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import common
from matplotlib.figure import Figure

from cellseg_core.comparing.findings import MethodFindings
from cellseg_core.comparing.ranking import FEW_IMAGES, best_of, default_methods
from cellseg_core.comparing.shown import ImagesDone
from cellseg_core.config import RunConfig
from cellseg_core.metrics import THRESHOLDS, Estimate, Evaluation, Summary, summary

COLUMNS = {
    "mean_ap": "mAP",
    "ap_50": "AP@.5",
    "f1_50": "F1@.5",
    "f1_75": "F1@.75",
    "f1_90": "F1@.9",
}


def by_kind(found: MethodFindings, kinds: dict[str, str]) -> dict[str, Summary]:
    """Return the accuracy over the images of each kind, and over all."""
    groups: dict[str, list[Evaluation]] = {"all": []}
    for image in found.images:
        assert image.evaluation is not None
        groups["all"].append(image.evaluation)
        groups.setdefault(kinds[image.image.name], []).append(image.evaluation)
    return {kind: summary(group) for kind, group in groups.items() if group}


def cell(estimate: Estimate, *, best: bool) -> str:
    """Return a value with its interval, marked if it is the best."""
    if estimate.value is None:
        return "-"
    interval = "" if estimate.low is None else f" ({estimate.low:.3f}-{estimate.high:.3f})"
    return f"{estimate.value:.3f}{interval}{'*' if best else ' '}"


def images_done(rows: Mapping[str, Summary], images: int) -> ImagesDone:
    """Return which methods did not do all images of a kind."""
    return ImagesDone(
        images, {name: row.images for name, row in rows.items() if row.images < images}
    )


def show(kind: str, images: int, rows: Mapping[str, Summary], defaults: Sequence[str]) -> None:
    """Print the table of one kind of image."""
    done = images_done(rows, images)
    few = f", too narrow with under {FEW_IMAGES} images" if images < FEW_IMAGES else ""
    print(f"\n{kind}, {images} images: mean over images (95 % interval{few}), * best")
    print(f"{'':<12}" + "".join(f"{title:<24}" for title in COLUMNS.values()) + "splits merges")
    values = {
        name: {method: row.figures[name].mean_over_images for method, row in rows.items()}
        for name in COLUMNS
    }
    best = {
        name: best_of({m: e.value for m, e in column.items() if m not in done.partial})
        for name, column in values.items()
    }
    for method, row in rows.items():
        cells = "".join(
            f"{cell(values[name][method], best=method in best[name]):<24}" for name in COLUMNS
        )
        print(f"{method:<12}{cells}{row.splits:>6} {row.merges:>6}  {done.note(method)}")
    for method in defaults:
        if method not in rows or method in done.partial:
            continue
        behind = [
            f"{title} (by {(values[name][best[name][0]].value or 0) - own:.3f})"
            for name, title in COLUMNS.items()
            if best[name] and method not in best[name]
            for own in [values[name][method].value or 0]
        ]
        if behind:
            print(f"The default, {method}, is not the best in {', '.join(behind)}.")


def draw(tables: Mapping[str, Mapping[str, Summary]], images: Mapping[str, int]) -> Figure:
    """Return mAP by kind of image as bars with intervals, and F1 over IoU thresholds as curves."""
    done = images_done(tables["all"], images["all"])
    figure = Figure(figsize=(11, 4))
    bars, curves = figure.subplots(1, 2)
    width = 0.8 / max(1, len(tables["all"]))
    for number, method in enumerate(tables["all"]):
        there = {n: rows[method] for n, rows in enumerate(tables.values()) if method in rows}
        found = [row.figures["mean_ap"].mean_over_images for row in there.values()]
        heights = [one.value or 0 for one in found]
        below = [v - (v if e.low is None else e.low) for v, e in zip(heights, found, strict=True)]
        above = [(v if e.high is None else e.high) - v for v, e in zip(heights, found, strict=True)]
        places = [place + number * width for place in there]
        label = done.legend(method)
        bars.bar(places, heights, width, yerr=[below, above], capsize=2, label=label)
        every = tables["all"][method].figures
        f1 = [every[f"f1_{round(100 * level)}"].mean_over_images.value or 0 for level in THRESHOLDS]
        curves.plot(THRESHOLDS, f1, marker="o", label=label)
    titles = [f"{kind}\n({images[kind]})" for kind in tables]
    bars.set_xticks([place + 0.4 - width / 2 for place in range(len(tables))], titles, fontsize=7)
    bars.set_ylabel("mAP")
    bars.legend(fontsize=8)
    curves.set_xlabel("IoU threshold")
    curves.set_ylabel("F1, all images")
    return figure


def main() -> None:
    """Run the methods, print the tables, and write JSON and the figure."""
    parser = common.parser(__doc__)
    parser.add_argument("--split", default="val")
    options = parser.parse_args()
    images = common.bowl(options.data, options.split)
    comparison = common.head_to_head(
        options,
        f"paper_fig2-{options.split}",
        [image.path for image in images],
        config=RunConfig(brightness="each"),
        truth=options.data / "dsb2018" / "masks",
    )
    kinds = {image.path.stem: image.modality for image in images}
    done = [found for found in comparison.findings.methods if found.images]
    tables: dict[str, dict[str, Summary]] = {}
    for found in done:
        for kind, row in by_kind(found, kinds).items():
            tables.setdefault(kind, {})[found.method.name] = row
    every = comparison.findings.done
    count = {"all": len(every), **Counter(kinds[name] for name in every)}
    defaults = default_methods([one.method for one in done], comparison.config)
    for kind, rows in tables.items():
        show(kind, count[kind], rows, defaults)
    for found in comparison.findings.methods:
        if found.failed:
            print(f"{found.method.name} FAILED: {found.failed}")
        elif found.errors:
            print(f"{found.method.name}: {len(found.errors)} of {len(images)} images FAILED")
    result: dict[str, Any] = {
        "split": options.split,
        "failed": {f.method.name: f.failed for f in comparison.findings.methods if f.failed},
        "images": count,
        "by_kind": {
            kind: {method: row.as_dict() for method, row in rows.items()}
            for kind, rows in tables.items()
        },
    }
    common.write(options, "paper_fig2", result, draw(tables, count) if done else None)


if __name__ == "__main__":
    main()
