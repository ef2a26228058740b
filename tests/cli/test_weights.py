"""``cellseg weights`` shows, fetches and finds published weights."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest

from cellseg_core import plugins
from cellseg_core.component import Component

CONTENT = b"these are weights\n" * 1000
TABLES = """
from cellseg_core.weights import PublishedWeights

def one(name, file, **facts):
    return PublishedWeights(
        name=name, file=file, url="{url}/" + file, licence="CC0 of " + file,
        description="for " + name, bytes={size}, **facts
    )

STARS = [
    one("plain", "plain.bin", sha256="{sha256}"),
    one("twice", "stars.bin", sha256="{sha256}", diameter=20),
]
CELLS = [
    one("twice", "cells.bin", sha256="{sha256}"),
    one("unknown", "unknown.bin", caches=["~/.cells/unknown.bin"]),
    one("inside", "inside.bin", shipped="weights_shipped:inside.bin"),
]
"""


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder of the test's own, with no variable that leads out of it."""
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("CELLSEG_WEIGHTS", "CELLSEG_OFFLINE", "http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path


@pytest.fixture(autouse=True)
def published(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the folder of a web server; two segmenters publish what is in it, a third is broken."""
    public = home / "public"
    public.mkdir()
    for name in ("plain.bin", "stars.bin", "cells.bin", "unknown.bin"):
        (public / name).write_bytes(CONTENT)
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(public))
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    code = TABLES.format(
        url=f"http://127.0.0.1:{server.server_port}",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
    )
    (home / "weights_tables.py").write_text(code)
    (home / "weights_shipped").mkdir()
    (home / "weights_shipped" / "__init__.py").touch()
    (home / "weights_shipped" / "inside.bin").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(home)
    monkeypatch.delitem(sys.modules, "weights_tables", raising=False)

    def component(name: str, table: str) -> plugins.Registered:
        light = Component(
            name=name, factory="no_such:X", requires=["no-such-package"], weights=table
        )
        return plugins.Registered("segmenter", light, "test 1.0")

    found = plugins.Plugins(
        (
            component("stars", "weights_tables:STARS"),
            component("cells", "weights_tables:CELLS"),
            component("broken", "weights_tables:NONE"),
        )
    )
    monkeypatch.setattr(plugins, "load_plugins", lambda: found)
    yield public
    server.shutdown()
    thread.join()
    server.server_close()
    sys.modules.pop("weights_tables", None)


def test_list_shows_state_size_and_licence(cellseg, home: Path) -> None:
    cellseg("weights", "fetch", "plain")
    done = cellseg("weights", "list")
    assert done.status == 0
    here = home / "cache" / "cellseg" / "weights" / "plain.bin"
    assert f"  plain  here ({here}), 18 kB" in done.out
    assert "  unknown  not here, 18 kB" in done.out
    assert "to be got by hand: its checksum is not known" in done.out
    assert "  inside  shipped (" in done.out
    assert "licence: CC0 of cells.bin" in done.out
    assert "broken: the table of its weights is broken: weights_tables:NONE" in done.err


def test_list_as_json(cellseg, home: Path) -> None:
    (home / "cache" / "cellseg" / "weights").mkdir(parents=True)
    (home / "cache" / "cellseg" / "weights" / "stars.bin").write_bytes(b"cut")
    rows = json.loads(cellseg("weights", "list", "--json").out)
    states = {(row["segmenter"], row["name"]): row["state"] for row in rows}
    assert states == {
        ("stars", "plain"): "not here",
        ("stars", "twice"): "damaged",
        ("cells", "twice"): "not here",
        ("cells", "unknown"): "not here",
        ("cells", "inside"): "shipped",
        ("broken", ""): "broken",
    }
    assert "3 bytes" in next(row["reason"] for row in rows if row["state"] == "damaged")


def test_fetch_says_what_it_did(cellseg, home: Path) -> None:
    done = cellseg("weights", "fetch", "plain", "stars/twice")
    here = home / "cache" / "cellseg" / "weights"
    assert (done.status, done.out) == (0, "")
    assert f"plain was downloaded to {here / 'plain.bin'}" in done.err
    assert "CC0 of plain.bin" in done.err
    assert (here / "stars.bin").read_bytes() == CONTENT
    again = cellseg("weights", "fetch", "plain")
    assert again.err == f"plain is there already: {here / 'plain.bin'}\n"
    assert cellseg("weights", "fetch", "plain", "--quiet").err == ""


def test_fetch_prepares_a_folder_for_a_machine_without_network(
    cellseg, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".cells").mkdir()
    (home / ".cells" / "unknown.bin").write_bytes(CONTENT)
    carried = home / "carried"
    done = cellseg("weights", "fetch", "plain", "unknown", "-o", carried)
    assert done.status == 0
    assert "plain was downloaded to" in done.err
    assert "unknown was copied from" in done.err, "its checksum is not known, but it is here"
    assert "CELLSEG_WEIGHTS" in done.err
    assert "is there already" in cellseg("weights", "fetch", "plain", "-o", carried).err
    monkeypatch.setenv("CELLSEG_OFFLINE", "1")
    monkeypatch.setenv("CELLSEG_WEIGHTS", str(carried))
    found = cellseg("weights", "where", "plain")
    assert found.out == f"{carried / 'plain.bin'}\n"
    assert found.err == "found in CELLSEG_WEIGHTS; its checksum is right\n"


def test_fetch_leaves_what_comes_with_a_package_where_it_is(cellseg, home: Path) -> None:
    done = cellseg("weights", "fetch", "inside", "-o", home / "carried")
    assert done.status == 0
    assert "inside comes with the segmenter's package" in done.err
    assert not (home / "carried").exists()


def test_fetch_goes_on_with_the_others_where_one_fails(
    cellseg, home: Path, published: Path
) -> None:
    (published / "stars.bin").unlink()
    done = cellseg("weights", "fetch", "stars/twice", "unknown", "plain")
    assert done.status == 1
    assert "the server answers 404" in done.err
    assert "downloads nothing whose checksum it does not know" in done.err
    assert "plain was downloaded to" in done.err


def test_fetch_into_a_folder_that_holds_something_else(cellseg, home: Path) -> None:
    (home / "plain.bin").write_bytes(b"mine")
    done = cellseg("weights", "fetch", "plain", "-o", home)
    assert done.status == 1
    assert "plain.bin is damaged, or not the published 'plain'" in done.err
    assert (home / "plain.bin").read_bytes() == b"mine"


def test_names_of_two_segmenters_are_told_apart(cellseg) -> None:
    done = cellseg("weights", "where", "twice")
    assert done.status == 1
    assert "stars/twice and cells/twice" in done.err
    done = cellseg("weights", "fetch", "plane")
    assert "did you mean 'plain'?" in done.err


def test_where_tells_how_to_get_what_is_not_here(cellseg, home: Path) -> None:
    done = cellseg("weights", "where", "plain")
    assert (done.status, done.out) == (1, "")
    assert "`cellseg weights fetch plain` downloads them" in done.err
    assert "cellseg weights fetch plain -o FOLDER" in done.err
    by_hand = cellseg("weights", "where", "unknown").err
    assert "their checksum is not known" in by_hand
    assert "cellseg weights fetch" not in by_hand
    (home / "cache" / "cellseg" / "weights").mkdir(parents=True)
    (home / "cache" / "cellseg" / "weights" / "plain.bin").write_bytes(b"other" * 3600)
    assert "its sha256 is" in cellseg("weights", "where", "plain").err


def test_where_without_a_name_shows_the_places_in_their_order(
    cellseg, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLSEG_WEIGHTS", str(home / "missing"))
    monkeypatch.setenv("CELLSEG_OFFLINE", "yes")
    done = cellseg("weights", "where")
    wanted = [
        f"{home / 'missing'}  (does not exist)",
        str(home / ".cells"),
        str(home / "cache" / "cellseg" / "weights"),
        "CELLSEG_OFFLINE forbids",
    ]
    assert done.status == 0
    places = [done.out.index(one) for one in wanted]
    assert places == sorted(places)


def test_listing_imports_nothing_heavy(home: Path) -> None:
    code = (
        "import sys; sys.argv = ['cellseg', 'weights', 'list']\n"
        "from cellseg_core.cli.main import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*{m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy.linalg", "keras", "tensorflow", "torch", "stardist", "cellpose", "pandas"}
    heavy |= {"requests", "numba", "scipy", "skimage", "rich"}
    assert not set(done.stdout.splitlines()[-1].split()) & heavy
