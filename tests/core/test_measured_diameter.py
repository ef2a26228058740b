import attrs
import numpy as np
import pytest

from cellseg_core import Image, Pipeline
from cellseg_core.errors import ConfigurationError, SegmentationError
from cellseg_core.measured_diameter import measure_diameter
from cellseg_core.protocols import Segmentation
from cellseg_core.scaled import view

NATIVE = 16.0


def discs(diameter: float, size: int = 240, pixel_size: float | None = None) -> Image:
    """Return an image of discs on a grid, twice their diameter apart."""
    step = 2 * diameter
    y, x = np.mgrid[:size, :size] % step - step / 2
    plane = np.where(y**2 + x**2 < (diameter / 2) ** 2, 40_000, 400).astype(np.uint16)
    return Image(plane, pixel_size=pixel_size)


@attrs.frozen
class Choosy:
    """Finds what is bright, and is the surer of it the nearer its size is to the native one."""

    native_diameter: float | None = NATIVE
    halo: int = 8
    scored: bool = True
    seen: list[tuple[int, ...]] = attrs.field(factory=list)

    def segment(self, tile):
        from skimage.measure import label

        self.seen.append(tile.shape)
        labels = label(tile[0] > 0.5)
        areas = np.bincount(labels.ravel())[1:]
        octaves = np.log2(np.sqrt(areas * 4 / np.pi) / NATIVE)
        return Segmentation(labels, np.exp(-(octaves**2)) if self.scored else None)


def measured(image: Image, guess: float, segmenter: Choosy | None = None) -> float | None:
    scaled, _ = view(image)
    return measure_diameter(segmenter or Choosy(), scaled, scaled.sample(), guess)


@pytest.mark.parametrize("diameter", [8, 20, 45])
@pytest.mark.parametrize("wrong", [0.4, 0.6, 1, 1.7, 5])
def test_a_wrong_guess_is_mended(diameter: float, wrong: float) -> None:
    found = measured(discs(diameter, size=12 * diameter), diameter * wrong)
    assert found == pytest.approx(diameter, rel=0.1)


def test_parts_of_a_large_image_are_enough() -> None:
    segmenter = Choosy()
    assert measured(discs(16, size=2100), 30, segmenter) == pytest.approx(16, rel=0.1)
    assert max(max(shape) for shape in segmenter.seen) < 600


@pytest.mark.parametrize("segmenter", [Choosy(native_diameter=None), Choosy(scored=False)])
def test_a_segmenter_of_any_size_or_without_scores_measures_nothing(segmenter: Choosy) -> None:
    assert measured(discs(20), 30, segmenter) is None


def test_bright_glass_is_not_looked_at() -> None:
    stained = np.full((2100, 2100), 60_000, np.uint16)
    stained[1600:, 1600:] = 40_000 - discs(16, size=500).read(0) // 2
    scaled, _ = view(Image(stained))
    windows = scaled.signal_windows(scaled.sample(), 2, 400)
    assert all(box.y1 > 1600 and box.x1 > 1600 for box in windows)


def test_an_empty_image_measures_nothing() -> None:
    assert measured(Image(np.zeros((1, 90, 70), np.uint16)), 16) is None


def test_two_nuclei_are_too_few() -> None:
    assert measured(discs(20, size=40), 20) is None


def test_sizes_that_no_nucleus_has_are_not_tried() -> None:
    # Discs of 20 px are 40 um wide here.
    assert measured(discs(20, pixel_size=2.0), 10) is None


def test_the_pipeline_works_with_what_was_measured() -> None:
    result = Pipeline(segmenter=Choosy()).run(discs(20))
    assert result.nuclear_diameter == pytest.approx(20, rel=0.1)
    assert "measured" in result.facts["nuclear_diameter_from"]
    given = Pipeline(segmenter=Choosy(), nuclear_diameter=30).run(discs(20))
    assert given.nuclear_diameter == 30
    assert given.facts["nuclear_diameter_from"] == "given"


def test_the_looks_are_told() -> None:
    told: list[tuple[str, int, int]] = []
    Pipeline(segmenter=Choosy()).run(discs(20), progress=lambda *one: told.append(one))
    looks = [one for one in told if one[0] == "diameter"]
    assert looks[:4] == [("diameter", done, 6) for done in range(4)]
    assert told.index(looks[-1]) < told.index(("segment", 0, 1))


def test_a_failing_segmenter_is_named() -> None:
    @attrs.frozen
    class Failing(Choosy):
        def segment(self, tile):
            raise ValueError("no luck")

    with pytest.raises(SegmentationError, match=r"Failing failed \(ValueError: no luck\)"):
        measured(discs(20), 20, Failing())


def test_a_pixel_size_that_cannot_be_is_doubted_and_said() -> None:
    result = Pipeline(segmenter=Choosy()).run(discs(20, pixel_size=5.0))
    assert result.nuclear_diameter == pytest.approx(20, rel=0.2)
    assert any("is the pixel size right?" in warning for warning in result.warnings)
    assert any("um at 5 um for each px" in warning for warning in result.warnings)


@pytest.mark.parametrize("diameter", [1e-9, 0.4])
def test_a_diameter_that_would_magnify_beyond_all_bounds_is_refused(diameter: float) -> None:
    with pytest.raises(ConfigurationError, match="--nuclear-diameter is in px"):
        Pipeline(segmenter=Choosy(), nuclear_diameter=diameter).run(discs(20))


@pytest.mark.parametrize("native", [0.0, -3.0, float("nan")])
def test_a_native_diameter_that_is_none_is_named(native: float) -> None:
    with pytest.raises(ConfigurationError, match="native_diameter of Choosy"):
        Pipeline(segmenter=Choosy(native_diameter=native)).run(discs(20))


def test_scores_beyond_their_range_are_refused() -> None:
    @attrs.frozen
    class Proud(Choosy):
        def segment(self, tile):
            found = super().segment(tile)
            return Segmentation(found.labels, 50 * found.scores)

    with pytest.raises(SegmentationError, match="Proud broke a rule: scores are from 0 to 1"):
        Pipeline(segmenter=Proud(), nuclear_diameter=20).run(discs(20))


def test_memory_that_runs_out_while_measuring_is_told_so() -> None:
    @attrs.frozen
    class Greedy(Choosy):
        def segment(self, tile):
            raise MemoryError

    with pytest.raises(SegmentationError, match="while the nuclear diameter was measured"):
        Pipeline(segmenter=Greedy()).run(discs(20))
