"""A component of another Python environment, in a process of its own that is never left behind."""

from __future__ import annotations

import _thread
import ast
import gc
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tifffile

from cellseg_core import Image, Pipeline
from cellseg_core.batch import run_batch
from cellseg_core.config import RunConfig
from cellseg_core.errors import (
    CellsegError,
    ComponentError,
    ConfigurationError,
    MissingPackageError,
    SegmentationError,
)
from cellseg_core.metrics import pairwise_iou
from cellseg_core.protocols import AdaptiveSegmenter, Described, Segmentation
from cellseg_core.provenance import facts_of
from cellseg_core.subprocess_segmenter import SubprocessSegmenter
from cellseg_core.subprocess_worker import interpreter, process, script
from cellseg_core.synthetic import simulate_tissue
from cellseg_core.testing import SegmenterTests

POSIX = os.name == "posix"
posix_only = pytest.mark.skipif(not POSIX, reason="needs POSIX signals")

NUCLEI = '''
"""Nuclei around the peaks of the smoothed image."""

import sys

import numpy as np
from scipy import ndimage


def find(tile, threshold=0.15, size=7):
    smooth = ndimage.gaussian_filter(tile[0], size / 4, truncate=3)
    mask = smooth > threshold
    peaks, count = ndimage.label((ndimage.maximum_filter(smooth, size) == smooth) & mask)
    if not count:
        return np.zeros(mask.shape, np.int32)
    away, nearest = ndimage.distance_transform_edt(peaks == 0, return_indices=True)
    return np.where(mask & (away < 2 * size), peaks[tuple(nearest)], 0)


class Finder:
    def __init__(self, threshold=0.15):
        if not 0 < threshold < 1:
            raise ValueError(f"threshold is between 0 and 1; got {threshold}")
        self.threshold = threshold

    def adapt(self, sample, diameter):
        return Fitted(self.threshold, diameter)

    def segment(self, tile):
        raise RuntimeError("adapt first")

    def facts(self):
        return {"has_cellseg": any(name.startswith("cellseg") for name in sys.modules)}


class Fitted:
    def __init__(self, threshold, diameter):
        self.threshold, self.diameter = threshold, diameter

    def segment(self, tile):
        labels = find(tile, self.threshold, round(self.diameter * 0.6))
        return labels, np.full(labels.max(), 0.5)
'''

MOODS = '''
"""Does what the first pixel of a tile says, and answers with the number of its process."""

import os
import signal
import subprocess
import sys
import time

import numpy as np


class Result:
    def __init__(self, labels, scores=None):
        self.labels, self.scores = labels, scores


def mood(tile, note=""):
    return Moody().segment(tile)


class Moody:
    def segment(self, tile):
        number = np.full(tile.shape[1:], os.getpid(), np.int32)
        return getattr(self, ACTIONS[int(tile[0, 0, 0])])(number)

    def well(self, number):
        return number

    def raises(self, number):
        raise ValueError("no nuclei today, čau " + "x" * 100_000)

    def leaves(self, number):
        print("last words, a ž", file=sys.stderr)
        os._exit(7)

    def exits(self, number):
        sys.exit("enough")

    def crashes(self, number):
        os.kill(os.getpid(), signal.SIGSEGV)

    def killed(self, number):
        os.kill(os.getpid(), signal.SIGKILL)

    def sleeps(self, number):
        time.sleep(60)

    def stops(self, number):
        os.kill(os.getpid(), signal.SIGSTOP)
        return number

    def floods(self, number):
        for stream in (sys.stderr, sys.stdout):
            for _ in range(2_000):
                print("ü" * 1_000, '{"done": {}}', file=stream)
        os.system("echo '{}'")
        assert sys.stdin.read() == ""
        return number

    def small(self, number):
        return number[1:]

    def real(self, number):
        return number.astype(float)

    def mask(self, number):
        return number > 0

    def three(self, number):
        return number, None, None

    def nothing(self, number):
        return None

    def ragged(self, number):
        return [[1], [1, 2]]

    def unscored(self, number):
        return number // number * 3, [0.5]

    def result(self, number):
        return Result(number // number, [0.5])

    def memory(self, number):
        raise MemoryError

    def starts(self, number):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        return number // number * child.pid

    def deaf(self, number):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return number


ACTIONS = [name for name in vars(Moody) if not name.startswith("_") and name != "segment"]
'''

