"""Disks that are full at some moment: small ones in memory, which a namespace of its own mounts."""

from __future__ import annotations

import random
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from faults_of.trials import Row, Started, differences, draw, finish, run_of, write_image

_WRITERS = ("csv,fcs,labels,overlay,report", "csv,labels,parquet,h5ad,geojson,rois")
_SAYS = ("The disk is full", "No space left on device")

# Once on a disk of so many bytes, once more when it has grown.
_TWICE = """
mount -t tmpfs -o size={size} tmpfs {out} || exit 77
{command} || first=$?
echo "first: ${{first:-0}}"
mount -o remount,size=1g {out}
{command}; status=$?
echo "second: $status"
cp -r {out} {kept}
"""


def available() -> bool:
    """Tell whether a disk can be mounted here."""
    if shutil.which("unshare") is None:
        return False
    return (
        subprocess.run(
            ["unshare", "-rm", "true"],  # noqa: S607 - found just now
            check=False,
            capture_output=True,
        ).returncode
        == 0
    )


def full_disks(folder: Path, times: int, seed: int) -> Row:
    """Run on disks that are too small, and again when there is room."""
    row = Row("full disks", "OUT on a disk that is full at a random point, then has room")
    if not available():
        row.notes["left out"] = "no disk can be mounted here (unshare -rm)"
        return row
    chance = random.Random(seed)  # noqa: S311 - no secret
    image = write_image(folder / "slide.ome.tif", draw(240, 1)[0])
    full = 0
    for number in range(times):
        writers = _WRITERS[number % len(_WRITERS)]
        plain = folder / f"undisturbed-{number % len(_WRITERS)}"
        if not plain.is_dir():
            finish(run_of(image, plain, "--write", writers), folder / "temporary")
        size = sum(path.stat().st_size for path in plain.rglob("*") if path.is_file())
        out, kept = folder / f"out-{number}", folder / f"kept-{number}"
        out.mkdir()
        command = [sys.executable, "-m", "cellseg_core", *run_of(image, out, "--write", writers)]
        script = _TWICE.format(
            size=int(chance.uniform(0.05, 1.1) * size) + 20_000,
            **{name: shlex.quote(str(path)) for name, path in (("out", out), ("kept", kept))},
            command=shlex.join(command),
        )
        code = "import os, sys; os.execvp('unshare', ['unshare', '-rm', 'sh', '-c', sys.argv[1]])"
        ended = Started([script], folder / "temporary", code).ended()
        row.times += 1
        first, _, second = ended.said.partition("first: ")
        told = second.startswith("1") and any(says in first for says in _SAYS)
        full += told
        row.check(told or second.startswith("0"), f"a full disk is told so: {first[-300:]}")
        row.check("Traceback" not in first, f"a full disk is told so: {first[-300:]}")
        row.check("second: 0" in second, f"with room, it ended so: {second[-300:]}")
        if kept.is_dir():
            row.wrong += differences(kept, plain)
    row.notes["were full"] = full
    return row
