"""Runs that are interrupted, killed or robbed while several processes are at work."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX"),
]

PATIENCE = 60.0  # s


def command(image: Path, out: Path, *more: object) -> list[str]:
    """Return a run of some hundred tiles by two workers."""
    given = (
        *("run", image, "-o", out, "--nuclear", "DAPI", "--segmenter", "watershed"),
        *("--nuclear-diameter", 10, "--tile", 24, "--expand", 2, "--compensate"),
        *("--set", "labels.format=tiff", "--write", "csv,fcs,labels", "--workers", 2, *more),
    )
    return [sys.executable, "-m", "cellseg_core", *map(str, given)]


# A process that was started in the background of a shell has its children ignore Ctrl-C.
HEEDING = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from cellseg_core.cli.main import main; main()"
)


def start(*arguments: object) -> subprocess.Popen[str]:
    python, _, _, *given = command(*arguments)  # type: ignore[arg-type]
    return subprocess.Popen(
        [python, "-c", HEEDING, *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def tiles(out: Path) -> int:
    # Folders come and go meanwhile, which os.walk does not mind.
    found = (name for _, _, names in os.walk(out / ".cellseg") for name in names)
    return sum(name.endswith(".npz") for name in found)


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not what() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.005)


def finish(image: Path, out: Path) -> str:
    """Run to the end, and return what was said."""
    done = subprocess.run(command(image, out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [one for one in children if "resource_tracker" not in " ".join(one.cmdline())]
    except psutil.Error:
        return []


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cellseg_core.synthetic import simulate_tissue

    made = simulate_tissue((360, 400), seed=5, nuclear_diameter=10, channels=["DAPI", "CD45"])
    path = tmp_path_factory.mktemp("images") / "image.ome.tif"
    tifffile.imwrite(
        path,
        made.image.pixels[:, :, :],
        photometric="minisblack",
        metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "CD45"]}},
    )
    return path


@pytest.fixture(scope="module")
def undisturbed(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    finish(image, out)
    return out


def same(out: Path, undisturbed: Path) -> None:
    files = sorted(path.name for path in (undisturbed / "image").iterdir())
    assert sorted(path.name for path in (out / "image").iterdir()) == files
    for name in files:
        assert (out / "image" / name).read_bytes() == (undisturbed / "image" / name).read_bytes()


def test_ctrl_c_stops_cleanly_and_the_next_run_goes_on(
    image: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(image, out)
    wait_for(lambda: tiles(out) >= 30, process)
    at_work = workers_of(process)
    assert len(at_work) == 2
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert said.strip() == "Interrupted. Run the same command again to go on where it stopped."
    psutil.wait_procs(at_work, timeout=PATIENCE)
    assert not any(one.is_running() for one in at_work)
    assert "tiles done before)" in finish(image, out)
    same(out, undisturbed)


def test_kills_at_random_moments_lose_nothing(
    image: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    chance = np.random.default_rng(7)
    total = 15 * 17
    for kill in range(20):
        process = start(image, out)
        wanted = min(total, tiles(out) + int(chance.integers(1, total // 8)))
        wait_for(lambda: tiles(out) >= wanted and len(workers_of(process)) > 0, process)  # noqa: B023
        at_work = workers_of(process)
        if kill % 2 and at_work:
            at_work[int(chance.integers(len(at_work)))].kill()
        time.sleep(chance.random())
        process.kill()
        process.communicate()
        psutil.wait_procs(at_work, timeout=PATIENCE)
        assert not any(one.is_running() for one in at_work), "workers outlive the run"
    finish(image, out)
    same(out, undisturbed)


def test_a_run_survives_the_loss_of_workers(image: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(image, out)
    for wanted in (20, 60, 100):
        wait_for(lambda: tiles(out) >= wanted and len(workers_of(process)) == 2, process)  # noqa: B023
        for worker in workers_of(process)[:1]:
            worker.kill()
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    same(out, undisturbed)


def test_an_output_folder_that_goes_away_is_told(image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(image, out)
    wait_for(lambda: tiles(out) >= 20, process)
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        shutil.rmtree(out, ignore_errors=True)
        time.sleep(0.02)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, said
    assert "cannot be written" in said or "cannot be read again" in said
    assert "bug in cellseg" not in said
    assert "Traceback" not in said


def test_a_truncated_image_is_told_by_the_workers(image: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.ome.tif"
    shutil.copy(image, damaged)
    out = tmp_path / "out"
    process = start(damaged, out)
    wait_for(lambda: tiles(out) >= 10, process)
    with damaged.open("r+b") as stream:
        stream.truncate(damaged.stat().st_size // 4)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "FAILED" in said
    assert "damaged.ome.tif" in said
    assert "bug in cellseg" not in said
    assert "Traceback" not in said
