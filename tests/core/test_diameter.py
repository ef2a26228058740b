"""The estimate of the nuclear diameter, on simulated discs and on real images."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from cellseg_core.diameter import estimate_diameter, is_bright_field


def discs(diameter: float, spacing: float, side: int = 400, seed: int = 0) -> np.ndarray:
    """Return blurred discs on a jittered grid, dark background, as float32 in [0, 1]."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    step = spacing * diameter
    y, x = np.mgrid[:side, :side].astype(np.float32)
    row, column = np.round(y / step), np.round(x / step)
    shift = rng.uniform(-0.1, 0.1, (2, int(row.max()) + 1, int(column.max()) + 1)) * diameter
    at = row.astype(int), column.astype(int)
    inside = np.hypot(y - row * step - shift[0][at], x - column * step - shift[1][at])
    height = rng.uniform(0.4, 0.9, shift[0].shape)[at]
    plane = np.where(inside < diameter / 2, height, 0.05)
    return gaussian_filter(plane, diameter / 20).astype(np.float32)


@pytest.mark.parametrize("diameter", [6, 10, 17, 30, 60, 100])
@pytest.mark.parametrize("spacing", [1.3, 2.5])
def test_finds_the_diameter_of_discs_within_a_third(diameter: float, spacing: float) -> None:
    found = estimate_diameter(discs(diameter, spacing, side=max(300, 6 * diameter)))
    assert found is not None
    assert 0.75 < found / diameter < 1.35


@pytest.mark.parametrize("change", ["noise", "dim", "bright field"])
def test_noise_dimness_and_polarity_change_little(change: str) -> None:
    plane = discs(14, 1.6)
    changed = {
        "noise": lambda: plane + np.random.default_rng(1).normal(0, 0.1, plane.shape),
        "dim": lambda: plane / 50,
        "bright field": lambda: 0.95 - 0.7 * plane,
    }[change]()
    found = estimate_diameter(np.clip(changed, 0, 1).astype(np.float32))
    assert found is not None
    assert 0.75 < found / 14 < 1.35


@pytest.mark.parametrize(
    "plane",
    [
        np.zeros((200, 200), np.float32),
        np.full((200, 200), 0.7, np.float32),
        np.ones((1, 1), np.float32),
        np.random.default_rng(0).random((8, 500)).astype(np.float32),
        np.random.default_rng(0).normal(0.3, 0.02, (400, 400)).astype(np.float32),
    ],
    ids=["black", "constant", "one pixel", "strip", "noise"],
)
def test_says_nothing_where_there_is_nothing_to_say(plane: np.ndarray) -> None:
    assert estimate_diameter(plane) is None


def test_a_large_plane_gives_the_same_as_a_window_of_it_every_time() -> None:
    tile = discs(12, 1.5, side=512)
    large = np.tile(tile, (8, 12))
    found = estimate_diameter(large)
    assert found == estimate_diameter(large)
    assert found == pytest.approx(estimate_diameter(tile), rel=0.1)


def test_leaves_the_plane_as_it_is() -> None:
    plane = discs(12, 1.5, side=128)
    before = plane.copy()
    plane.flags.writeable = False
    estimate_diameter(plane)
    assert np.array_equal(plane, before)


def test_tells_bright_field_from_fluorescence() -> None:
    plane = discs(12, 1.5, side=200)
    assert not is_bright_field(plane)
    assert is_bright_field(0.95 - 0.8 * plane)
    assert not is_bright_field(np.zeros(10))
    noise = np.random.default_rng(0).normal(0.05, 0.01, plane.shape)
    sparse = noise.clip(0, 1)
    sparse[:4, :40] = 0.6
    assert not is_bright_field(sparse), "a camera's offset is not a bright background"


@pytest.mark.data
@pytest.mark.slow
def test_is_near_the_truth_on_real_images(data_dir) -> None:
    from PIL import Image

    folder = data_dir / "dsb2018"
    with (folder / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    errors: list[float] = []
    bright_field_right: list[bool] = []
    for row in [r for r in rows if r["modality"] != "grayscale-tissue"][::3]:
        plane = np.asarray(Image.open(folder / "images" / f"{row['id']}.png"), np.float32)
        plane = plane if plane.ndim == 2 else plane[..., :3].mean(axis=2)
        plane = np.clip(plane / np.percentile(plane, 99.98), 0, 1)
        areas = np.bincount(np.asarray(Image.open(folder / "masks" / f"{row['id']}.png")).ravel())
        truth = 2 * np.sqrt(np.median(areas[1:][areas[1:] > 0]) / np.pi)
        found = estimate_diameter(plane)
        errors.append(abs(np.log2(found / truth)) if found else np.inf)
        bright_field_right.append(is_bright_field(plane) == (row["modality"] != "fluorescence"))
    assert np.median(errors) < 0.2
    assert np.mean(np.array(errors) < np.log2(1.5)) >= 0.85
    assert all(bright_field_right)


@pytest.mark.data
def test_is_near_the_truth_in_dense_tissue(data_dir) -> None:
    import tifffile

    plane = tifffile.imread(data_dir / "codex_lymph_node" / "image.tif")[0].astype(np.float32)
    found = estimate_diameter(np.clip(plane / np.percentile(plane, 99.98), 0, 1))
    assert found is not None
    assert 5.5 < found < 11
    channels = data_dir / "imc_spleen" / "ROI004" / "channels"
    planes = [
        tifffile.imread(channels / name).astype(np.float32)
        for name in ("DNA1_Ir191.tiff", "DNA3_Ir193.tiff")
    ]
    found = estimate_diameter(
        np.mean([np.clip(p / np.percentile(p, 99.98), 0, 1) for p in planes], axis=0)
    )
    assert found is not None
    assert 4.3 < found < 10
