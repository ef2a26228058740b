"""Label images in files: every form that is read, which belong together, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from cellseg_core import label_files
from cellseg_core.errors import ImageError
from cellseg_core.label_files import find_label_files, pair_label_files, read_label_file
from cellseg_io.ome_zarr.label_pyramid import write_label_pyramid

LABELS = np.array([[0, 1, 1, 0], [0, 200, 7, 7], [3, 0, 0, 7]])


def write(path: Path, labels: np.ndarray = LABELS) -> Path:
    """Write a label image as its ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, labels)
    elif path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, labels, photometric="minisblack")
    else:
        PIL.Image.fromarray(labels).save(path)
    return path


def read(path: Path) -> np.ndarray:
    return np.asarray(read_label_file(path)[:, :])


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, dtype) for name in ("a.tif", "a.npy")
          for dtype in ("u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")),
        ("a.png", "u1"), ("a.png", "u2"), ("a.PNG", "u1"), ("a.ome.tif", "i4"),
        ("a.tiff", ">u2"), ("a.npy", ">i4"), ("a.tif", "f2"), ("a.npy", "f2"),
    ],
)  # fmt: skip
def test_every_form_gives_the_labels_that_were_written(
    tmp_path: Path, name: str, dtype: str
) -> None:
    labels = read(write(tmp_path / name, LABELS.astype(dtype)))
    assert np.array_equal(labels, LABELS)
    assert labels.dtype.kind in "iu"


def test_large_ids_stay_what_they_are(tmp_path: Path) -> None:
    for name, highest in (("a.tif", 2**31), ("a.npy", 2**62), ("b.tif", 2**24 + 1)):
        labels = LABELS.astype(np.int64) * 0 + highest
        labels[0] = 0
        assert read(write(tmp_path / name, labels)).max() == highest
    assert read(write(tmp_path / "f.npy", labels.astype(np.float32) * 0 + 2**24 - 1)).max() == (
        2**24 - 1
    )


def test_a_gray_png_saved_as_colour_is_read(tmp_path: Path) -> None:
    gray = np.repeat(LABELS.astype(np.uint8)[..., None], 3, axis=2)
    assert np.array_equal(read(write(tmp_path / "a.png", gray)), LABELS)


def test_a_very_large_file_is_read_in_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_files, "_WHOLE", 5)
    labels = read_label_file(write(tmp_path / "a.tif", LABELS.astype(np.uint16)))
    assert not isinstance(labels, np.ndarray)
    assert labels.shape == LABELS.shape
    assert np.array_equal(labels[1:3, 1:4], LABELS[1:3, 1:4])


def picture(path: Path) -> Path:
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 255, (5, 6, 4), np.uint8)).save(path)
    return path


def pickled(path: Path) -> Path:
    np.save(path, np.array({"masks": LABELS}), allow_pickle=True)
    return path


def text(path: Path) -> Path:
    path.write_text("no array", encoding="utf-8")
    return path


def binary(value: int) -> np.ndarray:
    mask = np.zeros((12, 12), np.uint8)
    mask[1:5, 1:5] = mask[7:11, 7:11] = value
    return mask


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (picture, "a.png", r"one plane of whole numbers; this file has 3 channels \(red"),
        (lambda path: write(path, np.stack([LABELS] * 3).astype("u2")), "a.tif", "3 channels"),
        (lambda path: write(path, np.stack([LABELS] * 3)), "a.npy", r"shape \(3, 3, 4\)"),
        (lambda path: write(path, LABELS + 0.25), "a.npy", "12 values.*not, for example 0.25"),
        (lambda path: write(path, (LABELS / 3).astype("f4")), "a.tif", "probabilities"),
        (lambda path: write(path, np.where(LABELS, LABELS, np.nan)), "a.npy", "example nan"),
        (lambda path: write(path, LABELS.astype("f4") + 2**24), "a.npy", "16,777,216 on apart"),
        (lambda path: write(path, LABELS > 0), "a.npy", "True and False"),
        (lambda path: write(path, LABELS > 0), "a.tif", "True and False"),
        (lambda path: write(path, binary(1)), "a.tif", "binary mask.*2 separate.*value 1"),
        (lambda path: write(path, binary(255)), "a.png", "binary mask.*value 255"),
        (lambda path: write(path, binary(9)), "a.jpg", "JPEG changes"),
        (pickled, "a.npy", "cannot be read as a numpy array.*_seg.npy"),
        (text, "a.npy", "cannot be read as a numpy array"),
        (text, "a.tif", "a.tif"),
        (text, "a.png", "not a readable PNG"),
    ],
)
def test_what_is_no_label_image_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], name: str, message: str
) -> None:
    with pytest.raises(ImageError, match=message) as error:
        read_label_file(make(tmp_path / name))
    assert name in str(error.value)