BROKEN = {
    "broken_import": "import no_such_package_there\n",
    "broken_code": "1 / 0\n",
    "broken_exit": "import sys\nsys.exit(3)\n",
    "slow": "import time\ntime.sleep(60)\n",
    "loose": "def find(tile):\n    return tile[0] > 2\n\nnumber = 3\n",
    "stubborn": """
        class Stubborn:
            def __init__(self):
                raise OSError("its weights are gone")

        class Useless:
            pass

        class Unadaptable:
            def adapt(self, sample, diameter):
                return None
            def segment(self, tile):
                pass
            def facts(self):
                return {"a": {1, 2}}
        """,
}


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _site_of(folder: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run(
        [_python_of(folder), "-c", code], capture_output=True, check=True, text=True
    )
    return Path(found.stdout.strip())


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an environment without numpy."""
    folder = tmp_path_factory.mktemp("bare") / "env"
    venv.create(folder)
    return folder


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an environment with numpy and a package that is not in this one."""
    folder = tmp_path_factory.mktemp("other") / "another env, é"
    venv.create(folder)
    site = _site_of(folder)
    (site / "outer.pth").write_text(str(Path(np.__file__).parents[1]), encoding="utf-8")
    (site / "elsewhere").mkdir()
    (site / "elsewhere" / "__init__.py").touch()
    (site / "elsewhere" / "nuclei.py").write_text(NUCLEI, encoding="utf-8")
    (site / "elsewhere" / "moods.py").write_text(MOODS, encoding="utf-8")
    for name, code in BROKEN.items():
        (site / "elsewhere" / f"{name}.py").write_text(textwrap.dedent(code), encoding="utf-8")
    set_version(folder, "1.2")
    with pytest.raises(ImportError):
        __import__("elsewhere")
    return folder


def set_version(env: Path, version: str) -> None:
    info = _site_of(env) / "Else_Where-1.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: Else.Where\nVersion: {version}\n"
        "Requires-Dist: SciPy (>=1)\nRequires-Dist: pytest; extra == 'test'\n"
    )
    (info / "RECORD").write_text("elsewhere/__init__.py,,\nElse_Where-1.dist-info/RECORD,,\n")


def tile(mood: int | str = 0, height: int = 6, width: int = 5) -> np.ndarray:
    """Return a tile that puts the component in a mood."""
    made = np.ones((1, height, width), np.float32)
    names = [
        line.split()[1].partition("(")[0]
        for line in MOODS.split("class Moody:")[1].splitlines()
        if line.startswith("    def ") and "segment" not in line
    ]
    made[0, 0, 0] = names.index(mood) if isinstance(mood, str) else mood
    return made


def of(env: Path, component: str = "moods:Moody", **kwargs: Any) -> SubprocessSegmenter:
    return SubprocessSegmenter(python=str(env), component=f"elsewhere.{component}", **kwargs)


@pytest.fixture
def moody(env: Path) -> Iterator[SubprocessSegmenter]:
    """Return a segmenter that does what its tile says."""
    with of(env) as segmenter:
        yield segmenter


def number(found: Segmentation) -> int:
    """Return the number of a process that answered with it."""
    assert (found.labels == found.labels[0, 0]).all()
    return int(found.labels[0, 0])


