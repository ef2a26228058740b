"""``cellseg run``: what it leaves, and how it resumes."""

from __future__ import annotations

import json
from pathlib import Path

import flowio
import fsspec
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

import cellseg_io.csv_table
from cellseg_core import pipeline
from cellseg_core.table import FIXED_COLUMNS

# Most of these tests are about the machinery around a segmenter: the fastest does.
D = ("--nuclear-diameter", 10, "--segmenter", "watershed")


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "cells.csv", float_precision="round_trip")


def test_one_command_gives_table_masks_and_picture(cellseg, write_image, tmp_path, files) -> None:
    out = tmp_path / "out"
    done = cellseg("run", write_image(), "-o", out, "--expand", 2, *D)
    assert done.status == 0, done.err
    assert set(files(out)) == {
        "cells.csv",
        "cells.columns.csv",
        *(f"image/{name}" for name in (
            "cells.csv", "cells.columns.csv", "cells.fcs", "nuclei.ome.tif", "cells.ome.tif",
            "overlay.png", "report.html",
        )),
    }  # fmt: skip
    frame = table(out)
    assert list(frame.columns) == [*FIXED_COLUMNS, "area_um2", "DAPI", "CD3"]
    nuclei = tifffile.imread(out / "image" / "nuclei.ome.tif")
    cells = tifffile.imread(out / "image" / "cells.ome.tif")
    assert frame["cell_id"].tolist() == list(range(1, len(frame) + 1))
    assert set(np.unique(cells)) == set(np.unique(nuclei)) == {0, *frame["cell_id"]}
    assert (cells[nuclei > 0] == nuclei[nuclei > 0]).all()
    assert np.array_equal(frame["area"], np.bincount(cells.ravel())[1:])
    fcs = flowio.FlowData(out / "image" / "cells.fcs")
    events = np.reshape(fcs.events, (-1, fcs.channel_count))
    for name, values in zip(fcs.pnn_labels, events.T, strict=True):
        assert np.array_equal(values, frame[name].astype(np.float32)), name
    assert f"{len(frame)} cells in 1 of 1 image," in done.out
    assert f"Report:  {out / 'report.html'}" in done.out


def test_the_record_says_what_was_done_with_what(cellseg, write_image, tmp_path) -> None:
    out, path = tmp_path / "out", write_image()
    cellseg("run", path, "-o", out, *D)
    record = json.loads((out / "run.json").read_text())
    assert record["inputs"] == [str(path)]
    assert record["settings"]["nuclear_diameter"] == 10
    assert record["components"]["segmenter"]["watershed"].startswith("cellseg-core")
    assert record["brightness"]["levels"]["DAPI"] > 900
    assert record["packages"]["numpy"] == np.__version__
    (image,) = record["images"]
    assert image["state"] == "done"
    assert image["cells"] == record["cells"] == len(table(out))
    assert image["facts"]["decided"]["nuclear"] == ["DAPI"]
    assert image["facts"]["input"]["pixel_size_um"] == 0.5
    assert "no nuclear channel was named; 'DAPI' looks like one" in image["warnings"][0]


def test_compensation_keeps_both_values(cellseg, write_image, tmp_path) -> None:
    out = tmp_path / "out"
    assert cellseg("run", write_image(), "-o", out, "--expand", 3, "--compensate", *D).status == 0
    frame = table(out)
    assert list(frame.columns)[-4:] == ["DAPI", "DAPI:uncompensated", "CD3", "CD3:uncompensated"]
    moved = frame["CD3"] != frame["CD3:uncompensated"]
    assert moved.mean() > 0.5
    totals = (frame[["CD3", "CD3:uncompensated"]].mul(frame["area"], axis=0)).sum()
    assert totals["CD3"] == pytest.approx(totals["CD3:uncompensated"], rel=1e-9)


