"""The Mask R-CNN with the weights that come with it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from cellseg_backends.maskrcnn.segmenter import MaskRCNNSegmenter
from cellseg_backends.maskrcnn.weights import describe, shipped
from cellseg_core import Pipeline, read_image
from cellseg_core.image import Image
from cellseg_core.metrics import average_precision, pairwise_iou
from cellseg_core.synthetic import simulate_tissue
from cellseg_core.testing import SegmenterTests


class TestMaskRCNN(SegmenterTests):
    def make(self) -> MaskRCNNSegmenter:
        return MaskRCNNSegmenter()


def test_the_weights_are_small_and_say_where_they_come_from() -> None:
    size = sum(path.stat().st_size for path in shipped().iterdir())
    assert size < 60e6
    facts = describe(shipped()).training
    assert {"data_set", "images", "nuclei", "settings", "minutes"} <= set(facts)
    assert {"steps", "seed", "rate"} <= set(facts["settings"])


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("diameter", [6.0, 60.0])
def test_small_and_large_nuclei_are_found(diameter: float, given: bool) -> None:
    edge = int(16 * diameter)
    tissue = simulate_tissue(
        (edge, edge), seed=4, nuclear_diameter=diameter, density=0.25, channels=("DAPI",)
    )
    pipeline = Pipeline(nuclear_diameter=diameter if given else None)
    found = pipeline.run(tissue.image)
    (precision,) = average_precision(tissue.nuclei, found.nuclei, [0.5])
    assert precision > 0.6, f"{len(found.table)} nuclei of {tissue.nuclei.max()}"


def test_high_quality_finds_the_same_nuclei() -> None:
    image = simulate_tissue((160, 160), seed=5, density=0.25, channels=("DAPI",)).image
    normal, high = (
        Pipeline(nuclear_diameter=12, options={"segmenter": {"quality": quality}}).run(image)
        for quality in ("normal", "high")
    )
    _, _, iou = pairwise_iou(normal.nuclei, high.nuclei)
    objects = max(len(normal.table), len(high.table))
    assert np.count_nonzero(iou > 0.7) > 0.85 * objects
    assert not np.array_equal(normal.nuclei, high.nuclei)


def test_dark_nuclei_on_a_bright_background_are_found_as_well() -> None:
    tissue = simulate_tissue((160, 160), seed=6, density=0.25, channels=("DAPI",))
    pixels = np.asarray(tissue.image.pixels).astype(np.float32)
    inverted = Image(1.05 * pixels.max() - pixels)
    pipeline = Pipeline(nuclear_diameter=12)
    there, dark = (pipeline.run(one).nuclei for one in (tissue.image, inverted))
    _, _, iou = pairwise_iou(there, dark)
    assert np.count_nonzero(iou > 0.5) > 0.8 * there.max()


@pytest.mark.parametrize(
    "plane",
    [
        np.zeros((40, 50), np.uint16),
        np.full((40, 50), 65535, np.uint16),
        np.random.default_rng(0).normal(100, 10, (128, 128)).clip(0).astype(np.uint16),
    ],
    ids=["empty", "saturated", "noise"],
)
def test_nothing_is_found_where_there_is_nothing(plane: np.ndarray) -> None:
    assert len(Pipeline(nuclear_diameter=12).run(Image(plane)).table) == 0


def test_ten_thousand_nuclei_in_one_tile() -> None:
    tissue = simulate_tissue(
        (1100, 1100), seed=8, nuclear_diameter=9.0, density=0.55, channels=("DAPI",)
    )
    assert tissue.nuclei.max() > 9000
    options = {"segmenter": {"score": 0.2}}
    # At the size of the image, not magnified: nuclei far smaller than those that it knows.
    result = Pipeline(nuclear_diameter=16, tile=1100, options=options).run(tissue.image)
    assert result.facts["tiles"] == 1
    assert len(result.table) > 5000


@pytest.mark.data
@pytest.mark.slow
def test_it_is_more_accurate_than_the_watershed_on_real_images(data_dir: Path) -> None:
    folder = data_dir / "dsb2018"
    with (folder / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    scores: dict[str, list[float]] = {"maskrcnn": [], "watershed": []}
    for row in [row for row in rows if row["modality"] != "grayscale-tissue"][::4]:
        image = read_image(folder / "images" / f"{row['id']}.png")
        truth = np.asarray(Picture.open(folder / "masks" / f"{row['id']}.png")).astype(np.int32)
        for name, found in scores.items():
            result = Pipeline(segmenter=name).run(image)
            found.append(float(average_precision(truth, result.nuclei).mean()))
    assert np.mean(scores["maskrcnn"]) > np.mean(scores["watershed"]) + 0.02
    assert np.mean(scores["maskrcnn"]) > 0.55


@pytest.mark.data
@pytest.mark.slow
def test_real_tissue_comes_out_the_same_in_tiles(data_dir: Path) -> None:
    image = read_image(data_dir / "codex_lymph_node" / "image.tif")
    whole, tiled = (
        Pipeline(nuclear_diameter=9, tile=tile).run(image, image.channels[0]).nuclei
        for tile in (1000, 170)
    )
    _, _, iou = pairwise_iou(whole, tiled)
    assert np.count_nonzero(iou > 0.9) >= 0.99 * max(whole.max(), tiled.max())
