"""From an image to nuclei: the network in use, with everything between and after its stages."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.maskrcnn.anchors import anchors
from cellseg_backends.maskrcnn.presets import GRID
from cellseg_core.protocols import Segmentation

__all__ = ["Detector", "Thresholds"]

_Plane = NDArray[np.float32]
_Boxes = NDArray[np.float32]

_BATCH = 512
_CELL = 16.0  # px: the grid on which overlapping boxes are looked for


@attrs.frozen(kw_only=True)
class Thresholds:
    """What counts as found.

    Parameters
    ----------
    proposal
        Least probability of a proposal. Far below what is kept in the end: the second stage
        judges better.
    proposal_overlap, box_overlap
        Boxes of one nucleus overlap by more than this IoU, before and after the second stage.
    score
        Least confidence of a nucleus: probability of a nucleus times expected IoU of its mask.
    same
        A mask that lies by more than this share on better ones shows one of their nuclei again.
    """

    proposal: float = 0.1
    proposal_overlap: float = 0.7
    box_overlap: float = 0.6
    score: float = 0.4
    same: float = 0.4


@attrs.frozen(eq=False)
class _View:
    """One view of an image of ``shape``: the image itself or a mirror image (-1 along an axis).

    ``maps`` are the network's, in the view; ``proposals`` (N, 4) are boxes in the image.
    """

    maps: list[Any]
    flip: tuple[int, int]
    shape: tuple[int, ...]
    proposals: _Boxes

    def mirrored(self, boxes: _Boxes) -> _Boxes:
        """Return boxes of the view in the image, or the other way round."""
        boxes = np.array(boxes, np.float32)
        for axis in (0, 1):
            if self.flip[axis] < 0:
                boxes[:, [axis, axis + 2]] = self.shape[axis] - boxes[:, [axis + 2, axis]]
        return boxes


class Detector:
    """Finds nuclei with a network.

    Parameters
    ----------
    network
        A :class:`~cellseg_backends.maskrcnn.model.MaskRCNN`.
    """

    def __init__(self, network: Any) -> None:
        from cellseg_backends.maskrcnn.compiled_call import compiled
        from cellseg_backends.maskrcnn.stages import stages

        self._look, self._boxes, self._masks = map(compiled, stages(network))

    def find(self, plane: _Plane, thresholds: Thresholds, views: int = 1) -> Segmentation:
        """Return the nuclei of ``plane`` (Y, X) as the network sees it, and their confidence.

        ``views`` is 1, or 4 to look at the mirror images too and average.
        """
        from cellseg_backends.maskrcnn.detection_kernels import draw, suppress

        height, width = plane.shape
        nothing = Segmentation(np.zeros(plane.shape, np.int32), np.zeros(0, np.float32))
        padded = np.zeros([-(-size // GRID) * GRID for size in plane.shape], np.float32)
        padded[:height, :width] = plane
        seen = [
            self._look_at(padded, (y, x), thresholds)
            for y, x in ((1, 1), (1, -1), (-1, 1), (-1, -1))[:views]
        ]
        judged = [self._judge(view, view.proposals) for view in seen]
        scores, boxes = (np.concatenate(parts) for parts in zip(*judged, strict=True))
        likely = scores >= thresholds.score
        scores, boxes = scores[likely], boxes[likely]
        keep = suppress(boxes, _best_first(boxes, scores), thresholds.box_overlap, _CELL)
        if not keep.any():
            return nothing
        scores, boxes = scores[keep], boxes[keep]
        if views > 1:
            # What one view proposed, all of them judge.
            scores, boxes = _mean([self._judge(view, boxes) for view in seen])
        logits, quality, windows = _mean([self._draw(view, boxes) for view in seen])
        confidence = scores * quality
        kept = confidence >= thresholds.score
        logits, windows, confidence, boxes = (
            np.ascontiguousarray(one[kept], np.float32)
            for one in (logits, windows, confidence, boxes)
        )
        order = _best_first(boxes, confidence)
        labels = draw(logits, windows, confidence, order, height, width, thresholds.same)
        return Segmentation(labels, confidence)

    def _look_at(self, plane: _Plane, flip: tuple[int, int], thresholds: Thresholds) -> _View:
        """Return the maps of one view of the image, and where it proposes nuclei."""
        from keras import ops

        from cellseg_backends.maskrcnn.boxes import decode
        from cellseg_backends.maskrcnn.detection_kernels import suppress

        shown = np.ascontiguousarray(plane[:: flip[0], :: flip[1]])
        *maps, logits, deltas = self._look(ops.convert_to_tensor(shown[None, ..., None]))
        chance = np.asarray(ops.convert_to_numpy(logits))[0]
        likely = np.flatnonzero(chance > math.log(thresholds.proposal / (1 - thresholds.proposal)))
        chance = chance[likely]
        shifts = np.asarray(ops.convert_to_numpy(deltas))[0, likely]
        proposals: Any = ops.convert_to_numpy(decode(shifts, anchors(*plane.shape)[likely]))
        order = _best_first(proposals, chance)
        keep = suppress(proposals, order, thresholds.proposal_overlap, _CELL)
        view = _View(maps, flip, plane.shape, np.empty((0, 4), np.float32))
        return attrs.evolve(view, proposals=view.mirrored(proposals[keep]))

    def _judge(self, view: _View, boxes: _Boxes) -> tuple[_Boxes, _Boxes]:
        """Return scores (N,) and exact boxes (N, 4), within the view, of what boxes hold."""
        scores, found = self._in_batches(self._boxes, view.maps, view.mirrored(boxes))
        exact = view.mirrored(found)
        for axis in (0, 1):
            exact[:, axis::2] = np.clip(exact[:, axis::2], 0, view.shape[axis])
        return scores, exact

    def _draw(self, view: _View, boxes: _Boxes) -> tuple[_Boxes, _Boxes, _Boxes]:
        """Return mask logits (N, S, S), their quality (N,) and what they cover (N, 4)."""
        logits, quality, windows = self._in_batches(self._masks, view.maps, view.mirrored(boxes))
        return logits[:, :: view.flip[0], :: view.flip[1]], quality, view.mirrored(windows)

    @staticmethod
    def _in_batches(
        function: Callable[..., Any], maps: list[Any], boxes: NDArray[np.float32]
    ) -> list[NDArray[np.float32]]:
        """Return the outputs for all boxes, which go through a fixed number at a time."""
        from keras import ops

        results = []
        for start in range(0, max(1, len(boxes)), _BATCH):
            part = boxes[start : start + _BATCH]
            size = _BATCH if len(part) > _BATCH // 4 else _BATCH // 4
            filled = np.zeros((size, 4), np.float32)
            filled[: len(part)] = part
            found = function(*maps, ops.convert_to_tensor(filled))
            results.append([np.asarray(ops.convert_to_numpy(one))[: len(part)] for one in found])
        return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def _best_first(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the order from the highest score on; ties go to the upper, then the left box."""
    return np.lexsort((boxes[:, 1], boxes[:, 0], -scores))


def _mean(parts: list[tuple[_Boxes, ...]]) -> list[_Boxes]:
    """Return the means of what several views gave."""
    return [np.stack(one).mean(axis=0, dtype=np.float32) for one in zip(*parts, strict=True)]
