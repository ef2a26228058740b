"""The training set: images and label masks, read as segmenters see images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.maskrcnn.contrast import Contrast
from cellseg_backends.training.diameter import nuclear_diameter
from cellseg_core.protocols import Labels
from cellseg_core.training_set import TrainingExample

__all__ = [
    "TrainingImage",
    "load_images",
    "simulated_images",
    "training_image",
]

_SIMULATED_SIZE = 448
_SIMULATED_DIAMETERS = (12.0, 30.0)
_SIMULATED_DENSITIES = (0.15, 0.5)


@attrs.frozen(eq=False, kw_only=True)
class TrainingImage:
    """One image with its true nuclei.

    Attributes
    ----------
    name, group
        Name, and what series of like images it belongs to.
    plane
        (Y, X) float32 contrast, see :class:`~cellseg_backends.maskrcnn.contrast.Contrast`;
        smoothed where it will be shrunk.
    labels
        (Y, X) int32.
    diameter
        Diameter in px of a disc with the median area of the nuclei.
    bright_field
        Dark nuclei on a bright background.
    """

    name: str
    group: str
    plane: NDArray[np.float32]
    labels: Labels
    diameter: float
    bright_field: bool


def training_image(
    name: str, plane: NDArray[np.float32], labels: Labels, native: float, group: str = ""
) -> TrainingImage:
    """Return a training image from its nuclear plane on the brightness scale, in [0, 1].

    ``native`` is the diameter in px that nuclei will have in crops.
    """
    from scipy.ndimage import gaussian_filter

    # Without nuclei, the image teaches what is none, at its own size.
    diameter = nuclear_diameter(labels) or native
    contrast = Contrast.of(plane)
    shown = contrast.apply(plane)
    ratio = diameter / native
    if ratio > 1:
        shown = gaussian_filter(shown, (ratio - 1) / 2, mode="nearest")
    return TrainingImage(
        name=name,
        group=group,
        plane=np.ascontiguousarray(shown, np.float32),
        labels=np.ascontiguousarray(labels, np.int32),
        diameter=diameter,
        bright_field=contrast.dark_nuclei,
    )


def load_images(
    examples: Sequence[TrainingExample],
    native: float,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[TrainingImage]:
    """Return the images of a training set; those of one modality and size are one group.

    ``native`` is the diameter in px that nuclei will have in crops. Memory: 8 bytes for each pixel.
    """
    images = []
    for done, one in enumerate(examples):
        progress(done, len(examples))
        plane, labels = one.read()
        group = f"{one.group} {plane.shape[0]}x{plane.shape[1]}".strip()
        images.append(training_image(one.name, plane, labels, native, group))
    progress(len(examples), len(examples))
    return images


def simulated_images(count: int, native: float, seed: int = 0) -> list[TrainingImage]:
    """Return simulated tissues, sparse to dense, as one more group of training images."""
    from cellseg_core.scaled import view
    from cellseg_core.synthetic import simulate_tissue

    images = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        tissue = simulate_tissue(
            (_SIMULATED_SIZE, _SIMULATED_SIZE),
            seed=int(rng.integers(2**31)),
            nuclear_diameter=float(rng.uniform(*_SIMULATED_DIAMETERS)),
            density=float(rng.uniform(*_SIMULATED_DENSITIES)),
            channels=("DAPI",),
        )
        plane = view(tissue.image, "DAPI")[0].read()[0]
        images.append(
            training_image(f"simulated {number}", plane, tissue.nuclei, native, "simulated")
        )
    return images
