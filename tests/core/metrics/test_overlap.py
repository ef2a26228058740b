"""Which objects share pixels: against a count pixel by pixel, and with odd label images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cellseg_core.errors import ImageError
from cellseg_core.metrics import Overlap

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=9)


@st.composite
def label_images(draw: Any, highest: int = 6, dtype: Any = np.int32) -> list[np.ndarray]:
    """Return two label images of one shape, of many objects that touch and lie in pieces."""
    shape = draw(SHAPES)
    labels = arrays(dtype, shape, elements=st.integers(0, highest))
    return [draw(labels), draw(labels)]


def found(overlap: Overlap) -> dict[tuple[int, int], int]:
    pairs = zip(
        overlap.true_ids[overlap.true_index].tolist(),
        overlap.pred_ids[overlap.pred_index].tolist(),
        strict=True,
    )
    return dict(zip(pairs, overlap.common.tolist(), strict=True))


def counted(truth: np.ndarray, pred: np.ndarray) -> dict[tuple[int, int], int]:
    pairs = Counter(zip(truth.ravel().tolist(), pred.ravel().tolist(), strict=True))
    return {pair: number for pair, number in sorted(pairs.items()) if all(pair)}


@settings(deadline=None)
@given(label_images())
def test_it_equals_a_count_pixel_by_pixel(images: list[np.ndarray]) -> None:
    overlap = Overlap.of(*images)
    assert list(found(overlap).items()) == list(counted(*images).items())
    for labels, ids, areas, centroids in (
        (images[0], overlap.true_ids, overlap.true_areas, overlap.true_centroids),
        (images[1], overlap.pred_ids, overlap.pred_areas, overlap.pred_centroids),
    ):
        assert ids.tolist() == [one for one in np.unique(labels) if one]
        assert areas.tolist() == [np.count_nonzero(labels == one) for one in ids]
        means = [np.argwhere(labels == one).mean(axis=0) for one in ids]
        assert np.allclose(centroids, np.reshape(means, (-1, 2)))


@settings(deadline=None)
@given(label_images())
def test_truth_and_prediction_change_roles(images: list[np.ndarray]) -> None:
    one, other = Overlap.of(*images), Overlap.of(*images[::-1])
    assert found(one) == {(a, b): common for (b, a), common in found(other).items()}
    assert sorted(one.iou) == sorted(other.iou)


@settings(deadline=None)
@given(label_images(), st.permutations(range(1, 7)), st.sampled_from([1, 2**20, 2**59]))
def test_ids_are_names_only(images: list[np.ndarray], names: list[int], factor: int) -> None:
    truth, pred = images
    renamed = (np.array([0, *names]) * factor)[truth]
    expected = {
        (names[one - 1] * factor, other): common
        for (one, other), common in found(Overlap.of(truth, pred)).items()
    }
    assert found(Overlap.of(renamed, pred)) == expected


@settings(deadline=None)
@given(label_images())
def test_at_one_half_no_object_is_in_two_matches(images: list[np.ndarray]) -> None:
    overlap = Overlap.of(*images)
    match = overlap.matched()
    assert len(set(overlap.true_index[match])) == len(set(overlap.pred_index[match])) == match.sum()


@pytest.mark.parametrize("dtype", ["u1", "i2", ">u2", "i4", ">i4", "u4", "i8", "u8"])
def test_every_integer_type_is_taken(dtype: str) -> None:
    labels = np.array([[0, 1, 1], [7, 7, 1]], dtype)
    assert found(Overlap.of(labels, labels.astype("i4"))) == {(1, 1): 3, (7, 7): 2}


def test_the_largest_ids_are_told_apart() -> None:
    truth = np.array([[2**62, 2**62 - 1, 2**62 + 1]])
    assert found(Overlap.of(truth, truth)) == dict.fromkeys(
        [(2**62 - 1,) * 2, (2**62,) * 2, (2**62 + 1,) * 2], 1
    )
    with pytest.raises(ImageError, match=r"truth: ids go up to 9\.2e18"):
        Overlap.of(np.array([[2**63]], np.uint64), np.array([[1]]))


def test_many_objects_in_a_row_fit_the_table() -> None:
    truth = np.arange(1, 30_001).reshape(2, -1)
    assert Overlap.of(truth, truth).common.tolist() == [1] * 30_000
    tall = truth.reshape(-1, 1)
    assert Overlap.of(tall, tall[::-1]).pred_index.tolist() == list(range(29_999, -1, -1))


def test_pairs_come_again_after_the_table_has_grown() -> None:
    # 15,000 objects, 3,000 in a row; each has a row above and a row below, with background between.
    rows = np.arange(1, 15_001).reshape(5, -1)
    truth = np.concatenate([rows, 0 * rows, rows])
    overlap = Overlap.of(truth, 7 * truth)
    assert overlap.pred_ids.tolist() == [7 * one for one in range(1, 15_001)]
    assert overlap.true_areas.tolist() == overlap.common.tolist() == [2] * 15_000


def test_objects_over_background_are_told_apart() -> None:
    truth = np.arange(1, 3_001).reshape(60, -1)
    for one in (Overlap.of(truth, 0 * truth), Overlap.of(0 * truth, truth)):
        assert one.iou.size == 0
        assert [*one.true_areas, *one.pred_areas] == [1] * 3_000
        assert [*one.true_ids, *one.pred_ids] == list(range(1, 3_001))


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (3, 4)])
def test_images_without_pixels_or_objects_have_no_pair(shape: tuple[int, int]) -> None:
    overlap = Overlap.of(np.zeros(shape, int), np.zeros(shape, np.uint8))
    assert overlap.shape == shape
    assert overlap.true_ids.size == overlap.pred_ids.size == overlap.iou.size == 0


def test_read_only_strided_and_lazy_label_images_are_taken(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 40, (60, 50)).astype(np.int32)
    np.save(tmp_path / "labels.npy", labels)
    stored = np.load(tmp_path / "labels.npy", mmap_mode="r")

    class Lazy:
        shape, dtype = labels.shape, labels.dtype

        def __getitem__(self, key: Any) -> np.ndarray:
            return labels[key]

    expected = counted(labels, labels)
    assert found(Overlap.of(stored, Lazy())) == expected
    assert found(Overlap.of(np.asfortranarray(labels), labels[::-1][::-1])) == expected


def test_bands_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from cellseg_core.metrics import overlap as module

    rng = np.random.default_rng(1)
    truth, pred = rng.integers(0, 20, (2, 50, 30))
    whole = Overlap.of(truth, pred)
    monkeypatch.setattr(module, "row_bands", lambda _: [slice(0, 7), slice(7, 43), slice(43, 50)])
    parts = Overlap.of(truth, pred)
    assert found(parts) == found(whole)
    assert np.array_equal(parts.true_centroids, whole.true_centroids)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.ones((3, 4)), "the label image 'b': a label image holds integers.*astype"),
        (np.ones((3, 4), bool), "True and False"),
        (np.ones((1, 3, 4), int), "axes"),
        (-np.ones((3, 4), int), r"negative values \(down to -1\)"),
        (np.ones((4, 3), int), r"^a and the .* 'b' must have one size.*got \(3, 4\) and \(4, 3\)"),
    ],
)
def test_what_is_no_label_image_is_refused(wrong: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Overlap.of(np.ones((3, 4), int), wrong, names=("a", "the label image 'b'"))


def test_the_wrong_image_of_two_is_named() -> None:
    with pytest.raises(ImageError, match=r"^a: a label image holds integers"):
        Overlap.of(np.ones((3, 4)), np.ones((3, 4), int), names=("a", "b"))
