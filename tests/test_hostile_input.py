"""Files from somewhere else: nothing is written outside OUT, executed or fetched.

Each test is one threat. Threats that are tested beside the part they concern:

- names as HTML and script in reports: ``io/report/test_pages.py``, ``io/report/test_browser.py``,
  ``core/comparing/test_report.py``, ``core/comparing/test_charts.py``; in napari: ``viewer/``;
- delimiters in names in FCS: ``io/test_fcs.py``; formulas in CSV: ``io/test_writers.py``;
- names of folders that are no folders of a run in ``run.json``: ``core/test_finished_run.py``;
- paths in archives of weights, and archives that inflate: ``core/test_weights.py``,
  ``backends/test_maskrcnn_weights.py`` (also pickles there);
- pickles in label images: ``core/test_label_files.py``; in weights of Cellpose:
  ``backends/test_cellpose_training.py``;
- paths in the metadata of a Zarr: ``io/test_ome_zarr.py``; addresses: ``io/test_addresses.py``.
"""

from __future__ import annotations

import ast
import itertools
import json
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellseg_core import Image, read_image
from cellseg_core.batch import run_batch
from cellseg_core.cli.echo import printable
from cellseg_core.cli.options import config_from
from cellseg_core.config import RunConfig
from cellseg_core.errors import CellsegError, ConfigurationError, ImageError, OutputError
from cellseg_core.preview import preview
from cellseg_core.reporting import Summary
from cellseg_core.store import Store

HOSTILE = (
    "DAPI", "../../up", "/etc/passwd", "C:\\x\\y", "nul\0tab\tline\nescape\x1b[2J\x9b2J",
    "x" * 10_000,
    "<script>alert(1)</script>", '=HYPERLINK("http://x")', "@SUM(A1)", "{0.__class__}", "%n%s%d",
    "/FCS//delimiters\x0c/", "\u202etxt.exe", "$P1N", "'; DROP TABLE cells", "$(id)`id`", "..",
    'a,b"c;d', "cell_id", "half \ud800",
)  # fmt: skip
WRITERS = [
    "csv",
    "fcs",
    "parquet",
    "h5ad",
    "geojson",
    "rois",
    "masks",
    "spatialdata",
    "overlay",
    "overlay-tiff",
    "report",
    "labels",
]
OME = (
    '<?xml version="1.0" encoding="UTF-8"?>{dtd}'
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0" Name="i">'
    '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="{x}" SizeY="{y}" SizeZ="1" '
    'SizeC="{c}" SizeT="1"><Channel ID="Channel:0:0" Name="{name}"/>'
    '<Channel ID="Channel:0:1" Name="b"/>{data}</Pixels></Image></OME>'
)
WELL = {"dtd": "", "x": 32, "y": 32, "c": 2, "name": "a", "data": '<TiffData PlaneCount="2"/>'}
LAUGHS = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in itertools.pairwise("abcdefghi"))


