"""Compensation of lateral bleed is the published one, sparse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellseg_core.errors import ImageError
from cellseg_core.measure import measure
from cellseg_core.testing import CompensatorTests
from cellseg_postprocess.compensation import ContactCompensator, compensate, contact_matrix


class TestContact(CompensatorTests):
    def make(self) -> ContactCompensator:
        return ContactCompensator()


@pytest.mark.data
@pytest.mark.parametrize("name", ["C256", "A1024"])
def test_it_equals_the_original_program_s(data_dir: Path, name: str) -> None:
    given_ = np.load(data_dir / "oracle" / f"{name}_input.npz")
    published = np.load(data_dir / "oracle" / f"{name}_quant_none.npz")
    table = measure(np.moveaxis(given_["image"], -1, 0), given_["labels"])
    assert np.allclose(table.intensities, published["mean"], rtol=1e-9, atol=0)
    assert np.array_equal(table.areas, published["size"].ravel())
    ours = compensate(given_["labels"], table.intensities)
    assert np.allclose(ours, published["comp"], rtol=1e-6, atol=1e-6)


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    top=st.integers(1, 6),
    seed=st.integers(0, 999),
)
@settings(max_examples=100, deadline=None)
def test_the_matrix_counts_contacts_and_borders_as_defined(shape, top, seed) -> None:
    labels = np.random.default_rng(seed).integers(0, top + 1, shape)
    count = int(labels.max())
    contacts, border = np.zeros((count + 1, count + 1)), np.zeros(count + 1)
    for y, x in np.ndindex(shape):
        outside = False
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            if 0 <= y + dy < shape[0] and 0 <= x + dx < shape[1]:
                other = labels[y + dy, x + dx]
                outside |= other != labels[y, x]
                contacts[labels[y, x], other] += other != labels[y, x]
        border[labels[y, x]] += outside
    expected = np.eye(count) + contacts[1:, 1:] / (2 * np.maximum(border[1:, None], 1))
    assert np.allclose(contact_matrix(labels).toarray(), expected, rtol=1e-12)


def test_bleed_that_follows_the_model_is_taken_out_exactly() -> None:
    rng = np.random.default_rng(4)
    labels = np.kron(np.arange(1, 101).reshape(10, 10), np.ones((5, 5), int))
    truth = rng.gamma(2, 50, (100, 3))
    assert np.allclose(compensate(labels, contact_matrix(labels) @ truth), truth, rtol=1e-9)


def test_a_cell_without_a_mean_stays_without() -> None:
    means = np.array([[np.nan, 1.0], [4.0, 2.0]])
    result = compensate(np.array([[1, 2]]), means)
    assert np.isnan(result[0, 0])
    assert result[1, 0] == 4


def test_means_that_do_not_fit_the_labels_are_refused() -> None:
    with pytest.raises(ImageError, match=r"each id from 1 to 2; the means have the shape \(3, 1\)"):
        compensate(np.array([[1, 2]]), np.ones((3, 1)))
    with pytest.raises(ImageError, match="label image"):
        compensate(np.array([[1.0, 2.0]]), np.ones((2, 1)))
