"""Progress on the console: a bar over images and one over the parts of the current image."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cellseg_core.cli.echo import echo, printable

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Console"]

_WORDS = {
    "brightness": "measuring brightness",
    "diameter": "measuring the diameter",
    "preview": "trying settings, panel",
    "segment": "finding nuclei, tile",
    "measure": "measuring channel",
    "write": "writing file",
}


class Console:
    """A :class:`~cellseg_core.reporting.Reporter` on stderr; a context manager.

    On a terminal it shows bars with rate and time left; elsewhere (a log file, a cluster job) one
    line for each image. With ``quiet`` only warnings and failures are shown.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bars: Progress | None = None
        self._tasks: dict[str, Any] = {}
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console as RichConsole
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=RichConsole(stderr=True),
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def say(self, text: str) -> None:
        """Show one line, unless quiet."""
        if not self._quiet:
            self._print(text)

    def warn(self, text: str) -> None:
        """Show a warning or a failure."""
        self._print(text if text.startswith("FAILED") else f"Warning: {text}")

    def images(self, done: int, total: int) -> None:
        """Move the bar of images."""
        if self._bars is not None:
            self._advance("images", "images", done, total)
        elif not self._quiet and done and total > 1:
            took = time.monotonic() - self._began
            left = took / done * (total - done)
            self._print(f"{done} of {total} images, {took:.0f} s, about {left:.0f} s left")

    def step(self, image: str, step: str, done: int, total: int) -> None:
        """Move the bar of the current image."""
        if self._bars is None:
            return
        # Short enough that the bar, the rate and the time left fit beside it.
        image = printable(image)
        shown = image if len(image) <= 28 else f"{image[:13]}...{image[-12:]}"
        self._advance("step", f"{shown}: {_WORDS.get(step, step)}", done, total)

    def _advance(self, key: str, text: str, done: int, total: int) -> None:
        assert self._bars is not None
        task = self._tasks.get(key)
        if task is None or self._bars.tasks[task].description != text:
            if task is not None:
                self._bars.update(task, visible=False)
            task = self._tasks[key] = self._bars.add_task(text, total=total, rate="")
        speed = self._bars.tasks[task].speed
        rate = "" if not speed else f"{speed:.1f}/s" if speed >= 1 else f"{60 * speed:.1f}/min"
        self._bars.update(task, completed=done, total=total, rate=rate)

    def _print(self, text: str) -> None:
        if self._bars is not None:
            self._bars.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
        else:
            echo(text, err=True)
