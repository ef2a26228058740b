"""Statistics of one channel over the pixels of each cell of a window."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.features import Statistic
from cellseg_core.regions import Runs

__all__ = ["as_kernel_pixels", "intensities"]


def as_kernel_pixels(window: NDArray[Any]) -> NDArray[Any]:
    """Return a window (Y, X) of pixels in a type that the compiled loops are made for.

    These are uint8, uint16, float32 and float64. float16 becomes float32 and every other type
    float64: exactly, but for 64-bit integers beyond 2**53 and floats longer than 64 bits.
    """
    kind, size = window.dtype.kind, window.dtype.itemsize
    if kind == "u" and size <= 2:
        wanted = np.dtype(f"u{size}")
    elif kind == "f" and size <= 4:
        wanted = np.dtype(np.float32)
    else:
        wanted = np.dtype(np.float64)
    pixels = np.ascontiguousarray(window.astype(wanted, copy=False)).view()
    # The compiled loops take arrays that cannot be written to: one type, whether the image can
    # be or not.
    pixels.flags.writeable = False
    return pixels


def intensities(
    pixels: NDArray[Any], runs: Runs, wanted: Iterable[Statistic]
) -> dict[Statistic, NDArray[Any]]:
    """Return each wanted statistic, (n,), of the n objects of ``runs``.

    Parameters
    ----------
    pixels
        A window (Y, X) as :func:`as_kernel_pixels` returns it.
    runs
        The objects in that window.
    wanted
        Statistics; their compartment is not looked at.

    Returns
    -------
    dict
        float64, but int64 for ``count``. NaN where an object has no finite pixel. All are of the
        finite pixels; sums are exact for 8 and 16-bit integers and in float64 for others.

    >>> runs = Runs(*map(np.array, ([0, 2], [0, 1], [0, 0], [2, 1], [3])))
    >>> pixels = as_kernel_pixels(np.array([[1, 3], [8, 0]], np.uint16))
    >>> found = intensities(pixels, runs, [Statistic("mean"), Statistic("median")])
    >>> [float(values[0]) for values in found.values()]
    [4.0, 3.0]
    """
    wanted = tuple(wanted)
    kinds = {statistic.kind for statistic in wanted}
    levels = sorted({level for statistic in wanted if (level := statistic.level) is not None})
    found: dict[str, NDArray[Any]] = {}
    if kinds & {"std", "min", "max"}:
        found = _moments(pixels, runs)
    elif kinds & {"count", "mean", "sum"}:
        found = _means(pixels, runs)
    if "sum" in kinds:
        found["sum"] = np.where(found["count"] > 0, found["sum"], np.nan)
    quantiles = _percentiles(pixels, runs, levels) if levels else {}
    return {
        statistic: found[statistic.kind] if statistic.level is None else quantiles[statistic.level]
        for statistic in wanted
    }


def _means(pixels: NDArray[Any], runs: Runs) -> dict[str, NDArray[Any]]:
    from cellseg_core.intensity_kernels import float_means, integer_means

    count = np.empty(runs.first.size - 1, np.int64)
    if pixels.dtype.kind == "u":
        total = np.empty(count.size, np.int64)
        integer_means(*_arguments(pixels, runs), count, total)
        return _sums(count, total)
    values = np.empty(count.size)
    float_means(*_arguments(pixels, runs), count, values)
    return _sums(count, values)


def _moments(pixels: NDArray[Any], runs: Runs) -> dict[str, NDArray[Any]]:
    from cellseg_core.intensity_kernels import float_moments, integer_moments

    count = np.empty(runs.first.size - 1, np.int64)
    squares, low, high = (np.full(count.size, np.nan) for _ in range(3))
    if pixels.dtype.kind == "u":
        total = np.empty(count.size, np.int64)
        integer_moments(*_arguments(pixels, runs), count, total, squares, low, high)
        found = _sums(count, total)
    else:
        values = np.empty(count.size)
        float_moments(*_arguments(pixels, runs), count, values, squares, low, high)
        found = _sums(count, values)
    with np.errstate(invalid="ignore", divide="ignore"):
        found["std"] = np.sqrt(squares / count)
    none = count == 0
    low[none] = high[none] = np.nan
    return {**found, "min": low, "max": high}


def _sums(
    count: NDArray[np.int64], total: NDArray[np.int64] | NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    with np.errstate(invalid="ignore"):
        return {"count": count, "sum": total, "mean": total / count}


def _percentiles(
    pixels: NDArray[Any], runs: Runs, levels: list[float]
) -> dict[float, NDArray[np.float64]]:
    from cellseg_core.percentile_kernels import percentiles

    largest = int(runs.areas.max(initial=1))
    out = np.empty((len(levels), runs.first.size - 1))
    percentiles(
        *_arguments(pixels, runs),
        np.array(levels),
        np.empty(largest, pixels.dtype),
        np.empty(largest, pixels.dtype),
        np.empty(largest, np.uint8),
        out,
    )
    return dict(zip(levels, out, strict=True))


_Ints = NDArray[np.int32]
_Arguments = tuple[NDArray[Any], int, NDArray[np.int64], _Ints, _Ints, _Ints]


def _arguments(pixels: NDArray[Any], runs: Runs) -> _Arguments:
    """Return what every compiled loop begins with."""
    width = pixels.shape[1]
    return pixels.reshape(-1), width, runs.first, runs.row, runs.start, runs.stop
