"""Damaged files of every kind are read, or refused by an error of ours that names them."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import psutil
import pytest
from fuzzing import reading, worker
from fuzzing.damage import Damaged, damage, numbered
from fuzzing.reading import FAULTS, attempt
from fuzzing.running import run
from fuzzing.seeds import KINDS, seeds_of
from fuzzing.worker import Worker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellseg_core.errors import ImageError

EACH = 25


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "in"


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_by_name_or_does_no_harm(kind: str, folder: Path) -> None:
    for number in range(EACH):
        found = attempt(kind, numbered(kind, number, 1), folder)
        assert found.result not in FAULTS, (number, found)


@given(kind=st.sampled_from(sorted(KINDS)), random=st.randoms(use_true_random=False))
@settings(
    max_examples=120,
    derandomize=True,
    deadline=10_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_hypothesis_finds_no_damage_that_does_harm(folder: Path, kind: str, random: Random) -> None:
    damaged = damage(kind, random)
    found = attempt(kind, damaged, folder)
    assert found.result not in FAULTS, (damaged.ways, found)


@pytest.mark.parametrize("kind", ["tiff", "toml"])
def test_a_run_over_damage_leaves_nothing_that_looks_like_results(kind: str, folder: Path) -> None:
    for number in range(3):
        found = run(kind, numbered(kind, number, 1), folder)
        assert found is None or found.result not in FAULTS, (number, found)


@pytest.mark.parametrize("kind", KINDS)
def test_valid_files_are_read_and_damage_is_the_same_every_time(kind: str, folder: Path) -> None:
    for seed in seeds_of(kind):
        assert attempt(kind, Damaged(seed, seed.files, ()), folder).result == "read"
    assert numbered(kind, 7, 1) == numbered(kind, 7, 1)
    assert len({str(numbered(kind, number, 1).ways) for number in range(EACH)}) > EACH // 3


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (KeyError("plain.tif"), "escaped"),
        (RecursionError(), "escaped"),
        (ImageError("it is damaged"), "unnamed"),
        (MemoryError(), "memory"),
        (ImageError("plain.tif is damaged"), "refused"),
    ],
)
def test_what_a_reader_raises_is_judged(
    monkeypatch: pytest.MonkeyPatch, folder: Path, error: Exception, result: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(reading, "read", fail)
    seed = seeds_of("tiff")[0]
    assert attempt("tiff", Damaged(seed, seed.files, ()), folder).result == result


def test_pixels_that_are_lost_are_noticed(folder: Path) -> None:
    seed, other = (one for one in seeds_of("png") if one.name in ("gray", "deep"))
    changed = {next(iter(seed.files)): next(iter(other.files.values()))}
    assert attempt("png", Damaged(seed, changed, ("cut",), cut=True), folder).result == "lost"


@pytest.mark.skipif(sys.platform == "win32", reason="processes are stopped as on POSIX")
def test_a_reader_that_dies_or_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "READ_LIMIT", 2.0)
    with Worker("toml", 1, 2**30, runs=False) as reader:
        first = reader.attempt(3, whole=False)
        psutil.Process(reader.pid).kill()
        assert reader.attempt(3, whole=False).result == "crashed"
        assert reader.attempt(3, whole=False) == first
        psutil.Process(reader.pid).suspend()
        assert reader.attempt(3, whole=False).result == "hung"
