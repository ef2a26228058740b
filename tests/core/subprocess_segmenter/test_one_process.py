"""One process serves all tiles of equal segmenters, and each process of ours starts its own."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import threading

import numpy as np
import pytest

from cellseg_core.subprocess_segmenter import SubprocessSegmenter
from cellseg_core.synthetic import simulate_tissue

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


def test_one_process_serves_all_tiles_and_all_equal_segmenters(moody, env, tile, number) -> None:
    first = number(moody.segment(tile()))
    assert number(moody.segment(tile())) == first
    assert number(env.segmenter(timeout=9, halo=3).segment(tile())) == first
    assert first not in (0, os.getpid())
    with env.segmenter("moods:mood", options={"note": "ü"}) as other:
        assert number(other.segment(tile())) != first


def test_what_the_component_prints_garbles_nothing_and_blocks_nothing(moody, tile, number) -> None:
    first = number(moody.segment(tile()))
    assert number(moody.segment(tile("floods"))) == first
    assert number(moody.segment(tile())) == first


def test_labels_and_scores_come_as_an_object_too(moody, tile) -> None:
    found = moody.segment(tile("result"))
    assert (found.labels == 1).all()
    assert found.scores is not None
    assert found.scores.tolist() == [0.5]


def test_a_large_tile_with_two_channels_comes_back_whole(env) -> None:
    values = np.random.default_rng(0).random((2, 2300, 2100), np.float32)
    options = {"python": str(env.folder), "component": "numpy:argmax", "options": {"axis": 0}}
    with SubprocessSegmenter(**options) as segmenter:
        assert np.array_equal(segmenter.segment(values).labels, values.argmax(0))
        assert np.array_equal(segmenter.segment(values[:, ::-2]).labels, values[:, ::-2].argmax(0))


def test_threads_take_turns(env) -> None:
    options = {"python": str(env.folder), "component": "numpy:argmax", "options": {"axis": 0}}
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
    with env.segmenter("nuclei:Finder") as segmenter:
        adapted = [segmenter.adapt(pixels, diameter) for diameter in (6, 9, 12, 15, 18, 24, 30)]
        first = [one.segment(pixels).labels for one in adapted]
        again = [one.segment(pixels).labels for one in adapted]
        segmenter.close()
        anew = adapted[2].segment(pixels).labels
    assert all(map(np.array_equal, first, again))
    assert np.array_equal(anew, first[2])
    assert not np.array_equal(first[0], first[-1])


def test_pickled_it_takes_its_options_along_and_nothing_else(env) -> None:
    with env.segmenter("nuclei:Finder", options={"threshold": 0.3}, halo=9) as segmenter:
        sample = np.zeros((1, 8, 8), np.float32)
        for one in (segmenter, segmenter.adapt(sample, 10)):
            copy = pickle.loads(pickle.dumps(one))  # noqa: S301 - made here
            assert copy == segmenter or copy._adaptation.diameter == 10
            assert copy._worker is segmenter._worker


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_of_ours_start_their_own(
    moody, method, tmp_path, monkeypatch, tile, number, gone, eventually
) -> None:
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
def test_a_fork_neither_ends_nor_holds_on_to_our_process(env, tile, number, eventually) -> None:
    segmenter = env.segmenter()
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
