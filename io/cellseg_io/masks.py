"""The label images as a stack that ImageJ and Fiji open without any plugin."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from cellseg_core.errors import OutputError
from cellseg_core.label_image import bands_of, read_labels

if TYPE_CHECKING:
    from cellseg_core.result import Result

__all__ = ["MasksWriter"]

_EXACT_IDS = 2**24


@attrs.frozen
class MasksWriter:
    """Writes ``masks.tif``: an ImageJ stack of two channels, nuclei and cells, with the ids.

    16 bits for ids up to 65,535, else 32-bit floats, which ImageJ has in place of whole numbers of
    32 bits, and which are exact up to 16,777,216. Not compressed, so that ImageJ's own reader takes
    files of any size. The pixel size goes along where it is known.

    Raises
    ------
    OutputError
        If an id is larger than that.
    """

    def write(self, result: Result, folder: Path) -> list[Path]:
        """Write both label images band by band, and return the path."""
        import tifffile

        path, table = folder / "masks.tif", result.table
        highest = int(table.labels.max(initial=0))
        if highest > _EXACT_IDS:
            raise OutputError(
                f"{table.image}: ImageJ holds ids up to {_EXACT_IDS:,} exactly; this image has "
                f"{highest:,}. Leave masks out of --write, and open the files of the writer "
                "labels instead (Fiji: Plugins > Bio-Formats), or split the image."
            )
        dtype = np.dtype(np.uint16 if highest <= np.iinfo(np.uint16).max else np.float32)
        pixel_size = result.image.pixel_size
        known: dict[str, Any] = {} if pixel_size is None else {"resolution": (1 / pixel_size,) * 2}
        with warnings.catch_warnings():
            # Beyond 4 GB there is one entry for both planes, as ImageJ itself writes it.
            warnings.filterwarnings("ignore", "(?s).*truncating ImageJ file")
            place = tifffile.imwrite(
                path,
                shape=(2, *result.image.shape),
                dtype=dtype,
                imagej=True,
                byteorder=">",
                metadata={
                    "axes": "CYX",
                    "mode": "grayscale",
                    "Labels": ["nuclei", "cells"],
                    "min": 0.0,
                    "max": float(max(highest, 1)),
                    **({} if pixel_size is None else {"unit": "um"}),
                },
                returnoffset=True,
                **known,
            )
        assert place is not None, "an array without gaps lies at one place"
        with path.open("r+b") as stream:
            stream.seek(place[0])
            for labels in (result.nuclei, result.cells):
                for rows in bands_of(labels):
                    # ImageJ's files begin with the high byte.
                    band = read_labels(labels, rows, name=table.image)
                    stream.write(band.astype(dtype.newbyteorder(">")).tobytes())
        return [path]
