"""What a method costs: start-up, time and memory over several runs of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import attrs

from cellseg_core.comparing.trial import Trial

__all__ = ["Cost", "Spread"]


@attrs.frozen
class Spread:
    """A figure in several runs.

    >>> Spread.of([3.0, None, 1.0, 2.0])
    Spread(median=2.0, low=1.0, high=3.0, values=(3.0, 1.0, 2.0))
    """

    median: float
    low: float
    high: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Return the spread of those that are known, None if none is."""
        known = tuple(value for value in values if value is not None)
        return cls(median(known), min(known), max(known), known) if known else None


@attrs.frozen(kw_only=True)
class Cost:
    """What a method costs; None where it was not measured.

    Attributes
    ----------
    startup
        Seconds until a first small image is done: imports, loading, compilation.
    segment
        Seconds in the segmenter for each megapixel of the images, after that; not known where the
        start-up is not, since it would be in it.
    total
        Seconds of the whole run for each megapixel, with reading, measuring and writing; not known
        where images failed, which took their time too.
    peak
        Most memory in bytes.
    """

    startup: Spread | None
    segment: Spread | None
    total: Spread | None
    peak: Spread | None

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> Cost:
        """Return what some runs of one method cost; runs that failed do not count."""
        done = [trial for trial in trials if trial.failed is None and trial.megapixels]

        def each_megapixel(name: str, *, known: bool) -> Spread | None:
            values = ((getattr(trial, name), trial.megapixels) for trial in done)
            spent = [None if seconds is None else seconds / size for seconds, size in values]
            return Spread.of(spent) if known else None

        return cls(
            startup=Spread.of(trial.startup for trial in done),
            segment=each_megapixel("segment", known=all(trial.startup for trial in done)),
            total=each_megapixel("seconds", known=not any(trial.errors for trial in done)),
            peak=Spread.of(trial.peak for trial in done),
        )

    def facts(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return attrs.asdict(self)
