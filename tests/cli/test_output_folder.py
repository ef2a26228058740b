"""The output folder: inputs in it are safe, results in it are not taken for inputs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import attrs
import numpy as np
import pandas as pd
import pytest
import tifffile

from cellseg_core import Image, label_store, pipeline, read_images, segmenting
from cellseg_core.errors import OutputError
from cellseg_core.label_files import read_label_file
from cellseg_core.store import Store, fingerprint
from cellseg_io.tiff import TiffReader

D = ("--nuclear-diameter", 10)


def images_in(out) -> list[str]:
    return pd.read_csv(out / "cells.csv")["image"].unique().tolist()


def test_results_are_never_written_where_an_input_lies(cellseg, write_image, tmp_path) -> None:
    path = write_image("data/nuclei/nuclei.ome.tif")
    before = path.read_bytes()
    done = cellseg("run", path, "-o", tmp_path / "data", *D)
    assert done.status == 2
    assert "where the input nuclei.ome.tif lies. Choose another folder with -o." in done.err
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["nuclei.ome.tif"]


def test_a_channel_folder_is_not_written_into(cellseg, write_image, tmp_path) -> None:
    folder = tmp_path / "data" / "ROI2"
    folder.mkdir(parents=True)
    for name, plane in zip(("DAPI", "CD3"), tifffile.imread(write_image()), strict=True):
        tifffile.imwrite(folder / f"{name}.tif", plane)
    done = cellseg("run", folder, "-o", tmp_path / "data", "--nuclear", "DAPI", *D)
    assert done.status == 2
    assert {p.name for p in folder.iterdir()} == {"DAPI.tif", "CD3.tif"}


def test_results_in_the_folder_of_the_inputs_are_not_taken_for_inputs(
    cellseg, write_image, tmp_path
) -> None:
    folder = write_image("in/a.tif").parent
    write_image("in/b.tif", seed=4)
    assert cellseg("run", folder, "-o", folder, *D).status == 0
    table = (folder / "cells.csv").read_bytes()
    again = cellseg("run", *sorted(folder.glob("[!.]*")), "-o", folder, *D)
    assert again.status == 0, again.err
    assert "6 of the inputs are results of an earlier run" in again.err
    assert again.out.count("(done before)") == 2
    assert (folder / "cells.csv").read_bytes() == table
    assert cellseg("run", folder, "-o", folder / "results", *D).status == 0
    assert images_in(folder / "results") == ["a", "b"]


def test_a_second_run_into_the_folder_is_refused(cellseg, write_image, tmp_path) -> None:
    out = tmp_path / "out"
    with Store.open(out):
        done = cellseg("run", write_image(), "-o", out, *D)
    assert done.status == 1
    assert f"another run is writing into {out}. Wait until it is done" in done.err
    assert cellseg("run", write_image(), "-o", out, *D).status == 0


def test_the_lock_of_a_run_that_was_killed_does_not_stay(tmp_path) -> None:
    code = (
        "import os, pathlib; from cellseg_core.store import Store\n"
        f"with Store.open(pathlib.Path({str(tmp_path)!r})):\n    os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    with Store.open(tmp_path):
        pass


def test_a_run_in_which_nothing_was_done_leaves_what_is_there(
    cellseg, write_image, tmp_path
) -> None:
    out = tmp_path / "out"
    cellseg("run", write_image(), "-o", out, *D)
    before = {name: (out / name).read_bytes() for name in ("cells.csv", "run.json")}
    assert cellseg("run", tmp_path / "typo.tif", "-o", out, *D).status == 1
    assert {name: (out / name).read_bytes() for name in before} == before


def test_label_images_of_another_format_take_the_place_of_the_earlier_ones(
    cellseg, write_image, tmp_path
) -> None:
    out, zarr = tmp_path / "out", ("--set", "labels.format=zarr")
    command = ("run", write_image(), "-o", out, "--segmenter", "watershed", *D)
    assert cellseg(*command, *zarr).status == 0
    assert (out / "image" / "nuclei.ome.zarr" / "zarr.json").is_file()
    assert not (out / "image" / "nuclei.ome.tif").exists()
    assert cellseg("evaluate", out, out).status == 0
    assert "(done before)" in cellseg(*command, *zarr).out
    assert cellseg(*command).status == 0
    assert (out / "image" / "nuclei.ome.tif").is_file()
    assert not (out / "image" / "nuclei.ome.zarr").exists()
    assert cellseg(*command, *zarr).status == 0
    own = cellseg("run", out / "image" / "nuclei.ome.zarr", *command[2:])
    assert "results of an earlier run" in own.out + own.err


def test_a_damaged_record_means_not_done(cellseg, write_image, tmp_path) -> None:
    out, path = tmp_path / "out", write_image()
    cellseg("run", path, "-o", out, *D)
    record = out / ".cellseg" / "images" / "image.json"
    whole = json.loads(record.read_text())
    for damage in ("{", "[]", {**whole, "files": []}, {"key": whole["key"], "files": {}}):
        record.write_text(damage if isinstance(damage, str) else json.dumps(damage))
        done = cellseg("run", path, "-o", out, *D)
        assert done.status == 0, done.err
        assert "(done before)" not in done.out


def multi_file(folder, seed: int = 0):
    """Write an OME-TIFF whose second channel is in a file of its own; return both paths."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[:60, :80]
    spots = 800 * (((y % 16 - 8) ** 2 + (x % 16 - 8) ** 2) < 25)
    ids = ["11111111-0000-4000-8000-000000000000", "22222222-0000-4000-8000-000000000000"]
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="80"'
        ' SizeY="60" SizeC="2" SizeZ="1" SizeT="1"><Channel ID="Channel:0:0" Name="DAPI"/>'
        '<Channel ID="Channel:0:1" Name="CD3"/>'
        + "".join(
            f'<TiffData FirstC="{c}" IFD="0" PlaneCount="1"><UUID FileName="m_c{c}.ome.tif">'
            f"urn:uuid:{uid}</UUID></TiffData>"
            for c, uid in enumerate(ids)
        )
        + "</Pixels></Image></OME>"
    )
    paths = []
    for c, uid in enumerate(ids):
        plane = (spots + rng.integers(100, 200, (60, 80)) * (c + 1)).astype(np.uint16)
        paths.append(folder / f"m_c{c}.ome.tif")
        tifffile.imwrite(paths[-1], plane, description=xml.format(own=uid), metadata=None)
    return paths


