"""A folder of images and masks as a training set: what is in it, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from cellseg_core.errors import ImageError
from cellseg_core.training_set import read_training_set
from cellseg_core.training_split import set_aside


def nuclei(shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    """Return a mask of four squares with the values 1 to 4."""
    labels = np.zeros(shape, np.uint16)
    for number in range(4):
        y, x = 5 + 18 * (number // 2), 5 + 20 * (number % 2)
        labels[y : y + 9, x : x + 9] = number + 1
    return labels


class Folder:
    """A data set that a test spoils."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for part in ("images", "masks"):
            (path / part).mkdir()

    def image(self, name: str = "a.png", pixels: np.ndarray | None = None) -> Path:
        shown = (nuclei() > 0).astype(np.uint8) * 200 if pixels is None else pixels
        return self.write(self.path / "images" / name, shown)

    def mask(self, name: str = "a.png", labels: np.ndarray | None = None) -> Path:
        return self.write(self.path / "masks" / name, nuclei() if labels is None else labels)

    def write(self, path: Path, pixels: np.ndarray) -> Path:
        if path.suffix == ".tif":
            tifffile.imwrite(path, pixels)
        else:
            PIL.Image.fromarray(pixels).save(path)
        return path

    def many(self, count: int) -> Folder:
        for number in range(count):
            self.image(f"image {number}.png")
            self.mask(f"image {number}.png")
        return self

    def index(self, text: str) -> None:
        (self.path / "index.csv").write_text(text, encoding="utf-8-sig")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_images_and_masks_of_any_format_are_matched_by_name(folder: Folder) -> None:
    folder.image("a.png")
    folder.mask("a.tif")
    folder.image("b.ome.tif")
    folder.mask("b.png")
    found = read_training_set(folder.path)
    assert [one.name for one in found.examples] == ["a", "b"]
    assert found.name == folder.path.name
    contents = found.check()
    assert contents.images == {"train": 2}
    assert contents.nuclei == {"train": 8}
    plane, labels = found.examples[1].read()
    assert plane.dtype == np.float32
    assert plane.max() == 1
    np.testing.assert_array_equal(labels, nuclei())
    assert labels.dtype == np.int32


def test_values_need_not_follow_each_other_and_pieces_stay_together(folder: Folder) -> None:
    labels = np.array([0, 700, 5, 60000, 9], np.uint16)[nuclei()]
    labels[30:33, 30:40] = 700
    folder.image()
    folder.mask("a.png", labels)
    _, found = read_training_set(folder.path).examples[0].read()
    assert np.unique(found).tolist() == [0, 1, 2, 3, 4]
    assert (found == 3).sum() == (labels == 700).sum()


def test_a_mask_without_nuclei_is_an_example_too(folder: Folder) -> None:
    folder.image()
    folder.mask()
    folder.image("empty.png", np.zeros((40, 50), np.uint8))
    folder.mask("empty.png", np.zeros((40, 50), np.uint8))
    assert read_training_set(folder.path).check().nuclei == {"train": 4}


def test_the_nuclear_channel_is_named_or_found(folder: Folder) -> None:
    pixels = np.stack([np.zeros((40, 50)), nuclei() > 0, np.ones((40, 50))]).astype(np.uint16)
    names = {"axes": "CYX", "Channel": {"Name": ["CD3", "Blue", "CD8"]}}
    path = folder.path / "images" / "a.ome.tif"
    tifffile.imwrite(path, pixels, ome=True, metadata=names, photometric="minisblack")
    folder.mask()
    plane, labels = read_training_set(folder.path, ["Blue"]).examples[0].read()
    np.testing.assert_array_equal(plane > 0, labels > 0)
    with pytest.raises(ValueError, match="--nuclear"):
        read_training_set(folder.path).check()


def test_index_says_what_is_for_what(folder: Folder) -> None:
    folder.many(4)
    folder.index(
        "ID, Split,modality\nimage 0,train,red\nimage 1.png,Validation,blue\nimage 2,test,\n"
        "image 3,training,red\n"
    )
    found = read_training_set(folder.path)
    assert [(one.split, one.group) for one in found.examples] == [
        ("train", "red"), ("val", "blue"), ("test", ""), ("train", "red"),
    ]  # fmt: skip
    assert [one.name for one in found.of("train")] == ["image 0", "image 3"]


def test_index_may_give_modalities_alone(folder: Folder) -> None:
    folder.many(2)
    folder.index("name,modality\nimage 1,blue\n")
    assert [one.group for one in read_training_set(folder.path).examples] == ["", "blue"]


def test_a_tenth_is_set_aside_and_stays_set_aside_when_images_join(folder: Folder) -> None:
    names = [f"nucleus {number}" for number in range(2000)]
    all_splits = set_aside(names)
    share = list(all_splits.values()).count("val") / len(names)
    assert 0.07 < share < 0.13
    assert set_aside(names[:1000]) == {name: all_splits[name] for name in names[:1000]}
    for count in (10, 11, 15):
        for start in range(0, 1000, 50):
            assert "val" in set_aside(names[start : start + count]).values()
    assert set(set_aside(names[:9]).values()) == {"train"}
    found = read_training_set(folder.many(10).path)
    assert 0 < len(found.of("val")) < 5