def gone(pid: int) -> bool:
    """Tell whether a process has ended; a zombie whose parent is no child of ours has."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True
    if os.name == "nt":
        listed = subprocess.run(
            ["tasklist", "/FI", f"PID eq {pid}"], check=True, capture_output=True, text=True
        )
        return str(pid) not in listed.stdout
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def eventually(true: Callable[[], bool], seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


# The rules of all segmenters, and a whole run


class TestConformance(SegmenterTests):
    @pytest.fixture(autouse=True)
    def _environment(self, env: Path) -> Iterator[None]:
        self._segmenter = of(env, "nuclei:Finder")
        with self._segmenter:
            yield

    def make(self) -> SubprocessSegmenter:
        return attrs.evolve(self._segmenter)


class TestConformanceOfAFunction(SegmenterTests):
    finds_nuclei = False

    @pytest.fixture(autouse=True)
    def _environment(self, env: Path) -> Iterator[None]:
        self._segmenter = of(env, "nuclei:find", options={"threshold": 0.2}, native_diameter=12)
        with self._segmenter:
            yield

    def make(self) -> SubprocessSegmenter:
        return attrs.evolve(self._segmenter)


def test_tiles_are_stitched_as_of_any_segmenter(env) -> None:
    image = simulate_tissue((300, 260), seed=1, channels=("DAPI",), density=0.25).image
    with of(env, "nuclei:Finder", options={"threshold": 0.2}) as segmenter:
        whole, tiled = (
            Pipeline(segmenter=segmenter, nuclear_diameter=12, tile=edge).run(image)
            for edge in (1024, 100)
        )
    assert (whole.facts["tiles"], tiled.facts["tiles"]) == (1, 9)
    assert tiled.facts["overlap_px"] == 2 * 4 * 12
    assert len(whole.table) > 30
    _, _, iou = pairwise_iou(whole.nuclei, tiled.nuclei)
    assert np.count_nonzero(iou > 0.9) >= 0.99 * len(whole.table)
    assert (tiled.table.scores == 0.5).all()


def test_the_command_line_runs_it_and_says_it_once_more(env, tmp_path) -> None:
    image = simulate_tissue((128, 128), seed=1, channels=("DAPI",), density=0.25).image
    tifffile.imwrite(tmp_path / "image.tif", np.asarray(image.read(0, slice(None), slice(None))))
    command = [
        sys.executable, "-m", "cellseg_core", "run", tmp_path / "image.tif", "-o", tmp_path / "out",
        "--segmenter", "subprocess", "--nuclear-diameter", "12", "--write", "csv",
        "--set", f"segmenter.python={env}",
        "--set", "segmenter.component=elsewhere.nuclei:Finder",
        "--set", "segmenter.options={threshold = 0.2}",
    ]  # fmt: skip
    for again in (False, True):
        done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        assert ("(done before)" in done.stdout) == again
    record = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert record["cells"] > 5
    assert record["segmenter"]["packages"]["else-where"] == "1.2"
    assert record["settings"]["set"]["segmenter"]["options"] == {"threshold": 0.2}


def test_wrong_settings_end_a_run_before_it_begins(env, tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cellseg_core", "run", "image.tif", "-o", tmp_path / "out",
         "--segmenter", "subprocess"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--set segmenter.component=my_package.nuclei:Finder" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_image_is_done_again_after_an_upgrade_there_and_shares_one_process(
    env, tmp_path
) -> None:
    plane = np.zeros((64, 64), np.uint16)
    plane[20:32, 20:32] = 4000
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tif", plane)
    options = {"python": env, "component": "elsewhere.nuclei:Finder", "options": {"threshold": 0.1}}
    config = RunConfig(
        segmenter="subprocess", set={"segmenter": options}, nuclear_diameter=12, write=("csv",)
    )
    states = []
    try:
        for version in ("1.2", "1.2", "1.3"):
            set_version(env, version)
            summary = run_batch([tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "out", config)
            assert not summary.failed, summary.failed
            states += [outcome.state for outcome in summary.outcomes]
    finally:
        set_version(env, "1.2")
    assert states == ["done", "done", "resumed", "resumed", "done", "done"]


# What it is


def test_it_follows_the_optional_protocols_and_says_its_options() -> None:
    made = SubprocessSegmenter(
        component="a:b", native_diameter=20, grid=32, uses_membrane=False, uses_color=True
    )
    assert isinstance(made, AdaptiveSegmenter)
    assert isinstance(made, Described)
    assert (made.halo, made.grid, made.uses_membrane, made.uses_color) == (80, 32, False, True)
    assert SubprocessSegmenter(component="a:b", halo=7).halo == 7
    assert SubprocessSegmenter(component="a:b").halo == 48
    assert made == attrs.evolve(made)
    assert "Worker" not in repr(made)


def test_the_halo_follows_the_diameter_of_the_image(env) -> None:
    sample = np.zeros((1, 8, 8), np.float32)
    with of(env) as plain, of(env, "nuclei:Finder") as adaptive:
        for segmenter in (plain, adaptive):
            assert segmenter.halo == 48
            assert segmenter.adapt(sample, 20.5).halo == 82
            assert attrs.evolve(segmenter, halo=5).adapt(sample, 20.5).halo == 5
            assert segmenter.halo == 48


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"component": "module"}, "reads 'module:Class' or 'module:function'"),
        ({"component": "a:b.c"}, "reads 'module:Class'"),
        ({"python": 3}, "path of an interpreter"),
        ({"python": ""}, "path of an interpreter"),
        ({"options": [1]}, "names and values"),
        ({"options": {"a": {1}}}, "travel as JSON"),
        ({"options": "a"}, "names and values"),
        ({"native_diameter": 0}, "native_diameter is a number over 0 up to 1000 px"),
        ({"halo": -1}, "subprocess.halo is a whole number from 0"),
        ({"halo": 1.5}, "whole number"),
        ({"grid": 0}, "whole number from 1"),
        ({"timeout": 0}, "number over 0"),
        ({"timeout": float("nan")}, "number over 0"),
        ({"timeout": None}, "number over 0"),
        ({"start_timeout": True}, "number over 0"),
        ({"uses_membrane": "no"}, "true or false"),
    ],
)
def test_options_that_make_no_sense_are_told(options, told) -> None:
    with pytest.raises(ConfigurationError, match=told):
        SubprocessSegmenter(**options)


def test_facts_tell_the_versions_there_and_come_without_cellseg(env) -> None:
    with of(env, "nuclei:Finder") as segmenter:
        facts = facts_of(segmenter)
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["packages"]["else-where"] == "1.2"
    assert facts["packages"]["numpy"] == np.__version__
    assert "scipy" in facts["packages"]
    assert not {"pytest", "cellseg-core"} & set(facts["packages"])
    assert facts["component"] == {"has_cellseg": False}


def test_source_that_is_not_installed_counts_by_its_content(env, tmp_path) -> None:
    (tmp_path / "mine.py").write_text("def find(tile):\n    return tile[0].astype(int)\n")
    pth = _site_of(env) / "mine.pth"
    pth.write_text(str(tmp_path))
    found = []
    try:
        for _ in range(2):
            with SubprocessSegmenter(python=env, component="mine:find") as segmenter:
                found.append(segmenter.facts())
            with (tmp_path / "mine.py").open("a") as file:
                file.write("# changed\n")
    finally:
        pth.unlink()
    assert found[0]["source_sha256"] != found[1]["source_sha256"]
    # It belongs to no package, so it may use all that are installed.
    assert {"else-where", "pytest", "numpy"} <= set(found[0]["packages"])


def test_the_script_needs_nothing_newer_than_its_oldest_python() -> None:
    source = Path(str(script.__file__)).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=interpreter.OLDEST)
    modules = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name.split(".")[0] for name in modules} <= {*sys.stdlib_module_names, "numpy"}


# One process, that lives on


def test_one_process_serves_all_tiles_and_all_equal_segmenters(moody, env) -> None:
    first = number(moody.segment(tile()))
    assert number(moody.segment(tile())) == first
    assert number(of(env, timeout=9, halo=3).segment(tile())) == first
    assert first not in (0, os.getpid())
    with of(env, "moods:mood", options={"note": "ü"}) as other:
        assert number(other.segment(tile())) != first


def test_what_the_component_prints_garbles_nothing_and_blocks_nothing(moody) -> None:
    first = number(moody.segment(tile()))
    assert number(moody.segment(tile("floods"))) == first
    assert number(moody.segment(tile())) == first


def test_labels_and_scores_come_as_an_object_too(moody) -> None:
    found = moody.segment(tile("result"))
    assert (found.labels == 1).all()
    assert found.scores is not None
    assert found.scores.tolist() == [0.5]


def test_a_large_tile_with_two_channels_comes_back_whole(env) -> None:
    values = np.random.default_rng(0).random((2, 2300, 2100), np.float32)
    options = {"python": str(env), "component": "numpy:argmax", "options": {"axis": 0}}
    with SubprocessSegmenter(**options) as segmenter:
        assert np.array_equal(segmenter.segment(values).labels, values.argmax(0))
        assert np.array_equal(segmenter.segment(values[:, ::-2]).labels, values[:, ::-2].argmax(0))


def test_threads_take_turns(env) -> None:
    options = {"python": str(env), "component": "numpy:argmax", "options": {"axis": 0}}
    tiles = np.random.default_rng(0).random((24, 3, 20, 30), np.float32)
    found: dict[int, np.ndarray] = {}

    def work(numbers: range) -> None:
        for n in numbers:
            found[n] = SubprocessSegmenter(**options).segment(tiles[n]).labels

    with SubprocessSegmenter(**options):
        threads = [threading.Thread(target=work, args=(range(k, 24, 4),)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(np.array_equal(found[n], tiles[n].argmax(0)) for n in range(24))


def test_many_images_at_once_are_each_segmented_with_what_they_were_adapted_to(env) -> None:
    image = simulate_tissue((96, 96), seed=1, channels=("DAPI",), density=0.25).image
    pixels = np.asarray(image.read(0, slice(None), slice(None)))[None] / np.float32(4000)
    with of(env, "nuclei:Finder") as segmenter:
        adapted = [segmenter.adapt(pixels, diameter) for diameter in (6, 9, 12, 15, 18, 24, 30)]
        first = [one.segment(pixels).labels for one in adapted]
        again = [one.segment(pixels).labels for one in adapted]
        segmenter.close()
        anew = adapted[2].segment(pixels).labels
    assert all(map(np.array_equal, first, again))
    assert np.array_equal(anew, first[2])
    assert not np.array_equal(first[0], first[-1])


# It is never left behind


def test_it_ends_with_close_and_starts_again(moody) -> None:
    first = number(moody.segment(tile()))
    moody.close()
    moody.close()
    assert gone(first)
    second = number(moody.segment(tile()))
    assert second != first
    assert not gone(second)


def test_it_ends_with_the_last_reference_and_leaves_no_file(env, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    one = of(env)
    other = attrs.evolve(one)
    pid = number(one.segment(tile()))
    assert len(list(tmp_path.iterdir())) == 1
    del one
    gc.collect()
    assert number(other.segment(tile())) == pid
    del other
    gc.collect()
    assert gone(pid)
    assert not list(tmp_path.iterdir())


ANOTHER_PYTHON = """
import sys, threading, time
import numpy as np
from cellseg_core.subprocess_segmenter import SubprocessSegmenter

