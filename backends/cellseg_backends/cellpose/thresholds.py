"""The thresholds of a Cellpose network, chosen on training images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from cellseg_backends.cellpose.training import CHANNELS, PERCENTILES
from cellseg_backends.percentiles import PercentileScale
from cellseg_backends.quiet import quiet
from cellseg_backends.training.diameter import nuclear_diameter
from cellseg_backends.training.validation import Examined, mean_precision
from cellseg_core.metrics import pairwise_iou
from cellseg_core.protocols import Labels
from cellseg_core.training_set import TrainingExample

__all__ = ["CELLPROB", "FLOW", "Chosen", "choose_thresholds"]

CELLPROB = tuple(0.5 * step for step in range(-4, 5))
"""Least logits of a nucleus's pixels that are tried."""
FLOW = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Largest errors of its flows that are tried."""
_USUAL = 0.4, 0.0  # the library's own: of equals, the nearest to them
_ITERATIONS = 200  # of the library, at the network's own size
_SMALLEST = 16  # px: less cannot be resized by every factor


@attrs.frozen(kw_only=True)
class Chosen:
    """The thresholds, and the mAP that they and all others have on the images."""

    flow_threshold: float
    cellprob_threshold: float
    curve: dict[str, float]


def choose_thresholds(
    network: Any,
    examples: Sequence[TrainingExample],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Chosen:
    """Return the thresholds of :data:`FLOW` and :data:`CELLPROB` with the highest mAP.

    The network sees each image once, whole, at the true diameter of its nuclei. Masks are made once
    for each threshold of the logits, and those whose flows have a larger error than a threshold are
    then left out. That is nearly what the library does, which compares flows before it fills holes.

    Parameters
    ----------
    network
        A ``cellpose.models.CellposeModel`` of version 3.
    examples
        Images with their masks.
    progress
        Told of images done, and all.
    """
    found: dict[float, list[Examined]] = {cellprob: [] for cellprob in CELLPROB}
    for done, one in enumerate(examples):
        progress(done, len(examples))
        plane, truth = one.read()
        diameter = nuclear_diameter(truth) or float(network.diam_mean)
        pixels = np.zeros((*plane.shape, CHANNELS), np.float32)
        pixels[..., 0] = PercentileScale.of(plane, PERCENTILES).apply(plane)
        margins = [(0, max(0, _SMALLEST - edge)) for edge in plane.shape]
        padded = np.pad(pixels, [*margins, (0, 0)], mode="edge")
        _, outputs, _ = network.eval(
            padded,
            channel_axis=-1,
            # A plain False would change the library's own defaults for the process.
            normalize={"normalize": False},
            diameter=diameter,
            batch_size=1,
            compute_masks=False,
        )
        flows, logits = outputs[1], outputs[2]
        rounds = math.ceil(_ITERATIONS * diameter / float(network.diam_mean))
        for cellprob in CELLPROB:
            labels, errors = _masks(flows, logits, cellprob, rounds, network.device)
            _, label, iou = pairwise_iou(truth, labels[: plane.shape[0], : plane.shape[1]])
            overlaps = np.zeros(len(errors))
            np.maximum.at(overlaps, label - 1, iou)
            nuclei = int(truth.max(initial=0))
            found[cellprob].append(Examined(one.name, one.group, nuclei, -errors, overlaps))
    progress(len(examples), len(examples))
    means = {
        (flow, cellprob): round(mean_precision(found[cellprob], -flow), 4)
        for cellprob in CELLPROB
        for flow in FLOW
    }

    def rank(pair: tuple[float, float]) -> tuple[float, float]:
        return means[pair], -math.dist(pair, _USUAL)

    flow, cellprob = max(means, key=rank)
    return Chosen(
        flow_threshold=flow,
        cellprob_threshold=cellprob,
        curve={f"flow {f:g}, cellprob {c:g}": value for (f, c), value in means.items()},
    )


def _masks(
    flows: Any, logits: Any, cellprob: float, rounds: int, device: Any
) -> tuple[Labels, Any]:
    """Return the masks (Y, X) of all errors of flows, numbered 1..N, and the N errors."""
    from cellpose import dynamics, metrics  # pyright: ignore[reportAttributeAccessIssue]

    # What torch says of the sparse arrays that the library makes.
    with quiet("Sparse invariant checks"):
        masks = dynamics.resize_and_compute_masks(
            flows,
            logits,
            niter=rounds,
            cellprob_threshold=cellprob,
            flow_threshold=0.0,  # all
            device=device,
        )
    labels = np.asarray(masks, np.int32)
    if not labels.any():
        return labels, np.zeros(0)
    told: Any = metrics.flow_error(labels, flows, device=device)
    # What has no flow, a mask of a pixel or two, fits none.
    return labels, np.nan_to_num(np.asarray(told[0], np.float64), nan=np.inf, posinf=np.inf)
