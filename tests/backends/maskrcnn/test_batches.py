"""Training batches: the same again for the same seed, and everything in them fits together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest

from cellseg_backends.maskrcnn.anchors import anchors
from cellseg_backends.maskrcnn.augmentation import Augmentation
from cellseg_backends.maskrcnn.batches import Batches
from cellseg_backends.maskrcnn.dataset import TrainingImage

Discs = Callable[..., TrainingImage]
SIZE, ROOM = 64, 24


def batches(*images: TrainingImage, **options: Any) -> Batches:
    given: dict[str, Any] = {
        "diameter": 16.0,
        "size": SIZE,
        "batch_size": 2,
        "nuclei": ROOM,
        "jittered": 12,
        "proposals": 20,
    }
    return Batches(images=images, **(given | options))


def check(batch: dict[str, np.ndarray], rows: int = 2, size: int = SIZE, room: int = ROOM) -> None:
    """Check shapes and types, and that boxes, areas, labels and anchors tell of the same nuclei."""
    places = anchors(size, size)
    expected = {
        "image": ((rows, size, size, 1), np.float32),
        "labels": ((rows, size, size), np.int32),
        "boxes": ((rows, room, 4), np.float32),
        "areas": ((rows, room), np.float32),
        "match": ((rows, len(places)), np.int32),
        "jittered": ((rows, 12, 4), np.float32),
        "priority": ((rows, 32), np.float32),
    }
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == expected
    assert np.isfinite(batch["image"]).all()
    assert (batch["priority"] >= 0).all()
    assert (batch["priority"] < 1).all()
    for row in range(rows):
        labels, boxes, areas = (batch[name][row] for name in ("labels", "boxes", "areas"))
        count = np.count_nonzero(areas)
        assert labels.max(initial=0) == count
        assert not areas[count:].any()
        assert not boxes[count:].any()
        for number in range(count):
            y, x = np.nonzero(labels == number + 1)
            assert areas[number] == len(y) >= 12
            np.testing.assert_array_equal(
                boxes[number], [y.min(), x.min(), y.max() + 1, x.max() + 1]
            )
        match = batch["match"][row]
        assert match.min() >= -2
        assert match.max() < count
        jittered = batch["jittered"][row]
        assert (jittered >= 0).all()
        assert (jittered <= size).all()
        if not count:
            assert (match == -1).all()
            assert not jittered.any()
            continue
        assert (jittered[:, 2:] > jittered[:, :2]).all()
        overlap = overlaps(places, boxes[:count])
        for number in range(count):
            # The nucleus is the anchor's best, or the anchor is the nucleus' best.
            for anchor in np.flatnonzero(match == number):
                best = overlap[anchor].max()
                assert (
                    overlap[anchor, number] == best >= 0.5
                    or overlap[anchor, number] == overlap[:, number].max()
                )
        assert (overlap[match == -1].max(axis=1, initial=0) < 0.4).all()
        assert overlaps(jittered, boxes[:count]).max(axis=1).min() > 0.2


def overlaps(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    top = np.maximum(some[:, None, :2], others[None, :, :2])
    bottom = np.minimum(some[:, None, 2:], others[None, :, 2:])
    common = np.prod(np.maximum(bottom - top, 0), axis=-1)
    first = np.prod(some[:, 2:] - some[:, :2], axis=-1)
    second = np.prod(others[:, 2:] - others[:, :2], axis=-1)
    return (common / (first[:, None] + second[None] - common)).astype(np.float32)


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


class TestDeterminism:
    def test_a_batch_depends_on_images_seed_and_number_alone(self, discs: Discs) -> None:
        images = [discs(seed=1), discs(seed=2, side=40, count=4)]
        first, again = batches(*images, seed=7), batches(*images, seed=7)
        expected = [first.batch(number) for number in range(3)]
        for number in (2, 0, 1):
            assert same(again.batch(number), expected[number])

    def test_other_seeds_and_numbers_give_other_batches(self, discs: Discs) -> None:
        image = discs()
        one = batches(image, seed=7)
        assert not np.array_equal(one.batch(0)["image"], one.batch(1)["image"])
        other = batches(image, seed=8)
        assert not np.array_equal(one.batch(0)["image"], other.batch(0)["image"])

    def test_the_images_are_left_as_they_were(self, discs: Discs) -> None:
        image = discs()
        before = image.plane.copy(), image.labels.copy()
        for number in range(4):
            batches(image).batch(number)
        np.testing.assert_array_equal(image.plane, before[0])
        np.testing.assert_array_equal(image.labels, before[1])


class TestEverythingFits:
    @pytest.mark.parametrize("number", range(4))
    def test_for_ordinary_images(self, discs: Discs, number: int) -> None:
        check(batches(discs(), discs(seed=2, bright_field=True)).batch(number))

    def test_for_a_crowd_of_overlaid_nuclei(self, discs: Discs) -> None:
        crowd = Augmentation(crowd=1.0)
        check(batches(discs(count=16), augmentation=crowd).batch(0))

    def test_for_images_that_fill_a_quarter_of_a_crop(self, discs: Discs) -> None:
        batch = batches(discs(side=36, count=4)).batch(0)
        check(batch)
        assert np.all(batch["labels"].any(axis=(1, 2)))

    @pytest.mark.parametrize("side", [1, 2, 8])
    def test_for_tiny_images(self, side: int) -> None:
        image = TrainingImage(
            name="tiny",
            group="",
            plane=np.ones((side, side), np.float32),
            labels=np.ones((side, side), np.int32),
            diameter=max(2.0, float(side)),
            bright_field=False,
        )
        check(batches(image).batch(0))

    @pytest.mark.parametrize("shape", [(8, 200), (200, 8)])
    def test_for_strips(self, shape: tuple[int, int]) -> None:
        labels = np.zeros(shape, np.int32)
        labels[2:7, 2:7] = 5  # numbers have gaps
        image = TrainingImage(
            name="strip",
            group="",
            plane=(labels > 0).astype(np.float32),
            labels=labels,
            diameter=5.6,
            bright_field=False,
        )
        check(batches(image).batch(0))

    def test_for_images_without_nuclei(self, discs: Discs) -> None:
        for side in (20, 96):
            batch = batches(discs(count=0, side=side)).batch(0)
            check(batch)
            assert not batch["labels"].any()

    @pytest.mark.parametrize("value", [0.0, 1e4, -1e4, 1e20])
    def test_for_extreme_contrasts(self, discs: Discs, value: float) -> None:
        image = discs()
        plane = np.where(image.labels > 0, np.float32(value), np.float32(0))
        check(batches(attrs.evolve(image, plane=plane)).batch(1))

    @pytest.mark.parametrize("size", [32, 96])
    def test_for_other_sizes_of_crops(self, discs: Discs, size: int) -> None:
        check(batches(discs(), size=size, batch_size=1).batch(0), rows=1, size=size)


class TestMoreNucleiThanRoom:
    def test_a_random_part_is_kept_and_the_rest_is_undecided(self, discs: Discs) -> None:
        image = discs(side=128, count=100, diameter=10.0)
        still = Augmentation(scale=1.0, far_scale=1.0, zoom=1.0, rotate=0, crowd=0)
        options: dict[str, Any] = {
            "diameter": 10.0,
            "size": 96,
            "batch_size": 1,
            "augmentation": still,
        }
        whole = batches(image, nuclei=200, **options).batch(0)
        part = batches(image, nuclei=9, **options).batch(0)
        check(part, rows=1, size=96, room=9)
        assert np.count_nonzero(part["areas"]) == 9
        there = {tuple(box) for box in whole["boxes"][0]}
        assert {tuple(box) for box in part["boxes"][0]} <= there
        # No anchor became background, or decided, that was not so before.
        before, after = whole["match"][0], part["match"][0]
        np.testing.assert_array_equal(after == -1, before == -1)
        lost = (before >= 0) & (after == -2)
        assert lost.any()
        for anchor in np.flatnonzero(after >= 0):
            np.testing.assert_array_equal(
                part["boxes"][0, after[anchor]], whole["boxes"][0, before[anchor]]
            )


def test_series_of_images_weigh_by_the_root_of_their_number(discs: Discs) -> None:
    lone = discs(side=64, count=16, diameter=14.0, group="lone")
    series = [discs(side=64, count=0, diameter=14.0, group="series")] * 9
    crops = batches(lone, *series, size=32, batch_size=240, diameter=14.0).batch(0)
    share = np.mean(crops["labels"].any(axis=(1, 2)))
    # One to three, rather than one to nine; nearly every crop of the lone image shows nuclei.
    assert 0.17 < share < 0.33
