"""Reads PNG and JPG pictures: gray as one channel, colour as red, green and blue."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_core.image import Image
from cellseg_io.files import check_file, signature, stem
from cellseg_io.lazy import DECODED, LazyPlanes
from cellseg_io.limits import check_believable, check_decoded
from cellseg_io.picture_size import any_size

__all__ = ["PictureReader"]

_GRAY = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_FORMATS = ("PNG", "JPEG")
_VALUES = dict.fromkeys(_GRAY, 1) | {"LA": 2, "La": 2, "RGBA": 4, "RGBa": 4, "CMYK": 4}
_CHANNELS = {2: 3, 4: 2, 6: 4}  # of a PNG, by its kind
# To how many bytes one can grow. Deflate copies 258 bytes by 2 bits; JPEG has a bit or more for
# 64 pixels, or an eighth of one where it is coded by arithmetic.
_SMALLEST = {True: 1032, False: 4096}
_ALPHA = {"LA", "La", "RGBA", "RGBa", "PA"}


@attrs.frozen
class PictureReader:
    """Reads a PNG or JPG file as one image.

    Colour pictures whose red, green and blue are equal are gray pictures saved as colour, and
    give the one channel ``gray``; a colour picture is decoded once on opening to tell. An opacity
    (alpha) is left out, a palette is resolved, and the EXIF orientation of photographs is not
    applied: pixels stay where they are stored. 16-bit pictures keep their 16 bits.
    """

    def read(self, path: Path) -> Sequence[Image]:
        """Return the one image of the file.

        Raises
        ------
        ImageError
            If the file cannot be read, is no picture, is damaged, or is too large to be decoded
            in one piece (see :mod:`cellseg_io.limits`).
        """
        path = Path(path)
        check_file(path)
        width, height, mode, deep, frames = _header(path)
        check_decoded(path, (height, width, _VALUES.get(mode, 3)), _gray_type(mode, deep).itemsize)
        notes = ["alpha left out"] if mode in _ALPHA else []
        if frames > 1:
            notes.append(f"first of {frames} frames")
        if mode not in _GRAY | {"P", "RGB"} | _ALPHA:
            notes.append(f"converted from {mode} to RGB")
        source = PicturePlanes(path, deep)
        if mode in _GRAY:
            dtype, color, sentence = _gray_type(mode, deep), False, "gray picture: 1 channel"
        else:
            pixels = DECODED.get(source, source.decoded)
            dtype, color = pixels.dtype, True
            sentence = "colour picture: red, green, blue"
            if (pixels == pixels[..., :1]).all():
                color, sentence = False, "gray picture stored as colour: 1 channel"
        names = ("red", "green", "blue") if color else ("gray",)
        return [
            Image(
                LazyPlanes((len(names), height, width), dtype, source),
                channels=names,
                name=stem(path),
                source=str(path),
                axes="; ".join([sentence, *notes]),
                color=color,
                files=(path,),
            )
        ]


@attrs.frozen(eq=False)
class PicturePlanes:
    """The channels of a picture, as a :class:`~cellseg_io.lazy.PlaneSource`.

    ``deep`` marks a PNG of 16 bits whose alpha or colour Pillow would cut to 8.
    """

    path: Path
    deep: bool

    def __reduce__(self) -> tuple[Any, ...]:
        return PicturePlanes, (self.path.absolute(), self.deep)

    def window(self, channel: int, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Return a new array with rows ``y0:y1`` and columns ``x0:x1`` of one channel."""
        pixels = DECODED.get(self, self.decoded)
        return np.array(pixels[y0:y1, x0:x1, channel])

    def decoded(self) -> NDArray[Any]:
        """Return all pixels (Y, X, 1 or 3), without alpha.

        Raises
        ------
        ImageError
            If the picture is damaged.
        """
        import PIL.Image

        try:
            if self.deep:
                import imagecodecs

                pixels = imagecodecs.png_decode(self.path.read_bytes())
            else:
                # A file in memory gives no more than it has, whatever a part says of its length.
                held = io.BytesIO(self.path.read_bytes())
                with any_size(), PIL.Image.open(held, formats=_FORMATS) as picture:
                    pixels = np.asarray(_plain(picture))
        except Exception as error:
            raise ImageError(
                f"{self.path} cannot be decoded ({type(error).__name__}: {error}). The picture is "
                "damaged or incomplete: copy it again from where it came."
            ) from error
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        alpha = pixels.shape[2] in (2, 4)
        pixels = pixels[..., :-1] if alpha else pixels
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _header(path: Path) -> tuple[int, int, str, bool, int]:
    """Return width, height, Pillow's mode, whether it needs 16-bit decoding, and the frames."""
    import PIL.Image

    try:
        with any_size(), PIL.Image.open(path, formats=_FORMATS) as picture:
            width, height = picture.size
            mode, frames = picture.mode, int(getattr(picture, "n_frames", 1))
            kind = picture.format
    except PIL.UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not a readable PNG or JPG picture; {signature(path)}. If it is another "
            "format, give it its own ending; otherwise it is damaged: copy it again."
        ) from error
    except Exception as error:
        raise ImageError(
            f"{path} cannot be read as a picture ({type(error).__name__}: {error}). The file is "
            "damaged: copy it again from where it came."
        ) from error
    # Bytes 24 and 25 of a PNG are its bit depth and kind: 2 colour, 4 gray + alpha, 6 RGBA.
    with path.open("rb") as file:
        head = file.read(26)
    bits = head[24] * _CHANNELS.get(head[25], 1) if kind == "PNG" and len(head) == 26 else 8
    check_believable(path, (height, width), bits, _SMALLEST[kind == "PNG"])
    deep = kind == "PNG" and len(head) == 26 and head[24] == 16 and head[25] in (2, 4, 6)
    return width, height, mode, deep, 1 if kind == "MPO" else frames


def _gray_type(mode: str, deep: bool) -> np.dtype[Any]:
    if deep or mode.startswith("I;16"):
        return np.dtype(np.uint16)
    return np.dtype({"I": np.int32, "F": np.float32}.get(mode, np.uint8))


def _plain(picture: Any) -> Any:
    """Return the picture in a mode that numpy reads as numbers of gray or RGB."""
    if picture.mode in ("1", "LA", "La"):
        return picture.convert("L")
    if picture.mode in _GRAY or picture.mode == "RGB":
        return picture
    return picture.convert("RGB")
