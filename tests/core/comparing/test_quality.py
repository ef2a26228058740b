"""Quality without a truth falls when a true segmentation is damaged, each figure in its way."""

from __future__ import annotations

import json

import attrs
import numpy as np
import pytest

from cellseg_core.comparing.quality import FIGURES, Quality, foreground_level, measure_quality
from cellseg_core.contacts import count_contacts
from cellseg_core.errors import ImageError
from cellseg_core.normalize import Brightness
from cellseg_core.synthetic import simulate_tissue


@pytest.fixture(scope="module")
def tissue() -> tuple[np.ndarray, np.ndarray]:
    simulated = simulate_tissue((300, 320), seed=5, density=0.35, channels=("DAPI",))
    scale = Brightness.of(simulated.image, (0,))
    return simulated.nuclei, scale.scale(simulated.image.read(0), "DAPI")


def shifted(nuclei: np.ndarray) -> np.ndarray:
    return np.roll(nuclei, (2, 1), (0, 1))


def grown(nuclei: np.ndarray) -> np.ndarray:
    from skimage.segmentation import expand_labels

    return expand_labels(nuclei, 2)


def shrunk(nuclei: np.ndarray) -> np.ndarray:
    from scipy.ndimage import maximum_filter, minimum_filter

    for _ in range(2):
        inner = minimum_filter(nuclei, 3) == maximum_filter(nuclei, 3)
        nuclei = np.where(inner, nuclei, 0)
    return nuclei


def merged(nuclei: np.ndarray) -> np.ndarray:
    to, joined = np.arange(nuclei.max() + 1), set()
    contacts = count_contacts(nuclei)
    for one, other in zip(contacts.first, contacts.second, strict=True):
        if one not in joined and other not in joined:
            to[other] = one
            joined |= {one, other}
    assert len(joined) > 20
    return to[nuclei]


def split(nuclei: np.ndarray) -> np.ndarray:
    _, x = np.indices(nuclei.shape)
    count = np.bincount(nuclei.ravel())
    middle = np.bincount(nuclei.ravel(), weights=x.ravel()) / count
    right = (x > middle[nuclei]) & (nuclei > 0)
    return np.where(right, nuclei + nuclei.max(), nuclei)


def fewer(nuclei: np.ndarray) -> np.ndarray:
    gone = np.random.default_rng(0).random(nuclei.max() + 1) < 0.3
    return np.where(gone[nuclei], 0, nuclei)


def more(nuclei: np.ndarray) -> np.ndarray:
    y, x = np.indices((9, 9)) - 4
    disc = y**2 + x**2 <= 16
    found = nuclei.copy()
    for top in range(0, nuclei.shape[0] - 9, 6):
        for left in range(0, nuclei.shape[1] - 9, 6):
            place = found[top : top + 9, left : left + 9]
            if not place.any():
                place[disc] = found.max() + 1
    assert found.max() > 1.2 * nuclei.max()
    return found


