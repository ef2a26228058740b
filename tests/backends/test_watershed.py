"""The classical segmenter: its rules, its locality, and its accuracy on real images."""

from __future__ import annotations

import csv
import tracemalloc

import attrs
import numpy as np
import pytest

from cellseg_backends.watershed import WatershedSegmenter
from cellseg_core.errors import ConfigurationError, SegmentationError
from cellseg_core.testing import SegmenterTests

DIAMETER = 12.0


class TestWatershedKeepsTheRules(SegmenterTests):
    tile_agreement = 0.999

    def make(self) -> WatershedSegmenter:
        return WatershedSegmenter()


def tissue(side: int, nuclei: int, seed: int = 0) -> np.ndarray:
    """Return a plane of touching blurred ellipses of about 12 px, with noise, in [0, 1]."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    step = side / np.sqrt(nuclei)
    along = np.arange(step / 2, side, step)
    plane = np.zeros((side, side), np.float32)
    for y, x in np.stack(np.meshgrid(along, along), -1).reshape(-1, 2):
        y, x = np.array((y, x)) + rng.uniform(-0.35, 0.35, 2) * step
        long, wide = DIAMETER / 2 * rng.uniform((0.8, 0.7), (1.35, 1.0))
        turn = rng.uniform(0, np.pi)
        top, left = max(0, int(y) - 10), max(0, int(x) - 10)
        part = plane[top : int(y) + 11, left : int(x) + 11]
        rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
        rows, columns = rows + top - y, columns + left - x
        u = rows * np.cos(turn) + columns * np.sin(turn)
        v = columns * np.cos(turn) - rows * np.sin(turn)
        inside = (u / long) ** 2 + (v / wide) ** 2 <= 1
        part[inside] = np.maximum(part[inside], rng.uniform(0.25, 0.9))
    plane = gaussian_filter(plane, 1.0) + rng.normal(0.06, 0.03, plane.shape)
    return np.clip(plane, 0, 1).astype(np.float32)


def compare_windows(
    plane: np.ndarray, diameter: float, *, windows: int, core: int, seed: int = 0
) -> tuple[int, int]:
    """Return how many objects of random windows were compared with the whole, and how many differ.

    Objects whose centre lies in the core count; the window ends where the image ends.
    """
    from scipy import ndimage

    segmenter = WatershedSegmenter().adapt(plane[np.newaxis, ::2, ::2], diameter)
    whole = segmenter.segment(plane[np.newaxis]).labels
    boxes = ndimage.find_objects(whole)
    centres = np.array(ndimage.center_of_mass(whole > 0, whole, range(1, len(boxes) + 1)))
    rng = np.random.default_rng(seed)
    compared = differ = 0
    for _ in range(windows):
        start = np.array([rng.integers(0, n - core + 1) for n in plane.shape])
        low = np.maximum(start - segmenter.halo, 0)
        high = np.minimum(start + core + segmenter.halo, plane.shape)
        part = segmenter.segment(plane[np.newaxis, low[0] : high[0], low[1] : high[1]]).labels
        inside = ((centres >= start) & (centres < start + core)).all(axis=1)
        for index in np.flatnonzero(inside):
            box = boxes[index]
            if max(side.stop - side.start for side in box) > 3 * diameter:
                continue
            there = np.zeros(plane.shape, bool)
            there[box] = whole[box] == index + 1
            seen = there[low[0] : high[0], low[1] : high[1]]
            label = part[seen][0]
            compared += 1
            differ += bool(
                seen.sum() != there.sum() or label == 0 or not np.array_equal(part == label, seen)
            )
    return compared, differ


@pytest.mark.slow
def test_a_nucleus_is_the_same_in_any_window_of_a_dense_tissue() -> None:
    compared, differ = compare_windows(tissue(1500, 12500), DIAMETER, windows=70, core=200)
    assert compared >= 10_000
    assert differ <= compared / 1000


@pytest.mark.data
def test_a_nucleus_is_the_same_in_any_window_of_a_codex_image(data_dir) -> None:
    import tifffile

    plane = tifffile.imread(data_dir / "codex_lymph_node" / "image.tif")[0].astype(np.float32)
    plane = np.clip(plane / np.percentile(plane, 99.98), 0, 1)
    compared, differ = compare_windows(plane, 8.0, windows=40, core=110)
    assert compared >= 4000
    assert differ <= compared / 1000


@pytest.mark.data
@pytest.mark.slow
def test_a_nucleus_is_the_same_in_any_window_of_cultures_and_stained_tissue(data_dir) -> None:
    compared = differ = 0
    for number, (_, plane, truth) in enumerate(real_images(data_dir, 20)):
        core = min(plane.shape) // 6
        pair = compare_windows(plane, diameter_of(truth), windows=30, core=core, seed=number)
        compared, differ = compared + pair[0], differ + pair[1]
    assert compared >= 1000
    assert differ <= compared / 1000


def test_the_halo_is_moderate_and_grows_with_the_nuclei() -> None:
    tile = np.zeros((1, 8, 8), np.float32)
    assert WatershedSegmenter().adapt(tile, 12.0).halo < 64
    assert WatershedSegmenter().adapt(tile, 24.0).halo > 64


def test_parts_touching_nuclei_and_numbers_them_in_raster_order() -> None:
    y, x = np.mgrid[:40, :80]
    plane = np.full((40, 80), 0.05, np.float32)
    plane[(y - 20) ** 2 + (x - 25) ** 2 < 49] = 0.7
    plane[(y - 20) ** 2 + (x - 38) ** 2 < 49] = 0.6
    plane[(y - 10) ** 2 + (x - 65) ** 2 < 49] = 0.8
    found = WatershedSegmenter().adapt(plane[np.newaxis], 14.0).segment(plane[np.newaxis])
    assert found.labels.dtype == np.int32
    assert [found.labels[10, 65], found.labels[20, 25], found.labels[20, 38]] == [1, 2, 3]
    assert found.labels.max() == 3


def test_bright_field_gives_the_same_nuclei_as_its_negative() -> None:
    plane = tissue(256, 120)
    bright = np.float32(1) - plane
    options = {"min_contrast": 0.2}
    as_fluorescence = WatershedSegmenter(polarity="fluorescence", **options)
    as_bright_field = WatershedSegmenter(polarity="bright-field", **options)
    told = WatershedSegmenter(**options)
    expected = as_fluorescence.adapt(plane[np.newaxis], DIAMETER).segment(plane[np.newaxis])
    for segmenter in (as_bright_field, told):
        found = segmenter.adapt(bright[np.newaxis], DIAMETER).segment(bright[np.newaxis])
        assert abs(int(found.labels.max()) - int(expected.labels.max())) <= 3
        assert np.mean((found.labels > 0) == (expected.labels > 0)) > 0.98


def test_a_dim_image_gives_the_same_nuclei_with_the_same_scores() -> None:
    plane = tissue(200, 80)
    found, dim = (
        WatershedSegmenter().adapt(p, DIAMETER).segment(p)
        for p in (plane[np.newaxis], plane[np.newaxis] / 32)
    )
    assert dim.labels.max() == pytest.approx(found.labels.max(), abs=1)
    assert np.median(dim.scores) == pytest.approx(np.median(found.scores), abs=0.02)


def test_faint_objects_score_lower() -> None:
    plane = np.zeros((1, 40, 300), np.float32)
    for i, height in enumerate((0.9, 0.9, 0.9, 0.9, 0.4)):
        plane[0, 14:26, 24 + 50 * i : 36 + 50 * i] = height
    scores = WatershedSegmenter().adapt(plane, DIAMETER).segment(plane).scores
    assert scores[0] > 0.9
    assert 0.3 < scores[-1] < 0.6


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (50, 3), (64, 64)])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_tiles_have_no_objects(shape: tuple[int, int], value: float) -> None:
    tile = np.full((1, *shape), value, np.float32)
    nuclei = tissue(128, 30)[np.newaxis]
    for sample in (tile, nuclei):
        found = WatershedSegmenter().adapt(sample, DIAMETER).segment(tile)
        assert found.labels.shape == shape
        if value == 0.0 or sample is tile:
            assert not found.labels.any()
            assert len(found.scores) == 0


def test_noise_alone_has_no_objects() -> None:
    noise = np.random.default_rng(0).normal(0.3, 0.05, (1, 400, 400)).astype(np.float32)
    found = WatershedSegmenter().adapt(noise[:, ::2, ::2], DIAMETER).segment(noise)
    assert found.labels.max() == 0


def test_small_objects_are_left_out() -> None:
    plane = np.zeros((1, 60, 60), np.float32)
    plane[0, 10:22, 10:22] = 0.8
    plane[0, 40:43, 40:43] = 0.8
    found = WatershedSegmenter().adapt(plane, DIAMETER).segment(plane)
    assert found.labels.max() == 1
    kept = WatershedSegmenter(min_area=0.01).adapt(plane, DIAMETER).segment(plane)
    assert kept.labels.max() == 2


def test_says_that_it_must_be_adapted_first() -> None:
    with pytest.raises(SegmentationError, match=r"adapt\(sample, diameter\)"):
        WatershedSegmenter().segment(np.zeros((1, 4, 4), np.float32))


@pytest.mark.parametrize(
    "options",
    [{"polarity": "dark"}, {"threshold": 1.5}, {"split": -0.1}, {"min_area": "x"}],
    ids=str,
)
def test_options_out_of_range_are_named(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=f"watershed.{next(iter(options))} is"):
        WatershedSegmenter(**options)


@pytest.mark.parametrize("diameter", [0.0, -3.0, float("nan")])
def test_a_diameter_that_makes_no_sense_is_refused(diameter: float) -> None:
    with pytest.raises(ConfigurationError, match="nuclear diameter"):
        WatershedSegmenter().adapt(np.zeros((1, 4, 4), np.float32), diameter)


def test_adapting_leaves_the_original_alone() -> None:
    segmenter = WatershedSegmenter(split=0.1)
    adapted = segmenter.adapt(np.zeros((1, 4, 4), np.float32), 20.0)
    assert adapted is not segmenter
    assert adapted.split == 0.1
    assert segmenter.halo != adapted.halo
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        adapted.split = 0.2


def test_memory_stays_under_250_bytes_a_pixel() -> None:
    plane = tissue(512, 400)[np.newaxis]
    segmenter = WatershedSegmenter().adapt(plane, DIAMETER)
    segmenter.segment(plane)
    tracemalloc.start()
    try:
        segmenter.segment(plane)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 250 * plane.size


def real_images(data_dir, every: int):
    """Yield (modality, plane in [0, 1], true labels) of training images with fixed steps."""
    from PIL import Image

    folder = data_dir / "dsb2018"
    with (folder / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    for modality in ("fluorescence", "purple-on-white"):
        chosen = [row for row in rows if row["modality"] == modality]
        for row in chosen[:: every if modality == "fluorescence" else every // 5]:
            plane = np.asarray(Image.open(folder / "images" / f"{row['id']}.png"), np.float32)
            plane = plane if plane.ndim == 2 else plane[..., :3].mean(axis=2)
            truth = np.asarray(Image.open(folder / "masks" / f"{row['id']}.png"), np.int32)
            yield modality, np.clip(plane / np.percentile(plane, 99.98), 0, 1), truth


def diameter_of(labels: np.ndarray) -> float:
    areas = np.bincount(labels.ravel())[1:]
    return float(2 * np.sqrt(np.median(areas[areas > 0]) / np.pi))


@pytest.mark.data
@pytest.mark.slow
def test_is_accurate_on_cultures_and_usable_on_stained_tissue(data_dir) -> None:
    from cellseg_core.metrics import average_precision

    scores: dict[str, list[float]] = {}
    for modality, plane, truth in real_images(data_dir, 10):
        segmenter = WatershedSegmenter().adapt(plane[np.newaxis], diameter_of(truth))
        found = segmenter.segment(plane[np.newaxis]).labels
        score = float(np.ravel(average_precision(truth, found, [0.5]))[0])
        scores.setdefault(modality, []).append(score)
    assert np.mean(scores["fluorescence"]) > 0.75
    assert np.mean(scores["purple-on-white"]) > 0.45
