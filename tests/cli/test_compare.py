"""``cellseg compare``: segmenters head to head."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image as Picture

D = ("--nuclear-diameter", 10)
FINE = ("--method", "fine=watershed,threshold=0.3")


def read(out) -> dict:
    return json.loads((out / "comparison.json").read_text())


def test_methods_are_rows_and_a_failing_one_says_why(cellseg, write_image, tmp_path) -> None:
    out, path = tmp_path / "out", write_image()
    broken = ("--method", "broken=stardist,weights=nowhere")
    done = cellseg("compare", path, "-o", out, "--segmenters", "watershed", *FINE, *broken, *D)
    assert done.status == 1
    assert "broken     FAILED" in done.out
    assert "nowhere" in done.out
    assert "watershed" in done.out
    found = read(out)
    watershed, fine, broken = found["methods"]
    assert watershed["failed"] is fine["failed"] is None
    assert "nowhere" in broken["failed"]
    assert watershed["cells"] == 12
    assert watershed["images"][0]["quality"]["explained"] > 0.8
    for name in ("startup", "segment", "total", "peak"):
        assert watershed["cost"][name]["median"] > 0
    (pair,) = found["agreement"]
    assert pair["methods"] == ["watershed", "fine"]
    assert pair["f1"] == 1
    methods = pd.read_csv(out / "methods.csv")
    assert methods["method"].tolist() == ["watershed", "fine", "broken"]
    assert methods["cells"].tolist() == [12, 12, 0]
    assert len(pd.read_csv(out / "images.csv")) == 2
    # What `cellseg run` leaves, of each.
    single = tmp_path / "single"
    cellseg("run", path, "-o", single, "--segmenter", "watershed", *D, "--write", "csv,labels")
    for file in ("cells.csv", "nuclei.ome.tif"):
        expected = (single / "image" / file).read_bytes()
        assert (out / "runs" / "watershed" / "image" / file).read_bytes() == expected


def test_with_truth_accuracy_is_measured(cellseg, write_image, tmp_path) -> None:
    images, truth, out = tmp_path / "images", tmp_path / "truth", tmp_path / "out"
    truth.mkdir()
    for number in range(2):
        path = write_image(f"images/{number}.ome.tif", ("DAPI",), seed=number)
        y, x = np.mgrid[:60, :80]
        labels = np.zeros((60, 80), np.uint16)
        for index, (row, col) in enumerate(np.ndindex(3, 4), start=1):
            labels[(y - 12 - 16 * row) ** 2 + (x - 12 - 16 * col) ** 2 <= 25] = index
        Picture.fromarray(labels).save(truth / f"{number}.png")
    assert path.parent == images
    command = ("compare", images, "-o", out, "--segmenters", "watershed", *FINE, *D)
    done = cellseg(*command, "--truth", truth)
    assert done.status == 0, done.err
    assert "mAP" in done.out
    accuracy = read(out)["methods"][0]["accuracy"]
    assert accuracy["true_objects"] == 24
    assert accuracy["figures"]["ap_50"]["mean_over_images"]["value"] == 1
    assert pd.read_csv(out / "images.csv")["ap_50"].tolist() == [1, 1, 1, 1]
    (truth / "1.png").unlink()
    lacking = cellseg(*command, "--truth", truth)
    assert lacking.status == 1
    assert "no label image for 1; for '1', " in lacking.err


def test_markers_gates_and_double_positives(cellseg, write_image, tmp_path) -> None:
    out, path = tmp_path / "out", write_image("image.ome.tif", ("DAPI", "CD3", "CD20"))
    gates = tmp_path / "gates.toml"
    gates.write_text('[gates]\n"T cells" = "CD3+ CD20-"\n"all" = ["CD3+"]\n[thresholds]\nCD3 = 1\n')
    done = cellseg(
        *("compare", path, "-o", out, "--segmenters", "watershed", *FINE, *D),
        *("--expand", 2, "--compensate", "--exclusive", "CD3,CD20", "--gates", gates),
    )
    assert done.status == 0, done.err
    found = read(out)
    (doubles,) = found["methods"][0]["double_positives"]
    assert (doubles["first"], doubles["second"], doubles["cells"]) == ("CD3", "CD20", 12)
    assert doubles["both_after"] is not None
    assert [row["count"] for row in found["counts"] if row["gate"] == "all"] == [12, 12]
    assert {row["gate"] for row in found["correlations"]} == {"T cells", "all"}


@pytest.mark.parametrize(
    ("arguments", "told", "status"),
    [
        (("--segmenters", "watershad"), "did you mean 'watershed'", 2),
        ((), "there is nothing to compare", 2),
        (("--segmenters", "watershed,watershed"), "two methods are called 'watershed'", 2),
        (("--segmenter", "watershed"), "No such option '--segmenter'", 2),
        (("--segmenters", "watershed", "--write", "fcs"), "No such option '--write'", 2),
        (("--method", "nul=watershed"), "called like a device", 2),
        (("--segmenters", "watershed", "--repeats", "0"), "--repeats is a whole number", 2),
        (("--segmenters", "watershed", "--exclusive", "CD3"), "two names with a comma", 2),
        (("--segmenters", "watershed", "--exclusive", "CD3,CD21"), "CD21", 1),
        (("--segmenters", "watershed", "--gates", "none.toml"), "none.toml cannot be read", 2),
        (("--segmenters", "watershed", "--truth", "none"), "none does not exist", 1),
        (("--segmenters", "watershed", "--set", "watershed.x=1"), "has the option 'x'", 2),
        (("--method", "a=watershed,threshold=-1"), "threshold", 2),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(
    cellseg, write_image, tmp_path, arguments, told, status
) -> None:
    done = cellseg("compare", write_image(), "-o", tmp_path / "out", *arguments)
    assert (done.status, told in done.err) == (status, True), done.err
    assert not (tmp_path / "out" / "runs").exists()


def test_an_input_that_nobody_can_read_is_named_once_and_the_others_are_compared(
    cellseg, write_image, tmp_path
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    write_image("images/good.ome.tif", ("DAPI",))
    (images / "bad.tif").write_bytes(b"II*\0")
    done = cellseg("compare", images, "-o", out, "--segmenters", "watershed", *FINE, *D)
    assert done.status == 1
    assert done.err.count("bad.tif") == 1
    found = read(out)
    assert list(found["unread"]) == [str(images / "bad.tif")]
    assert [method["errors"] for method in found["methods"]] == [{}, {}]
    assert [image["name"] for image in found["methods"][0]["images"]] == ["good"]


def test_an_image_is_called_as_the_link_that_leads_to_it(cellseg, write_image, tmp_path) -> None:
    """Two links that are swapped must not have each other's nuclei."""
    write_image("files/A.ome.tif", ("DAPI",), shape=(60, 80))
    write_image("files/B.ome.tif", ("DAPI",), shape=(76, 80))
    links = [tmp_path / "A.ome.tif", tmp_path / "B.ome.tif"]
    links[0].symlink_to(tmp_path / "files" / "B.ome.tif")
    links[1].symlink_to(tmp_path / "files" / "A.ome.tif")
    out = tmp_path / "out"
    done = cellseg("compare", *links, "-o", out, "--segmenters", "watershed", *D)
    assert done.status == 0, done.err
    found = read(out)
    assert found["images"] == [
        {"name": "A", "shape": [76, 80]},
        {"name": "B", "shape": [60, 80]},
    ]
    (watershed,) = found["methods"]
    assert [(image["name"], image["cells"]) for image in watershed["images"]] == [
        ("A", 16),
        ("B", 12),
    ]
    assert min(image["quality"]["explained"] for image in watershed["images"]) > 0.8


