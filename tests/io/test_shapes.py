"""Outlines, masks and pictures read back, by the libraries of their formats, to the same cells."""

from __future__ import annotations

import json
import re
import uuid
import warnings
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import attrs
import numpy as np
import pytest
import shapely
import tifffile
import zarr
from packaging.version import Version
from roifile import ROI_TYPE, ImagejRoi, roiread

from cellseg_core import Image
from cellseg_core.errors import ConfigurationError, OutputError
from cellseg_core.measure import measure
from cellseg_core.normalize import Brightness
from cellseg_core.result import Result
from cellseg_core.scaled import ScaledImage
from cellseg_core.testing import WriterTests
from cellseg_io.geojson import GeoJsonWriter
from cellseg_io.labels import LabelsWriter
from cellseg_io.masks import MasksWriter
from cellseg_io.overlay_tiff import OverlayTiffWriter
from cellseg_io.rois import RoisWriter, _region
from cellseg_io.spatialdata_store import SpatialDataWriter

HARD = ("a/b %s", "=SUM(A1)", 'q"t <script>', "β ☃")


def has_spatialdata() -> bool:
    try:
        return Version(metadata.version("spatialdata")) >= Version("0.7.3")
    except metadata.PackageNotFoundError:
        return False


needs_spatialdata = pytest.mark.skipif(
    not has_spatialdata(), reason="spatialdata 0.7.3 or later is not installed"
)


class TestGeoJson(WriterTests):
    def make(self) -> GeoJsonWriter:
        return GeoJsonWriter()


class TestRois(WriterTests):
    def make(self) -> RoisWriter:
        return RoisWriter()


class TestMasks(WriterTests):
    def make(self) -> MasksWriter:
        return MasksWriter()


class TestOverlayTiff(WriterTests):
    def make(self) -> OverlayTiffWriter:
        return OverlayTiffWriter()


@needs_spatialdata
class TestSpatialData(WriterTests):
    def make(self) -> SpatialDataWriter:
        return SpatialDataWriter(images="all")


def cells() -> np.ndarray:
    """Return cells that touch, of one pixel, on every edge, with holes, and of several pieces."""
    labels = np.zeros((40, 50), np.int32)
    labels[:9, :9] = 5
    labels[:9, 9:20] = 2
    labels[15:25, 15:25] = 7
    labels[18:21, 18:21] = 0  # a hole, with another cell in it
    labels[19, 19] = 70_000
    labels[30:35, 5:10] = labels[35:38, 10:14] = 9  # they touch at a corner
    labels[33:40, 40:50] = 12
    labels[0, 49] = 1
    return labels


def result(*, grown: bool = True, channels: Sequence[str] = HARD, name: str = 'a/"b" ☃') -> Result:
    labels = cells()
    nuclei = labels
    if grown:
        nuclei = labels.copy()
        nuclei[:, ::5] = 0
        nuclei[0, 49], nuclei[19, 19] = 1, 70_000
    pixels = np.random.default_rng(5).integers(0, 60_000, (len(channels), 40, 50))
    image = Image(pixels.astype(np.uint16), channels=channels, pixel_size=0.5, name=name)
    return Result(
        image=image,
        nuclei=nuclei,
        cells=labels,
        table=measure(image, labels),
        scaled=ScaledImage(image, (0,), (), Brightness.of(image, (0,))),
        nuclear_diameter=8.0,
        facts={},
        warnings=(),
    )


def painted(outlines: dict[int, shapely.Geometry]) -> np.ndarray:
    """Return the label image (40, 50) whose pixels' centres lie in the outlines."""
    y, x = np.mgrid[:40, :50] + 0.5
    labels = np.zeros((40, 50), np.int32)
    for number, outline in outlines.items():
        assert outline.is_valid
        inside = shapely.contains_xy(outline, x, y)
        assert not labels[inside].any()
        labels[inside] = number
    return labels


def features(path: Path) -> list[dict]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    read = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert read["type"] == "FeatureCollection"
    return read["features"]


