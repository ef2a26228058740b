"""Output folders on file systems that know no locks, as some of a network."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from filelock import Timeout

from cellseg_core.errors import OutputError
from cellseg_core.locking import acquire
from cellseg_core.store import Store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")

REASONS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP]
KILLED = """
import fcntl, os, pathlib, sys
def refuse(*_):
    raise OSError(37, "No locks available")
fcntl.flock = refuse
from cellseg_core.store import Store
with Store.open(pathlib.Path(sys.argv[1])):
    os._exit(9)
"""


@pytest.fixture(params=REASONS)
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr("fcntl.flock", refuse)


def test_a_folder_without_locks_is_still_one_run_s_alone(without_locks, tmp_path: Path) -> None:
    with Store.open(tmp_path), pytest.raises(OutputError) as refused, Store.open(tmp_path):
        pass
    held = tmp_path / ".cellseg" / "lock.held"
    assert "another run is writing into" in str(refused.value)
    assert str(refused.value).endswith(f"If none is, as after a kill, delete {held}.")
    assert not held.exists()
    with Store.open(tmp_path):
        assert held.is_file()


@pytest.mark.skipif(int(version("filelock").split(".")[0]) < 4, reason="an older filelock")
def test_what_a_killed_run_held_is_taken_over(tmp_path: Path, monkeypatch) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == 9

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    assert (tmp_path / ".cellseg" / "lock.held").is_file()
    with Store.open(tmp_path):
        pass


def test_where_there_are_locks_no_file_tells_of_them(tmp_path: Path) -> None:
    lock = acquire(tmp_path / "lock", timeout=0)
    with pytest.raises(Timeout):
        acquire(tmp_path / "lock", timeout=0)
    assert [one.name for one in tmp_path.iterdir()] == ["lock"]
    lock.release()
    acquire(tmp_path / "lock", timeout=0).release()
