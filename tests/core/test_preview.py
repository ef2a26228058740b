"""A preview shows what a run would find, and says why where it cannot."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import numpy as np
import pytest
import tifffile

from cellseg_core import Component, Image, Pipeline
from cellseg_core.batch import run_batch
from cellseg_core.config import RunConfig
from cellseg_core.contact_sheet import draw_sheet
from cellseg_core.errors import (
    ChannelError,
    ComponentError,
    ConfigurationError,
    ImageError,
    MissingPackageError,
)
from cellseg_core.normalize import Brightness
from cellseg_core.painting import CELL, NUCLEUS
from cellseg_core.plugins import Plugins, Registered, load_plugins
from cellseg_core.preview import preview
from cellseg_core.reporting import Silent
from cellseg_core.synthetic import simulate_tissue
from cellseg_core.typical import find_typical

WATERSHED = RunConfig(segmenter="watershed", nuclear=("DAPI",))


@pytest.fixture(scope="module")
def tissue() -> Image:
    return simulate_tissue((256, 300), seed=5, channels=("DAPI", "CD3")).image


def same_objects(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two label images have the same objects, whatever their ids."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    alone = all(np.unique(ids).size == ids.size for ids in pairs)
    return alone and bool(((pairs[0] == 0) == (pairs[1] == 0)).all())


def test_panels_are_three_diameters_by_three_brightnesses_of_what_a_run_takes(tissue) -> None:
    made = preview(tissue, WATERSHED)
    run = Pipeline(segmenter="watershed").run(tissue, "DAPI")
    assert [panel.number for panel in made.panels] == list(range(1, 10))
    (itself,) = (panel for panel in made.panels if panel.by_default)
    assert (itself.number, itself.diameter) == (5, run.nuclear_diameter)
    shares = [panel.diameter / run.nuclear_diameter for panel in made.panels[::3]]
    assert shares == pytest.approx([0.7, 1, 1.4], abs=0.01)
    assert [panel.brightness for panel in made.panels[:3]] == [0.5, 1, 2]
    assert made.panels[4].settings == {}
    assert set(made.panels[3].settings) == {"brightness", "nuclear_diameter"}
    assert set(made.panels[1].settings) == {"nuclear_diameter"}


@pytest.mark.parametrize("number", [1, 5, 9])
def test_a_panel_shows_what_a_run_with_its_settings_finds_there(tissue, number: int) -> None:
    config = attrs.evolve(WATERSHED, expand=3, min_size=40)
    made = preview(tissue, config, at=(130, 150), size=90)
    panel = made.panels[number - 1]
    chosen = attrs.evolve(config, **panel.settings)
    plugins = load_plugins()
    factor = 1.0 if chosen.brightness == "auto" else float(chosen.brightness)
    run = attrs.evolve(chosen.pipeline(plugins), brightness=factor).run(tissue, "DAPI")
    assert made.box.shape == (90, 90)
    crop = made.box.slices
    assert same_objects(panel.nuclei, run.nuclei[crop])
    assert same_objects(panel.cells, run.cells[crop])
    assert (panel.cells > 0).sum() > (panel.nuclei > 0).sum()
    inside = np.all((run.table.centroids >= (85, 105)) & (run.table.centroids < (175, 195)), 1)
    assert abs(panel.count - inside.sum()) <= 3, "centres of boxes, not of masses"


def test_the_crop_lies_among_nuclei_and_not_in_debris_or_at_the_edge() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(100, 5, (600, 800)).clip(0)
    y, x = np.ogrid[:600, :800]
    for row in range(320, 480, 16):
        for column in range(420, 620, 16):
            plane += 400 * ((y - row) ** 2 + (x - column) ** 2 <= 25)
    plane[:60, :200] = 900  # a fold, brighter than all nuclei together
    made = preview(Image(plane.astype(np.uint16)), RunConfig(segmenter="watershed"))
    box = made.box
    assert 300 < (box.y0 + box.y1) / 2 < 500
    assert 400 < (box.x0 + box.x1) / 2 < 640
    assert max(panel.count for panel in made.panels) > 30


def test_a_given_diameter_and_brightness_are_what_a_run_does_by_itself(tissue) -> None:
    config = attrs.evolve(WATERSHED, nuclear_diameter=11.25, brightness=3)
    made = preview(tissue, config)
    assert [panel.diameter for panel in made.panels[3:6]] == [11.25] * 3
    assert [panel.brightness for panel in made.panels[:3]] == [1.5, 3, 6]
    assert [panel.number for panel in made.panels if panel.by_default] == [5]
    assert made.panels[3].settings == {"brightness": 1.5}
    listed = preview(tissue, config, diameters=[9, 11.25], factors=[3])
    assert [panel.by_default for panel in listed.panels] == [False, True]


def test_the_scale_of_the_data_set_counts_and_not_that_of_the_crop(tissue) -> None:
    levels = Brightness({"DAPI": 4e5})
    dim = preview(tissue, WATERSHED, at=(130, 150), size=90, levels=levels)
    bright = preview(tissue, WATERSHED, at=(130, 150), size=90)
    assert dim.stain.max() < 0.2 < bright.stain.max()


def test_the_images_of_a_folder_share_the_scale_that_a_run_gives_them(tmp_path) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    for name, factor in (("bright", 9), ("dim", 1), ("usual", 2)):
        plane = simulate_tissue((90, 90), seed=2, channels=("DAPI",)).image.pixels[0] // 10 * factor
        tifffile.imwrite(folder / f"{name}.tif", plane)
    plugins = load_plugins()
    config = RunConfig(segmenter="watershed", write=("csv",), nuclear_diameter=12)
    run = run_batch([folder], tmp_path / "out", config)
    typical = find_typical(folder, config, plugins, Silent())
    assert (typical.image.name, typical.number) == ("usual", 3)
    assert typical.levels == run.brightness
    each = find_typical(folder, attrs.evolve(config, brightness="each"), plugins, Silent(), "dim")
    assert each.image.name == "dim"
    assert each.levels.levels == Brightness.of(each.image, [0]).levels
    reference = attrs.evolve(config, reference=folder / "bright.tif")
    run = run_batch([folder / "dim.tif"], tmp_path / "other", reference)
    assert find_typical(folder / "dim.tif", reference, plugins, Silent()).levels == run.brightness


def test_pixels_are_read_by_the_crop_but_for_brightness_and_diameter() -> None:
    plane = simulate_tissue((512, 512), seed=5, channels=("DAPI",)).image.pixels[0]
    tiled = np.tile(plane, (4, 4))
    seen: Counter[str] = Counter()

    class Lazy:
        shape, dtype = (2, *tiled.shape), tiled.dtype

        def __getitem__(self, key: Any) -> Any:
            seen[f"channel {key[0]}"] += 1
            part = tiled[key[1:]]
            seen["pixels"] += part.size
            return part

    made = preview(Image(Lazy(), channels=("DAPI", "CD3")), WATERSHED)
    assert made.panels[4].count > 50
    assert seen["channel 1"] == 0
    assert seen["pixels"] < 2.8 * tiled.size, "the channel twice, and some windows"


class Failing:
    native_diameter = None
    halo = 4

    def segment(self, tile: np.ndarray) -> object:
        raise RuntimeError("out of luck")


def with_others() -> Plugins:
    """Return the plugins with a segmenter that lacks its package, and one that fails."""
    absent = Component(
        name="absent",
        factory=f"{__name__}:Failing",
        requires=("no-such-package>=2",),
        install="pip install no-such-package",
    )
    components = load_plugins().components
    return Plugins((*components, Registered("segmenter", absent, "mine 1")))


def test_a_segmenter_that_cannot_run_is_a_row_that_says_why(tissue) -> None:
    made = preview(tissue, WATERSHED, segmenters=["absent", "watershed"], plugins=with_others())
    absent, there = made.rows
    assert "pip install no-such-package" in absent.failed
    assert not absent.panels
    assert [panel.number for panel in there.panels] == [1, 2, 3]
    assert {panel.brightness for panel in there.panels} == {1}
    alone = preview(tissue, WATERSHED)
    picture = draw_sheet(made)
    assert picture.shape[0] < draw_sheet(alone).shape[0]
    with pytest.raises(MissingPackageError, match="no-such-package"):
        preview(tissue, WATERSHED, segmenters=["absent"], plugins=with_others())


def test_a_panel_that_fails_says_why_and_the_others_are_there(tissue, monkeypatch) -> None:
    from cellseg_backends.watershed import WatershedSegmenter

    adapt = WatershedSegmenter.adapt
    monkeypatch.setattr(
        WatershedSegmenter,
        "adapt",
        lambda self, sample, diameter: (
            Failing() if diameter == 7 else adapt(self, sample, diameter)
        ),
    )
    made = preview(tissue, WATERSHED, diameters=[7, 12], factors=[1])
    assert "out of luck" in made.panels[0].failed
    assert made.panels[0].nuclei is None
    assert made.panels[1].count > 20
    assert draw_sheet(made).shape[2] == 3


def test_the_sheet_shows_outlines_of_nuclei_and_of_cells_only_where_they_were_grown(tissue) -> None:
    def has(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
        return int((picture == colour).all(axis=2).sum())

    plain = draw_sheet(preview(tissue, WATERSHED))
    grown = draw_sheet(preview(tissue, attrs.evolve(WATERSHED, expand=2)))
    assert plain.dtype == np.uint8
    assert has(plain, NUCLEUS) > 1000
    assert has(plain, CELL) == 0
    assert has(grown, CELL) > 1000
    assert np.array_equal(plain, draw_sheet(preview(tissue, WATERSHED))), "always the same"


def test_brightness_is_seen_in_the_sheet(tissue) -> None:
    config = attrs.evolve(WATERSHED, nuclear_diameter=12)
    sheets = [draw_sheet(preview(tissue, config, diameters=[12], factors=[0.25, 1]))]
    width = sheets[0].shape[1] // 2
    left, right = sheets[0][230:600, :width], sheets[0][230:600, width:]
    assert left.mean() < right.mean() - 10


@pytest.mark.parametrize(
    "name", ["=SUM(A1)\n\x1b[31m", "名前/<script>alert(1)</script>", "x" * 500]
)
def test_hostile_names_are_drawn_and_harm_nothing(name: str) -> None:
    image = simulate_tissue((120, 140), seed=1, channels=("DAPI",)).image
    image = attrs.evolve(image, name=name, channels=(name,))
    made = preview(image, RunConfig(segmenter="watershed", nuclear_diameter=12), factors=[1])
    assert draw_sheet(made).shape[1] < 2000


def test_images_smaller_than_a_crop_are_shown_whole() -> None:
    image = simulate_tissue((70, 50), seed=1, channels=("DAPI",)).image
    made = preview(image, WATERSHED)
    assert made.box.shape == (70, 50)
    assert draw_sheet(made).size


def test_what_makes_no_sense_is_refused_with_the_fix(tissue) -> None:
    for options, words in (
        ({"at": (256, 10)}, "has 256 rows and 300 columns"),
        ({"at": (-1, 10)}, "is not in the image"),
        ({"size": 8}, "--size is from 32 to 4096 px"),
        ({"diameters": [0]}, "--diameters are numbers over 0"),
        ({"factors": [float("nan")]}, "--brightness-factors are numbers over 0"),
        ({"diameters": range(1, 40), "factors": [1, 2]}, "78 panels, and 60 is the most"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            preview(tissue, WATERSHED, **options)
    with pytest.raises(ComponentError, match="did you mean 'watershed'"):
        preview(tissue, WATERSHED, segmenters=["watershet"])
    with pytest.raises(ChannelError, match="which channel shows the nuclei"):
        preview(Image(np.ones((2, 50, 50))), RunConfig(segmenter="watershed"))
    with pytest.raises(ImageError, match=r"is black.*--nuclear"):
        preview(Image(np.zeros((1, 50, 50))), RunConfig(segmenter="watershed"))
