"""Training batches: crops of training images with everything that the losses need.

Batch ``k`` depends on the images, the seed and ``k`` alone, so that a training run that was
interrupted goes on exactly as it would have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.maskrcnn.anchors import anchors
from cellseg_backends.maskrcnn.augmentation import Augmentation
from cellseg_backends.maskrcnn.contrast import compressed
from cellseg_backends.maskrcnn.dataset import TrainingImage

__all__ = ["Batches"]

_Crop = tuple[NDArray[np.float32], NDArray[np.int32]]

_FILLS = 0.9  # an image that fills less of a crop shares it with others
_LEAST_AREA = 12  # px: what is smaller at the native diameter is a sliver at the crop's edge
_POSITIVE, _NEGATIVE = 0.5, 0.4


@attrs.frozen(eq=False, kw_only=True)
class Batches:
    """Makes batches of crops.

    Parameters
    ----------
    images
        What crops are cut from. Images of one ``group`` share a weight that grows with the square
        root of their number, so that a series of near-identical images does not dominate.
    diameter
        Diameter in px that nuclei have in crops, before random scaling.
    size, batch_size
        Edge of a crop in px, a multiple of 32, and crops in a batch.
    nuclei
        Most nuclei of a crop that count; default: one for every 16 x 16 px. Of more, a random
        choice does; anchors at the rest are undecided, but their pixels count as background.
    jittered, proposals
        Displaced true boxes, and the model's own proposals: candidates of each crop, of which the
        second stage's regions are chosen.
    seed
        Of everything random.
    """

    images: Sequence[TrainingImage]
    diameter: float
    size: int = 256
    batch_size: int = 8
    nuclei: int = attrs.field(
        default=attrs.Factory(lambda self: max(32, self.size**2 // 256), takes_self=True)
    )
    jittered: int = 96
    proposals: int = 384
    seed: int = 0
    augmentation: Augmentation = attrs.field(factory=Augmentation)

    _anchors: NDArray[np.float32] = attrs.field(init=False, repr=False)
    _chance: NDArray[np.float64] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        counts = Counter(image.group for image in self.images)
        chance = np.array([counts[image.group] ** -0.5 for image in self.images])
        object.__setattr__(self, "_anchors", anchors(self.size, self.size))
        object.__setattr__(self, "_chance", chance / chance.sum())

    def batch(self, number: int) -> dict[str, NDArray[Any]]:
        """Return batch ``number``, a dict of arrays with one row for each crop.

        ``image`` (B, S, S, 1); ``labels`` (B, S, S) int32 with ``i + 1`` for nucleus ``i``;
        ``boxes`` (B, M, 4) and ``areas`` (B, M); ``match`` (B, N), the nucleus of each anchor, -1
        for none, -2 for undecided; ``jittered`` (B, J, 4); ``priority`` (B, K), random numbers.
        """
        rng = np.random.default_rng((self.seed, number))
        crops = [self._crop(rng) for _ in range(self.batch_size)]
        return {key: np.stack([crop[key] for crop in crops]) for key in crops[0]}

    def _crop(self, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        from cellseg_backends.maskrcnn.crop_kernels import boxes_of
        from cellseg_backends.maskrcnn.matching_kernels import match_anchors

        image = self._draw(rng)
        magnified = min(image.plane.shape) * self.diameter / image.diameter
        if magnified >= _FILLS * self.size:
            plane, labels = self._varied(rng, image, self.size)
        else:
            plane, labels = self._mosaic(rng, image)

        boxes, areas = boxes_of(labels, int(labels.max(initial=0)))
        kept = np.flatnonzero(areas >= _LEAST_AREA)
        # Of more nuclei than there is room for, a random choice: the rest is undecided.
        chosen = kept if kept.size <= self.nuclei else np.sort(rng.permutation(kept)[: self.nuclei])
        match = match_anchors(self._anchors, boxes[kept], _POSITIVE, _NEGATIVE)
        place = np.full(kept.size + 2, -2, np.int32)
        place[np.searchsorted(kept, chosen)] = np.arange(chosen.size)
        place[-1], place[-2] = -1, -2
        number = np.zeros(areas.size + 1, np.int32)
        number[chosen + 1] = np.arange(chosen.size) + 1

        truth = np.zeros((self.nuclei, 4), np.float32)
        truth[: chosen.size] = boxes[chosen]
        area = np.zeros(self.nuclei, np.float32)
        area[: chosen.size] = areas[chosen]
        return {
            "image": compressed(plane)[..., np.newaxis],
            "labels": number[labels],
            "boxes": truth,
            "areas": area,
            "match": place[match],
            "jittered": self._jittered(rng, boxes[chosen]),
            "priority": rng.random(self.proposals + self.jittered, dtype=np.float32),
        }

    def _draw(self, rng: np.random.Generator) -> TrainingImage:
        return self.images[rng.choice(len(self.images), p=self._chance)]

    def _mosaic(self, rng: np.random.Generator, image: TrainingImage) -> _Crop:
        """Return four small windows as one crop, for images that do not fill it."""
        half = self.size // 2
        plane = np.zeros((self.size, self.size), np.float32)
        labels = np.zeros((self.size, self.size), np.int32)
        for part in ((0, 0), (0, half), (half, 0), (half, half)):
            where = tuple(slice(start, start + half) for start in part)
            plane[where], found = self._varied(rng, image, half)
            labels[where] = np.where(found > 0, found + labels.max(), 0)
            image = self._draw(rng)
        return plane, labels

    def _varied(self, rng: np.random.Generator, image: TrainingImage, size: int) -> _Crop:
        plane, labels = self._window(rng, image, size)
        if not image.bright_field and rng.random() < self.augmentation.crowd:
            other = self._window(rng, image, size)
            plane, labels = self.augmentation.crowded(plane, labels, *other)
        return self.augmentation.brightness(rng, plane, labels), labels

    def _window(self, rng: np.random.Generator, image: TrainingImage, size: int) -> _Crop:
        from cellseg_backends.maskrcnn.crop_kernels import warp

        matrix, _ = self.augmentation.placement(rng, self.diameter / image.diameter)
        middle = (size - 1) / 2
        # The crop's half extents in px of the source, so that it lies within it where it can.
        reach = np.abs(matrix).sum(axis=1) * middle
        last = np.array(image.plane.shape) - 1
        low, high = np.minimum(reach, last / 2), np.maximum(last - reach, last / 2)
        centre = rng.uniform(low, high)
        offset = centre - matrix @ np.array([middle, middle])
        return warp(image.plane, image.labels, matrix, offset, size)

    def _jittered(
        self, rng: np.random.Generator, boxes: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        moved = np.zeros((self.jittered, 4), np.float32)
        if not len(boxes):
            return moved
        chosen = boxes[rng.integers(len(boxes), size=self.jittered)]
        extent = np.tile(chosen[:, 2:] - chosen[:, :2], 2)
        moved[:] = chosen + extent * rng.normal(0, 0.08, chosen.shape)
        return np.clip(moved, 0, self.size)