def test_geojson_gives_back_both_label_images_and_every_number(tmp_path: Path) -> None:
    one = result()
    (path,) = GeoJsonWriter().write(one, tmp_path)
    found = features(path)
    numbers = [int(feature["properties"]["name"]) for feature in found]
    assert sorted(numbers) == one.table.labels.tolist()
    for key, labels in (("geometry", one.cells), ("nucleusGeometry", one.nuclei)):
        outlines = [shapely.from_geojson(json.dumps(feature[key])) for feature in found]
        assert np.array_equal(painted(dict(zip(numbers, outlines, strict=True))), labels)
    kinds = {
        number: feature["geometry"]["type"] for number, feature in zip(numbers, found, strict=True)
    }
    assert [number for number, kind in kinds.items() if kind == "MultiPolygon"] == [9]
    columns = one.table.columns()
    for number, feature in zip(numbers, found, strict=True):
        assert feature["properties"]["objectType"] == "cell"
        row = one.table.labels.tolist().index(number)
        measured = feature["properties"]["measurements"]
        assert measured["cell_id"] == number
        assert {*HARD, "area", "touches_edge", "area_um2"} <= set(measured)
        assert "score" not in measured, "this segmenter gives none"
        for name, value in measured.items():
            assert value == columns[name][row], name


def test_geojson_ids_are_uuids_that_only_the_image_and_the_cell_decide_on(tmp_path: Path) -> None:
    def ids(one: Result) -> list[str]:
        (path,) = GeoJsonWriter(measurements=False).write(one, tmp_path)
        read = features(path)
        assert all(set(one["properties"]["measurements"]) == {"cell_id"} for one in read)
        return [str(uuid.UUID(feature["id"])) for feature in read]

    assert ids(result()) == ids(result(grown=False))
    assert not set(ids(result())) & set(ids(result(name="other")))


def test_geojson_of_nuclei_that_were_not_grown_has_detections(tmp_path: Path) -> None:
    one = result(grown=False)
    (path,) = GeoJsonWriter().write(attrs.evolve(one, nuclei=one.cells), tmp_path)
    found = features(path)
    assert {feature["properties"]["objectType"] for feature in found} == {"detection"}
    assert not any("nucleusGeometry" in feature for feature in found)


def test_geojson_leaves_out_what_has_no_value_in_a_cell(tmp_path: Path) -> None:
    one = result(channels=("DAPI", "CD3"))
    intensities = one.table.intensities.copy()
    intensities[2, 1], intensities[3, 0] = np.nan, np.inf
    table = attrs.evolve(one.table, intensities=intensities)
    (path,) = GeoJsonWriter().write(attrs.evolve(one, table=table), tmp_path)
    read = [feature["properties"] for feature in features(path)]
    by_name = {int(one["name"]): one["measurements"] for one in read}
    assert "CD3" not in by_name[5]
    assert by_name[5]["DAPI"] == intensities[2, 0]
    assert "DAPI" not in by_name[7]


def test_a_table_of_other_cells_than_the_labels_is_refused(tmp_path: Path) -> None:
    one = result()
    other = attrs.evolve(one, cells=np.where(one.cells == 12, 0, one.cells))
    with pytest.raises(OutputError, match=r"the table has 7 cells and the label image 6"):
        GeoJsonWriter().write(other, tmp_path)


def outline_of(roi: ImagejRoi) -> shapely.Geometry:
    """Return what a region encloses: the even-odd rule over its paths, as in ImageJ."""
    paths = roi.coordinates(multi=True)
    outline = shapely.Polygon()
    for path in paths if isinstance(paths, list) else [paths]:
        outline = outline ^ shapely.Polygon(path)
    return outline


@pytest.mark.parametrize("outlines", ["cells", "nuclei"])
def test_rois_give_back_the_label_image(tmp_path: Path, outlines: str) -> None:
    one = result()
    (path,) = RoisWriter(outlines=outlines).write(one, tmp_path)
    regions = roiread(path)
    assert isinstance(regions, list)
    found = {int(roi.name): outline_of(roi) for roi in regions}
    assert np.array_equal(painted(found), one.cells if outlines == "cells" else one.nuclei)
    by_name = {roi.name: roi for roi in regions}
    if outlines == "cells":
        assert by_name["5"].roitype == ROI_TYPE.TRACED
        assert by_name["7"].composite, "it has a hole"
        assert by_name["9"].composite, "it has two pieces"
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"{roi.name}.roi" for roi in regions]
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}