def test_the_fingerprint_follows_pixels_masks_and_splits(folder: Folder) -> None:
    folder.many(2)
    first = read_training_set(folder.path).check().fingerprint
    assert read_training_set(folder.path).check().fingerprint == first
    folder.index("id,split\nimage 0,train\nimage 1,val\n")
    second = read_training_set(folder.path).check().fingerprint
    labels = nuclei()
    labels[0, 0] = 9
    folder.mask("image 1.png", labels)
    third = read_training_set(folder.path).check().fingerprint
    assert len({first, second, third}) == 3


def test_folders_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nowhere does not exist.*images/ and masks/"):
        read_training_set(tmp_path / "nowhere")
    with pytest.raises(ImageError, match="images does not exist"):
        read_training_set(tmp_path)
    Folder(tmp_path)
    with pytest.raises(ImageError, match="images holds no image"):
        read_training_set(tmp_path)


def test_a_missing_partner_is_named_with_the_nearest(folder: Folder) -> None:
    folder.many(2)
    folder.image("cell_7.png")
    folder.mask("cell-7.png")
    with pytest.raises(ImageError, match=r"no mask of .*cell_7\.png.*did you mean 'cell-7'"):
        read_training_set(folder.path)
    (folder.path / "images" / "cell_7.png").unlink()
    with pytest.raises(ImageError, match=r"no image of .*cell-7\.png"):
        read_training_set(folder.path)


def test_two_files_of_one_name_are_refused(folder: Folder) -> None:
    folder.image("a.png")
    folder.image("a.tif")
    folder.mask()
    with pytest.raises(ImageError, match=r"a\.png and .*a\.tif have the same name"):
        read_training_set(folder.path)


def test_masks_as_jpeg_are_refused(folder: Folder) -> None:
    folder.image()
    folder.mask("a.jpg", nuclei().astype(np.uint8))
    with pytest.raises(ImageError, match=r"JPEG changes the values.*a\.jpg"):
        read_training_set(folder.path)


def in_colour() -> np.ndarray:
    colours = np.random.default_rng(0).integers(0, 255, (5, 3), np.uint8)
    return colours[nuclei()]


def with_edges() -> np.ndarray:
    labels = (nuclei() > 0).astype(np.uint8)
    inner = np.roll(labels, 1, 0) & np.roll(labels, -1, 0)
    return np.where(labels & ~inner, 2, labels).astype(np.uint8)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (nuclei().astype(np.float32), "holds float32"),
        (nuclei() > 0, "True and False"),
        (in_colour(), "has 3 channels.*not a picture of it in colours"),
        ((nuclei() > 0).astype(np.uint8) * 255, "binary mask.*4 separate objects.*value 255"),
        ((nuclei() > 0).astype(np.uint8), "binary mask.*value 1"),
        (with_edges(), "binary mask.*values 1 and 2"),
        (-nuclei().astype(np.int32), "negative"),
        (np.pad(nuclei(), 3), "40 x 50 px, and its mask .* 46 x 56"),
    ],
)
def test_masks_that_are_not_label_images_are_refused(
    folder: Folder, labels: np.ndarray, message: str
) -> None:
    folder.image()
    path = folder.path / "masks" / "a.tif"
    options = {"photometric": "rgb"} if labels.ndim == 3 else {}
    tifffile.imwrite(path, labels, **options)
    with pytest.raises(ImageError, match=message) as error:
        read_training_set(folder.path).check()
    assert str(path) in str(error.value)


def test_one_nucleus_alone_is_no_binary_mask(folder: Folder) -> None:
    folder.image()
    folder.mask("a.png", (nuclei() == 1).astype(np.uint8))
    assert read_training_set(folder.path).check().nuclei == {"train": 1}


def test_everything_that_is_wrong_is_told_at_once(folder: Folder) -> None:
    folder.many(5)
    (folder.path / "images" / "image 1.png").write_bytes(b"no picture")
    folder.mask("image 3.png", (nuclei() > 0).astype(np.uint8))
    with pytest.raises(ImageError) as error:
        read_training_set(folder.path).check()
    told = str(error.value)
    assert "2 of the 5 images" in told
    assert "image 1.png" in told
    assert "image 3.png is a binary mask" in told


def test_a_set_without_a_nucleus_is_refused(folder: Folder) -> None:
    folder.image()
    folder.mask("a.png", np.zeros((40, 50), np.uint8))
    with pytest.raises(ImageError, match="hold no nucleus"):
        read_training_set(folder.path).check()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,split\nimage 0,train\n", "needs a column 'id'.*file, split"),
        ("", "no row"),
        ("id,split\nimage 0,train\nimage 1,learn\n", "one of train, val, test; got 'learn'"),
        ("id,split\nimage 0,train\n", "no row for image 1"),
        ("id,split\nimage 0,val\nimage 1,test\n", "leaves no image to train on"),
        ("id,split\nimage 0,train\nimagge 1,val\n", "'imagge 1'.*did you mean 'image 1'"),
        ("id,split\nimage 0,train\nimage 0,val\n", "lists 'image 0' twice"),
    ],
)
def test_an_index_that_does_not_fit_is_explained(folder: Folder, text: str, message: str) -> None:
    folder.many(2)
    folder.index(text)
    with pytest.raises(ImageError, match=message) as error:
        read_training_set(folder.path)
    assert "index.csv" in str(error.value)
