"""OME-Zarr at addresses: the same pixels and cells as from a folder, and errors that help."""

from __future__ import annotations

import base64
import importlib.util
import json
import pickle
import shutil
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from cellseg_core import address as addresses
from cellseg_core.address import Address, as_location
from cellseg_core.batch import run_batch
from cellseg_core.config import RunConfig
from cellseg_core.errors import ImageError, MissingPackageError
from cellseg_core.plugins import load_plugins
from cellseg_core.reading import find_sources, read_image, read_images
from cellseg_core.store import fingerprint

CONFIG = RunConfig(nuclear=("DAPI",), segmenter="watershed", write=("csv",))
needs_aiohttp = pytest.mark.skipif(
    importlib.util.find_spec("aiohttp") is None, reason="aiohttp, which opens http://, is missing"
)


def discs(shift: int = 0) -> np.ndarray:
    """Return two channels (C, Y, X) with bright discs of 12 px."""
    y, x = np.mgrid[:120, :150] % 24 - 12
    plane = 200 + 800 * (np.hypot(y, x) < 6) + np.arange(150) % 7
    return np.stack([plane, np.roll(plane, shift, axis=1) // 2]).astype(np.uint16)


def write(folder: Path, pixels: np.ndarray, zarr_format: int = 3) -> Path:
    """Write an OME-Zarr 0.4 or 0.5 of two levels."""
    group = zarr.open_group(folder, mode="w", zarr_format=zarr_format)
    for level in (0, 1):
        small = np.ascontiguousarray(pixels[:, :: level + 1, :: level + 1])
        group.create_array(str(level), data=small, chunks=(1, 40, 60))
    um = {"type": "space", "unit": "micrometer"}
    metadata: dict[str, Any] = {
        "multiscales": [
            {
                "version": "0.4",
                "axes": [
                    {"name": "c", "type": "channel"},
                    {"name": "y", **um},
                    {"name": "x", **um},
                ],
                "datasets": [
                    {
                        "path": str(level),
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [1, 0.5 + level / 2, 0.5 + level / 2]}
                        ],
                    }
                    for level in (0, 1)
                ],
            }
        ],
        "omero": {"channels": [{"label": "DAPI"}, {"label": "CD3"}]},
    }
    group.attrs.update({"ome": {"version": "0.5", **metadata}} if zarr_format == 3 else metadata)
    return folder


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_PAUSES", (0.0, 0.0))
    for name in ("CELLSEG_OFFLINE", "http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


class Memory:
    """The folders of a test, as they are under ``memory://``."""

    def __init__(self) -> None:
        self.system = fsspec.filesystem("memory")

    def put(self, folder: Path) -> str:
        self.remove(folder.name)
        self.system.put(str(folder), f"/{folder.name}", recursive=True)
        return f"memory://{folder.name}"

    def remove(self, name: str) -> None:
        if self.system.exists(f"/{name}"):
            self.system.rm(f"/{name}", recursive=True)


@pytest.fixture
def memory() -> Iterator[Memory]:
    made = Memory()
    yield made
    made.system.store.clear()


class Asked:
    """A web server for a folder: ``paths`` has what was asked for, ``status`` what is answered."""

    def __init__(self, folder: Path) -> None:
        asked = self
        self.paths: list[str] = []
        self.users: set[str | None] = set()
        self.status: dict[str, list[int]] = {}
        self.missing = 404

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.paths.append(self.path)
                asked.users.add(self.headers.get("Authorization"))
                answers = asked.status.get(self.path)
                if answers:
                    self.send_error(answers.pop(0))
                elif not Path(self.translate_path(self.path)).is_file():
                    self.send_error(asked.missing)
                else:
                    super().do_GET()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Asked]:
    made = Asked(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


def numbers(out: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(out / name / "cells.csv").drop(columns="image")


def failure(address: str) -> str:
    """Return why an address is refused, as a run says it."""
    with pytest.raises((ImageError, MissingPackageError)) as caught:
        read_images(address)
    return str(caught.value)


@pytest.mark.parametrize("text", ["s3://bucket/a b/slide.zarr", "https://host//slide.zarr"])
def test_an_address_is_kept_as_it_is(text: str) -> None:
    assert str(as_location(text)) == text
    assert as_location(f"{text}/") == as_location(text)
    assert pickle.loads(pickle.dumps(as_location(text))) == as_location(text)  # noqa: S301


def test_paths_stay_paths() -> None:
    for text in ("a/b.zarr", "C:/a/b.zarr", "", "/a//b.zarr"):
        assert as_location(text) == Path(text)
    assert as_location("file:///data/my%20slide.zarr") == Path("/data/my slide.zarr")


def test_secrets_are_in_no_text() -> None:
    address = Address.of("https://me:secret@host/slide.zarr?token=secret&b=1")
    for shown in (str(address), repr(address), str(address / "0"), str([address])):
        assert "secret" not in shown
        assert "https://host/slide.zarr" in shown
    assert address.in_full == "https://me:secret@host/slide.zarr?token=secret&b=1"
    said = Address.hide("403, url='https://me:secret@host/slide.zarr/zarr.json?token=secret'")
    assert said == "403, url='https://host/slide.zarr/zarr.json'"


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("name", ["slide.ome.zarr", "slide"])
def test_pixels_in_memory_are_those_of_the_folder(
    tmp_path: Path, memory: Memory, name: str, zarr_format: int
) -> None:
    folder = write(tmp_path / name, discs(), zarr_format)
    image, there = read_image(folder), read_image(memory.put(folder))
    assert there.source == f"memory://{name}"
    assert (there.name, there.channels, there.pixel_size, there.axes, there.stored) == (
        image.name, image.channels, image.pixel_size, image.axes, image.stored
    )  # fmt: skip
    assert np.array_equal(there.pixels[:], image.pixels[:])
    copy = pickle.loads(pickle.dumps(there))  # noqa: S301 - made here
    assert np.array_equal(copy.read(1, slice(30, 90), slice(50, 140)), discs()[1, 30:90, 50:140])


def test_a_file_address_is_the_path(tmp_path: Path) -> None:
    folder = write(tmp_path / "my slide.zarr", discs())
    image = read_image(folder.as_uri())
    assert "%20" in folder.as_uri()
    assert image.files == read_image(folder).files
    assert np.array_equal(image.pixels[:], discs())


@pytest.mark.data
@needs_aiohttp
@pytest.mark.parametrize("name", ["blobs_image_v04", "blobs_image_v05", "input9", "input13"])
def test_files_of_other_programs_over_http(data_dir: Path, name: str) -> None:
    (path,) = (data_dir / "readers" / "ome_zarr").glob(f"{name}*.zarr")
    chosen = {"z": 2} if name == "input9" else {}
    server = Asked(path.parent)
    try:
        there = read_image(f"{server.url}/{path.name}", **chosen)
        image = read_image(path, **chosen)
        assert (there.channels, there.pixel_size) == (image.channels, image.pixel_size)
        assert np.array_equal(there.pixels[:], image.pixels[:])
    finally:
        server.server.shutdown()
        server.server.server_close()


@needs_aiohttp
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_run_over_http_gives_the_cells_of_the_folder(
    tmp_path: Path, served: Asked, zarr_format: int
) -> None:
    folder = write(tmp_path / "slide.ome.zarr", discs(), zarr_format)
    run_batch([folder], tmp_path / "near", CONFIG)
    address = Address.of(f"{served.url}/slide.ome.zarr")
    far = run_batch([address], tmp_path / "far", CONFIG)
    assert far.cells > 10
    pd.testing.assert_frame_equal(
        numbers(tmp_path / "far", "slide"), numbers(tmp_path / "near", "slide")
    )
    again = run_batch([address], tmp_path / "far", CONFIG)
    assert [outcome.state for outcome in again.outcomes] == ["resumed"]


def test_a_run_records_the_address_and_notices_other_pixels(tmp_path: Path, memory: Memory) -> None:
    address = as_location(memory.put(write(tmp_path / "slide.zarr", discs())))
    states = [run_batch([address], tmp_path / "out", CONFIG).outcomes[0].state for _ in "12"]
    assert states == ["done", "resumed"]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["inputs"] == ["memory://slide.zarr"]
    assert record["images"][0]["source"] == "memory://slide.zarr"
    assert record["images"][0]["facts"]["input"]["path"] == "memory://slide.zarr"
    # The metadata stays the same to the letter.
    memory.put(write(tmp_path / "slide.zarr", discs(shift=5)))
    assert run_batch([address], tmp_path / "out", CONFIG).outcomes[0].state == "done"


def test_the_fingerprint_depends_on_metadata_and_the_smallest_level(
    tmp_path: Path, memory: Memory
) -> None:
    for zarr_format in (2, 3):
        folder = write(tmp_path / "slide.zarr", discs(), zarr_format)
        files = read_image(memory.put(folder)).files
        before = fingerprint(files)
        assert fingerprint(read_image(memory.put(folder)).files) == before
        zarr.open_group(folder).attrs["more"] = 1
        memory.put(folder)
        other = fingerprint(files)
        assert other != before
        zarr.open_array(folder / "1")[1, 5, 5] = 7
        memory.put(folder)
        assert fingerprint(files) != other


@needs_aiohttp
def test_credentials_reach_the_server_and_nothing_else(tmp_path: Path, served: Asked) -> None:
    write(tmp_path / "slide.zarr", discs())
    host = served.url.removeprefix("http://")
    address = as_location(f"http://me:geheim@{host}/slide.zarr?token=geh%2Feim&more=1")
    done = run_batch([address], tmp_path / "out", CONFIG)
    assert [outcome.state for outcome in done.outcomes] == ["done"]
    assert served.users == {f"Basic {base64.b64encode(b'me:geheim').decode()}"}
    assert all(path.endswith("?token=geh/eim&more=1") for path in served.paths)
    served.status = {f"/slide.zarr/0/c/0/0/0{'?token=geh/eim&more=1'}": [500] * 9}
    failed = run_batch([address], tmp_path / "out", CONFIG, fresh=True)
    assert "500" in str(failed.outcomes[0].error)
    left = [*(file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file())]
    told = str([*done.outcomes, *failed.outcomes]).encode()
    for secret in (b"geheim", b"geh/eim", b"geh%2Feim"):
        assert not any(secret in content for content in [*left, told])


@needs_aiohttp
def test_a_request_that_fails_is_made_again(tmp_path: Path, served: Asked) -> None:
    write(tmp_path / "slide.zarr", discs())
    served.status = {"/slide.zarr/zarr.json": [503, 500], "/slide.zarr/0/c/1/0/0": [503]}
    assert np.array_equal(read_image(f"{served.url}/slide.zarr").pixels[:], discs())


@needs_aiohttp
def test_no_permission_is_no_black_pixel(tmp_path: Path, served: Asked) -> None:
    write(tmp_path / "slide.zarr", discs(), zarr_format=2)
    # S3 answers so for what is not there, such as the zarr.json of Zarr 2.
    served.missing = 403
    image = read_image(f"{served.url}/slide.zarr")
    assert np.array_equal(image.pixels[:], discs())
    served.status = {"/slide.zarr/0/1.0.0": [403]}
    image = read_image(f"{served.url}/slide.zarr")
    assert np.array_equal(image.read(0), discs()[0])
    with pytest.raises(ImageError, match=r"slide\.zarr/0/1\.0\.0 may not be read .*credentials"):
        image.read(1)


@needs_aiohttp
def test_images_with_numbers_are_found_without_a_list(tmp_path: Path, served: Asked) -> None:
    group = zarr.open_group(tmp_path / "slides.zarr", mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    for name in "01":
        write(tmp_path / "slides.zarr" / name, discs(int(name)), zarr_format=2)
    images = read_images(f"{served.url}/slides.zarr")
    assert [image.name for image in images] == ["slides_0", "slides_1"]
    assert np.array_equal(images[1].pixels[:], discs(1))
    # One of them is a part of the whole.
    places = [as_location(f"{served.url}/slides.zarr{part}") for part in ("", "/1")]
    done = run_batch(places, tmp_path / "out", CONFIG)
    assert [outcome.name for outcome in done.outcomes] == ["slides_0", "slides_1"]


@needs_aiohttp
def test_a_server_that_is_silent_or_gone_is_an_error_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        said = failure(f"http://127.0.0.1:{port}/slide.zarr")
    assert "did not answer within 0.3 s. Check the address and the network" in said
    said = failure(f"http://127.0.0.1:{port}/slide.zarr")
    assert f"127.0.0.1:{port}/slide.zarr cannot be read (ClientConnectorError" in said


def test_what_is_not_read_from_an_address_says_what_to_do(tmp_path: Path, memory: Memory) -> None:
    memory.system.pipe("/slide.ome.tif", b"II*\0")
    memory.system.pipe("/folder/notes.txt", b"")
    for name in ("slide.ome.tif", "folder", "nothing"):
        said = failure(f"memory://{name}")
        assert said.startswith(f"memory://{name} is not there, or nothing that is read from")
        assert "OME-Zarr 0.1 to 0.5" in said
        assert "Download a file of another format and give its path, or convert it" in said
    said = failure("memory://nothing.zarr")
    assert "memory://nothing.zarr holds no Zarr, or none that may be read" in said
    folder = write(tmp_path / "odd.zarr", discs())
    zarr.open_group(folder).attrs["ome"] = {}
    assert "Zarr folder without OME metadata; it holds 0, 1" in failure(memory.put(folder))


def test_a_level_that_is_not_there_is_told(tmp_path: Path, memory: Memory) -> None:
    folder = write(tmp_path / "slide.zarr", discs())
    shutil.rmtree(folder / "1")
    said = failure(memory.put(folder))
    assert "memory://slide.zarr/1 is not there, though the metadata names it" in said


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tape://reel/slide.zarr", "nothing is known that opens addresses with tape://"),
        ("file://data/slide.zarr", "is no path: write file:///FOLDER/NAME"),
        ("memory://slide.zarr?token=geheim", "may have a part after '?'"),
    ],
)
def test_addresses_that_cannot_be_right_are_refused(address: str, said: str) -> None:
    assert said in failure(address)
    assert "geheim" not in failure(address)


@pytest.mark.parametrize(
    ("address", "package"),
    [
        ("https://host/slide.zarr", "aiohttp"),
        ("s3://bucket/slide", "s3fs"),
        ("gs://bucket/slide.zarr", "gcsfs"),
    ],
)
def test_a_package_that_is_missing_is_named_and_the_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, package: str
) -> None:
    def missing(protocol: str) -> None:
        raise ImportError(f"Install something to access {protocol}")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    inputs = [as_location(address), write(tmp_path / "near.zarr", discs())]
    done = run_batch(inputs, tmp_path / "out", CONFIG)
    near, far = sorted(done.outcomes, key=lambda outcome: outcome.state)
    assert (near.state, far.state, far.source) == ("done", "failed", address)
    assert f"pip install {package}" in str(far.error)


