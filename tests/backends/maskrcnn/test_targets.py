"""What the two stages are trained on: matched anchors, sampled regions and masks."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops
from scipy.ndimage import map_coordinates

from cellseg_backends.maskrcnn.anchors import anchors
from cellseg_backends.maskrcnn.matching_kernels import match_anchors
from cellseg_backends.maskrcnn.targets import gather, grown, mask_targets, sample_regions


def numbers(value: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(value))


def overlaps(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union (N, M) in float32."""
    top = np.maximum(some[:, None, :2], others[None, :, :2])
    bottom = np.minimum(some[:, None, 2:], others[None, :, 2:])
    common = np.prod(np.maximum(bottom - top, 0), axis=-1)
    first = np.prod(some[:, 2:] - some[:, :2], axis=-1)
    second = np.prod(others[:, 2:] - others[:, :2], axis=-1)
    union = first[:, None] + second[None] - common
    return np.where(common > 0, common / np.where(union > 0, union, 1), 0).astype(np.float32)


def random_boxes(
    rng: np.random.Generator, count: int, field: float = 96, low: float = 6, high: float = 40
) -> np.ndarray:
    corner = rng.uniform(-4, field - low, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(low, high, (count, 2))], 1).astype(
        np.float32
    )


class TestMatchAnchors:
    @pytest.mark.parametrize("count", [1, 5, 40, 300])
    def test_agrees_with_the_whole_matrix_of_overlaps(self, count: int) -> None:
        places = anchors(96, 96)
        boxes = random_boxes(np.random.default_rng(count), count)
        overlap = overlaps(places, boxes)
        best = overlap.max(axis=1)
        expected = np.where(best >= 0.5, overlap.argmax(axis=1), np.where(best < 0.4, -1, -2))
        favourite = overlap.argmax(axis=0)
        expected[favourite] = np.arange(count)
        # An anchor that is the favourite of several boxes goes to one of them.
        once = np.bincount(favourite, minlength=len(places)) <= 1
        found = match_anchors(places, boxes, 0.5, 0.4)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found[once], expected[once])
        for anchor in np.flatnonzero(~once):
            assert found[anchor] in np.flatnonzero(favourite == anchor)

    def test_without_boxes_every_anchor_is_background(self) -> None:
        found = match_anchors(anchors(32, 64), np.zeros((0, 4), np.float32), 0.5, 0.4)
        np.testing.assert_array_equal(found, -1)

    def test_a_box_that_no_anchor_overlaps_well_still_gets_its_best(self) -> None:
        found = match_anchors(anchors(64, 64), np.array([[10, 3, 12, 60]], np.float32), 0.5, 0.4)
        assert np.count_nonzero(found == 0) == 1

    def test_boxes_without_area_or_beyond_the_image_match_nothing(self) -> None:
        boxes = np.array([[9, 9, 9, 30], [500, 500, 520, 520], [0, 0, 0, 0]], np.float32)
        np.testing.assert_array_equal(match_anchors(anchors(64, 64), boxes, 0.5, 0.4), -1)

    def test_of_equal_boxes_the_first_is_matched(self) -> None:
        boxes = np.array([[8, 8, 24, 24]] * 2, np.float32)
        found = match_anchors(anchors(64, 64), boxes, 0.5, 0.4)
        assert np.count_nonzero(found == 0) > np.count_nonzero(found == 1) == 0

    def test_an_anchor_that_two_boxes_want_answers_for_the_one_it_overlaps_most(self) -> None:
        anchor = np.array([[0, 0, 10, 10]], np.float32)
        boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 30]], np.float32)
        assert match_anchors(anchor, boxes, 0.5, 0.4).tolist() == [0]
        assert match_anchors(anchor, boxes[::-1].copy(), 0.5, 0.4).tolist() == [1]


