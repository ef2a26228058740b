"""Runs a compensator of either kind, checks what it returns, and tells how much signal it moved."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import CellsegError, ConfigurationError, SegmentationError
from cellseg_core.image import Image
from cellseg_core.label_image import LazyLabels
from cellseg_core.protocols import Compensation, Compensator, ImageCompensator, Labels

__all__ = ["moved", "run_compensator"]


def run_compensator(
    compensator: Compensator | ImageCompensator,
    image: Image,
    labels: Labels | LazyLabels,
    means: NDArray[np.float64],
) -> Compensation:
    """Return what a compensator makes of the means, which are not changed.

    Parameters
    ----------
    compensator
        It is shown the pixels if it asks for them by the method ``compensate_image``.
    image, labels
        What the means were measured from; the ids of ``labels`` (Y, X) are 1..N.
    means
        (N, K) float64: the mean of channel ``k`` over cell ``i + 1``; NaN where there is none.

    Raises
    ------
    ConfigurationError
        If it is not a compensator.
    SegmentationError
        If it fails, or breaks a rule: the result has the same shape, is not negative, and is NaN
        where the mean was (it may be where the mean was infinite) and nowhere else.

    >>> class Halve:
    ...     def compensate(self, labels, means):
    ...         return means / 2
    >>> image, labels = Image(np.array([[[8, 8, 3]]])), np.array([[1, 1, 0]], np.int32)
    >>> run_compensator(Halve(), image, labels, np.array([[8.0]])).means.tolist()
    [[4.0]]
    """
    name = type(compensator).__name__
    try:
        if isinstance(compensator, ImageCompensator):
            made = compensator.compensate_image(image, labels, means)
        elif isinstance(compensator, Compensator):
            made = compensator.compensate(labels, means)
        else:
            raise ConfigurationError(
                f"{compensator!r} is not a compensator: it has neither a method compensate nor "
                "compensate_image. See cellseg_core.protocols."
            )
    except CellsegError:
        raise
    except Exception as error:
        raise SegmentationError(
            f"{image.name}: {name} failed ({type(error).__name__}: {error})."
        ) from error
    facts = made.facts if isinstance(made, Compensation) else {}
    after = np.asarray(made.means if isinstance(made, Compensation) else made)
    broke = _broken_rule(means, after)
    if broke:
        raise SegmentationError(f"{image.name}: {name} broke a rule: {broke}.")
    return Compensation(after.astype(np.float64, copy=False), facts)


def _broken_rule(before: NDArray[np.float64], after: NDArray[Any]) -> str:
    if after.shape != before.shape:
        return f"means must keep their shape {before.shape}; got {after.shape}"
    if after.dtype.kind not in "buif":
        return f"means must be numbers; got {after.dtype}"
    missing = np.isnan(before)
    nan = np.isnan(after)
    if (missing & ~nan).any():
        return "a cell without a mean (NaN) must stay without"
    odd = ~np.isfinite(after) & np.isfinite(before)
    if odd.any():
        return f"{odd.sum()} means became NaN or infinite"
    if np.min(after, initial=0, where=~nan) < 0:
        return f"means must not be negative; the lowest is {np.nanmin(after)}"
    return ""


def moved(
    before: NDArray[np.float64], after: NDArray[np.float64], areas: NDArray[np.integer[Any]]
) -> list[dict[str, float]]:
    """Return how much signal a compensation moved, for each channel.

    Parameters
    ----------
    before, after
        Means (N, K); cells in which one of them is not finite are left out.
    areas
        (N,) px.

    Returns
    -------
    list of dict
        Signal is area times mean. ``removed`` and ``added``: what cells lost and gained, as
        fractions of the signal of all cells before; ``net``: the difference ``added - removed``,
        0 where the total is conserved; ``emptied``: the fraction of all cells that had
        signal and have none. All 0 where there was no signal.

    >>> moved(np.array([[10.0], [5.0]]), np.array([[12.0], [0.0]]), np.array([4, 2]))
    [{'removed': 0.2, 'added': 0.16, 'net': -0.04, 'emptied': 0.5}]
    """
    summary = []
    for one, other in zip(before.T, after.T, strict=True):
        cells = np.isfinite(one) & np.isfinite(other)
        total = float((np.abs(one) * areas).sum(where=cells)) or 1.0
        change = (other - one) * areas
        removed = float(-change.sum(where=cells & (change < 0))) / total
        added = float(change.sum(where=cells & (change > 0))) / total
        emptied = int((cells & (one > 0) & (other == 0)).sum()) / max(int(cells.sum()), 1)
        shares = {"removed": removed, "added": added, "net": added - removed, "emptied": emptied}
        # More digits would suggest that they mean something.
        summary.append({name: round(share, 6) + 0.0 for name, share in shares.items()})
    return summary