def test_the_record_and_the_last_lines_tell_what_compensation_moved(
    cellseg, write_image, tmp_path
) -> None:
    out = tmp_path / "out"
    arguments = ("--expand", "1.5um", "--compensate", "--compensator", "contact", *D)
    done = cellseg("run", write_image(), "-o", out, *arguments, "--compensate-except", "dapi")
    assert done.status == 0, done.err
    assert "compensation moved" in done.out
    (image,) = json.loads((out / "run.json").read_text())["images"]
    decided = image["facts"]["decided"]
    assert decided["expand_px"] == 3
    assert decided["compensation"]["left_alone"] == ["DAPI"]
    assert decided["compensation"]["residual"] < 1e-10
    assert decided["compensation"]["condition_bound"] > 1
    assert decided["compensation"]["channels"]["CD3"]["net"] < 0


def test_what_is_set_in_vain_is_said(cellseg, write_image, tmp_path) -> None:
    arguments = ("--compensator", "contact", "--expander", "voronoi", "--set", "boundary.width=4")
    done = cellseg("run", write_image(), "-o", tmp_path / "out", *D, *arguments)
    assert done.status == 0
    assert "--compensator has no effect without --compensate" in done.err
    assert "--expander has no effect without --expand" in done.err
    assert "--set boundary.width has no effect: boundary is not used" in done.err


def test_rings_without_growth_are_empty_and_said_to_be(cellseg, write_image, tmp_path) -> None:
    out = tmp_path / "out"
    done = cellseg("run", write_image(), "-o", out, *D, "--features", "ring_mean", "--write", "csv")
    assert done.status == 0
    assert "nuclei were not grown. Give --expand 2" in " ".join(done.err.split())
    assert table(out)["CD3:ring_mean"].isna().all()


def test_features_are_columns_of_every_table(cellseg, write_image, tmp_path) -> None:
    out = tmp_path / "out"
    arguments = ("--expand", 2, "--features", "shape,p99.9,nucleus_mean", *D)
    assert cellseg("run", write_image(), "-o", out, *arguments).status == 0
    frame = table(out)
    assert list(frame.columns)[-6:] == [
        "DAPI", "CD3", "DAPI:p99.9", "DAPI:nucleus_mean", "CD3:p99.9", "CD3:nucleus_mean",
    ]  # fmt: skip
    assert {"eccentricity", "solidity", "bbox_x1"} < set(frame.columns)
    fcs = flowio.FlowData(out / "image" / "cells.fcs")
    assert {"eccentricity", "CD3:p99.9"} < set(fcs.pnn_labels)


def test_several_images_of_other_sizes_and_panels_share_one_table(
    cellseg, write_image, tmp_path
) -> None:
    one = write_image("one.tif", ("DAPI", "CD3"), shape=(61, 83))
    two = write_image("two.tif", ("CD4", "DAPI"), shape=(97, 40))
    out = tmp_path / "out"
    assert cellseg("run", two, one, "-o", out, "--nuclear", "DAPI", *D).status == 0
    frame = table(out)
    assert list(frame.columns)[-3:] == ["DAPI", "CD3", "CD4"]
    assert frame["image"].unique().tolist() == ["one", "two"]
    assert frame.loc[frame["image"] == "one", "CD4"].isna().all()
    assert frame.loc[frame["image"] == "two", "CD3"].isna().all()
    assert frame["DAPI"].notna().all()


def test_order_of_inputs_and_repetition_change_no_byte(
    cellseg, write_image, tmp_path, files
) -> None:
    paths = [write_image(f"{name}.tif", seed=i) for i, name in enumerate("abc")]
    outs = [tmp_path / "x", tmp_path / "y"]
    cellseg("run", *paths, "-o", outs[0], *D)
    cellseg("run", *paths[::-1], paths[0], "-o", outs[1], *D)
    assert files(outs[0]) == files(outs[1])


def test_images_of_one_name_get_folders_of_their_own(cellseg, write_image, tmp_path) -> None:
    paths = [write_image("x/a.tif"), write_image("y/a.tif", seed=5)]
    out = tmp_path / "out"
    assert cellseg("run", *paths, "-o", out, *D).status == 0
    assert table(out)["image"].unique().tolist() == ["x_a", "y_a"]
    assert (out / "x_a" / "cells.fcs").is_file()


