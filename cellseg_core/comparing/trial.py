"""One run of one method in a fresh process: what it left, how long it took, what it needed."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import attrs

from cellseg_core.address import Address, Location
from cellseg_core.config import RunConfig
from cellseg_core.memory import MemoryWatch
from cellseg_core.reporting import Reporter

__all__ = ["Trial", "run_trial"]

_PATIENCE = 10.0  # s that a process has to end, by itself or when it is asked to
_TICK = 0.5  # s
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
        Seconds from the start of the process until a first small simulated image is done: imports,
        loading the network, compilation. None if it cannot do that image.
    segment
        Seconds spent in the segmenter on the images that were done, after that. None if an
        earlier run had done a part of one.
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
    inputs: Sequence[Location],
    out: Path,
    config: RunConfig,
    reporter: Reporter,
    *,
    fresh: bool = False,
) -> Trial:
    """Run ``config`` over ``inputs`` into ``out``, as ``cellseg run`` does, in a fresh process.

    Whatever goes wrong there, a crash of the process included, is in what is returned.
    """
    plan = {
        # Not resolved: an image is named after the link that leads to it.
        "inputs": [_in_full(path.absolute()) for path in inputs],
        "out": str(out.absolute()),
        "settings": json.loads(json.dumps(config.as_dict(), default=_in_full)),
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
            status = _end(process, _PATIENCE)
        finally:
            _end(process, 0)
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


def _in_full(path: Location) -> str:
    """Return a path or an address as text from which another process can open it."""
    return path.in_full if isinstance(path, Address) else str(path)


def _listen(
    process: subprocess.Popen[str], plan: Mapping[str, Any], reporter: Reporter
) -> tuple[str, Any] | None:
    """Hand over the plan, pass on what is told, and return the last word, None without one."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with process.stdin as stdin:
            json.dump(plan, stdin)
    except OSError:  # Windows has no BrokenPipeError here
        process.stdout.close()
        return None  # it ended before it began; its status tells
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_pass_on, args=(process.stdout, lines), daemon=True).start()
    while True:
        over = process.poll() is not None
        try:
            line = lines.get(timeout=_TICK)
        except queue.Empty:
            # What it has started may hold the pipe open for as long as it likes.
            if over:
                return None
            continue
        kind, *told = json.loads(line)
        if kind in ("result", "failed"):
            return kind, told[0]
        getattr(reporter, kind)(*told)


def _pass_on(stream: IO[str], lines: queue.SimpleQueue[str]) -> None:
    """Hand on the lines of a stream until everybody who could write to it is gone."""
    with stream:
        for line in stream:
            lines.put(line)


def _end(process: subprocess.Popen[str], patience: float) -> int:
    """Return the status of the process, which is ended if it does not end by itself."""
    for last_resort in (process.terminate, process.kill):
        try:
            return process.wait(patience)
        except subprocess.TimeoutExpired:
            last_resort()
            patience = _PATIENCE
    return process.wait()


def _crash(status: int, said: str) -> str:
    """Say how a process ended that had no last word."""
    if status == -9:
        how = "its process was killed, as the system does when memory runs out"
    elif status < 0:
        how = f"its process was ended by signal {-status}"
    else:
        how = f"its process ended with status {status}"
    return f"{how}. Its last words: {said[-_SHOWN:]}" if said else f"{how}."
