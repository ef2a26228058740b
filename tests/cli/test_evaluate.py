"""``cellseg evaluate``: what it prints and writes, and what it says of bad input."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellseg_core.metrics import Evaluation


def squares(*boxes: tuple[int, int, int]) -> np.ndarray:
    """Return a label image (60, 60) of squares of 10 px: (value, y, x)."""
    labels = np.zeros((60, 60), np.uint16)
    for value, y, x in boxes:
        labels[y : y + 10, x : x + 10] = value
    return labels


TRUTH = squares((1, 0, 0), (2, 0, 20), (3, 20, 0), (4, 20, 10), (5, 40, 40))


def prediction() -> np.ndarray:
    """Return TRUTH with 1 right, 2 split, 3 and 4 merged, 5 missed, and one invented."""
    pred = squares((10, 0, 0), (20, 0, 20), (30, 20, 0), (30, 20, 10), (40, 40, 0))
    pred[0:10, 25:30] = 21
    return pred


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return folders of two true and two predicted label images, the second without mistakes."""
    for folder, first in (("truth", TRUTH), ("pred", prediction())):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tif", first)
        np.save(tmp_path / folder / "b.npy", TRUTH)
    return tmp_path / "truth", tmp_path / "pred"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_it_tells_of_several_images_in_tables_and_in_words(cellseg, folders) -> None:
    done = cellseg("evaluate", *folders)
    assert done.status == 0, done.err
    for part in (
        "2 images: 10 true nuclei, 10 predicted",
        "mean over images        pooled over nuclei",
        # 1 of 5 + 5 in the first image, 5 of 5 in the second.
        "F1                            0.600 (0.200 to 1.000)  0.600 (0.200 to 1.000)",
        "average precision             0.556 (0.111 to 1.000)  0.429 (0.111 to 1.000)",
        "boundary F1 within 2 px",
        "0.50      0.556      0.600      0.600      0.600        0.429      0.600",
        "1 nucleus was split, 2 merged into 1; 1 further missed, 1 invented",
        "--errors FILE lists where.",
    ):
        assert part in done.out, part


def test_one_image_has_one_column_and_no_intervals(cellseg, folders) -> None:
    truth, pred = folders
    done = cellseg("evaluate", truth / "a.tif", pred / "a.tif", "--labels", "cells")
    assert done.status == 0, done.err
    assert "a: 5 true cells, 5 predicted" in done.out
    assert "this image" in done.out
    assert "pooled" not in done.out
    assert " to 1.000)" not in done.out
    assert "1 cell was split" in done.out


def test_the_files_have_what_is_shown(cellseg, folders, tmp_path) -> None:
    files = {name: tmp_path / name for name in ("all.json", "images.csv", "errors.csv")}
    done = cellseg(
        "evaluate", *folders, "--boundary-tolerance", "1.5", "--quiet",
        "--json", files["all.json"], "--csv", files["images.csv"], "--errors", files["errors.csv"],
    )  # fmt: skip
    assert (done.status, done.out, done.err) == (0, "", "")
    report = json.loads(files["all.json"].read_text(encoding="utf-8"))
    summary = report["summary"]
    assert summary["tolerance"] == 1.5
    assert summary["figures"]["ap_50"]["pooled"]["value"] == pytest.approx(6 / 14)
    assert summary["figures"]["ap_50"]["mean_over_images"]["value"] == pytest.approx(
        (1 / 9 + 1) / 2
    )
    assert [one["image"] for one in report["images"]] == ["a", "b"]
    images = rows(files["images.csv"])
    assert images[0]["recall_50"] == "0.2"
    assert (images[0]["splits"], images[0]["merges"], images[0]["missed"]) == ("1", "1", "1")
    errors = rows(files["errors.csv"])
    assert {key: errors[0][key] for key in ("image", "mistake", "object_of", "id", "y", "x")} == {
        "image": "a", "mistake": "split", "object_of": "truth", "id": "2", "y": "4.5", "x": "24.5",
    }  # fmt: skip
    assert [(one["mistake"], one["id"], one["part_ids"]) for one in errors] == [
        ("split", "2", "20 21"),
        ("merge", "30", "3 4"),
        ("missed", "5", ""),
        ("invented", "40", ""),
    ]


def test_without_mistakes_the_list_has_its_columns_only(cellseg, tmp_path) -> None:
    np.save(tmp_path / "a.npy", TRUTH)
    errors = tmp_path / "errors.csv"
    done = cellseg("evaluate", tmp_path / "a.npy", tmp_path / "a.npy", "--errors", errors)
    assert "0 nuclei were split, none merged; 0 further missed, 0 invented" in done.out
    assert errors.read_text(encoding="utf-8").split() == [
        "image,mistake,object_of,id,y,x,area,best_iou,parts,part_ids"
    ]