def test_a_finished_run_is_not_done_again(
    cellseg, write_image, tmp_path, monkeypatch, files
) -> None:
    out, path = tmp_path / "out", write_image()
    cellseg("run", path, "-o", out, *D)
    before = files(out)
    monkeypatch.setattr(pipeline, "segment_tiles", None)
    done = cellseg("run", path, "-o", out, *D)
    assert done.status == 0
    assert "(done before)" in done.out
    assert files(out) == before
    assert json.loads((out / "run.json").read_text())["images"][0]["state"] == "resumed"


@pytest.mark.parametrize("change", ["parameter", "input", "file removed", "file cut", "fresh"])
def test_what_changed_is_done_again(cellseg, write_image, tmp_path, change, files) -> None:
    out, path = tmp_path / "out", write_image()
    cellseg("run", path, "-o", out, *D)
    before = files(out)
    extra: tuple[object, ...] = ()
    if change == "parameter":
        extra = ("--expand", 1)
    elif change == "input":
        write_image(seed=9)
    elif change == "file removed":
        (out / "image" / "cells.fcs").unlink()
    elif change == "file cut":
        (out / "image" / "cells.fcs").write_bytes(b"FCS")
    else:
        extra = ("--fresh",)
    done = cellseg("run", path, "-o", out, *D, *extra)
    assert "(done before)" not in done.out
    assert (files(out) == before) == (change in ("file removed", "file cut", "fresh"))


def test_after_a_crash_the_next_run_goes_on_and_ends_the_same(
    cellseg, write_image, tmp_path, monkeypatch, files
) -> None:
    paths = [write_image(f"{name}.tif", seed=i) for i, name in enumerate("abcd")]
    whole, out = tmp_path / "whole", tmp_path / "out"
    cellseg("run", *paths, "-o", whole, *D)

    real, calls = cellseg_io.csv_table.CsvWriter.write, []

    def dies(self, result, folder):
        calls.append(result.image.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, result, folder)

    monkeypatch.setattr(cellseg_io.csv_table.CsvWriter, "write", dies)
    stopped = cellseg("run", *paths, "-o", out, *D)
    assert stopped.status == 130
    assert "Run the same command again" in stopped.err
    assert not (out / "c").exists(), "nothing half-written is in place"
    assert not (out / "cells.csv").exists()
    monkeypatch.setattr(cellseg_io.csv_table.CsvWriter, "write", real)
    done = cellseg("run", *paths, "-o", out, *D)
    assert done.status == 0
    assert done.out.count("(done before)") == 2
    assert files(out) == files(whole)
    assert not list((out / ".cellseg").glob("unfinished-*"))


def test_files_of_other_parameters_do_not_stay_behind(cellseg, write_image, tmp_path) -> None:
    out, path = tmp_path / "out", write_image()
    cellseg("run", path, "-o", out, *D)
    (out / "image" / "my-notes.txt").write_text("mine")
    cellseg("run", path, "-o", out, *D, "--write", "csv")
    left = {p.name for p in (out / "image").iterdir()}
    assert left == {"cells.csv", "cells.columns.csv", "my-notes.txt"}


def test_an_image_without_cells_is_done_and_warned_of(cellseg, write_image, tmp_path) -> None:
    black = tmp_path / "black.tif"
    tifffile.imwrite(black, np.zeros((40, 50), np.uint16))
    dim = tmp_path / "image.tif"
    tifffile.imwrite(dim, tifffile.imread(write_image())[0])
    out = tmp_path / "out"
    done = cellseg("run", black, dim, "-o", out, *D)
    assert done.status == 0
    assert (
        "black: the nuclear channel (channel_1) is black in this image: no value over 0."
        in done.err
    )
    assert "black: no cell was found." in done.err
    assert table(out)["image"].unique().tolist() == ["image"]
    again = cellseg("run", black, dim, "-o", out, *D)
    assert again.out.count("(done before)") == 2


