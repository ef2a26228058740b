"""What an OME-Zarr folder holds: its images, the meaning of their axes, and their arrays.

Follows the specifications 0.1 to 0.5 at https://ngff.openmicroscopy.org; the last one keeps its
metadata under the attribute ``ome`` of Zarr 3, the others at the top of those of Zarr 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from cellseg_core.errors import ImageError, nearest
from cellseg_io.axes import StoredAxes
from cellseg_io.described import Described
from cellseg_io.files import natural_key
from cellseg_io.pixel_size import square_pixel, um_per_unit

if TYPE_CHECKING:
    import zarr

__all__ = ["StoredImage", "open_array", "read_layout"]

_FIRST_VERSIONS = "TZCYX"  # the axes where the metadata has none


@attrs.frozen
class StoredImage:
    """One image of a folder, before a choice of plane.

    Parameters
    ----------
    name
        Its name in the folder, or empty.
    array
        Where the array of full resolution is in the folder.
    axes, dtype, chunks
        What is known of its axes, its data type, and the shape of what is decoded at a time.
    described
        Channel names and pixel size, as far as the metadata tells them.
    """

    name: str
    array: str
    axes: StoredAxes
    dtype: Any
    chunks: tuple[int, ...]
    described: Described = attrs.field(factory=Described)


def read_layout(path: Path) -> list[StoredImage]:
    """Return the images of an OME-Zarr folder; no pixel is read.

    They are: the image itself; those of a conversion by bioformats2raw, of a plate, or of a
    SpatialData folder; or a plain Zarr array, of which only the shape is known.

    Raises
    ------
    ImageError
        If the folder is not there, is no Zarr, holds no image, or its metadata cannot be
        understood.
    """
    import zarr

    if not path.exists():
        others = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, others) if others else f"{path.parent} is not there either"
        raise ImageError(f"{path} does not exist; {hint}.")
    try:
        node = zarr.open(path, mode="r")
    except Exception as error:
        raise ImageError(
            f"{path} cannot be read as Zarr ({type(error).__name__}: {error}). Its folder is "
            "incomplete or another format: copy it again from where it came."
        ) from error
    try:
        if isinstance(node, zarr.Array):
            _check_array(node)
            axes = StoredAxes("Q" * (node.ndim - 2) + "YX", node.shape)
            return [StoredImage("", "", axes, node.dtype, node.chunks)]
        found = list(_images(node))
        parts = ", ".join(sorted(node.keys())[:10]) or "nothing"
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    except Exception as error:
        raise ImageError(
            f"{path}: its OME-Zarr metadata cannot be understood ({type(error).__name__}: {error})."
            " Write it anew with the program that it came from, or with bioformats2raw."
        ) from error
    if not found:
        raise ImageError(
            f"{path} is a Zarr folder without OME metadata; it holds {parts}. Write it anew as "
            "OME-Zarr with the program that it came from, or with bioformats2raw."
        )
    return found


def open_array(path: Path, name: str) -> zarr.Array[Any]:
    """Return an array of a folder, without reading it."""
    import zarr

    return zarr.open_array(path, path=name, mode="r")


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
        return list(series or sorted((k for k in group if k.isdecimal()), key=natural_key))
    images = _child(group, "images")  # as SpatialData has them
    return [] if images is None else sorted((f"images/{name}" for name in images), key=natural_key)


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
        array=array.path,
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
