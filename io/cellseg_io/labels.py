"""Label images as OME-TIFF or OME-Zarr."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from cellseg_core.errors import ConfigurationError
from cellseg_core.label_image import read_labels
from cellseg_io.ome_zarr.label_pyramid import write_label_pyramid

if TYPE_CHECKING:
    from cellseg_core.protocols import Labels
    from cellseg_core.result import Result

__all__ = ["LabelsWriter"]

_TILED_FROM = 1024
_LARGE = 2**28  # px


def _is_format(_: object, __: object, value: str) -> None:
    if value not in ("auto", "tiff", "zarr"):
        raise ConfigurationError(f"the format of label images is tiff, zarr or auto; got {value!r}")


@attrs.frozen
class LabelsWriter:
    """Writes ``nuclei`` and ``cells``: int32 (Y, X), the ids of the table.

    Parameters
    ----------
    format
        ``tiff``: ``nuclei.ome.tif``, with deflate compression, tiles of 512 px for images over
        1024 px, BigTIFF where a file could pass 4 GB. ``zarr``: the folder ``nuclei.ome.zarr``,
        OME-Zarr 0.5 with a pyramid, which viewers open at any size. ``auto``: Zarr from 2**28 px
        on (16,384 x 16,384). All have the pixel size where it is known.
    """

    format: Literal["auto", "tiff", "zarr"] = attrs.field(default="auto", validator=_is_format)

    def write(self, result: Result, folder: Path) -> list[Path]:
        """Write both label images and return the paths of all files."""
        paths = []
        size = result.image.shape[0] * result.image.shape[1]
        as_zarr = self.format == "zarr" or (self.format == "auto" and size >= _LARGE)
        for kind, labels in (("nuclei", result.nuclei), ("cells", result.cells)):
            name, pixel_size = f"{result.image.name} {kind}", result.image.pixel_size
            if as_zarr:
                path = folder / f"{kind}.ome.zarr"
                paths += write_label_pyramid(path, labels, name, pixel_size)
            else:
                path = folder / f"{kind}.ome.tif"
                _write(path, read_labels(labels), name, pixel_size)
                paths.append(path)
        return paths


def _write(path: Path, labels: Labels, name: str, pixel_size: float | None) -> None:
    import tifffile

    # OME wants a UUID; one made from the content gives the same file for the same labels.
    content = hashlib.sha256(f"{name} {labels.shape}".encode())
    content.update(labels.data if labels.flags.c_contiguous else labels.tobytes())
    identity = uuid.UUID(bytes=content.digest()[:16], version=4)
    metadata: dict[str, Any] = {"axes": "YX", "Name": name, "UUID": f"urn:uuid:{identity}"}
    resolution: dict[str, Any] = {}
    if pixel_size is not None:
        metadata |= {
            "PhysicalSizeX": pixel_size,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": pixel_size,
            "PhysicalSizeYUnit": "µm",
        }
        # For programs that read the TIFF tags alone: pixels per cm.
        resolution = {"resolution": (1e4 / pixel_size,) * 2, "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(
        path,
        labels,
        ome=True,
        metadata=metadata,
        photometric="minisblack",
        compression="zlib",
        predictor=True,
        tile=(512, 512) if max(labels.shape) > _TILED_FROM else None,
        bigtiff=labels.nbytes > 2**31,
        **resolution,
    )