def test_empty_truth_and_empty_prediction_are_evaluated(cellseg, tmp_path) -> None:
    np.save(tmp_path / "some.npy", TRUTH)
    np.save(tmp_path / "none.npy", TRUTH * 0)
    some, none = tmp_path / "some.npy", tmp_path / "none.npy"
    done = cellseg("evaluate", none, some)
    assert done.status == 0
    assert "0 true nuclei, 5 predicted" in done.out
    assert "recall                        -" in done.out
    assert "5 invented" in done.out
    done = cellseg("evaluate", some, none)
    assert "precision                     -" in done.out
    assert "5 further missed" in done.out
    done = cellseg("evaluate", none, none)
    assert done.status == 0
    assert "average precision             1.000" in done.out


def test_the_results_of_a_run_can_be_evaluated(cellseg, write_image, tmp_path) -> None:
    image = write_image("tissue.ome.tif", channels=("DAPI",))
    out = tmp_path / "results"
    run = cellseg("run", image, "--nuclear", "DAPI", "--segmenter", "watershed", "--expand", "2",
                  "-o", out)  # fmt: skip
    assert run.status == 0, run.err
    nuclei = out / "tissue" / "nuclei.ome.tif"
    done = cellseg("evaluate", nuclei, out, "--labels", "cells")
    assert done.status == 0, done.err
    perfect = "average precision, mean (mAP)   1.000"
    assert perfect in cellseg("evaluate", nuclei, out).out
    assert perfect not in done.out


def test_missing_partners_are_an_error_unless_allowed(cellseg, folders) -> None:
    truth, pred = folders
    np.save(truth / "alone.npy", TRUTH)
    done = cellseg("evaluate", truth, pred)
    assert done.status == 1
    assert "1 of the 3 label images" in done.err
    assert "alone" in done.err
    done = cellseg("evaluate", truth, pred, "--allow-missing")
    assert done.status == 0
    assert "Warning: 1 of the label images" in done.err
    assert "alone.npy" in done.err
    assert "2 images" in done.out


def test_an_image_that_fails_is_named_and_the_others_are_evaluated(
    cellseg, folders, tmp_path
) -> None:
    truth, pred = folders
    np.save(pred / "b.npy", TRUTH[:50])
    report = tmp_path / "all.json"
    done = cellseg("evaluate", truth, pred, "--json", report)
    assert done.status == 1
    assert "FAILED b: " in done.err
    assert "got (60, 60) and (50, 60)" in done.err
    assert "1 failed, for the reasons above: b" in done.err
    assert "a: 5 true nuclei" in done.out
    assert list(json.loads(report.read_text(encoding="utf-8"))["failed"]) == ["b"]


def test_nothing_is_shown_where_every_image_fails(cellseg, tmp_path) -> None:
    np.save(tmp_path / "a.npy", TRUTH)
    np.save(tmp_path / "b.npy", TRUTH * 0.5)
    done = cellseg("evaluate", tmp_path / "a.npy", tmp_path / "b.npy")
    assert done.status == 1
    assert done.out == ""
    assert "for example 0.5" in done.err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--boundary-tolerance", "-1"), 2, "from 0 to 50 px"),
        (("--labels", "nucleus"), 2, "nucleus"),
        (("--json", "no/such/folder/all.json"), 1, "does not exist"),
        (("--csv", "."), 1, "it is a folder"),
    ],
)
def test_wrong_use_is_explained(cellseg, folders, arguments, status, message) -> None:
    done = cellseg("evaluate", *folders, *arguments)
    assert done.status == status
    assert message in done.err
    assert "Traceback" not in done.err


def test_help_shows_every_option(cellseg) -> None:
    done = cellseg("evaluate", "--help")
    assert done.status == 0
    for option in ("--labels", "--boundary-tolerance", "--json", "--csv", "--errors",
                   "--allow-missing", "--quiet"):  # fmt: skip
        assert option in done.out
    assert "evaluate" in cellseg("--help").out


PAGE = Path(__file__).parents[2] / "docs" / "evaluate.md"


def test_the_page_names_options_that_exist_and_every_figure() -> None:
    from cellseg_core.cli.evaluate import command

    page = PAGE.read_text(encoding="utf-8")
    known = {option for parameter in command.params for option in parameter.opts}
    used = {word for line in re.findall(r"^\$ cellseg evaluate .*", page, re.MULTILINE)
            for word in line.split() if word.startswith("--")}  # fmt: skip
    assert used
    assert used <= known
    assert set(re.findall(r"`(--[a-z-]+)", page)) <= known
    figures = Evaluation.of(TRUTH, TRUTH).figures()
    explained = set(re.findall(r"`([a-z]+[a-z_0-9]*)`", page.split("## The figures", 1)[1]))
    assert {name for name in figures if not name[-2:].isdigit() or name.endswith("50")} <= explained


def test_the_python_of_the_page_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    exec(compile(block, PAGE.name, "exec"), {})  # noqa: S102 - our own page
    expected = [said.split(":")[0].strip() for said in re.findall(r"# (.*)", block)]
    assert capsys.readouterr().out.splitlines() == expected
