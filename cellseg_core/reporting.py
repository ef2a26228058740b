"""What a run tells its user: while it goes on, and when it is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import attrs

from cellseg_core.address import Location
from cellseg_core.normalize import Brightness

__all__ = ["Outcome", "Reporter", "RunLog", "Silent", "Summary", "failure"]


class Reporter(Protocol):
    """Tells the user how far a run is."""

    def say(self, text: str) -> None:
        """Show one line that is worth knowing."""
        ...

    def warn(self, text: str) -> None:
        """Show a warning or a failure."""
        ...

    def images(self, done: int, total: int) -> None:
        """Show how many images are done."""
        ...

    def step(self, image: str, step: str, done: int, total: int) -> None:
        """Show how far one step of one image is."""
        ...


class Silent:
    """A :class:`Reporter` that shows nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def warn(self, text: str) -> None:
        """Show nothing."""

    def images(self, done: int, total: int) -> None:
        """Show nothing."""

    def step(self, image: str, step: str, done: int, total: int) -> None:
        """Show nothing."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of one input.

    Attributes
    ----------
    name
        The image's name, and its folder in OUT; of an input that could not be opened, its path.
    source
        Path of the input.
    state
        ``done``, ``resumed`` (done by an earlier run) or ``failed``.
    cells
        How many cells were found.
    error
        Why it failed.
    warnings
        What the user should look at.
    facts
        What the pipeline decided, sizes and timings.
    """

    name: str
    source: str
    state: str
    cells: int = 0
    error: str | None = None
    warnings: tuple[str, ...] = ()
    facts: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Summary:
    """What became of a run.

    ``brightness`` is None where no image could be read, or each has a scale of its own.
    """

    out: Path
    outcomes: tuple[Outcome, ...]
    brightness: Brightness | None
    seconds: float

    @property
    def failed(self) -> list[Outcome]:
        """Return the inputs that failed."""
        return [outcome for outcome in self.outcomes if outcome.state == "failed"]

    @property
    def cells(self) -> int:
        """Return the number of cells in all images."""
        return sum(outcome.cells for outcome in self.outcomes)


def failure(path: Location, reason: object) -> str:
    """Return the line that names a failed input once, and why it failed.

    >>> failure(Path("a.tif"), "a.tif is damaged"), failure(Path("a.tif"), "it is black")
    ('FAILED a.tif is damaged', 'FAILED a.tif: it is black')
    """
    named = str(reason).startswith(str(path))
    return f"FAILED {reason}" if named else f"FAILED {path}: {reason}"


@attrs.frozen(eq=False)
class RunLog:
    """What a run has told so far: to its user, and of each input that is over."""

    reporter: Reporter
    outcomes: list[Outcome] = attrs.field(factory=list)

    def fail(self, name: str, path: Location, error: Exception) -> None:
        """Record and show that an input failed."""
        reason = str(error).removeprefix(f"{name}: ")
        self.reporter.warn(failure(path, reason))
        self.outcomes.append(Outcome(name=name, source=str(path), state="failed", error=reason))
