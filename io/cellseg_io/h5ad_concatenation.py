"""One AnnData file from those of many images, band by band."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_io.files import damaged

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["concatenate"]

_VALUES = 2**22  # moved at a time


def concatenate(files: Sequence[Path], target: Path) -> None:
    """Write the cells of all files, in order, into one; of these only ``obs`` is held whole.

    Of different panels the channels of all are there, in the order of their first appearance, and
    a cell is NaN in channels and layers that its image does not have. anndata's own
    ``concat_on_disk`` keeps all files open and drops ``uns``.
    """
    import anndata
    import h5py
    import pandas as pd

    parts = [_Part.read(file) for file in files]
    var = pd.concat([part.var for part in parts])
    var = var[~var.index.duplicated()]
    obs = pd.concat([part.obs.astype({"image": object}) for part in parts])
    # Images without cells are no categories: squidpy goes over all of them.
    obs["image"] = pd.Categorical(obs["image"], obs["image"].unique())
    uns: dict[str, Any] = {}
    for part in parts:
        _merge(uns, part.uns)
    data = anndata.AnnData(obs=obs, var=var, uns=uns)
    data.obsm["spatial"] = np.concatenate([part.spatial for part in parts])
    data.write_h5ad(target)
    tables = ["X", *dict.fromkeys(name for part in parts for name in part.layers)]
    with h5py.File(target, "r+") as out:
        for table in tables:
            if table in out:
                del out[table]
            values = out.create_dataset(table, (len(obs), len(var)), np.float64)
            values.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        start = 0
        for part in parts:
            columns = var.index.get_indexer(part.var.index)
            with h5py.File(part.path) as file:
                for table in tables:
                    _copy(file.get(table), out[table], slice(start, start + len(part.obs)), columns)
            start += len(part.obs)


@attrs.frozen(eq=False)
class _Part:
    """What is held of one file: all but the values."""

    path: Path
    obs: pd.DataFrame
    var: pd.DataFrame
    uns: dict[str, Any]
    spatial: NDArray[np.float64]
    layers: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> _Part:
        import anndata.io
        import h5py

        # It has one type for all that can be in a file.
        read: Any = anndata.io.read_elem
        try:
            with h5py.File(path) as file:
                obs, var, uns, obsm = (read(file[name]) for name in ("obs", "var", "uns", "obsm"))
                layers = tuple(f"layers/{name}" for name in file.require_group("layers"))
            return cls(path, obs, var, uns, obsm["spatial"], layers)
        except (OSError, RuntimeError, ValueError, LookupError) as error:
            raise damaged(path, error) from error


def _copy(source: Any, target: Any, rows: slice, columns: NDArray[np.intp]) -> None:
    """Copy values to some rows and columns of the target; None stands for nothing but NaN."""
    step = max(1, _VALUES // max(1, target.shape[1]))
    for start in range(rows.start, rows.stop, step):
        stop = min(start + step, rows.stop)
        block = np.full((stop - start, target.shape[1]), np.nan)
        if source is not None:
            block[:, columns] = source[start - rows.start : stop - rows.start]
        target[start:stop] = block


def _merge(whole: dict[str, Any], part: dict[str, Any]) -> None:
    for name, value in part.items():
        if isinstance(value, dict):
            _merge(whole.setdefault(name, {}), value)
        else:
            whole[name] = value
