"""The rules that every compensator follows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.protocols import Compensator, Labels
from cellseg_core.testing.samples import sample_labels

__all__ = ["CompensatorTests"]


class CompensatorTests:
    """Rules for a :class:`~cellseg_core.protocols.Compensator`."""

    def make(self) -> Compensator:
        """Return the compensator under test."""
        raise NotImplementedError("say in make() how your compensator is made")

    def _case(self) -> tuple[Labels, NDArray[np.float64]]:
        labels = np.searchsorted(np.unique(sample_labels()), sample_labels()).astype(np.int32)
        return labels, np.random.default_rng(1).gamma(2, 100, (int(labels.max()), 4))

    def test_follows_the_protocol(self) -> None:
        assert isinstance(self.make(), Compensator), "compensate() is missing"

    def test_returns_means_that_are_not_negative(self) -> None:
        labels, means = self._case()
        means[0] = 0
        result = self.make().compensate(labels, means.copy())
        assert result.shape == means.shape, "the means changed their shape"
        assert (result >= 0).all(), "a mean became negative"

    def test_leaves_cells_without_neighbours_alone(self) -> None:
        labels = np.zeros((9, 9), np.int32)
        labels[1:3, 1:3], labels[5:8, 5:8] = 1, 2
        means = np.array([[3.0, 0.0], [5.0, 7.0]])
        assert np.allclose(self.make().compensate(labels, means), means, rtol=1e-12)

    def test_treats_channels_one_by_one(self) -> None:
        labels, means = self._case()
        together = self.make().compensate(labels, means)
        apart = self.make().compensate(labels, means[:, ::-1])[:, ::-1]
        assert np.allclose(together, apart, rtol=1e-9), "the order of channels made a difference"

    def test_does_not_depend_on_the_numbering(self) -> None:
        labels, means = self._case()
        order = np.random.default_rng(2).permutation(len(means))
        renumber = np.concatenate([[0], order + 1]).astype(np.int32)
        shuffled = np.empty_like(means)
        shuffled[order] = means
        one = self.make().compensate(labels, means)
        other = self.make().compensate(renumber[labels], shuffled)[order]
        assert np.allclose(one, other, rtol=1e-9), "another numbering gave other means"

    def test_takes_an_image_without_cells(self) -> None:
        result = self.make().compensate(np.zeros((4, 4), np.int32), np.zeros((0, 3)))
        assert result.shape == (0, 3)
