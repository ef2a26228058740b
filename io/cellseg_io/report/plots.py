"""Plots of a report as small SVG: cells are counted first, so that a million takes no more room."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_io.report.pictures import heat

__all__ = ["Axis", "Heatmap", "density_plot", "heatmap", "histogram"]

_WIDTH, _HEIGHT = 260, 120
_LEFT, _RIGHT, _TOP, _BOTTOM = 6, 6, 6, 30
_SIDE, _MARGIN = 240, 46
_BINS = 48
_TAIL = 99.7  # percentile at which an axis ends; what is beyond counts into the last bin


@attrs.frozen
class Axis:
    """An axis: ``low`` to ``high``, linear, or by the inverse hyperbolic sine above ``bend``.

    The latter is linear near 0 and logarithmic far from it, and has a place for 0.
    """

    low: float
    high: float
    bend: float | None = None

    @classmethod
    def linear(cls, values: NDArray[np.floating[Any]]) -> Axis:
        """Return an axis from 0 to nearly the largest value."""
        known = values[np.isfinite(values)]
        high = float(np.percentile(known, _TAIL)) if known.size else 1.0
        return cls(0.0, high if high > 0 else 1.0)

    @classmethod
    def of_signal(cls, values: NDArray[np.floating[Any]]) -> Axis:
        """Return an axis for intensities: linear if they span less than a factor of 20."""
        known = values[np.isfinite(values)]
        if not known.size:
            return cls(0.0, 1.0)
        low, middle, high = (float(v) for v in np.percentile(known, (100 - _TAIL, 50, _TAIL)))
        if high - low <= 1e-9 * abs(high):
            half = max(0.5, 0.01 * abs(low))
            return cls(low - half, low + half)
        if high <= 0 or (low >= 0 and high < 20 * max(low, 1e-12)):
            return cls(low, high)
        positive = known[known > 0]
        bend = middle if middle > 0 else float(np.median(positive)) if positive.size else 1.0
        return cls(min(0.0, low), high, bend / 3)

    def place(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return where values are, from 0 at the axis's start to 1 at its end, cut there."""
        start, end = (float(self._bent(np.float64(v))) for v in (self.low, self.high))
        places: NDArray[np.float64] = (self._bent(np.asarray(values, np.float64)) - start) / (
            end - start
        )
        return np.clip(places, 0, 1)

    def _bent(self, values: Any) -> Any:
        return values if self.bend is None else np.arcsinh(values / self.bend)

    def ticks(self) -> list[tuple[float, str]]:
        """Return places and texts of a few round values."""
        if self.bend is None:
            rough = (self.high - self.low) / 3
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
            values = [
                n * step
                for n in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
            ]
        else:
            top = math.floor(math.log10(self.high))
            bottom = math.ceil(math.log10(self.bend))
            values = [0.0, *(10.0**n for n in range(max(bottom, top - 3), top + 1))]
            values = [value for value in values if self.low <= value <= self.high]
            if len(values) < 3 and self.high / 10**top >= 2:
                values.append(math.floor(self.high / 10**top) * 10.0**top)
        places = self.place(np.array(values, np.float64))
        shown: list[tuple[float, str]] = []
        for place, value in zip(places.tolist(), values, strict=True):
            if not shown or place - shown[-1][0] > 0.13:
                shown.append((place, short(value)))
        return shown


def short(value: float) -> str:
    """Return a number as a tick shows it.

    >>> short(0.25), short(2000.0), short(150000.0), short(3e6)
    ('0.25', '2,000', '150k', '3M')
    """
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * (10 if name == "k" else 1):
            return f"{value / unit:.3g}{name}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def histogram(
    values: NDArray[np.floating[Any]],
    axis: Axis,
    label: str,
    before: NDArray[np.floating[Any]] | None = None,
) -> str:
    """Return how values are distributed, and as a dashed line how they were before.

    The label is text of ours, not of users: it is not escaped.
    """
    parts = [_axis_x(axis, label, _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM)]
    counts = [_counted(one, axis) for one in (values, before) if one is not None]
    most = max(1, *(int(one.max()) for one in counts))
    for one, style in zip(counts, ('class="bars"', 'class="line"'), strict=False):
        parts.insert(0 if style == 'class="bars"' else len(parts), _steps(one, most, style))
    return _svg(_WIDTH, _HEIGHT, parts)


def _counted(values: NDArray[np.floating[Any]], axis: Axis) -> NDArray[np.intp]:
    known = values[np.isfinite(values)]
    places = np.minimum((axis.place(known) * _BINS).astype(np.intp), _BINS - 1)
    return np.bincount(places, minlength=_BINS)