def test_rois_far_from_the_origin_keep_every_corner() -> None:
    square = np.array([[0, 0], [9, 0], [9, 5], [0, 5], [0, 0]], np.int32)
    for far in (32_760, 40_000, 60_526, 60_527, 65_530, 300_000):
        corners = square + np.int32(far)
        for rings in ([(corners, False)], [(corners, False), (corners + np.int32(20), False)]):
            roi = ImagejRoi.frombytes(_region("3", rings))
            paths = roi.coordinates(multi=True) if roi.composite else [roi.coordinates()]
            for path, (expected, _) in zip(paths, rings, strict=True):
                assert shapely.Polygon(path).equals(shapely.Polygon(expected)), far
        whole = ImagejRoi.frombytes(_region("3", [(corners, False)]))
        assert whole.subpixelresolution == (far + 9 > 60_535)


def test_rois_of_no_cells_are_no_file_and_of_another_thing_an_error(tmp_path: Path) -> None:
    assert RoisWriter().write(WriterTests().result(empty=True), tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigurationError, match="are cells or nuclei; got 'rings'"):
        RoisWriter(outlines="rings")


@pytest.mark.parametrize(("add", "dtype"), [(0, np.uint16), (70_000, np.float32)])
def test_masks_are_an_imagej_stack_of_the_ids(tmp_path: Path, add: int, dtype: type) -> None:
    one = result()
    labels = np.where(one.cells == 70_000, 65_535, one.cells)
    labels = np.where(labels > 0, labels + add, 0)
    nuclei = np.where(one.nuclei > 0, labels, 0)
    table = measure(one.image, labels)
    (path,) = MasksWriter().write(
        attrs.evolve(one, cells=labels, nuclei=nuclei, table=table), tmp_path
    )
    with tifffile.TiffFile(path) as file:
        assert file.is_imagej
        assert file.byteorder == ">"
        assert file.series[0].axes == "CYX"
        assert file.asarray().dtype == dtype
        assert np.array_equal(file.asarray(), np.stack([nuclei, labels]))
        facts = file.imagej_metadata or {}
        assert facts["Labels"] == ["nuclei", "cells"]
        assert facts["max"] == labels.max()
        assert file.pages[0].tags["XResolution"].value == (2, 1), "0.5 um"


def test_masks_refuse_ids_that_imagej_would_round(tmp_path: Path) -> None:
    one = result()
    table = attrs.evolve(one.table, labels=one.table.labels + 2**24)
    with pytest.raises(OutputError, match="holds ids up to 16,777,216 exactly"):
        MasksWriter().write(attrs.evolve(one, table=table), tmp_path)


