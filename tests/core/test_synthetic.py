"""Simulated tissue: its truth is sound, its windows are the whole's, its effects are as stated."""

from __future__ import annotations

import pickle
import tracemalloc
from functools import cache

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cellseg_core.errors import CellsegError, ChannelError, ConfigurationError
from cellseg_core.synthetic import BLOCK, SimulatedTissue, Tissue, simulate_tissue
from cellseg_core.synthetic.light import GAIN, READ_NOISE, point_spread

PERFECT = {
    "blur": 0.0,
    "bleed": 0.0,
    "noise": 0.0,
    "illumination": 0.0,
    "background": 0.0,
    "debris": 0.0,
}
# More than one block in both directions, the last ones of odd size.
LARGE = Tissue(shape=(BLOCK + 133, BLOCK + 71), seed=4, channels=("DAPI", "CD3"))


@cache
def large_pixels() -> NDArray[np.uint16]:
    return LARGE.render()


@cache
def large_labels(kind: str) -> NDArray[np.int32]:
    return LARGE.labels(kind="nuclei" if kind == "nuclei" else "cells")


@cache
def default_tissue() -> SimulatedTissue:
    return simulate_tissue((420, 380), seed=7)


def means(labels: NDArray[np.int32], plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of a plane over each label 1..N."""
    count = np.bincount(labels.ravel())
    return (np.bincount(labels.ravel(), plane.ravel()) / count)[1:]


def touching(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the pairs (M, 2) of different labels that share a pixel edge."""
    pairs = [
        np.stack([a.ravel(), b.ravel()], axis=1)
        for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1]))
    ]
    both = np.sort(np.concatenate(pairs), axis=1)
    return np.unique(both[(both[:, 0] != both[:, 1]) & (both[:, 0] > 0)], axis=0)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_window_is_the_crop_of_the_whole(data: st.DataObject) -> None:
    height, width = LARGE.shape
    y0, x0 = data.draw(st.integers(0, height)), data.draw(st.integers(0, width))
    y1, x1 = data.draw(st.integers(y0, height)), data.draw(st.integers(x0, width))
    rows, columns = slice(y0, y1), slice(x0, x1)
    np.testing.assert_array_equal(
        LARGE.render(rows, columns), large_pixels()[:, rows, columns], strict=True
    )
    for kind in ("nuclei", "cells"):
        np.testing.assert_array_equal(
            LARGE.labels(rows, columns, kind=kind), large_labels(kind)[rows, columns], strict=True
        )


def test_slices_follow_the_rules_of_numpy() -> None:
    rows, columns = slice(-40, None), slice(10**6)
    np.testing.assert_array_equal(LARGE.render(rows, columns), large_pixels()[:, -40:])
    assert LARGE.render(slice(9, 3), slice(0, 5)).shape == (2, 0, 5)
    with pytest.raises(ConfigurationError, match="without a step"):
        LARGE.labels(slice(0, 10, 2))


def test_no_seam_shows_between_blocks() -> None:
    """A cell across the border of two blocks is one piece, lit alike on both sides."""
    tissue = attrs.evolve(LARGE, noise=0.0, debris=0.0)
    pixels = tissue.render()[0].astype(float)
    steps = np.abs(np.diff(pixels, axis=0)).mean(axis=1)
    assert steps[BLOCK - 1] < 1.5 * np.median(steps)
    cells = large_labels("cells")
    across = np.intersect1d(cells[BLOCK - 1], cells[BLOCK])
    assert len(across) > 10


@pytest.mark.parametrize(
    "tissue",
    [
        LARGE,
        Tissue(shape=(300, 300), seed=1, density=0.7, patchiness=0.0),
        Tissue(shape=(300, 300), seed=2, density=0.1, patchiness=1.0),
        Tissue(shape=(300, 300), seed=3, rim=0.0),
        Tissue(shape=(400, 400), seed=4, nuclear_diameter=40.0, rim=10.0),
        Tissue(
            shape=(200, 200),
            nuclear_diameter=5.0,
            size_variation=0.3,
            elongation=0.6,
            irregularity=0.08,
            density=0.7,
        ),
    ],
    ids=["default", "dense", "sparse", "no rim", "large", "extreme"],
)
def test_each_nucleus_is_one_piece_within_its_cell(tissue: Tissue) -> None:
    from skimage.measure import label

    nuclei, cells = tissue.labels(kind="nuclei"), tissue.labels(kind="cells")
    n = len(tissue.types)
    assert n > 10
    for labels in (nuclei, cells):
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(np.unique(labels), np.arange(n + 1))
        assert label(labels, connectivity=1, background=0).max() == n
    inside = nuclei > 0
    np.testing.assert_array_equal(cells[inside], nuclei[inside])


