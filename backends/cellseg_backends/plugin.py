"""The segmenters that come with cellseg."""

from __future__ import annotations

from cellseg_core.component import Component
from cellseg_core.hookspecs import hookimpl

__all__ = ["cellseg_segmenters"]


@hookimpl
def cellseg_segmenters() -> list[Component]:
    """Return the built-in segmenters."""
    return [
        Component(
            name="maskrcnn",
            factory="cellseg_backends.maskrcnn.segmenter:MaskRCNNSegmenter",
            description="Mask R-CNN trained on the 2018 Data Science Bowl; comes with its weights",
            trainer="cellseg_backends.maskrcnn.trainer:MaskRCNNTrainer",
            # TensorFlow too, unless Keras works on another backend: looked for when it is used.
            requires=("keras>=3.8",),
            install="pip install keras tensorflow",
        ),
        Component(
            name="watershed",
            factory="cellseg_backends.watershed:WatershedSegmenter",
            description="classical: local and global thresholds, seeded watershed; no training",
        ),
    ]