def test_a_change_in_any_file_of_an_image_is_noticed(cellseg, tmp_path) -> None:
    one, _ = multi_file(tmp_path / "mf")
    (image,) = TiffReader().read(one)
    assert len(image.files) == 2
    out = tmp_path / "out"
    cellseg("run", one, "-o", out, *D)
    before = pd.read_csv(out / "cells.csv")["CD3"]
    first = one.read_bytes()
    multi_file(tmp_path / "mf", seed=1)
    one.write_bytes(first)
    done = cellseg("run", one, "-o", out, *D)
    assert "(done before)" not in done.out
    assert not np.allclose(pd.read_csv(out / "cells.csv")["CD3"], before)


def test_the_files_of_one_image_do_not_count_twice(cellseg, tmp_path) -> None:
    multi_file(tmp_path / "mf")
    done = cellseg("run", tmp_path / "mf", "-o", tmp_path / "out", *D)
    assert done.status == 0, done.err
    assert "m_c1.ome.tif is a part of another image, and left out" in done.err
    assert images_in(tmp_path / "out") == ["m_c0"]


def test_what_is_no_tile_in_a_codex_folder_is_named(cellseg, write_image, tmp_path) -> None:
    for name in ("reg001_X01_Y01_Z01.tif", "reg001_X02_Y01_Z01.ome.tif", "sample.tif"):
        write_image(f"cx/{name}")
    done = cellseg("run", tmp_path / "cx", "-o", tmp_path / "out", *D)
    assert done.status == 0, done.err
    assert "left out, since they are not: sample.tif" in done.err
    assert len(images_in(tmp_path / "out")) == 2


def test_one_tile_under_two_names_is_refused(cellseg, write_image, tmp_path) -> None:
    for name in ("reg001_X01_Y01.tif", "reg1_x1_y1_z1.tif"):
        write_image(f"cx/{name}")
    done = cellseg("run", tmp_path / "cx", "-o", tmp_path / "out", *D)
    assert done.status == 1
    assert "are the same tile" in done.err