def spots(shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Return a plane with bright discs of 10 px."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    plane = np.random.default_rng(0).normal(200, 10, shape)
    for row in range(12, shape[0] - 8, 16):
        for column in range(12, shape[1] - 8, 16):
            plane += 800 * ((y - row) ** 2 + (x - column) ** 2 <= 25)
    return plane.astype(np.uint16)


def run(path: Path, out: Path, **settings: object) -> Summary:
    """Run with the cheapest settings."""
    config = {"segmenter": "watershed", "write": ("csv",), "nuclear_diameter": 10, **settings}
    return run_batch([path], out, RunConfig(**config))


def ome(path: Path, **changed: object) -> Path:
    """Write a TIFF, or a companion file, whose OME-XML is changed in some places."""
    xml = OME.format(**{**WELL, **changed})
    if path.name.endswith(".companion.ome"):
        path.write_text(xml, encoding="utf-8")
    else:
        pixels = np.zeros((2, 32, 32), np.uint16)
        tifffile.imwrite(
            path, pixels, description=xml.encode(), metadata=None, photometric="minisblack"
        )
    return path


def tiff(path: Path, size: int, content: bytes, compression: int, bits: int = 16) -> Path:
    """Write a TIFF of one strip that says that it is ``size`` px high and wide."""
    tags = [(256, size), (257, size), (258, bits), (259, compression), (262, 1), (273, 8), (277, 1)]
    tags += [(278, size), (279, len(content))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack("<4sI", b"II*\0", 8 + len(content))
    path.write_bytes(head + content + struct.pack("<H", len(tags)) + entries + bytes(4))
    return path


class TestNames:
    @pytest.mark.filterwarnings("ignore")
    def test_hostile_names_are_written_by_every_writer_into_out_alone(self, tmp_path: Path) -> None:
        inner = tmp_path / "inner"
        inner.mkdir()
        path = inner / "{0.__class__} %n =1+1 <b> \x1b[31m \udcff.tif"
        tifffile.imwrite(path, np.stack([spots()] * len(HOSTILE)), photometric="minisblack")
        before = set(tmp_path.rglob("*"))
        summary = run(
            path,
            inner / "out",
            nuclear=("DAPI",),
            expand=2,
            write=WRITERS,
            set={"tiff": {"names": HOSTILE}},
        )
        assert summary.cells == 12
        assert not summary.failed
        made = set(tmp_path.rglob("*")) - before
        assert all(one.is_relative_to(inner / "out") for one in made)
        (folder,) = (
            one for one in (inner / "out").iterdir() if one.is_dir() and one.name[0] != "."
        )
        assert folder.name == "_0.__class___ _n =1+1 _b_ __31m _"
        (warned,) = (w for w in summary.outcomes[0].warnings if "formulas" in w)
        assert '=HYPERLINK("http://x"), @SUM(A1)' in warned

    def test_names_of_channels_hold_no_control_characters_and_no_halves(self) -> None:
        image = Image(np.zeros((2, 9, 9), np.uint8), channels=("a\0\x1b[2J\x9bb\n", "\ud800c"))
        assert image.channels == ("a [2J b", "c")

    @pytest.mark.parametrize("code", ["\x1b[2J", "\x9b2J", "\x07", "\b", "\u202e", "\udcff", "\r"])
    def test_a_terminal_gets_no_commands(self, code: str) -> None:
        shown = printable(f"a{code}b\tc\nd")
        assert code not in shown
        assert shown.startswith("a\\")
        assert shown.endswith("b\tc\nd")

    def test_names_of_files_are_printed_without_commands(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from cellseg_core.cli.main import main

        tifffile.imwrite(tmp_path / "a\x1b[2Jb.tif", spots())
        (tmp_path / "c\x1b[2Jd.tif").write_bytes(b"no image")
        for command in (
            ["info", "--layout", "images", tmp_path],
            [
                "run",
                "--layout",
                "images",
                tmp_path,
                "--segmenter",
                "watershed",
                "-o",
                tmp_path / "out",
            ],
        ):
            monkeypatch.setattr("sys.argv", ["cellseg", *map(str, command)])
            with pytest.raises(SystemExit):
                main()
            printed = "".join(capsys.readouterr())
            assert "\x1b" not in printed
            assert "a\\x1b[2Jb" in printed
            assert "c\\x1b[2Jd.tif" in printed

    def test_every_command_that_shows_names_prints_through_one_function(self) -> None:
        folder = Path(__file__).parents[1] / "cellseg_core" / "cli"
        own = {"echo", "demo", "init", "plugins", "weights"}  # these show nothing from images
        for file in folder.glob("*.py"):
            if file.stem not in own:
                assert "click.echo" not in file.read_text(encoding="utf-8"), file


class TestXml:
    @pytest.mark.parametrize("name", ["a.ome.tif", "a.companion.ome"])
    @pytest.mark.parametrize(
        ("dtd", "value"),
        [
            (f'<!DOCTYPE x [<!ENTITY a "lol">{LAUGHS}]>', "&i;"),
            (f'<!DOCTYPE x [<!ENTITY a "{"A" * 100_000}">]>', "&a;" * 2000),
            ('<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>', "&e;"),
            ('<!DOCTYPE x [<!ENTITY e SYSTEM "http://192.0.2.1/">]>', "&e;"),
        ],
        ids=["billion laughs", "quadratic", "a file", "an address"],
    )
    def test_entities_neither_grow_nor_disclose(
        self, tmp_path: Path, name: str, dtd: str, value: str
    ) -> None:
        secret = tmp_path / "secret.txt"
        secret.write_text("SECRET")
        path = ome(tmp_path / name, dtd=dtd.replace("{secret}", str(secret)), name=value)
        began = time.monotonic()
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert "SECRET" not in str(caught.value)
        assert time.monotonic() - began < 5

    def test_entities_in_a_qptiff_name_no_channel(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret.txt"
        secret.write_text("SECRET")
        dtd = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}"><!ENTITY a "lol">{LAUGHS}]>'
        root = "PerkinElmer-QPI-ImageDescription"
        with tifffile.TiffWriter(tmp_path / "a.qptiff") as file:
            for value in ("&e;", "&i;"):
                file.write(
                    np.zeros((32, 32), np.uint16),
                    description=f'<?xml version="1.0"?>{dtd}<{root}><Name>{value}</Name></{root}>',
                    metadata=None,
                    software="PerkinElmer-QPI",
                )
        assert read_image(tmp_path / "a.qptiff").channels == ("channel_1", "channel_2")

    @pytest.mark.parametrize("name", ["a.ome.tif", "a.companion.ome"])
    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"c": 10**9}, "1,000,000,000 planes"),
            ({"data": '<TiffData PlaneCount="30000000"/>'}, "30,000,000 planes"),
            ({"x": 10**6, "y": 10**6}, r"1,000,000 x 1,000,000 px.*CELLSEG_MAX_PIXELS=1e\+12"),
            ({"x": -1}, "damaged"),
        ],
    )
    def test_sizes_beyond_belief_take_no_memory(
        self, tmp_path: Path, name: str, changed: dict[str, object], told: str
    ) -> None:
        with pytest.raises(ImageError, match=told):
            read_image(ome(tmp_path / name, **changed))

    @pytest.mark.parametrize("name", ["a.ome.tif", "a.companion.ome"])
    @pytest.mark.parametrize(
        "outside", ["../b.tif", "x/../../b.tif", "{folder}/b.tif", "..\\b.tif"]
    )
    def test_files_of_a_set_lie_in_its_folder(
        self, tmp_path: Path, name: str, outside: str
    ) -> None:
        tifffile.imwrite(tmp_path / "b.tif", np.zeros((2, 32, 32), np.uint16), metadata=None)
        (tmp_path / "set").mkdir()
        uuid = f'<UUID FileName="{outside.format(folder=tmp_path)}">urn:uuid:1</UUID>'
        data = f'<TiffData PlaneCount="2">{uuid}</TiffData>'
        with pytest.raises(ImageError, match="names a file outside its own folder"):
            read_image(ome(tmp_path / "set" / name, data=data))


