"""Channel names and pixel size from OME-XML, and the list of files of a multi-file OME-TIFF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from xml.etree import ElementTree as ET

import attrs

from cellseg_core.errors import ImageError
from cellseg_io.described import Described
from cellseg_io.limits import check_size
from cellseg_io.pixel_size import square_pixel, um_per_unit

__all__ = ["Part", "companion_parts", "describe_ome", "part_of"]


@attrs.frozen
class Part:
    """One image of a multi-file set: ``places`` are (file name, page) of its planes, in order."""

    name: str
    letters: str
    shape: tuple[int, ...]
    places: tuple[tuple[str, int], ...]
    described: Described


def describe_ome(
    xml: str, series: Sequence[tuple[str, tuple[int, ...], str]]
) -> list[Described | None]:
    """Return what the OME-XML says about each series (name, shape, axis letters).

    The TIFF library leaves out images that have no pixels in the file, so images are matched
    by name and size, in order.
    """
    images = iter(_images(_parsed(xml))) if xml else iter(())
    described: list[Described | None] = []
    for name, shape, letters in series:
        size = tuple(shape[letters.index(a)] for a in "YX" if a in letters)
        for image, pixels in images:
            if (image.get("Name") or "") == (name or "") and size == _size(pixels, "YX"):
                described.append(_describe(pixels))
                break
        else:
            described.append(None)
    return described


def part_of(xml: str, path: Path) -> str:
    """Return the name of the file that holds the metadata of ``xml``'s set, or empty.

    Raises
    ------
    ImageError
        If the metadata promises more planes or pixels than are read, or names files outside the
        folder of ``path``, its file.
    """
    root = _parsed(xml) if xml else None
    if root is not None:
        _check(root, path)
    for element in () if root is None else root:
        if _tag(element) == "BinaryOnly":
            return element.get("MetadataFile", "its .companion.ome file")
    return ""


def companion_parts(path: Path) -> list[Part]:
    """Return the images that a companion file describes.

    Raises
    ------
    ImageError
        If the file is not OME-XML, does not say where each plane is, promises more planes or
        pixels than are read, or names files outside its folder.
    """
    try:
        root = _parsed(path.read_bytes())
    except ET.ParseError as error:
        raise ImageError(f"{path} is not an OME companion file: {error}.") from error
    _check(root, path)
    parts = []
    for image, pixels in _images(root):
        letters = pixels.get("DimensionOrder", "XYZCT")[::-1]
        shape = _size(pixels, letters)
        planes = math.prod(shape[:-2])
        places: dict[int, tuple[str, int]] = {}
        for data in pixels:
            if _tag(data) != "TiffData":
                continue
            uuid = next((e for e in data if _tag(e) == "UUID"), None)
            if uuid is None or not uuid.get("FileName"):
                raise ImageError(f"{path}: a plane of {image.get('Name')!r} has no file name.")
            index = 0
            for letter, size in zip(letters[:-2], shape, strict=False):
                index = index * size + int(data.get(f"First{letter}", 0))
            count = int(data.get("PlaneCount", 1))
            if not 0 <= index <= index + count <= planes:
                raise ImageError(
                    f"{path}: it describes {planes} planes for {image.get('Name')!r}, and places "
                    f"{count} from number {index + 1} on. Write the set anew with Bio-Formats."
                )
            for i in range(count):
                places[index + i] = (uuid.get("FileName", ""), int(data.get("IFD", 0)) + i)
        if len(places) != planes:
            raise ImageError(
                f"{path}: it describes {planes} planes for {image.get('Name')!r} and says for "
                f"{len(places)} of them where they are. Write the set anew with Bio-Formats."
            )
        parts.append(
            Part(
                name=image.get("Name") or "",
                letters=letters,
                shape=shape,
                places=tuple(places[i] for i in range(planes)),
                described=_describe(pixels),
            )
        )
    if not parts:
        raise ImageError(f"{path} describes no image.")
    return parts


def _parsed(xml: str | bytes) -> ET.Element:
    # Expat refuses entities that grow without bound, and ElementTree fetches none.
    return ET.fromstring(xml)  # noqa: S314


def _check(root: ET.Element, path: Path) -> None:
    """Check what else would be believed before a pixel is read: sizes, and names of files."""
    for image, pixels in _images(root):
        letters = "XYZCT"
        shape = _size(pixels, letters)
        if min(shape) < 1:
            raise ImageError(f"{path}: {image.get('Name')!r} has the size {shape}; it is damaged.")
        check_size(path, shape, letters.index("Y"), letters.index("X"))
        for data in pixels:
            if _tag(data) == "TiffData":
                count = int(data.get("PlaneCount", 1))
                check_size(path, (count, *shape[:2]), 2, 1)
            for element in data:
                if _tag(element) == "UUID":
                    _check_inside(element.get("FileName", ""), path)


def _check_inside(name: str, path: Path) -> None:
    for flavour in (PurePosixPath(name), PureWindowsPath(name)):
        if flavour.anchor or ".." in flavour.parts:
            raise ImageError(
                f"{path} names a file outside its own folder, {name!r}, which is not opened. Put "
                "all files of the set into one folder, and write its metadata anew with "
                "Bio-Formats."
            )


def _tag(element: ET.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _images(root: ET.Element) -> list[tuple[ET.Element, ET.Element]]:
    return [
        (image, pixels)
        for image in root
        if _tag(image) == "Image"
        for pixels in image
        if _tag(pixels) == "Pixels"
    ]


def _size(pixels: ET.Element, letters: str) -> tuple[int, ...]:
    return tuple(int(pixels.get(f"Size{a}", 1)) for a in letters)


def _describe(pixels: ET.Element) -> Described:
    names = tuple(
        (e.get("Name") or e.get("Fluor") or "").strip() or None
        for e in pixels
        if _tag(e) == "Channel"
    )
    sides = []
    for axis in "XY":
        um = um_per_unit(pixels.get(f"PhysicalSize{axis}Unit", "um"))
        text = pixels.get(f"PhysicalSize{axis}")
        sides.append(None if text is None or um is None else float(text) * um)
    size, note = square_pixel(sides[0], sides[1], "OME-XML")
    return Described(names, size, note)
