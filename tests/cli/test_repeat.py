"""``cellseg run --config OUT/run.json`` does a run again, and says where it is not the same."""

from __future__ import annotations

import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import tifffile

import cellseg_core
from cellseg_core import batch, provenance, recorded_run
from cellseg_core.config_files import SCHEMA

D = ("--nuclear", "DAPI", "--nuclear-diameter", 10, "--segmenter", "watershed")
FULL = (
    *D, "--expand", "1um", "--compensate", "--features", "median,shape", "--min-size", 15,
    "--write", "csv,fcs,labels,parquet", "--set", "segmenter.threshold=0.3",
)  # fmt: skip


def tables(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.name.startswith(("cells", "nuclei")) and ".cellseg" not in path.parts
    }


def record_of(out: Path) -> dict:
    return json.loads((out / "run.json").read_text(encoding="utf-8"))


def schema() -> jsonschema.Draft202012Validator:
    path = Path(cellseg_core.__file__).with_name("run.schema.json")
    return jsonschema.Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))


@pytest.fixture
def done(cellseg, write_image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a run whose input, names and reference were given as relative paths."""
    write_image("in/one.ome.tif", seed=1)
    write_image("in/two.ome.tif", seed=5, shape=(50, 60))
    write_image("reference.ome.tif", seed=9)
    (tmp_path / "names.txt").write_text("DAPI\nCD8\n")
    monkeypatch.chdir(tmp_path)
    more = ("--channels", "names.txt", "--reference", "reference.ome.tif")
    ran = cellseg("run", "in", "-o", "first", *FULL, *more)
    assert ran.status == 0, ran.err
    return tmp_path / "first"


def test_a_run_is_repeated_from_its_record_alone_and_from_another_folder(
    cellseg, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = cellseg("run", "--config", "../first/run.json", "-o", "again")
    assert again.status == 0, again.err
    assert "The same as in ../first: 12 tables and label images, to the last byte." in again.out
    one, two = tables(done), tables(Path("again"))
    assert one == two
    assert {"cells.csv", "one/cells.fcs", "two/cells.parquet"} <= set(one)
    first, second = record_of(done), record_of(Path("again"))
    assert first["settings"] == second["settings"]
    assert first["settings"]["channels"] == str(tmp_path / "names.txt")
    assert first["inputs"] == second["inputs"] == [str(tmp_path / "in")]
    assert "other" not in again.err
    assert "versions" not in again.err
    # The repetition can be repeated.
    third = cellseg("run", "--config", "again/run.json", "-o", "third", "--workers", 2, "--quiet")
    assert third.status == 0
    assert tables(Path("third")) == one


def test_options_and_images_given_come_before_those_of_the_record(
    cellseg, done: Path, write_image
) -> None:
    other = write_image("other.ome.tif", seed=3)
    record = done / "run.json"
    ran = cellseg("run", other, "--config", record, "-o", "new", "--expand", 3)
    assert ran.status == 0, ran.err
    made = record_of(Path("new"))
    assert [one["name"] for one in made["images"]] == ["other"]
    assert made["settings"]["expand"] == 3
    assert made["settings"]["features"] == ["median", "shape"]
    assert "same as in" not in (ran.out + ran.err).lower()


def change(path: Path) -> None:
    pixels = tifffile.imread(path)
    names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "CD3"]}}
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, pixels + np.uint16(1), ome=True, metadata={**names, **size})


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda at: change(at / "in/one.ome.tif"), "one has another content (in/one.ome.tif)"),
        (lambda at: (at / "in/two.ome.tif").unlink(), "two lacks"),
        (
            lambda at: shutil.copy(at / "reference.ome.tif", at / "in/new.ome.tif"),
            "new was not there",
        ),
        (
            lambda at: (at / "names.txt").write_text("DAPI\nCD20\n"),
            "one has another channels: ['DAPI', 'CD8'] then, ['DAPI', 'CD20'] now",
        ),
    ],
)
def test_other_images_are_named_and_nothing_is_done(
    cellseg, done: Path, tmp_path: Path, damage, told: str
) -> None:
    damage(tmp_path)
    ran = cellseg("run", "--config", done / "run.json", "-o", "again")
    assert ran.status == 2
    assert "run.json cannot be repeated, since its images are not those of the run" in ran.err
    assert told in ran.err
    assert not (tmp_path / "again" / "cells.csv").exists()
    # Named after `run`, they are taken as they are, in another place, for example.
    assert cellseg("run", "./in", "--config", done / "run.json", "-o", "again").status in (0, 2)
    ran = cellseg("run", *sorted((tmp_path / "in").iterdir()), "--config", done / "run.json",
                  "-o", "again")  # fmt: skip
    assert ran.status == 0, ran.err


def test_a_copy_with_other_times_is_the_same_image(cellseg, done: Path, tmp_path: Path) -> None:
    os.utime(tmp_path / "in/one.ome.tif", (10**9, 10**9))
    ran = cellseg("run", "--config", done / "run.json", "-o", "again")
    assert ran.status == 0, ran.err
    assert "to the last byte" in ran.out


def test_other_weights_are_an_error_and_other_versions_a_warning(
    cellseg, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"weights": {"sha256": "aaa"}, "precision": "float32", "packages": {"keras": "1"}}
    record = {**record_of(done), "segmenter": facts}
    record["packages"] = {**record["packages"], "numpy": "1.0"}
    (done / "run.json").write_text(json.dumps(record))
    now = {**facts, "precision": "bfloat16"}
    monkeypatch.setattr(batch, "facts_of", lambda _: now)
    ran = cellseg("run", "--config", done / "run.json", "-o", "again")
    assert ran.status == 0
    assert f"numpy 1.0 then, {version('numpy')} now" in ran.err
    assert "'watershed' does not work as in" in ran.err
    assert "precision float32 then, bfloat16 now" in ran.err
    now["weights"] = {"sha256": "bbb"}
    ran = cellseg("run", "--config", done / "run.json", "-o", "other")
    assert ran.status == 2
    assert "'watershed' has other weights: weights.sha256 aaa then, bbb now" in ran.err
    assert not Path("other").exists()
    # Asked for, they are no surprise.
    other = ("--set", "segmenter.threshold=0.25")
    assert cellseg("run", "--config", done / "run.json", "-o", "other", *other).status == 0


def test_results_that_are_not_the_same_are_named(cellseg, done: Path) -> None:
    table = done / "two" / "cells.csv"
    table.write_bytes(table.read_bytes().replace(b"two,1,", b"two,9,", 1))
    ran = cellseg("run", "--config", done / "run.json", "-o", "again", "--quiet")
    assert ran.status == 0
    assert "Not the same as in" in ran.err
    assert "two/cells.csv (" in ran.err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "it is no JSON"),
        ("[]", "holds no settings"),
        ('{"settings": {}}', "is no record of a run, or is damaged"),
        ('{"settings": {}, "schema": 99, "cellseg": "9.9"}', "was written by cellseg 9.9"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_record_is_told(cellseg, tmp_path: Path, content: str | None, told) -> None:
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content)
    ran = cellseg("run", "--config", path, "-o", tmp_path / "out")
    assert ran.status == 2
    assert told in ran.err
    assert not (tmp_path / "out").exists()


def test_without_a_record_an_input_is_needed(cellseg, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('segmenter = "watershed"\n')
    for more in ((), ("--config", tmp_path / "settings.toml")):
        ran = cellseg("run", "-o", tmp_path / "out", *more)
        assert ran.status == 2
        assert "Missing argument 'INPUT...'" in ran.err


def test_folders_of_the_same_size_with_other_times_are_warned_of(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "a.zarr"
    folder.mkdir(parents=True)
    file = folder / "0"
    file.write_bytes(b"one")
    then = recorded_run.fingerprint([folder])
    os.utime(file, (10**9, 10**9))
    assert recorded_run._changes(then, {folder}) == ([], ["in/a.zarr"])
    file.write_bytes(b"more")
    assert recorded_run._changes(then, {folder}) == (["in/a.zarr"], [])


def test_records_of_real_runs_keep_to_the_schema(cellseg, done: Path, tmp_path: Path) -> None:
    check = schema()
    check.check_schema(check.schema)
    check.validate(record_of(done))
    assert record_of(done)["schema"] == SCHEMA == check.schema["properties"]["schema"]["const"]
    # One that failed, one that was resumed, tiles, no compensation, a scale for each.
    (tmp_path / "in" / "bad.tif").write_bytes(b"II*\0")
    for _ in range(2):
        asked = ("--brightness", "each", "--tile", 40, "--write", "csv")
        ran = cellseg("run", "in", "-o", "second", *D, *asked)
        assert ran.status == 1
        record = record_of(Path("second"))
        check.validate(record)
    assert {one["state"] for one in record["images"]} == {"failed", "resumed"}
    assert record["brightness"] is None
    assert "seams_checked" in record["images"][1]["facts"]["decided"]


@pytest.mark.parametrize("where", ["", "settings", "images/0", "images/0/facts/decided"])
def test_a_field_that_the_schema_does_not_know_is_refused(done: Path, where: str) -> None:
    record = record_of(done)
    inner = record
    for name in filter(None, where.split("/")):
        inner = inner[int(name) if name.isdigit() else name]
    inner["new"] = 1
    with pytest.raises(jsonschema.ValidationError, match="'new' was unexpected"):
        schema().validate(record)


def test_every_field_of_the_schema_is_described() -> None:
    def look(part: dict, at: str) -> None:
        for name, inner in part.get("properties", {}).items():
            assert inner.get("description") or "$ref" in inner or at == "facts", f"{at}.{name}"
            look(inner, name)

    whole = schema().schema
    look(whole, "")
    for field in RECORD_FIELDS:
        assert field in whole["properties"], field


def test_the_page_on_reproducibility_has_every_field_of_the_schema() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reproducibility.md").read_text(encoding="utf-8")
    whole = schema().schema
    known = {
        "": whole,
        "brightness.": whole["$defs"]["brightness"],
        "images[].": whole["properties"]["images"]["items"],
    }
    facts = known["images[].facts."] = whole["$defs"]["facts"]
    for name in ("input", "decided"):
        known[f"images[].facts.{name}."] = facts["properties"][name]
    for above, part in known.items():
        for field in part["properties"]:
            assert field == "facts" or f"| `{above}{field}` |" in page, f"{above}{field}"


RECORD_FIELDS = (*provenance.environment(), "inputs", "settings", "images")
