"""Reads what the package bioio reads: CZI, ND2, LIF and many more formats of microscopes."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError, MissingPackageError
from cellseg_core.hushed import hushed
from cellseg_core.image import Image
from cellseg_io.axes import (
    Plan,
    Projection,
    StoredAxes,
    as_axes,
    as_depth,
    as_plane,
    as_series,
    plan_axes,
)
from cellseg_io.files import check_file
from cellseg_io.lazy import DECODED, LazyPlanes
from cellseg_io.names import as_names, choose_series, name_channels, number_channels
from cellseg_io.pixel_size import square_pixel, um_per_unit

__all__ = ["BioioReader"]

_PLUGINS = {
    ".czi": "bioio-czi",
    ".dv": "bioio-dv",
    ".lif": "bioio-lif",
    ".nd2": "bioio-nd2",
    ".r3d": "bioio-dv",
    ".sldy": "bioio-sldy",
}
_OF_BIO_FORMATS = "bioio-bioformats"  # reads all others, and needs Java
_PLACEHOLDER = re.compile(r"Channel:\d+(:\d+)*")  # what bioio calls channels without a name


@attrs.frozen
class BioioReader:
    """Reads the images of a file through bioio and its plugin for the format.

    Pixels are read when asked for, in the pieces that the plugin gives: a plane or a Z stack.

    Parameters
    ----------
    series
        Number of the image (scene), from 1, in a file of several. Default: all of them. The
        smaller levels of a pyramid do not count.
    z, t
        Plane to use where there are several: a number from 1, or "max" for the maximum of all.
        ``t="all"`` takes time points as staining cycles.
    axes
        Letters for the stored axes, in order, where the file is wrong: "CYX".
    names
        Channel names that overrule those of the file.

    Notes
    -----
    Channel names come from ``names``, else from the file, else from a ``channelNames.txt`` beside
    it. The tiles of a mosaic are put together where the plugin does that.
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
        MissingPackageError
            If the plugin of bioio for the format is not installed.
        ChannelError
            If channel names and channels differ in number.
        """
        path = Path(path)
        opened = _open(path)
        try:
            scenes = [str(scene) for scene in opened.scenes]
        except Exception as error:
            raise _unreadable(path, error) from error
        chosen = choose_series(self.series, scenes, path)
        return [self._image(path, opened, number, name) for number, name in chosen.items()]

    def _image(self, path: Path, opened: Any, number: int, name: str) -> Image:
        try:
            opened.set_scene(number)
            data = opened.xarray_dask_data
            listed = tuple(_name(one) for one in opened.channel_names)
            size, pixel_note = _pixel_size(opened)
        except Exception as error:
            raise _unreadable(path, error) from error
        stored = _axes(data, path)
        plan = plan_axes(stored, path.name, z=self.z, t=self.t, axes=self.axes)
        count = len(plan.planes)
        color = plan.color and self.names is None
        given = ("red", "green", "blue") if color else self.names
        named = name_channels(path, count, given, listed * plan.repeats) or number_channels(count)
        sides = data.data.chunks[plan.y], data.data.chunks[plan.x]
        return Image(
            LazyPlanes(
                (count, stored.shape[plan.y], stored.shape[plan.x]),
                data.dtype.newbyteorder("="),
                BioioPlanes(path, number, plan),
                (sides[0][0], sides[1][0]),
            ),
            channels=named.names,
            pixel_size=size,
            name=name,
            source=str(path),
            axes="; ".join(filter(None, [plan.sentence, named.note, pixel_note])),
            color=color,
            files=(path, *_folders_of(path)),
        )


class BioioPlanes:
    """The channels of one scene, as a :class:`~cellseg_io.lazy.PlaneSource`.

    The pieces that the plugin gives are read whole, one at a time, and once as long as they are in
    the cache. Other processes open the file for themselves.
    """

    def __init__(self, path: Path, scene: int, plan: Plan) -> None:
        self.path, self.scene, self.plan = path, scene, plan
        self._array: Any = None
        # Few plugins say whether several threads may read.
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return BioioPlanes, (self.path.absolute(), self.scene, self.plan)

    def window(self, channel: int, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Return a new array with rows ``y0:y1`` and columns ``x0:x1`` of one channel."""
        try:
            with self._lock:
                if self._array is None:
                    opened = _open(self.path)
                    opened.set_scene(self.scene)
                    self._array = opened.xarray_dask_data.data
            first, *others = self.plan.planes[channel]
            window = self._plane(first, y0, y1, x0, x1)
            for index in others:
                np.maximum(window, self._plane(index, y0, y1, x0, x1), out=window)
        except (MemoryError, ImageError, MissingPackageError):
            raise
        except Exception as error:
            raise _unreadable(self.path, error) from error
        return window

    def _plane(self, index: tuple[int, ...], y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Return a window of the plane that ``index`` places on all axes but y and x."""
        y, x, chunks = self.plan.y, self.plan.x, self._array.chunks
        window = np.empty((y1 - y0, x1 - x0), self._array.dtype.newbyteorder("="))
        wanted = [(i, i + 1) for i in index]
        wanted[y], wanted[x] = (y0, y1), (x0, x1)
        cuts = [_cut(sizes, *ends) for sizes, ends in zip(chunks, wanted, strict=True)]
        for parts in itertools.product(*cuts):
            place = tuple(number for number, _, _, _ in parts)
            block = DECODED.get((self, *place), partial(self._block, place))
            inside: list[int | slice] = [begin - start for _, start, begin, _ in parts]
            for axis in (y, x):
                _, start, begin, end = parts[axis]
                inside[axis] = slice(begin - start, end - start)
            part = block[tuple(inside)]
            (_, _, top, bottom), (_, _, left, right) = parts[y], parts[x]
            window[top - y0 : bottom - y0, left - x0 : right - x0] = part if y < x else part.T
        return window

    def _block(self, place: tuple[int, ...]) -> NDArray[Any]:
        with self._lock:
            return np.asarray(self._array.blocks[place].compute(scheduler="synchronous"))


def _cut(sizes: Sequence[int], begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Give the number and the start of each piece that a range touches, and the range in it.

    >>> list(_cut((10, 10, 5), 5, 22))
    [(0, 0, 5, 10), (1, 10, 10, 20), (2, 20, 20, 22)]
    """
    start = 0
    for number, size in enumerate(sizes):
        if start < end and begin < start + size:
            yield number, start, max(begin, start), min(end, start + size)
        start += size


def _open(path: Path) -> Any:
    """Return the file as bioio opens it.

    Raises
    ------
    ImageError
        If it cannot be opened.
    MissingPackageError
        If no plugin is there for its format.
    """
    from bioio import BioImage
    from bioio.plugins import get_plugins

    check_file(path)
    try:
        known = list(get_plugins(use_cache=True))
        if not any(path.name.lower().endswith(ending) for ending in known):
            plugin = _PLUGINS.get(path.suffix.lower(), _OF_BIO_FORMATS)
            java = " (it needs Java)" if plugin == _OF_BIO_FORMATS else ""
            raise MissingPackageError(
                f"{path}: bioio has no plugin here that reads {path.suffix} files. Install it "
                f"with: pip install {plugin}{java}"
            )
        with hushed("bioio"):
            return BioImage(path, use_plugin_cache=True)
    except MissingPackageError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ImageError:
    reason = f"{type(error).__name__}: {error}"
    if type(error).__name__ == "UnsupportedFileFormatError":
        reason = "its plugin for this format does not take the file"
    return ImageError(
        f"{path} cannot be read by bioio ({reason}). The file is damaged, "
        "or not what its name says: copy it again from where it came, or export it as OME-TIFF."
    )


def _axes(data: Any, path: Path) -> StoredAxes:
    """Return the axes of a scene as bioio names them.

    Raises
    ------
    ImageError
        If it is a mosaic in pieces.
    """
    letters, shape = "".join(data.dims), tuple(int(length) for length in data.shape)
    sizes = dict(zip(letters, shape, strict=True))
    if sizes.get("M", 1) > 1:
        raise ImageError(
            f"{path} is a mosaic of {sizes['M']} tiles, which the plugin of bioio does not put "
            "together. Stitch it with the program of the microscope, and export it as OME-TIFF."
        )
    samples = sizes.get("S", 1)
    return StoredAxes(letters, shape, "bioio", rgb=samples in (3, 4), alpha=samples in (2, 4))


def _name(given: object) -> str | None:
    name = str(given).strip()
    return None if _PLACEHOLDER.fullmatch(name) else name or None


def _pixel_size(opened: Any) -> tuple[float | None, str]:
    """Return the pixel size in um and a note. Sizes without a unit are in um."""
    sizes, about = opened.physical_pixel_sizes, opened.dimension_properties
    sides = []
    for side, unit in ((sizes.X, about.X.unit), (sizes.Y, about.Y.unit)):
        um = 1.0 if unit is None else um_per_unit(str(unit))
        sides.append(float(side) * um if side is not None and um is not None else None)
    return square_pixel(sides[0], sides[1], "bioio")


def _folders_of(path: Path) -> list[Path]:
    """Return the folders beside a file in which MRXS and VSI keep its pixels."""
    folders = {".mrxs": path.with_suffix(""), ".vsi": path.with_name(f"_{path.stem}_")}
    folder = folders.get(path.suffix.lower())
    return [folder] if folder is not None and folder.is_dir() else []
