"""Published weights are found in their order, checked, fetched whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import os
import socket
import ssl
import stat
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import attrs
import pooch
import pytest

from cellseg_core.component import Component
from cellseg_core.errors import MissingPackageError, WeightsError
from cellseg_core.plugins import Plugins, Registered
from cellseg_core.weights import PublishedWeights, find, locate, obtain, tables
from cellseg_core.weights_download import download
from cellseg_core.weights_install import copy_weights
from cellseg_core.weights_places import cache_folder, search

CONTENT = b"these are weights\n" * 1000

# Made for this test alone, and signed by nobody.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgnqruJcxNuSXt9QTa
C5aFF6agSmEn9+VUrFwrnd8/R/ShRANCAASH0YW6VvMmIH3igMsNlnq7eauK6gcd
IFrrIYUjsErS+4ga7cPoOA7pDm+PuXbJHpX7FfrdJ5e8YHPlnlaltsgb
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUd2r6DgxOsRpgV5eO3518dKzdlEEwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzA0NDIyOVoYDzIxMjYxMDMw
MDQ0MjI5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASH0YW6VvMmIH3igMsNlnq7eauK6gcdIFrrIYUjsErS+4ga7cPoOA7p
Dm+PuXbJHpX7FfrdJ5e8YHPlnlaltsgbo28wbTAdBgNVHQ4EFgQUKnQjxQieQSEh
Sk7U/qy3BKMHoIcwHwYDVR0jBBgwFoAUKnQjxQieQSEhSk7U/qy3BKMHoIcwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAKraF3LapFfIiI9D4yykrRIagDn/xuzjCzZ0WYLNnSDfAiEA
gYxobL70bITABNuWnDEdK6t2WLWtqAJHVjpXO8XwEcw=
-----END CERTIFICATE-----
"""