def test_without_a_network_none_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fsspec, "get_filesystem_class", lambda protocol: None)
    monkeypatch.setenv("CELLSEG_OFFLINE", "1")
    assert "CELLSEG_OFFLINE forbids the network" in failure("https://host/slide.zarr")
    assert "CELLSEG_OFFLINE" not in failure("memory://nothing.zarr")


def test_the_reference_can_be_at_an_address(tmp_path: Path, memory: Memory) -> None:
    folder = write(tmp_path / "slide.zarr", discs())
    config = RunConfig.from_mapping({"reference": memory.put(folder), "segmenter": "watershed"})
    done = run_batch([folder], tmp_path / "out", config)
    assert done.brightness is not None
    assert done.brightness.source == "memory://slide.zarr"
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["settings"]["reference"] == "memory://slide.zarr"


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_folder_is_known_by_what_it_holds(tmp_path: Path, zarr_format: int) -> None:
    plugins = load_plugins()
    folder = write(tmp_path / "images" / "slide", discs(), zarr_format)
    assert [one.reader for one in find_sources(folder, plugins)] == ["ome-zarr"]
    assert np.array_equal(read_image(folder).pixels[:], discs())
    write(tmp_path / "images" / "other.zarr", discs())
    (tmp_path / "images" / "notes").mkdir()
    found = find_sources(tmp_path / "images", plugins)
    assert [(one.path.name, one.reader) for one in found] == [
        ("other.zarr", "ome-zarr"),
        ("slide", "ome-zarr"),
    ]


def test_a_folder_that_may_not_be_looked_into_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lost+found").mkdir()
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9), np.uint8))
    is_file = Path.is_file

    def guarded(path: Path) -> bool:
        if path.parent.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", guarded)
    assert [source.path.name for source in find_sources(tmp_path, load_plugins())] == ["a.tif"]
