"""Tiles on disk: what is there is not segmented again, and makes no difference."""

from __future__ import annotations

import weakref
from pathlib import Path

import attrs
import numpy as np
import pytest

from cellseg_core import Pipeline, Segmentation, label_store, pipeline
from cellseg_core.errors import OutputError, SegmentationError
from cellseg_core.image import Image
from cellseg_core.stitching import TileObjects, stitch, tile_objects
from cellseg_core.synthetic import simulate_tissue
from cellseg_core.tile_store import TileStore
from cellseg_core.tiling import Tile, tile_image
from cellseg_postprocess.expansion import SequentialExpander

PLAN = {"tile": 64, "diameter": 12.0}


@pytest.fixture(scope="module")
def image() -> Image:
    return simulate_tissue((200, 260), seed=4, channels=["DAPI", "CD3"]).image


@attrs.define
class Counting:
    """A watershed that counts its tiles, and is interrupted at one of them."""

    stops_at: int = attrs.field(default=-1, repr=False)
    calls: int = attrs.field(default=0, repr=False)
    native_diameter: float | None = None
    halo: int = 20

    def segment(self, tile: np.ndarray) -> Segmentation:
        from skimage.measure import label

        if self.calls == self.stops_at:
            raise KeyboardInterrupt
        self.calls += 1
        labels = np.asarray(label(tile[0] > 0.4))
        return Segmentation(labels, np.linspace(0, 1, int(labels.max())))


def run(image: Image, segmenter: Counting, work: Path | None = None, **more: object):
    given = {"nuclear_diameter": 12, "tile": 64, "expand_by": 2, **more}
    made = Pipeline(segmenter=segmenter, **given)
    return made.run(image, "DAPI", work=work)


def put(store: TileStore, made: TileObjects) -> TileObjects:
    store.files.write(made)
    return store.written(made.tile)


def objects(image: Image, tile: Tile, seed: int = 0) -> TileObjects:
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 30, (9, 10)), np.ones((10, 10), int))
    height, width = tile.window.shape
    found = Segmentation(labels[:height, :width], rng.random(30))
    return tile_objects(tile, found, image.shape)


def test_a_tile_comes_back_as_it_was(image: Image, tmp_path: Path) -> None:
    store = TileStore(tmp_path / "tiles", PLAN)
    tile = tile_image(image.shape, 64, 10)[6]
    assert store.get(tile) is None
    made = objects(image, tile)
    for kept in (put(store, made), store.get(tile), TileStore(tmp_path / "tiles", PLAN).get(tile)):
        assert kept is not None
        for name in ("centres", "depths", "areas", "scores"):
            assert np.array_equal(getattr(kept, name), getattr(made, name), equal_nan=True)
            assert getattr(kept, name).dtype == getattr(made, name).dtype
        assert kept.labels.shape == made.labels.shape
        assert np.array_equal(kept.labels[:, :], made.labels)
        assert np.array_equal(kept.labels[3:20, 5:], made.labels[3:20, 5:])


def test_stored_tiles_are_stitched_like_others(image: Image, tmp_path: Path) -> None:
    store = TileStore(tmp_path / "tiles", PLAN)
    made = [objects(image, tile, n) for n, tile in enumerate(tile_image(image.shape, 64, 10))]
    kept = [put(store, one) for one in made]
    assert np.array_equal(stitch(image.shape, kept)[:, :], stitch(image.shape, made)[:, :])