class Served:
    """A web server on this machine, in a thread; ``asked`` has the paths that were asked for."""

    def __init__(self, *, encrypted: bool = False) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.truncated: set[str] = set()
        self.slow: dict[str, float] = {}
        self.asked: list[str] = []
        self._scheme = "https" if encrypted else "http"
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass  # clients of these tests hang up

        self._server = Server(("127.0.0.1", 0), Handler)
        if encrypted:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with tempfile.TemporaryDirectory() as place:
                pem = Path(place, "server.pem")
                pem.write_text(CERTIFICATE, encoding="utf-8")
                context.load_cert_chain(pem)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def url(self, path: str) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}{path}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path
        self.asked.append(path)
        time.sleep(self.slow.get(path, 0))
        if path in self.redirects:
            request.send_response(302)
            request.send_header("Location", self.redirects[path])
            request.end_headers()
        elif path not in self.files:
            request.send_error(404)
        else:
            content = self.files[path]
            request.send_response(200)
            request.send_header("Content-Length", str(len(content)))
            request.end_headers()
            request.wfile.write(content[: len(content) // 2] if path in self.truncated else content)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def zipped(files: dict[str, bytes], *, links: tuple[str, ...] = ()) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            if name in links:
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, content)
    return held.getvalue()


ARCHIVE = zipped({"config.json": b"{}", "weights_best.h5": b"h5", "thresholds.json": b"{}"})


def one(url: str = "", content: bytes = CONTENT, **facts: object) -> PublishedWeights:
    known = {
        "name": "nuclei",
        "file": "nucleitorch_0",
        "url": url or "http://127.0.0.1:9/nucleitorch_0",
        "sha256": hashlib.sha256(content).hexdigest(),
        "licence": "CC0",
        "caches": ["$PACKAGE_CACHE/nucleitorch_0", "~/.package/nucleitorch_0"],
    }
    return PublishedWeights(**{**known, **facts})  # type: ignore[arg-type]


def folder(url: str = "", content: bytes = ARCHIVE, **facts: object) -> PublishedWeights:
    known = {
        "name": "fluo",
        "file": "python_fluo.zip",
        "caches": ["~/.keras/fluo"],
        "folder": True,
        "needs": ["config.json", "*.h5"],
    }
    return one(url, content, **{**known, **facts})


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def whole(path: Path) -> Path:
    put(path / "config.json", b"{}")
    put(path / "weights_last.h5", b"h5")
    return path


def left_in(path: Path) -> set[str]:
    """Return what is in a folder, but for the lock, which says nothing."""
    return {one.name for one in path.iterdir() if not one.name.endswith(".lock")}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder of the test's own, with no variable that leads out of it."""
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in (
        "CELLSEG_WEIGHTS",
        "CELLSEG_OFFLINE",
        "PACKAGE_CACHE",
        "WIN_PD_OVERRIDE_LOCAL_APPDATA",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    # Windows asks the system, not the environment.
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path


@pytest.fixture
def library(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = home / "library"
    path.mkdir()
    monkeypatch.setenv("CELLSEG_WEIGHTS", str(path))
    return path


@pytest.fixture
def served(home: Path) -> Iterator[Served]:
    with Served() as server:
        yield server


# What is on this machine


def test_places_are_searched_in_their_order(
    library: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACKAGE_CACHE", str(home / "package"))
    places = [
        library / "nucleitorch_0",
        library / "nuclei" / "nucleitorch_0",
        home / "package" / "nucleitorch_0",
        home / ".package" / "nucleitorch_0",
        cache_folder() / "nucleitorch_0",
    ]
    assert locate(one()) is None
    for place in reversed(places):
        put(place)
        assert locate(one()) == place
        assert obtain(one()) == place


def test_a_cache_whose_variable_is_not_set_does_not_count(home: Path) -> None:
    put(home / "nucleitorch_0")
    assert locate(one(caches=["$PACKAGE_CACHE/nucleitorch_0"])) is None


@pytest.mark.parametrize("place", ["library/nucleitorch_0", ".package/nucleitorch_0"])
@pytest.mark.parametrize("content", [b"something else", b""])
def test_a_wrong_file_is_named_and_neither_used_nor_replaced(
    library: Path, home: Path, served: Served, place: str, content: bytes
) -> None:
    path = put(home / place, content)
    served.files["/nucleitorch_0"] = CONTENT
    with pytest.raises(WeightsError) as caught:
        obtain(one(served.url("/nucleitorch_0")))
    told = str(caught.value)
    assert str(path) in told
    assert hashlib.sha256(content).hexdigest()[:12] in told
    assert hashlib.sha256(CONTENT).hexdigest()[:12] in told
    assert "cellseg weights fetch nuclei" in told
    assert path.read_bytes() == content
    assert not served.asked


def test_of_several_files_of_one_name_in_a_place_the_right_one_is_used(library: Path) -> None:
    put(library / "other" / "nucleitorch_0", b"of another package")
    right = put(library / "package" / "nucleitorch_0")
    assert locate(one()) == right


def test_a_file_is_read_once_in_a_process_unless_it_changes(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(library / "nucleitorch_0")
    assert locate(one()) == path
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", None)
        assert locate(one()) == path
    put(path, b"changed")
    with pytest.raises(WeightsError, match="damaged"):
        locate(one())


def test_without_a_checksum_the_size_is_compared(library: Path) -> None:
    path = put(library / "nucleitorch_0")
    assert locate(one(sha256=None)) == path
    with pytest.raises(WeightsError, match="18,000 bytes, and 5 were expected"):
        locate(one(sha256=None, bytes=5))
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="0 bytes"):
        locate(one(sha256=None))


def test_a_folder_needs_its_files(library: Path, home: Path) -> None:
    (library / "fluo").mkdir()
    cached = whole(home / ".keras" / "fluo")
    assert locate(folder()) == cached, "an empty folder has nothing to do with it"
    put(library / "fluo" / "config.json", b"{}")
    put(library / "fluo" / "weights_best.h5", b"")
    with pytest.raises(WeightsError, match=r"fluo is not whole.*\*\.h5.*missing or empty"):
        locate(folder())
    assert locate(folder(name="fluo2")) == cached
    now = whole(library / "fluo")
    assert locate(folder()) == now


def test_an_archive_put_there_by_hand_is_unpacked_into_the_cache(library: Path) -> None:
    archive = put(library / "python_fluo.zip", ARCHIVE)
    found = search(folder())
    assert found is not None
    assert found.archive
    path = locate(folder())
    assert path == cache_folder() / "fluo"
    assert (path / "weights_best.h5").read_bytes() == b"h5"
    assert left_in(cache_folder()) == {"fluo"}
    assert locate(folder()) == path
    put(archive, b"not it")
    with pytest.raises(WeightsError, match=r"python_fluo\.zip is damaged"):
        locate(folder())


def test_weights_that_come_with_a_package_are_found(
    library: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(library / "mine" / "nucleitorch_0", b"a network of one's own under the same name")
    monkeypatch.syspath_prepend(home)
    put(home / "some_package" / "__init__.py", b"raise RuntimeError('imported')")
    path = put(home / "some_package" / "inside" / "w.bin")
    shipped = one(url="", shipped="some_package:inside/w.bin")
    found = search(shipped)
    assert found is not None
    assert (found.path, found.place) == (path, "the package some_package")
    (library / "mine" / "nucleitorch_0").unlink()
    assert search(one(shipped="no_such_package_here:w")) is None


# Fetching


def test_a_file_is_fetched_with_a_report_and_once(
    home: Path, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[object] = []

    class Report:
        def say(self, text: str) -> None:
            told.append(text)

        def received(self, name: str, done: int, total: int | None) -> None:
            told.append((name, done, total))

    served.files["/elsewhere"] = CONTENT
    served.redirects["/nucleitorch_0"] = "/elsewhere"
    weights = one(served.url("/nucleitorch_0"))
    path = obtain(weights, Report())
    assert path == cache_folder() / "nucleitorch_0"
    assert path.read_bytes() == CONTENT
    assert "CC0" in str(told[0])
    assert told[-1] == ("nuclei", len(CONTENT), len(CONTENT))
    assert not caplog.records
    assert left_in(cache_folder()) == {"nucleitorch_0"}
    asked = list(served.asked)
    assert obtain(weights) == path
    assert served.asked == asked


def test_without_a_report_one_line_goes_to_the_log_and_nothing_else_is_shown(
    served: Served, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    served.files["/w"] = CONTENT
    level = pooch.get_logger().level
    with caplog.at_level(logging.INFO):
        obtain(one(served.url("/w"), bytes=len(CONTENT)))
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        "downloading the weights 'nuclei'"
    ]
    assert capfd.readouterr() == ("", "")
    assert pooch.get_logger().level == level


@pytest.mark.parametrize("top", ["", "fluo_v1/"])
def test_an_archive_is_fetched_and_unpacked(served: Served, home: Path, top: str) -> None:
    content = zipped({f"{top}config.json": b"{}", f"{top}weights_best.h5": b"h5"})
    served.files["/fluo.zip"] = content
    path = obtain(folder(served.url("/fluo.zip"), content))
    assert path == cache_folder() / "fluo"
    assert left_in(path) == {"config.json", "weights_best.h5"}
    assert left_in(cache_folder()) == {"fluo"}


def failure(weights: PublishedWeights) -> str:
    with pytest.raises(WeightsError) as caught:
        obtain(weights)
    if cache_folder().exists():
        assert not left_in(cache_folder()), "nothing may be left that could be taken for whole"
    return str(caught.value)


def test_what_cannot_be_had_is_told_with_every_way_to_get_it(
    library: Path, home: Path, served: Served
) -> None:
    told = failure(one(served.url("/nucleitorch_0"), bytes=26_563_614))
    assert "the server answers 404" in told
    assert "nucleitorch_0 (27 MB)" in told
    assert served.url("/nucleitorch_0") in told
    assert hashlib.sha256(CONTENT).hexdigest() in told
    assert "CC0" in told
    assert "cellseg weights fetch nuclei -o FOLDER" in told
    places = [library / "nucleitorch_0", cache_folder() / "nucleitorch_0"]
    places.append(home / ".package" / "nucleitorch_0")
    assert [told.index(str(place)) for place in places] == sorted(
        told.index(str(place)) for place in places
    )
    assert "$PACKAGE_CACHE" not in told


def test_wrong_content_is_deleted(served: Served) -> None:
    served.files["/w"] = b"<html>Please log in</html>"
    told = failure(one(served.url("/w")))
    assert "something else" in told
    assert hashlib.sha256(served.files["/w"]).hexdigest()[:12] in told
    assert "login page" in told


def test_a_server_that_sends_too_much_is_stopped(served: Served) -> None:
    served.files["/w"] = b"x" * 3_000_000
    assert "something else" in failure(one(served.url("/w"), bytes=len(CONTENT)))


def test_a_connection_that_breaks_off_leaves_nothing(served: Served) -> None:
    served.files["/w"] = CONTENT
    served.truncated.add("/w")
    assert "broke off" in failure(one(served.url("/w")))
    served.truncated.clear()
    assert obtain(one(served.url("/w"))).read_bytes() == CONTENT


def test_a_slow_server_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.files["/w"] = CONTENT
    served.slow["/w"] = 2.0
    monkeypatch.setattr("cellseg_core.weights_download._SECONDS", (0.5, 0.2))
    assert "does not answer in time" in failure(one(served.url("/w")))


def test_no_network(home: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert "there is no connection" in failure(one(f"http://127.0.0.1:{port}/w"))
    assert "there is no connection" in failure(one("http://no-such-host.invalid/w"))


@pytest.mark.parametrize("url", ["https://[nonsense/w", "https:///w"])
def test_a_nonsense_address(home: Path, url: str) -> None:
    assert "downloading them failed" in failure(one(url))


def test_a_certificate_that_does_not_hold_is_refused(home: Path) -> None:
    with Served(encrypted=True) as server:
        server.files["/w"] = CONTENT
        told = failure(one(server.url("/w")))
    assert "certificate of the server does not hold" in told
    assert "REQUESTS_CA_BUNDLE" in told


def test_offline_nothing_is_asked(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.files["/w"] = CONTENT
    monkeypatch.setenv("CELLSEG_OFFLINE", "1")
    assert "CELLSEG_OFFLINE forbids" in failure(one(served.url("/w")))
    assert not served.asked
    monkeypatch.setenv("CELLSEG_OFFLINE", "0")
    assert obtain(one(served.url("/w"))).is_file()


def test_without_a_checksum_nothing_is_downloaded(served: Served) -> None:
    served.files["/w"] = CONTENT
    told = failure(one(served.url("/w"), sha256=None))
    assert "downloads nothing whose checksum it does not know" in told
    assert "cellseg weights fetch" not in told
    assert not served.asked


def test_a_cache_that_cannot_be_written(served: Served, home: Path) -> None:
    served.files["/w"] = CONTENT
    put(cache_folder(), b"a file where the folder belongs")
    with pytest.raises(WeightsError, match="cannot be written to"):
        obtain(one(served.url("/w")))


@pytest.mark.skipif(os.name == "nt", reason="permissions of folders differ on Windows")
def test_a_read_only_cache(served: Served, home: Path) -> None:
    served.files["/w"] = CONTENT
    cache_folder().mkdir(parents=True)
    cache_folder().chmod(0o500)
    try:
        if os.access(cache_folder(), os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(WeightsError, match="cannot be written to") as caught:
            obtain(one(served.url("/w")))
    finally:
        cache_folder().chmod(0o700)
    assert "-o FOLDER" in str(caught.value)


def test_a_full_disk(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.files["/w"] = CONTENT
    weights = one(served.url("/w"), bytes=len(CONTENT))
    with monkeypatch.context() as patch:
        usage = attrs.make_class("usage", ["free"])(7)
        patch.setattr("shutil.disk_usage", lambda _: usage)
        assert "7 bytes of free space, of which 18 kB are needed" in failure(weights)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pooch.retrieve", full)
    assert "the disk is full" in failure(weights)


def test_what_a_killed_download_left_is_not_used_and_goes_away(served: Served, home: Path) -> None:
    served.files["/w"] = CONTENT
    partial = cache_folder() / ".nucleitorch_0.part"
    put(partial / "nucleitorch_0", CONTENT[:500])
    assert locate(one()) is None
    assert obtain(one(served.url("/w"))).read_bytes() == CONTENT
    assert not partial.exists()


def test_two_at_once_download_once(served: Served, home: Path) -> None:
    served.files["/w"] = CONTENT
    served.slow["/w"] = 0.3
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(obtain(one(served.url("/w")))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cache_folder() / "nucleitorch_0"] * 3
    assert served.asked == ["/w"]


# Archives that are not what they should be


@pytest.mark.parametrize(
    "name", ["../outside.h5", "/outside.h5", "a/../../outside.h5", "..\\outside.h5", "C:\\x.h5"]
)
def test_an_archive_that_reaches_outside_is_refused(served: Served, home: Path, name: str) -> None:
    content = zipped({"config.json": b"{}", "w.h5": b"h5", name: b"evil"})
    served.files["/fluo.zip"] = content
    assert "not safe to unpack" in failure(folder(served.url("/fluo.zip"), content))
    assert not list(home.rglob("outside*"))


def test_an_archive_with_a_link_is_refused(served: Served) -> None:
    content = zipped({"config.json": b"{}", "w.h5": b"/etc/passwd"}, links=("w.h5",))
    served.files["/fluo.zip"] = content
    assert "is a link" in failure(folder(served.url("/fluo.zip"), content))


def test_an_archive_that_bursts_the_disk_is_refused(served: Served) -> None:
    content = zipped({"config.json": b"{}", "w.h5": bytes(100_000_000)})
    served.files["/fluo.zip"] = content
    assert "100,000,002 bytes" in failure(folder(served.url("/fluo.zip"), content))


@pytest.mark.parametrize(
    "content",
    [b"no archive at all", ARCHIVE[:100], ARCHIVE.replace(b"h5PK", b"h6PK", 1), b""],
    ids=["text", "cut", "altered", "empty"],
)
def test_a_damaged_archive_is_refused(served: Served, content: bytes) -> None:
    assert content != ARCHIVE
    served.files["/fluo.zip"] = content
    assert "cannot be unpacked" in failure(folder(served.url("/fluo.zip"), content))


def test_an_archive_of_something_else_is_refused(served: Served) -> None:
    content = zipped({"readme.txt": b"hello"})
    served.files["/fluo.zip"] = content
    assert "does not hold the weights" in failure(folder(served.url("/fluo.zip"), content))


def test_what_is_in_the_way_stays(served: Served, home: Path) -> None:
    served.files["/fluo.zip"] = ARCHIVE
    mine = put(cache_folder() / "fluo" / "mine.txt", b"mine")
    with pytest.raises(WeightsError, match="is in the way"):
        obtain(folder(served.url("/fluo.zip")))
    assert mine.read_bytes() == b"mine"


# A folder to be carried elsewhere


def test_a_folder_is_prepared_that_serves_as_library(
    served: Served, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.files |= {"/w": CONTENT, "/fluo.zip": ARCHIVE}
    single, many = one(served.url("/w")), folder(served.url("/fluo.zip"))
    carried = home / "carried"
    download(single, carried)
    download(many, carried)
    again = home / "again"
    for weights in (single, many):
        copy_weights(weights, carried / weights.entry, again)
    monkeypatch.setenv("CELLSEG_OFFLINE", "1")
    for library in (carried, again):
        monkeypatch.setenv("CELLSEG_WEIGHTS", str(library))
        assert obtain(single) == library / "nucleitorch_0"
        assert obtain(many) == library / "fluo"


# What the user wrote


def test_find_takes_names_and_paths(
    library: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = [one(), folder()]
    monkeypatch.chdir(home)
    published = put(library / "nucleitorch_0")
    assert find("nuclei", table, "cellpose") == published
    assert find("cellpose/nuclei", table, "cellpose") == published
    own = put(home / "own" / "model", b"mine")
    assert find("own/model", table, "cellpose") == Path.cwd() / "own" / "model"
    assert find(own, table, "cellpose") == own
    assert find("~/own/model", table, "cellpose") == own
    trained = whole(library / "trained")
    assert find("trained", table, "cellpose") == trained


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_link_keeps_its_name_which_may_tell_what_it_is(home: Path) -> None:
    (home / "nucleitorch_0").symlink_to(put(home / "store" / "sha256-1234"))
    assert find(home / "nucleitorch_0", [], "cellpose") == home / "nucleitorch_0"


def test_weights_for_another_version_of_the_package_are_refused_before_they_are_fetched(
    served: Served,
) -> None:
    served.files["/nucleitorch_0"] = CONTENT
    url = served.url("/nucleitorch_0")
    with pytest.raises(MissingPackageError, match=r"'nuclei' are for numpy<1, and numpy .*<1\""):
        find("nuclei", [one(url, requires="numpy<1")], "cellpose")
    assert not served.asked
    for fits in ("numpy>=1", "no-such-package-here>=1"):
        assert find("nuclei", [one(url, requires=fits)], "cellpose").name == "nucleitorch_0"


def test_a_path_goes_before_a_name_unless_it_is_plainly_something_else(
    library: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = [one(), folder()]
    monkeypatch.chdir(home)
    published = put(library / "nucleitorch_0")
    (home / "nuclei").mkdir()
    assert find("nuclei", table, "cellpose") == published
    assert find("./nuclei", table, "cellpose") == Path.cwd() / "nuclei"
    (home / "nuclei").rmdir()
    mine = put(home / "nuclei", b"mine")
    assert find("nuclei", table, "cellpose").samefile(mine)
    published = whole(library / "fluo")
    put(home / "fluo", b"a file")
    assert find("fluo", table, "stardist") == published


@pytest.mark.parametrize("wanted", ["nucle", "", "no/such/model", "\0", "~no-such-user-here/x"])
def test_what_is_not_there_is_told_with_what_was_tried(
    library: Path, home: Path, wanted: str
) -> None:
    with pytest.raises(WeightsError) as caught:
        find(wanted, [one()], "cellpose")
    told = str(caught.value)
    if wanted == "nucle":
        assert str(library / "nucle") in told
        assert "did you mean 'nuclei'" in told


# Tables


def entry(place: str, name: str = "some") -> Registered:
    return Registered("segmenter", Component(name=name, factory="a:b", weights=place), "some 1.0")


def test_tables_that_are_broken_are_reported_and_the_others_work(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(home)
    put(
        home / "table_good.py",
        b"from cellseg_core.weights import PublishedWeights\n"
        b"TABLE = [PublishedWeights(name='a', file='a', url='', licence='x')]\n",
    )
    put(home / "table_bad.py", b"import sys\nsys.exit(3)\n")
    put(home / "table_odd.py", b"TABLE = ['a']\nTEXT = 'a'\n")
    places = ["table_bad:X", "table_odd:TABLE", "table_odd:TEXT", "table_odd:NONE", "table_none:X"]
    entries = [*map(entry, places), entry("table_good:TABLE", "good")]
    plain = Registered("segmenter", Component(name="plain", factory="a:b"), "some 1.0")
    *broken, good = tables(Plugins((plain, *entries)))
    assert [table.problem.split(" ")[0] for table in broken] == places
    assert [one.name for one in good.weights] == ["a"]


@pytest.mark.parametrize(
    "facts",
    [
        {"name": "a/b"},
        {"file": "../a"},
        {"url": "ftp://x"},
        {"sha256": "12"},
        {"folder": True, "needs": ()},
    ],
)
def test_published_weights_refuse_nonsense(facts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"name|file|url|sha256|folder"):
        one(**facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("segmenter", ["stardist", "cellpose"])
def test_the_tables_of_our_backends(segmenter: str) -> None:
    (table,) = tables(Plugins((entry(f"cellseg_backends.{segmenter}.published:PUBLISHED"),)))
    assert not table.problem
    names = [one.name for one in table.weights]
    assert len(names) == len(set(names)) == len({one.file for one in table.weights})
    assert [one.name for one in table.weights if one.shipped] == ["dsb2018"]
    published = [one for one in table.weights if not one.shipped]
    for weights in table.weights:
        assert weights.licence
        assert weights.description
        assert weights.requires.startswith(segmenter)
    for weights in published:
        assert weights.url.startswith("https://")
        assert weights.caches
    if segmenter == "stardist":
        assert all(one.sha256 and one.folder for one in published)
        assert [one.name for one in published if one.rgb] == ["2D_versatile_he"]
    else:
        assert all("allows no commercial use" in one.licence for one in published)
        assert {"nuclei", "cyto3", "cpsam"} <= set(names)


def test_the_registered_addresses_are_those_of_the_stardist_package() -> None:
    pytest.importorskip("stardist")
    from csbdeep.models.pretrained import get_model_details
    from stardist.models import StarDist2D

    from cellseg_backends.stardist.published import PUBLISHED

    for weights in (one for one in PUBLISHED if not one.shipped):
        _, _, known = get_model_details(StarDist2D, weights.name)
        assert (weights.url, weights.sha256) == (known["url"], known["hash"])
