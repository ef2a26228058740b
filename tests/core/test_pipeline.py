"""The pipeline as a library: own components, and clear words to those who write them."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest

from cellseg_core import Image, Pipeline, Segmentation
from cellseg_core.errors import ChannelError, ConfigurationError, ImageError, SegmentationError


@attrs.frozen
class Boxes:
    """Finds what is over half of white; knows nuclei of ``native_diameter`` px."""

    native_diameter: float | None = None
    halo: int = 20
    returns: object = None

    def segment(self, tile):
        if self.returns is not None:
            return self.returns
        from scipy import ndimage

        labels, count = ndimage.label(tile[0] > 0.5)
        return Segmentation(labels, np.linspace(0, 1, count))


def boxes(size: int = 10) -> Image:
    pixels = np.zeros((2, 90, 120), np.uint16)
    for y in range(5, 80, 30):
        for x in range(5, 110, 30):
            pixels[0, y : y + size, x : x + size] = 1000
            pixels[1, y : y + size, x : x + size] = y + x
    return Image(pixels, channels=("DAPI", "CD3"))


def test_an_object_of_one_s_own_is_a_segmenter() -> None:
    result = Pipeline(segmenter=Boxes(), nuclear_diameter=10, expand_by=2).run(boxes(), "DAPI")
    assert len(result.table) == 12
    assert result.nuclei.dtype == result.cells.dtype == np.int32
    assert np.count_nonzero(result.nuclei) == 12 * 100
    assert (np.bincount(result.cells.ravel())[1:] == 100 + 4 * 20 + 4).all()
    assert result.table.scores[0] == 0


@pytest.mark.parametrize("native", [5.0, 20.0, 27.5])
@pytest.mark.parametrize("tile", [35, 1000])
def test_tiles_come_at_the_size_that_the_segmenter_knows(native: float, tile: int) -> None:
    seen = []

    @attrs.frozen
    class Spy(Boxes):
        def segment(self, tile):
            seen.append(tile.shape)
            return Boxes.segment(self, tile)

    image = boxes()
    result = Pipeline(segmenter=Spy(native), nuclear_diameter=10, tile=tile).run(image, "DAPI")
    plain = Pipeline(segmenter=Boxes(), nuclear_diameter=10).run(image, "DAPI")
    assert len(result.table) == 12
    assert result.nuclei.shape == image.shape
    assert result.facts["magnification"] == native / 10
    if tile == 1000:
        assert seen == [(1, round(90 * native / 10), round(120 * native / 10))]
    assert np.allclose(result.table.centroids, plain.table.centroids, atol=0.6)
    # At half the size a square of 10 px is one of 4 or 5.
    assert np.allclose(result.table.areas, 100, rtol=0.4 if native < 10 else 0.25)


def test_a_membrane_channel_comes_second() -> None:
    shapes = []

    @attrs.frozen
    class Spy(Boxes):
        def segment(self, tile):
            shapes.append(tile.shape[0])
            return Boxes.segment(self, tile)

    Pipeline(segmenter=Spy(), nuclear_diameter=10).run(boxes(), "DAPI", "CD3")
    assert shapes == [2]


def test_a_segmenter_for_colours_gets_them_apart_and_nothing_else() -> None:
    seen = []

    @attrs.frozen
    class Colors(Boxes):
        uses_color = True

        def segment(self, tile):
            seen.append(tile)
            return Boxes.segment(self, tile)

    pixels = np.random.default_rng(0).integers(1, 255, (3, 60, 70), np.uint8)
    picture = Image(pixels, channels=("red", "green", "blue"), color=True, name="slide")
    Pipeline(segmenter=Colors(), nuclear_diameter=10).run(picture)
    (tile,) = seen
    assert tile.shape == (3, 60, 70)
    for shown, given in zip(tile, pixels, strict=True):
        assert np.corrcoef(shown.ravel(), given.ravel())[0, 1] > 0.999
    Pipeline(segmenter=Colors(), nuclear_diameter=10).run(picture, ["blue", "green", "red"])
    assert np.array_equal(seen[1], tile), "in whichever order they are named"
    with pytest.raises(ChannelError, match="looks at colours: it takes an RGB image, with red"):
        Pipeline(segmenter=Colors(), nuclear_diameter=10).run(boxes(), "DAPI")
    with pytest.raises(ChannelError, match="these are 1 of the channels red, green, blue"):
        Pipeline(segmenter=Colors(), nuclear_diameter=10).run(picture, "red")


@pytest.mark.parametrize(("native", "tiles"), [(None, 12), (5.0, 4)])
def test_a_segmenter_can_prefer_a_size_of_tiles(native: float | None, tiles: int) -> None:
    @attrs.frozen
    class Small(Boxes):
        tile = 30

    run = Pipeline(segmenter=Small(native), nuclear_diameter=10).run(boxes(), "DAPI")
    assert run.facts["tiles"] == tiles
    whole = Pipeline(segmenter=Small(native), nuclear_diameter=10, tile=500).run(boxes(), "DAPI")
    assert whole.facts["tiles"] == 1


@pytest.mark.parametrize(
    ("segmenter", "error", "message"),
    [
        (lambda tile: tile, ConfigurationError, "it has no native_diameter, halo, segment"),
        (Boxes, ConfigurationError, r"give an object, not its class: Boxes\(\) and not Boxes"),
        (Boxes(returns=np.zeros((90, 120), int)), SegmentationError, r"returns a Segmentation"),
        (Boxes(returns=Segmentation(np.zeros((3, 3), int))), SegmentationError, "size of the tile"),
        (Boxes(returns=Segmentation(np.zeros((90, 120)))), SegmentationError, "must be integers"),
    ],
)
def test_the_author_of_a_segmenter_is_told_what_is_wrong(segmenter, error, message) -> None:
    with pytest.raises(error, match=message):
        Pipeline(segmenter=segmenter, nuclear_diameter=10).run(boxes(), "DAPI")


def test_what_is_no_image_is_refused_with_the_right_call(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"pipeline\.run\(read_image\('x\.tif'\)\)"):
        Pipeline(segmenter=Boxes()).run("x.tif")
    with pytest.raises(ConfigurationError, match="channels are named; got 0"):
        Pipeline(segmenter=Boxes()).run(boxes(), [0])
    plane = np.asarray(boxes().pixels)[0]
    assert len(Pipeline(segmenter=Boxes(), nuclear_diameter=10).run(plane).table) == 12


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_size": -1}, "min_size is not negative"),
        ({"nuclear_diameter": 0}, "nuclear_diameter is more than 0"),
        ({"tile": 0}, "tile is more than 0"),
        ({"brightness": float("nan")}, "brightness is more than 0"),
        ({"options": {"segmnter": {}}}, "there is no kind 'segmnter': did you mean 'segmenter'"),
        ({"overlap": 10, "tile": 30}, r"an overlap of 10 px is too small: .* needs 40 px"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Pipeline(**{"segmenter": Boxes(), "nuclear_diameter": 10, **wrong}).run(boxes(), "DAPI")


def test_an_expander_or_compensator_that_breaks_a_rule_is_named() -> None:
    class Eats:
        def expand(self, labels):
            return np.roll(labels, 3)

    class Forgets:
        def compensate(self, labels, means):
            return means[:1]

    with pytest.raises(SegmentationError, match="Eats broke a rule: cells must keep"):
        Pipeline(segmenter=Boxes(), expander=Eats(), nuclear_diameter=10).run(boxes(), "DAPI")
    with pytest.raises(SegmentationError, match="Forgets broke a rule: means must keep"):
        Pipeline(segmenter=Boxes(), compensator=Forgets(), nuclear_diameter=10).run(boxes(), "DAPI")


def test_nuclei_under_the_minimum_size_go_and_ids_follow_the_reading_order() -> None:
    pixels = np.zeros((60, 60), np.uint8)
    pixels[30:40, 5:15], pixels[5:8, 5:8], pixels[10:20, 30:40] = 200, 200, 200
    result = Pipeline(segmenter=Boxes(), nuclear_diameter=10, min_size=20).run(Image(pixels))
    assert result.table.labels.tolist() == [1, 2]
    assert result.nuclei[12, 32] == 1
    assert result.facts["removed_small"] == 1


def touching() -> Image:
    """Return three nuclei side by side, the outer two with a marker that the middle one lacks."""
    pixels = np.zeros((2, 40, 60), np.uint16)
    for x, marker in ((10, 900), (22, 0), (34, 900)):
        pixels[0, 12:24, x + 1 : x + 11] = 1000
        pixels[1, 12:24, x : x + 12] = marker
    pixels[1, 12:24, 20:24] = pixels[1, 12:24, 32:36] = 500
    return Image(pixels, channels=("DAPI", "CD3"), pixel_size=0.5)


@pytest.mark.parametrize("compensator", ["boundary", "conserving", "contact"])
def test_compensation_is_recorded_and_leaves_the_named_channels_alone(compensator) -> None:
    pipeline = Pipeline(
        segmenter=Boxes(),
        nuclear_diameter=10,
        expand_by="0.5um",
        compensator=compensator,
        compensate_except=("dapi",),
    )
    result = pipeline.run(touching(), "DAPI")
    table, facts = result.table, result.facts["compensation"]
    assert result.facts["expand_px"] == 1
    assert table.intensities[1, 1] < 0.8 * table.uncompensated[1, 1]
    assert np.array_equal(table.intensities[:, 0], table.uncompensated[:, 0])
    assert facts["left_alone"] == ["DAPI"]
    assert facts["channels"]["DAPI"]["removed"] == 0
    assert facts["channels"]["CD3"]["removed"] > 0
    assert (facts["channels"]["CD3"]["net"] < 0) == (compensator == "contact")


def test_compensation_of_cells_that_do_not_touch_says_so() -> None:
    result = Pipeline(segmenter=Boxes(), nuclear_diameter=10, compensator="contact").run(boxes())
    assert any("compensation changed nothing" in told for told in result.warnings)


def test_features_of_nuclei_rings_and_cells_have_one_id() -> None:
    features = ("shape", "statistics", "compartments", "neighbours")
    pipeline = Pipeline(segmenter=Boxes(), nuclear_diameter=10, expand_by=2, features=features)
    result = pipeline.run(boxes(), "DAPI")
    frame = result.table.to_pandas()
    ring = np.where(result.nuclei > 0, 0, result.cells)
    for row in frame.itertuples(index=False):
        assert row.nucleus_area == np.count_nonzero(result.nuclei == row.cell_id) == 100
        assert row.ring_area == np.count_nonzero(ring == row.cell_id)
    assert (frame["CD3:ring_mean"] == 0).all()
    assert frame["CD3:nucleus_mean"].equals(frame["CD3:max"].astype(float))
    assert (frame["neighbours"] == 0).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"features": ["shapes"]}, "no feature 'shapes': did you mean 'shape'"),
        ({"expand_by": "one um"}, "expand_by is a number of 0 or more"),
    ],
)
def test_features_and_distances_that_make_no_sense_are_refused_at_once(wrong, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Pipeline(**wrong)


def test_no_one_is_told_to_grow_cells_where_every_channel_was_to_be_left_alone() -> None:
    pipeline = Pipeline(
        segmenter=Boxes(),
        nuclear_diameter=10,
        expand_by=1,
        compensator="conserving",
        compensate_except=("DAPI", "CD3"),
    )
    warnings = pipeline.run(touching(), "DAPI").warnings
    assert not any("--expand" in told for told in warnings)
