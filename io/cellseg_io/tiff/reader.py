"""Reads TIFF, OME-TIFF, ImageJ TIFF and QPTIFF."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_core.image import Image
from cellseg_io.axes import (
    Plan,
    Projection,
    as_axes,
    as_depth,
    as_plane,
    as_series,
    plan_axes,
)
from cellseg_io.lazy import LazyPlanes
from cellseg_io.names import as_names, choose_series, name_channels, number_channels, unique_names
from cellseg_io.tiff.blocks import Block
from cellseg_io.tiff.layout import StoredImage, read_layout, read_smaller

__all__ = ["TiffReader", "open_plane"]


@attrs.frozen
class TiffReader:
    """Reads the images of a TIFF file; pixels stay in the file until they are asked for.

    Parameters
    ----------
    series
        Number of the image, from 1, in a file of several. Default: all of them. Thumbnails and
        the smaller levels of a pyramid do not count.
    z, t
        Plane to use where there are several: a number from 1, or "max" for the maximum of all.
        ``t="all"`` takes time points as staining cycles.
    axes
        Letters for the stored axes, in order, where the file says nothing or is wrong: "CYX".
    names
        Channel names that overrule those of the file.

    Notes
    -----
    Channel names come from ``names``, else from OME-XML or QPTIFF, else from a
    ``channelNames.txt`` beside the file (the CODEX convention), else from ImageJ labels.
    """

    series: int | None = attrs.field(default=None, converter=as_series)
    z: int | Projection | None = attrs.field(default=None, converter=as_depth)
    t: int | Projection | None = attrs.field(default=None, converter=as_plane)
    axes: str | None = attrs.field(default=None, converter=as_axes)
    names: tuple[str, ...] | None = attrs.field(
        default=None, converter=attrs.converters.optional(as_names)
    )

    def read(self, path: Path) -> Sequence[Image]:
        """Return the images of the file, named by its stem and, of several, their own name.

        Raises
        ------
        ImageError
            If the file cannot be read, or holds several planes and none was chosen.
        ChannelError
            If channel names and channels differ in number.
        """
        path = Path(path)
        stored = read_layout(path)
        chosen = choose_series(self.series, [one.name for one in stored], path)
        return [self._image(path, number, stored[number], name) for number, name in chosen.items()]

    def _image(self, path: Path, number: int, stored: StoredImage, name: str) -> Image:
        plan = plan_axes(stored.axes, path.name, z=self.z, t=self.t, axes=self.axes)
        names, color, note = _channel_names(path, stored, plan, self.names)
        block = stored.block
        shape = (len(plan.planes), block.shape[plan.y], block.shape[plan.x])
        source = TiffPlanes(path, number, plan, block)
        sentence = [plan.sentence, *stored.notes, note, stored.described.pixel_note]
        return Image(
            LazyPlanes(
                shape,
                block.dtype.newbyteorder("="),
                source,
                block.stored(plan.y, plan.x),
                partial(_smaller, path, number, plan, block.shape),
            ),
            channels=names,
            pixel_size=stored.described.pixel_size,
            name=name,
            source=str(path),
            axes="; ".join(filter(None, sentence)),
            color=color,
            files=tuple(sorted({path, *block.files})),
        )


def _smaller(path: Path, number: int, plan: Plan, whole: tuple[int, ...]) -> list[LazyPlanes]:
    """Return the smaller levels of a pyramid; ``whole`` is the shape of the largest."""
    levels = []
    for block in read_smaller(path, number):
        fits = len(block.shape) == len(whole) and all(
            size == block.shape[axis] or axis in (plan.y, plan.x) for axis, size in enumerate(whole)
        )
        if fits:
            shape = (len(plan.planes), block.shape[plan.y], block.shape[plan.x])
            source = TiffPlanes(path, number, plan, block)
            stored = block.stored(plan.y, plan.x)
            levels.append(LazyPlanes(shape, block.dtype.newbyteorder("="), source, stored))
    return levels


def open_plane(path: Path, name: str) -> Image:
    """Return a TIFF that must hold one channel, under the name ``name``.

    Raises
    ------
    ImageError
        If it holds several images, channels, Z planes or time points.
    """
    stored = read_layout(path)
    if len(stored) == 1 and len(plan_axes(stored[0].axes, str(path)).planes) == 1:
        return TiffReader(names=(name,)).read(path)[0]
    raise ImageError(
        f"{path} holds more than one channel; in a folder of channels each TIFF holds one. Read "
        "it as an image of its own, or take it out of the folder."
    )


class TiffPlanes:
    """The channels of one image of a TIFF file, as a :class:`~cellseg_io.lazy.PlaneSource`.

    What was learnt about the file does not travel to other processes: they look for themselves.
    """

    def __init__(self, path: Path, number: int, plan: Plan, block: Block | None = None) -> None:
        self.path, self.number, self.plan, self._block = path, number, plan, block

    def __reduce__(self) -> tuple[Any, ...]:
        return TiffPlanes, (self.path.absolute(), self.number, self.plan)

    def window(self, channel: int, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Return a new array with rows ``y0:y1`` and columns ``x0:x1`` of one channel."""
        if self._block is None:
            self._block = read_layout(self.path)[self.number].block
        block, plan = self._block, self.plan
        rows, columns = slice(y0, y1), slice(x0, x1)
        first, *others = plan.planes[channel]
        try:
            window = block.window(first, plan.y, plan.x, rows, columns)
            for index in others:
                more = block.window(index, plan.y, plan.x, rows, columns)
                np.maximum(window, more, out=window)
        except ImageError:
            raise
        except (OSError, ValueError, IndexError) as error:
            raise ImageError(
                f"{self.path} can no longer be read ({error}). It was moved, cut off or changed "
                "after it was opened."
            ) from error
        return window


def _channel_names(
    path: Path, stored: StoredImage, plan: Plan, given: tuple[str, ...] | None
) -> tuple[tuple[str, ...], bool, str]:
    """Return unique channel names, whether the image stays a colour photograph, and a note."""
    count, listed = len(plan.planes), stored.described.names * plan.repeats
    named = name_channels(path, count, given, listed)
    if named is not None:
        return named.names, plan.color and named.source == "file", named.note
    if plan.color:
        return ("red", "green", "blue"), True, ""
    labels = _plane_labels(stored, plan)
    if labels:
        names, note = unique_names(labels)
        return names, False, "; ".join(filter(None, ["names from ImageJ labels", note]))
    named = number_channels(count)
    return named.names, False, named.note


def _plane_labels(stored: StoredImage, plan: Plan) -> list[str]:
    """Return the ImageJ labels of the first plane of each channel, or nothing if one lacks."""
    shape = [n for i, n in enumerate(stored.axes.shape) if stored.axes.letters[i] not in "YXS"]
    if len(stored.labels) != np.prod(shape, dtype=int):
        return []
    outer = [i for i, a in enumerate(stored.axes.letters) if a not in "YXS"]
    names = []
    for indices in plan.planes:
        place = [indices[0][i] for i in outer]
        label = stored.labels[int(np.ravel_multi_index(place, shape)) if place else 0]
        # ImageJ writes "c:1/3 z:2/5 - DAPI" when it splits or reorders a stack.
        names.append(re.sub(r"^([czt]:\d+/\d+\s*)+(-\s*)?", "", label).strip())
    return names if all(names) else []