def test_brightness_each_treats_every_image_as_if_it_were_alone(
    cellseg, write_image, tmp_path
) -> None:
    bright, dim = tmp_path / "bright.tif", tmp_path / "dim.tif"
    plane = tifffile.imread(write_image())[0]
    tifffile.imwrite(bright, plane)
    tifffile.imwrite(dim, plane // 50)
    alone, together, shared = tmp_path / "alone", tmp_path / "together", tmp_path / "shared"
    cellseg("run", dim, "-o", alone, *D)
    done = cellseg("run", bright, dim, "-o", together, *D, "--brightness", "each")
    assert done.status == 0
    assert "dimmer" not in done.err
    assert "dimmer" in cellseg("run", bright, dim, "-o", shared, *D).err
    by_itself, beside = [(table(out)["image"] == "dim").sum() for out in (alone, together)]
    assert by_itself == beside > 0
    record = json.loads((together / "run.json").read_text())
    assert record["brightness"] is None
    levels = [image["facts"]["decided"]["brightness"]["levels"] for image in record["images"]]
    assert levels[0]["channel_1"] > 40 * levels[1]["channel_1"] > 0
    refused = cellseg("run", dim, "-o", alone, "--brightness", "each", "--reference", bright)
    assert refused.status == 2
    assert "leave one of them out" in refused.err


def test_settings_come_from_a_file_and_options_come_first(cellseg, write_image, tmp_path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        'nuclear = "DAPI"\nnuclear-diameter = 10\nexpand = 3\nwrite = ["csv"]\n'
        '[set.csv]\nstyle = "cellseg"\n'
    )
    out = tmp_path / "out"
    done = cellseg("run", write_image(), "-o", out, "--config", settings, "--expand", 1)
    assert done.status == 0, done.err
    record = json.loads((out / "run.json").read_text())["settings"]
    assert (record["expand"], record["nuclear"], record["write"]) == (1, ["DAPI"], ["csv"])
    assert table(out).columns[0] == "Reg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nuclear = DAPI", "is not valid TOML"),
        ("nuclaer = 'DAPI'", "there is no setting 'nuclaer'; did you mean 'nuclear'"),
        ("tile = 'big'", "--tile is a whole number"),
        ("segmenter = 5", "--segmenter is a name; got 5"),
        ("compensate = 'no'", "compensate is true or false; got 'no'"),
        ("channels = 5", "expected the path of a file; got 5"),
        ("brightness = true", "--brightness is a number over 0; got True"),
        ("tile = 1" + "0" * 400, "--tile is a whole number"),
        ("write = 3", "expected names"),
        ("[set]\nsegmenter = 3", "set.segmenter is a table of options"),
        ("tile = " + 2000 * "[", "is not valid TOML"),
        ("tile = 1" + "0" * 5000, "is not valid TOML"),
        ("segmenter = 'watersheds'", "there is no segmenter named 'watersheds'"),
        ("[set.csv]\nstyle = 5", "does not accept style=5: 'style' must be in"),
        ("[set.csv]\nstile = 'cellseg'", "no csv has the option 'stile'; did you mean 'style'"),
    ],
)
def test_a_bad_settings_file_is_named(cellseg, write_image, tmp_path, text, message) -> None:
    (tmp_path / "bad.toml").write_text(text)
    done = cellseg("run", write_image(), "-o", tmp_path / "out", "--config", tmp_path / "bad.toml")
    assert done.status == 2
    assert message in done.err
    assert "bad.toml" in done.err