def test_one_object_of_value_1_or_255_is_no_binary_mask(tmp_path: Path) -> None:
    one = binary(255)
    one[7:] = 0
    assert read(write(tmp_path / "a.png", one)).max() == 255
    numbered = binary(255)
    numbered[7:11, 7:11] = 254
    assert len(np.unique(read(write(tmp_path / "b.png", numbered)))) == 3


def test_a_folder_gives_its_label_files_by_stem(tmp_path: Path) -> None:
    for name in ("b.ome.tif", "a.png", "c.npy", "d.x.tiff"):
        write(tmp_path / name, LABELS.astype(np.uint8))
    (tmp_path / "index.csv").write_text("id\na\n")
    (tmp_path / ".hidden.tif").write_text("")
    (tmp_path / "folder.tif").mkdir()
    assert {name: file.name for name, file in find_label_files(tmp_path).items()} == {
        "a": "a.png", "b": "b.ome.tif", "c": "c.npy", "d.x": "d.x.tiff",
    }  # fmt: skip


def test_the_folder_of_a_run_gives_the_labels_of_its_images(tmp_path: Path) -> None:
    for image in ("one", "two.x"):
        for kind in ("nuclei", "cells"):
            write(tmp_path / image / f"{kind}.ome.tif", LABELS.astype(np.int32))
    (tmp_path / ".cellseg").mkdir()
    (tmp_path / "cells.csv").write_text("")
    assert find_label_files(tmp_path) == {
        name: tmp_path / name / "nuclei.ome.tif" for name in ("one", "two.x")
    }
    assert find_label_files(tmp_path, "cells")["one"] == tmp_path / "one" / "cells.ome.tif"
    assert find_label_files(tmp_path / "one") == {"one": tmp_path / "one" / "nuclei.ome.tif"}


