"""Progress on the console: bars where it is a terminal, lines where it is not."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cellseg_core.cli.echo import echo, printable

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

__all__ = ["Bars", "Console"]

_EVERY = 30.0  # s between lines where there are no bars

_WORDS = {
    "brightness": "measuring brightness",
    "diameter": "measuring the diameter",
    "preview": "trying settings, panel",
    "segment": "finding nuclei, tile",
    "measure": "measuring channel",
    "write": "writing file",
}


class Bars:
    """What a command tells on stderr while it works; a context manager.

    On a terminal there are bars with rate and time left; elsewhere (a log file, a cluster job) a
    line now and then. With ``quiet`` only warnings and failures are shown.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bars: Progress | None = None
        self._tasks: dict[str, Any] = {}
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich import progress
            from rich.console import Console as RichConsole

            self._bars = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(bar_width=28),
                *self._columns(),
                progress.TimeRemainingColumn(),
                progress.TextColumn("left"),
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

    def _columns(self) -> tuple[ProgressColumn, ...]:
        """Return what stands between a bar and its time left: how much is done, and the rate."""
        from rich import progress

        return (
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}", markup=False),
            progress.TimeElapsedColumn(),
        )

    def say(self, text: str) -> None:
        """Show one line, unless quiet."""
        if not self._quiet:
            self._print(text)

    def _say_now_and_then(self, text: str) -> None:
        if time.monotonic() - self._told > _EVERY:
            self._told = time.monotonic()
            self.say(text)

    def _print(self, text: str) -> None:
        if self._bars is not None:
            self._bars.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
        else:
            echo(text, err=True)

    def _move(self, task: Any, **changes: Any) -> None:
        """Change a bar, and show its rate as it is now."""
        assert self._bars is not None
        speed = self._bars.tasks[task].speed
        rate = "" if not speed else f"{speed:.1f}/s" if speed >= 1 else f"{60 * speed:.1f}/min"
        self._bars.update(task, rate=rate, **changes)


class Console(Bars):
    """A :class:`~cellseg_core.reporting.Reporter`: bars of images and of the parts of one."""

    def warn(self, text: str) -> None:
        """Show a warning or a failure."""
        self._print(text if text.startswith("FAILED") else f"Warning: {text}")

    def images(self, done: int, total: int) -> None:
        """Move the bar of images."""
        if self._bars is not None:
            self._advance("images", "images", done, total)
        elif done and total > 1:
            took = time.monotonic() - self._began
            left = took / done * (total - done)
            self.say(f"{done} of {total} images, {took:.0f} s, about {left:.0f} s left")

    def step(self, image: str, step: str, done: int, total: int) -> None:
        """Move the bar of the current image."""
        # Short enough that the bar, the rate and the time left fit beside it.
        image = printable(image)
        shown = image if len(image) <= 28 else f"{image[:13]}...{image[-12:]}"
        self._advance("step", f"{shown}: {_WORDS.get(step, step)}", done, total)

    def _advance(self, key: str, text: str, done: int, total: int) -> None:
        if self._bars is None:
            return
        task = self._tasks.get(key)
        if task is None or self._bars.tasks[task].description != text:
            if task is not None:
                self._bars.update(task, visible=False)
            task = self._tasks[key] = self._bars.add_task(text, total=total, rate="")
        self._move(task, completed=done, total=total)
