"""TIFF, OME-TIFF, ImageJ TIFF and QPTIFF: see :mod:`cellseg_io.tiff.reader`."""

from __future__ import annotations

from cellseg_io.tiff.reader import TiffReader, open_plane

__all__ = ["TiffReader", "open_plane"]