@pytest.mark.parametrize("seed", range(3))
def test_nuclei_reach_the_size_that_segmenters_keep(seed: int) -> None:
    tissue = Tissue(shape=(600, 600), seed=seed, density=0.65)
    areas = np.bincount(tissue.labels().ravel())[1:]
    assert areas.min() >= 20
    inner = np.median(areas)
    assert abs(inner / (np.pi / 4 * 12**2) - 1) < 0.15
    assert np.percentile(areas, 95) > 2.2 * np.percentile(areas, 5)


def test_ids_are_in_reading_order_of_the_centres() -> None:
    cells = LARGE.cells
    row, column = np.rint(cells.y).astype(int), np.rint(cells.x).astype(int)
    ids = np.arange(1, len(cells) + 1)
    np.testing.assert_array_equal(large_labels("nuclei")[row, column], ids)
    np.testing.assert_array_equal(np.lexsort((cells.x, row)), ids - 1)


@pytest.mark.parametrize("density", [0.05, 0.2, 0.5])
def test_nuclei_cover_the_share_that_was_asked_for(density: float) -> None:
    tissue = Tissue(shape=(900, 900), seed=11, density=density)
    assert np.mean(tissue.labels() > 0) == pytest.approx(density, rel=0.2)
    expected = density * 900 * 900 / (0.85 * 12**2)
    assert len(tissue.cells) == pytest.approx(expected, rel=0.2)


def test_density_varies_by_region_unless_patchiness_is_0() -> None:
    def variation(patchiness: float) -> float:
        labels = Tissue(shape=(800, 800), density=0.35, patchiness=patchiness).labels() > 0
        return float(labels.reshape(8, 100, 8, 100).mean(axis=(1, 3)).std())

    even, some, strong = variation(0.0), variation(0.4), variation(1.0)
    assert even < 0.08 < 0.1 < some < strong


def test_many_nuclei_touch_and_cells_of_different_types_touch() -> None:
    tissue = default_tissue()
    pairs = touching(tissue.nuclei)
    assert 0.4 < len(np.unique(pairs)) / len(tissue.types) < 0.95
    types = tissue.types[touching(tissue.cells) - 1]
    mixed = np.mean(types[:, 0] != types[:, 1])
    share = np.bincount(tissue.types) / len(tissue.types)
    at_random = 1 - np.sum(share**2)
    assert 0.3 < mixed < 0.95 * at_random


def test_means_over_true_cells_are_the_expression_when_every_effect_is_off() -> None:
    tissue = simulate_tissue((260, 300), seed=5, **PERFECT)
    for index in range(len(tissue.channels)):
        plane = np.asarray(tissue.image.pixels[index], float)
        measured = means(tissue.cells, plane)
        # Whole counts: each pixel is at most half a count off.
        np.testing.assert_allclose(measured, tissue.expression[:, index], atol=0.5, rtol=1e-5)
        assert not plane[tissue.cells == 0].any()


def test_nuclear_markers_shine_in_nuclei_only_and_membranes_at_the_border() -> None:
    tissue = simulate_tissue((260, 300), seed=5, texture=0.0, **PERFECT)
    dapi = np.asarray(tissue.image.pixels[0])
    assert not dapi[(tissue.cells > 0) & (tissue.nuclei == 0)].any()
    cd45 = np.asarray(tissue.image.pixels[tissue.image.index("CD45")], float)
    nuclear = means(tissue.nuclei, cd45)
    whole = means(tissue.cells, cd45)
    assert np.mean(nuclear[whole > 100] < whole[whole > 100]) > 0.95


