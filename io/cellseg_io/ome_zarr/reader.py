"""Reads OME-Zarr images, of versions 0.1 to 0.5, from a folder or an address."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.address import Address, Location, as_location
from cellseg_core.errors import ImageError
from cellseg_core.image import Image
from cellseg_io.axes import Plan, Projection, as_axes, as_depth, as_plane, as_series, plan_axes
from cellseg_io.lazy import DECODED, LazyPlanes
from cellseg_io.limits import check_decoded
from cellseg_io.names import as_names, choose_series, name_channels, number_channels
from cellseg_io.ome_zarr.layout import StoredImage, documents, open_array, read_layout

__all__ = ["OmeZarrReader"]

_AT_A_TIME = 16  # requests to an address


@attrs.frozen
class OmeZarrReader:
    """Reads the images of an OME-Zarr; pixels are read chunk by chunk when they are asked for.

    Parameters
    ----------
    series
        Number of the image, from 1, in a folder of several. Default: all of them. The smaller
        levels of a pyramid and label images beside an image do not count.
    z, t
        Plane to use where there are several: a number from 1, or "max" for the maximum of all.
        ``t="all"`` takes time points as staining cycles.
    axes
        Letters for the stored axes, in order, where the metadata is wrong or missing: "CYX".
    names
        Channel names that overrule those of the metadata.

    Notes
    -----
    Channel names come from ``names``, else from the metadata (``omero``), else from a
    ``channelNames.txt`` beside the folder. At an address nothing beside the OME-Zarr is looked for.
    """

    series: int | None = attrs.field(default=None, converter=as_series)
    z: int | Projection | None = attrs.field(default=None, converter=as_depth)
    t: int | Projection | None = attrs.field(default=None, converter=as_plane)
    axes: str | None = attrs.field(default=None, converter=as_axes)
    names: tuple[str, ...] | None = attrs.field(
        default=None, converter=attrs.converters.optional(as_names)
    )

    def read(self, path: Location) -> Sequence[Image]:
        """Return the images of the folder, named by it and, of several, their own name.

        Raises
        ------
        ImageError
            If the folder cannot be read, or holds several planes and none was chosen.
        ChannelError
            If channel names and channels differ in number.
        """
        path = as_location(path)
        stored = read_layout(path)
        chosen = choose_series(self.series, [one.name for one in stored], path)
        return [self._image(path, stored[number], name) for number, name in chosen.items()]

    def _image(self, path: Location, stored: StoredImage, name: str) -> Image:
        plan = plan_axes(stored.axes, path.name, z=self.z, t=self.t, axes=self.axes)
        check_decoded(path / stored.array, stored.chunks, stored.dtype.itemsize)
        count, listed = len(plan.planes), stored.described.names * plan.repeats
        named = name_channels(path, count, self.names, listed) or number_channels(count)
        shape = (count, stored.axes.shape[plan.y], stored.axes.shape[plan.x])
        return Image(
            LazyPlanes(
                shape,
                stored.dtype.newbyteorder("="),
                ZarrPlanes(path, stored.array, plan),
                (stored.chunks[plan.y], stored.chunks[plan.x]),
                partial(_smaller, path, stored, plan),
            ),
            channels=named.names,
            pixel_size=stored.described.pixel_size,
            name=name,
            source=str(path),
            axes="; ".join(filter(None, [plan.sentence, named.note, stored.described.pixel_note])),
            files=_files(path, stored),
        )


class ZarrPlanes:
    """The channels of one image, as a :class:`~cellseg_io.lazy.PlaneSource`.

    Chunks are decoded whole, and once as long as they are in the cache: neighbouring windows
    share them, and so do channels where a chunk holds several.
    """

    def __init__(self, path: Location, array: str, plan: Plan) -> None:
        self.path, self.array, self.plan = path, array, plan
        self._opened: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return ZarrPlanes, (self.path.absolute(), self.array, self.plan)

    def window(self, channel: int, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Return a new array with rows ``y0:y1`` and columns ``x0:x1`` of one channel."""
        try:
            if self._opened is None:
                self._opened = open_array(self.path, self.array)
            first, *others = self.plan.planes[channel]
            window = self._plane(first, y0, y1, x0, x1)
            for index in others:
                np.maximum(window, self._plane(index, y0, y1, x0, x1), out=window)
        except (MemoryError, ImageError):
            raise
        except Exception as error:
            # Each codec fails in its own way.
            raise ImageError(
                f"{self.path / self.array}: rows {y0} to {y1}, columns {x0} to {x1} cannot be "
                f"decoded ({type(error).__name__}: {Address.hide(error)}). A chunk is damaged "
                "or was changed after the image was opened: copy it again from where it came."
            ) from error
        return window

    def _plane(self, index: tuple[int, ...], y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Return a window of the plane that ``index`` places on all axes but y and x."""
        y, x, chunks = self.plan.y, self.plan.x, self._opened.chunks
        window = np.empty((y1 - y0, x1 - x0), self._opened.dtype.newbyteorder("="))
        parts = list(itertools.product(_cut(y0, y1, chunks[y]), _cut(x0, x1, chunks[x])))
        places = []
        for (row, _, _), (column, _, _) in parts:
            place = [i // size for i, size in zip(index, chunks, strict=True)]
            place[y], place[x] = row, column
            places.append(tuple(place))
        decoded = self._decoded(places)
        for ((row, top, bottom), (column, left, right)), chunk in zip(parts, decoded, strict=True):
            inside: list[int | slice] = [i % n for i, n in zip(index, chunks, strict=True)]
            inside[y] = slice(top - row * chunks[y], bottom - row * chunks[y])
            inside[x] = slice(left - column * chunks[x], right - column * chunks[x])
            part = chunk[tuple(inside)]
            window[top - y0 : bottom - y0, left - x0 : right - x0] = part if y < x else part.T
        return window

    def _decoded(self, places: Sequence[tuple[int, ...]]) -> Iterator[NDArray[Any]]:
        """Give the chunks at some places, in order; from an address, several come at a time."""
        if not isinstance(self.path, Address):
            yield from map(self._kept, places)
            return
        pool = ThreadPoolExecutor(_AT_A_TIME)
        try:
            yield from pool.map(self._kept, places)
        finally:
            pool.shutdown(cancel_futures=True)

    def _kept(self, place: tuple[int, ...]) -> NDArray[Any]:
        return DECODED.get((self, *place), partial(self._chunk, place))

    def _chunk(self, place: Sequence[int]) -> NDArray[Any]:
        chunks = self._opened.chunks
        key = tuple(slice(i * n, (i + 1) * n) for i, n in zip(place, chunks, strict=True))
        return np.asarray(self._opened[key])


def _smaller(path: Location, stored: StoredImage, plan: Plan) -> list[LazyPlanes]:
    """Return the smaller levels of a pyramid; one that is not there, or is wrong, is left out."""
    levels = []
    for name in stored.smaller:
        try:
            array = open_array(path, name)
        except Exception:  # noqa: BLE001, S112 - zarr has no error of its own for what is wrong
            continue
        if array.ndim != len(stored.axes.shape):
            continue
        planes = {plan.y: array.shape[plan.y], plan.x: array.shape[plan.x]}
        expected = [planes.get(axis, size) for axis, size in enumerate(stored.axes.shape)]
        if list(array.shape) == expected:
            shape = (len(plan.planes), array.shape[plan.y], array.shape[plan.x])
            stored_as = (array.chunks[plan.y], array.chunks[plan.x])
            source = ZarrPlanes(path, name, plan)
            levels.append(LazyPlanes(shape, array.dtype.newbyteorder("="), source, stored_as))
    return levels


def _files(path: Location, stored: StoredImage) -> tuple[Location, ...]:
    """Return what shows that the image changed: its folder, or documents at its address."""
    if isinstance(path, Path):
        return (path / stored.array,)
    return tuple(path / document for document in documents(path, stored))


def _cut(begin: int, end: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Give the chunks that a range touches, and from where to where it lies in each.

    >>> list(_cut(5, 25, 10))
    [(0, 5, 10), (1, 10, 20), (2, 20, 25)]
    """
    for number in range(begin // size, -(-end // size)):
        yield number, max(begin, number * size), min(end, (number + 1) * size)