def test_a_wrong_truth_is_told_before_any_work(cellseg, write_image, tmp_path) -> None:
    images, truth, out = tmp_path / "images", tmp_path / "truth", tmp_path / "out"
    truth.mkdir()
    labels = np.zeros((60, 80), np.uint16)
    labels[10:20, 10:20] = 1
    labels[30:40, 30:40] = 2
    wrong = {
        "binary": 255 * (labels > 0).astype(np.uint8),
        "larger": np.pad(labels, ((0, 3), (0, 0))),
        "picture": np.random.default_rng(0).integers(1, 250, (60, 80)).astype(np.uint8),
        "slide _1": labels,
    }
    for name, plane in wrong.items():
        write_image(f"images/{name.replace('_', '#')}.ome.tif", ("DAPI",))
        Picture.fromarray(plane).save(truth / f"{name.replace('_', '#')}.png")
    command = ("compare", images, "-o", out, "--segmenters", "watershed", *D, "--truth")
    done = cellseg(*command, truth)
    assert done.status == 1
    for told in ("is a binary mask", "has 63 x 80 px, and its image larger", "is an image and no"):
        assert told in done.err
    assert "slide" not in done.err
    assert not (out / "runs").exists()


def test_images_without_a_marker_are_told_and_left_out(cellseg, write_image, tmp_path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    write_image("images/A.ome.tif", ("DAPI", "CD3", "CD20"))
    write_image("images/B.ome.tif", ("DAPI", "CD3"))
    done = cellseg(
        *("compare", images, "-o", out, "--nuclear", "DAPI", "--segmenters", "watershed", *D),
        *("--exclusive", "CD3,CD20"),
    )
    assert done.status == 0, done.err
    assert "CD20 is not in B" in done.err
    found = read(out)
    assert found["lacking"] == {"CD20": ["B"]}
    assert found["methods"][0]["double_positives"][0]["cells"] == 12


def test_a_comparison_that_stops_leaves_no_report_of_an_earlier_one(
    cellseg, write_image, tmp_path, monkeypatch
) -> None:
    out = tmp_path / "out"
    command = ("compare", write_image(), "-o", out, "--segmenters", "watershed", *D)
    cellseg(*command)
    names = {"comparison.json", "methods.csv", "images.csv", "agreement.csv", "report.html"}
    assert names <= {path.name for path in out.iterdir()}

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cellseg_core.comparing.comparison.run_trial", stop)
    assert cellseg(*command, "--expand", 3).status == 130
    assert names.isdisjoint(path.name for path in out.iterdir())


def test_a_repeat_that_fails_is_told(cellseg, write_image, tmp_path, monkeypatch) -> None:
    from cellseg_core.comparing import comparison

    real, calls = comparison.run_trial, []

    def second_fails(*args: object, **kwargs: object) -> object:
        calls.append(args)
        return comparison.Trial(failed="killed") if len(calls) == 2 else real(*args, **kwargs)

    monkeypatch.setattr(comparison, "run_trial", second_fails)
    out = tmp_path / "out"
    done = cellseg(
        *("compare", write_image(), "-o", out, "--segmenters", "watershed", *D, "--repeats", 3)
    )
    assert done.status == 1
    (method,) = read(out)["methods"]
    assert method["repeats_failed"] == ["killed"]
    assert len(method["cost"]["segment"]["values"]) == 2


def test_inputs_that_change_while_methods_run_are_told(
    cellseg, write_image, tmp_path, monkeypatch
) -> None:
    from cellseg_core.comparing import comparison

    real, out = comparison.run_trial, tmp_path / "out"
    folder = write_image("images/first.ome.tif").parent

    def another_appears(*args: object, **kwargs: object) -> object:
        write_image("images/second.ome.tif")
        return real(*args, **kwargs)

    monkeypatch.setattr(comparison, "run_trial", another_appears)
    command = ("compare", folder, "-o", out, "--segmenters", "watershed", *D)
    done = cellseg(*command)
    assert done.status == 1
    assert "the inputs changed while the methods ran: second of watershed" in done.err
    monkeypatch.undo()
    assert cellseg(*command).status == 0
    assert [image["name"] for image in read(out)["images"]] == ["first", "second"]


def test_what_is_wrong_with_an_image_is_told_once(cellseg, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "black.tif", np.zeros((60, 80), np.uint16))
    done = cellseg(
        *("compare", tmp_path / "black.tif", "-o", tmp_path / "out", *FINE, *D),
        *("--segmenters", "watershed"),
    )
    warnings = [line for line in done.err.splitlines() if "black" in line]
    assert len(warnings) == len({line.split(": ", 2)[-1] for line in warnings}) > 0


def test_cells_are_compared_as_they_were_grown_and_quality_is_that_of_nuclei(
    cellseg, write_image, tmp_path
) -> None:
    path, found = write_image(), {}
    for kind in ("nuclei", "cells"):
        out = tmp_path / kind
        cellseg(
            *("compare", path, "-o", out, "--segmenters", "watershed", *D),
            *("--expand", 2, "--labels", kind),
        )
        (found[kind],) = read(out)["methods"]
    assert found["cells"]["quality"] == found["nuclei"]["quality"]
    assert found["cells"]["sizes"]["area_median"] > found["nuclei"]["sizes"]["area_median"]


def test_repeats_show_how_the_cost_spreads_and_other_runs_leave_nothing(
    cellseg, write_image, tmp_path
) -> None:
    out = tmp_path / "out"
    command = ("compare", write_image(), "-o", out, "--segmenters", "watershed", *D)
    cellseg(*command, "--repeats", 2)
    cost = read(out)["methods"][0]["cost"]
    assert len(cost["segment"]["values"]) == len(cost["peak"]["values"]) == 2
    assert sorted(path.name for path in (out / "runs").iterdir()) == ["watershed"]
    assert not list((out / ".cellseg").glob("unfinished-*"))
    # Done before: the cells are there, and what was not measured is not known.
    cellseg(*command)
    again = read(out)["methods"][0]
    assert again["cells"] == 12
    assert again["cost"]["peak"] is None
    assert again["cost"]["segment"] is not None


def test_black_images_have_cells_nowhere_and_figures_that_say_so(cellseg, tmp_path) -> None:
    black, out = tmp_path / "black.tif", tmp_path / "out"
    tifffile.imwrite(black, np.zeros((40, 50), np.uint16))
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.eye(64, dtype=np.uint16))
    done = cellseg("compare", black, other, "-o", out, "--segmenters", "watershed", *FINE, *D)
    assert done.status == 0, done.err
    methods = read(out)["methods"]
    assert [method["cells"] for method in methods] == [0, 0]
    assert methods[0]["images"][0]["quality"]["explained"] is None
