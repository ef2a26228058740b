"""Image, labels, outlines and table of a result as one SpatialData store."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ConfigurationError
from cellseg_core.label_image import read_labels
from cellseg_core.polygons import Polygons, find_polygons
from cellseg_io.h5ad import of_cells, units_of

if TYPE_CHECKING:
    from cellseg_core.result import Result
    from cellseg_core.table import CellTable

__all__ = ["SpatialDataWriter"]

_CHUNK = 2048  # px
_SMALLEST = 1024  # px: a level of no more on both sides is the last one

_Read = Callable[[slice, slice], NDArray[Any]]


def _is_choice(_: object, __: object, value: str) -> None:
    if value not in ("nuclear", "all", "none"):
        raise ConfigurationError(
            f"the images of a SpatialData store are nuclear, all or none; got {value!r}"
        )


@attrs.frozen
class SpatialDataWriter:
    """Writes ``cells.spatialdata.zarr``: what ``spatialdata.read_zarr`` opens.

    ``image`` has channels, ``nuclei_labels`` and ``cells_labels`` the label images, all three with
    a pyramid; ``cells`` the outlines of the cells along pixel edges; ``table`` the measurements, an
    AnnData whose rows are linked to ``cells`` by the ids. The coordinate system ``global`` is in
    px; where the pixel size is known, ``um`` is in um. Without cells there are neither outlines nor
    a table.

    Parameters
    ----------
    images
        ``nuclear``: the channels that nuclei were found in. ``all``: a copy of every channel.
        ``none``: no image.
    """

    images: str = attrs.field(default="nuclear", validator=_is_choice)

    def write(self, result: Result, folder: Path) -> list[Path]:
        """Write the store, and return all its files."""
        with warnings.catch_warnings():
            # What its packages say to each other about versions to come is not for users.
            warnings.simplefilter("ignore")
            import spatialdata
            from spatialdata.models import Labels2DModel

            known = _coordinate_systems(result.image.pixel_size)
            elements: dict[str, Any] = self._images(result, known)
            for name, labels in (("nuclei_labels", result.nuclei), ("cells_labels", result.cells)):
                lazy = _lazy(
                    partial(read_labels, labels),
                    result.image.shape,
                    np.int32,
                )
                elements[name] = Labels2DModel.parse(
                    lazy, transformations=known, scale_factors=_halvings(result.image.shape)
                )
            if len(result.table):
                elements["cells"] = _shapes(find_polygons(result.cells), known)
                elements["table"] = _annotated(result.table)
            path = folder / "cells.spatialdata.zarr"
            spatialdata.SpatialData.init_from_elements(elements).write(path)
        return sorted(file for file in path.rglob("*") if file.is_file())

    def _images(self, result: Result, known: dict[str, Any]) -> dict[str, Any]:
        from dask import array
        from spatialdata.models import Image2DModel

        image = result.image
        numbers = {
            "nuclear": result.scaled.nuclear,
            "all": range(len(image.channels)),
            "none": (),
        }[self.images]
        if not numbers:
            return {}
        planes = [
            _lazy(
                partial(image.read, number),
                image.shape,
                image.read(number, slice(0, 1), slice(0, 1)).dtype,
            )
            for number in numbers
        ]
        return {
            "image": Image2DModel.parse(
                array.stack(planes),
                dims=("c", "y", "x"),
                c_coords=[image.channels[number] for number in numbers],
                transformations=known,
                scale_factors=_halvings(image.shape),
            )
        }


@attrs.frozen(eq=False)
class _Windows:
    """What dask reads window by window."""

    read: _Read
    shape: tuple[int, int]
    dtype: Any
    ndim = 2

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[Any]:
        return self.read(*key)


def _lazy(read: _Read, shape: tuple[int, int], dtype: Any) -> Any:
    from dask import array

    part: Any = _CHUNK
    # One window after the other: readers of images are not made for several threads.
    return array.from_array(
        _Windows(read, shape, np.dtype(dtype)), chunks=part, name=False, lock=True
    )


def _halvings(shape: tuple[int, int]) -> list[int] | None:
    """Return the factors between the levels of a pyramid; None for one level."""
    factors = []
    largest, smallest = max(shape), min(shape)
    while largest > _SMALLEST and smallest > 1:
        factors.append(2)
        largest, smallest = largest // 2, smallest // 2
    return factors or None


def _coordinate_systems(pixel_size: float | None) -> dict[str, Any]:
    from spatialdata.transformations import Identity, Scale

    systems: dict[str, Any] = {"global": Identity()}
    if pixel_size is not None:
        systems["um"] = Scale([pixel_size, pixel_size], axes=("y", "x"))
    return systems


def _shapes(polygons: Polygons, known: dict[str, Any]) -> Any:
    import geopandas
    import shapely
    from spatialdata.models import ShapesModel

    outer = np.flatnonzero(~polygons.holes)
    parts = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON,
        polygons.vertices.astype(np.float64),
        (polygons.starts, np.append(outer, polygons.holes.size)),
    )
    cell_of = np.searchsorted(polygons.first, outer, side="right") - 1
    outlines = parts[np.searchsorted(outer, polygons.first[:-1])]
    several = np.flatnonzero(np.bincount(cell_of, minlength=len(polygons)) > 1)
    if several.size:
        of_several = np.isin(cell_of, several)
        outlines[several] = shapely.multipolygons(
            parts[of_several], indices=np.searchsorted(several, cell_of[of_several])
        )
    frame = geopandas.GeoDataFrame(geometry=outlines, index=polygons.ids)
    return ShapesModel.parse(frame, transformations=known)


def _annotated(table: CellTable) -> Any:
    """Return the table as AnnData whose rows belong to the shapes ``cells``."""
    import anndata
    import pandas as pd
    from spatialdata.models import TableModel

    columns = table.columns()
    rows = pd.Index([str(number) for number in table.labels.tolist()])
    observed = pd.DataFrame({name: columns[name] for name in of_cells(table)}, index=rows)
    observed["element"] = pd.Categorical(["cells"] * len(table))
    positions: Any = {"spatial": table.centroids[:, ::-1]}
    before = {} if table.uncompensated is None else {"uncompensated": table.uncompensated}
    annotated = anndata.AnnData(
        X=table.intensities,
        obs=observed,
        var=pd.DataFrame(index=pd.Index(table.channels)),
        obsm=positions,
        layers={**before, **table.statistics},
        uns={"cellseg": {"units": units_of(table)}},
    )
    return TableModel.parse(annotated, region="cells", region_key="element", instance_key="cell_id")
