"""The curve of a training: ``log.csv``, a row for each step."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from cellseg_core.store import atomic_write, output_error

__all__ = ["LOSSES", "TrainingLog"]

LOSSES = (
    "loss",
    "proposal_class",
    "proposal_box",
    "dense",
    "class",
    "box",
    "mask",
    "quality",
    "mask_iou",
)
"""Figures of each step: the weighted sum of the losses, each of them, and the masks' IoU."""

_COLUMNS = ("step", *LOSSES, "learning_rate", "seconds", "val_mAP")


class TrainingLog:
    """Writes the log; a context manager.

    Rows up to ``step`` that an earlier part of the same training wrote stay, later ones go: those
    steps will be done again.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self._path, self._step = path, step
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        if self._step and self._path.is_file():
            with self._path.open(encoding="utf-8", newline="") as old:
                rows = list(csv.reader(old))[1:]
            # The last row may have been cut off by a crash.
            whole = [row for row in rows if len(row) == len(_COLUMNS) and row[0].isdigit()]
            writer.writerows(row for row in whole if int(row[0]) <= self._step)
        atomic_write(self._path, text.getvalue())
        try:
            self._file = self._path.open("a", encoding="utf-8", newline="", buffering=1)
        except OSError as error:
            raise output_error(self._path, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(
        self,
        step: int,
        losses: Mapping[str, float],
        rate: float,
        seconds: float,
        score: float | None = None,
    ) -> None:
        """Add the row of a step; ``score`` is the mAP of the validation images, if measured."""
        assert self._file is not None
        row: list[Any] = [step, *(_short(losses.get(name)) for name in LOSSES)]
        row += [_short(rate), f"{seconds:.2f}", _short(score)]
        csv.writer(self._file, lineterminator="\n").writerow(row)


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"