def test_labels_are_what_the_reader_of_ome_zarr_takes_for_labels(tmp_path: Path) -> None:
    one = result()
    LabelsWriter(format="zarr").write(one, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the library says of its own classes
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Multiscales, Reader

        for name, labels in (("nuclei", one.nuclei), ("cells", one.cells)):
            location = parse_url(tmp_path / f"{name}.ome.zarr")
            assert location is not None
            node = next(iter(Reader(location)()))
            assert any(isinstance(spec, Multiscales) for spec in node.specs)
            assert np.array_equal(np.asarray(node.data[0]), labels)


def test_the_large_overlay_is_a_pyramid_in_colour_drawn_in_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.zeros((600, 1101), np.int32)
    for number, left in enumerate(range(0, 1100, 100), start=1):
        labels[500:530, left : left + 60] = number
    pixels = np.zeros((1, *labels.shape), np.uint16)
    pixels[0][labels > 0] = 900
    image = Image(pixels, channels=("DAPI",), pixel_size=0.5, name="µ <x>")
    nuclei = labels.copy()
    nuclei[:510] = 0
    one = attrs.evolve(
        result(), image=image, cells=labels, nuclei=nuclei, table=measure(image, labels),
        scaled=ScaledImage(image, (0,), (), Brightness.of(image, (0,))),
    )  # fmt: skip
    (path,) = OverlayTiffWriter().write(one, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["overlay.ome.tif"]
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        assert [level.shape for level in file.series[0].levels] == [
            (600, 1101, 3), (300, 551, 3), (150, 276, 3),
        ]  # fmt: skip
        assert file.pages[0].is_tiled
        assert file.pages[0].compression.name == "JPEG"
        assert 'PhysicalSizeX="0.5"' in (file.ome_metadata or "")
        whole = file.asarray().astype(int)
        small = file.series[0].levels[1].asarray().astype(int)
    blue, orange = (
        np.abs(whole - colour).max(axis=2) < 60 for colour in ((60, 160, 255), (255, 170, 0))
    )
    assert blue[500, 5:55].all(), "a cell's outline"
    assert orange[511:529, 59].all(), "a nucleus's outline"
    assert not orange[:509].any()
    # Across the seam between tiles nothing is outlined that is no edge.
    assert not (blue | orange)[512, 520:550].any()
    means = whole[:, :1100].reshape(300, 2, 550, 2, 3).mean(axis=(1, 3))
    assert np.abs(small[:, :550] - means).mean() < 2
    monkeypatch.setattr("cellseg_io.overlay_tiff._WIDEST", 512)
    before = path.read_bytes()
    OverlayTiffWriter().write(one, tmp_path)
    assert path.read_bytes() == before, "the width of what is drawn at a time makes no difference"


def test_the_large_overlay_refuses_a_gamma_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"overlay-tiff\.gamma is a number of 0\.01"):
        OverlayTiffWriter(gamma=0)


@needs_spatialdata
def test_spatialdata_elements_are_linked_by_the_ids(tmp_path: Path) -> None:
    one = result()
    table = attrs.evolve(one.table, uncompensated=one.table.intensities + 1)
    files = SpatialDataWriter(images="all").write(attrs.evolve(one, table=table), tmp_path)
    assert all(file.is_file() for file in files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the library says of its own classes
        import spatialdata

        store = spatialdata.read_zarr(tmp_path / "cells.spatialdata.zarr")
        linked = spatialdata.match_table_to_element(store, "cells", "table")
        ids = spatialdata.get_element_instances(store["cells_labels"])
    assert sorted(set(ids) - {0}) == one.table.labels.tolist()
    assert np.array_equal(store["cells_labels"], one.cells)
    assert np.array_equal(store["nuclei_labels"], one.nuclei)
    assert np.array_equal(store["image"], one.image.pixels)
    assert store["image"].coords["c"].values.tolist() == list(HARD)
    outlines = store["cells"].geometry
    assert np.array_equal(painted(outlines.to_dict()), one.cells)
    assert linked.obs["cell_id"].tolist() == outlines.index.tolist() == table.labels.tolist()
    assert linked.var_names.tolist() == list(HARD)
    assert np.array_equal(linked.X, table.intensities)
    assert np.array_equal(linked.layers["uncompensated"], table.uncompensated)
    assert np.array_equal(linked.obsm["spatial"], table.centroids[:, ::-1])
    assert set(store.coordinate_systems) == {"global", "um"}


@needs_spatialdata
def test_spatialdata_has_a_pyramid_of_large_images_and_the_channels_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellseg_io.spatialdata_store._SMALLEST", 20)
    SpatialDataWriter().write(result(), tmp_path)
    group = zarr.open_group(tmp_path / "cells.spatialdata.zarr", mode="r")
    levels = [name for name, _ in group["labels/cells_labels"].arrays()]
    assert len(levels) == 3
    assert group["images/image"][min(levels)].shape == (1, 40, 50)


def test_spatialdata_refuses_images_that_there_are_not() -> None:
    with pytest.raises(ConfigurationError, match="nuclear, all or none; got 'some'"):
        SpatialDataWriter(images="some")


def test_the_blocks_of_the_page_on_shapes_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "shapes.md").read_text(encoding="utf-8")
    folder = tmp_path / "results" / "tissue"
    folder.mkdir(parents=True)
    writers = [GeoJsonWriter(), RoisWriter(), LabelsWriter()]
    for writer in [*writers, SpatialDataWriter()] if has_spatialdata() else writers:
        writer.write(result(), folder)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    for block in blocks:
        if has_spatialdata() or not ("spatialdata" in block or "tissue[" in block):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what the library says of its own classes
                exec(compile(block, "shapes.md", "exec"), names)  # noqa: S102 - our own page


@needs_spatialdata
def test_spatialdata_takes_channels_called_like_columns(tmp_path: Path) -> None:
    one = result(channels=("area", "CD3:mean"))
    SpatialDataWriter(images="none").write(one, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the library says of its own classes
        import spatialdata

        table = spatialdata.read_zarr(tmp_path / "cells.spatialdata.zarr")["table"]
    assert table.var_names.tolist() == ["area", "CD3:mean"]
    assert np.array_equal(table.X, one.table.intensities)
    assert np.array_equal(table.obs["area"], one.table.areas)
