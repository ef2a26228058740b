"""The law of tiles: an image segmented in tiles has the cells that it has as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cellseg_core import Image, Pipeline, read_image
from cellseg_core.metrics import pairwise_iou
from cellseg_core.protocols import Labels
from cellseg_core.synthetic import simulate_tissue

WHOLE = 10**6
"""Edge of a tile that takes every image whole."""


def assert_same(whole: Labels, tiled: Labels, share: float = 0.999) -> None:
    """Check that at least ``share`` of the objects are the same, and none is lost or doubled."""
    _, _, iou = pairwise_iou(whole, tiled)
    objects = int(whole.max())
    assert np.count_nonzero(iou == 1) >= share * objects, (
        f"{objects - np.count_nonzero(iou == 1)} of {objects} objects differ"
    )
    missing = objects - np.count_nonzero(iou > 0.5)
    extra = int(tiled.max()) - np.count_nonzero(iou > 0.5)
    assert missing <= (1 - share) * objects, f"{missing} of {objects} objects were lost"
    assert extra <= (1 - share) * objects, f"{extra} objects are new, {objects} were there"


@pytest.fixture(scope="module")
def slide() -> Image:
    """Return a simulated slide of over 10,000 nuclei whose size no tile divides."""
    image = simulate_tissue((1711, 1637), seed=11, nuclear_diameter=12, channels=("DAPI",)).image
    return Image(image.pixels, channels=image.channels, name="slide")


@pytest.fixture(scope="module")
def whole(slide: Image) -> Labels:
    labels = Pipeline(segmenter="watershed", tile=WHOLE, nuclear_diameter=12).run(slide).nuclei
    assert labels.max() > 9000
    return labels


@pytest.mark.slow
@pytest.mark.parametrize(("tile", "extra"), [(128, 0), (200, 17), (333, 0), (1000, 61)])
def test_a_simulated_slide(slide: Image, whole: Labels, tile: int, extra: int) -> None:
    result = Pipeline(segmenter="watershed", tile=tile, nuclear_diameter=12).run(slide)
    if extra:
        overlap = result.facts["overlap_px"] + extra
        result = Pipeline(
            segmenter="watershed", tile=tile, overlap=overlap, nuclear_diameter=12
        ).run(slide)
    assert_same(whole, result.nuclei)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("tile", [128, 211])
@pytest.mark.parametrize(
    ("path", "nuclear", "diameter"),
    [
        ("codex_lymph_node/image.tif", "DAPI", 9),
        ("imc_spleen/ROI004/channels", ("DNA1", "DNA3"), 8),
        ("readers/tiff/nuclei_imagej_uint16.tif", (), 24),
    ],
)
def test_real_images(data_dir: Path, path: str, nuclear, diameter: float, tile: int) -> None:
    image = read_image(data_dir / path)
    one, tiles = (
        Pipeline(segmenter="watershed", tile=size, nuclear_diameter=diameter)
        .run(image, nuclear)
        .nuclei
        for size in (WHOLE, tile)
    )
    assert one.max() > 20
    # A real image has some hundred objects: one that differs is more than 0.1 %.
    assert_same(one, tiles, share=1 - max(0.001, 1.5 / one.max()))


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (7, 5), (129, 128), (300, 131)])
def test_every_size_of_image_works(shape: tuple[int, int]) -> None:
    tissue = simulate_tissue((300, 131), seed=2, channels=("DAPI",))
    image = Image(np.asarray(tissue.image.pixels)[:, : shape[0], : shape[1]])
    one, tiled = (
        Pipeline(segmenter="watershed", tile=size, nuclear_diameter=12).run(image).nuclei
        for size in (WHOLE, 64)
    )
    assert one.shape == tiled.shape == shape
    assert abs(int(one.max()) - int(tiled.max())) <= 1


def test_the_same_input_gives_the_same_bytes(slide: Image) -> None:
    part = Image(np.asarray(slide.pixels)[:, :300, :300])
    one, two = (
        Pipeline(segmenter="watershed", tile=128, nuclear_diameter=12).run(part).nuclei
        for _ in range(2)
    )
    assert one.tobytes() == two.tobytes()