def test_channel_names_and_pixel_size_can_be_given(cellseg, tmp_path, write_image) -> None:
    plain = tmp_path / "plain.tif"
    tifffile.imwrite(plain, tifffile.imread(write_image()))
    (tmp_path / "names.txt").write_text("Hoechst\nCD45\n")
    out = tmp_path / "out"
    done = cellseg(
        "run", plain, "-o", out, "--channels", tmp_path / "names.txt", "--pixel-size", 0.25, *D
    )
    assert done.status == 0, done.err
    frame = table(out)
    assert list(frame.columns)[-3:] == ["area_um2", "Hoechst", "CD45"]
    assert np.allclose(frame["area_um2"], frame["area"] / 16)
    (tmp_path / "names.txt").write_text("Hoechst\n")
    done = cellseg("run", plain, "-o", out, "--channels", tmp_path / "names.txt", *D)
    assert done.status == 1
    assert "names.txt does not fit" in done.err
    assert "1 channel names for 2 channels" in done.err


def test_a_reference_sets_the_brightness_of_all(cellseg, write_image, tmp_path) -> None:
    one = write_image("one.tif")
    bright = tmp_path / "bright.ome.tif"
    tifffile.imwrite(bright, tifffile.imread(one) * 4, photometric="minisblack", ome=True,
                     metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "CD3"]}})  # fmt: skip
    levels = []
    for extra in ((), ("--reference", bright), ("--reference", bright, "--brightness", 2)):
        out = tmp_path / f"out{len(levels)}"
        assert cellseg("run", one, "-o", out, "--nuclear", "DAPI", *D, *extra).status == 0
        levels.append(json.loads((out / "run.json").read_text())["brightness"])
    assert levels[1]["levels"]["DAPI"] == pytest.approx(4 * levels[0]["levels"]["DAPI"])
    assert levels[1]["source"] == str(bright)
    assert (levels[1]["factor"], levels[2]["factor"]) == (1, 2)
    done = cellseg("run", one, "-o", tmp_path / "x", "--reference", tmp_path / "no.tif", *D)
    assert done.status == 1
    assert "no.tif does not exist" in done.err


def test_quiet_prints_warnings_and_failures_only(cellseg, write_image, tmp_path) -> None:
    path = write_image()
    quiet = cellseg("run", path, "-o", tmp_path / "a", "--nuclear", "DAPI", "--quiet", *D)
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")
    failed = cellseg("run", path, tmp_path / "no.tif", "-o", tmp_path / "b", "--quiet", *D)
    assert failed.status == 1
    assert "no.tif does not exist" in failed.err


def test_results_that_are_not_part_of_this_run_are_pointed_out(
    cellseg, write_image, tmp_path
) -> None:
    out = tmp_path / "out"
    cellseg("run", write_image("one.tif"), "-o", out, *D)
    done = cellseg("run", write_image("two.tif"), "-o", out, *D)
    assert "also holds results that are not part of this run: one." in done.err
    assert table(out)["image"].unique().tolist() == ["two"]


def test_a_folder_of_channels_is_one_image_and_says_so(cellseg, tmp_path, write_image) -> None:
    planes = tifffile.imread(write_image())
    folder = tmp_path / "ROI1"
    folder.mkdir()
    for name, plane in zip(("DNA1_Ir191", "CD3_Er170"), planes, strict=True):
        tifffile.imwrite(folder / f"{name}.tiff", plane)
    out = tmp_path / "out"
    done = cellseg("run", folder, "-o", out, "--nuclear", "DNA1", *D)
    assert done.status == 0, done.err
    assert (
        "is one image, a channel a file (the nuclear channel DNA1 is its file DNA1_Ir191"
        in done.err
    )
    assert list(table(out).columns)[-2:] == ["CD3_Er170", "DNA1_Ir191"]
    as_images = cellseg("run", folder, "-o", tmp_path / "out2", "--layout", "images", *D)
    assert as_images.status == 0
    assert table(tmp_path / "out2")["image"].nunique() == 2