def test_markers_of_cell_types_exclude_each_other() -> None:
    tissue = default_tissue()
    positive = {
        name: tissue.expression[:, index] > 200 for index, name in enumerate(tissue.channels)
    }
    for one, other in (("CD3", "CD20"), ("CD4", "CD8"), ("CD45", "PanCK"), ("CD68", "CD3")):
        assert positive[one].any()
        assert positive[other].any()
        assert not (positive[one] & positive[other]).any()
    np.testing.assert_array_equal(positive["CD3"], positive["CD4"] | positive["CD8"])
    assert 0.03 < positive["Ki67"].mean() < 0.4
    named = np.array(tissue.type_names)[tissue.types]
    np.testing.assert_array_equal(positive["CD20"], named == "B cell")


def test_brightness_of_nuclei_spans_a_tenfold_range() -> None:
    tissue = default_tissue()
    low, high = np.percentile(tissue.expression[:, 0], [0.5, 99.5])
    assert 6 < high / low < 30


def test_bleed_is_convolution_with_the_stated_point_spread() -> None:
    from scipy.ndimage import convolve1d

    shape = (BLOCK + 40, 90)
    channels = ("PanCK", "CD8")
    sharp = Tissue(shape=shape, seed=2, channels=channels, **PERFECT)
    bled = attrs.evolve(sharp, blur=0.8, bleed=0.3, bleed_sigma=2.5)
    # Cells that the slide's edge cuts shine beyond it too, so only the inside is comparable.
    ideal, seen = sharp.render().astype(float), bled.render().astype(float)
    for plane, image in zip(ideal, seen, strict=True):
        expected = np.zeros_like(plane)
        for weight, kernel in point_spread(0.8, 0.3, 2.5):
            rows = convolve1d(plane, kernel, axis=0, mode="constant")
            expected += weight * convolve1d(rows, kernel, axis=1, mode="constant")
        inside = (slice(12, -12), slice(12, -12))
        np.testing.assert_allclose(image[inside], expected[inside], atol=1.1)


def test_more_bleed_carries_more_light_into_negative_neighbours() -> None:
    def leaked(bleed: float) -> float:
        tissue = simulate_tissue((250, 250), seed=9, **(PERFECT | {"bleed": bleed}))
        index = tissue.channels.index("CD20")
        measured = means(tissue.cells, np.asarray(tissue.image.pixels[index], float))
        negative = tissue.expression[:, index] < 100
        return float(measured[negative].mean())

    none, some, much = leaked(0.0), leaked(0.2), leaked(0.4)
    assert none < 20
    assert much - none == pytest.approx(2 * (some - none), rel=0.1)


def test_noise_has_the_stated_variance() -> None:
    quiet = Tissue(shape=(300, 300), seed=3, channels=("DAPI",), noise=0.0, debris=0.0)
    noisy = attrs.evolve(quiet, noise=1.0)
    truth = quiet.render()[0].astype(float)
    bright = truth > 300
    spread = np.sqrt(GAIN * truth[bright] + READ_NOISE**2)
    standard = (noisy.render()[0][bright] - truth[bright]) / spread
    assert abs(standard.mean()) < 0.02
    assert standard.std() == pytest.approx(1, abs=0.02)


def test_illumination_and_background_stay_within_their_bounds() -> None:
    empty = Tissue(
        shape=(900, 900), density=0.0, debris=0.0, noise=0.0, background=1000.0, channels=("CD3",)
    )
    pixels = empty.render()[0] / 1000
    assert pixels.min() > 0.5 * 0.85 - 0.01
    assert pixels.max() < 1.5 * 1.15 + 0.01
    assert pixels.std() > 0.05


def test_debris_is_listed_and_no_truth() -> None:
    tissue = Tissue(
        shape=(400, 400), density=0.0, debris=100.0, channels=("DAPI",), noise=0.0, background=0.0
    )
    pixels = tissue.render()[0]
    assert len(tissue.specks) > 3
    for y, x, *_ in tissue.specks:
        assert pixels[round(y), round(x)] > 100
    assert not tissue.labels().any()
    assert attrs.evolve(tissue, debris=0.0).render().max() == 0


