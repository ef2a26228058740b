"""Random variation: what it may change, and that the image and its labels stay together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from cellseg_backends.maskrcnn.augmentation import Augmentation
from cellseg_backends.maskrcnn.crop_kernels import boxes_of, warp

PLAIN = Augmentation()


def blocks(seed: int = 0, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Return a plane and labels of random blocks of 8 px, half of them background."""
    rng = np.random.default_rng(seed)
    grid = np.zeros((side // 8, side // 8), np.int32)
    there = rng.random(grid.shape) < 0.5
    grid[there] = rng.permutation(np.count_nonzero(there)) + 1
    labels = np.kron(grid, np.ones((8, 8), np.int32))
    return (labels > 0).astype(np.float32) * np.float32(0.8), labels


class TestPlacement:
    @settings(deadline=None, max_examples=100)
    @given(st.integers(0, 2**32), st.floats(0.1, 5))
    def test_stays_within_its_limits(self, seed: int, factor: float) -> None:
        matrix, magnified = PLAIN.placement(np.random.default_rng(seed), factor)
        assert abs(math.log(magnified / factor)) <= math.log(PLAIN.far_scale) + 1e-9
        # The zooms of the two axes differ, the area does not.
        assert abs(np.linalg.det(matrix)) == pytest.approx(magnified**-2, rel=1e-9)
        stretches = np.linalg.svd(matrix, compute_uv=False)
        assert stretches[0] / stretches[1] <= PLAIN.zoom + 1e-9
        assert matrix.flags.c_contiguous
        assert matrix.dtype == np.float64

    def test_draws_every_flip_and_turn_and_rotations_when_asked(self) -> None:
        rng = np.random.default_rng(0)
        straight = Augmentation(rotate=0, zoom=1)
        drawn = {
            tuple(np.sign(np.round(straight.placement(rng, 1.0)[0], 9)).ravel()) for _ in range(200)
        }
        assert len(drawn) == 8
        turned = Augmentation(rotate=1).placement(rng, 1.0)[0]
        assert (np.abs(turned) > 1e-3).all()

    def test_depends_on_the_generator_alone(self) -> None:
        first, again, another = (
            PLAIN.placement(np.random.default_rng(seed), 2.0) for seed in (5, 5, 6)
        )
        np.testing.assert_array_equal(first[0], again[0])
        assert first[1] == again[1]
        assert first[1] != another[1]


class TestWarp:
    @pytest.mark.parametrize("seed", range(8))
    def test_samples_as_scipy_does(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        plane = rng.random((40, 56), dtype=np.float32)
        labels = rng.integers(0, 9, plane.shape).astype(np.int32)
        matrix, _ = PLAIN.placement(rng, 1.0)
        offset = np.array([20.0, 28.0]) - matrix @ np.array([23.5, 23.5])
        seen, found = warp(plane, labels, matrix, offset, 48)
        assert seen.dtype == np.float32
        assert found.dtype == np.int32
        at = np.einsum("ij,jyx->iyx", matrix, np.mgrid[:48, :48]) + offset[:, None, None]
        low, high = at.min(axis=0) >= -0.5, (at < np.array([39.5, 55.5])[:, None, None]).all(axis=0)
        inside = low & high
        assert inside.any()
        expected = np.where(inside, map_coordinates(plane, at, order=1, mode="nearest"), 0)
        np.testing.assert_allclose(seen, expected, atol=1e-5)
        nearest = map_coordinates(labels, np.floor(at + 0.5), order=0, mode="nearest")
        np.testing.assert_array_equal(found, np.where(inside, nearest, 0))

    @pytest.mark.parametrize("seed", range(8))
    def test_the_image_and_its_labels_stay_together(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        _, labels = blocks(seed)
        matrix, _ = PLAIN.placement(rng, 1.0)
        offset = np.array([32.0, 32.0]) - matrix @ np.array([31.5, 31.5])
        for kind in (labels > 0, labels == 7):
            plane, shown = warp(kind.astype(np.float32), kind.astype(np.int32), matrix, offset, 64)
            assert shown[plane > 0.999].all()
            assert not shown[plane == 0].any()

    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2)])
    def test_tiny_sources_are_shown_in_the_middle_of_nothing(self, shape: tuple[int, int]) -> None:
        plane = np.full(shape, 0.5, np.float32)
        labels = np.full(shape, 3, np.int32)
        seen, found = warp(plane, labels, np.eye(2), np.array([-15.0, -12.0]), 32)
        assert np.count_nonzero(found) == plane.size
        np.testing.assert_array_equal(found[15 : 15 + shape[0], 12 : 12 + shape[1]], labels)
        np.testing.assert_array_equal(seen, (found == 3) * np.float32(0.5))

    def test_the_identity_shows_the_source(self) -> None:
        plane, labels = blocks()
        seen, found = warp(plane, labels, np.eye(2), np.zeros(2), 64)
        np.testing.assert_array_equal(seen, plane)
        np.testing.assert_array_equal(found, labels)


class TestBoxesOf:
    def test_boxes_enclose_their_labels_and_areas_count_them(self) -> None:
        rng = np.random.default_rng(0)
        labels = (rng.integers(0, 30, (40, 50)) * (rng.random((40, 50)) < 0.1)).astype(np.int32)
        boxes, areas = boxes_of(labels, 35)
        for label in range(1, 36):
            rows, columns = np.nonzero(labels == label)
            assert areas[label - 1] == len(rows)
            expected = (
                [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1] if len(rows) else 0
            )
            np.testing.assert_array_equal(boxes[label - 1], expected)

    def test_without_labels_there_is_nothing(self) -> None:
        boxes, areas = boxes_of(np.zeros((8, 8), np.int32), 0)
        assert boxes.shape == (0, 4)
        assert areas.shape == (0,)


class TestBrightness:
    @settings(deadline=None, max_examples=60)
    @given(st.integers(0, 2**32))
    def test_gives_finite_planes_and_leaves_its_arguments_alone(self, seed: int) -> None:
        plane, labels = blocks(1)
        plane -= np.float32(0.1)
        before = plane.copy(), labels.copy()
        found = PLAIN.brightness(np.random.default_rng(seed), plane, labels)
        assert found.shape == plane.shape
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(plane, before[0])
        np.testing.assert_array_equal(labels, before[1])
        again = PLAIN.brightness(np.random.default_rng(seed), plane, labels)
        np.testing.assert_array_equal(found, again)

    def test_nuclei_stay_brighter_than_the_background(self) -> None:
        plane, labels = blocks(1)
        for seed in range(40):
            found = PLAIN.brightness(np.random.default_rng(seed), plane, labels)
            assert np.median(found[labels > 0]) > np.median(found[labels == 0])

    @pytest.mark.parametrize("value", [0.0, -1e4, 1e4])
    @pytest.mark.parametrize("shape", [(8, 8), (32, 32)])
    def test_takes_planes_without_nuclei_and_extremes(
        self, value: float, shape: tuple[int, int]
    ) -> None:
        plane, labels = np.full(shape, value, np.float32), np.zeros(shape, np.int32)
        for seed in range(20):
            found = PLAIN.brightness(np.random.default_rng(seed), plane, labels)
            assert np.isfinite(found).all()


class TestCrowded:
    @pytest.mark.parametrize("seed", range(6))
    def test_never_overwrites_and_adds_whole_nuclei(self, seed: int) -> None:
        plane, labels = blocks(seed)
        other, others = blocks(seed + 100)
        # By 3 px, so that nuclei overlap in part.
        other, others = (np.ascontiguousarray(np.roll(a, (3, 1), (0, 1))) for a in (other, others))
        light, found = PLAIN.crowded(plane, labels, other, others)
        assert light.shape == plane.shape
        assert light.dtype == np.float32
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found[labels > 0], labels[labels > 0])
        assert (light >= plane).all()
        new = np.setdiff1d(np.unique(found), np.unique(labels))
        assert (new > labels.max()).all()
        for number in new:
            (old,) = np.unique(others[found == number])
            covered = np.count_nonzero(labels[others == old])
            area = np.count_nonzero(others == old)
            assert old > 0
            assert covered <= 0.2 * area
            assert np.count_nonzero(found == number) == area - covered
        for old in np.setdiff1d(np.unique(others), [0]):
            area = np.count_nonzero(others == old)
            if np.count_nonzero(labels[others == old]) > 0.2 * area:
                assert not np.isin(found[(others == old) & (labels == 0)], new).any()

    def test_nothing_is_added_where_there_is_nothing(self) -> None:
        plane, labels = blocks()
        nothing = np.zeros_like(plane), np.zeros_like(labels)
        for first, second in (((plane, labels), nothing), (nothing, nothing)):
            light, found = PLAIN.crowded(*first, *second)
            np.testing.assert_array_equal(found, first[1])
            np.testing.assert_array_equal(light, first[0])

    def test_all_nuclei_are_added_to_an_empty_crop(self) -> None:
        other, others = blocks()
        light, found = PLAIN.crowded(np.zeros_like(other), np.zeros_like(others), other, others)
        np.testing.assert_array_equal(found > 0, others > 0)
        assert len(np.unique(found)) == len(np.unique(others))
        assert (light[others > 0] > 0).all()
