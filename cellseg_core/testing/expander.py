"""The rules that every expander follows."""

from __future__ import annotations

import numpy as np

from cellseg_core.protocols import Expander
from cellseg_core.testing.samples import sample_labels

__all__ = ["ExpanderTests"]


class ExpanderTests:
    """Rules for an :class:`~cellseg_core.protocols.Expander`."""

    def make(self, distance: float) -> Expander:
        """Return the expander under test for a distance in px."""
        raise NotImplementedError("say in make() how your expander is made")

    def test_follows_the_protocol(self) -> None:
        assert isinstance(self.make(1), Expander), "expand() is missing"

    def test_keeps_every_pixel_of_every_nucleus(self) -> None:
        labels = sample_labels()
        for distance in (0, 1, 2, 7, 200):
            cells = self.make(distance).expand(labels.copy())
            assert cells.shape == labels.shape, "the label image changed its size"
            inside = labels > 0
            assert np.array_equal(cells[inside], labels[inside]), "a nucleus lost pixels"
            assert set(np.unique(cells)) <= set(np.unique(labels)), "an id came from nowhere"

    def test_does_not_grow_by_0_px(self) -> None:
        assert np.array_equal(self.make(0).expand(sample_labels()), sample_labels())

    def test_grows_no_further_than_the_distance(self) -> None:
        from scipy.ndimage import distance_transform_edt

        labels = sample_labels()
        away = distance_transform_edt(labels == 0)
        for distance in (1, 2, 7):
            cells = self.make(distance).expand(labels)
            assert away[cells > 0].max() <= distance, f"grew by more than {distance} px"
            assert (cells[away == 1] > 0).all(), "did not grow into the pixels beside nuclei"

    def test_does_not_depend_on_the_numbering(self) -> None:
        labels = sample_labels()
        other = np.zeros(labels.max() + 1, np.int32)
        ids = np.unique(labels[labels > 0])
        other[ids] = np.random.default_rng(0).permutation(100)[: ids.size] + 1
        for distance in (1, 3):
            one = other[self.make(distance).expand(labels)]
            assert np.array_equal(one, self.make(distance).expand(other[labels])), (
                "another numbering of the nuclei gave other cells"
            )

    def test_takes_an_image_without_nuclei(self) -> None:
        empty = np.zeros((5, 7), np.int32)
        assert np.array_equal(self.make(2).expand(empty), empty)
