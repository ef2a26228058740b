"""Compensation of lateral bleed over contacts is the published one, sparse."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellseg_core.errors import ImageError
from cellseg_core.measure import measure
from cellseg_core.testing import CompensatorTests
from cellseg_postprocess.compensation import ContactCompensator, compensate, contact_matrix

quietly = pytest.mark.filterwarnings("ignore:the bleed between")


class TestContact(CompensatorTests):
    def make(self) -> ContactCompensator:
        return ContactCompensator()


def blocks(rows: int, columns: int, size: int = 5):
    """Return square cells side by side."""
    numbers = np.arange(1, rows * columns + 1).reshape(rows, columns)
    return np.kron(numbers, np.ones((size, size), np.int32))


def solved_densely(labels, means):
    """Return the published solution by dense least squares."""
    found = np.linalg.lstsq(contact_matrix(labels).toarray(), means, rcond=1e-10)[0]
    return np.maximum(found, 0)


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


@quietly
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    top=st.integers(1, 40),
    seed=st.integers(0, 9999),
)
@settings(max_examples=200, deadline=None)
def test_it_equals_dense_least_squares(shape, top, seed) -> None:
    rng = np.random.default_rng(seed)
    # Scattered pixels of few or many cells: as badly conditioned as it gets.
    labels = rng.integers(0, top + 1, shape)
    means = rng.gamma(2, 50, (int(labels.max()), 3))
    expected = solved_densely(labels, means)
    assert np.allclose(
        compensate(labels, means), expected, rtol=1e-6, atol=1e-7 * expected.max(initial=1)
    )


@given(seed=st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_it_is_linear_before_the_cut_at_0(seed) -> None:
    rng = np.random.default_rng(seed)
    labels = blocks(4, 5)
    # Of positive truths the means with bleed: nothing is cut.
    one, other = (contact_matrix(labels) @ rng.gamma(2, 50, (20, 2)) for _ in range(2))
    together = compensate(labels, 2 * one + 3 * other)
    apart = 2 * compensate(labels, one) + 3 * compensate(labels, other)
    assert np.allclose(together, apart, rtol=1e-9)


@quietly
@given(seed=st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_renumbering_and_the_order_of_channels_make_no_difference(seed) -> None:
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 9, (5, 6)), np.ones((3, 3), int))
    labels = np.searchsorted(np.unique([0, *labels.flat]), labels)
    count = int(labels.max())
    means = rng.gamma(2, 50, (count, 3))
    order, channels = rng.permutation(count), rng.permutation(3)
    shuffled = np.empty_like(means)
    shuffled[order] = means
    other = compensate(np.concatenate([[0], order + 1])[labels], shuffled[:, channels])
    assert np.allclose(other[order], compensate(labels, means)[:, channels], rtol=1e-9, atol=1e-9)


def test_the_unit_of_brightness_costs_no_digits() -> None:
    labels, means = blocks(4, 5), np.random.default_rng(0).gamma(2, 50, (20, 2))
    result = compensate(labels, means)
    for unit in (2.0**-40, 2.0**40):
        assert np.array_equal(compensate(labels, unit * means), unit * result)


def test_bleed_that_follows_the_model_is_taken_out_exactly() -> None:
    rng = np.random.default_rng(4)
    labels = blocks(10, 10)
    truth = rng.gamma(2, 50, (100, 3))
    assert np.allclose(compensate(labels, contact_matrix(labels) @ truth), truth, rtol=1e-9)


def test_what_lies_elsewhere_in_the_image_makes_no_difference() -> None:
    labels = np.pad(blocks(3, 3), 1)
    means = np.random.default_rng(0).gamma(2, 50, (9, 2))
    alone = compensate(labels, means)
    more = np.concatenate([labels, np.where(labels, labels + 9, 0)])
    beside = compensate(more, np.concatenate([means, 1e9 * means]))
    assert np.array_equal(beside[:9], alone)


def test_the_facts_say_how_well_the_system_is_solved() -> None:
    labels = blocks(20, 20)
    means = np.random.default_rng(0).gamma(2, 50, (400, 2))
    facts = ContactCompensator().compensate(labels, means).facts
    matrix = contact_matrix(labels).toarray()
    values = np.sort(np.linalg.eigvals(matrix).real)
    assert values[-1] / values[0] <= facts["condition_bound"] <= 1.5 * values[-1] / values[0]
    assert facts["residual"] < 1e-11
    assert 0 < facts["sweeps"] < 60
    assert facts["cells_solved_directly"] == facts["cells_without_unique_solution"] == 0


@pytest.mark.parametrize("size", [12, 40])
def test_many_cells_of_one_pixel_are_solved_directly_and_said_to_be_uncertain(size) -> None:
    labels = blocks(size, size, 1)
    means = np.random.default_rng(0).gamma(2, 50, (size * size, 2))
    with pytest.warns(UserWarning, match=f"the bleed between {size * size} cells"):
        done = ContactCompensator().compensate(labels, means)
    assert done.facts["condition_bound"] is None
    assert done.facts["cells_solved_directly"] == size * size
    assert done.facts["cells_without_unique_solution"] == 0
    assert np.allclose(done.means, solved_densely(labels, means), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("spare", [0, 700])
def test_where_there_is_no_unique_solution_the_smallest_is_taken(spare) -> None:
    # A ring of four pixels with one in each of its arms: contacts 4, one pixel of border each.
    labels = np.array([[1, 2], [3, 4]])
    matrix = contact_matrix(labels).toarray()
    assert np.linalg.matrix_rank(matrix) < 4
    if spare:
        # A long row of cells joins in: too many to be solved densely.
        tail = np.repeat(np.arange(5, 5 + spare), 3)
        row = np.zeros((2, 2 + tail.size), int)
        row[:, :2], row[0, 2:] = labels, tail
        labels = row
    means = np.random.default_rng(0).gamma(2, 50, (4 + spare, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = compensate(labels, means)
    assert np.allclose(ours, solved_densely(labels, means), rtol=1e-5, atol=1e-5)


def test_the_residual_is_what_no_solution_explains() -> None:
    # Bleed turns (1, -1, -1, 1) into nothing: that part of the means, 1 of 4, stays unexplained.
    labels, means = np.array([[1, 2], [3, 4]]), np.array([[4.0, 0], [0, 0], [0, 0], [0, 0]])
    with pytest.warns(UserWarning, match="no unique solution"):
        done = ContactCompensator().compensate(labels, means)
    assert done.facts["residual"] == pytest.approx(1 / 4)


def test_a_hard_group_of_very_many_cells_is_solved() -> None:
    # As a dense matrix it would take 4 GB.
    labels = blocks(150, 150, 1)
    truth = np.random.default_rng(0).gamma(2, 50, (150 * 150, 1))
    with pytest.warns(UserWarning, match="the bleed between 22500 cells is badly conditioned"):
        found = compensate(labels, contact_matrix(labels) @ truth)
    assert np.allclose(found, truth, rtol=1e-6, atol=1e-6)


def test_a_dark_channel_has_a_unique_solution_in_a_hard_group() -> None:
    labels = blocks(21, 21, 1)
    means = np.random.default_rng(0).gamma(2, 50, (441, 2))
    means[:, 0] = 0
    means[5, 0] = np.nan
    with pytest.warns(UserWarning, match="the bleed between 441 cells is badly conditioned"):
        done = ContactCompensator().compensate(labels, means)
    assert np.array_equal(done.means[:, 0], means[:, 0], equal_nan=True)
    assert done.facts["cells_without_unique_solution"] == 0


def test_hard_and_easy_groups_do_not_disturb_each_other() -> None:
    easy, hard = np.pad(blocks(3, 3), 1), np.array([[10, 11], [12, 13]])
    labels = np.zeros((19, 17), int)
    labels[:17], labels[17:, :2] = easy, hard
    means = np.random.default_rng(0).gamma(2, 50, (13, 2))
    with pytest.warns(UserWarning, match="the bleed between 4 cells has no unique solution"):
        done = ContactCompensator().compensate(labels, means)
    assert done.facts["cells_solved_directly"] == done.facts["cells_without_unique_solution"] == 4
    assert np.array_equal(done.means[:9], compensate(easy, means[:9]))


def test_a_cell_that_encloses_another_is_solved() -> None:
    labels = np.pad(np.ones((7, 7), int), 1)
    labels[4, 4] = 2
    means = np.array([[10.0], [30.0]])
    assert np.allclose(compensate(labels, means), solved_densely(labels, means), rtol=1e-9)


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 5])
@quietly
def test_a_cell_without_a_finite_mean_is_left_out_of_that_channel(missing, size) -> None:
    labels = blocks(3, 4, size)
    means = np.random.default_rng(0).gamma(2, 50, (12, 2))
    whole = compensate(labels, means)
    means[4, 0] = missing
    result = compensate(labels, means)
    assert np.isnan(result[4, 0])
    assert np.allclose(result[:, 1], whole[:, 1])
    rest = np.arange(12) != 4
    matrix = contact_matrix(labels).toarray()[rest][:, rest]
    expected = np.maximum(np.linalg.lstsq(matrix, means[rest, 0], rcond=1e-10)[0], 0)
    assert np.allclose(result[rest, 0], expected, rtol=1e-9, atol=1e-9)


def test_a_channel_without_any_mean_stays_without() -> None:
    means = np.array([[np.nan, 1.0], [np.nan, 2.0]])
    result = compensate(np.array([[1, 2]]), means)
    assert np.isnan(result[:, 0]).all()
    assert np.allclose(result[:, 1], [0, 2])


def test_ids_that_do_not_occur_keep_their_means() -> None:
    assert compensate(np.array([[1, 0, 4]]), np.array([[1.0], [2], [-3], [4]])).tolist() == [
        [1], [2], [0], [4],
    ]  # fmt: skip


def test_empty_images_are_taken() -> None:
    assert compensate(np.zeros((4, 4), int), np.zeros((0, 3))).shape == (0, 3)
    assert compensate(np.array([[1, 2]]), np.zeros((2, 0))).shape == (2, 0)


def test_means_that_do_not_fit_the_labels_are_refused() -> None:
    with pytest.raises(ImageError, match=r"each id from 1 to 2; the means have the shape \(3, 1\)"):
        compensate(np.array([[1, 2]]), np.ones((3, 1)))
    with pytest.raises(ImageError, match=r"the shape \(2,\)"):
        compensate(np.array([[1, 2]]), np.ones(2))
    with pytest.raises(ImageError, match="the type <U1"):
        compensate(np.array([[1, 2]]), np.array([["a"], ["b"]]))
    with pytest.raises(ImageError, match="label image"):
        compensate(np.array([[1.0, 2.0]]), np.ones((2, 1)))
    with pytest.raises(ImageError, match="negative"):
        compensate(np.array([[-1, 2]]), np.ones((2, 1)))
