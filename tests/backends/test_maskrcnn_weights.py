"""Weights on disk: what is good is loaded exactly, everything else is refused with a remedy."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import zipfile
from pathlib import Path

import attrs
import numpy as np
import pytest

from cellseg_backends.maskrcnn import weights as module
from cellseg_backends.maskrcnn.weights import (
    WeightsError,
    describe,
    find_weights,
    load_weights,
    save_weights,
    shipped,
)
from cellseg_core.errors import OutputError

SHAPES = {"stem/kernel": (3, 3, 1, 8), "stem/bias": (8,), "gain": ()}


@attrs.define
class Variable:
    """What load_weights uses of a variable of Keras."""

    shape: tuple[int, ...]
    value: np.ndarray | None = None

    def assign(self, value: np.ndarray) -> None:
        self.value = value


def variables() -> dict[str, Variable]:
    return {name: Variable(shape) for name, shape in SHAPES.items()}


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = tmp_path / "weights"
    facts = {"steps": 5, "data": "made"}
    save_weights(where, arrays(), preset="light", diameter=24.0, score=0.4, training=facts)
    return where


def replace_arrays(folder: Path, content: bytes) -> None:
    """Put other bytes in place of the arrays, with the checksum that belongs to them."""
    (folder / "weights.npz").write_bytes(content)
    change(folder, sha256=hashlib.sha256(content).hexdigest())


def change(folder: Path, **facts: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def npz(compressed: bool = False, **changed: object) -> bytes:
    held = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(held, **{**arrays(), **changed})
    return held.getvalue()


def zipped(**members: bytes) -> bytes:
    """Return an archive of the arrays, some of them replaced by other bytes."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, value in arrays().items():
            one = io.BytesIO()
            np.save(one, value)
            archive.writestr(f"{name}.npy", members.get(name, one.getvalue()))
    return held.getvalue()


def test_weights_come_back_as_they_were_to_half_precision(folder: Path) -> None:
    found = variables()
    description = load_weights(folder, found)
    assert description == describe(folder)
    assert description.training == {"steps": 5, "data": "made"}
    for name, value in arrays().items():
        assert found[name].value.dtype == np.float32
        assert np.array_equal(found[name].value, value.astype(np.float16).astype(np.float32))


def test_compressed_and_single_precision_arrays_are_read_too(folder: Path) -> None:
    replace_arrays(folder, npz(compressed=True))
    found = variables()
    load_weights(folder, found)
    assert np.array_equal(found["stem/kernel"].value, arrays()["stem/kernel"])


def test_arrays_in_column_order_are_read_as_they_are(folder: Path) -> None:
    kernel = np.asfortranarray(arrays()["stem/kernel"])
    replace_arrays(folder, npz(**{"stem/kernel": kernel}))
    found = variables()
    load_weights(folder, found)
    assert np.array_equal(found["stem/kernel"].value, kernel)


@pytest.mark.parametrize("bad", [1e6, -1e6, np.inf, np.nan])
def test_saving_refuses_what_half_precision_cannot_hold(tmp_path: Path, bad: float) -> None:
    values = arrays()
    values["stem/bias"][3] = bad
    with pytest.raises(WeightsError, match=r"stem/bias holds .*finite and at most 65504"):
        save_weights(tmp_path / "w", values, preset="light", diameter=24, score=0.4, training={})
    assert not (tmp_path / "w").exists(), "nothing is written"


def test_weights_that_were_overwritten_halfway_stay_those_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="No space"):
        save_weights(folder, arrays(), preset="light", diameter=9, score=0.1, training={})
    monkeypatch.undo()
    assert load_weights(folder, variables()).diameter == 24


# What model.json says


def test_a_description_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model\.json does not exist.*Copy the folder again"):
        describe(tmp_path)


def test_a_description_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").mkdir()
    with pytest.raises(WeightsError, match=r"model\.json is not a file"):
        describe(tmp_path)


