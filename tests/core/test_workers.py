"""Parts done by other processes: the same result, and clear words when they are lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import attrs
import cloudpickle
import numpy as np
import psutil
import pytest
from distributed import LocalCluster

from cellseg_core import Pipeline, workers
from cellseg_core.errors import ConfigurationError, OutputError, SegmentationError, WorkerError
from cellseg_core.synthetic import simulate_tissue
from cellseg_core.workers import DaskWorkers, ThisProcess, Workers, open_workers

# Workers need not find this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes by signals")


@pytest.fixture(scope="module")
def two() -> Iterator[Workers]:
    with open_workers(2) as crew:
        yield crew


def squared(number: int) -> int:
    time.sleep(0.02 * (number % 3))
    return number**2


def where(_: int) -> int:
    time.sleep(0.1)
    return os.getpid()


def threads(_: int) -> tuple[str, ...]:
    return os.environ["OMP_NUM_THREADS"], os.environ["TF_NUM_INTRAOP_THREADS"]


def at_work(crew: DaskWorkers) -> int:
    return len(crew._client.nthreads())


@attrs.frozen
class Failing:
    """Raises at one number, and notes the others in a folder."""

    at: int
    error: Exception
    folder: Path

    def __call__(self, number: int) -> None:
        if number == self.at:
            raise self.error
        time.sleep(0.2)
        (self.folder / str(number)).touch()


@attrs.frozen
class FailingFirst:
    """Raises at number 0. The others note that they were begun, and last until told to end."""

    error: Exception
    folder: Path

    def __call__(self, number: int) -> None:
        if number == 0:
            raise self.error
        (self.folder / str(number)).touch()
        for _ in range(300):
            if (self.folder / "end").exists():
                break
            time.sleep(0.2)


@attrs.frozen
class Dying:
    """Kills its process at one number, as often as asked."""

    at: int
    times: int
    folder: Path

    def __call__(self, number: int) -> int:
        died = len(list(self.folder.glob("death*")))
        if number == self.at and died < self.times:
            (self.folder / f"death{died}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number


def test_the_result_is_that_of_this_process(two: Workers) -> None:
    numbers = list(range(20))
    alone = dict(ThisProcess().each(squared, numbers))
    assert dict(two.each(squared, numbers)) == alone == {n: n**2 for n in numbers}
    assert list(two.each(squared, [])) == []


def test_several_processes_are_at_work_and_share_the_cores(two: Workers) -> None:
    assert isinstance(two, DaskWorkers)
    processes = {pid for _, pid in two.each(where, range(8))}
    assert len(processes) == 2
    assert os.getpid() not in processes
    share = str(max(1, (os.cpu_count() or 1) // 2))
    expected = os.environ.get("OMP_NUM_THREADS", share)
    assert dict(two.each(threads, [0]))[0] == (expected, expected)


def test_what_a_part_raises_comes_from_here(two: Workers, tmp_path: Path) -> None:
    full = OutputError("the disk is full")
    full.errno = 28
    assert isinstance(two, DaskWorkers)
    list(two.each(where, range(8)))  # both are at work
    for error in (SegmentationError("tile in row 1"), full, ValueError("unexpected")):
        folder = tmp_path / type(error).__name__
        folder.mkdir()
        with pytest.raises(type(error), match=str(error)) as raised:
            list(two.each(FailingFirst(error, folder), range(40)))
        assert getattr(raised.value, "errno", None) == getattr(error, "errno", None)
        wait_until_dropped(two)
        (folder / "end").touch()
        assert dict(two.each(squared, [3])) == {0: 9}
        # Those that were not begun are not done.
        assert len(list(folder.iterdir())) < 20


def known_to_the_scheduler(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


def not_begun(dask_worker: Any) -> int:
    return len(dask_worker.state.ready)


def wait_until_dropped(crew: DaskWorkers) -> None:
    """Wait until neither the scheduler nor a worker holds a part that was not begun."""
    client, end = crew._client, time.monotonic() + 60
    while client.run_on_scheduler(known_to_the_scheduler) or any(client.run(not_begun).values()):
        assert time.monotonic() < end, "parts that were not begun are still waiting"
        time.sleep(0.05)


class StrangeError(Exception):
    """An error that no other process can take."""


@attrs.frozen
class Strange:
    """Raises it."""

    def __call__(self, _: int) -> None:
        import threading

        raise StrangeError(threading.Lock(), 3)


@attrs.frozen
class Chained:
    """Raises one of our errors from one that no other process can take."""

    def __call__(self, _: int) -> None:
        import threading

        try:
            raise StrangeError(threading.Lock(), 3)
        except StrangeError as error:
            raise SegmentationError("tile in row 1") from error


def test_errors_that_cannot_travel_are_told(two: Workers) -> None:
    with pytest.raises(SegmentationError, match="tile in row 1"):
        list(two.each(Chained(), [1]))
    with pytest.raises(RuntimeError, match="StrangeError"):
        list(two.each(Strange(), [1]))


def test_a_timeout_of_a_part_is_not_one_of_dask(two: Workers, tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="slow file"):
        list(two.each(Failing(0, TimeoutError("slow file"), tmp_path), [0]))


def test_what_cannot_be_sent_is_told(two: Workers) -> None:
    import threading

    with pytest.raises(ConfigurationError, match="cannot be sent to other processes"):
        list(two.each(Failing(0, ValueError(), threading.Lock()), [0]))  # type: ignore[arg-type]


def test_workers_can_be_opened_again_where_dask_was_not_known_before() -> None:
    code = """
