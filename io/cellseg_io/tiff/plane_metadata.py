"""Names and pixel sizes that ImageJ, Akoya and plain TIFF tags tell about an image."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from cellseg_io.described import Described
from cellseg_io.pixel_size import square_pixel, um_per_unit

if TYPE_CHECKING:
    import tifffile

__all__ = ["biomarkers", "describe_imagej", "resolution_tags"]


def describe_imagej(tif: tifffile.TiffFile) -> tuple[Described, tuple[str, ...]]:
    """Return the pixel size of an ImageJ file and the labels of its planes."""
    meta = tif.imagej_metadata or {}
    labels = meta.get("Labels", ())
    labels = (labels,) if isinstance(labels, str) else tuple(str(label) for label in labels)
    um = um_per_unit(str(meta.get("unit", "")))
    size, note = None, ""
    if um is not None:
        x, y = tif.pages.first.get_resolution()
        size, note = square_pixel(um / x if x else None, um / y if y else None, "ImageJ")
    return Described(pixel_size=size, pixel_note=note), labels


def resolution_tags(page: tifffile.TiffPage) -> tuple[float | None, str]:
    """Return a pixel size from the resolution tags if a microscope can have it.

    Most programs write a print resolution there, 72 or 300 dots an inch, which is 353 or 85 um.
    """
    um = {2: 25400.0, 3: 10000.0, 4: 1000.0, 5: 1.0}.get(int(page.resolutionunit or 0))
    if um is None or 282 not in page.tags:
        return None, ""
    x, y = page.get_resolution()
    if not (x > 0 and y > 0 and all(0.05 <= um / n <= 5 for n in (x, y))):
        return None, ""
    return square_pixel(um / x, um / y, "the TIFF resolution tags")


def biomarkers(series: tifffile.TiffPageSeries) -> tuple[str | None, ...]:
    """Return the stain of each page of an Akoya QPTIFF, from the XML of the page."""
    names: list[str | None] = []
    for page in series.pages:
        try:
            # The text is already decoded, so that the encoding it declares no longer holds.
            text = page.aspage().description.split("?>", 1)[-1]  # type: ignore[union-attr]
            root = ET.fromstring(text)  # noqa: S314 - expat limits entity expansion itself
        except ET.ParseError:
            return ()
        names.append(root.findtext("Biomarker") or root.findtext("Name"))
    return tuple(names)
