"""What finished runs of several methods say when they are held against each other."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.comparing.agreement import (
    Agreement,
    Found,
    Pair,
    Sizes,
    alone_facts,
    compare_pair,
)
from cellseg_core.comparing.cost import Cost
from cellseg_core.comparing.downstream import Correlation, DoublePositives, correlate_counts
from cellseg_core.comparing.gates import Gates
from cellseg_core.comparing.gating import MarkerValues, Thresholds, count_rows
from cellseg_core.comparing.method import Method
from cellseg_core.comparing.quality import Quality, measure_quality
from cellseg_core.comparing.stain import nuclear_stain
from cellseg_core.comparing.trial import Trial
from cellseg_core.config import RunConfig
from cellseg_core.finished_run import FinishedImage, FinishedRun
from cellseg_core.image import Image
from cellseg_core.label_files import Kind, read_label_file
from cellseg_core.metrics import Evaluation, Summary, summary
from cellseg_core.regions import find_regions
from cellseg_core.reporting import Reporter

__all__ = ["Findings", "ImageFindings", "MethodFindings", "find"]


@attrs.frozen(eq=False, kw_only=True)
class ImageFindings:
    """One method in one image.

    Attributes
    ----------
    image
        What its run left.
    evaluation
        How it fits the truth; None without one.
    quality
        How it fits the stain.
    areas
        (N,) px of its objects.
    alone
        Objects that no other method finds, as plain values.
    """

    image: FinishedImage
    evaluation: Evaluation | None
    quality: Quality
    areas: NDArray[np.int64]
    alone: list[dict[str, Any]]

    def facts(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        decided = self.image.facts["decided"]
        figures = None if self.evaluation is None else self.evaluation.figures()
        return {
            "name": self.image.name,
            "cells": self.image.cells,
            "nuclear_diameter_px": decided["nuclear_diameter_px"],
            "nuclear_diameter_from": decided["nuclear_diameter_from"],
            "seconds": decided["seconds"],
            "accuracy": figures and {k: v if np.isfinite(v) else None for k, v in figures.items()},
            "quality": self.quality.facts(),
            "alone": len(self.alone),
        }


@attrs.frozen(eq=False, kw_only=True)
class MethodFindings:
    """One method over all images.

    Attributes
    ----------
    failed
        Why it did nothing; None if it did something.
    errors
        Images that it could not do, and why.
    repeats_failed
        Why repeats failed, after a first run that did not.
    run
        What it left; None if it did nothing.
    """

    method: Method
    failed: str | None
    errors: Mapping[str, str]
    repeats_failed: tuple[str, ...]
    run: FinishedRun | None
    cost: Cost
    images: tuple[ImageFindings, ...]
    double_positives: tuple[DoublePositives, ...]

    @property
    def cells(self) -> int:
        """Return how many it found in all images."""
        return sum(one.image.cells for one in self.images)

    @property
    def sizes(self) -> Sizes:
        """Return how many objects it found, and how large they are."""
        return Sizes.of(one.areas for one in self.images)

    @cached_property
    def accuracy(self) -> Summary | None:
        """Return how it fits the truth over all images, None without one."""
        evaluations = [one.evaluation for one in self.images if one.evaluation is not None]
        return summary(evaluations) if evaluations else None

    @property
    def quality(self) -> dict[str, float | None]:
        """Return the mean of each figure of quality over images."""
        return Quality.mean(one.quality for one in self.images)

    def facts(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        record = {} if self.run is None else self.run.record
        accuracy = self.accuracy
        return {
            **attrs.asdict(self.method),
            "origin": record.get("components", {}).get("segmenter", {}).get(self.method.segmenter),
            "failed": self.failed,
            "errors": dict(self.errors),
            "repeats_failed": list(self.repeats_failed),
            "facts": record.get("segmenter"),
            "cost": self.cost.facts(),
            "cells": self.cells,
            "sizes": self.sizes.facts(),
            "accuracy": None if accuracy is None else accuracy.as_dict(),
            "quality": self.quality,
            "alone": [cell for one in self.images for cell in one.alone],
            "double_positives": [pair.facts() for pair in self.double_positives],
            "images": [one.facts() for one in self.images],
        }


@attrs.frozen(eq=False, kw_only=True)
class Findings:
    """What a comparison found.

    Attributes
    ----------
    images
        (height, width) in px of every image.
    methods
        In the order in which they were named, failed ones included.
    pairs
        Every two methods in every image that both did: ``pairs[image][first, second]``.
    agreement
        The same over all images.
    gates, thresholds, counts, correlations
        What the gates of the user are, where their markers are positive, the cells in each, and
        how the counts of the methods go together.
    unread
        Inputs that could not be read, and so by no method, and why.
    lacking
        Images without a marker that was asked for, by marker.
    """

    images: Mapping[str, tuple[int, int]]
    methods: tuple[MethodFindings, ...]
    pairs: Mapping[str, Mapping[tuple[str, str], Pair]]
    agreement: Mapping[tuple[str, str], Agreement]
    gates: Gates | None
    thresholds: Thresholds | None
    counts: Sequence[Mapping[str, Any]]
    correlations: Sequence[Correlation]
    unread: Mapping[str, str] = attrs.field(factory=dict)
    lacking: Mapping[str, Sequence[str]] = attrs.field(factory=dict)

    @cached_property
    def done(self) -> frozenset[str]:
        """Return the names of the images that at least one method did."""
        return frozenset(one.image.name for method in self.methods for one in method.images)

    def facts(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            "images": [{"name": name, "shape": list(shape)} for name, shape in self.images.items()],
            "unread": dict(self.unread),
            "lacking": {marker: list(names) for marker, names in self.lacking.items()},
            "methods": [method.facts() for method in self.methods],
            "agreement": [
                {"methods": list(names), **found.facts()} for names, found in self.agreement.items()
            ],
            "gates": None if self.gates is None else self.gates.facts(),
            "thresholds": None if self.thresholds is None else self.thresholds.facts(),
            "counts": list(self.counts),
            "correlations": [one.facts() for one in self.correlations],
        }


def find(
    methods: Sequence[Method],
    trials: Mapping[str, Sequence[Trial]],
    runs: Mapping[str, FinishedRun | None],
    images: Mapping[str, Image],
    config: RunConfig,
    *,
    true_files: Mapping[str, Path],
    kind: Kind,
    exclusive: Sequence[tuple[str, str]],
    gates: Gates | None,
    reporter: Reporter,
) -> Findings:
    """Return what the finished runs of methods say; ``runs`` has None for one that did nothing."""
    done = {name: run for name, run in runs.items() if run is not None}
    found: dict[str, list[ImageFindings]] = {name: [] for name in done}
    pairs: dict[str, dict[tuple[str, str], Pair]] = {}
    for number, (name, image) in enumerate(images.items()):
        reporter.step(name, "compare", number, len(images))
        finished = {method: run.images[name] for method, run in done.items() if name in run.images}
        if not finished:
            continue
        labels = {method: one.labels(kind) for method, one in finished.items()}
        pairs[name] = {
            both: compare_pair(labels[both[0]], labels[both[1]], both)
            for both in itertools.combinations(labels, 2)
        }
        truth = read_label_file(true_files[name]) if name in true_files else None
        brightness = next(iter(finished.values())).brightness
        stain = nuclear_stain(image, config, brightness)
        for method, own in labels.items():
            by_others = _by_others(method, pairs[name])
            found[method].append(
                ImageFindings(
                    image=finished[method],
                    evaluation=None if truth is None else Evaluation.of(truth, own, name),
                    quality=measure_quality(
                        own if kind == "nuclei" else finished[method].labels(), stain
                    ),
                    areas=find_regions(own).areas,
                    alone=alone_facts(name, by_others) if by_others else [],
                )
            )
    markers = [*(gates.markers if gates else ()), *(name for pair in exclusive for name in pair)]
    cells = _cells(found, markers)
    every = [values for of_images in cells.values() for values in of_images.values()]
    thresholds = Thresholds.of(markers, every, gates.thresholds if gates else {})
    shapes = {name: image.shape for name, image in images.items()}
    return Findings(
        images=shapes,
        methods=tuple(
            MethodFindings(
                method=one,
                failed=_why_nothing(trials[one.name][0]),
                errors=trials[one.name][0].errors,
                repeats_failed=tuple(
                    trial.failed for trial in trials[one.name][1:] if trial.failed is not None
                ),
                run=runs[one.name],
                cost=Cost.of(trials[one.name]),
                images=tuple(found.get(one.name, ())),
                double_positives=tuple(
                    DoublePositives.of(pair, cells[one.name].values(), thresholds)
                    for pair in exclusive
                    if one.name in cells
                ),
            )
            for one in methods
        ),
        pairs=pairs,
        agreement={
            both: Agreement.of(of_image[both] for of_image in pairs.values() if both in of_image)
            for both in itertools.combinations(done, 2)
        },
        gates=gates,
        thresholds=thresholds if markers else None,
        counts=count_rows(gates, cells, thresholds) if gates else [],
        correlations=correlate_counts(gates, cells, thresholds, shapes) if gates else [],
    )


def _cells(
    found: Mapping[str, Sequence[ImageFindings]], markers: Sequence[str]
) -> dict[str, dict[str, MarkerValues]]:
    """Return the values of some markers in the cells of each method and image."""
    return {
        method: {
            one.image.name: MarkerValues.of(one.image.table(), markers)
            for one in of_images
            if markers
        }
        for method, of_images in found.items()
    }


def _why_nothing(trial: Trial) -> str | None:
    """Return why a method did no image, None if it did one."""
    if trial.failed is not None or trial.megapixels:
        return trial.failed
    first, *others = trial.errors.values() or ["there was none that could be read"]
    more = f" (and {len(others)} more)" if others else ""
    return f"it could do none of the images: {first}{more}"


def _by_others(method: str, pairs: Mapping[tuple[str, str], Pair]) -> list[Found]:
    """Return how every other method finds the objects of one, in one image."""
    return [
        pair.first if method == first else pair.second
        for (first, second), pair in pairs.items()
        if method in (first, second)
    ]
