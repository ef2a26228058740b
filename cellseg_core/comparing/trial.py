"""One run of one method in a fresh process: what it left, how long it took, what it needed."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cellseg_core.comparing.memory import MemoryWatch
from cellseg_core.config import RunConfig
from cellseg_core.reporting import Reporter

__all__ = ["Trial", "run_trial"]

_PATIENCE = 10.0  # s that a process has to end when it is asked to
_SHOWN = 600  # characters of what a process left on standard error


@attrs.frozen(kw_only=True)
class Trial:
    """What came of one run of a method.

    Attributes
    ----------
    failed
        Why nothing was done; None if the images were gone through.
    errors
        Images that could not be done, and why.
    startup
        Seconds from the start of the process to the first segmented tile, a small simulated one:
        imports, loading the network, compilation. None if it cannot do that tile.
    segment
        Seconds spent in the segmenter on the images that were done, after that.
    seconds
        Seconds for all images, with reading, measuring and writing. None if an earlier run had
        done some of them.
    peak
        Most bytes resident in the process and what it started. None like ``seconds``.
    megapixels
        Size of the images that were done, together.
    """

    failed: str | None = None
    errors: Mapping[str, str] = attrs.field(factory=dict)
    startup: float | None = None
    segment: float | None = None
    seconds: float | None = None
    peak: int | None = None
    megapixels: float = 0.0


def run_trial(
    inputs: Sequence[Path], out: Path, config: RunConfig, reporter: Reporter, *, fresh: bool = False
) -> Trial:
    """Run ``config`` over ``inputs`` into ``out``, as ``cellseg run`` does, in a fresh process.

    Whatever goes wrong there, a crash of the process included, is in what is returned.
    """
    plan = {
        "inputs": [str(path.resolve()) for path in inputs],
        "out": str(out.resolve()),
        "settings": json.loads(json.dumps(attrs.asdict(config), default=str)),
        "fresh": fresh,
        "started": time.time(),
    }
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "cellseg_core.comparing.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            encoding="utf-8",
        )
        try:
            with MemoryWatch(process.pid) as memory:
                last = _listen(process, plan, reporter)
                status = process.wait()
        finally:
            _end(process)
        if last is None:
            stderr.seek(0)
            said = stderr.read().decode("utf-8", errors="replace").strip()
            return Trial(failed=_crash(status, said))
    kind, facts = last
    if kind == "failed":
        return Trial(failed=facts)
    return Trial(
        errors=facts["failed"],
        startup=facts["startup"],
        segment=facts["segment"],
        seconds=facts["seconds"],
        megapixels=facts["megapixels"],
        peak=max(memory.peak, facts["peak"]) if facts["peak"] is not None else None,
    )


def _listen(
    process: subprocess.Popen[str], plan: Mapping[str, Any], reporter: Reporter
) -> tuple[str, Any] | None:
    """Hand over the plan, pass on what is told, and return the last word, None without one."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with process.stdin as stdin:
            json.dump(plan, stdin)
    except BrokenPipeError:
        return None  # it ended before it began; its status tells
    for line in process.stdout:
        kind, *told = json.loads(line)
        if kind in ("result", "failed"):
            return kind, told[0]
        getattr(reporter, kind)(*told)
    return None


def _end(process: subprocess.Popen[str]) -> None:
    """Make sure that the process is over."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _crash(status: int, said: str) -> str:
    """Say how a process ended that had no last word."""
    if status == -9:
        how = "its process was killed, as the system does when memory runs out"
    elif status < 0:
        how = f"its process was ended by signal {-status}"
    else:
        how = f"its process ended with status {status}"
    return f"{how}. Its last words: {said[-_SHOWN:]}" if said else f"{how}."
