"""The table of cells as AnnData, for scanpy and squidpy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from cellseg_core.store import atomic_path
from cellseg_core.table import FIXED_COLUMNS
from cellseg_io.about import about, units
from cellseg_io.hdf5 import disk_checked

if TYPE_CHECKING:
    from anndata import AnnData

    from cellseg_core.finished_run import FinishedRun
    from cellseg_core.result import Result
    from cellseg_core.table import CellTable

__all__ = ["H5adWriter", "of_cells", "to_anndata", "units_of"]


@attrs.frozen
class H5adWriter:
    """Writes ``cells.h5ad``: see :func:`to_anndata`."""

    def write(self, result: Result, folder: Path) -> list[Path]:
        """Write the table and return its path."""
        path = folder / "cells.h5ad"
        data = to_anndata(result)
        with disk_checked(folder, data.__sizeof__()):
            data.write_h5ad(path)
        return [path]

    def combine(self, run: FinishedRun) -> list[Path]:
        """Write the cells of all images into one file and return its path."""
        from cellseg_io.h5ad_concatenation import concatenate

        path = run.out / "cells.h5ad"
        parts = [image.folder / "cells.h5ad" for image in run.images.values()]
        size = sum(part.stat().st_size for part in parts)
        with atomic_path(path) as partial, disk_checked(run.out, size):
            concatenate(parts, partial)
        return [path]


def to_anndata(result: Result) -> AnnData:
    """Return the table of cells of one image as AnnData.

    ``X`` and the layers are float64, so that they are those of ``cells.csv`` to the last bit. A
    slash would open a folder in HDF5: in names of columns, layers and images it is ``%2F``; names
    of channels keep it.

    Returns
    -------
    AnnData
        ``X``: the means, compensated where compensation is on. ``layers``: then ``uncompensated``
        and ``compensated``, and one for each other statistic. ``var``: channels, with their
        ``column`` in ``cells.csv``. ``obs``: all other columns; a cell is called by its image and
        its id. ``obsm["spatial"]``: x and y in px of the whole region, as squidpy wants them.
        ``uns["cellseg"]``: units, and pixel size and provenance of each image.

    Notes
    -----
    There is no ``uns["spatial"]``: squidpy takes a table that has it for the regular spots of
    Visium, and would look for the six neighbours of a spot where cells have as many as they touch.
    """
    import anndata
    import pandas as pd

    table = result.table
    columns = table.columns()
    names = [f"{table.image}_{number}" for number in table.labels.tolist()]
    obs = pd.DataFrame(
        {
            "image": pd.Categorical([table.image] * len(table), [table.image]),
            **{_key(name): columns[name] for name in of_cells(table)},
        },
        index=pd.Index(names, dtype=object),
    )
    layers = {_key(name): np.asarray(v, np.float64) for name, v in table.statistics.items()}
    if table.uncompensated is not None:
        both = {"compensated": table.intensities, "uncompensated": table.uncompensated}
        layers = {**both, **layers}
    data = anndata.AnnData(
        X=table.intensities.copy(),
        obs=obs,
        var=pd.DataFrame(
            {"column": list(table.channel_columns().values())},
            index=pd.Index(table.channels, dtype=object),
        ),
        layers=layers,
        uns=_uns(result),
    )
    data.obsm["spatial"] = np.stack([columns["absolute_x"], columns["absolute_y"]], axis=1)
    return data


def _uns(result: Result) -> dict[str, Any]:
    told = about(result)
    size = told["pixel_size_um"]
    image = {
        "compensated": told["compensated"],
        # Names of channels are among its keys, which HDF5 would take for folders.
        "decided": json.dumps(told["decided"], sort_keys=True, default=str),
        **({} if size is None else {"pixel_size_um": float(size)}),
    }
    return {
        "cellseg": {
            "version": told["cellseg_core"],
            "units": units_of(result.table),
            "images": {_key(told["image"]): image},
        }
    }


def of_cells(table: CellTable) -> list[str]:
    """Return the columns that do not belong to a channel."""
    return [name for name in table.columns() if name in FIXED_COLUMNS or name in table.features]


def units_of(table: CellTable) -> dict[str, Any]:
    """Return the units of ``obs``; those of X and the layers are under ``X`` and ``layers``."""
    unit = units(table)
    first = next(iter(table.channel_columns().values()))
    layers = {_key(name): unit[f"{first}:{name}"] for name in table.statistics}
    if table.uncompensated is not None:
        layers = {"compensated": unit[first], "uncompensated": unit[first], **layers}
    of_obs = {_key(name): unit[name] for name in of_cells(table) if name in unit}
    return {**of_obs, "X": unit[first], "layers": layers}


def _key(name: str) -> str:
    return "%2E" if name == "." else name.replace("/", "%2F")
