"""The figures of a comparison as JSON and CSV files."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellseg_core.store import atomic_file, atomic_write

if TYPE_CHECKING:
    from cellseg_core.comparing.comparison import Comparison
    from cellseg_core.comparing.cost import Spread
    from cellseg_core.comparing.findings import ImageFindings, MethodFindings

__all__ = ["write_tables"]


def write_tables(comparison: Comparison) -> list[Path]:
    """Write ``comparison.json``, ``methods.csv``, ``images.csv`` and ``agreement.csv``.

    JSON has everything; the tables have a row for each method, for each method and image, and for
    each two methods. What is not known is empty. Return the paths.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    out, found = comparison.out, comparison.findings
    text = json.dumps(comparison.facts(), indent=1, allow_nan=False)
    atomic_write(out / "comparison.json", text + "\n")
    _write(out / "methods.csv", [_method_row(one) for one in found.methods])
    images = [_image_row(one, image) for one in found.methods for image in one.images]
    _write(out / "images.csv", images)
    pairs = [
        {"first": first, "second": second, **_named("objects", agreement.facts())}
        for (first, second), agreement in found.agreement.items()
    ]
    _write(out / "agreement.csv", pairs)
    names = ("comparison.json", "methods.csv", "images.csv", "agreement.csv")
    return [out / name for name in names]


def _named(what: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts whose plain ``first`` and ``second`` say what they count."""
    return {f"{k}_{what}" if k in ("first", "second") else k: v for k, v in facts.items()}


def _method_row(found: MethodFindings) -> dict[str, Any]:
    row: dict[str, Any] = {
        "method": found.method.name,
        "segmenter": found.method.segmenter,
        "failed": found.failed or "",
        "images": len(found.images),
        "images_failed": len(found.errors),
        "cells": found.cells,
        "area_median": found.sizes.median,
        "alone": sum(len(image.alone) for image in found.images),
        **_spread("startup_s", found.cost.startup),
        **_spread("segment_s_per_megapixel", found.cost.segment),
        **_spread("total_s_per_megapixel", found.cost.total),
        **_spread("peak_bytes", found.cost.peak),
    }
    if found.images:
        row |= {f"quality_{name}": value for name, value in found.quality.items()}
    accuracy = found.accuracy
    if accuracy is not None:
        for name, figure in accuracy.figures.items():
            row[f"{name}_mean_over_images"] = figure.mean_over_images.value
            row[f"{name}_mean_over_images_low"] = figure.mean_over_images.low
            row[f"{name}_mean_over_images_high"] = figure.mean_over_images.high
            row[f"{name}_pooled"] = figure.pooled.value
    return row


def _image_row(found: MethodFindings, image: ImageFindings) -> dict[str, Any]:
    facts = image.facts()
    row: dict[str, Any] = {
        "method": found.method.name,
        "image": facts["name"],
        "cells": facts["cells"],
        "alone": facts["alone"],
        "nuclear_diameter_px": facts["nuclear_diameter_px"],
        "segment_s": facts["seconds"]["segment"],
        **{f"quality_{name}": value for name, value in facts["quality"].items()},
    }
    return {**row, **(facts["accuracy"] or {})}


def _spread(name: str, spread: Spread | None) -> dict[str, Any]:
    if spread is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: spread.median, f"{name}_low": spread.low, f"{name}_high": spread.high}


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with atomic_file(path) as stream:
        writer = csv.DictWriter(stream, columns, "", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