class TestGather:
    def test_takes_rows_image_by_image(self) -> None:
        values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        index = np.array([[2, 0], [1, 1]])
        np.testing.assert_array_equal(
            numbers(gather(ops.convert_to_tensor(values), index)),
            np.take_along_axis(values, index[..., None], axis=1),
        )

    def test_takes_numbers_too(self) -> None:
        values = ops.convert_to_tensor(np.arange(6, dtype=np.int32).reshape(2, 3))
        np.testing.assert_array_equal(numbers(gather(values, np.array([[2], [0]]))), [[2], [3]])


class TestSampleRegions:
    POSITIVE, NEGATIVE, CANDIDATES, ROOM = 6, 5, 30, 8

    def sample(
        self, candidates: np.ndarray, truth: np.ndarray, seed: int = 0
    ) -> tuple[np.ndarray, ...]:
        priority = np.random.default_rng(seed).random(candidates.shape[:2], dtype=np.float32)
        found = sample_regions(
            ops.convert_to_tensor(candidates),
            ops.convert_to_tensor(truth),
            ops.convert_to_tensor(priority),
            self.POSITIVE,
            self.NEGATIVE,
        )
        boxes, number, is_positive, is_negative = (numbers(one) for one in found)
        rows = self.POSITIVE + self.NEGATIVE
        assert boxes.shape == (len(candidates), rows, 4)
        assert number.shape == is_positive.shape == is_negative.shape == (len(candidates), rows)
        assert number.dtype == np.int32
        assert not is_positive[:, self.POSITIVE :].any()
        assert not is_negative[:, : self.POSITIVE].any()
        return boxes, number, is_positive, is_negative

    def truth(self, boxes: np.ndarray) -> np.ndarray:
        rows = np.zeros((1, self.ROOM, 4), np.float32)
        rows[0, : len(boxes)] = boxes
        return rows

    @pytest.mark.parametrize("seed", range(5))
    def test_positives_overlap_their_nucleus_and_negatives_none(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        truth = np.zeros((2, self.ROOM, 4), np.float32)
        candidates = np.zeros((2, self.CANDIDATES, 4), np.float32)
        for image, count in enumerate((3, self.ROOM)):
            truth[image, :count] = random_boxes(rng, count, low=10)
            near = truth[image, rng.integers(count, size=10)] + rng.normal(0, 1, (10, 4))
            candidates[image, :10] = near
            candidates[image, 10:28] = random_boxes(rng, 18)
        boxes, number, is_positive, is_negative = self.sample(candidates, truth, seed)
        for image in range(2):
            overlap = overlaps(candidates[image], truth[image]).max(axis=1)
            wanted = min(self.POSITIVE, np.count_nonzero(overlap >= 0.5))
            assert np.count_nonzero(is_positive[image]) == wanted
            for box, of, positive, negative in zip(
                boxes[image], number[image], is_positive[image], is_negative[image], strict=True
            ):
                with_all = overlaps(box[None], truth[image])[0]
                if positive:
                    assert with_all[of] == with_all.max() >= 0.5
                if negative:
                    assert with_all.max() < 0.5
                    assert (box[2:] > box[:2]).all()
            chosen = boxes[image][is_positive[image] + is_negative[image] > 0]
            assert len(np.unique(chosen, axis=0)) == len(chosen)

    def test_no_nuclei_leave_negatives_alone(self) -> None:
        candidates = random_boxes(np.random.default_rng(0), self.CANDIDATES)[None]
        _, _, is_positive, is_negative = self.sample(candidates, self.truth(np.zeros((0, 4))))
        assert not is_positive.any()
        assert is_negative[:, self.POSITIVE :].all()

    def test_candidates_that_all_show_nuclei_leave_positives_alone(self) -> None:
        nuclei = np.array([[0, 0, 10, 10], [20, 20, 40, 35]], np.float32)
        candidates = np.tile(nuclei, (self.CANDIDATES // 2, 1))[None]
        boxes, number, is_positive, is_negative = self.sample(candidates, self.truth(nuclei))
        assert is_positive[:, : self.POSITIVE].all()
        assert not is_negative.any()
        np.testing.assert_array_equal(boxes[0, : self.POSITIVE], nuclei[number[0, : self.POSITIVE]])

    def test_candidates_without_area_are_passed_over(self) -> None:
        candidates = np.zeros((1, self.CANDIDATES, 4), np.float32)
        candidates[0, 3] = 5, 5, 15, 15
        nuclei = np.array([[5, 5, 15, 14]], np.float32)
        boxes, number, is_positive, is_negative = self.sample(candidates, self.truth(nuclei))
        assert is_positive.sum() == 1
        assert not is_negative.any()
        row = int(is_positive[0].argmax())
        np.testing.assert_array_equal(boxes[0, row], candidates[0, 3])
        assert number[0, row] == 0

    def test_the_highest_priorities_are_taken(self) -> None:
        nuclei = np.array([[0, 0, 10, 10]], np.float32)
        shifts = np.linspace(0, 1, self.CANDIDATES, dtype=np.float32)
        candidates = (nuclei + shifts[:, None])[None]
        priority = np.random.default_rng(3).permutation(self.CANDIDATES)[None] / self.CANDIDATES
        boxes, *_ = sample_regions(
            ops.convert_to_tensor(candidates),
            ops.convert_to_tensor(self.truth(nuclei)),
            ops.convert_to_tensor(priority.astype(np.float32)),
            self.POSITIVE,
            self.NEGATIVE,
        )
        expected = candidates[0, np.argsort(-priority[0])[: self.POSITIVE]]
        np.testing.assert_array_equal(numbers(boxes)[0, : self.POSITIVE], expected)


def test_masks_cover_their_boxes_grown_by_an_eighth_on_every_side() -> None:
    box = ops.convert_to_tensor(np.array([[8.0, 16.0, 16.0, 32.0]], np.float32))
    np.testing.assert_allclose(numbers(grown(box)), [[7, 14, 17, 34]])


class TestMaskTargets:
    def targets(self, labels: np.ndarray, boxes: np.ndarray, of: np.ndarray) -> np.ndarray:
        return numbers(
            mask_targets(
                ops.convert_to_tensor(labels),
                ops.convert_to_tensor(boxes.astype(np.float32)),
                ops.convert_to_tensor(of.astype(np.int32)),
                28,
            )
        )

    def test_are_the_nucleus_sampled_at_the_cells_centres(self) -> None:
        rng = np.random.default_rng(0)
        labels = np.kron(rng.integers(0, 5, (2, 8, 6)), np.ones((1, 6, 6))).astype(np.int32)
        boxes = np.stack([random_boxes(rng, 12, field=48, high=70) for _ in range(2)])
        of = rng.integers(0, 4, (2, 12))
        found = self.targets(labels, boxes, of)
        steps = (np.arange(28) + 0.5) / 28
        for image in range(2):
            for number, box in enumerate(boxes[image]):
                rows = box[0] + steps * (box[2] - box[0]) - 0.5
                columns = box[1] + steps * (box[3] - box[1]) - 0.5
                expected = map_coordinates(
                    (labels[image] == of[image, number] + 1).astype(np.float64),
                    np.meshgrid(rows, columns, indexing="ij"),
                    order=1,
                    mode="grid-constant",
                )
                np.testing.assert_allclose(found[image, number], expected, atol=1e-4)

    def test_one_cell_for_each_pixel_gives_the_pixels(self) -> None:
        labels = np.zeros((1, 40, 40), np.int32)
        labels[0, 5:20, 8:30] = 2
        found = self.targets(labels, np.array([[[3, 4, 31, 32]]]), np.array([[1]]))
        np.testing.assert_array_equal(found[0, 0], labels[0, 3:31, 4:32] == 2)

    def test_a_nucleus_that_is_not_there_gives_nothing(self) -> None:
        labels = np.ones((1, 32, 32), np.int32)
        boxes = np.array([[[0, 0, 32, 32], [-50, -50, -20, -20], [0, 0, 0, 0]]])
        found = self.targets(labels, boxes, np.array([[7, 0, 7]]))
        np.testing.assert_array_equal(found, 0)