DAMAGES = {
    shifted: ("explained", "uniformity", "contrast", "alignment", "captured"),
    grown: ("explained", "uniformity", "alignment"),
    shrunk: ("explained", "contrast", "alignment", "captured"),
    merged: ("explained",),
    split: ("alignment",),
    fewer: ("explained", "captured"),
    more: ("contrast", "contrast_lower", "alignment"),
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_figure_falls_under_the_damage_that_it_is_for(tissue, damage) -> None:
    nuclei, plane = tissue
    good = measure_quality(nuclei, plane)
    bad = measure_quality(damage(nuclei), plane)
    for name in DAMAGES[damage]:
        before, after = getattr(good, name), getattr(bad, name)
        assert after < before - 0.01, f"{name}: {before:.3f}, damaged {after:.3f}"


def test_each_figure_is_tested_described_and_in_its_range(tissue) -> None:
    names = {figure.name for figure in FIGURES}
    fields = {field.name for field in attrs.fields(Quality)}
    assert names == fields - {"nuclei", "measured"}
    tested = {name for falling in DAMAGES.values() for name in falling}
    assert tested >= names - {"coverage", "contrast_upper"}
    nuclei, plane = tissue
    for labels in (nuclei, shifted(nuclei), grown(nuclei), more(nuclei)):
        quality = measure_quality(labels, plane)
        for figure in FIGURES:
            assert figure.low <= getattr(quality, figure.name) <= figure.high
    json.dumps([quality.facts(), *(figure.facts() for figure in FIGURES)], allow_nan=False)


def test_hand_worked_figures() -> None:
    plane = np.full((20, 20), 0.1, np.float32)
    plane[8:12, 8:12] = 0.5
    nuclei = (plane > 0.2).astype(int)
    nuclei[8:12, 12:14] = 1  # half as much again, of background
    quality = measure_quality(nuclei, plane)
    mean, spread = (16 * 0.5 + 8 * 0.1) / 24, np.sqrt((16 * 0.25 + 8 * 0.01) / 24 - (8.8 / 24) ** 2)
    assert quality.uniformity == pytest.approx(mean / (mean + spread))
    assert quality.contrast == pytest.approx((mean - 0.1) / (mean + 0.1))
    total = plane.astype(float).var() * 400
    assert quality.explained == pytest.approx(1 - 24 * spread**2 / total)
    assert (quality.captured, quality.coverage) == (1, pytest.approx(24 / 400))
    # A step of 0.4 has the Sobel slope 0.2 on both sides of it, and none elsewhere; a straight
    # outline that stands two px off has it beside, and not on.
    stripe = np.zeros((1, 30), np.float32)
    stripe[:, 10:20] = 0.4
    exact = measure_quality((stripe > 0).astype(int), stripe)
    assert exact.alignment == 1
    wide = np.zeros((1, 30), int)
    wide[:, 8:22] = 1
    assert measure_quality(wide, stripe).alignment == -1


def test_a_neighbour_does_not_count_as_surroundings() -> None:
    plane = np.zeros((9, 30), np.float32)
    plane[2:7, 2:12] = 0.3
    plane[2:7, 12:22] = 0.9
    nuclei = np.zeros((9, 30), int)
    nuclei[2:7, 2:12], nuclei[2:7, 12:22] = 4, 9
    quality = measure_quality(nuclei, plane)
    assert (quality.contrast_lower, quality.contrast_upper) == (1, 1)
    assert quality.measured == quality.nuclei == 2


def test_what_cannot_be_known_is_none() -> None:
    plane = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    none = np.zeros((20, 30), int)
    without = measure_quality(none, plane)
    assert (without.nuclei, without.coverage, without.explained, without.captured) == (0, 0, 0, 0)
    for name in ("uniformity", "contrast", "contrast_lower", "contrast_upper", "alignment"):
        assert getattr(without, name) is None
    # No background anywhere, and so no ring and no outline.
    full = measure_quality(none + 1, plane)
    assert (full.measured, full.contrast, full.alignment) == (0, None, None)
    assert full.explained == pytest.approx(0, abs=1e-9)
    # A dark plane, and one of a single value.
    some = none.copy()
    some[5:9, 5:9] = 1
    for value in (0.0, 0.3):
        flat = measure_quality(some, np.full((20, 30), value, np.float32))
        assert (flat.explained, flat.captured, flat.alignment) == (None, None, None)
    assert flat.contrast == pytest.approx(0)
    assert measure_quality(some, 0 * plane).contrast is None
    nothing = measure_quality(np.zeros((0, 4), int), np.zeros((0, 4), np.float32))
    assert nothing.coverage == 0
    for quality in (without, full, flat, nothing):
        json.dumps(quality.facts(), allow_nan=False)


def test_ids_and_types_do_not_matter(tissue) -> None:
    nuclei, plane = tissue
    expected = measure_quality(nuclei, plane)
    ids = np.random.default_rng(0).permutation(nuclei.max()) * 1_000_003 + 5
    other = np.r_[0, ids][nuclei]
    for labels in (other, other.astype(np.uint64), np.asfortranarray(nuclei)):
        for name, value in measure_quality(labels, plane[:, ::-1][:, ::-1]).facts().items():
            # Sums come in another order.
            assert value == pytest.approx(expected.facts()[name], rel=1e-9), name


def test_the_foreground_of_two_levels_is_the_brighter_one() -> None:
    plane = np.where(np.arange(100).reshape(10, 10) < 30, 0.4, 0.05).astype(np.float32)
    level = foreground_level(plane)
    assert level is not None
    assert 0.05 < level < 0.4
    assert foreground_level(0 * plane) is None


def test_the_mean_over_images_leaves_out_what_is_not_known() -> None:
    plane = np.zeros((12, 12), np.float32)
    plane[3:8, 4:9] = 0.5
    one = measure_quality((plane > 0).astype(int), plane)
    none = measure_quality(np.zeros((12, 12), int), plane)
    means = Quality.mean([one, none])
    assert (means["contrast"], means["captured"]) == (1, 0.5)
    assert set(Quality.mean([]).values()) == {None}


@pytest.mark.parametrize(
    ("nuclei", "plane", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2)), "must have one size"),
        (np.zeros((2, 3)), np.zeros((2, 3)), "integers"),
        (np.zeros((2, 3), int), np.full((2, 3), 7.0), "from 0 to 1.*Scale it"),
        (np.zeros((2, 3), int), np.full((2, 3), np.nan), "without NaN"),
        (np.full((2, 3), -1), np.zeros((2, 3)), "negative"),
    ],
)
def test_bad_input_is_refused(nuclei, plane, message) -> None:
    with pytest.raises(ImageError, match=message):
        measure_quality(nuclei, plane)
