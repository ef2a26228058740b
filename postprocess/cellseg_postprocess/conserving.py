"""Compensation that gives light back to the neighbours it came from and conserves its total."""

from __future__ import annotations

import math
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.contacts import Contacts, count_contacts
from cellseg_core.errors import ConfigurationError
from cellseg_core.label_image import LazyLabels
from cellseg_core.overlapped import overlapped
from cellseg_core.protocols import Compensation, Labels
from cellseg_postprocess.compensation import as_means

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["ConservingCompensator", "compensate_conserving", "scatter_matrix"]

_ROUND = math.pi / 4
"""Length of a border for each of its contacts: pixel edges overstate oblique borders, by 4 / pi
on average over all directions (Crofton)."""

_CHANNELS = 4
"""Channels that each thread unmixes at a time; more need more memory and are no faster."""


def _check_spread(spread: float) -> None:
    if not (isinstance(spread, Real) and 0 <= spread <= 100):
        raise ConfigurationError(
            f"the spread of light is a number of px from 0 to 100; got {spread!r}"
        )


def _check_iterations(iterations: int) -> None:
    if not (isinstance(iterations, Integral) and 0 <= iterations <= 10_000):
        raise ConfigurationError(
            f"iterations are a whole number from 0 to 10,000; got {iterations!r}"
        )


def scatter_matrix(contacts: Contacts, spread: float) -> csr_array[np.float64]:
    """Return the sparse matrix H (N, N): ``H[i, j]`` is the part of cell j's light seen in cell i.

    Light that a lens scatters as a Gaussian of sigma ``spread`` moves across a straight border by
    ``w = spread / sqrt(2 pi)`` px on average: of a cell with even light and the area ``a``, a
    border of the length ``l`` lets the part ``w l / a`` through. So a cell loses
    ``1 - exp(-w sum(l) / a)`` of its light to the cells that it touches, in proportion to the
    border shared with each, and keeps the rest. The columns of H add up to 1: nothing is lost.

    Parameters
    ----------
    contacts
        Of the label image; a contact is a border of pi / 4 px, the average over all directions.
    spread
        In px.

    >>> contacts = count_contacts(np.array([[1, 1, 1, 2]]))
    >>> scatter_matrix(contacts, 1.0).toarray().round(2).tolist()
    [[0.9, 0.27], [0.1, 0.73]]
    """
    from scipy.sparse import diags_array

    touching = contacts.matrix()
    length: NDArray[np.float64] = np.asarray(touching.sum(axis=0))
    crossing = spread / math.sqrt(2 * math.pi) * _ROUND * length / np.maximum(contacts.areas, 1)
    lost: NDArray[np.float64] = -np.expm1(-crossing)
    shares: NDArray[np.float64] = lost / np.maximum(length, 1)
    kept: NDArray[np.float64] = 1 - lost
    across, within = (diags_array(part, dtype=np.float64) for part in (shares, kept))
    matrix: csr_array[np.float64] = (touching @ across + within).tocsr()
    return matrix


