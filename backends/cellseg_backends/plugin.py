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
            name="stardist",
            factory="cellseg_backends.stardist.segmenter:StarDistSegmenter",
            description="star-convex polygons (Schmidt et al. 2018); comes with weights for nuclei",
            trainer="cellseg_backends.stardist.trainer:StarDistTrainer",
            weights="cellseg_backends.stardist.published:PUBLISHED",
            # TensorFlow too, by whichever name it was installed: looked for when it is used.
            requires=("stardist>=0.9.1",),
            install="pip install stardist",
        ),
        Component(
            name="cellpose",
            factory="cellseg_backends.cellpose.segmenter:CellposeSegmenter",
            description="flows (Stringer et al. 2021); comes with weights for nuclei (cellpose 3)",
            trainer="cellseg_backends.cellpose.trainer:CellposeTrainer",
            weights="cellseg_backends.cellpose.published:PUBLISHED",
            requires=("cellpose>=3.1,<5",),
            # Version 4 works too, and needs weights of 1.2 GB and, in practice, a GPU.
            install='pip install "cellpose>=3.1,<4"',
        ),
        Component(
            name="watershed",
            factory="cellseg_backends.watershed:WatershedSegmenter",
            description="classical: local and global thresholds, seeded watershed; no training",
        ),
        Component(
            name="subprocess",
            factory="cellseg_core.subprocess_segmenter:SubprocessSegmenter",
            description="a class or function of another Python environment, in its own process",
        ),
    ]