def test_what_was_made_under_another_plan_or_is_damaged_is_not_taken(
    image: Image, tmp_path: Path
) -> None:
    tiles = tile_image(image.shape, 64, 10)
    store = TileStore(tmp_path / "tiles", PLAN)
    for tile in tiles[:3]:
        put(store, objects(image, tile))
    first, second, third = sorted((tmp_path / "tiles").glob("*.npz"))
    first.write_bytes(first.read_bytes()[:-40])
    second.write_bytes(b"")
    content = bytearray(third.read_bytes())
    content[len(content) // 2] ^= 255
    third.write_bytes(content)
    again = TileStore(tmp_path / "tiles", PLAN)
    assert [again.get(tile) for tile in tiles[:3]] == [None] * 3
    put(again, objects(image, tiles[0]))
    other = TileStore(tmp_path / "tiles", {**PLAN, "diameter": 13.0})
    assert other.get(tiles[0]) is None


def test_an_interrupted_image_goes_on_where_it_stopped(image: Image, tmp_path: Path) -> None:
    undisturbed = run(image, Counting())
    tiles = undisturbed.facts["tiles"]
    assert tiles > 12
    with pytest.raises(KeyboardInterrupt):
        run(image, Counting(stops_at=7), tmp_path / "tiles")
    with pytest.raises(KeyboardInterrupt):
        run(image, Counting(stops_at=3), tmp_path / "tiles")
    last = Counting()
    result = run(image, last, tmp_path / "tiles")
    assert last.calls == tiles - 10
    assert result.facts["tiles_done_before"] == 10
    assert np.array_equal(result.cells, undisturbed.cells)
    assert result.table.to_pandas().equals(undisturbed.table.to_pandas())
    smaller = Counting()
    run(image, smaller, tmp_path / "tiles", overlap=60)
    assert smaller.calls == tiles


@pytest.mark.parametrize("expander", ["sequential", "standard", "voronoi"])
def test_label_images_on_disk_are_those_in_memory(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expander: str
) -> None:
    more = {
        "expander": expander,
        "compensator": "conserving",
        "features": ("shape", "neighbours", "compartments", "median"),
    }
    memory = run(image, Counting(), **more)
    assert isinstance(memory.cells, np.ndarray)
    monkeypatch.setattr(pipeline, "_IN_MEMORY", 1000)
    monkeypatch.setattr(label_store, "WINDOW", 64)
    disk = run(image, Counting(), tmp_path / "tiles", **more)
    assert not isinstance(disk.cells, np.ndarray)
    assert np.array_equal(disk.nuclei[:, :], memory.nuclei)
    assert np.array_equal(disk.cells[:, :], memory.cells)
    assert disk.table.to_pandas().equals(memory.table.to_pandas())
    assert memory.table.to_pandas()["area"].gt(20).any()
    again = run(image, Counting(stops_at=0), tmp_path / "tiles", **more)
    assert np.array_equal(again.cells[:, :], memory.cells)


def test_an_expander_that_breaks_a_rule_in_one_window_is_found_out(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Greedy:
        def expand(self, labels: np.ndarray) -> np.ndarray:
            return np.full_like(labels, labels.max())

    monkeypatch.setattr(pipeline, "_IN_MEMORY", 1000)
    with pytest.raises(SegmentationError, match="Greedy broke a rule"):
        run(image, Counting(), tmp_path / "tiles", expander=Greedy())


def test_a_folder_with_something_else_in_it_is_left_alone(image: Image, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match=r"nothing else, and there is 'thesis.txt' in it"):
        run(image, Counting(), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_tiles_of_another_image_are_not_taken(image: Image, tmp_path: Path) -> None:
    run(image, Counting(), tmp_path / "tiles")
    pixels = np.asarray(image.pixels[:])[:, ::-1]
    other = Image(pixels, channels=image.channels, name="other", source="elsewhere")
    found = run(other, Counting(), tmp_path / "tiles")
    assert np.array_equal(found.nuclei, run(other, Counting()).nuclei)
    dimmer = Counting()
    run(image, dimmer, tmp_path / "tiles", brightness=0.7)
    assert dimmer.calls == found.facts["tiles"]


def test_of_an_expander_object_nobody_knows_how_far_it_looks(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expander = SequentialExpander(distance=6)
    memory = run(image, Counting(), expander=expander, expand_by=0)
    monkeypatch.setattr(pipeline, "_IN_MEMORY", 1000)
    monkeypatch.setattr(label_store, "WINDOW", 64)
    disk = run(image, Counting(), tmp_path / "tiles", expander=expander, expand_by=0)
    assert np.array_equal(disk.cells[:, :], memory.cells)


def test_tiles_are_let_go_of_once_they_are_stitched(
    image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[weakref.ref] = []
    real = pipeline.stitch

    def watched(shape: tuple[int, int], objects: list) -> object:
        seen.extend(weakref.ref(one.labels) for one in objects)
        return real(shape, objects)

    def measured(*args: object, **kwargs: object) -> object:
        assert seen
        assert all(one() is None for one in seen)
        return real_measure(*args, **kwargs)

    real_measure = pipeline.measure
    monkeypatch.setattr(pipeline, "stitch", watched)
    monkeypatch.setattr(pipeline, "measure", measured)
    run(image, Counting())


def test_a_folder_that_cannot_be_written_is_named(image: Image, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file.tiles cannot be written"):
        run(image, Counting(), tmp_path / "file" / "tiles")


def test_tiles_of_another_image_in_memory_are_not_taken(tmp_path: Path) -> None:
    one, other = (
        Image(simulate_tissue((200, 260), seed=seed, channels=["DAPI"]).image.pixels[:, :, :])
        for seed in (1, 2)
    )
    full = np.full((1, 4, 4), 65535, np.uint16)
    for image in (one, other):
        image.pixels[:, :4, :4] = full  # the same brightness scale
    given = {"nuclear_diameter": 12, "tile": 64, "segmenter": "watershed"}
    Pipeline(**given).run(one, work=tmp_path / "tiles")
    again = Pipeline(**given).run(other, work=tmp_path / "tiles")
    assert "tiles_done_before" not in again.facts
    assert np.array_equal(again.nuclei, Pipeline(**given).run(other).nuclei)


@pytest.mark.parametrize("now", [1000.0, 4.5e9])
def test_a_tile_does_not_depend_on_the_clock(
    image: Image, tmp_path: Path, monkeypatch, now
) -> None:
    made = objects(image, tile_image(image.shape, 64, 10)[6])
    written = []
    for folder in ("today", "on another day"):
        store = TileStore(tmp_path / folder, PLAN)
        put(store, made)
        written.append(store.files.path(made.tile).read_bytes())
        monkeypatch.setattr("time.time", lambda: now)
    assert written[0] == written[1]
