"""The network in use, in three functions of tensors; what to do between them is told elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from cellseg_backends.maskrcnn.boxes import decode
from cellseg_backends.maskrcnn.heads import BOX_CELLS, MASK_CELLS
from cellseg_backends.maskrcnn.roi_align import roi_align
from cellseg_backends.maskrcnn.targets import grown

__all__ = ["stages"]


def stages(network: Any) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Return ``look``, ``judge`` and ``draw``, for one image at a time.

    ``look(image)`` gives the maps, and logits and deltas of the anchors. ``judge(*maps, boxes)``
    gives the probability (N,) that each of the boxes (N, 4) holds a nucleus, and its exact box
    (N, 4). ``draw(*maps, boxes)`` gives mask logits (N, S, S), their quality (N,), and what the
    masks cover (N, 4).
    """
    first, box_head, mask_head = network.parts

    def look(image: Any) -> Any:
        return first(image, training=False)

    def judge(*arguments: Any) -> Any:
        *maps, boxes = arguments
        logit, deltas = box_head(roi_align(maps, boxes[None], BOX_CELLS)[0], training=False)
        return ops.sigmoid(logit[:, 0]), decode(deltas, boxes)

    def draw(*arguments: Any) -> Any:
        *maps, boxes = arguments
        windows = grown(boxes)
        logits, quality = mask_head(roi_align(maps, windows[None], MASK_CELLS)[0], training=False)
        return logits, ops.sigmoid(quality[:, 0]), windows

    return look, judge, draw