def test_ome_zarr_is_a_label_file_alone_in_a_folder_and_in_results(tmp_path: Path) -> None:
    labels = np.arange(12, dtype=np.int32).reshape(3, 4)
    for place in ("masks/a.ome.zarr", "masks/b.zarr", "out/tissue/nuclei.ome.zarr"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        write_label_pyramid(tmp_path / place, labels, "a")
    tifffile.imwrite(tmp_path / "masks" / "c.tif", labels)
    assert list(find_label_files(tmp_path / "masks")) == ["a", "b", "c"]
    one = tmp_path / "masks" / "a.ome.zarr"
    assert find_label_files(one) == {"a": one}
    assert np.array_equal(read_label_file(one), labels)
    (pair,) = pair_label_files(one, tmp_path / "masks").pairs
    assert (pair.truth, pair.pred) == (one, one)
    found = tmp_path / "out" / "tissue" / "nuclei.ome.zarr"
    assert find_label_files(tmp_path / "out") == {"tissue": found}
    assert find_label_files(tmp_path / "out" / "tissue") == {"tissue": found}


def test_what_cannot_be_found_is_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no does not exist"):
        find_label_files(tmp_path / "no")
    with pytest.raises(ImageError, match=r"holds no label image.*cells\.ome\.tif"):
        find_label_files(tmp_path, "cells")
    write(tmp_path / "a.tif")
    write(tmp_path / "a.png", LABELS.astype(np.uint8))
    with pytest.raises(ImageError, match=r"a\.png and .*a\.tif have the same name"):
        find_label_files(tmp_path)
    write(tmp_path / "jpegs" / "a.jpg", LABELS.astype(np.uint8))
    with pytest.raises(ImageError, match=r"JPEG changes.*\(a\.jpg\)"):
        find_label_files(tmp_path / "jpegs")


def folders(tmp_path: Path, truth: str, pred: str) -> tuple[Path, Path]:
    """Write label files by names in two folders."""
    for folder, names in (("truth", truth), ("pred", pred)):
        (tmp_path / folder).mkdir()
        for name in names.split():
            write(tmp_path / folder / name)
    return tmp_path / "truth", tmp_path / "pred"


def test_files_of_one_name_are_pairs(tmp_path: Path) -> None:
    truth, pred = folders(tmp_path, "b.tif a.npy", "a.tif b.npy")
    pairing = pair_label_files(truth, pred)
    assert [(one.name, one.truth.name, one.pred.name) for one in pairing.pairs] == [
        ("a", "a.npy", "a.tif"),
        ("b", "b.tif", "b.npy"),
    ]
    assert pairing.only_truth == pairing.only_pred == ()


def test_two_files_are_a_pair_whatever_their_names(tmp_path: Path) -> None:
    truth, pred = folders(tmp_path, "a.tif", "b.npy c.tif")
    (pair,) = pair_label_files(truth / "a.tif", pred / "b.npy").pairs
    assert pair.name == "a"
    assert len(pair_label_files(truth, pred / "b.npy").pairs) == 1


def test_a_file_is_paired_with_that_of_its_name_in_a_folder(tmp_path: Path) -> None:
    truth, pred = folders(tmp_path, "a.tif b.tif", "a.npy b.npy")
    (pair,) = pair_label_files(truth / "b.tif", pred).pairs
    assert pair.pred.name == "b.npy"
    (pair,) = pair_label_files(truth, pred / "b.npy").pairs
    assert pair.truth.name == "b.tif"


def test_missing_partners_are_named_on_both_sides(tmp_path: Path) -> None:
    names = [f"n{number:02}.npy" for number in range(12)]
    truth, pred = folders(tmp_path, "a.npy same.npy " + " ".join(names), "b.npy same.npy")
    with pytest.raises(ImageError, match=r"13 of the 14 label images of .*truth have no") as error:
        pair_label_files(truth, pred)
    for part in ("a, n00, n01, ", "n08 and 3 more", "1 of the 2 label", "--allow-missing"):
        assert part in str(error.value)
    pairing = pair_label_files(truth, pred, allow_missing=True)
    assert [one.name for one in pairing.pairs] == ["same"]
    assert len(pairing.only_truth) == 13
    assert [file.name for file in pairing.only_pred] == ["b.npy"]


def test_without_any_pair_there_is_nothing_to_allow(tmp_path: Path) -> None:
    truth, pred = folders(tmp_path, "a.npy b.npy", "c.npy d.npy")
    for allow in (False, True):
        with pytest.raises(ImageError, match=r"no label image.*example 'a'.*Rename"):
            pair_label_files(truth, pred, allow_missing=allow)


def test_an_array_whose_header_is_garbage_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npy")
    whole = path.read_bytes()
    for garbage in (b"((((", b"{'descr': 5}", b"\xff", b"{'shape': (2, 'x')"):
        path.write_bytes(whole[:10] + garbage + whole[10 + len(garbage) :])
        with pytest.raises(ImageError, match=r"a\.npy cannot be read as a numpy array"):
            read_label_file(path)
