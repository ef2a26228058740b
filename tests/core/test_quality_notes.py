"""Each note comes where something is wrong, and none where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cellseg_core.image import Image
from cellseg_core.measure import measure
from cellseg_core.normalize import Brightness
from cellseg_core.pipeline import Pipeline
from cellseg_core.quality_notes import quality_notes
from cellseg_core.reading import read_image
from cellseg_core.scaled import ScaledImage
from cellseg_core.synthetic import SimulatedTissue, simulate_tissue

Notes = Callable[..., list[str]]


@pytest.fixture(scope="module")
def tissue() -> SimulatedTissue:
    return simulate_tissue((512, 512), seed=3, channels=("DAPI", "CD3"))


@pytest.fixture
def notes(tissue: SimulatedTissue) -> Notes:
    """Return what is said of the simulated tissue with other pixels, labels or sizes."""

    def say(
        pixels: np.ndarray | None = None,
        *,
        nuclei: np.ndarray | None = None,
        pixel_size: float | None = 0.5,
        diameter: float = 12.0,
        facts: dict[str, Any] | None = None,
    ) -> list[str]:
        pixels = np.asarray(tissue.image.pixels) if pixels is None else pixels
        image = Image(pixels, channels=("DAPI", "CD3"), pixel_size=pixel_size)
        labels = tissue.nuclei if nuclei is None else nuclei
        scaled = ScaledImage(image, (0,), (), Brightness.of(image, (0,)))
        table = measure(image, labels)
        return quality_notes(image, scaled, labels, table, diameter, facts or {})

    return say


def pixels_of(tissue: SimulatedTissue) -> np.ndarray:
    return np.asarray(tissue.image.pixels).astype(np.float64)


def only(told: list[str], words: str) -> bool:
    return len(told) == 1 and words in told[0]


def test_a_good_image_has_none(notes: Notes) -> None:
    assert notes() == []


@pytest.mark.data
@pytest.mark.parametrize("region", ["ROI002", "ROI004"])
def test_real_images_have_none_but_for_the_channel_that_is_empty(data_dir, region) -> None:
    image = read_image(data_dir / "imc_spleen" / region / "channels")
    told = Pipeline(segmenter="watershed").run(image, ("DNA1", "DNA3")).warnings
    assert only(list(told), "no cell stands out from the noise in 80ArAr_ArAr80."), told


@pytest.mark.data
def test_a_real_lymph_node_has_none(data_dir) -> None:
    image = read_image(data_dir / "codex_lymph_node" / "image.tif")
    assert Pipeline(segmenter="watershed").run(image, "DAPI").warnings == ()


def test_a_blurred_part_is_named_by_its_place(notes: Notes, tissue: SimulatedTissue) -> None:
    pixels = pixels_of(tissue)
    pixels[:, :256, 256:] = gaussian_filter(pixels, (0, 4, 4))[:, :256, 256:]
    told = notes(pixels.astype(np.uint16))
    assert only(told, "part of the image seems to be out of focus: upper right (1 of 4 places")


def test_a_blurred_image_is_told(notes: Notes, tissue: SimulatedTissue) -> None:
    blurred = gaussian_filter(pixels_of(tissue), (0, 3, 3)).astype(np.uint16)
    assert only(notes(blurred), "the whole image seems to be out of focus: the edges")
    assert notes(blurred, pixel_size=None) == [], "without a pixel size nobody knows"


def test_dim_nuclei_are_told(notes: Notes, tissue: SimulatedTissue) -> None:
    light = pixels_of(tissue) - pixels_of(tissue).min()
    dim = np.random.default_rng(0).poisson(light * 5e-4)
    told = notes(dim.astype(np.uint16))
    assert [one for one in told if one.startswith("the nuclear image is dim: nuclei are only")]
    assert not [
        one
        for one in notes(np.random.default_rng(0).poisson(light * 0.02).astype(np.uint16))
        if "dim" in one
    ]


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_saturated_channels_are_told_with_their_share(notes: Notes, tissue, dtype) -> None:
    pixels = pixels_of(tissue)
    pixels[1] = np.minimum(pixels[1], np.quantile(pixels[1], 0.98))
    told = notes(pixels.astype(dtype))
    assert only(told, "saturated: CD3 (2.")
    assert "expose shorter" in told[0]


def test_an_empty_channel_is_told_whether_it_is_constant_or_noise(notes: Notes, tissue) -> None:
    pixels = pixels_of(tissue)
    pixels[1] = 100
    told = notes(pixels.astype(np.uint16))
    assert only(told, "empty: every pixel looked at has the same value in CD3 (all 100)")
    pixels[1] = np.random.default_rng(0).normal(200, 10, pixels[1].shape)
    assert only(notes(pixels.astype(np.uint16)), "no cell stands out from the noise in CD3.")


def test_cells_that_are_all_alike_but_bright_are_not_empty(notes: Notes, tissue) -> None:
    pixels = pixels_of(tissue)
    noise = np.random.default_rng(0).normal(200, 10, pixels[1].shape)
    pixels[1] = noise + 100 * (tissue.nuclei > 0)
    assert notes(pixels.astype(np.uint16)) == []


def test_one_positive_cell_is_enough_for_a_marker(notes: Notes, tissue) -> None:
    pixels = pixels_of(tissue)
    pixels[1] = np.random.default_rng(0).normal(200, 10, pixels[1].shape)
    pixels[1][tissue.nuclei == 200] += 100
    assert notes(pixels.astype(np.uint16)) == []


@pytest.mark.parametrize(("size", "word"), [(0.1, "small"), (2.0, "large")])
def test_nuclei_of_an_unusual_size_are_told(notes: Notes, size: float, word: str) -> None:
    assert any(f"nuclei are unusually {word}" in one for one in notes(pixel_size=size))


@pytest.mark.parametrize(("diameter", "word"), [(30.0, "smaller"), (5.0, "larger")])
def test_nuclei_of_another_size_than_was_looked_for_are_told(notes: Notes, diameter, word) -> None:
    assert only(notes(diameter=diameter), f"much {word} than the {diameter:.0f} px that were")


def test_nuclei_that_were_missed_are_told(notes: Notes, tissue: SimulatedTissue) -> None:
    few = np.where(tissue.nuclei % 4 == 0, tissue.nuclei, 0)
    assert any("as bright as nuclei lies outside of them" in one for one in notes(nuclei=few))
    one = np.where(tissue.nuclei == 100, tissue.nuclei, 0)
    assert any("nuclei cover only 0." in told for told in notes(nuclei=one))


def test_many_small_objects_that_were_removed_are_told(notes: Notes) -> None:
    assert only(notes(facts={"removed_small": 5000}), "objects were removed because they are small")
    assert notes(facts={"removed_small": 50}) == []


def test_seams_that_show_are_told(notes: Notes) -> None:
    other = {"cells": 900, "per_megapixel": 1000.0, "crossing": 100, "straight": 1}
    fine = {"cells": 100, "per_megapixel": 990.0, "crossing": 100, "straight": 1}
    assert notes(facts={"seams_checked": {"near": fine, "elsewhere": other}}) == []
    cut = {**fine, "straight": 40}
    told = notes(facts={"seams_checked": {"near": cut, "elsewhere": other}})
    assert only(told, "40 nuclei are cut straight at the seams of tiles")
    double = {**fine, "cells": 200, "per_megapixel": 1980.0}
    told = notes(facts={"seams_checked": {"near": double, "elsewhere": other}})
    assert only(told, "98% more cells near the seams")


def test_compensation_that_takes_out_much_is_told(notes: Notes) -> None:
    channels = {"CD3": {"removed": 0.6}, "CD4": {"removed": 0.1}}
    assert only(notes(facts={"compensation": {"channels": channels}}), "signal of CD3 (60%)")


def test_an_image_without_cells_is_no_error(notes: Notes, tissue: SimulatedTissue) -> None:
    assert notes(nuclei=np.zeros_like(tissue.nuclei)) == []


def test_a_small_image_is_no_error() -> None:
    image = Image(np.full((1, 3, 5), np.nan, np.float32))
    labels = np.array([[1, 1, 0, 0, 0]] * 3, np.int32)
    scaled = ScaledImage(image, (0,), (), Brightness({"channel_1": 1.0}))
    told = quality_notes(image, scaled, labels, measure(image, labels), 5.0, {})
    assert only(told, "empty: every pixel looked at has the same value in channel_1")


def test_a_run_in_tiles_records_its_seams_and_that_they_do_not_show(tissue) -> None:
    result = Pipeline(segmenter="watershed", nuclear_diameter=12, tile=200).run(
        tissue.image, "DAPI"
    )
    assert result.facts["seams"] == {"y": [171, 341], "x": [171, 341]}
    checked = result.facts["seams_checked"]
    assert checked["near"]["cells"] + checked["elsewhere"]["cells"] == len(result.table)
    assert result.warnings == ()
