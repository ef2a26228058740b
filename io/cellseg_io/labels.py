"""Label images as OME-TIFF."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from cellseg_core.pipeline import Result
    from cellseg_core.protocols import Labels

__all__ = ["LabelsWriter"]

_TILED_FROM = 1024


@attrs.frozen
class LabelsWriter:
    """Writes ``nuclei.ome.tif`` and ``cells.ome.tif``: int32 (Y, X), the ids of the table.

    Deflate compression, the pixel size where it is known, tiles of 512 px for images over 1024
    px, BigTIFF where a file could pass 4 GB.
    """

    def write(self, result: Result, folder: Path) -> list[Path]:
        """Write both label images and return their paths."""
        paths = []
        for kind, labels in (("nuclei", result.nuclei), ("cells", result.cells)):
            path = folder / f"{kind}.ome.tif"
            _write(path, labels, f"{result.image.name} {kind}", result.image.pixel_size)
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
