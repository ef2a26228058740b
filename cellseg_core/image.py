"""The multiplexed image: lazy pixels of shape (C, Y, X) with channel names and a pixel size."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.address import Location
from cellseg_core.channels import find_channel
from cellseg_core.errors import ChannelError, ImageError

__all__ = ["Image", "LazyPixels", "Position"]

# Line breaks and other control characters, and halves of characters, which no file can hold.
_BREAKS_TABLES = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_LONGEST_NAME = 10_000


class LazyPixels(Protocol):
    """Anything that looks like an array (C, Y, X) and gives numpy arrays when it is indexed.

    numpy, ``numpy.memmap``, zarr, h5py and dask arrays qualify. It is only ever indexed as
    ``pixels[c, y0:y1, x0:x1]`` with an integer ``c``, so a reader decodes one channel at a time.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Return ``(C, Y, X)``."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the data type as stored in the file."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """Return the pixels of one channel and window."""
        ...


@attrs.frozen
class Position:
    """Where an image lies in a larger acquisition; a plain image is tile (1, 1) of region 1.

    ``y0`` and ``x0`` are the coordinates in px, in the region, of the image's first pixel.
    """

    region: int = 1
    tile_row: int = 1
    tile_col: int = 1
    tile_z: int = 1
    y0: float = 0.0
    x0: float = 0.0


def _as_pixels(pixels: Any) -> LazyPixels:
    array: LazyPixels = (
        pixels if hasattr(pixels, "shape") and hasattr(pixels, "dtype") else np.asarray(pixels)
    )
    if len(array.shape) == 2:
        array = np.asarray(array)[np.newaxis]
    return array


def _as_names(channels: Any) -> tuple[str, ...]:
    if channels is None:
        return ()
    names = (channels,) if isinstance(channels, str) else channels
    return tuple(_BREAKS_TABLES.sub(" ", str(name)).strip() for name in names)


