"""Outlines of cells as regions of interest, for the ROI Manager of ImageJ and Fiji."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ConfigurationError
from cellseg_io.cell_outlines import grown, outlines_of_cells

if TYPE_CHECKING:
    from cellseg_core.result import Result

__all__ = ["RoisWriter"]

_LARGEST_WHOLE = 60_535  # what ImageJ takes for a whole number that is not negative
_MOVE, _LINE, _CLOSE = 0, 1, 4

_Rings = list[tuple[NDArray[np.int32], bool]]


def _is_outline(_: object, __: object, value: str) -> None:
    if value not in ("cells", "nuclei"):
        raise ConfigurationError(f"the outlines of rois are cells or nuclei; got {value!r}")


@attrs.frozen
class RoisWriter:
    """Writes ``rois.zip``: one region a cell, named by its id, that ImageJ and Fiji open.

    A region has exactly the pixels of the cell. One in one piece is a traced outline, as the wand
    makes it; where it reaches beyond 60,535 px it is a polygon with floating-point corners, which
    are exact up to 2**24 px. One of several pieces, or with holes, is a composite. An image without
    cells gets no file, since ImageJ does not open an empty one.

    Parameters
    ----------
    outlines
        ``cells``, or ``nuclei``: as they were before they were grown.
    """

    outlines: str = attrs.field(default="cells", validator=_is_outline)

    def write(self, result: Result, folder: Path) -> list[Path]:
        """Write the regions, and return the path."""
        if not len(result.table):
            return []
        part = "nucleus" if self.outlines == "nuclei" and grown(result) else "cell"
        path = folder / "rois.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for _, polygons in outlines_of_cells(result):
                found = polygons[part]
                for number, rings in zip(found.ids.tolist(), found.rings(), strict=True):
                    if rings:
                        # Without a date of its own an entry is of 1980: the same in every run.
                        entry = zipfile.ZipInfo(f"{number}.roi")
                        entry.external_attr = 0o644 << 16
                        archive.writestr(entry, _region(str(number), rings))
        return [path]


def _region(name: str, rings: _Rings) -> bytes:
    from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

    corners = rings[0][0][:-1]
    # The first outer ring begins at its top; that of another piece may reach further.
    every = corners if len(rings) == 1 else np.concatenate([ring for ring, _ in rings])
    (left, top), (right, bottom) = every.min(axis=0).tolist(), every.max(axis=0).tolist()
    facts: dict[str, Any] = {}
    if len(rings) > 1:
        path = np.concatenate([_path(ring) for ring, _ in rings])
        facts = {"roitype": ROI_TYPE.RECT, "multi_coordinates": path, "shape_roi_size": path.size}
    else:
        facts = {
            "roitype": ROI_TYPE.TRACED,
            "integer_coordinates": corners - np.array([left, top], np.int32),
            "n_coordinates": len(corners),
        }
        if max(right, bottom) > _LARGEST_WHOLE:
            facts["roitype"] = ROI_TYPE.POLYGON
            facts["options"] = ROI_OPTIONS.SUB_PIXEL_RESOLUTION
            facts["subpixel_coordinates"] = corners.astype(np.float32)
    region: bytes = ImagejRoi(
        name=name, top=top, left=left, bottom=bottom, right=right, **facts
    ).tobytes()
    return region


def _path(ring: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return a ring as a path of ImageJ: a word for what to do, and where."""
    steps = np.empty((len(ring) - 1, 3), np.float32)
    steps[:, 0] = _LINE
    steps[0, 0] = _MOVE
    steps[:, 1:] = ring[:-1]
    return np.append(steps.ravel(), np.float32(_CLOSE))