def test_codex_tiles_have_their_place(cellseg, tmp_path, write_image) -> None:
    planes = tifffile.imread(write_image())
    folder = tmp_path / "codex"
    folder.mkdir()
    (folder / "channelNames.txt").write_text("DAPI\nCD3\n")
    for col in (1, 2):
        tifffile.imwrite(folder / f"reg001_X0{col}_Y01_Z05.tif", planes)
    out = tmp_path / "out"
    done = cellseg("run", folder, "-o", out, *D)
    assert done.status == 0, done.err
    frame = table(out)
    assert frame["tile_col"].unique().tolist() == [1, 2]
    assert (frame["tile_z"] == 5).all()
    second = frame[frame["tile_col"] == 2]
    assert np.allclose(second["absolute_x"], second["x"] + 80)


def test_a_folder_of_channels_is_known_by_a_nuclear_stain(cellseg, tmp_path, write_image) -> None:
    planes = tifffile.imread(write_image())
    folder = tmp_path / "ROI1"
    folder.mkdir()
    for name, plane in zip(("CD3_Er170", "DNA1_Ir191"), planes[::-1], strict=True):
        tifffile.imwrite(folder / f"{name}.tif", plane)
    done = cellseg("run", folder, "-o", tmp_path / "out", *D)
    assert done.status == 0, done.err
    assert "its file DNA1_Ir191 looks like a nuclear channel" in done.err
    assert table(tmp_path / "out")["image"].unique().tolist() == ["ROI1"]
    images = tmp_path / "DAPI images"
    images.mkdir()
    for name in ("dapi_1", "dapi_2"):
        tifffile.imwrite(images / f"{name}.tif", planes[0])
    done = cellseg("run", images, "-o", tmp_path / "out2", *D)
    assert table(tmp_path / "out2")["image"].unique().tolist() == ["dapi_1", "dapi_2"]
    assert "if its files are channels of one image: --layout channels" in done.err


def test_a_membrane_named_in_vain_is_told(cellseg, write_image, tmp_path) -> None:
    done = cellseg("run", write_image(), "-o", tmp_path / "out", "--membrane", "CD3", *D)
    assert done.status == 0, done.err
    assert "finds nuclei alone: it does not use the membrane channel" in done.err


def test_an_image_much_dimmer_than_the_others_is_told(cellseg, write_image, tmp_path) -> None:
    bright, dim = write_image("bright.tif"), tmp_path / "dim.ome.tif"
    tifffile.imwrite(dim, (tifffile.imread(bright) // 100).astype(np.uint8), ome=True,
                     photometric="minisblack",
                     metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "CD3"]}})  # fmt: skip
    done = cellseg("run", bright, dim, "-o", tmp_path / "out", "--nuclear", "DAPI", *D)
    assert "dim: DAPI is" in done.err
    assert "times dimmer than in the other images" in done.err


def test_an_address_goes_through_the_command_line_unharmed(cellseg, write_image, tmp_path) -> None:
    pixels = tifffile.imread(write_image("near.tif", channels=("DAPI", "CD3")))
    folder = tmp_path / "slide.zarr"
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    group.create_array("0", data=pixels)
    scales = {"axes": [{"name": axis} for axis in "cyx"], "datasets": [{"path": "0"}]}
    named = {"channels": [{"label": "DAPI"}, {"label": "CD3"}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [scales], "omero": named}
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/folder/slide.zarr", recursive=True)
    try:
        shown = cellseg("info", "memory://folder/slide.zarr")
        near = cellseg("run", folder, "--nuclear", "DAPI", "-o", tmp_path / "near", *D)
        far = cellseg(
            "run", "memory://folder/slide.zarr/", "--nuclear", "DAPI", "-o", tmp_path / "far", *D
        )
        lost = cellseg("info", "memory://folder/lost.zarr")
    finally:
        memory.store.clear()
    assert "memory://folder/slide.zarr (reader 'ome-zarr')" in shown.out
    assert (near.status, far.status, lost.status) == (0, 0, 1)
    pd.testing.assert_frame_equal(table(tmp_path / "near"), table(tmp_path / "far"))
    record = json.loads((tmp_path / "far" / "run.json").read_text())
    assert record["inputs"] == ["memory://folder/slide.zarr"]
    assert "Traceback" not in lost.err