@attrs.frozen(eq=False, repr=False)
class Image:
    """One multiplexed image.

    Parameters
    ----------
    pixels
        Array-like of shape (C, Y, X), or (Y, X) for a single channel; 8, 16 or 32-bit integers,
        or floats. It may be lazy (see :class:`LazyPixels`): nothing is read before it is needed.
    channels
        One name for each channel, unique. Default: ``channel_1``, ``channel_2`` and so on.
    pixel_size
        Edge length of a pixel in um, or None where it is not known.
    name
        Name of the image: the folder of its results, and the ``image`` column of the table.
    source
        Where the pixels came from, for messages and provenance.
    axes
        How the axes of the file were understood, in words that ``cellseg info`` shows.
    position
        Place in a larger acquisition.
    color
        True where the channels are red, green and blue of one photograph (bright field) and not
        independent markers.
    files
        All files that the pixels come from; a change in one of them is noticed on resuming. Of an
        image at an address, documents that tell one state of it from another.
    notes
        What a user should look at before trusting the image; a run shows each as a warning.

    Raises
    ------
    ImageError
        If the shape is not (C, Y, X), an axis is empty, the type is not a number, or the pixel
        size is not positive.
    ChannelError
        If the number of names differs from the number of channels, or a name occurs twice.

    >>> image = Image(np.zeros((2, 30, 40), np.uint16), channels=("DAPI", "CD3"), pixel_size=0.5)
    >>> image
    <Image 'image': 2 channels x 30 x 40 px, uint16, 0.5 um/px>
    >>> image.index("CD3")
    1
    """

    pixels: LazyPixels = attrs.field(converter=_as_pixels)
    channels: tuple[str, ...] = attrs.field(default=(), converter=_as_names)
    pixel_size: float | None = None
    name: str = "image"
    source: str = "memory"
    axes: str = "CYX as given"
    position: Position = attrs.field(factory=Position)
    color: bool = False
    files: tuple[Location, ...] = ()
    notes: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        where = self.name if self.source == "memory" else self.source
        shape = tuple(int(n) for n in self.pixels.shape)
        if len(shape) != 3:
            raise ImageError(
                f"{where}: an image has the axes (channel, y, x); this array has the shape "
                f"{shape}. Choose one plane, or reorder its axes with numpy.moveaxis."
            )
        if 0 in shape:
            raise ImageError(f"{where}: the image is empty: its shape (C, Y, X) is {shape}.")
        if np.dtype(self.pixels.dtype).kind not in "buif":
            raise ImageError(
                f"{where}: pixels are integers or floats; these are {self.pixels.dtype}."
            )
        if not self.channels:
            object.__setattr__(
                self, "channels", tuple(f"channel_{i}" for i in range(1, shape[0] + 1))
            )
        if len(self.channels) != shape[0]:
            raise ChannelError(
                f"{where}: {len(self.channels)} channel names for {shape[0]} channels "
                f"(shape {shape}). The names are: {', '.join(self.channels)}. Give one name for "
                "each channel, in the order of the image (--channels FILE, one name a line)."
            )
        if not all(self.channels):
            raise ChannelError(
                f"{where}: channel {self.channels.index('') + 1} has an empty name. Name every "
                "channel in a file for --channels."
            )
        longest = max(self.channels, key=len)
        if len(longest) > _LONGEST_NAME:
            raise ChannelError(
                f"{where}: the name of channel {self.channels.index(longest) + 1} has "
                f"{len(longest):,} characters ({longest[:40]}...), and {_LONGEST_NAME:,} are the "
                "most. Name the channels in a file for --channels."
            )
        twice = sorted(name for name, times in Counter(self.channels).items() if times > 1)
        if twice:
            raise ChannelError(
                f"{where}: channel names must be unique; {', '.join(map(repr, twice))} "
                "occurs more than once. Rename them in a file for --channels."
            )
        if self.pixel_size is not None and not 1e-4 <= self.pixel_size <= 1e4:
            raise ImageError(
                f"{where}: a pixel size is a positive number of um, between 0.0001 and "
                f"10,000; got {self.pixel_size}."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Return (height, width) in px."""
        _, height, width = self.pixels.shape
        return int(height), int(width)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the data type of the stored pixels."""
        return np.dtype(self.pixels.dtype)

    @property
    def stored(self) -> tuple[int, int] | None:
        """Return (rows, columns) in px of what is decoded in one piece, None if any part can be.

        It is what the pixels say as ``stored``, where they say it.
        """
        return getattr(self.pixels, "stored", None)

    @property
    def levels(self) -> tuple[LazyPixels, ...]:
        """Return the smaller copies of the pixels that the file has, largest first, if any.

        They are what the pixels say as ``levels``, where they say it.
        """
        return tuple(getattr(self.pixels, "levels", ()))

    def index(self, channel: str) -> int:
        """Return the number of the channel that the name means.

        Case counts only where it must, and ``DNA1`` finds ``DNA1_Ir191``: see
        :func:`~cellseg_core.channels.find_channel`.

        Raises
        ------
        ChannelError
            If no channel, or more than one, fits; the message lists the nearest ones.
        """
        try:
            return find_channel(channel, self.channels)
        except ChannelError as error:
            raise ChannelError(f"{self.name}: {error}") from None

    def read(
        self, channel: int, rows: slice = slice(None), columns: slice = slice(None)
    ) -> NDArray[Any]:
        """Return one window (Y, X) of one channel as a numpy array in the stored type.

        Raises
        ------
        ImageError
            If the file cannot be decoded, with its name and the reason.
        """
        try:
            window = np.asarray(self.pixels[channel, rows, columns])
        except (ImageError, MemoryError):
            raise
        except Exception as error:
            raise ImageError(
                f"{self.name}: channel {self.channels[channel]!r} of {self.source} cannot be "
                f"read ({type(error).__name__}: {error}). The file may be damaged or incomplete: "
                "copy it again from where it came."
            ) from error
        return window.astype(np.uint8) if window.dtype.kind == "b" else window

    def __repr__(self) -> str:
        height, width = self.shape
        size = "" if self.pixel_size is None else f", {self.pixel_size:g} um/px"
        plural = "channel" if len(self.channels) == 1 else "channels"
        return (
            f"<Image {self.name!r}: {len(self.channels)} {plural} x {height} x {width} px, "
            f"{self.dtype}{size}>"
        )
