"""Contacts between cells are counted exactly, band by band."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellseg_core import contacts as module
from cellseg_core.contacts import count_contacts
from cellseg_core.errors import ImageError
from cellseg_core.normalize import row_bands

FIELDS = ("first", "second", "lengths", "borders", "areas")


class Lazy:
    """A label image that lies elsewhere, and counts how much of it is read."""

    def __init__(self, labels) -> None:
        self._labels, self.shape, self.dtype = labels, labels.shape, labels.dtype
        self.rows_read = 0

    def __getitem__(self, key):
        window = self._labels[key]
        self.rows_read += len(window)
        return window


def counted_plainly(labels):
    count = int(labels.max(initial=0))
    lengths = np.zeros((count + 1, count + 1), int)
    borders = np.zeros(count + 1, int)
    for y, x in np.ndindex(labels.shape):
        outside = 0
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            if 0 <= y + dy < labels.shape[0] and 0 <= x + dx < labels.shape[1]:
                other = labels[y + dy, x + dx]
                outside += other != labels[y, x]
                lengths[labels[y, x], other] += other != labels[y, x]
        borders[labels[y, x]] += outside > 0
    lengths[0] = lengths[:, 0] = 0
    first, second = np.nonzero(np.triu(lengths))
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    return first, second, lengths[first, second], borders[1:], areas[1:]


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    top=st.integers(1, 6),
    gaps=st.booleans(),
    band=st.integers(1, 200),
    seed=st.integers(0, 999),
)
@settings(max_examples=150, deadline=None)
def test_contacts_are_counted_as_defined_for_any_banding(shape, top, gaps, band, seed) -> None:
    labels = np.random.default_rng(seed).integers(0, top + 1, shape) * (3 if gaps else 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "bands_of", lambda labels: row_bands(labels.shape, band))
        contacts = count_contacts(labels)
    for name, expected in zip(FIELDS, counted_plainly(labels), strict=True):
        assert np.array_equal(getattr(contacts, name), expected), name


def test_the_table_of_pairs_grows() -> None:
    # One-pixel cells: as many pairs as there can be, too many to search them one by one.
    labels = np.random.default_rng(0).permutation(1000 * 800).reshape(1000, 800) + 1
    contacts = count_contacts(labels)
    assert len(contacts) == 999 * 800 + 1000 * 799
    assert (contacts.lengths == 1).all()
    assert (contacts.borders == 1).all()
    keys = contacts.first.astype(np.int64) << 32 | contacts.second
    assert (np.diff(keys) > 0).all()


def test_a_lazy_label_image_is_read_once(monkeypatch) -> None:
    labels = np.kron(np.arange(1, 101).reshape(10, 10), np.ones((5, 5), int)).astype(np.uint16)
    lazy = Lazy(labels)
    monkeypatch.setattr(module, "bands_of", lambda labels: row_bands(labels.shape, 500))
    for name in FIELDS:
        assert np.array_equal(
            getattr(count_contacts(lazy), name), getattr(count_contacts(labels), name)
        )
    assert lazy.rows_read == len(FIELDS) * 50


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "uint32", "int64", "uint64"])
def test_any_type_of_integers_is_taken(kind) -> None:
    contacts = count_contacts(np.array([[1, 2], [1, 200 if kind == "uint8" else 3]], kind))
    assert contacts.lengths.tolist() == [1, 1, 1]


def test_images_without_contacts_are_taken() -> None:
    for labels in (np.zeros((4, 4), int), np.zeros((0, 4), int), np.zeros((4, 0), int)):
        contacts = count_contacts(labels)
        assert len(contacts) == 0
        assert contacts.areas.size == 0
    one = count_contacts(np.ones((3, 3), int))
    assert (len(one), one.borders[0], one.areas[0]) == (0, 0, 9)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[1.0, 2.0]]), "holds integers; this one holds float64"),
        (np.array([[True, False]]), "holds True and False"),
        (np.array([[-1, 2]]), "negative values"),
        (np.zeros((2, 2, 2), int), "axes"),
        (np.array([[1, 20_000_000]]), r"is 20000000 in an image of 2 pixels. Renumber"),
        (np.array([[1, 2**40]]), "Renumber"),
        (np.array([[1, 2**64 - 1]], np.uint64), "Renumber"),
    ],
)
def test_labels_that_cannot_be_counted_are_refused(labels, message) -> None:
    with pytest.raises(ImageError, match=message):
        count_contacts(labels)
