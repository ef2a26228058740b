"""The network, Mask R-CNN (He et al. 2017), and the model that trains it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from cellseg_backends.maskrcnn import boxes as box
from cellseg_backends.maskrcnn.anchors import anchors
from cellseg_backends.maskrcnn.dense import dense_head, dense_loss
from cellseg_backends.maskrcnn.heads import (
    BOX_CELLS,
    MASK_CELLS,
    MASK_SIZE,
    box_head,
    mask_head,
)
from cellseg_backends.maskrcnn.losses import cross_entropy, focal, mask_loss, smooth_l1
from cellseg_backends.maskrcnn.presets import Preset
from cellseg_backends.maskrcnn.proposals import propose
from cellseg_backends.maskrcnn.pyramid import feature_pyramid
from cellseg_backends.maskrcnn.roi_align import roi_align
from cellseg_backends.maskrcnn.targets import gather, grown, mask_targets, sample_regions

__all__ = ["MaskRCNN", "TrainingModel"]


@contextmanager
def _computing_in(precision: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class MaskRCNN:
    """The three parts of the network.

    Attributes
    ----------
    first
        Image (B, H, W, 1), H and W multiples of 32, to the pyramid's maps at strides 2 to 16, the
        logits (B, N) and the deltas (B, N, 4) of the anchors.
    boxes
        Features (R, 7, 7, C) to the logit of a nucleus (R, 1) and deltas (R, 4).
    masks
        Features (R, 14, 14, C) to the logits of masks (R, 28, 28) and of their quality (R, 1).

    Parameters
    ----------
    preset
        The sizes.
    precision
        ``"float32"``, or ``"mixed_bfloat16"``: weights and coordinates in float32, the rest in
        half precision.
    """

    def __init__(self, preset: Preset, precision: str = "float32") -> None:
        self.preset = preset
        with _computing_in(precision):
            image = keras.Input((None, None, 1))
            maps = feature_pyramid(image, preset)
            logits, deltas = propose(maps[1:], preset)
            self.first = keras.Model(image, [*maps[:-1], logits, deltas], name="first")
            self.boxes = box_head(preset)
            self.masks = mask_head(preset)

    @property
    def parts(self) -> tuple[keras.Model, keras.Model, keras.Model]:
        """Return the three models."""
        return self.first, self.boxes, self.masks

    def weights(self) -> dict[str, Any]:
        """Return the variables by a name that tells the layer, in a fixed order."""
        return {variable.path: variable for part in self.parts for variable in part.variables}


class TrainingModel(keras.Model):
    """Computes the losses of a batch; ``train_on_batch(batch)`` returns them by name.

    A batch is what :class:`~cellseg_backends.maskrcnn.batches.Batches` makes: a dict of arrays of
    fixed shapes, random numbers included, so that the same batch always gives the same losses.

    Parameters
    ----------
    network
        What is trained.
    class_weight
        Weight of the two classification losses; the published recipe has 0.5.
    positive, negative
        Regions of each image that the second stage is trained on.
    """

    def __init__(
        self,
        network: MaskRCNN,
        *,
        class_weight: float = 0.5,
        positive: int = 28,
        negative: int = 20,
    ) -> None:
        super().__init__(name="training")
        self.first, self.box_head, self.mask_head = network.parts
        self.dense_head = dense_head(network.preset.pyramid)
        self._class_weight = class_weight
        self._positive, self._negative = positive, negative

    def call(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the losses, each one number."""
        image, truth = batch["image"], batch["boxes"]
        size = image.shape[1:3]
        *maps, logits, deltas = self.first(image)
        references = ops.convert_to_tensor(anchors(*size))

        match = batch["match"]
        found = ops.cast(match >= 0, "float32")
        decided = ops.cast(match >= -1, "float32")
        matched = gather(truth, ops.maximum(match, 0))
        losses = {
            "proposal_class": focal(logits, found, decided),
            "proposal_box": smooth_l1(deltas, box.encode(matched, references), found),
            "dense": dense_loss(self.dense_head(maps[0]), batch["labels"]),
        }

        # As many of the best proposals as there are random numbers left for, beside the jittered.
        proposals = batch["priority"].shape[1] - batch["jittered"].shape[1]
        _, best = ops.top_k(ops.stop_gradient(logits), proposals)
        proposed = box.decode(
            gather(ops.stop_gradient(deltas), best), ops.take(references, best, axis=0)
        )
        far = ops.convert_to_tensor(np.array([*size, *size], np.float32))
        proposed = ops.clip(proposed, 0.0, far)
        regions, numbers, positive, negative = sample_regions(
            ops.concatenate([proposed, batch["jittered"]], axis=1),
            truth,
            batch["priority"],
            self._positive,
            self._negative,
        )
        regions = ops.stop_gradient(regions)
        cells = (BOX_CELLS, BOX_CELLS, maps[0].shape[-1])
        logit, shift = self.box_head(ops.reshape(roi_align(maps, regions, BOX_CELLS), (-1, *cells)))
        is_nucleus, weight = ops.reshape(positive, (-1,)), ops.reshape(positive + negative, (-1,))
        losses["class"] = ops.sum(cross_entropy(logit[:, 0], is_nucleus) * weight) / ops.maximum(
            ops.sum(weight), 1.0
        )
        aim = box.encode(gather(truth, numbers), regions)
        losses["box"] = smooth_l1(shift, ops.reshape(aim, (-1, 4)), is_nucleus)

        windows, numbers = grown(regions[:, : self._positive]), numbers[:, : self._positive]
        cells = (MASK_CELLS, MASK_CELLS, maps[0].shape[-1])
        masks, quality = self.mask_head(
            ops.reshape(roi_align(maps, windows, MASK_CELLS), (-1, *cells))
        )
        wanted = ops.reshape(
            mask_targets(batch["labels"], windows, numbers, MASK_SIZE), (-1, MASK_SIZE, MASK_SIZE)
        )
        weight = ops.reshape(positive[:, : self._positive], (-1,))
        losses["mask"] = mask_loss(masks, wanted, weight)

        extent = (windows[..., 2] - windows[..., 0]) * (windows[..., 3] - windows[..., 1])
        area = gather(batch["areas"], numbers) / ops.maximum(extent, 1.0) * MASK_SIZE**2
        drawn = ops.cast(ops.stop_gradient(masks) > 0, "float32")
        seen = ops.cast(wanted > 0.5, "float32")
        common = ops.sum(drawn * seen, axis=(1, 2))
        union = ops.sum(drawn, axis=(1, 2)) + ops.reshape(area, (-1,)) - common
        reached = ops.clip(common / ops.maximum(union, 1.0), 0.0, 1.0)
        losses["quality"] = ops.sum(cross_entropy(quality[:, 0], reached) * weight) / ops.maximum(
            ops.sum(weight), 1.0
        )
        losses["mask_iou"] = ops.sum(reached * weight) / ops.maximum(ops.sum(weight), 1.0)
        return losses

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any) -> Any:  # noqa: ARG002
        """Return the weighted sum of the losses in ``y_pred``, what :meth:`call` returned."""
        a = self._class_weight
        return (
            a * (y_pred["proposal_class"] + y_pred["class"])
            + y_pred["proposal_box"]
            + y_pred["box"]
            + y_pred["mask"]
            + y_pred["dense"]
            + 0.5 * y_pred["quality"]
        )

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:  # noqa: ARG002
        """Return the losses by name, and their weighted sum as ``loss``."""
        return {**y_pred, "loss": self.compute_loss(y_pred=y_pred)}