class TestBombs:
    def test_a_strip_of_terabytes_is_refused_with_the_limit_that_can_be_raised(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tiff(tmp_path / "a.tif", 100_000, zlib.compress(b"x"), 8)
        told = r"a\.tif is stored in pieces of 1 x 100000 x 100000 x 1 values, 20.0 GB.*up to 4 GB"
        with pytest.raises(ImageError, match=rf"{told}.*CELLSEG_MAX_DECODE_GB=20; or save"):
            read_image(path)
        monkeypatch.setenv("CELLSEG_MAX_DECODE_GB", "20")
        assert read_image(path).shape == (100_000, 100_000)

    def test_a_plane_of_a_terapixel_is_refused_with_the_limit_that_can_be_raised(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import zarr

        shape = (1, 10**6, 10**6)
        zarr.create_array(tmp_path / "a.zarr", shape=shape, chunks=(1, 64, 64), dtype="uint16")
        with pytest.raises(ImageError, match=r"a\.zarr says.*up to 1e\+11 px.*MAX_PIXELS=1e\+12"):
            read_image(tmp_path / "a.zarr")
        monkeypatch.setenv("CELLSEG_MAX_PIXELS", "1e12")
        assert read_image(tmp_path / "a.zarr").shape == (10**6, 10**6)

    def test_a_zarr_of_a_giant_chunk_or_a_billion_channels_is_refused(self, tmp_path: Path) -> None:
        import zarr

        giant = (1, 100_000, 100_000)
        zarr.create_array(tmp_path / "a.zarr", shape=giant, chunks=giant, dtype="uint16")
        with pytest.raises(ImageError, match=r"20\.0 GB each once decoded"):
            read_image(tmp_path / "a.zarr")
        many = (10**9, 8, 8)
        zarr.create_array(tmp_path / "b.zarr", shape=many, chunks=(1, 8, 8), dtype="uint16")
        with pytest.raises(ImageError, match="1,000,000,000 planes"):
            read_image(tmp_path / "b.zarr", axes="CYX")

    @pytest.mark.parametrize("limit", ["0", "-1", "much", "nan"])
    def test_a_limit_that_is_no_number_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
    ) -> None:
        tifffile.imwrite(tmp_path / "a.tif", spots())
        monkeypatch.setenv("CELLSEG_MAX_PIXELS", limit)
        with pytest.raises(ConfigurationError, match=f"CELLSEG_MAX_PIXELS is a number.*{limit}"):
            read_image(tmp_path / "a.tif")

    @pytest.mark.parametrize(("codec", "compression"), [("zlib", 8), ("zstd", 50000), ("lzw", 5)])
    def test_a_strip_is_not_inflated_beyond_its_size(
        self, tmp_path: Path, codec: str, compression: int
    ) -> None:
        import imagecodecs

        from cellseg_core.memory import own_memory

        content = getattr(imagecodecs, f"{codec}_encode")(bytes(2**26))
        path = tiff(tmp_path / "a.tif", 32, content, compression)
        before = own_memory()
        try:
            assert not read_image(path).read(0).any()
        except ImageError as error:
            assert "cannot be decoded" in str(error)  # noqa: PT017 - either is right
        assert own_memory() - before < 2**25

    @pytest.mark.parametrize(("codec", "compression"), [("jpeg", 7), ("jpeg2k", 33005)])
    def test_a_picture_far_larger_than_its_strip_is_not_decoded(
        self, tmp_path: Path, codec: str, compression: int
    ) -> None:
        import imagecodecs

        content = getattr(imagecodecs, f"{codec}_encode")(np.zeros((1000, 1000), np.uint8))
        path = tiff(tmp_path / "a.tif", 32, content, compression, bits=8)
        with pytest.raises(ImageError, match="holds a picture of 1000 x 1000 px"):
            read_image(path).read(0)


class TestPaths:
    def test_a_plate_whose_wells_lie_outside_is_not_followed(self, tmp_path: Path) -> None:
        import zarr

        zarr.create_array(tmp_path / "secret.zarr", shape=(8, 8), chunks=(8, 8), dtype="uint16")
        plate = zarr.open_group(tmp_path / "a.zarr", mode="w")
        for path in ("../secret.zarr", str(tmp_path / "secret.zarr")):
            plate.attrs["ome"] = {"version": "0.5", "plate": {"wells": [{"path": path}]}}
            with pytest.raises(ImageError, match=r"a\.zarr"):
                read_image(tmp_path / "a.zarr")

    def test_links_that_go_in_circles_end(self, tmp_path: Path) -> None:
        images = tmp_path / "images"
        images.mkdir()
        tifffile.imwrite(images / "a.tif", spots())
        (images / "again").symlink_to(images)
        (images / "b.tif").symlink_to(images / "c.tif")
        (images / "c.tif").symlink_to(images / "b.tif")
        summary = run(images, tmp_path / "out", layout="images")
        assert summary.cells == 12
        assert all("b.tif" in one.source or "c.tif" in one.source for one in summary.failed)

    @pytest.mark.parametrize("link", [".cellseg", ".cellseg/images", ".cellseg/tiles", "a"])
    def test_nothing_is_written_or_removed_through_a_link_in_out(
        self, tmp_path: Path, link: str
    ) -> None:
        elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
        (elsewhere / "a").mkdir(parents=True)
        (elsewhere / "a" / "kept.txt").write_text("kept")
        (out / link).parent.mkdir(parents=True)
        (out / link).symlink_to(elsewhere)
        before = sorted(elsewhere.rglob("*"))
        tifffile.imwrite(tmp_path / "a.tif", spots())
        try:
            told = run(tmp_path / "a.tif", out).failed[0].error
        except OutputError as error:
            told = str(error)
        assert "a link to" in str(told)
        assert "Remove the link" in str(told)
        assert sorted(elsewhere.rglob("*")) == before

    def test_tiles_of_an_image_are_not_removed_through_a_link(self, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        (elsewhere / "kept").mkdir(parents=True)
        with Store.open(tmp_path / "out") as store:
            (store.work / "tiles").mkdir()
            (store.work / "tiles" / "a").symlink_to(elsewhere)
            with pytest.raises(OutputError, match="a link to"):
                store.tiles_of("a", "0" * 16)
        assert (elsewhere / "kept").is_dir()

    @pytest.mark.parametrize("named", ["../../kept.txt", "{folder}/kept.txt", "..\\kept.txt"])
    def test_a_record_that_names_files_elsewhere_removes_none(
        self, tmp_path: Path, named: str
    ) -> None:
        kept = tmp_path / "kept.txt"
        kept.write_text("kept")
        tifffile.imwrite(tmp_path / "a.tif", spots())
        records = tmp_path / "out" / ".cellseg" / "images"
        records.mkdir(parents=True)
        record = {"key": "x", "files": {named.format(folder=tmp_path): 4}}
        (records / "a.json").write_text(json.dumps(record))
        assert run(tmp_path / "a.tif", tmp_path / "out").cells == 12
        assert kept.read_text() == "kept"


class TestCode:
    def test_no_file_is_unpickled_or_evaluated(self) -> None:
        """Cloudpickle packs work for workers; these are the only unpacked pickles."""
        top = Path(__file__).parents[1]
        parts = ("cellseg_core", "backends", "io", "postprocess", "viewer")
        forbidden = {"eval", "exec", "compile", "__import__"}
        unsafe = []
        for file in (one for part in parts for one in (top / part).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                called = ast.unparse(node.func)
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                if (
                    called in forbidden
                    or called in ("pickle.load", "pickle.loads", "joblib.load", "os.system")
                    or called.endswith((".extractall", "yaml.load", "load_model"))
                    or (called == "torch.load" and given.get("weights_only") != "True")
                    or given.get("allow_pickle") == "True"
                    or given.get("safe_mode") == "False"
                    or given.get("shell") == "True"
                ):
                    unsafe.append(f"{file.relative_to(top)}:{node.lineno} {called}")
        assert [one for one in unsafe if "cellseg_core/testing/" not in one] == []

    @pytest.mark.parametrize("name", ["os:system", "../evil", "/evil.py", "evil.module:Class"])
    @pytest.mark.parametrize("kind", ["segmenter", "expander", "write"])
    def test_settings_name_components_of_plugins_and_no_modules(
        self, tmp_path: Path, kind: str, name: str
    ) -> None:
        tifffile.imwrite(tmp_path / "a.tif", spots())
        value = [name] if kind == "write" else name
        with pytest.raises(CellsegError, match=r"no (segmenter|expander|writer)"):
            run(tmp_path / "a.tif", tmp_path / "out", **{kind: value, "expand": 1})
        assert not (tmp_path / "out").exists()

    def test_settings_alone_run_no_program(self, tmp_path: Path) -> None:
        file = tmp_path / "settings.toml"
        file.write_text(
            'segmenter = "subprocess"\n'
            '[set.subprocess]\npython = "/bin/sh"\ncomponent = "os:system"\n'
        )
        with pytest.raises(ConfigurationError, match="give --segmenter subprocess too"):
            config_from({"segmenter": None}, file)
        assert config_from({"segmenter": "subprocess"}, file).segmenter == "subprocess"
        assert config_from({"segmenter": "watershed"}, file).segmenter == "watershed"

    def test_an_address_in_settings_is_not_asked_offline(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CELLSEG_OFFLINE", "1")
        tifffile.imwrite(tmp_path / "a.tif", spots())
        with pytest.raises(ImageError, match="CELLSEG_OFFLINE forbids"):
            run(tmp_path / "a.tif", tmp_path / "out", reference="http://192.0.2.1/a.zarr")


class TestNumbers:
    def test_nuclei_wider_than_the_image_are_an_error(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", spots())
        (failed,) = run(tmp_path / "a.tif", tmp_path / "out", nuclear_diameter=1e9).failed
        assert "nuclei cannot be 1e+09 px wide in an image of 60 x 80 px" in str(failed.error)
        config = RunConfig(segmenter="watershed")
        for given in ({"diameters": [1e9]}, {"factors": [1e300]}):
            with pytest.raises(ConfigurationError, match="1e\\+"):
                preview(Image(spots()[np.newaxis]), config, **given)

    def test_values_beyond_32_bit_floats_are_told_once(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", spots() * 1e300)
        (failed,) = run(tmp_path / "a.tif", tmp_path / "out").failed
        assert "'channel_1'" in str(failed.error)
        assert "about 1.0e+303" in str(failed.error)
        assert "Multiply the image" in str(failed.error)
        pixels = spots((120, 160)).astype(np.float64)
        pixels[0, 0] = 1e300
        tifffile.imwrite(tmp_path / "b.tif", pixels)
        assert run(tmp_path / "b.tif", tmp_path / "out").cells == 63

    def test_a_channel_without_numbers_is_called_so(self, tmp_path: Path) -> None:
        planes = np.stack([spots(), np.full((60, 80), np.nan)]).astype(np.float32)
        tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack")
        (outcome,) = run(tmp_path / "a.tif", tmp_path / "out", nuclear=("channel_1",)).outcomes
        (told,) = (one for one in outcome.warnings if one.startswith("empty"))
        assert "channel_2 (no number, only NaN or infinity)" in told
