"""``cellseg report``: the report of a finished run, made again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cellseg_core.store import Store

D = ("--nuclear", "DAPI", "--nuclear-diameter", 10, "--segmenter", "watershed", "--expand", 2)
CHANNELS = ("DAPI", "CD3", "<b>é/ =SUM(A1)")


@pytest.fixture
def run(cellseg, write_image, tmp_path) -> Callable[..., Path]:
    """Return a function that runs two images and returns the folder of results."""

    def run(*more: object, write: str = "csv,labels", into: str = "out") -> Path:
        for name, shape in (("a", (44, 60)), ("b", (60, 60))):
            if not (tmp_path / "in" / f"{name}.ome.tif").exists():
                write_image(f"in/{name}.ome.tif", CHANNELS, shape=shape)
        given = (tmp_path / "in", "-o", tmp_path / into, *D, *more, "--write", write)
        done = cellseg("run", *given)
        assert done.status == 0, done.err
        return tmp_path / into

    return run


def states(out: Path) -> list[str]:
    return [image["state"] for image in json.loads((out / "run.json").read_text())["images"]]


def test_a_page_made_later_is_the_one_that_the_run_makes(cellseg, run) -> None:
    asked = ("--compensate", "--tile", 40, "--set", "report.pairs=DAPI:CD3")
    with_report = run(*asked, write="csv,labels,report", into="with")
    out = run(*asked)
    done = cellseg("report", out)
    assert (done.status, done.out) == (0, f"Report: {out / 'report.html'}\n")
    for name in ("a", "b"):
        page = (out / name / "report.html").read_bytes()
        assert page == (with_report / name / "report.html").read_bytes()
    whole = (out / "report.html").read_text(encoding="utf-8")
    assert whole.count("<article") == 2
    assert "&lt;b&gt;é/ =SUM(A1)" in whole


def test_the_images_stay_done_and_the_page_is_among_their_files(cellseg, run) -> None:
    out = run()
    before = json.loads((out / "run.json").read_text())
    assert cellseg("report", out).status == 0
    size = (out / "a" / "report.html").stat().st_size
    record = json.loads((out / "run.json").read_text())
    assert record["images"][0]["facts"]["files"].pop("report.html") == size
    assert record["images"][1]["facts"]["files"].pop("report.html")
    assert record == before
    assert (Store(out).record("a") or {})["files"]["report.html"] == size
    assert cellseg("report", out, "--set", "report.pairs=DAPI:CD3").status == 0
    run()
    assert states(out) == ["resumed", "resumed"]
    # A run that does the image anew knows the page, and takes it away.
    run("--min-size", 30)
    assert states(out) == ["done", "done"]
    assert not (out / "a" / "report.html").exists()


def test_pages_that_are_there_are_used_and_an_option_makes_all_anew(cellseg, run, tmp_path) -> None:
    out = run("--compensate", write="csv,labels,report")
    marked = out / "a" / "report.html"
    marked.write_bytes(marked.read_bytes().replace(b"Is the segmentation good?", b"MARKED"))
    (out / "report.html").unlink()
    shutil.move(tmp_path / "in", tmp_path / "moved")
    assert cellseg("report", out).status == 0
    whole = (out / "report.html").read_bytes()
    assert b"MARKED" in whole
    assert b"DAPI and CD3" not in whole
    shutil.move(tmp_path / "moved", tmp_path / "in")
    done = cellseg("report", out, "--quiet", "--set", "report.pairs=DAPI:CD3")
    assert (done.status, done.out, done.err) == (0, "", "")
    whole = (out / "report.html").read_bytes()
    assert b"MARKED" not in whole
    assert whole.count(b"<h4>DAPI and CD3</h4>") == 2
    marked.write_text("cut")
    done = cellseg("report", out)
    assert done.status == 1
    assert "missing or damaged" in done.err
    assert "--fresh" in done.err
    assert cellseg("report", out, "--fresh").status == 0


def test_an_image_whose_page_cannot_be_made_is_named_and_listed_and_the_others_done(
    cellseg, run, tmp_path
) -> None:
    out = run()
    moved = tmp_path / "in" / "b.ome.tif"
    moved.rename(tmp_path / "elsewhere.tif")
    done = cellseg("report", out)
    assert done.status == 1
    assert f"FAILED b: {moved} does not exist any more. Put the image back" in done.err
    assert done.out == f"Report: {out / 'report.html'}\n"
    whole = (out / "report.html").read_text(encoding="utf-8")
    assert "1 input failed" in whole
    assert "its page could not be made" in whole
    assert whole.count("<article") == 1
    cells = json.loads((out / "run.json").read_text())["images"][0]["cells"]
    assert f"<h1>{cells} cells in 1 image</h1>" in whole
    assert states(out) == ["done", "done"]
    # Where there is an earlier page it stays in the report, which says so.
    (tmp_path / "elsewhere.tif").rename(moved)
    assert cellseg("report", out).status == 0
    moved.unlink()
    assert cellseg("report", out, "--fresh").status == 1
    whole = (out / "report.html").read_text(encoding="utf-8")
    assert whole.count("<article") == 2
    assert "this is an earlier page" in whole


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("cells.csv", None, "`csv` among the writers"),
        ("cells.csv", "Reg,Cell Size\n1,20\n", "without --set csv.style"),
        ("cells.csv", "HEAD", "it was changed"),
        ("nuclei.ome.tif", None, "`labels` among the writers"),
        ("cells.ome.tif", "OTHER", "they have another size"),
    ],
)
def test_what_is_missing_or_changed_in_the_folder_is_told_with_the_fix(
    cellseg, run, file, content, told
) -> None:
    out = run()
    path = out / "a" / file
    if content is None:
        path.unlink()
    elif content == "OTHER":
        shutil.copy(out / "b" / file, path)
    elif content == "HEAD":
        path.write_text("".join(path.read_text(encoding="utf-8").splitlines(True)[:2]), "utf-8")
    else:
        path.write_text(content)
    done = cellseg("report", out)
    assert done.status == 1
    assert re.search(f"FAILED a: .*{re.escape(told)}", done.err), done.err
    assert (out / "b" / "report.html").is_file()


def test_where_no_page_can_be_made_the_report_stays_as_it_was(cellseg, run) -> None:
    out = run(write="csv,labels,report")
    before = {
        path: path.read_bytes() for path in out.rglob("*") if path.suffix in (".html", ".json")
    }
    done = cellseg("report", out, "--set", "report.pairs=DAPI:CD33")
    assert (done.status, done.out) == (1, "")
    assert done.err.count("did you mean 'CD3'") == 2
    assert "The report is as it was" in done.err
    assert {path: path.read_bytes() for path in before} == before


def test_what_is_no_finished_run_is_refused_and_left_alone(cellseg, run, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nowhere"):
        done = cellseg("report", place)
        assert (done.status, done.out) == (1, "")
        assert "holds no run.json" in done.err
    assert not list((tmp_path / "empty").iterdir())
    out = run()
    with Store.open(out):
        done = cellseg("report", out)
    assert done.status == 1
    assert "another run is writing into" in done.err
    shutil.rmtree(out / ".cellseg")
    assert cellseg("report", out).status == 0, "the memory of the folder is not needed"
    (out / "run.json").write_text("{}")
    done = cellseg("report", out)
    assert done.status == 1
    assert "is damaged, or of another version" in done.err


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("report.pairs=CD3", "pairs of channels such as"),
        ("report.pears=a:b", "did you mean 'pairs'"),
        ("csv.style=cellseg", "'csv' is not at work here"),
    ],
)
def test_options_that_make_no_sense_are_refused(cellseg, run, setting, told) -> None:
    done = cellseg("report", run(write="csv"), "--set", setting)
    assert done.status == 2
    assert told in done.err
