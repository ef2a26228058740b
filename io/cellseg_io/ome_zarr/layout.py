"""What an OME-Zarr holds: its images, the meaning of their axes, and their arrays.

Follows the specifications 0.1 to 0.5 at https://ngff.openmicroscopy.org; the last one keeps its
metadata under the attribute ``ome`` of Zarr 3, the others at the top of those of Zarr 2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from cellseg_core.address import Address, Location
from cellseg_core.errors import CellsegError, ImageError, nearest
from cellseg_io.axes import StoredAxes
from cellseg_io.described import Described
from cellseg_io.files import natural_key
from cellseg_io.pixel_size import square_pixel, um_per_unit

if TYPE_CHECKING:
    import zarr

__all__ = ["StoredImage", "documents", "open_array", "read_layout"]

_FIRST_CHUNKS = 16
_FIRST_VERSIONS = "TZCYX"  # the axes where the metadata has none


@attrs.frozen
class StoredImage:
    """One image of an OME-Zarr, before a choice of plane.

    Parameters
    ----------
    name
        Its name in the folder, or empty.
    group, array, smaller
        Where it is in the folder, its array of full resolution, and those of less, largest first.
    axes, dtype, chunks
        What is known of its axes, its data type, and the shape of what is decoded at a time.
    described
        Channel names and pixel size, as far as the metadata tells them.
    """

    name: str
    group: str
    array: str
    smaller: tuple[str, ...]
    axes: StoredAxes
    dtype: Any
    chunks: tuple[int, ...]
    described: Described = attrs.field(factory=Described)

    @property
    def smallest(self) -> str:
        """Return where its array of least resolution is."""
        return self.smaller[-1] if self.smaller else self.array


def read_layout(path: Location) -> list[StoredImage]:
    """Return the images of an OME-Zarr; no pixel is read.

    They are: the image itself; those of a conversion by bioformats2raw, of a plate, or of a
    SpatialData folder; or a plain Zarr array, of which only the shape is known.

    Raises
    ------
    ImageError
        If the folder is not there, is no Zarr, holds no image, or its metadata cannot be
        understood; or if an address does not answer.
    """
    import zarr

    if isinstance(path, Path) and not path.exists():
        others = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, others) if others else f"{path.parent} is not there either"
        raise ImageError(f"{path} does not exist; {hint}.")
    try:
        node = zarr.open(_store(path), mode="r")
    except CellsegError:
        raise
    except Exception as error:
        if isinstance(path, Address):
            raise ImageError(
                f"{path} holds no Zarr, or none that may be read: no zarr.json, .zgroup or .zarray "
                f"({type(error).__name__}). Check the spelling and the credentials."
            ) from None
        raise ImageError(
            f"{path} cannot be read as Zarr ({type(error).__name__}: {error}). Its folder is "
            "incomplete or another format: copy it again from where it came."
        ) from error
    try:
        if isinstance(node, zarr.Array):
            _check_array(node)
            axes = StoredAxes("Q" * (node.ndim - 2) + "YX", node.shape)
            return [StoredImage("", "", "", (), axes, node.dtype, node.chunks)]
        found = list(_images(node))
        parts = "" if found else ", ".join(sorted(_members(node))[:10])
    except ImageError as error:
        if str(error).startswith(str(path)):
            raise
        raise ImageError(f"{path}: {error}") from error
    except Exception as error:
        raise ImageError(
            f"{path}: its OME-Zarr metadata cannot be understood ({type(error).__name__}: "
            f"{Address.hide(error)}). Write it anew with the program that it came from, or with "
            "bioformats2raw."
        ) from error
    if not found:
        raise ImageError(
            f"{path} is a Zarr folder without OME metadata; it holds {parts or 'nothing'}. "
            "Write it anew as OME-Zarr with the program that it came from, or with bioformats2raw."
        )
    return found


def open_array(path: Location, name: str) -> zarr.Array[Any]:
    """Return an array of an OME-Zarr, without reading it."""
    import zarr

    from cellseg_io.ome_zarr.whole_chunks import whole_chunks

    return whole_chunks(zarr.open_array(_store(path), path=name, mode="r"))


def documents(address: Address, stored: StoredImage) -> list[str]:
    """Return where in an OME-Zarr lies what tells one state of an image from another.

    Without dates, as files have them, that is its metadata and the first 16 chunks of its smallest
    level, which is made from all of its pixels.

    Raises
    ------
    ImageError
        If the address does not answer, or the smallest level is not there.
    """
    try:
        smallest = open_array(address, stored.smallest)
    except FileNotFoundError as error:
        raise ImageError(
            f"{address / stored.smallest} is not there, though the metadata names it. The OME-Zarr "
            "is incomplete: copy it again from where it came."
        ) from error
    newest = smallest.metadata.zarr_format == 3
    of_group, of_array = ("zarr.json", "zarr.json") if newest else (".zattrs", ".zarray")
    sizes = zip(smallest.shape, smallest.shards or smallest.chunks, strict=True)
    places = itertools.product(*(range(-(-length // size)) for length, size in sizes))
    chunks = map(smallest.metadata.encode_chunk_key, itertools.islice(places, _FIRST_CHUNKS))
    found = [(stored.group, of_group), (stored.array, of_array)]
    found += [(stored.smallest, chunk) for chunk in chunks]
    return list(dict.fromkeys(f"{folder}/{name}".lstrip("/") for folder, name in found))


def _store(path: Location) -> Any:
    """Return what zarr opens."""
    if isinstance(path, Path):
        return path
    from cellseg_io.ome_zarr.remote import open_store

    return open_store(path)


def _members(group: zarr.Group) -> list[str]:
    """Return the names of what is in a group; nothing where that cannot be listed.

    At an address only metadata of the whole (consolidated metadata) tells it for certain. Images
    with numbers for names, from 0 on, are found without.
    """
    names = list(group)
    return names or list(itertools.takewhile(group.__contains__, map(str, itertools.count())))


def _images(group: zarr.Group) -> Iterator[StoredImage]:
    """Give the images of a group."""
    metadata = _ome(group)
    if "multiscales" in metadata:
        for scales in metadata["multiscales"]:
            yield _image(group, scales, metadata)
        return
    for name in _parts(group, metadata):
        part = _child(group, name)
        for one in () if part is None else _images(part):
            if "plate" in metadata:
                yield attrs.evolve(one, name=f"{name}_{one.name}")
            else:
                yield attrs.evolve(one, name=one.name or name.rpartition("/")[2])


def _child(group: zarr.Group, name: str) -> zarr.Group | None:
    """Return a group within a group, or None where it is not there or is an array."""
    import zarr

    child = group.get(name)
    return child if isinstance(child, zarr.Group) else None


def _ome(group: zarr.Group) -> Mapping[str, Any]:
    """Return the OME metadata of a group."""
    attributes: dict[str, Any] = dict(group.attrs)
    newest: Mapping[str, Any] | None = attributes.get("ome")
    return attributes if newest is None else newest


def _parts(group: zarr.Group, metadata: Mapping[str, Any]) -> list[str]:
    """Return where the images of a group are that is none itself."""
    if "plate" in metadata:
        return [well["path"] for well in metadata["plate"]["wells"]]
    if "well" in metadata:
        return [one["path"] for one in metadata["well"]["images"]]
    if "bioformats2raw.layout" in metadata:
        ome = _child(group, "OME")
        series = None if ome is None else _ome(ome).get("series")
        numbered = (name for name in _members(group) if name.isdecimal())
        return list(series or sorted(numbered, key=natural_key))
    images = _child(group, "images")  # as SpatialData has them
    names = [] if images is None else _members(images)
    return sorted((f"images/{name}" for name in names), key=natural_key)


def _image(
    group: zarr.Group, scales: Mapping[str, Any], metadata: Mapping[str, Any]
) -> StoredImage:
    import zarr

    first = scales["datasets"][0]
    array = group.get(first["path"])
    if not isinstance(array, zarr.Array):
        raise ImageError(
            f"the array {first['path']!r} of {group.path or 'the image'} is not there. The folder "
            "is incomplete: copy it again from where it came."
        )
    _check_array(array)
    axes = scales.get("axes") or list(_FIRST_VERSIONS[-array.ndim :])
    if len(axes) != array.ndim:
        raise ImageError(
            f"the metadata names {len(axes)} axes, but the array {array.path!r} has "
            f"{array.ndim}. Write it anew with the program that it came from."
        )
    letters = [_letter(axis) for axis in axes]
    version = scales.get("version") or metadata.get("version") or "of unknown version"
    size, note = _pixel_size(axes, letters, [first, scales])
    shown = metadata.get("omero")
    listed = shown.get("channels") if isinstance(shown, dict) else None
    names = tuple(
        (None if one.get("label") is None else str(one["label"]).strip()) or None
        for one in listed or ()
    )
    return StoredImage(
        # Programs that have no name for an image write the path within the folder.
        name=str(scales.get("name") or "").strip("/").rpartition("/")[2] if group.path else "",
        group=group.path,
        array=array.path,
        smaller=tuple(f"{group.path}/{one['path']}".lstrip("/") for one in scales["datasets"][1:]),
        axes=StoredAxes("".join(letters), array.shape, f"OME-Zarr {version}"),
        dtype=array.dtype,
        chunks=array.chunks,
        described=Described(names, size, note),
    )


def _check_array(array: zarr.Array[Any]) -> None:
    if array.ndim < 2 or array.dtype.kind not in "biuf":
        raise ImageError(
            f"the array {array.path!r} is no image: its shape is {array.shape} and its type "
            f"{array.dtype}."
        )


def _letter(axis: Any) -> str:
    """Return the letter of an axis: a table since version 0.4, a name before."""
    name = str(axis["name"] if isinstance(axis, dict) else axis).upper()
    if name in set("TZCYX"):
        return name
    kind = axis.get("type") if isinstance(axis, dict) else None
    return {"channel": "C", "time": "T"}.get(str(kind), "Q")


def _pixel_size(
    axes: Sequence[Any], letters: Sequence[str], transformed: Sequence[Mapping[str, Any]]
) -> tuple[float | None, str]:
    """Return the pixel size in um and a note; ``transformed`` have scales, which multiply."""
    sides: dict[str, float | None] = {}
    for place, letter in enumerate(letters):
        if letter not in "YX":
            continue
        unit = axes[place].get("unit") if isinstance(axes[place], dict) else None
        um = None if unit is None else um_per_unit(str(unit))
        scales = [
            float(step["scale"][place])
            for one in transformed
            for step in one.get("coordinateTransformations") or ()
            if step.get("type") == "scale" and len(step.get("scale", ())) == len(axes)
        ]
        sides[letter] = um * math.prod(scales) if um is not None and scales else None
    return square_pixel(sides.get("X"), sides.get("Y"), "OME-Zarr")
