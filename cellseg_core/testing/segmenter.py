"""The rules that every segmenter follows."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.metrics import pairwise_iou
from cellseg_core.normalize import Brightness
from cellseg_core.pipeline import Pipeline
from cellseg_core.protocols import AdaptiveSegmenter, Segmentation, Segmenter
from cellseg_core.scaled import ScaledImage

__all__ = ["SegmenterTests"]

_DIAMETER = 12.0


def _tissue(height: int, width: int, **parameters: Any) -> Any:
    from cellseg_core.synthetic import simulate_tissue

    return simulate_tissue(
        (height, width), seed=3, nuclear_diameter=_DIAMETER, channels=("DAPI",), **parameters
    )


class SegmenterTests:
    """Rules for a :class:`~cellseg_core.protocols.Segmenter`.

    Attributes
    ----------
    finds_nuclei
        Whether it finds fluorescent nuclei at all, so that counts and seams can be tested.
    tile_agreement
        Fraction of objects that must be the same (IoU over 0.9) whether an image is segmented
        whole or in tiles.
    """

    finds_nuclei = True
    tile_agreement = 0.99

    def make(self) -> Segmenter:
        """Return the segmenter under test, with the options it is tested with."""
        raise NotImplementedError("say in make() how your segmenter is made")

    def _adapted(self, tile: NDArray[np.float32]) -> Segmenter:
        segmenter = self.make()
        if isinstance(segmenter, AdaptiveSegmenter):
            return segmenter.adapt(tile, segmenter.native_diameter or _DIAMETER)
        return segmenter

    def _nuclei(self, height: int = 96, width: int = 128) -> NDArray[np.float32]:
        image = _tissue(height, width, density=0.2).image
        return ScaledImage(image, (0,), (), Brightness.of(image, (0,))).read()

    def test_follows_the_protocol(self) -> None:
        segmenter = self.make()
        assert isinstance(segmenter, Segmenter), "native_diameter, halo or segment() is missing"

    def test_declares_a_native_diameter_and_a_halo(self) -> None:
        segmenter = self._adapted(self._nuclei())
        native = segmenter.native_diameter
        assert native is None or 0 < native < 1000, f"native_diameter {native} makes no sense"
        assert int(segmenter.halo) >= 0, "a halo is not negative"

    def test_returns_labels_of_the_tile_s_size(self) -> None:
        for height, width in ((1, 1), (1, 40), (37, 53), (128, 96)):
            tile = self._nuclei(128, 128)[:, :height, :width]
            found = self._adapted(tile).segment(tile)
            assert isinstance(found, Segmentation), "segment() returns a Segmentation"
            assert found.labels.shape == (height, width), "labels must have the tile's size"
            assert found.labels.dtype.kind in "iu", "labels are integers"
            assert found.labels.min() >= 0, "labels are not negative"

    def test_gives_a_score_in_0_to_1_for_every_label_or_none_at_all(self) -> None:
        tile = self._nuclei()
        found = self._adapted(tile).segment(tile)
        if found.scores is None:
            return
        present = np.unique(found.labels[found.labels > 0])
        assert len(found.scores) >= present.max(initial=0), "each label needs a score"
        scores = np.asarray(found.scores)[present - 1]
        assert ((scores >= 0) & (scores <= 1)).all(), "scores lie in [0, 1]"

    def test_finds_nothing_in_a_black_tile(self) -> None:
        tile = np.zeros((1, 64, 64), np.float32)
        assert not self._adapted(tile).segment(tile).labels.any(), "a black tile has no nucleus"

    def test_leaves_the_tile_as_it_is(self) -> None:
        tile = self._nuclei()
        before = tile.copy()
        segmenter = self._adapted(tile)
        tile.flags.writeable = False
        segmenter.segment(tile)
        assert np.array_equal(tile, before), "segment() changed its input"

    def test_gives_the_same_labels_for_the_same_tile(self) -> None:
        tile = self._nuclei()
        segmenter = self._adapted(tile)
        one, other = segmenter.segment(tile).labels, segmenter.segment(tile).labels
        assert np.array_equal(one, other), "two calls gave two results"

    def test_can_be_sent_to_another_process(self) -> None:
        tile = self._nuclei()
        segmenter = self._adapted(tile)
        copy = pickle.loads(pickle.dumps(segmenter))  # noqa: S301 - made here
        assert np.array_equal(copy.segment(tile).labels, segmenter.segment(tile).labels)

    def test_finds_about_as_many_nuclei_as_there_are(self) -> None:
        if not self.finds_nuclei:
            return
        tissue = _tissue(256, 256, density=0.2)
        pipeline = Pipeline(segmenter=self.make(), nuclear_diameter=_DIAMETER, tile=4096)
        found, there = len(pipeline.run(tissue.image).table), int(tissue.nuclei.max())
        assert 0.6 * there <= found <= 1.5 * there, f"{found} nuclei found of {there}"

    def test_finds_the_same_nuclei_in_tiles_as_in_the_whole(self) -> None:
        if not self.finds_nuclei:
            return
        image = _tissue(430, 370, density=0.25).image
        whole, tiled = (
            Pipeline(segmenter=self.make(), nuclear_diameter=_DIAMETER, tile=tile).run(image)
            for tile in (4096, 128)
        )
        _, _, iou = pairwise_iou(whole.nuclei, tiled.nuclei)
        objects = max(len(whole.table), len(tiled.table))
        same = np.count_nonzero(iou > 0.9) / objects
        assert same >= self.tile_agreement, (
            f"only {same:.2%} of {objects} nuclei are the same in tiles of 128 px as in the "
            "whole: is the halo large enough for all that a pixel's label depends on?"
        )
