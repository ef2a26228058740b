"""How well predicted objects match true ones, from the pixels that they share."""

from __future__ import annotations

from cellseg_core.metrics.average_precision import (
    THRESHOLDS,
    average_precision,
    mean_average_precision,
    pairwise_iou,
)
from cellseg_core.metrics.bootstrap import draws, resampled_figures
from cellseg_core.metrics.boundary import Boundary, compare_boundaries
from cellseg_core.metrics.evaluation import Evaluation
from cellseg_core.metrics.jaccard import AggregatedJaccard, aggregated_jaccard, one_to_one_jaccard
from cellseg_core.metrics.mistakes import FRAGMENT, Listed, Mistakes, find_mistakes
from cellseg_core.metrics.over_images import Estimate, Figure, Summary, summary
from cellseg_core.metrics.overlap import Overlap

__all__ = [
    "FRAGMENT",
    "THRESHOLDS",
    "AggregatedJaccard",
    "Boundary",
    "Estimate",
    "Evaluation",
    "Figure",
    "Listed",
    "Mistakes",
    "Overlap",
    "Summary",
    "aggregated_jaccard",
    "average_precision",
    "compare_boundaries",
    "draws",
    "find_mistakes",
    "mean_average_precision",
    "one_to_one_jaccard",
    "pairwise_iou",
    "resampled_figures",
    "summary",
]
