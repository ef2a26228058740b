"""What a TIFF file holds: its images, the meaning of their axes, and where their pixels are."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from cellseg_core.errors import ImageError, PartOfImageError
from cellseg_io.axes import StoredAxes
from cellseg_io.described import Described
from cellseg_io.files import check_file, signature
from cellseg_io.tiff.blocks import Block, PagedBlock
from cellseg_io.tiff.ome import companion_parts, describe_ome, part_of
from cellseg_io.tiff.pages import check_chain, stored_block, stored_page
from cellseg_io.tiff.plane_metadata import biomarkers, describe_imagej, resolution_tags

if TYPE_CHECKING:
    import tifffile

__all__ = ["StoredImage", "read_layout", "read_smaller"]

_log = logging.getLogger(__name__)

_RGB, _YCBCR, _PALETTE, _WHITE_IS_ZERO = 2, 6, 3, 0
_NOT_GRAY_OR_RGB = {5: "CMYK", 8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*"}
_ALPHA = {1, 2}
_NOT_TISSUE = {"thumbnail", "label", "macro", "overview", "map", "preview"}
# tifffile logs these as errors, and repairs them.
_HARMLESS = ("incorrect Strip", "read_tags", "read_utf8")
_FIRST_PRIVATE_TAG = 32768


@attrs.frozen(eq=False)
class StoredImage:
    """One image of a TIFF file, before a choice of plane.

    Parameters
    ----------
    name
        Its name in the file, or empty.
    axes
        What is known of its axes.
    block
        Its pixels, with the same axes.
    described
        Channel names and pixel size, as far as the file tells them.
    notes
        What a user should know about it.
    labels
        Names of single planes (ImageJ), in the order stored; a weak hint at channel names.
    """

    name: str
    axes: StoredAxes
    block: Block
    described: Described = attrs.field(factory=Described)
    notes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def read_layout(path: Path) -> list[StoredImage]:
    """Return the images of a TIFF, OME-TIFF or OME companion file; no pixel is read.

    Raises
    ------
    ImageError
        If the file cannot be read, is no TIFF, is damaged, or stores pixels in a way that cannot
        be decoded here. Every failure of the TIFF library comes as this error.
    """
    import tifffile

    check_file(path)
    try:
        if path.name.lower().endswith(".companion.ome"):
            return _read_companion(path)
        with _opened(path) as tif:
            return _images_of(tif, path)
    except ImageError:
        raise
    except tifffile.TiffFileError as error:
        raise ImageError(
            f"{path} is not a readable TIFF file ({error}); {signature(path)}. If it is another "
            "format, give it its own ending; if it is a TIFF, it is damaged: copy it again."
        ) from error
    except Exception as error:
        raise ImageError(
            f"{path} cannot be read as TIFF ({type(error).__name__}: {error}). The file is "
            "damaged or unusual: copy it again from where it came, or save it anew with Fiji."
        ) from error


def read_smaller(path: Path, number: int) -> list[Block]:
    """Return the smaller copies of an image, largest first, that have the same axes.

    ``number`` is that of the image in :func:`read_layout`. What cannot be read is left out: the
    image itself has all that they show.
    """
    blocks: list[Block] = []
    with contextlib.suppress(Exception), _opened(path) as tif:
        for level in _tissue(tif)[number][1].levels[1:]:
            shape = tuple(int(n) for n in level.get_shape(False))
            blocks.append(stored_block(path, tif, level, shape))
    return blocks


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tifffile.TiffFile]:
    import tifffile

    with _heeding_tifffile(path), tifffile.TiffFile(path) as tif:
        check_chain(path, tif)
        yield tif


@contextlib.contextmanager
def _heeding_tifffile(path: Path) -> Iterator[None]:
    """Turn what tifffile only logs into errors where pixels would be wrong, else into debug lines.

    tifffile writes to its logger when it falls back to another reading of the file, drops pages
    or fills missing ones with zeros; on the console that is noise, and the result looks fine.
    """
    logger = logging.getLogger("tifffile")
    thread = threading.get_ident()
    problems: list[str] = []

    def heed(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        text = record.getMessage()
        bad = record.levelno >= logging.ERROR or ("OME series" in text and "expected" not in text)
        tag = re.search(r"TiffTag (\d+)", text)
        private = tag is not None and int(tag[1]) >= _FIRST_PRIVATE_TAG
        if bad and not private and not any(words in text for words in _HARMLESS):
            problems.append(text)
        elif record.levelno > logging.DEBUG:
            _log.debug("%s: %s", path, text)
        return False

    logger.addFilter(heed)
    try:
        yield
    except Exception as error:
        # What was logged on the way tells more than the error that it led to.
        if problems:
            raise _damaged(path, problems) from error
        raise
    finally:
        logger.removeFilter(heed)
    if problems:
        raise _damaged(path, problems)


def _damaged(path: Path, problems: list[str]) -> ImageError:
    plain = [re.sub(r"<tifffile\.\w+ .*?> ?|Missing data are zeroed", "", p) for p in problems]
    return ImageError(
        f"{path} is damaged or incomplete: {'; '.join(dict.fromkeys(plain))}. Copy it again "
        "from where it came; the files of a set must lie together in one folder."
    )


def _images_of(tif: tifffile.TiffFile, path: Path) -> list[StoredImage]:
    xml = tif.pages.first.description if tif.is_ome else ""
    companion = part_of(xml, path)
    if companion:
        whole = path.parent / companion
        raise PartOfImageError(
            f"{path} is one part of a multi-file OME-TIFF and holds pixels only. Read the file "
            f"that describes the whole set: {whole}.",
            whole,
        )
    series = list(tif.series)
    if not series:
        raise ImageError(f"{path} holds no image, only metadata. Save it anew with its pixels.")
    described = describe_ome(xml, [(s.name, s.get_shape(False), s.get_axes(False)) for s in series])
    return [_image_of(tif, path, one, described[number]) for number, one in _tissue(tif)]


def _tissue(tif: tifffile.TiffFile) -> list[tuple[int, tifffile.TiffPageSeries]]:
    """Return the series of a file that are images of tissue, with their numbers."""
    found = []
    for number, one in enumerate(tif.series):
        key = one.keyframe
        # Reduced copies and masks are marked in the file; slide scanners name theirs.
        extra = one.name.casefold() in _NOT_TISSUE or (key.subfiletype & 5 and number > 0)
        if not (extra or (key.is_subifd and number > 0)):
            found.append((number, one))
    return found


def _image_of(
    tif: tifffile.TiffFile, path: Path, series: tifffile.TiffPageSeries, described: Described | None
) -> StoredImage:
    key = series.keyframe
    shape = tuple(int(n) for n in series.get_shape(False))
    if 0 in shape or key.dtype is None:
        raise ImageError(
            f"{path}: the image is empty or of an unknown type (shape {shape}, "
            f"{key.bitspersample} bits). Save it as 8, 16 or 32-bit integers or floats."
        )
    if key.dtype.kind not in "buif":
        raise ImageError(
            f"{path}: its pixels are {key.dtype} (complex) numbers; save their absolute values."
        )
    photometric = int(key.photometric)
    if photometric in _NOT_GRAY_OR_RGB:
        raise ImageError(
            f"{path}: it is stored in {_NOT_GRAY_OR_RGB[photometric]} colours; convert it to gray "
            "or RGB."
        )
    notes = []
    if photometric == _PALETTE:
        notes.append("its colour table is left aside: stored values are intensities")
    if photometric == _WHITE_IS_ZERO:
        notes.append("values are kept as stored, though the file calls 0 white")
    if len(series.levels) > 1:
        notes.append(f"full resolution of a pyramid of {len(series.levels)} levels")
    kind, origin = series.kind, ""
    labels: tuple[str, ...] = ()
    if kind == "ome":
        origin = "OME-XML"
    elif kind == "imagej":
        origin = "ImageJ"
        described, labels = describe_imagej(tif)
    elif kind == "qpi":
        origin = "QPTIFF"
        described = Described(names=biomarkers(series))
    elif kind == "shaped":
        origin = "axes in the file" if "Q" not in series.get_axes(False) else ""
    elif kind not in ("generic", "uniform"):
        origin = kind.upper()
    described = described or Described()
    if described.pixel_size is None and not described.pixel_note and kind != "imagej":
        size, note = resolution_tags(key)
        described = attrs.evolve(described, pixel_size=size, pixel_note=note)
    samples = key.samplesperpixel
    interleaved = samples > 1 and key.planarconfig == 1
    alpha = interleaved and samples in (2, 4) and bool(_ALPHA & {*key.extrasamples[-1:]})
    rgb = interleaved and photometric in (_RGB, _YCBCR) and samples in (3, 4)
    return StoredImage(
        name=series.name,
        axes=StoredAxes(series.get_axes(False), shape, origin, rgb=rgb, alpha=alpha),
        block=stored_block(path, tif, series, shape),
        described=described,
        notes=tuple(notes),
        labels=labels,
    )


def _read_companion(path: Path) -> list[StoredImage]:
    images = []
    for part in companion_parts(path):
        pages = []
        for name, ifd in part.places:
            file = path.parent / name
            try:
                check_file(file)
            except ImageError as error:
                raise ImageError(f"{path}, which needs it: {error}") from error
            with _opened(file) as tif:
                pages.append(stored_page(tif.pages[ifd].aspage()))
        odd = next((i for i, page in enumerate(pages) if page.shape != pages[0].shape), None)
        if odd is not None or pages[0].shape != (1, 1, *part.shape[-2:], 1):
            raise ImageError(
                f"{path}: {part.places[odd or 0][0]} has the shape {pages[odd or 0].shape}, "
                f"which is not the plane of {part.shape[-2:]} px that the set describes."
            )
        images.append(
            StoredImage(
                name=part.name,
                axes=StoredAxes(part.letters, part.shape, "OME-XML of several files"),
                block=PagedBlock(pages, part.shape),
                described=part.described,
            )
        )
    return images