@pytest.mark.parametrize("name", ["run.json.tif", "cells.csv.tif", "con.tif", "名" * 70 + ".tif"])
def test_images_with_awkward_names_get_a_folder(cellseg, write_image, tmp_path, name) -> None:
    out = tmp_path / "out"
    done = cellseg("run", write_image(name), write_image("z.tif"), "-o", out, *D)
    assert done.status == 0, done.err
    assert len(images_in(out)) == 2


@pytest.mark.parametrize("path", ["", "x" * 300 + ".tif", "nul\0.tif"])
def test_paths_that_cannot_be_are_named_and_the_others_done(
    cellseg, write_image, tmp_path, path
) -> None:
    done = cellseg("run", path, write_image(), "-o", tmp_path / "out", *D)
    assert done.status == (2 if path == "" else 1)
    assert "an input is empty" in done.err if path == "" else "cannot be opened" in done.err
    assert (tmp_path / "out" / "cells.csv").is_file() == (path != "")


def test_the_current_folder_is_an_input(cellseg, write_image, tmp_path, monkeypatch) -> None:
    write_image("slides/a.tif")
    monkeypatch.chdir(tmp_path / "slides")
    done = cellseg("run", "./", "-o", tmp_path / "out", *D)
    assert done.status == 0, done.err
    assert images_in(tmp_path / "out") == ["a"]


def test_a_writer_that_says_it_wrote_and_did_not_is_found_out(
    cellseg, write_image, tmp_path, monkeypatch
) -> None:
    from cellseg_io.overlay import OverlayWriter

    monkeypatch.setattr(OverlayWriter, "write", lambda self, result, folder: [folder / "x.png"])
    done = cellseg("run", write_image(), "-o", tmp_path / "out", *D)
    assert done.status == 1
    assert "should have been written by the writer 'overlay', and is not there" in done.err


def test_a_file_that_vanishes_is_an_error_with_its_name(tmp_path) -> None:
    from cellseg_core.errors import ImageError

    with pytest.raises(ImageError, match=r"gone\.tif cannot be read: No such file"):
        fingerprint([tmp_path / "gone.tif"])


def test_names_are_cleaned_of_line_breaks(tmp_path) -> None:
    image = Image(np.ones((2, 4, 4)), channels=("CD\n3", " x\r\n y "))
    assert image.channels == ("CD 3", "x  y")