def test_same_seed_gives_the_same_bytes_and_another_seed_differs() -> None:
    first, again, other = (
        simulate_tissue((100, 120), seed=seed, channels=("DAPI",)) for seed in (3, 3, 4)
    )
    for name in ("nuclei", "cells", "types", "expression"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert first.image.read(0).tobytes() == again.image.read(0).tobytes()
    assert not np.array_equal(first.nuclei, other.nuclei)
    assert not np.array_equal(first.image.read(0), other.image.read(0))


def test_optics_leave_the_cells_as_they_are() -> None:
    plain = Tissue(shape=(150, 150), seed=6)
    changed = attrs.evolve(plain, blur=3.0, bleed=0.5, noise=0.0, debris=0.0, texture=0.0)
    np.testing.assert_array_equal(plain.labels(kind="cells"), changed.labels(kind="cells"))
    np.testing.assert_array_equal(plain.expression, changed.expression)


def test_a_channel_does_not_depend_on_the_others() -> None:
    both = Tissue(shape=(100, 100), channels=("PanCK", "DAPI"))
    alone = Tissue(shape=(100, 100), channels="DAPI")
    np.testing.assert_array_equal(both.render()[1:], alone.render())
    np.testing.assert_array_equal(both.expression[:, 1:], alone.expression)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 2), (7, 7), (40, 1), (BLOCK + 1, 2)])
def test_the_smallest_slides_work(shape: tuple[int, int]) -> None:
    tissue = simulate_tissue(shape, seed=1)
    assert tissue.image.shape == tissue.nuclei.shape == tissue.cells.shape == shape
    n = len(tissue.types)
    assert tissue.expression.shape == (n, len(tissue.channels))
    np.testing.assert_array_equal(np.unique(tissue.nuclei[tissue.nuclei > 0]), np.arange(1, n + 1))


def test_a_window_takes_no_more_memory_on_a_large_slide() -> None:
    def peak(tissue: Tissue) -> int:
        assert len(tissue.cells) > 0  # the table is the part that may grow
        centre = tissue.shape[0] // 2
        window = slice(centre - 100, centre + 100)
        tissue.render(slice(0, 1), slice(0, 1))
        tracemalloc.start()
        try:
            tissue.render(window, window)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small, large = (
        Tissue(shape=shape, density=0.2, channels=("DAPI", "CD3"))
        for shape in ((2 * BLOCK, 2 * BLOCK), (14 * BLOCK, 14 * BLOCK))
    )
    assert len(large.cells) > 40 * len(small.cells)
    assert peak(large) < 1.25 * peak(small)
    ids = np.unique(large.labels(slice(-100, None), slice(-200, None)))
    assert ids.max() > 0.98 * len(large.cells)


def test_a_tissue_travels_to_other_processes() -> None:
    tissue = Tissue(shape=(60, 60), seed=2, channels=("DAPI",))
    pixels = tissue.render()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tissue)).render(), pixels)  # noqa: S301


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"density": 0.9}, ConfigurationError, "density is .* from 0 to 0.7; got 0.9"),
        ({"bleed": -0.1}, ConfigurationError, "bleed is .* got -0.1"),
        ({"noise": float("nan")}, ConfigurationError, "noise is .* got nan"),
        ({"rim": "wide"}, ConfigurationError, "rim is .* got 'wide'"),
        ({"shape": (0, 5)}, ConfigurationError, r"shape is .* got \(0, 5\)"),
        ({"shape": 512}, ConfigurationError, "shape is .* got 512"),
        ({"seed": -1}, ConfigurationError, "seed is .* got -1"),
        ({"denisty": 0.3}, ConfigurationError, "did you mean 'density'"),
        ({"channels": ("DAPI", "CD9")}, ChannelError, "no channel 'CD9'"),
        ({"channels": ("DAPI", "DAPI")}, ChannelError, "each once"),
        ({"channels": ()}, ChannelError, "got none"),
    ],
)
def test_wrong_parameters_are_named_with_their_range(
    parameters: dict[str, object], error: type[CellsegError], message: str
) -> None:
    with pytest.raises(error, match=message):
        simulate_tissue(**parameters)


def test_a_wrong_kind_of_labels_is_named() -> None:
    with pytest.raises(ConfigurationError, match="'nuclei' or 'cells'; got 'membranes'"):
        Tissue(shape=(10, 10)).labels(kind="membranes")
