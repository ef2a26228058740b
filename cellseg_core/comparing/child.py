"""One method at work, in a process of its own: ``python -m cellseg_core.comparing.child``.

The plan comes on standard input as JSON. What happens goes out on standard output, a JSON list a
line: ``["say", text]``, ``["warn", text]``, ``["images", done, total]``,
``["step", image, step, done, total]``, and last ``["result", facts]`` or ``["failed", reason]``.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import IO, Any

import numpy as np

from cellseg_core.address import as_location
from cellseg_core.config import RunConfig
from cellseg_core.errors import CellsegError
from cellseg_core.image import Image
from cellseg_core.memory import own_peak

__all__ = ["main"]

_EVERY = 0.1  # s between two steps that are told
_EDGE, _DIAMETER = 256, 20  # px, of the image to warm up on


class _Lines:
    """A :class:`~cellseg_core.reporting.Reporter` that writes lines."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._told = 0.0

    def write(self, *parts: Any) -> None:
        self._stream.write(json.dumps(parts) + "\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        self.write("say", text)

    def warn(self, text: str) -> None:
        self.write("warn", text)

    def images(self, done: int, total: int) -> None:
        self.write("images", done, total)

    def step(self, image: str, step: str, done: int, total: int) -> None:
        if done == 0 or time.monotonic() - self._told > _EVERY:
            self._told = time.monotonic()
            self.write("step", image, step, done, total)


def main() -> None:
    """Do what the plan on standard input says."""
    # Packages print what they like, and the lines must stay whole.
    lines = _Lines(os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n"))
    os.dup2(2, 1)
    plan = json.load(sys.stdin)
    try:
        lines.write("result", _run(plan, lines))
    except CellsegError as error:
        lines.write("failed", str(error))
    except BrokenPipeError:
        # Who started this is gone.
        sys.exit(1)


def _run(plan: dict[str, Any], lines: _Lines) -> dict[str, Any]:
    from cellseg_core.batch import run_batch
    from cellseg_core.reporting import Summary

    config = RunConfig.from_mapping(plan["settings"])
    startup = _warm_up(config, plan["started"])
    summary: Summary = run_batch(
        [as_location(path) for path in plan["inputs"]],
        Path(plan["out"]),
        config,
        fresh=plan["fresh"],
        reporter=lines,
    )
    done = [outcome for outcome in summary.outcomes if outcome.state != "failed"]
    begun = any("tiles_done_before" in outcome.facts["decided"] for outcome in done)
    resumed = begun or any(outcome.state == "resumed" for outcome in done)
    return {
        "startup": startup,
        # Of an image that an earlier run began nobody knows how long it took.
        "segment": None
        if begun
        else sum(one.facts["decided"]["seconds"]["segment"] for one in done),
        "seconds": None if resumed else summary.seconds,
        "peak": None if resumed else own_peak(),
        "megapixels": sum(math.prod(one.facts["input"]["shape"]) for one in done) / 1e6,
        "failed": {outcome.name: outcome.error for outcome in summary.failed},
    }


def _warm_up(config: RunConfig, started: float) -> float | None:
    """Return the seconds from the start of this process until a first small image is done.

    None if the segmenter cannot do a simple image; why shows when it gets the real ones.
    """
    from cellseg_core.pipeline import Pipeline
    from cellseg_core.plugins import load_plugins

    plugins = load_plugins()
    config.check_options(plugins)
    segmenter = plugins.build(
        "segmenter", config.segmenter, config.options("segmenter", config.segmenter, plugins)
    )
    in_color = bool(getattr(segmenter, "uses_color", False))
    # The same steps as later, so that what they compile is compiled.
    pipeline = Pipeline(
        segmenter=segmenter,
        expander=config.expander,
        expand_by=2,
        compensator=config.compensator if config.compensate else None,
        nuclear_diameter=_DIAMETER,
        options={
            "expander": config.options("expander", config.expander, plugins),
            "compensator": config.options("compensator", config.compensator, plugins),
        },
        plugins=plugins,
    )
    y, x = np.mgrid[:_EDGE, :_EDGE] % (2 * _DIAMETER) - _DIAMETER
    disks = (np.hypot(y, x) < _DIAMETER / 2).astype(np.float32)
    image = Image(np.stack([disks] * (3 if in_color else 1)), color=in_color, name="warm up")
    try:
        pipeline.run(image)
    except CellsegError:
        return None
    return time.time() - started


if __name__ == "__main__":
    main()