def test_a_store_that_cannot_be_made_says_why(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"), Store.open(tmp_path / "file" / "x"):
        pass


def test_columns_never_share_a_name(tmp_path) -> None:
    from cellseg_core.testing import WriterTests
    from cellseg_io.csv_table import CsvWriter

    names = ("area", "area:mean", "DAPI", "DAPI:uncompensated", "Cell Size")
    one = WriterTests().result(channels=names)
    table = attrs.evolve(one.table, uncompensated=one.table.intensities * 2)
    frame = table.to_pandas()
    assert len(frame.columns) == len(set(frame.columns)) == 14 + 2 * len(names)
    for number, column in enumerate(table.channel_columns().values()):
        assert np.array_equal(frame[column], table.intensities[:, number])
    (path, _) = CsvWriter(style="cellseg").write(one, tmp_path)
    original = pd.read_csv(path)
    assert np.array_equal(original["Cell Size"], one.table.areas)
    assert len(original.columns) == 9 + len(names)


def tiled(out: Path, image: Path, *more: object) -> list[object]:
    given = ["run", image, "-o", out, "--nuclear", "DAPI", "--segmenter", "watershed", *D]
    return [*given, "--tile", 32, "--expand", 2, *more]


def test_an_interrupted_run_goes_on_with_the_next_tile(
    cellseg, write_image, tmp_path, monkeypatch
) -> None:
    image = write_image(shape=(150, 170))
    assert cellseg(*tiled(tmp_path / "undisturbed", image)).status == 0
    real, calls = segmenting.segment_tile, []

    def stops(*args: object) -> object:
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(args)
        return real(*args)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(segmenting, "segment_tile", stops)
        assert cellseg(*tiled(out, image)).status == 130
        kept = list((out / ".cellseg" / "tiles").rglob("*.npz"))
        assert len(kept) == 5
        # What comes after segmentation may change; other settings, other tiles.
        assert cellseg(*tiled(out, image, "--features", "shape")).status == 130
        assert len(calls) == 5
        calls.clear()
        assert cellseg(*tiled(out, image, "--set", "segmenter.threshold=0.3")).status == 130
        assert len(calls) == 5
        calls.clear()
        assert cellseg(*tiled(out, image, "--fresh")).status == 130
    done = cellseg(*tiled(out, image))
    assert done.status == 0
    assert "(5 of 30 tiles done before)" in done.out
    assert not (out / ".cellseg" / "tiles" / "image").exists()
    for path in (tmp_path / "undisturbed" / "image").iterdir():
        assert (out / "image" / path.name).read_bytes() == path.read_bytes(), path.name


def test_nothing_of_an_earlier_label_image_shows_in_a_new_one(
    cellseg, write_image, tmp_path
) -> None:
    out, zarr = tmp_path / "out", ("--set", "labels.format=zarr")
    command = ("run", write_image(), "-o", out, "--segmenter", "watershed", *D, *zarr)
    assert cellseg(*command).status == 0
    shutil.rmtree(out / ".cellseg")
    assert cellseg(*command, "--min-size", 5000).status == 0
    assert not read_label_file(out / "image" / "nuclei.ome.zarr")[:, :].any()


def test_tiles_that_nobody_needs_any_more_are_removed(
    cellseg, write_image, tmp_path, monkeypatch
) -> None:
    image, out = write_image(shape=(150, 170)), tmp_path / "out"
    assert cellseg(*tiled(out, image)).status == 0
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_stitched", lambda *_: 1 / 0)
        assert cellseg(*tiled(out, image, "--min-size", 33)).status == 1
        assert list((out / ".cellseg" / "tiles").rglob("*.npz"))
    assert cellseg(*tiled(out, image)).status == 0
    assert not list((out / ".cellseg" / "tiles").rglob("*.npz"))


def test_label_images_on_disk_make_the_same_files(
    cellseg, write_image, tmp_path, monkeypatch
) -> None:
    image = write_image(shape=(150, 170))
    more = ("--compensate", "--features", "shape", "--set", "labels.format=tiff")
    assert cellseg(*tiled(tmp_path / "memory", image, *more)).status == 0
    monkeypatch.setattr(pipeline, "_IN_MEMORY", 1000)
    monkeypatch.setattr(label_store, "WINDOW", 64)
    assert cellseg(*tiled(tmp_path / "disk", image, *more)).status == 0
    for path in (tmp_path / "memory" / "image").iterdir():
        assert (tmp_path / "disk" / "image" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_gives_the_same_files(
    cellseg, write_image, tmp_path
) -> None:
    image = write_image(shape=(330, 350))
    assert cellseg(*tiled(tmp_path / "undisturbed", image)).status == 0
    out = tmp_path / "out"
    command = [sys.executable, "-m", "cellseg_core", *map(str, tiled(out, image))]
    for wanted in (1, 30, 90):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            if len(list((out / ".cellseg" / "tiles").rglob("*.npz"))) >= wanted:
                process.kill()
            time.sleep(0.002)
        process.wait()
    done = cellseg(*tiled(out, image))
    assert done.status == 0
    assert "tiles done before)" in done.out or "(done before)" in done.out
    for path in (tmp_path / "undisturbed" / "image").iterdir():
        assert (out / "image" / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_parts_of_a_set_in_a_folder_are_read_with_the_file_that_describes_it(
    cellseg, data_dir, tmp_path
) -> None:
    folder = data_dir / "readers" / "ome_tiff" / "multifile"
    result = cellseg("info", folder, "--set", "reader.z=1")
    assert (result.status, result.err) == (0, "")
    assert "multifile.companion.ome" in result.out
    result = cellseg(
        "run", folder, "--set", "reader.z=1", "--segmenter", "watershed", "-o", tmp_path / "out"
    )
    assert result.status == 0, result.err
    assert "1 of 1 image" in result.err + result.out
    result = cellseg("info", *sorted(folder.iterdir()), "--set", "reader.z=1")
    assert (result.status, result.err) == (0, "")
    assert [image.name for image in read_images(folder, z=1)] == ["multifile"]
    assert "Z1.ome.tiff is one part" in cellseg("info", folder / "multifile-Z1.ome.tiff").err