def _steps(counts: NDArray[np.intp], most: int, style: str) -> str:
    base, wide = _HEIGHT - _BOTTOM, (_WIDTH - _LEFT - _RIGHT) / _BINS
    tops = base - counts / most * (base - _TOP)
    path = "".join(
        f"V{top:.1f}H{_LEFT + wide * (n + 1):.1f}" for n, top in enumerate(tops.tolist())
    )
    return f'<path {style} d="M{_LEFT} {base}{path}V{base}"/>'


def _axis_x(axis: Axis, label: str, left: float, right: float, base: float) -> str:
    ticks = "".join(
        f'<path d="M{x:.1f} {base}v4"/><text{_kept_in(place)} x="{x:.1f}" y="{base + 14}">{text}'
        "</text>"
        for place, text in axis.ticks()
        for x in [left + place * (right - left)]
    )
    return (
        f'<g class="axis"><path d="M{left} {base}H{right}"/>{ticks}'
        f'<text class="label" x="{(left + right) / 2:.0f}" y="{base + 27}">{label}</text></g>'
    )


def _kept_in(place: float) -> str:
    """Return how the text of a tick is set so that it does not stick out."""
    return ' class="end"' if place > 0.93 else ' class="start"' if place < 0.03 else ""


def density_plot(
    x: NDArray[np.floating[Any]],
    y: NDArray[np.floating[Any]],
    axes: tuple[Axis, Axis],
    labels: tuple[str, str],
    cuts: tuple[float, float] | None = None,
) -> str:
    """Return how many cells have which two values, darker for few and brighter for many.

    ``cuts`` are values at which lines are drawn. Labels are escaped text.
    """
    known = np.isfinite(x) & np.isfinite(y)
    across, up = (
        np.minimum((axis.place(values[known]) * _BINS).astype(np.intp), _BINS - 1)
        for axis, values in zip(axes, (x, y), strict=True)
    )
    counts = np.bincount(up * _BINS + across, minlength=_BINS**2).reshape(_BINS, _BINS)[::-1]
    shown = np.where(counts > 0, np.log1p(counts), np.nan)
    picture = heat(shown, 0, float(np.log1p(counts.max())))
    left, right, base, top = _MARGIN, _SIDE - 6, _SIDE - 34, 6
    ups = "".join(
        f'<path d="M{left} {y_:.1f}h-4"/><text class="end" x="{left - 6}" y="{y_ + 3:.1f}">{text}'
        "</text>"
        for place, text in axes[1].ticks()
        for y_ in [base - place * (base - top)]
    )
    lines = ""
    if cuts is not None:
        cut_x, cut_y = (
            float(axis.place(np.array([cut]))[0]) for axis, cut in zip(axes, cuts, strict=True)
        )
        lines = (
            f'<path class="cut" d="M{left + cut_x * (right - left):.1f} {top}V{base}'
            f'M{left} {base - cut_y * (base - top):.1f}H{right}"/>'
        )
    return _svg(
        _SIDE,
        _SIDE,
        [
            (
                f'<image x="{left}" y="{top}" width="{right - left}" height="{base - top}" '
                f'preserveAspectRatio="none" href="{picture}"/>'
            ),
            lines,
            _axis_x(axes[0], labels[0], left, right, base),
            (
                f'<g class="axis"><path d="M{left} {top}V{base}"/>{ups}<text class="label" '
                f'transform="translate(11 {(base + top) / 2:.0f}) rotate(-90)">{labels[1]}</text>'
                "</g>"
            ),
        ],
    )


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'aria-hidden="true">{"".join(parts)}</svg>'
    )


@attrs.frozen
class Heatmap:
    """A map of the image: a picture, its size in bins, and what its darkest and brightest mean."""

    uri: str
    width: int
    height: int
    low: str
    high: str


def heatmap(values: NDArray[np.floating[Any]], high: float | None = None) -> Heatmap:
    """Return a map of values (Y, X), from 0 (or the lowest, below 0) to nearly the highest.

    NaN is where there is nothing to show.
    """
    known = values[np.isfinite(values)]
    if high is None:
        high = float(np.percentile(known, 99)) if known.size else 1.0
    low = min(0.0, float(known.min())) if known.size else 0.0
    if known.size and low == 0 and high > 0 and float(known.min()) > 0.5 * high:
        low = float(known.min())
    height, width = values.shape
    return Heatmap(heat(values, low, high), width, height, short(low), short(high))
