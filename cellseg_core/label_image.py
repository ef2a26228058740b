"""Label images as users give them: any integer type, in memory or lazy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_core.normalize import row_bands

__all__ = ["LazyLabels", "bands_of", "check_labels", "read_labels"]

_MOST_AT_ONCE = 2**26  # px


class LazyLabels(Protocol):
    """Anything that looks like an integer array (Y, X) and gives numpy arrays for windows.

    numpy, ``numpy.memmap``, zarr, h5py and dask arrays qualify. 0 is background, every other
    value is the id of one object. They are only ever indexed as ``labels[y0:y1, x0:x1]``.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Return ``(Y, X)``."""
        ...

    @property
    def dtype(self) -> Any:
        """Return the data type."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """Return the labels of a window."""
        ...


def check_labels(labels: Any, name: str = "") -> LazyLabels:
    """Return ``labels`` as something with a shape and a type, having checked both.

    ``name`` is the image's, for the message.

    Raises
    ------
    ImageError
        If they are not integers with the axes (Y, X).
    """
    if not (hasattr(labels, "shape") and hasattr(labels, "dtype")):
        labels = np.asarray(labels)
    about = f"{name}: " if name else ""
    if len(labels.shape) != 2:
        raise ImageError(
            f"{about}a label image has the axes (Y, X); this one has the shape "
            f"{tuple(labels.shape)}. Choose one plane."
        )
    kind = np.dtype(labels.dtype).kind
    if kind == "b":
        raise ImageError(
            f"{about}a label image holds an id for each object; this one holds True and False. "
            "Number its objects first, for example with skimage.measure.label."
        )
    if kind not in "iu":
        raise ImageError(
            f"{about}a label image holds integers; this one holds {labels.dtype}. If its "
            "values are whole numbers, convert it with labels.astype('int32')."
        )
    checked: LazyLabels = labels
    return checked


def bands_of(labels: LazyLabels) -> Iterator[slice]:
    """Yield slices of rows that cover a label image, each of some million px.

    Where it is stored in chunks, as ``labels.chunks`` tells (rows first), bands are whole rows of
    these, up to 2**26 px: no chunk is decoded twice.

    >>> list(bands_of(np.zeros((5, 4), np.int32)))
    [slice(0, 5, None)]
    """
    height, width = (int(length) for length in labels.shape)
    if not width:
        return
    band = next(row_bands((height, width)), slice(0, 1))
    step, stored = band.stop - band.start, (getattr(labels, "chunks", None) or (1,))[0]
    if isinstance(stored, int) and stored * width <= _MOST_AT_ONCE:
        step = max(step // stored, 1) * stored
    yield from row_bands((height, width), step * width)


def read_labels(
    labels: LazyLabels, rows: slice = slice(None), columns: slice = slice(None), name: str = ""
) -> NDArray[np.signedinteger[Any]]:
    """Return a window of checked labels as a contiguous array: int32, or int64 for ids beyond that.

    It may share memory with ``labels``.

    Raises
    ------
    ImageError
        If a value is negative, or beyond 64 bits with a sign.
    """
    window = np.ascontiguousarray(labels[rows, columns])
    lowest = int(window.min(initial=0))
    if lowest < 0:
        about = f"{name}: " if name else ""
        raise ImageError(
            f"{about}the label image holds negative values (down to {lowest}); "
            "0 is background and each object has a positive value."
        )
    highest = int(window.max(initial=0)) if window.dtype.itemsize >= 4 else 0
    if highest > np.iinfo(np.int64).max:
        about = f"{name}: " if name else ""
        raise ImageError(
            f"{about}ids go up to 9.2e18; this label image has {highest}. Renumber it, for "
            "example with skimage.segmentation.relabel_sequential."
        )
    small = highest <= np.iinfo(np.int32).max
    kept: NDArray[np.signedinteger[Any]] = window.astype(
        np.int32 if small else np.int64, copy=False
    )
    return kept
