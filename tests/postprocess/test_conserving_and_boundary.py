"""The compensators that conserve the signal move it back to where it came from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellseg_core.contacts import count_contacts
from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.image import Image
from cellseg_core.measure import measure
from cellseg_core.synthetic import simulate_tissue
from cellseg_core.testing import CompensatorTests
from cellseg_postprocess import boundary as module
from cellseg_postprocess.boundary import BoundaryCompensator, compensate_boundary
from cellseg_postprocess.conserving import (
    ConservingCompensator,
    compensate_conserving,
    scatter_matrix,
)


class TestConserving(CompensatorTests):
    def make(self) -> ConservingCompensator:
        return ConservingCompensator()


class TestBoundary(CompensatorTests):
    def make(self) -> BoundaryCompensator:
        return BoundaryCompensator()


def tissue(seed: int, size: int = 3):
    """Return a label image of touching cells in pieces, its image, means and areas."""
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 12, (rng.integers(1, 8), 7)), np.ones((size, size), int))
    labels = np.searchsorted(np.unique(np.append(labels, 0)), labels)
    image = Image(rng.gamma(0.3, 100, (3, *labels.shape)))
    count = int(labels.max())
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    means = np.stack(
        [np.bincount(labels.ravel(), p.ravel(), count + 1)[1:] / areas for p in image.pixels], 1
    )
    return labels, image, means, areas


def conserving(_image, labels, means):
    return compensate_conserving(labels, means)


either = pytest.mark.parametrize("method", [conserving, compensate_boundary])


@either
@given(seed=st.integers(0, 9999), size=st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_the_total_is_conserved_and_nothing_becomes_negative(method, seed, size) -> None:
    labels, image, means, areas = tissue(seed, size)
    result = method(image, labels, means)
    assert (result >= 0).all()
    assert np.allclose(areas @ result, areas @ means, rtol=1e-9, atol=0)


@either
def test_the_total_of_the_cells_with_a_mean_is_conserved(method) -> None:
    labels, image, means, areas = tissue(3, 4)
    means[[0, 4], 1] = np.nan, np.inf
    result = method(image, labels, means)
    known = np.isfinite(means)
    assert np.array_equal(np.isfinite(result), known)
    for k in range(3):
        cells = known[:, k]
        before, after = areas[cells] @ means[cells, k], areas[cells] @ result[cells, k]
        assert math.isclose(before, after, rel_tol=1e-9)


@either
def test_a_cell_without_a_mean_is_taken_for_background(method) -> None:
    labels, image, means, _ = tissue(3, 4)
    for cell in range(len(means) - 1):
        missing = means.copy()
        missing[cell, 1] = np.nan
        result = method(image, labels, missing)[:, 1]
        expected = method(image, np.where(labels == cell + 1, 0, labels), means)[:, 1]
        expected[cell] = np.nan
        assert np.allclose(result, expected, rtol=1e-9, equal_nan=True)


@either
@given(seed=st.integers(0, 9999))
@settings(max_examples=30, deadline=None)
def test_the_numbering_makes_no_difference(method, seed) -> None:
    labels, image, means, _ = tissue(seed)
    order = np.random.default_rng(seed).permutation(len(means))
    shuffled = np.empty_like(means)
    shuffled[order] = means
    other = method(image, np.append(0, order + 1)[labels], shuffled)
    assert np.allclose(other[order], method(image, labels, means), rtol=1e-9)


@either
def test_equal_means_stay_equal_in_an_even_image(method) -> None:
    labels = np.kron(np.arange(1, 31).reshape(5, 6), np.ones((6, 6), int))
    image = Image(np.full((1, *labels.shape), 7.0))
    inner = np.arange(1, 31).reshape(5, 6)[1:-1, 1:-1].ravel() - 1
    result = method(image, labels, np.full((30, 1), 7.0))
    assert np.allclose(result[inner], 7.0, rtol=0.03)


@either
def test_light_that_crossed_a_border_goes_back(method) -> None:
    from scipy.ndimage import gaussian_filter

    labels = np.kron(np.array([[1, 2], [3, 4]]), np.ones((15, 15), int))
    truth = np.array([0.0, 100.0, 0, 0, 50.0])
    blurred = gaussian_filter(truth[labels], 1.5, mode="nearest")
    means = measure(blurred[np.newaxis], labels).intensities
    result = method(Image(blurred[np.newaxis]), labels, means)
    before, after = (np.abs(x.ravel() - truth[1:]).sum() for x in (means, result))
    assert after < 0.6 * before


@either
def test_simulated_tissue_comes_nearer_to_the_truth(method) -> None:
    tissue = simulate_tissue((256, 256), seed=2, channels=("CD3", "CD20", "PanCK"))
    means = measure(tissue.image, tissue.cells).intensities - 120
    result = method(tissue.image, tissue.cells, means)
    before, after = (np.abs(x - tissue.expression).mean(axis=0) for x in (means, result))
    assert (after < 0.85 * before).all()


@either
def test_negative_means_count_as_nothing(method) -> None:
    labels, image, means, areas = tissue(1)
    means[0] = -5
    result = method(image, labels, means)
    assert (result >= 0).all()
    assert np.allclose(areas @ result, areas @ np.maximum(means, 0))


@either
def test_ids_that_do_not_occur_keep_their_means(method) -> None:
    labels = np.array([[1, 1, 0, 4, 4]])
    means = np.array([[1.0], [2], [-3], [4]])
    result = method(Image(np.ones((1, 1, 5))), labels, means)
    assert np.allclose(result, [[1], [2], [0], [4]])


@either
def test_means_that_do_not_fit_the_labels_are_refused(method) -> None:
    image = Image(np.ones((1, 1, 2)))
    with pytest.raises(ImageError, match=r"each id from 1 to 2; the means have the shape \(3, 1\)"):
        method(image, np.array([[1, 2]]), np.ones((3, 1)))
    with pytest.raises(ImageError, match="holds integers"):
        method(image, np.array([[1.0, 2.0]]), np.ones((2, 1)))


def test_light_scatters_as_far_as_stated() -> None:
    from scipy.ndimage import gaussian_filter

    # Two cells with a long straight border, drawn at 45 degrees: contacts overstate its length.
    y, x = np.mgrid[:160, :160]
    for labels, excess in ((np.where(x < 80, 1, 2), math.pi / 4), (np.where(x < y, 1, 2), 1.11)):
        light = gaussian_filter((labels == 1).astype(float), 2.0, mode="nearest")
        crossed = light[labels == 2].sum() / (labels == 1).sum()
        model = scatter_matrix(count_contacts(labels), 2.0).toarray()
        assert np.allclose(model.sum(axis=0), 1, rtol=1e-12)
        assert math.isclose(model[1, 0], excess * crossed, rel_tol=0.03)


def test_nothing_moves_without_spread_or_iterations() -> None:
    labels, _, means, _ = tissue(5)
    for options in ({"spread": 0}, {"iterations": 0}):
        assert np.allclose(compensate_conserving(labels, means, **options), means, rtol=1e-12)


def test_scattered_means_are_recovered_by_many_iterations() -> None:
    labels = np.kron(np.arange(1, 26).reshape(5, 5), np.ones((8, 8), int))
    truth = np.random.default_rng(0).gamma(2, 50, (25, 20))
    measured = scatter_matrix(count_contacts(labels), 2.5) @ truth
    found = compensate_conserving(labels, measured, spread=2.5, iterations=2000)
    assert np.allclose(found, truth, rtol=1e-6)


def test_the_weak_side_gives_back_the_difference_and_no_more_than_it_shows() -> None:
    labels = np.array([[1, 1, 1, 2, 2, 2]])
    for pixels, expected in (
        ([9, 9, 9, 6, 6, 6], [9 + 2, 6 - 2]),
        ([9, 9, 9, 2, 1, 6], [9 + 1, 3 - 1]),
    ):
        image = Image(np.array([[pixels]], float))
        means = measure(image, labels).intensities
        result = compensate_boundary(image, labels, means, width=2)
        assert np.allclose(result.ravel(), expected)


def test_three_px_beside_a_border_are_compared_unless_said_otherwise() -> None:
    labels = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 2, 2]])
    image, means = Image(np.where(labels == 1, 9.0, 1.0)[np.newaxis]), np.array([[9.0], [1.0]])
    # The weak side gives all that it shows there: 1 for each px.
    expected = [[9 + 3 / 5], [1 - 3 / 5]]
    assert np.allclose(compensate_boundary(image, labels, means), expected)
    done = BoundaryCompensator().compensate_image(image, labels, means)
    assert np.allclose(done.means, expected)
    assert dict(done.facts) == {"width_px": 3}


@pytest.mark.parametrize("flip", [False, True])
def test_pixels_below_zero_beside_a_border_move_nothing(flip) -> None:
    labels, pixels = np.array([[1, 1, 1, 2, 2, 2]]), np.array([[30.0, -5, -5, 8, 8, 8]])
    image = Image((pixels[:, ::-1] if flip else pixels)[np.newaxis])
    means = measure(image, labels).intensities
    assert np.array_equal(compensate_boundary(image, labels, means, width=2), means)


def test_light_beside_background_is_not_moved() -> None:
    labels = np.array([[0, 0, 0, 0], [1, 1, 2, 2], [1, 1, 2, 2], [0, 0, 0, 0]])
    image = Image(np.where(labels == 1, 10.0, 2.0)[np.newaxis])
    means = np.array([[10.0], [2.0]])
    # Each pixel is as near to background as to the other cell: half of it is beside the border;
    # the outer ones are beside background alone.
    result = compensate_boundary(image, labels, means, width=1)
    assert np.allclose(result.ravel(), [10 + 0.5, 2 - 0.5])


@given(seed=st.integers(0, 999), band=st.integers(1, 200), width=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_bands_and_passes_make_no_difference(seed, band, width) -> None:
    labels, image, means, _ = tissue(seed)
    whole = compensate_boundary(image, labels, means, width=width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BAND_PIXELS", band)
        patch.setattr(module, "_SUMS", 1)
        parts = compensate_boundary(image, labels, means, width=width)
    assert np.array_equal(whole, parts)


def test_pixels_that_are_not_finite_or_negative_do_no_harm() -> None:
    labels, image, means, areas = tissue(2, 4)
    pixels = np.array(image.pixels)
    pixels[0, ::3] = np.nan
    pixels[1, ::4] = -np.inf
    pixels[2, ::2] *= -1
    result = compensate_boundary(Image(pixels), labels, means)
    assert (result >= 0).all()
    assert np.allclose(areas @ result, areas @ means, rtol=1e-9)


def test_an_image_of_another_size_is_refused() -> None:
    labels, means = np.array([[1, 2]]), np.ones((2, 1))
    for shape in ((1, 2, 2), (2, 1, 2)):
        with pytest.raises(ImageError, match="They must be the same"):
            compensate_boundary(Image(np.ones(shape)), labels, means)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConservingCompensator(spread=-1), "spread of light is a number of px"),
        (lambda: ConservingCompensator(spread=math.nan), "spread of light is a number of px"),
        (lambda: ConservingCompensator(iterations=1.5), "whole number"),
        (lambda: ConservingCompensator(iterations=-1), "whole number"),
        (lambda: BoundaryCompensator(width=0), "whole number of px from 1"),
        (lambda: BoundaryCompensator(width=2.5), "whole number of px from 1"),
    ],
)
def test_options_out_of_range_are_refused(make, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_a_conserving_component_does_what_the_function_does() -> None:
    labels, _, means, _ = tissue(5)
    done = ConservingCompensator().compensate(labels, means)
    assert np.array_equal(done.means, compensate_conserving(labels, means))
    stated = compensate_conserving(labels, means, spread=1.5, iterations=10)
    assert np.array_equal(done.means, stated)
    assert dict(done.facts) == {"spread_px": 1.5, "iterations": 10}


def test_options_at_the_ends_of_their_ranges_are_taken() -> None:
    labels, image, means, areas = tissue(5)
    for spread, iterations in ((0, 10_000), (100, 0)):
        found = compensate_conserving(labels, means, spread=spread, iterations=iterations)
        assert np.allclose(found, means, rtol=1e-9)
    for width in (1, 100):
        found = compensate_boundary(image, labels, means, width=width)
        assert np.allclose(areas @ found, areas @ means, rtol=1e-9)
    for beyond in (
        lambda: BoundaryCompensator(width=101),
        lambda: ConservingCompensator(spread=100.5),
        lambda: ConservingCompensator(iterations=10_001),
    ):
        with pytest.raises(ConfigurationError):
            beyond()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, "a", None, -1])
def test_options_that_make_no_sense_are_refused(wrong) -> None:
    labels, means = np.array([[1, 2]]), np.ones((2, 1))
    with pytest.raises(ConfigurationError, match="spread"):
        compensate_conserving(labels, means, spread=wrong)
    with pytest.raises(ConfigurationError, match="iterations"):
        compensate_conserving(labels, means, iterations=wrong)
    with pytest.raises(ConfigurationError, match="width"):
        compensate_boundary(Image(np.ones((1, 1, 2))), labels, means, width=wrong)


def test_a_cell_with_very_many_neighbours_takes_no_longer_for_each() -> None:
    labels = np.ones((1200, 1200), np.int32)
    inner = np.arange(2, 2 + 120 * 120).reshape(120, 120)
    labels.reshape(120, 10, 120, 10)[:, 3:8, :, 3:8] = inner[:, None, :, None]
    image = Image(np.random.default_rng(0).random((1, 1200, 1200)))
    means = measure(image, labels).intensities
    result = compensate_boundary(image, labels, means)
    areas = np.bincount(labels.ravel())[1:]
    assert (result[:, 0] @ areas) == pytest.approx(means[:, 0] @ areas)
