"""The curve of a training: ``log.csv``, a row for each step or epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from cellseg_core.store import atomic_write, output_error

__all__ = ["TrainingLog"]


class TrainingLog:
    """Writes the log; a context manager.

    Rows up to ``step`` that an earlier part of the same training wrote stay, later ones go: those
    steps will be done again.

    Parameters
    ----------
    path
        Of the file.
    columns
        Names of the figures in a row. The first is ``"step"``; ``"seconds"`` has two decimals.
    step
        Steps done before.
    """

    def __init__(self, path: Path, columns: Sequence[str], step: int = 0) -> None:
        self._path, self._columns, self._step = path, tuple(columns), step
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self._columns)
        if self._step and self._path.is_file():
            # No quotes are in it. The last row may have been cut off by a crash, or be garbage.
            old = self._path.read_text(encoding="utf-8", errors="replace")
            rows = [line.split(",") for line in old.splitlines()[1:]]
            whole = [row for row in rows if len(row) == len(self._columns) and row[0].isdecimal()]
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

    def write(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Add the row of a step; a figure that is not known stays empty."""
        assert self._file is not None
        row = [str(step), *(_short(name, figures.get(name)) for name in self._columns[1:])]
        try:
            csv.writer(self._file, lineterminator="\n").writerow(row)
        except OSError as error:
            raise output_error(self._path, error) from error


def _short(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if name == "seconds" else f"{value:.7g}"
