"""Label images on disk: what is read of them is what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellseg_core import label_store
from cellseg_core.label_store import make_labels
from cellseg_core.regions import find_regions

SHAPE = (23, 31)
LABELS = np.random.default_rng(0).integers(0, 50, SHAPE).astype(np.int32)


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_store, "WINDOW", 10)
        file = tmp_path_factory.mktemp("labels") / "x.labels"
        labels, regions = make_labels(SHAPE, lambda box: LABELS[box.slices], file)
    return labels, regions


def parts(length: int) -> st.SearchStrategy[slice]:
    ends = st.none() | st.integers(-length - 3, length + 3)
    return st.builds(slice, ends, ends, st.none() | st.integers(1, length + 3))


@given(rows=parts(SHAPE[0]), columns=parts(SHAPE[1]))
def test_every_part_is_that_of_the_array(on_disk, rows: slice, columns: slice) -> None:
    labels, _ = on_disk
    part = labels[rows, columns]
    assert part.dtype == np.int32
    assert np.array_equal(part, LABELS[rows, columns])


def test_where_objects_are_is_known_once_it_is_made(on_disk) -> None:
    _, regions = on_disk
    expected = find_regions(LABELS)
    for column in ("ids", "areas", "centroids", "boxes", "first"):
        assert np.array_equal(getattr(regions, column), getattr(expected, column))


@pytest.mark.parametrize(
    "key", [slice(3), (5, 7), ..., (slice(2), 3), (slice(None, None, -1), slice(None))]
)
def test_what_else_arrays_take_is_refused(on_disk, key) -> None:
    with pytest.raises(IndexError, match="large label images are read"):
        on_disk[0][key]


def test_an_image_without_pixels_is_no_trouble(tmp_path: Path) -> None:
    labels, regions = make_labels((0, 5), lambda box: np.zeros(box.shape, np.int32), tmp_path / "x")
    assert labels[:, :].shape == (0, 5)
    assert regions.ids.size == 0
