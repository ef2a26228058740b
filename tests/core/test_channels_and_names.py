"""Channels are found as users type them; names of images are safe and unique."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellseg_core import Image
from cellseg_core.channels import find_channel, nuclear_channels, read_channel_names
from cellseg_core.errors import ChannelError, ImageError
from cellseg_core.naming import safe_name, unique_names

PANEL = ("CD3_Er170", "CD31_Nd145", "DNA1_Ir191", "DNA3_Ir193", "dapi", "DAPI")


def image(*channels: str, **kwargs) -> Image:
    return Image(np.zeros((len(channels), 4, 4), np.uint8), channels=channels, **kwargs)


@pytest.mark.parametrize(
    ("name", "found"),
    [("DNA1_Ir191", 2), ("dna1_ir191", 2), ("DNA1", 2), ("cd3", 0), ("DAPI", 5), ("dapi", 4)],
)
def test_a_channel_is_found_as_typed(name: str, found: int) -> None:
    assert find_channel(name, PANEL) == found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CD33", "did you mean"),
        ("Dapi", "fits several channels: dapi, DAPI"),
        ("nothing like it", "There are: CD3_Er170|there are: CD3_Er170"),
        ("", "no channel is named ''"),
    ],
)
def test_a_wrong_name_lists_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ChannelError, match=message):
        image(*PANEL).index(name)


def test_the_nuclear_channel_is_the_only_one_the_named_or_a_known_stain() -> None:
    assert nuclear_channels(image("x"))[0] == (0,)
    assert nuclear_channels(image("a", "b", "c"), ["c", "a", "c"])[0] == (2, 0)
    numbers, why = nuclear_channels(image("CD3", "Hoechst 33342"))
    assert numbers == (1,)
    assert "looks like one" in why
    assert nuclear_channels(image("red", "green", "blue", color=True))[0] == (0, 1, 2)
    with pytest.raises(ChannelError, match=r"--nuclear NAME\. There are: CD3, CD4"):
        nuclear_channels(image("CD3", "CD4"))


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("n.txt", "DAPI\nCD3\n\n CD4 \n", ("DAPI", "CD3", "CD4")),
        ("n.txt", "\ufeffDAPI\r\nCD3", ("DAPI", "CD3")),
        ("n.csv", "cycle,Marker Name\n1,DAPI\n1,CD3\n", ("DAPI", "CD3")),
        ("n.csv", "DAPI\nCD3\n", ("DAPI", "CD3")),
        ("n.csv", "name\nDAPI\nCD3\n", ("DAPI", "CD3")),
    ],
)
def test_channel_names_come_from_text_or_csv(tmp_path: Path, file, text, names) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert read_channel_names(tmp_path / file) == names


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "holds no channel name"), (b"\xff\xfe\x00", "cannot be read"), (None, "cannot be read")],
)
def test_a_bad_file_of_names_is_named(tmp_path: Path, content, message) -> None:
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ChannelError, match=message) as caught:
        read_channel_names(path)
    assert "names.txt" in str(caught.value)


def test_a_csv_without_a_column_of_names_says_which_are_known(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("cycle,filter\n1,FITC\n")
    with pytest.raises(ChannelError, match=r"columns are cycle, filter; .*marker_name"):
        read_channel_names(tmp_path / "n.csv")


@pytest.mark.parametrize(
    ("pixels", "kwargs", "error", "message"),
    [
        (np.zeros((2, 3, 4, 5)), {}, ImageError, r"axes \(channel, y, x\)"),
        (np.zeros((2, 0, 4)), {}, ImageError, "image is empty"),
        (np.zeros((1, 3, 4), complex), {}, ImageError, "integers or floats; these are complex"),
        (np.zeros((2, 3, 4)), {"channels": ("a",)}, ChannelError, "1 channel names for 2"),
        (np.zeros((2, 3, 4)), {"channels": ("a", "a")}, ChannelError, "must be unique; 'a'"),
        (np.zeros((1, 3, 4)), {"pixel_size": 0}, ImageError, "positive number of um"),
        (np.zeros((1, 3, 4)), {"pixel_size": np.nan}, ImageError, "positive number of um"),
    ],
)
def test_an_image_that_makes_no_sense_is_refused(pixels, kwargs, error, message) -> None:
    with pytest.raises(error, match=message):
        Image(pixels, **kwargs)


def test_pixels_that_cannot_be_decoded_are_an_error_with_the_file_s_name() -> None:
    class Broken:
        shape, dtype = (1, 4, 4), np.dtype("u1")

        def __getitem__(self, key):
            raise RuntimeError("bad strip")

    broken = Image(Broken(), channels=("DAPI",), source="slide.tif")
    with pytest.raises(ImageError, match=r"'DAPI' of slide.tif cannot be read .*bad strip"):
        broken.read(0)


@given(st.text(max_size=200))
def test_a_safe_name_is_one_folder_on_every_system(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert not set(safe) & set('/\\:*?"<>|\0')
    assert safe not in (".", "..")
    assert len(safe.encode()) <= 121
    assert safe == safe.strip(" .")
    assert safe_name(safe) == safe


@pytest.mark.parametrize(
    "name", ["CON", "nul.tar", "Aux .ome", "com1", "LPT9.a.b", "com\xb9", "prn.", " con"]
)
def test_no_image_has_the_name_of_a_device_of_windows(name: str) -> None:
    stem = safe_name(name).split(".")[0].rstrip(" ").casefold()
    assert stem not in {"con", "nul", "aux", "com1", "lpt9", "com\xb9", "prn"}


@pytest.mark.parametrize("name", ["console", "auxiliary.1", "com10", "null", "a.con"])
def test_names_that_only_look_like_devices_stay(name: str) -> None:
    assert safe_name(name) == name


def test_an_accent_typed_on_a_mac_gives_the_same_folder_as_elsewhere() -> None:
    assert safe_name("Mu\u0308ller") == safe_name("M\xfcller") == "M\xfcller"


@pytest.mark.parametrize("name", ["cells.csv", "Cells.parquet", "cells.h5ad", "run.json"])
def test_no_image_has_the_name_of_a_file_of_all_images(name: str) -> None:
    assert safe_name(name) == f"{name}_"


@given(
    st.lists(st.tuples(st.sampled_from(["a", "A", "b"]), st.sampled_from(["x", "y"])), max_size=8)
)
def test_names_are_unique_and_do_not_depend_on_the_order(pairs) -> None:
    pairs = list(dict.fromkeys(pairs))
    names = [name for name, _ in pairs]
    sources = [f"{folder}/{name}.tif" for name, folder in pairs]
    chosen = unique_names(names, sources)
    assert len({name.casefold() for name in chosen}) == len(pairs)
    back = unique_names(names[::-1], sources[::-1])
    assert dict(zip(sources, chosen, strict=True)) == dict(zip(sources[::-1], back, strict=True))


def test_a_table_of_names_that_csv_cannot_take_is_named(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_text("name\n" + 200_000 * "x" + "\n")
    with pytest.raises(ChannelError, match=r"names\.csv cannot be read as CSV"):
        read_channel_names(path)


def test_very_many_channels_are_checked_at_once() -> None:
    began = time.perf_counter()
    assert len(image(*map(str, range(50_000))).channels) == 50_000
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(("name", "said"), [("", "an empty name"), ("x" * 10_001, "10,001 char")])
def test_a_wrong_name_is_told_with_the_file_that_has_it(name: str, said: str) -> None:
    with pytest.raises(ChannelError, match=rf"^in/slide\.tif: .*channel 2 has {said}"):
        image("DAPI", name, source="in/slide.tif")