from cellseg_core.workers import open_workers
if __name__ == "__main__":
    for _ in range(2):
        with open_workers(2) as crew:
            assert dict(crew.each(abs, [-1, -2, -3])) == {0: 1, 1: 2, 2: 3}
    import dask
    assert dask.config.get("distributed.scheduler.allowed-failures") == 3
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_worker_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_: object) -> None:
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr("distributed.LocalCluster", fails)
    with pytest.raises(WorkerError, match=r"Nanny failed to start.*__main__"), open_workers(2):
        pass


def test_workers_that_do_not_come_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PATIENCE", 1.0)
    with open_workers(2) as crew, monkeypatch.context() as patch:
        patch.setattr(LocalCluster, "scale", lambda *_: None)
        assert len(list(crew.each(squared, range(6)))) == 6


def grown_to(megabytes: int) -> int:
    return len(np.ones(megabytes * 2**20, np.uint8))


def test_memory_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with open_workers(3, memory=workers.own_memory() + 10**9, tell=told.append) as crew:
        assert isinstance(crew, DaskWorkers)
        list(crew.each(grown_to, [1] * 5))
        assert (at_work(crew), told) == (3, [])
        list(crew.each(grown_to, [400] * 5))
        assert at_work(crew) < 3
    assert told[0].startswith(("1 of 3 workers", "2 of 3 workers"))


def test_workers_with_other_packages_are_refused(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "deciding_packages", lambda: {"numpy": "0.1"})
    with (
        pytest.raises(ConfigurationError, match=r"has numpy \d.* and not 0\.1: results would"),
        open_workers(scheduler=cluster.scheduler_address),
    ):
        pass


def test_a_worker_that_dies_is_replaced_and_its_part_done_again(
    two: Workers, tmp_path: Path
) -> None:
    assert dict(two.each(Dying(3, 1, tmp_path), range(6))) == {n: n for n in range(6)}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_part_that_kills_its_worker_every_time_is_an_error(two: Workers, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="lost 3 times before a part"):
        list(two.each(Dying(2, 1000, tmp_path), range(4)))
    assert dict(two.each(squared, [3])) == {0: 9}


def test_only_as_many_are_started_as_fit_into_the_memory() -> None:
    told: list[str] = []
    with open_workers(3, memory=10**6, tell=told.append) as crew:
        assert len({pid for _, pid in crew.each(where, range(6))}) == 1
        assert isinstance(crew, DaskWorkers)
        assert at_work(crew) == 1
    assert len(told) == 1
    assert told[0].startswith("1 of 3 workers: each takes 0.")


def test_one_worker_is_this_process() -> None:
    with open_workers() as crew:
        assert dict(crew.each(where, [0])) == {0: os.getpid()}


def test_wrong_settings_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PATIENCE", 0.5)
    for count, scheduler, told in (
        (0, None, "--workers is a whole number from 1; got 0"),
        (2, "tcp://127.0.0.1:9", "leave one of them out"),
        (1, "tcp://127.0.0.1:9", "no Dask scheduler answers at 'tcp://127.0.0.1:9'"),
        (1, "nonsense://", "no Dask scheduler answers at 'nonsense://'"),
        (1, "", "no Dask scheduler answers at ''"),
    ):
        with pytest.raises(ConfigurationError, match=told), open_workers(count, scheduler):
            pass


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as made:
        yield made


def test_the_workers_of_a_cluster_do_it(cluster: LocalCluster) -> None:
    with open_workers(scheduler=cluster.scheduler_address) as crew:
        assert isinstance(crew, DaskWorkers)
        assert at_work(crew) == 1
        assert dict(crew.each(squared, [2, 3])) == {0: 4, 1: 9}


def test_a_cluster_can_be_named_by_its_file(cluster: LocalCluster, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps(cluster.scheduler.identity()))
    with open_workers(scheduler=str(file)) as crew:
        assert dict(crew.each(squared, [3])) == {0: 9}


