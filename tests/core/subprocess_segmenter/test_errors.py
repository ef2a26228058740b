"""What goes wrong in another environment is told, with the fix."""

from __future__ import annotations

import os
import signal
import time
import venv

import numpy as np
import pytest

from cellseg_core import Image, Pipeline
from cellseg_core.errors import (
    CellsegError,
    ComponentError,
    ConfigurationError,
    MissingPackageError,
    SegmentationError,
)
from cellseg_core.provenance import facts_of
from cellseg_core.subprocess_segmenter import SubprocessSegmenter
from cellseg_core.subprocess_worker import interpreter, process

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


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
    monkeypatch.setenv("PATH", str(env.python.parent))
    assert interpreter.find_interpreter(env.python.name) == env.python
    assert interpreter.find_interpreter(str(env.python)) == env.python


def test_an_environment_without_numpy_is_told(tmp_path) -> None:
    venv.create(tmp_path)
    with pytest.raises(MissingPackageError, match=r"numpy cannot be .*-m pip install numpy"):
        SubprocessSegmenter(python=tmp_path, component="json:loads").facts()


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
    env, component, options, error, told, tile
) -> None:
    segmenter = env.segmenter(component, options=options)
    with pytest.raises(error, match=told):
        segmenter.facts()
    assert segmenter._worker.pid is None
    with pytest.raises(error, match=told):
        segmenter.segment(tile())


def test_a_start_that_takes_too_long_is_ended(env) -> None:
    segmenter = env.segmenter("slow:find", start_timeout=1)
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
def test_a_failed_tile_is_told_and_the_process_lives_on(moody, mood, told, tile, number) -> None:
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
def test_a_process_that_is_lost_is_told_and_started_anew(
    env, mood, told, tile, number, gone
) -> None:
    with env.segmenter(timeout=2) as segmenter:
        first = number(segmenter.segment(tile()))
        with pytest.raises(SegmentationError, match=told):
            segmenter.segment(tile(mood))
        assert gone(first)
        second = number(segmenter.segment(tile()))
        assert second != first


@posix_only
def test_a_process_that_ends_between_two_tiles_is_started_anew(env, eventually) -> None:
    sample = np.zeros((1, 20, 20), np.float32)
    with env.segmenter("nuclei:Finder") as segmenter:
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
    with env.segmenter("stubborn:Unadaptable") as segmenter:
        with pytest.raises(SegmentationError, match=r"adapt\(\) must return an object with"):
            Pipeline(segmenter=segmenter, nuclear_diameter=12).run(image)
        with pytest.raises(SegmentationError, match=r"its facts\(\) must be plain"):
            facts_of(segmenter)
    segmenter = env.segmenter("nuclei:find", options={"size": "x"})
    with pytest.raises(SegmentationError, match=r"slide: tile in row 1.*nuclei:find in .* fail"):
        Pipeline(segmenter=segmenter, nuclear_diameter=12).run(image)


def test_a_full_disk_is_told_with_the_fix(moody, monkeypatch, tile, number) -> None:
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    first = number(moody.segment(tile()))
    with monkeypatch.context() as patched:
        patched.setattr(np, "save", full)
        with pytest.raises(SegmentationError, match=r"No space left.* is there room\? .*TMPDIR"):
            moody.segment(tile())
    assert number(moody.segment(tile())) == first


def test_no_room_to_start_in_is_told(env, monkeypatch, tmp_path, tile) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(CellsegError, match=r"could not be started: .*No such file"):
        env.segmenter().segment(tile())


def test_a_status_without_a_name_is_told() -> None:
    assert process._said_of(-15) == "was killed by SIGTERM"
    assert process._said_of(-99) == "was killed by signal 99"
