"""What the tests of the Mask R-CNN's parts share: discs to find."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cellseg_backends.maskrcnn.dataset import TrainingImage


@pytest.fixture(scope="session")
def discs() -> Callable[..., TrainingImage]:
    """Return a function that draws a training image of discs on a jittered grid."""

    def draw(
        side: int = 96,
        count: int = 9,
        diameter: float = 16.0,
        seed: int = 0,
        group: str = "",
        bright_field: bool = False,
    ) -> TrainingImage:
        rng = np.random.default_rng(seed)
        labels = np.zeros((side, side), np.int32)
        y, x = np.mgrid[:side, :side] + 0.5
        edge = max(1, int(np.ceil(np.sqrt(count))))
        for number in range(count):
            place = (np.array(divmod(number, edge)) + 0.5) * side / edge
            row, column = place + rng.uniform(-2, 2, 2)
            disc = (y - row) ** 2 + (x - column) ** 2 <= (diameter / 2) ** 2
            labels[disc & (labels == 0)] = number + 1
        plane = (labels > 0) + rng.normal(0, 0.05, labels.shape)
        return TrainingImage(
            name=f"discs {seed}",
            group=group,
            plane=plane.astype(np.float32),
            labels=labels,
            diameter=diameter,
            bright_field=bright_field,
        )

    return draw
