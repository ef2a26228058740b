"""What the documentation says is run: doctests, and the README's blocks."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import numpy as np
import pytest
import tifffile

import cellseg_backends
import cellseg_core
import cellseg_io
import cellseg_postprocess
import cellseg_viewer

ROOT = Path(__file__).parents[1]
MODULES = [
    info.name
    for package in (
        cellseg_core,
        cellseg_backends,
        cellseg_io,
        cellseg_postprocess,
        cellseg_viewer,
    )
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_right(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} does not say what it is for"
    result = doctest.testmod(module, extraglobs={"np": np})
    assert result.failed == 0


def test_every_public_name_that_a_module_lists_is_there_and_documented() -> None:
    for name in MODULES:
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            found = getattr(module, public)
            if callable(found) and getattr(found, "__module__", name) == name:
                assert found.__doc__, f"{name}.{public} is not documented"


def blocks(language: str, file: str = "README.md") -> list[str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", "docs/preview.md"])
def test_the_python_of_a_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cellseg_core.cli.demo import write_demo_image

    monkeypatch.chdir(tmp_path)
    write_demo_image(tmp_path / "tissue.ome.tif")
    found = blocks("python", page)
    assert found
    for block in found:
        exec(compile(block, page, "exec"), {})  # noqa: S102 - our own pages


def test_the_python_on_tables_runs_without_warnings(tmp_path: Path) -> None:
    from cellseg_core.batch import run_batch
    from cellseg_core.config import RunConfig
    from cellseg_core.synthetic import simulate_tissue

    (tmp_path / "slides").mkdir()
    for seed in (1, 2):
        image = simulate_tissue((160, 160), seed=seed).image
        path = tmp_path / "slides" / f"tonsil-{seed}.ome.tif"
        names = {"axes": "CYX", "Channel": {"Name": [*image.channels[:-1], "CD20/CD19 (ε)"]}}
        sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
        sizes |= {"PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
        pixels = np.asarray(image.pixels)
        tifffile.imwrite(path, pixels, ome=True, photometric="minisblack", metadata=names | sizes)
    settings = RunConfig(
        nuclear=("DAPI",),
        segmenter="watershed",
        nuclear_diameter=12,
        expand=2,
        compensate=True,
        write=("csv", "parquet", "h5ad"),
    )
    assert not run_batch([tmp_path / "slides"], tmp_path / "results", settings).failed
    # Importing them warns, and changes settings of other packages.
    script = """
import warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import scanpy, squidpy
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "The set_bad function")  # squidpy's drawing, of matplotlib
"""
    page = "\n".join(blocks("python", "docs/tables.md"))
    checks = "assert cells.X.max() > 0 and size == 0.5 and len(set(cells.obs['image'])) == 2"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\n{page}\n{checks}"],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "{b'unit': b'px', b'meaning': b'Number of pixels of the cell.'}\n0.5\n" in done.stdout


def test_the_page_on_tables_has_the_unit_of_every_column() -> None:
    from cellseg_core import Image
    from cellseg_core.measure import measure
    from cellseg_io.about import units

    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    rows = page.split("## Columns", 1)[1].split("\n\n", 2)[1].splitlines()[2:]
    told = {
        name: unit.strip()
        for _, names, unit, *_ in (row.split("|") for row in rows)
        for name in re.findall(r"`([^`]+)`", names)
    }
    labels = np.ones((4, 5), np.int32)
    image = Image(np.ones((1, 4, 5)), channels=("<channel>",), pixel_size=1.0)
    table = measure(image, labels, nuclei=labels, features="all")
    table = attrs.evolve(table, uncompensated=table.intensities)
    found = units(table)
    for column in table.to_pandas():
        name = column if column in told else column.removeprefix("nucleus_")
        other = "<channel>:median" if name.startswith("<channel>:") else ""
        assert found.get(column, "") == told[name if name in told else other], column


def test_the_python_of_the_page_on_reports_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("python", "docs/report.md")
    exec(compile(block, "report.md", "exec"), {})  # noqa: S102 - our own page
    assert (tmp_path / "report.html").is_file()


def test_the_page_on_reports_has_every_check_of_an_image() -> None:
    from cellseg_core.quality_notes import CHECKS

    page = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    rows = page.split("## What warns", 1)[1].split("\n## ", 1)[0]
    assert [name.lower() for name in CHECKS] == re.findall(r"^\| ([a-z ]+) \|", rows, re.MULTILINE)[
        1:
    ]


def test_the_options_in_the_documentation_exist() -> None:
    from cellseg_core.cli import compare, evaluate, preview, run, train, view

    seen = set()
    files = ["README.md", *(str(one.relative_to(ROOT)) for one in (ROOT / "docs").glob("*.md"))]
    commands = {
        "run": run,
        "train": train,
        "compare": compare,
        "evaluate": evaluate,
        "preview": preview,
        "view": view,
    }
    for name, module in commands.items():
        known = {option for parameter in module.command.params for option in parameter.opts}
        for file in files:
            lines = re.findall(rf"cellseg {name} .*", "\n".join(blocks("console", file)))
            used = set(re.findall(r"(?<= )--[a-z-]+", "\n".join(lines)))
            assert used <= known
            seen |= used
    assert seen


def test_the_page_on_cells_explains_every_column_in_its_order() -> None:
    from cellseg_core import Image
    from cellseg_core.features import GROUPS
    from cellseg_core.measure import measure

    page = (ROOT / "docs" / "cells.md").read_text(encoding="utf-8")
    table = page.split("### Columns", 1)[1].split("\n\n", 2)[1]
    first = [line.split("|")[1] for line in table.splitlines()[2:]]
    explained = [name for cell in first for name in re.findall(r"`([^`]+)`", cell)]
    labels = np.ones((4, 5), np.int32)
    image = Image(np.ones((1, 4, 5)), channels=("<channel>",), pixel_size=1.0)
    measured = measure(image, labels, nuclei=labels, features="all")
    measured = attrs.evolve(measured, uncompensated=measured.intensities)
    columns = [
        "nucleus_..." if name.startswith("nucleus_") and name != "nucleus_area" else name
        for name in measured.to_pandas().columns
    ]
    assert list(dict.fromkeys(columns)) == explained
    for group in GROUPS:
        assert f"| `{group}` |" in page


def test_the_pictures_of_the_documentation_are_there() -> None:
    for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", file.read_text(encoding="utf-8")):
            assert (file.parent / picture).is_file(), f"{file.name} shows {picture}"


def test_every_benchmark_is_on_the_page_of_benchmarks() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py")} - {"common.py"}
    assert set(re.findall(r"`(?:python benchmarks/)?(\w+\.py)", page)) == scripts


def test_links_between_pages_lead_somewhere() -> None:
    for file in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"(?<!!)\[[^]]*\]\(([^)#]+)[^)]*\)", file.read_text("utf-8")):
            if "://" not in link:
                assert (file.parent / link).exists(), f"{file.name} links to {link}"


BACKEND = "docs/write-a-backend.md"
TEMPLATE = ROOT / "tests" / "plugins" / "cellseg-brightspots"


@pytest.fixture(scope="module")
def backend() -> Iterator[dict[str, Any]]:
    """Return what the blocks of the page on backends define, run one after the other."""
    module = sys.modules["write_a_backend"] = ModuleType("write_a_backend")
    for block in blocks("python", BACKEND):
        exec(compile(block, BACKEND, "exec"), vars(module))  # noqa: S102 - our own page
    yield vars(module)
    del sys.modules["write_a_backend"]


def test_the_backend_in_30_lines_is_that_and_what_the_template_has(
    backend: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cellseg_core.synthetic import simulate_tissue

    (code,) = (block for block in blocks("python", BACKEND) if "class BrightSpots:" in block)
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    monkeypatch.syspath_prepend(TEMPLATE / "src")
    template = importlib.import_module("cellseg_brightspots.segmenter").BrightSpots()
    ours = backend["BrightSpots"]()
    tile = simulate_tissue((128, 128), channels=("DAPI",)).image.read(0, slice(None), slice(None))
    tile = np.asarray(tile, np.float32)[None] / np.float32(np.max(tile))
    one, other = ours.segment(tile), template.segment(tile)
    assert one.labels.max() > 20
    assert np.array_equal(one.labels, other.labels)
    assert np.array_equal(one.scores, other.scores)
    for name in ("native_diameter", "halo", "uses_membrane", "threshold"):
        assert getattr(ours, name) == getattr(template, name)


def test_the_backend_of_the_page_passes_the_tests_that_it_shows(backend: dict[str, Any]) -> None:
    tests = backend["TestBrightSpots"]
    names = [name for name in dir(tests) if name.startswith("test_")]
    assert len(names) >= 10
    for name in names:
        getattr(tests(), name)()


def test_the_entry_point_of_the_page_is_that_of_the_template(backend: dict[str, Any]) -> None:
    (shown,) = (tomllib.loads(b) for b in blocks("toml", BACKEND) if "entry-points" in b)
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert shown["project"]["entry-points"] == project["entry-points"]
    (component,) = backend["cellseg_segmenters"]()
    assert component.name in shown["project"]["entry-points"]["cellseg"]


def test_the_subprocess_of_the_page_is_set_up_as_shown(backend: dict[str, Any]) -> None:
    from cellseg_core.config import RunConfig, parse_setting
    from cellseg_core.subprocess_segmenter import SubprocessSegmenter

    (shown,) = (tomllib.loads(block) for block in blocks("toml", BACKEND) if "python =" in block)
    from_file = RunConfig.from_mapping(shown).set["subprocess"]
    (line,) = (
        line
        for block in blocks("console", BACKEND)
        for line in block.splitlines()
        if "--segmenter subprocess" in line
    )
    words = shlex.split(line)
    given = [words[n + 1] for n, word in enumerate(words) if word == "--set"]
    typed = RunConfig(set=dict(map(parse_setting, given))).set["segmenter"]
    made = backend["make"]("envs/other", threshold=0.4)
    assert made == attrs.evolve(
        SubprocessSegmenter(**typed), python="envs/other", options={"threshold": 0.4}
    )
    for options in (from_file, typed):
        made = SubprocessSegmenter(**options)
        assert made.component == "my_package.nuclei:Finder"
        assert made.options == {"threshold": 0.4, "model": "small"}
        assert made.halo == 48
        finder = backend["Finder"](**made.options)
    tile = np.zeros((1, 9, 9), np.float32)
    tile[0, 2:5, 2:5] = 1
    labels, scores = finder.segment(tile)
    assert (labels.max(), scores.tolist()) == (1, [1.0])


def _mistakes(spots: Any) -> dict[str, Callable[[], object]]:
    """Return what makes each of the mistakes that the page lists, by what the user is told."""
    from cellseg_core import Component, Image, Pipeline, Segmentation
    from cellseg_core.plugins import Plugins, Registered, load_plugins
    from cellseg_core.testing import SegmenterTests

    def returning(returned: Callable[[np.ndarray], object]) -> Callable[[], object]:
        class Mistaken:
            native_diameter = None
            halo = 5

            def segment(self, tile: np.ndarray) -> object:
                return returned(tile)

        return lambda: run(Mistaken())

    def run(segmenter: Any) -> object:
        pixels = np.arange(400, dtype=np.uint16).reshape(1, 20, 20)
        return Pipeline(segmenter=segmenter, nuclear_diameter=8).run(Image(pixels))

    def build(**options: object) -> object:
        component = Component(name="brightspots", factory="for_the_page:BrightSpots")
        return Plugins((Registered("segmenter", component, "mine 1"),)).build(
            "segmenter", "brightspots", options
        )

    def unhooked() -> None:
        entry = EntryPoint("mine", "for_the_page", "cellseg")
        raise RuntimeError(load_plugins([entry]).problems[0].reason)

    class PerTile(SegmenterTests):
        def make(self) -> Any:
            class Scaled(spots):  # type: ignore[misc, valid-type]
                halo = 0

                def segment(self, tile: np.ndarray) -> Segmentation:
                    found: Segmentation = super().segment(tile / max(tile.max(), 1e-6))
                    return found

            return Scaled()

    class Noisy(SegmenterTests):
        def make(self) -> Any:
            class Everything(spots):  # type: ignore[misc, valid-type]
                def segment(self, tile: np.ndarray) -> Segmentation:
                    return Segmentation(np.ones(tile.shape[1:], int))

            return Everything()

    class WithoutHalo:
        native_diameter = None
        segment = None

    ones = np.ones((20, 20), int)
    return {
        "labels must have the size of the tile": returning(lambda _: Segmentation(ones[1:])),
        "labels must be integers": returning(lambda tile: Segmentation(tile[0] > 0.5)),
        "segment() returns a Segmentation(labels, scores)": returning(lambda _: ones),
        "there must be a score for each label": returning(
            lambda _: Segmentation(ones, ones[0, :0])
        ),
        "scores are from 0 to 1": returning(lambda _: Segmentation(ones, np.array([2.5]))),
        "read-only": returning(lambda tile: np.subtract(tile, 0.1, out=tile)),
        "give an object, not its class": lambda: run(spots),
        "is not a Segmenter: it has no halo": lambda: run(WithoutHalo()),
        "has no option 'treshold'; did you mean 'threshold'": lambda: build(treshold=1),
        "does not accept threshold=-1": lambda: build(threshold=-1),
        "a component's name has lower-case letters": lambda: Component(name="Mine", factory="a:B"),
        "implements no hook of cellseg": unhooked,
        "are the same in tiles": PerTile().test_finds_the_same_nuclei_in_tiles_as_in_the_whole,
        "a black tile has no nucleus": Noisy().test_finds_nothing_in_a_black_tile,
    }


def test_the_mistakes_of_the_page_are_told_as_it_says(
    backend: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = (ROOT / BACKEND).read_text(encoding="utf-8")
    rows = page.split("## Common mistakes", 1)[1].split("\n## ", 1)[0].strip().splitlines()[2:]
    told = {re.fullmatch(r"\| .* \| `(.*)` \|", row)[1] for row in rows}  # type: ignore[index]
    # A module of that name is looked up by its file and imported by its name.
    (tmp_path / "for_the_page.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    module = ModuleType("for_the_page")
    module.BrightSpots = backend["BrightSpots"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "for_the_page", module)
    mistakes = _mistakes(backend["BrightSpots"])
    assert told == set(mistakes)
    for words, make in mistakes.items():
        with pytest.raises((Exception, AssertionError), match=re.escape(words)):
            make()


def test_the_writer_in_the_template_s_readme_follows_the_rules() -> None:
    from cellseg_core.testing import WriterTests

    names: dict[str, Any] = {"__name__": "readme"}
    (block,) = blocks("python", "tests/plugins/cellseg-brightspots/README.md")
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own README

    class TestWriter(WriterTests):
        def make(self) -> Any:
            return names["JsonWriter"]()

    for name in dir(TestWriter):
        if name.startswith("test_"):
            getattr(TestWriter(), name)()