def test_a_cluster_without_workers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as empty,
        pytest.raises(ConfigurationError, match="has no workers"),
        open_workers(scheduler=empty.scheduler_address),
    ):
        pass


def test_a_lost_scheduler_ends_the_work(cluster: LocalCluster, tmp_path: Path) -> None:
    job = Failing(-1, ValueError(), tmp_path)

    def lose_it() -> None:
        with open_workers(scheduler=cluster.scheduler_address) as crew:
            for number, _ in crew.each(job, range(50)):
                if number == 1:
                    cluster.close()

    with pytest.raises(WorkerError, match="connection to the Dask scheduler was lost"):
        lose_it()
    assert 2 <= len(list(tmp_path.iterdir())) < 50


@pytest.mark.parametrize("kept", [True, False])
def test_an_image_is_the_same_for_any_number_of_workers(
    two: Workers, tmp_path: Path, kept: bool
) -> None:
    image = simulate_tissue((260, 300), seed=2, channels=["DAPI", "CD45"]).image
    pipeline = Pipeline(
        segmenter="watershed", nuclear_diameter=12, tile=90, expand_by=2, compensator="conserving"
    )
    seen: list[tuple[str, int, int]] = []
    alone = pipeline.run(image, "DAPI")
    work: dict[str, Any] = {"work": tmp_path / "tiles"} if kept else {}
    shared = pipeline.run(
        image, "DAPI", workers=two, progress=lambda *step: seen.append(step), **work
    )
    assert np.array_equal(shared.cells[:, :], alone.cells[:, :])
    assert shared.table.to_pandas().equals(alone.table.to_pandas())
    tiles = alone.facts["tiles"]
    assert [step for step in seen if step[0] == "segment"] == [
        ("segment", done, tiles) for done in range(tiles + 1)
    ]


@attrs.frozen
class Poisoned:
    """A segmenter that fails where a value is over 0.99."""

    native_diameter: float | None = None
    halo: int = 10

    def segment(self, tile: np.ndarray) -> Any:
        from skimage.measure import label

        from cellseg_core import Segmentation

        if tile[0].max() > 0.99:
            raise RuntimeError("poison")
        return Segmentation(label(tile[0] > 0.2))


def test_a_poisonous_tile_is_left_out_only_when_asked(two: Workers, tmp_path: Path) -> None:
    from cellseg_core.image import Image

    pixels = np.zeros((1, 120, 160), np.uint16)
    pixels[:, 5::16, 5::16] = 300
    pixels = np.maximum(pixels, np.roll(pixels, (1, 1), (1, 2)))
    pixels[0, 108:114, 148:154] = 1000
    image = Image(pixels, channels=["DAPI"])
    given: dict[str, Any] = {"nuclear_diameter": 5, "tile": 60, "min_size": 0}
    for crew in (None, two):
        work = tmp_path / str(crew is None)
        with pytest.raises(SegmentationError, match=r"tile in row 2, column 3 .*poison"):
            Pipeline(segmenter=Poisoned(), **given).run(image, workers=crew, work=work)
        skipping = Pipeline(segmenter=Poisoned(), skip_failed_tiles=True, **given)
        found = skipping.run(image, workers=crew, work=work)
        assert len(found.table) > 40
        assert not found.nuclei[72:, 122:].any()
        assert found.facts["tiles_left_out"] == 1
        assert any("left out, without any cell" in w and "poison" in w for w in found.warnings)
        # What failed is not kept: it is tried again.
        assert "tiles_left_out" in skipping.run(image, workers=crew, work=work).facts
    everywhere = Image(np.full((1, 50, 50), 1000, np.uint16), channels=["DAPI"])
    with pytest.raises(SegmentationError, match="poison"):
        skipping.run(everywhere)


def test_a_worker_that_dies_while_it_starts_is_replaced() -> None:
    def workers_of_this() -> list[psutil.Process]:
        children = psutil.Process().children()
        return [one for one in children if "spawn_main" in " ".join(one.cmdline())]

    def kill() -> None:
        while not (new := [one for one in workers_of_this() if one.pid not in before]):
            time.sleep(0.002)
        new[0].kill()

    before = {one.pid for one in workers_of_this()}
    killer = Thread(target=kill, daemon=True)
    with open_workers(2) as crew:
        killer.start()
        assert dict(crew.each(squared, [1, 2, 3])) == {0: 1, 1: 4, 2: 9}
    killer.join()


def test_workers_that_never_start_are_waited_for_with_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_START", 0.1)
    monkeypatch.setattr(workers, "_start_cluster", lambda *_: time.sleep(5))
    says = pytest.raises(WorkerError, match=r"no worker has started within 0\.1 s")
    with says, open_workers(2) as crew:
        list(crew.each(squared, [1, 2]))
