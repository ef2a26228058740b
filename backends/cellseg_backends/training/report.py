"""What trainers tell: how far they are, and in the end what was done with which result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cellseg_core.protocols import TrainingReporter
from cellseg_core.provenance import environment
from cellseg_core.store import atomic_write
from cellseg_core.training_set import Contents, TrainingSet

__all__ = ["counter", "training_facts", "warn_without_validation", "write_report"]

_REPORT = "report.json"


def counter(report: TrainingReporter, doing: str) -> Callable[[int, int], None]:
    """Return what tells how far one part of the work is, given numbers done and in all."""
    return lambda done, total: report.progress(doing, done, total, {})


def warn_without_validation(dataset: TrainingSet, report: TrainingReporter) -> None:
    """Tell the user where the accuracy will not be known, before hours of work."""
    if not dataset.of("val"):
        report.warn(
            f"{dataset.name} has no image to validate on, so accuracy will not be known. "
            "It needs ten images, or an index.csv that gives some the split 'val'."
        )


def training_facts(
    dataset: TrainingSet,
    contents: Contents,
    settings: Mapping[str, Any],
    seconds: float,
    accuracy: Mapping[str, Any],
    packages: Mapping[str, str],
) -> dict[str, Any]:
    """Return the facts of a training, for the report and beside the weights.

    ``packages`` are versions beyond those that every run records.
    """
    made = environment()
    made["packages"] |= dict(packages)
    return {
        "data_set": dataset.name,
        "licence_of_the_data": None,
        "images": dict(contents.images),
        "nuclei": dict(contents.nuclei),
        "started_from": settings["start"],
        "settings": dict(settings),
        "minutes": round(seconds / 60, 1),
        "accuracy": dict(accuracy),
        "environment": made,
    }


def write_report(folder: Path, told: Mapping[str, Any]) -> None:
    """Write ``report.json``.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    atomic_write(folder / _REPORT, json.dumps(told, indent=1) + "\n")
