"""Pairs of markers before and after compensation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.pages.tables import share
from cellseg_io.report.plots import Axis, density_plot

if TYPE_CHECKING:
    from cellseg_core.result import Result
    from cellseg_core.table import CellTable

__all__ = ["Pair", "choose_pairs", "shown_pairs", "threshold"]

_FEWEST = 10  # double positive cells of a pair that is chosen
_CHOSEN = 3
_BINS = 256


@attrs.frozen
class Pair:
    """Two channels by number, and the values from which on a cell counts as positive."""

    first: int
    second: int
    cuts: tuple[float, float]

    def double(self, values: NDArray[np.float64]) -> int:
        """Return how many cells are positive for both; ``values`` is (N, K)."""
        one, other = values[:, self.first], values[:, self.second]
        return int(np.count_nonzero((one > self.cuts[0]) & (other > self.cuts[1])))


def choose_pairs(
    table: CellTable, asked: Sequence[tuple[int, int]], left_alone: Sequence[int] = ()
) -> list[Pair]:
    """Return the pairs asked for, or else those that lost most double positive cells.

    A lost cell counts by the share of its pair's double positive cells that were lost.
    ``left_alone`` are channels that are never chosen, such as nuclear stains.
    """
    before = table.uncompensated
    if before is None or not len(table):
        return []
    cuts = [threshold(column) for column in before.T]
    if asked:
        return [Pair(one, other, (cuts[one], cuts[other])) for one, other in asked]
    first, second = (
        np.where(np.isfinite(values), values, 0) > np.array(cuts)
        for values in (before, table.intensities)
    )
    both, still = (_together(positive) for positive in (first, second))
    lost = np.clip(both - still, 0, None)
    weight = np.triu(lost**2 / np.maximum(both, 1), 1)
    weight[both < _FEWEST] = 0
    for number in left_alone:
        weight[number], weight[:, number] = 0, 0
    order = np.argsort(-weight, axis=None, kind="stable")[:_CHOSEN]
    places = [divmod(int(place), len(cuts)) for place in order if weight.flat[place] > 0]
    return [Pair(one, other, (cuts[one], cuts[other])) for one, other in places]


def _together(positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how many cells are positive for each two of K markers, (K, K)."""
    numbers = positive.astype(np.float32)
    counts: NDArray[np.float64] = (numbers.T @ numbers).astype(np.float64)
    return counts


def threshold(values: NDArray[np.floating[Any]]) -> float:
    """Return the value that parts dim from bright cells best (Otsu, on the inverse sinh).

    >>> 10 < threshold(np.array([9.0, 10.0, 10.0, 11.0, 400.0, 500.0])) < 400
    True
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0
    bend = max(float(np.median(known)), 1e-9)
    bent = np.arcsinh(known / bend)
    counts, edges = np.histogram(bent, _BINS)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1]
    above = known.size - below
    sums = np.cumsum(counts * middles)
    low, high = sums[:-1] / np.maximum(below, 1), (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (high - low) ** 2
    # Of an empty valley the middle.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(np.sinh((edges[1 + best[0]] + edges[1 + best[-1]]) / 2) * bend)


def shown_pairs(result: Result, asked: Sequence[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """Yield pairs of channels before and after compensation."""
    table = result.table
    before = table.uncompensated
    if before is None:
        return
    untouched = [
        *result.scaled.nuclear,
        *(
            table.channels.index(name)
            for name in (result.facts.get("compensation") or {}).get("left_alone", ())
        ),
    ]
    for pair in choose_pairs(table, asked, untouched):
        yield _shown_pair(result, before, pair)


def _shown_pair(result: Result, before: NDArray[np.float64], pair: Pair) -> dict[str, Any]:
    from markupsafe import escape

    table = result.table
    chosen = (pair.first, pair.second)
    axes = tuple(
        Axis.of_signal(np.concatenate([before[:, n], table.intensities[:, n]])) for n in chosen
    )
    names = tuple(table.channels[n] for n in chosen)
    labels = tuple(str(escape(name if len(name) <= 28 else f"{name[:27]}\u2026")) for name in names)
    shown = []
    for title, values in (("Before", before), ("After", table.intensities)):
        double = pair.double(values)
        shown.append(
            {
                "title": title,
                "said": f"{double:,} double positive ({share(double, len(table))})",
                "plot": density_plot(
                    values[:, pair.first],
                    values[:, pair.second],
                    (axes[0], axes[1]),
                    (labels[0], labels[1]),
                    pair.cuts,
                ),
            }
        )
    return {"names": names, "plots": shown}
