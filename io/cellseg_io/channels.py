"""Reads a folder of single-channel TIFFs as one image; the file names are the channel names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from cellseg_core.errors import ChannelError, ImageError
from cellseg_core.image import Image
from cellseg_io.files import natural_key, stem
from cellseg_io.lazy import LazyPlanes
from cellseg_io.stack import FileStack
from cellseg_io.tiff import open_plane

__all__ = ["ChannelFolderReader"]


@attrs.frozen
class ChannelFolderReader:
    """Reads the TIFFs of a folder as the channels of one image, in natural order of their names.

    Hidden files, the ``._`` files of macOS and files that are not TIFF do not count. The image is
    named by its folder, or by the folder above one called ``channels``.
    """

    def read(self, path: Path) -> Sequence[Image]:
        """Return the one image of the folder.

        Raises
        ------
        ImageError
            If the path is no folder, holds no TIFF, a TIFF of several channels, or TIFFs of
            different size; the odd one is named.
        ChannelError
            If two files would give the same channel name.
        """
        path = Path(path)
        files = _tiffs(path)
        names = [stem(file) for file in files]
        folded = [name.casefold() for name in names]
        for file, name in zip(files, folded, strict=True):
            first = files[folded.index(name)]
            if first != file:
                raise ChannelError(
                    f"{path}: {first.name} and {file.name} would both be the channel "
                    f"{stem(first)!r}. Rename one, or take it out of the folder."
                )
        planes = [open_plane(f, name) for f, name in zip(files, names, strict=True)]
        shape = Counter(plane.shape for plane in planes).most_common(1)[0][0]
        odd = [
            f"{f.name} {p.shape}" for f, p in zip(files, planes, strict=True) if p.shape != shape
        ]
        if odd:
            raise ImageError(
                f"{path}: the channels of one image have one size; most here are {shape} (rows, "
                f"columns), but not: {', '.join(odd)}. If these are separate images, read the "
                "folder with --layout images."
            )
        kinds = sorted({str(plane.dtype) for plane in planes})
        dtype = np.result_type(*(plane.dtype for plane in planes))
        stack = FileStack(files, shape, dtype)
        for number, plane in enumerate(planes):
            stack.add(number, plane)
        plural = "TIFF" if len(files) == 1 else "TIFFs"
        notes = [f"a folder of {len(files)} single-channel {plural}, named by their file names"]
        if len(kinds) > 1:
            notes.append(f"types {', '.join(kinds)} read as {dtype}")
        size, note = _common_pixel_size(planes)
        notes += [note] if note else []
        folder = path.resolve()
        return [
            Image(
                LazyPlanes((len(files), *shape), dtype, stack),
                channels=tuple(names),
                pixel_size=size,
                name=(folder.parent if folder.name.casefold() == "channels" else folder).name,
                source=str(path),
                axes="; ".join(notes),
                files=tuple(files),
            )
        ]


def _tiffs(folder: Path) -> list[Path]:
    try:
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise ImageError(f"{folder} {what}; a folder of single-channel TIFFs was expected.")
        names = [p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(
            f"{folder} cannot be listed ({error.strerror or error}). Check its permissions."
        ) from error
    tiffs = [name for name in names if name.lower().endswith((".tif", ".tiff"))]
    if not tiffs:
        found = f"it holds: {', '.join(sorted(names)[:10])}" if names else "it is empty"
        raise ImageError(f"{folder} holds no TIFF (*.tif, *.tiff) to take as channels; {found}.")
    return [folder / name for name in sorted(tiffs, key=natural_key)]


def _common_pixel_size(planes: Sequence[Image]) -> tuple[float | None, str]:
    sizes = [plane.pixel_size for plane in planes if plane.pixel_size is not None]
    if not sizes:
        return None, ""
    if max(sizes) - min(sizes) > 0.01 * max(sizes):
        return None, (
            f"the files disagree on the pixel size ({min(sizes):g} to {max(sizes):g} um); not used"
        )
    return sizes[0], "pixel size from the files"