def compensate_conserving(
    labels: LazyLabels | NDArray[np.integer[Any]],
    means: NDArray[np.floating[Any]],
    *,
    spread: float = 1.5,
    iterations: int = 10,
) -> NDArray[np.float64]:
    """Return the means (N, K) that each cell had before light scattered between neighbours.

    The light of cell i is ``T_i = area_i * mean_i``; what is measured is ``H T`` with H from
    :func:`scatter_matrix`. It is undone by iterations of Richardson (1972) and Lucy (1974) from
    the measured light on: ``T <- T * H'(measured / (H T))``. Each keeps T from becoming negative
    and conserves its total; together they approach the T that is most likely where counts are
    Poisson distributed.

    Parameters
    ----------
    labels
        Integers (Y, X): 0 is background; the cells are 1..N.
    means
        (N, K). Negative ones are taken for 0. A channel in which a cell has no finite mean is
        solved without that cell, which is NaN in the result.
    spread
        Sigma in px of the Gaussian that scatters light sideways, from 0 to 100. Beyond what the
        optics do, it stands for borders that are drawn in the wrong place, and for the fact that
        the light of membranes starts at the border. The default was chosen on simulated tissue
        of nuclei of 12 px (``benchmarks/compensation.py``): there it never made means worse.
    iterations
        How many; few keep noise low.

    Raises
    ------
    ConfigurationError
        If an option is out of range.
    ImageError
        If there is not one row of means for each id 1..N of the label image, or
        :func:`~cellseg_core.contacts.count_contacts` cannot take the labels.

    >>> labels = np.array([[1, 1, 1, 1, 2, 2]])
    >>> compensate_conserving(labels, np.array([[10.0], [2.0]])).round(2).tolist()
    [[10.93], [0.15]]
    """
    _check_spread(spread)
    _check_iterations(iterations)
    contacts = count_contacts(labels)
    values = as_means(means, contacts)
    result = np.full(values.shape, np.nan)
    areas = contacts.areas[:, np.newaxis].astype(np.float64)
    known = np.isfinite(values)
    whole = known.all(axis=0)
    blocks: list[tuple[NDArray[np.bool_] | None, NDArray[np.intp]]] = [
        (None, np.flatnonzero(whole))
    ]
    # Channels that lack a mean somewhere are few, and each has contacts of its own.
    blocks += [(known[:, channel], np.array([channel])) for channel in np.flatnonzero(~whole)]
    for cells, channels in blocks:
        if not channels.size:
            continue
        scatter = scatter_matrix(_between(contacts, cells), spread)
        back = scatter.T.tocsr()
        unmix = partial(_unmixed, values, areas, cells, scatter, back, iterations)
        starts = range(0, channels.size, _CHANNELS)
        parts = [channels[start : start + _CHANNELS] for start in starts]
        for part, unmixed in zip(parts, overlapped(unmix, parts), strict=True):
            result[:, part] = unmixed
    # An id that does not occur has no light to move.
    absent = contacts.areas == 0
    result[absent] = np.maximum(values[absent], 0)
    result[~known] = np.nan
    return result


def _between(contacts: Contacts, cells: NDArray[np.bool_] | None) -> Contacts:
    """Return the contacts of some cells with each other; None means all."""
    if cells is None:
        return contacts
    kept = cells[contacts.first - 1] & cells[contacts.second - 1]
    return attrs.evolve(
        contacts,
        first=contacts.first[kept],
        second=contacts.second[kept],
        lengths=contacts.lengths[kept],
    )


def _unmixed(
    means: NDArray[np.float64],
    areas: NDArray[np.float64],
    cells: NDArray[np.bool_] | None,
    scatter: csr_array[np.float64],
    back: csr_array[np.float64],
    iterations: int,
    channels: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Return the unmixed means of some channels; ``cells`` are those that have any, None is all."""
    measured = np.maximum(means[:, channels], 0) * areas
    if cells is not None:
        measured[~cells] = 0
    light = measured.copy()
    for _ in range(iterations):
        expected = np.asarray(scatter @ light)
        # Where nothing is expected nothing was measured: a cell keeps part of its own light.
        ratio = np.divide(measured, expected, out=np.zeros_like(measured), where=expected > 0)
        light *= back @ ratio
    unmixed: NDArray[np.float64] = light / np.maximum(areas, 1)
    return unmixed


def _spread_in_range(_: object, __: object, value: float) -> None:
    _check_spread(value)


def _iterations_in_range(_: object, __: object, value: int) -> None:
    _check_iterations(value)


@attrs.frozen
class ConservingCompensator:
    """:func:`compensate_conserving` as a component.

    Parameters
    ----------
    spread
        Sigma in px of the Gaussian that scatters light sideways; less where pixels are large.
    iterations
        How many times the estimate is improved.
    """

    spread: float = attrs.field(default=1.5, validator=_spread_in_range)
    iterations: int = attrs.field(default=10, validator=_iterations_in_range)

    def compensate(self, labels: Labels | LazyLabels, means: NDArray[np.float64]) -> Compensation:
        """Return the compensated means (N, K)."""
        compensated = compensate_conserving(
            labels, means, spread=self.spread, iterations=self.iterations
        )
        return Compensation(compensated, {"spread_px": self.spread, "iterations": self.iterations})
