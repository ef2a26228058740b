"""The rules that every expander follows."""

from __future__ import annotations

import math

import numpy as np

from cellseg_core.protocols import Expander, Labels
from cellseg_core.testing.samples import sample_labels

__all__ = ["ExpanderTests", "window_around"]


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

    def test_leaves_the_nuclei_that_it_is_given_as_they_are(self) -> None:
        labels = sample_labels()
        for distance in (0, 2):
            cells = self.make(distance).expand(labels)
            assert np.array_equal(labels, sample_labels()), "the input was changed"
            assert not np.shares_memory(cells, labels), "the result is the input's memory"

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

    def test_a_window_gives_what_the_whole_image_gives(self) -> None:
        labels = _crowded_labels()
        height, width = labels.shape
        for distance in (1, 2, 4):
            expander = self.make(distance)
            whole = expander.expand(labels)
            for top in range(0, height, 25):
                for left in range(0, width, 32):
                    rows = slice(top, min(top + 25, height))
                    columns = slice(left, min(left + 32, width))
                    window = window_around(labels, rows, columns, distance)
                    cells = np.zeros_like(whole)
                    cells[window] = expander.expand(labels[window].copy())
                    assert np.array_equal(cells[rows, columns], whole[rows, columns]), (
                        f"rows {rows.start} to {rows.stop}, columns {columns.start} to "
                        f"{columns.stop} depend on what is further than {distance + 1} px away, "
                        "so that tiles would show in the cells"
                    )

    def test_takes_an_image_without_nuclei(self) -> None:
        empty = np.zeros((5, 7), np.int32)
        assert np.array_equal(self.make(2).expand(empty), empty)


def window_around(
    labels: Labels, rows: slice, columns: slice, distance: float
) -> tuple[slice, slice]:
    """Return the window that decides over a part of an expanded label image (Y, X).

    It is the smallest that holds the part and, whole, every nucleus that has a pixel at most
    ``ceil(distance) + 1`` px (rows and columns) from it. What an expander makes of the part is
    the same from this window, or from a larger one, as from the whole image. ``rows`` and
    ``columns`` have a start and a stop, and hold at least a pixel.

    >>> labels = np.array([[5, 5, 0, 0, 0, 0, 7]], np.int32)
    >>> window_around(labels, slice(0, 1), slice(3, 4), distance=1)
    (slice(0, 1, None), slice(0, 4, None))
    """
    halo = math.ceil(distance) + 1
    near = labels[
        max(rows.start - halo, 0) : rows.stop + halo,
        max(columns.start - halo, 0) : columns.stop + halo,
    ]
    needed = np.isin(labels, near[near > 0])
    needed[rows, columns] = True
    y = np.flatnonzero(needed.any(axis=1))
    x = np.flatnonzero(needed.any(axis=0))
    return slice(int(y[0]), int(y[-1]) + 1), slice(int(x[0]), int(x[-1]) + 1)


def _crowded_labels() -> Labels:
    """Return some 100 round nuclei of several sizes, touching here and there, ids in no order."""
    rng = np.random.default_rng(0)
    labels = np.zeros((97, 123), np.int32)
    y, x = np.indices(labels.shape)
    centres = [(row, column) for row in range(5, 97, 10) for column in range(5, 123, 11)]
    for label, place in enumerate(rng.permutation(len(centres)), start=1):
        middle = np.array(centres[place]) + rng.integers(-2, 3, 2)
        inside = (y - middle[0]) ** 2 + (x - middle[1]) ** 2 < rng.uniform(2, 6) ** 2
        labels[inside & (labels == 0)] = label
    return labels