segmenter = SubprocessSegmenter(python=sys.argv[1], component="elsewhere.moods:Moody")
tile = np.zeros((1, 4, 4), np.float32)
worker = segmenter.segment(tile).labels[0, 0]
tile[0, 0, 0] = int(sys.argv[2])
if tile.any():
    threading.Thread(target=segmenter.segment, args=(tile,), daemon=True).start()
    time.sleep(1)
print(worker, flush=True)
if sys.argv[3] == "wait":
    time.sleep(60)
"""


def another_python(env: Path, mood: str, then: str, folder: Path) -> subprocess.Popen[str]:
    moods = str(int(tile(mood)[0, 0, 0]))
    return subprocess.Popen(
        [sys.executable, "-c", ANOTHER_PYTHON, str(env), moods, then],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "TEMP": str(folder)},
    )


@pytest.mark.parametrize("mood", ["well", "sleeps"])
def test_it_ends_at_the_exit_of_the_interpreter(env, tmp_path, mood) -> None:
    with another_python(env, mood, "leave", tmp_path) as ours:
        out, err = ours.communicate(timeout=60)
    assert gone(int(out))
    assert "Exception" not in err or mood == "sleeps"
    assert not list(tmp_path.iterdir())


@posix_only
@pytest.mark.parametrize("mood", ["well", "sleeps"])
def test_it_ends_when_our_process_is_killed(env, tmp_path, mood) -> None:
    with another_python(env, mood, "wait", tmp_path) as ours:
        assert ours.stdout is not None
        pid = int(ours.stdout.readline())
        assert not gone(pid)
        ours.kill()
        assert eventually(lambda: gone(pid))
    assert eventually(lambda: not list(tmp_path.iterdir()))


@posix_only
def test_what_the_component_has_started_ends_with_it(moody) -> None:
    pid = number(moody.segment(tile("starts")))
    assert not gone(pid)
    moody.close()
    assert eventually(lambda: gone(pid))


@posix_only
def test_a_process_that_ignores_termination_is_killed(moody, monkeypatch) -> None:
    pid = number(moody.segment(tile("deaf")))
    moody.close()
    assert gone(pid)
    pid = number(moody.segment(tile()))
    os.kill(pid, signal.SIGSTOP)
    (running,) = moody._worker._running
    running.end(grace=0.5)
    assert gone(pid)


# Other processes of ours


def test_pickled_it_takes_its_options_along_and_nothing_else(env) -> None:
    with of(env, "nuclei:Finder", options={"threshold": 0.3}, halo=9) as segmenter:
        sample = np.zeros((1, 8, 8), np.float32)
        for one in (segmenter, segmenter.adapt(sample, 10)):
            copy = pickle.loads(pickle.dumps(one))  # noqa: S301 - made here
            assert copy == segmenter or copy._adaptation.diameter == 10
            assert copy._worker is segmenter._worker


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_of_ours_start_their_own(moody, method, tmp_path, monkeypatch) -> None:
    for variable in ("TMPDIR", "TEMP"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"there is no {method} here")
    ours = number(moody.segment(tile()))
    with multiprocessing.get_context(method).Pool(1) as pool:
        theirs = number(pool.apply(moody.segment, (tile(),)))
        assert theirs not in (ours, os.getpid())
        assert number(moody.segment(tile())) == ours
        assert number(pool.apply(moody.segment, (tile(),))) == theirs
        pool.close()
        pool.join()
    assert eventually(lambda: gone(theirs))
    assert number(moody.segment(tile())) == ours
    moody.close()
    assert not list(tmp_path.iterdir())


@posix_only
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_fork_neither_ends_nor_holds_on_to_our_process(env) -> None:
    segmenter = of(env)
    pid = number(segmenter.segment(tile()))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        # Here the segmenter goes, and with it would go its process, were it not the parent's.
        status = 1
        try:
            segmenter.close()
            del segmenter
            gc.collect()
            os.close(writing)
            os.read(reading, 1)
            status = 0
        finally:
            os._exit(status)
    os.close(reading)
    try:
        assert number(segmenter.segment(tile())) == pid
        (running,) = segmenter._worker._running
        # As if we were killed: the fork must not keep the pipe open.
        assert running._popen.stdin is not None
        running._popen.stdin.close()
        assert eventually(lambda: running._popen.poll() is not None)
    finally:
        os.close(writing)
        assert os.waitpid(child, 0)[1] == 0
        segmenter.close()


# Errors, with the fix


def test_no_interpreter_is_told(env, tmp_path) -> None:
    for path, told in (
        (tmp_path / "none", "no Python interpreter at"),
        (tmp_path, "no Python in the folder .* bin/python"),
        ("no-such-python-command", "no Python interpreter at"),
        ("~no-such-user-here/bin/python", "no Python interpreter at"),
    ):
        segmenter = SubprocessSegmenter(python=path, component="a:b")
        with pytest.raises(ConfigurationError, match=f"{told}.*segmenter.python=FOLDER"):
            segmenter.facts()


@posix_only
@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        ("no program", 0o755, "is not a Python interpreter|cannot be started"),
        ("#!/bin/sh\necho hello\n", 0o755, "is not a Python interpreter"),
        ("#!/bin/sh\nexec yes\n", 0o755, "is not a Python interpreter"),
        ("#!/bin/sh\nexit 1\n", 0o644, "cannot be started .*Permission denied"),
        ("#!/bin/sh\necho python 2.7\n", 0o755, "is python 2.7, and 3.8 or newer is needed"),
    ],
)
def test_what_is_no_interpreter_is_told(tmp_path, content, mode, told) -> None:
    fake = tmp_path / "python"
    fake.write_text(content)
    fake.chmod(mode)
    segmenter = SubprocessSegmenter(python=fake, component="a:b")
    with pytest.raises(ConfigurationError, match=told):
        segmenter.facts()


def test_a_command_s_name_is_an_interpreter_too(env, monkeypatch) -> None:
    python = _python_of(env)
    monkeypatch.setenv("PATH", str(python.parent))
    assert interpreter.find_interpreter(python.name) == python
    assert interpreter.find_interpreter(str(python)) == python


def test_an_environment_without_numpy_is_told(bare) -> None:
    with pytest.raises(MissingPackageError, match=r"numpy cannot be .*-m pip install numpy"):
        SubprocessSegmenter(python=bare, component="json:loads").facts()


@pytest.mark.parametrize(
    ("component", "options", "error", "told"),
    [
        ("no_module:find", {}, MissingPackageError, r"no module 'elsewhere.no_module' .*pip"),
        ("nuclei:Findr", {}, ComponentError, "has no 'Findr'; did you mean 'Finder'"),
        ("nuclei:Finder", {"treshold": 1}, ConfigurationError, "takes .threshold=0.15"),
        ("nuclei:Finder", {"threshold": 2}, ConfigurationError, "is between 0 and 1; got 2"),
        ("nuclei:find", {"sizes": 2}, ConfigurationError, "unexpected keyword argument 'sizes'"),
        ("broken_import:a", {}, ComponentError, "(?s)importing.*No module named 'no_such.*line 1"),
        ("broken_code:a", {}, ComponentError, "(?s)importing it failed .ZeroDivisionError.*line 1"),
        ("broken_exit:a", {}, ComponentError, "importing it failed .SystemExit: 3"),
        ("stubborn:Stubborn", {}, ComponentError, "building it failed .OSError: its weights are"),
        ("stubborn:Useless", {}, ComponentError, r"without the method segment\(tile\)"),
        ("loose:number", {}, ComponentError, "is no class and no function, but int"),
    ],
)
def test_a_component_that_cannot_be_built_is_told_before_any_tile(
    env, component, options, error, told
) -> None:
    segmenter = of(env, component, options=options)
    with pytest.raises(error, match=told):
        segmenter.facts()
    assert segmenter._worker.pid is None
    with pytest.raises(error, match=told):
        segmenter.segment(tile())


def test_a_start_that_takes_too_long_is_ended(env) -> None:
    segmenter = of(env, "slow:find", start_timeout=1)
    began = time.monotonic()
    with pytest.raises(ComponentError, match=r"no answer in 1 s .*segmenter.start_timeout=2"):
        segmenter.facts()
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("mood", "told"),
    [
        ("raises", r"(?s)failed: ValueError: no nuclei today, čau x.*moods.py.*raises"),
        ("exits", "failed: SystemExit: enough"),
        ("memory", "out of memory .MemoryError.. Use smaller tiles, for example --tile 512"),
        ("small", r"broke a rule: labels must have the size of the tile, \(6, 5\); .*\(5, 5\)"),
        ("real", r"broke a rule: labels must be integers and these are float64: .*astype"),
        ("mask", r"these are bool: number the nuclei of a mask first.*ndimage.label"),
        ("three", "returned 3 things"),
        ("nothing", "these are NoneType"),
        ("ragged", "labels (cannot be made an array|must be integers)"),
        ("unscored", r"one for each label up to 3 .*of the shape \(1,\)"),
    ],
)
def test_a_failed_tile_is_told_and_the_process_lives_on(moody, mood, told) -> None:
    first = number(moody.segment(tile()))
    with pytest.raises(SegmentationError, match=told) as caught:
        moody.segment(tile(mood))
    assert len(str(caught.value)) < 5000
    assert "script.py" not in str(caught.value)
    assert number(moody.segment(tile())) == first


LOST = [
    ("leaves", r"(?s)ended with exit status 7; the last that it wrote:.*last words, a ž"),
    pytest.param("crashes", "killed by SIGSEGV, a crash in compiled code", marks=posix_only),
    pytest.param("killed", "killed by SIGKILL, for want of memory.*--tile 512", marks=posix_only),
    ("sleeps", r"no answer in 2 s and was stopped. .*segmenter.timeout=4"),
    pytest.param("stops", r"no answer in 2 s and was stopped", marks=posix_only),
]


@pytest.mark.parametrize(("mood", "told"), LOST)
def test_a_process_that_is_lost_is_told_and_started_anew(env, mood, told) -> None:
    with of(env, timeout=2) as segmenter:
        first = number(segmenter.segment(tile()))
        with pytest.raises(SegmentationError, match=told):
            segmenter.segment(tile(mood))
        assert gone(first)
        second = number(segmenter.segment(tile()))
        assert second != first


@posix_only
def test_a_process_that_ends_between_two_tiles_is_started_anew(env) -> None:
    sample = np.zeros((1, 20, 20), np.float32)
    with of(env, "nuclei:Finder") as segmenter:
        adapted = segmenter.adapt(sample, 12)
        first = segmenter._worker.pid
        assert first is not None
        (running,) = segmenter._worker._running
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: not running.is_alive)
        assert not adapted.segment(sample).labels.any()
        assert segmenter._worker.pid not in (None, first)


def test_a_pipeline_names_the_image_and_the_tile(env) -> None:
    image = Image(np.full((1, 60, 60), 7, np.uint16), name="slide")
    with of(env, "stubborn:Unadaptable") as segmenter:
        with pytest.raises(SegmentationError, match=r"adapt\(\) must return an object with"):
            Pipeline(segmenter=segmenter, nuclear_diameter=12).run(image)
        with pytest.raises(SegmentationError, match=r"its facts\(\) must be plain"):
            facts_of(segmenter)
    segmenter = of(env, "nuclei:find", options={"size": "x"})
    with pytest.raises(SegmentationError, match=r"slide: tile in row 1.*nuclei:find in .* fail"):
        Pipeline(segmenter=segmenter, nuclear_diameter=12).run(image)


@pytest.fixture
def _ctrl_c_is_heard() -> Iterator[None]:
    # Programs that a shell starts in the background do not hear it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_ctrl_c_ends_the_process_and_the_next_tile_has_another(moody) -> None:
    first = number(moody.segment(tile()))
    timer = threading.Timer(0.5, _thread.interrupt_main)
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        moody.segment(tile("sleeps"))
    assert time.monotonic() - began < 20
    timer.join()
    assert gone(first)
    assert number(moody.segment(tile())) != first


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_ctrl_c_while_it_starts_leaves_no_process(env) -> None:
    segmenter = of(env, "slow:find")
    timer = threading.Timer(1.0, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        segmenter.segment(tile())
    timer.join()
    assert segmenter._worker.pid is None


def test_a_full_disk_is_told_with_the_fix(moody, monkeypatch) -> None:
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    first = number(moody.segment(tile()))
    with monkeypatch.context() as patched:
        patched.setattr(np, "save", full)
        with pytest.raises(SegmentationError, match=r"No space left.* is there room\? .*TMPDIR"):
            moody.segment(tile())
    assert number(moody.segment(tile())) == first


def test_no_room_to_start_in_is_told(env, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(CellsegError, match=r"could not be started: .*No such file"):
        of(env).segment(tile())


def test_a_status_without_a_name_is_told() -> None:
    assert process._said_of(-15) == "was killed by SIGTERM"
    assert process._said_of(-99) == "was killed by signal 99"