def test_the_remedy_for_what_came_with_cellseg_is_to_install_it_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "shipped", lambda: folder)
    (folder / "weights.npz").write_bytes(b"")
    with pytest.raises(WeightsError, match="Install cellseg again"):
        load_weights(folder, variables())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is damaged"),
        ("{", "is damaged"),
        ("[1, 2]", "a table was expected, and it is a list"),
        ("null", "a table was expected"),
        ("{}", "has no 'format'"),
        ('{"format": 1}', "missing 4 required"),
        ("[" * 100_000, "is damaged"),
        ('{"format": ' + "9" * 5000 + "}", "is damaged"),
    ],
)
def test_a_damaged_description_is_refused(folder: Path, text: str, why: str) -> None:
    (folder / "model.json").write_text(text)
    with pytest.raises(WeightsError, match=f"{why}.*Copy the folder again, or train again") as told:
        describe(folder)
    assert str(folder / "model.json") in str(told.value)
    assert len(str(told.value)) < 1000


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"preset": 3}, "preset is a text"),
        ({"preset": ["light"]}, "preset is a text"),
        ({"diameter": 0}, "diameter is a number"),
        ({"diameter": True}, "diameter is a number"),
        ({"diameter": float("nan")}, "diameter is a number"),
        ({"diameter": "24"}, "diameter is a number"),
        ({"score": -0.1}, "score is a number"),
        ({"score": None}, "score is a number"),
        ({"sha256": "abc"}, "64 hexadecimal digits"),
        ({"sha256": 5}, "64 hexadecimal digits"),
        ({"training": [1]}, "training is a table"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_facts_are_refused(folder: Path, facts: dict, why: str) -> None:
    change(folder, **facts)
    with pytest.raises(WeightsError, match=f"is damaged.*{why}"):
        describe(folder)


def test_a_later_format_asks_for_a_later_cellseg(folder: Path) -> None:
    change(folder, format=2)
    with pytest.raises(WeightsError, match=r"has format 2; this version.*reads 1. Update cellseg"):
        describe(folder)


def test_a_preset_that_is_not_known_asks_for_a_later_cellseg(folder: Path) -> None:
    change(folder, preset="resnet81")
    with pytest.raises(WeightsError, match=r"'resnet81'.*did you mean 'resnet18'.*Update cellseg"):
        describe(folder)


def test_a_description_that_is_huge_is_not_read(folder: Path) -> None:
    (folder / "model.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(WeightsError, match="more than 1,048,576 bytes"):
        describe(folder)


def test_a_description_that_is_not_text_is_refused(folder: Path) -> None:
    (folder / "model.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(WeightsError, match="is damaged"):
        describe(folder)


# What weights.npz holds


def assert_refused(folder: Path, why: str) -> None:
    found = variables()
    with pytest.raises(WeightsError, match=why) as told:
        load_weights(folder, found)
    assert str(folder / "weights.npz") in str(told.value)
    assert "again" in str(told.value), "the message has a remedy"
    assert all(one.value is None for one in found.values()), "nothing was changed"


def test_arrays_that_are_missing_are_named(folder: Path) -> None:
    (folder / "weights.npz").unlink()
    assert_refused(folder, r"weights\.npz does not exist")


def test_a_changed_byte_is_found(folder: Path) -> None:
    content = bytearray((folder / "weights.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "weights.npz").write_bytes(content)
    assert_refused(folder, "its checksum is")


def test_a_truncated_file_is_found(folder: Path) -> None:
    content = (folder / "weights.npz").read_bytes()
    (folder / "weights.npz").write_bytes(content[:-100])
    assert_refused(folder, "its checksum is")


@pytest.mark.parametrize("length", [0, 10, 300, -1])
def test_a_truncated_file_is_found_even_with_its_checksum(folder: Path, length: int) -> None:
    replace_arrays(folder, (folder / "weights.npz").read_bytes()[:length])
    assert_refused(folder, "is damaged")


def test_a_changed_byte_is_found_even_with_its_checksum(folder: Path) -> None:
    content = bytearray((folder / "weights.npz").read_bytes())
    for place in range(0, len(content), 7):
        changed = content.copy()
        changed[place] ^= 0x55
        replace_arrays(folder, bytes(changed))
        found = variables()
        try:
            load_weights(folder, found)
        except WeightsError:
            continue
        # Some bytes mean nothing, such as times of files.
        values = {name: value.astype(np.float16) for name, value in arrays().items()}
        assert all(np.array_equal(found[name].value, values[name]) for name in values), place


def test_more_bytes_than_the_network_needs_are_not_read(folder: Path) -> None:
    (folder / "weights.npz").write_bytes(b"\0" * 100_000)
    assert_refused(folder, "has more than .* bytes, too many for the preset 'light'")


def test_a_zip_bomb_is_not_unpacked(folder: Path) -> None:
    replace_arrays(folder, npz(compressed=True, gain=np.zeros(10**6, np.float32)))
    assert_refused(folder, r"gain has the shape \(1000000,\)")


def test_an_array_with_more_behind_it_than_it_says_is_refused(folder: Path) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays().items():
            one = io.BytesIO()
            np.save(one, value)
            extra = bytes(5 * 10**6) if name == "gain" else b""
            archive.writestr(f"{name}.npy", one.getvalue() + extra)
    replace_arrays(folder, held.getvalue())
    assert_refused(folder, "gain is damaged: its length is wrong")


def test_pickled_objects_are_not_unpickled(folder: Path) -> None:
    ran = folder / "ran"

    class Bomb:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(ran),)

    replace_arrays(folder, npz(gain=np.array(Bomb(), dtype=object)))
    assert_refused(folder, r"gain holds object, and weights are float16 or float32")
    assert not ran.exists()


@pytest.mark.parametrize("kind", ["int64", "float64", "complex64", "<U3", ">f4", "i4,i4"])
def test_other_kinds_of_numbers_are_refused(folder: Path, kind: str) -> None:
    replace_arrays(folder, npz(gain=np.zeros((), kind)))
    assert_refused(folder, "gain holds .*, and weights are float16 or float32")


def test_a_header_of_a_later_version_is_refused(folder: Path) -> None:
    one = io.BytesIO()
    np.lib.format.write_array(one, np.zeros((), np.float32), version=(3, 0))
    replace_arrays(folder, zipped(gain=one.getvalue()))
    assert_refused(folder, "gain is damaged: it is not an array of numbers")


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16,
        b"x" * 200,
        b"\x93NUMPY\x01\x00\x3f\x00{'descr': ('<f4',), 'fortran_order': False, 'shape': ()}"
        + b" " * 40,
        b"\x93NUMPY\x01\x00\xa0\x0f" + b"[" * 4000,
    ],
)
def test_a_header_that_is_garbage_is_refused(folder: Path, member: bytes) -> None:
    replace_arrays(folder, zipped(gain=member))
    assert_refused(folder, "is damaged")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(folder: Path, bad: float) -> None:
    replace_arrays(folder, npz(gain=np.float32(bad)))
    assert_refused(folder, "gain holds values that are not finite")


def test_another_shape_names_the_array_and_both_shapes(folder: Path) -> None:
    replace_arrays(folder, npz(**{"stem/bias": np.zeros(9, np.float32)}))
    assert_refused(folder, r"stem/bias has the shape \(9,\), and the preset 'light' needs \(8,\)")


def test_other_arrays_are_of_another_preset(folder: Path) -> None:
    replace_arrays(folder, npz(more=np.zeros(1, np.float32)))
    assert_refused(folder, "does not hold the weights of the preset 'light'; are they of another")


def test_an_archive_with_a_name_twice_is_refused(folder: Path) -> None:
    held = io.BytesIO(zipped())
    with zipfile.ZipFile(held, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("gain.npy", b"")
    replace_arrays(folder, held.getvalue())
    assert_refused(folder, "does not hold the weights")


def test_an_archive_with_a_password_is_refused(folder: Path) -> None:
    content = bytearray(zipped())
    place = content.find(b"PK\x01\x02")
    while place >= 0:
        content[place + 8] |= 1  # the flag of encryption in the list of contents
        place = content.find(b"PK\x01\x02", place + 1)
    replace_arrays(folder, bytes(content))
    assert_refused(folder, "is damaged")


# Where weights are looked for


def test_without_a_wish_the_shipped_weights_are_meant() -> None:
    assert find_weights(None) == shipped()


def test_a_folder_or_a_file_in_it_names_weights(folder: Path) -> None:
    for name in (folder, str(folder), folder / "model.json", folder / "weights.npz"):
        assert find_weights(name) == folder.resolve()


def test_weights_are_looked_for_by_name_in_the_user_s_library(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CELLSEG_WEIGHTS", str(folder.parent))
    monkeypatch.chdir(tmp_path)
    assert find_weights("weights") == folder.resolve()
    with pytest.raises(WeightsError, match=r"no weights at other or .*other. Name the folder"):
        find_weights("other")


def test_the_home_folder_may_be_abbreviated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert find_weights("~/weights") == folder.resolve()


def test_a_folder_without_weights_is_told_from_none(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no weights of a Mask R-CNN.*cellseg train"):
        find_weights(tmp_path)
    with pytest.raises(WeightsError, match=r"there are no weights at .*cellseg train"):
        find_weights(tmp_path / "no")
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match=r"there are no weights at"):
        find_weights(tmp_path / "file")


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind this user"
)
def test_files_that_may_not_be_read_are_told(folder: Path) -> None:
    (folder / "weights.npz").chmod(0)
    assert_refused(folder, "cannot be read .*Allow this user to read it")
    folder.chmod(0)
    try:
        with pytest.raises(WeightsError, match=r"cannot be looked for .*Allow this user"):
            find_weights(folder)
    finally:
        folder.chmod(0o755)


def test_an_error_of_the_disk_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, *mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(WeightsError, match=r"cannot be read \(Permission denied\). Allow"):
        describe(folder)
    monkeypatch.setattr(Path, "is_file", fail)
    with pytest.raises(WeightsError, match=r"cannot be looked for \(Permission denied\). Allow"):
        find_weights(folder)
