"""Compensation from the light that is seen on the two sides of each border between cells."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.contacts import Contacts, count_contacts
from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.image import Image
from cellseg_core.label_image import LazyLabels, check_labels, read_labels
from cellseg_core.normalize import row_bands
from cellseg_core.protocols import Compensation, Labels
from cellseg_postprocess.compensation import as_means

__all__ = ["BoundaryCompensator", "compensate_boundary"]

_BAND_PIXELS = 2**20
_SUMS = 2**25
"""Rims times channels that are summed up in one pass over the image (256 MB)."""


def _check_width(width: int) -> None:
    if not (isinstance(width, Integral) and 1 <= width <= 100):
        raise ConfigurationError(
            f"the width of a rim is a whole number of px from 1 to 100; got {width!r}"
        )


def compensate_boundary(
    image: Image,
    labels: LazyLabels | NDArray[np.integer[Any]],
    means: NDArray[np.floating[Any]],
    *,
    width: int = 3,
) -> NDArray[np.float64]:
    """Return the means (N, K) after light beside borders was given back to where it came from.

    The idea is that of REDSEA (Bai et al., Frontiers in Immunology 12:652631, 2021): what bled
    over lies beside the border, so the pixels there tell how much it was. This is a model of our
    own. Of the light beside a border between two cells, up to ``width`` px from it, a third is
    taken to have crossed it, each way. Then, with ``a`` and ``b`` for the light seen on the
    brighter and on the darker side, ``2 a - b`` and ``2 b - a`` came from there: the darker cell
    gives ``a - b`` back to the brighter one, but at most all that it shows beside that border. So
    the total is conserved and no cell becomes negative.

    The mean way across of light that a Gaussian scatters is sigma / sqrt(2 pi) px: a third of the
    rim has crossed where sigma is 0.84 times ``width``.

    Parameters
    ----------
    image
        What the means were measured from. It is read in bands of rows.
    labels
        Integers (Y, X): 0 is background; the cells are 1..N. A pixel is beside the border with
        the cell that is nearest along its row or column; where several are equally near, in equal
        parts. Where background is nearest it is beside none.
    means
        (N, K): column ``k`` is channel ``k`` of the image. Negative ones are taken for 0. A cell
        that has no finite mean in a channel takes no part in it, and is NaN in the result.
    width
        In px, from 1 to 100.

    Raises
    ------
    ConfigurationError
        If the width is out of range.
    ImageError
        If image, labels and means do not fit each other, or
        :func:`~cellseg_core.contacts.count_contacts` cannot take the labels.

    >>> image = Image(np.array([[[9, 9, 9, 9, 3, 1, 0]]]))
    >>> labels = np.array([[1, 1, 1, 1, 2, 2, 2]])
    >>> means = np.array([[9.0], [4 / 3]])
    >>> compensate_boundary(image, labels, means, width=2).tolist()
    [[10.0], [0.0]]
    """
    _check_width(width)
    contacts = count_contacts(labels)
    values = as_means(means, contacts)
    checked = check_labels(labels)
    shape = int(checked.shape[0]), int(checked.shape[1])
    if shape != image.shape or values.shape[1] != len(image.channels):
        raise ImageError(
            f"{image.name}: the label image has the size {shape} and the means {values.shape[1]} "
            f"channels; the image has the size {image.shape} and {len(image.channels)} channels. "
            "They must be the same."
        )
    areas = contacts.areas.astype(np.float64)
    result = np.empty(values.shape)
    for channels, light in _rim_light(image, checked, contacts, width):
        for channel, (one, other) in zip(channels, light, strict=True):
            result[:, channel] = _give_back(values[:, channel], areas, contacts, one, other)
    return result


def _rim_light(
    image: Image, labels: LazyLabels, contacts: Contacts, width: int
) -> Iterator[tuple[range, NDArray[np.float64]]]:
    """Yield channels and the light (channel, side, pair) beside their borders.

    As many channels are summed in one pass as fit into memory.
    """
    from cellseg_postprocess.boundary_kernels import add_light, find_rims

    height, columns = image.shape
    pairs = len(contacts)
    # Where the pairs of each smaller id begin.
    starts = np.searchsorted(contacts.first, np.arange(contacts.areas.size + 2)).astype(np.int64)
    at_once = max(1, _SUMS // max(1, 2 * pairs))
    for begin in range(0, len(image.channels), at_once):
        channels = range(begin, min(begin + at_once, len(image.channels)))
        light = np.zeros((len(channels), 2 * pairs))
        for rows in row_bands(image.shape, _BAND_PIXELS) if pairs else ():
            top, bottom = max(rows.start - width, 0), min(rows.stop + width, height)
            room = 4 * (rows.stop - rows.start) * columns
            pixels, rims = np.empty(room, np.int32), np.empty(room, np.int32)
            parts = np.empty(room, np.float32)
            found = find_rims(
                read_labels(labels, slice(top, bottom)),
                rows.start - top,
                rows.stop - top,
                width,
                starts,
                contacts.second,
                pixels,
                rims,
                parts,
            )
            for channel, sums in zip(channels, light, strict=True):
                band = image.read(channel, rows).astype(np.float64).ravel()
                add_light(band, pixels[:found], rims[:found], parts[:found], sums)
        yield channels, light.reshape(len(channels), 2, pairs)


def _give_back(
    means: NDArray[np.float64],
    areas: NDArray[np.float64],
    contacts: Contacts,
    one: NDArray[np.float64],
    other: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return one channel's means, given the light on the two sides of each border."""
    count = means.size
    first, second = contacts.first - 1, contacts.second - 1
    known = np.isfinite(means)
    signal = np.where(known, np.maximum(means, 0) * areas, 0)
    # Pixels may be negative where a background was subtracted; light is not.
    one, other = np.maximum(one, 0), np.maximum(other, 0)
    back = np.minimum(np.abs(one - other), np.minimum(one, other))
    back[~(known[first] & known[second])] = 0
    giver, taker = np.where(one < other, (first, second), (second, first))
    # Beside all its borders a cell shows no more than it has, unless its pixels are partly
    # negative; then it gives less.
    given = np.bincount(giver, back, count)
    limit = np.divide(signal, given, out=np.ones(count), where=given > signal)
    back *= limit[giver]
    signal += np.bincount(taker, back, count) - np.bincount(giver, back, count)
    compensated = np.maximum(signal, 0) / np.maximum(areas, 1)
    # An id that does not occur has no light to move.
    compensated = np.where(areas > 0, compensated, np.maximum(means, 0))
    return np.where(known, compensated, np.nan)


def _width_in_range(_: object, __: object, value: int) -> None:
    _check_width(value)


@attrs.frozen
class BoundaryCompensator:
    """:func:`compensate_boundary` as a component.

    Parameters
    ----------
    width
        How far from a border, in px, light is compared.
    """

    width: int = attrs.field(default=3, validator=_width_in_range)

    def compensate_image(
        self, image: Image, labels: Labels | LazyLabels, means: NDArray[np.float64]
    ) -> Compensation:
        """Return the compensated means (N, K)."""
        compensated = compensate_boundary(image, labels, means, width=self.width)
        return Compensation(compensated, {"width_px": self.width})
