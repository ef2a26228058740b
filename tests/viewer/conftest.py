"""A finished run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellseg_core.batch import run_batch
from cellseg_core.config import RunConfig

HOSTILE = '=SUM(A1) "<b>é/\\'


def write_tissue(path: Path, shape: tuple[int, int] = (120, 160)) -> None:
    """Write an OME-TIFF of three channels with bright discs of 10 px; they are brighter below."""
    y, x = (np.arange(length) % 20 - 10 for length in shape)
    discs = (y[:, None] ** 2 + x[None] ** 2) < 25
    slope = np.linspace(300, 3000, shape[0])[:, None] + np.zeros(shape)
    planes = [discs * slope + 100, discs * slope / 3, np.arange(shape[1]) * np.ones(shape)]
    tifffile.imwrite(
        path,
        np.stack(planes).astype(np.uint16),
        ome=True,
        photometric="minisblack",
        metadata={
            "axes": "CYX",
            "Channel": {"Name": ["DAPI", "CD3", HOSTILE]},
            "PhysicalSizeX": 0.5,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.5,
            "PhysicalSizeYUnit": "µm",
        },
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run over two images, ``a`` and ``b``."""
    folder = tmp_path_factory.mktemp("finished")
    for name in "ab":
        write_tissue(folder / f"{name}.ome.tif")
    config = RunConfig(
        nuclear=("DAPI",),
        segmenter="watershed",
        nuclear_diameter=10,
        expand=2,
        features=("eccentricity",),
        write=("csv", "labels"),
    )
    run_batch([folder / "a.ome.tif", folder / "b.ome.tif"], folder / "out", config)
    return folder / "out"
