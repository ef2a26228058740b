"""What Windows and macOS do otherwise: processes are spawned, consoles are narrow, files locked.

What can be had of it on any system is tried on any system.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cellseg_core.cli.main import main
from cellseg_core.synthetic import simulate_tissue

NAME = "Müller 组织"


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """Return an image of two channels in a folder whose name is in no old code page."""
    import tifffile

    tissue = simulate_tissue((200, 220), seed=3)
    path = tmp_path / "données µm" / f"{NAME}.ome.tif"
    path.parent.mkdir()
    tifffile.imwrite(
        path,
        np.asarray(tissue.image.pixels[:2]),
        metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "CD3"]}},
    )
    return path


def run_elsewhere(slide: Path, out: Path, *more: str) -> subprocess.CompletedProcess[bytes]:
    """Run cellseg as on an old console; text files that are opened without an encoding are told."""
    narrow = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252", "PYTHONWARNDEFAULTENCODING": "1"}
    command = [sys.executable, "-m", "cellseg_core"]
    options = ("--nuclear", "DAPI", "--segmenter", "watershed", "--tile", "128", "--expand", "2")
    writers = ("--write", "csv,fcs,labels")
    done = subprocess.run(
        [*command, "run", slide, "-o", out, *options, *writers, *more],
        env={**os.environ, **narrow, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not re.search(rb"cellseg_\w+[/\\].*EncodingWarning", done.stderr), done.stderr
    return done


def test_names_of_any_script_and_spawned_workers_do_on_a_console_that_lacks_the_letters(
    slide: Path, tmp_path: Path
) -> None:
    alone = run_elsewhere(slide, tmp_path / "out 1")
    # What the console has is shown, and the rest does not end the run.
    assert b"M\xfcller ??: " in alone.stdout
    run_elsewhere(slide, tmp_path / "out 2", "--workers", "2")
    for file in ("cells.csv", f"{NAME}/cells.ome.tif", f"{NAME}/cells.fcs"):
        assert (tmp_path / "out 1" / file).read_bytes() == (tmp_path / "out 2" / file).read_bytes()
    assert NAME in (tmp_path / "out 1" / "cells.csv").read_text(encoding="utf-8")


def open_here() -> set[str]:
    """Return the files that this process holds open or has mapped."""
    held = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            held.add(str(link.readlink()))
        except OSError:
            continue  # the one that lists them
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return held | {line.split(maxsplit=5)[5] for line in maps if line.count("/")}


@pytest.fixture
def as_on_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Let no file be removed or replaced that is open; return those that were."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs Linux, to know which files are open; Windows itself refuses")
    gone: list[str] = []

    def watched(change: Callable[..., None]) -> Callable[..., None]:
        def look(*paths: str, dir_fd: int | None = None, **kwargs: int | None) -> None:
            folder = str(Path(f"/proc/self/fd/{dir_fd}").readlink()) if dir_fd is not None else ""
            for path in paths:
                full = os.path.abspath(os.path.join(folder, path))  # noqa: PTH100, PTH118
                # A lock is let go of in another way there.
                if full.startswith(str(tmp_path)) and not full.endswith("lock"):
                    if full in open_here():
                        raise PermissionError(13, "it is open in this process", full)
                    gone.append(full)
            change(*paths, **({} if dir_fd is None else {"dir_fd": dir_fd}), **kwargs)

        return look

    for name in ("unlink", "remove", "replace", "rename"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    return gone


def test_no_file_is_replaced_or_removed_while_it_is_open(
    slide: Path, tmp_path: Path, as_on_windows: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = "csv,fcs,labels,masks,overlay,overlay-tiff,geojson,parquet,report"
    command = ["cellseg", "run", str(slide), "-o", str(tmp_path / "out"), "--nuclear", "DAPI"]
    command += ["--segmenter", "watershed", "--expand", "2", "--tile", "128", "--quiet"]
    for changed in ([], ["--min-size", "20"], ["--fresh", "--set", "labels.format=zarr"]):
        monkeypatch.setattr(sys, "argv", [*command, "--write", writers, *changed])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0, changed
    assert any(path.endswith("cells.ome.tif") for path in as_on_windows)


def test_the_watch_over_open_files_sees_one(tmp_path: Path, as_on_windows: list[str]) -> None:
    path = tmp_path / "held.txt"
    with path.open("w", encoding="utf-8"), pytest.raises(PermissionError, match="open in this"):
        path.unlink()
    path.unlink()
    assert as_on_windows == [str(path)]
