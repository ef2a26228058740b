"""OME-Zarr: see :mod:`cellseg_io.ome_zarr.reader`."""

from __future__ import annotations

from cellseg_io.ome_zarr.reader import OmeZarrReader

__all__ = ["OmeZarrReader"]
