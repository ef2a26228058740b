"""The rules that every compensator follows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compensating import run_compensator
from cellseg_core.image import Image
from cellseg_core.protocols import Compensator, ImageCompensator, Labels
from cellseg_core.testing.samples import sample_labels

__all__ = ["CompensatorTests"]


class CompensatorTests:
    """Rules for a compensator, one that looks at pixels or one that does not.

    It is given images in which each pixel of a cell has the value of the cell's mean.
    """

    def make(self) -> Compensator | ImageCompensator:
        """Return the compensator under test."""
        raise NotImplementedError("say in make() how your compensator is made")

    def compensate(self, labels: Labels, means: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the compensator under test makes of means (N, K), having checked it."""
        ground = np.zeros((1, means.shape[1]))
        pixels = np.moveaxis(np.concatenate([ground, means])[labels], -1, 0)
        given = means.copy()
        result = run_compensator(self.make(), Image(pixels), labels.copy(), given).means
        assert np.array_equal(given, means, equal_nan=True), "it changed the means it was given"
        return result

    def _case(self) -> tuple[Labels, NDArray[np.float64]]:
        labels = np.searchsorted(np.unique(sample_labels()), sample_labels()).astype(np.int32)
        return labels, np.random.default_rng(1).gamma(2, 100, (int(labels.max()), 4))

    def test_follows_a_protocol(self) -> None:
        assert isinstance(self.make(), Compensator | ImageCompensator), (
            "it has neither compensate() nor compensate_image()"
        )

    def test_returns_means_that_are_not_negative(self) -> None:
        labels, means = self._case()
        means[0] = 0
        self.compensate(labels, means)

    def test_leaves_cells_without_neighbours_alone(self) -> None:
        labels = np.zeros((9, 9), np.int32)
        labels[1:3, 1:3], labels[5:8, 5:8] = 1, 2
        means = np.array([[3.0, 0.0], [5.0, 7.0]])
        assert np.allclose(self.compensate(labels, means), means, rtol=1e-12)

    def test_leaves_a_single_cell_alone(self) -> None:
        for shape in ((1, 1), (5, 7)):
            means = np.array([[3.0, 0.0]])
            result = self.compensate(np.ones(shape, np.int32), means)
            assert np.allclose(result, means, rtol=1e-12)

    def test_treats_channels_one_by_one(self) -> None:
        labels, means = self._case()
        together = self.compensate(labels, means)
        apart = self.compensate(labels, means[:, ::-1])[:, ::-1]
        assert np.allclose(together, apart, rtol=1e-9), "the order of channels made a difference"

    def test_does_not_depend_on_the_unit_of_brightness(self) -> None:
        labels, means = self._case()
        one, other = self.compensate(labels, means), self.compensate(labels, 1000 * means)
        assert np.allclose(1000 * one, other, rtol=1e-6, atol=1e-6), (
            "means a thousand times as high did not give a result a thousand times as high"
        )

    def test_keeps_a_missing_mean_missing_and_other_channels_as_they_are(self) -> None:
        labels, means = self._case()
        whole = self.compensate(labels, means)
        means[0, 1] = np.nan
        result = self.compensate(labels, means)
        assert np.array_equal(np.isnan(result), np.isnan(means)), (
            "a cell is NaN after compensation where it was before, and nowhere else"
        )
        others = [0, 2, 3]
        assert np.allclose(result[:, others], whole[:, others], rtol=1e-9), (
            "a mean missing in one channel changed another channel"
        )

    def test_does_not_depend_on_the_numbering(self) -> None:
        labels, means = self._case()
        order = np.random.default_rng(2).permutation(len(means))
        renumber = np.concatenate([[0], order + 1]).astype(np.int32)
        shuffled = np.empty_like(means)
        shuffled[order] = means
        one = self.compensate(labels, means)
        other = self.compensate(renumber[labels], shuffled)[order]
        assert np.allclose(one, other, rtol=1e-9), "another numbering gave other means"

    def test_takes_an_image_without_cells(self) -> None:
        result = self.compensate(np.zeros((4, 4), np.int32), np.zeros((0, 3)))
        assert result.shape == (0, 3)
