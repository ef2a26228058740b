"""Which cells are in a gate: their values, and thresholds that all methods share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.channels import find_channel
from cellseg_core.comparing.gates import Gate, Gates
from cellseg_core.errors import ChannelError, ConfigurationError
from cellseg_core.table import CellTable

__all__ = ["MarkerValues", "Thresholds", "count_gate", "count_rows", "members"]

_BINS = 256


@attrs.frozen(eq=False, kw_only=True)
class MarkerValues:
    """What gating needs of one method's cells in one image: a few columns of the table.

    Attributes
    ----------
    image
        Name of the image.
    centroids
        (N, 2) float64: row and column in px.
    columns
        The number of the channel that each marker means; an image without it has no entry.
    before
        (N,) float64 of each marker: the mean over the cell before compensation.
    after
        The same after compensation; None where compensation is off.
    """

    image: str
    centroids: NDArray[np.float64]
    columns: Mapping[str, int]
    before: Mapping[str, NDArray[np.float64]]
    after: Mapping[str, NDArray[np.float64]] | None = None

    @classmethod
    def of(cls, table: CellTable, markers: Iterable[str]) -> Self:
        """Return the values of some markers; those that the image has not are left out."""
        columns = {}
        for marker in dict.fromkeys(markers):
            try:
                columns[marker] = find_channel(marker, table.channels)
            except ChannelError:
                # The user was told before the runs: see Findings.lacking.
                continue
        first = table.intensities if table.uncompensated is None else table.uncompensated
        return cls(
            image=table.image,
            centroids=table.centroids,
            columns=columns,
            before={name: first[:, column].copy() for name, column in columns.items()},
            after=None
            if table.uncompensated is None
            else {name: table.intensities[:, column].copy() for name, column in columns.items()},
        )

    def __len__(self) -> int:
        return len(self.centroids)

    @property
    def final(self) -> Mapping[str, NDArray[np.float64]]:
        """Return the values that a user of the table sees: compensated where that is on."""
        return self.before if self.after is None else self.after


@attrs.frozen(kw_only=True)
class Thresholds:
    """The threshold of each marker, one for all methods and images; None where it is not known.

    ``sources`` says of each where it comes from: ``"given"``, ``"otsu"`` or ``"no values"``.
    """

    values: Mapping[str, float | None]
    sources: Mapping[str, str]

    @classmethod
    def of(
        cls,
        markers: Iterable[str],
        cells: Sequence[MarkerValues],
        given: Mapping[str, float | None] | None = None,
    ) -> Self:
        """Return thresholds for markers, from the cells of all methods in all images together.

        Each is the number given, or else Otsu's threshold of the arcsinh of the values of all
        cells before compensation (256 bins; NaN left out), so that neither a method nor
        compensation moves it. Where all values are equal it is that value: no cell is positive.

        Raises
        ------
        ConfigurationError
            If two names of one channel are given different thresholds.

        >>> cells = [MarkerValues(image="a", centroids=np.zeros((4, 2)), columns={"CD3": 0},
        ...                       before={"CD3": np.array([1.0, 2.0, 90.0, 100.0])})]
        >>> bool(2 <= Thresholds.of(["CD3"], cells).values["CD3"] < 90)
        True
        """
        values: dict[str, float | None] = {}
        sources = {}
        for marker in dict.fromkeys(markers):
            numbers = {
                name: number
                for name, number in (given or {}).items()
                if number is not None and _same(name, marker, cells)
            }
            if len(set(numbers.values())) > 1:
                raise ConfigurationError(
                    f"{' and '.join(map(repr, numbers))} are one channel, with several thresholds: "
                    f"{', '.join(f'{number:g}' for number in numbers.values())}. Give one."
                )
            if numbers:
                values[marker], sources[marker] = next(iter(numbers.values())), "given"
                continue
            found = [one.before[marker] for one in cells if marker in one.before]
            values[marker] = _otsu(np.concatenate([np.empty(0), *found]))
            sources[marker] = "no values" if values[marker] is None else "otsu"
        return cls(values=values, sources=sources)

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return the threshold and its source by marker, as plain JSON values."""
        return {
            marker: {"threshold": value, "source": self.sources[marker]}
            for marker, value in self.values.items()
        }

    def calls(
        self, values: Mapping[str, NDArray[np.float64]], marker: str
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which cells are positive and which negative; one without a value is neither."""
        threshold = self.values[marker]
        level = math.nan if threshold is None else threshold
        return values[marker] > level, values[marker] <= level


def _same(one: str, other: str, cells: Sequence[MarkerValues]) -> bool:
    """Return whether two names mean one channel in some image."""
    return one == other or any(
        one in c.columns and other in c.columns and c.columns[one] == c.columns[other]
        for c in cells
    )


def _otsu(values: NDArray[np.float64]) -> float | None:
    from skimage.filters import threshold_otsu

    values = values[np.isfinite(values)]
    if not values.size:
        return None
    stretched = np.arcsinh(values)
    if np.ptp(stretched) <= _BINS * np.spacing(np.abs(stretched).max()):
        return float(values.max())  # so near each other that numbers do not tell bins apart
    counts, edges = np.histogram(stretched, _BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    # It is the centre of the last bin of the negative cells; all of that bin is negative.
    last = int(np.searchsorted(centres, threshold_otsu(hist=(counts, centres))))
    return float(np.sinh(edges[last + 1]))


def members(gate: Gate, values: MarkerValues, thresholds: Thresholds) -> NDArray[np.bool_] | None:
    """Return (N,) bool: which cells are in a gate; None if the image lacks a marker of it.

    Values are compensated where compensation is on. A cell without a value (NaN) of a
    marker is neither positive nor negative for it.
    """
    if any(marker not in values.columns for marker in gate.markers):
        return None
    inside = np.ones(len(values), bool)
    for clause in gate.clauses:
        either = np.zeros(len(values), bool)
        for term in clause:
            positive, negative = thresholds.calls(values.final, term.marker)
            either |= positive if term.positive else negative
        inside &= either
    return inside


def count_gate(gate: Gate, values: MarkerValues, thresholds: Thresholds) -> int | None:
    """Return how many cells of one method in one image are in a gate; None as in ``members``."""
    inside = members(gate, values, thresholds)
    return None if inside is None else int(inside.sum())


def count_rows(
    gates: Gates, cells: Mapping[str, Mapping[str, MarkerValues]], thresholds: Thresholds
) -> list[dict[str, Any]]:
    """Return a row of plain JSON values for each method, image and gate.

    ``cells`` is by method and by image. ``count`` is None where the image lacks a marker, and
    ``share``, of the method's cells in the image, also where there is no cell.
    """
    rows = []
    for method, images in cells.items():
        for image, values in images.items():
            for gate in gates.gates:
                count = count_gate(gate, values, thresholds)
                share = None if count is None or not len(values) else count / len(values)
                rows.append(
                    {
                        "method": method,
                        "image": image,
                        "gate": gate.name,
                        "count": count,
                        "share": share,
                        "cells": len(values),
                    }
                )
    return rows
