"""A finished run, and napari without a screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session")
def napari_started() -> None:
    """Start Qt and OpenGL without a screen, or skip with the reason why that is not possible."""
    pytest.importorskip("napari", reason="needs napari: pip install 'cellseg-core[napari]'")
    from cellseg_core.errors import MissingPackageError
    from cellseg_viewer import offscreen

    try:
        offscreen.start()
    except MissingPackageError as error:
        pytest.skip(str(error))
    try:
        from qtpy import QtWidgets  # noqa: F401
    except Exception as error:  # noqa: BLE001 - Qt raises errors of its own
        pytest.skip(f"Qt does not start: {error}")


@pytest.fixture(scope="module")
def one_viewer(napari_started: None) -> Iterator[Any]:
    import napari

    viewer = napari.Viewer(show=False)
    yield viewer
    viewer.close()


@pytest.fixture
def viewer(one_viewer: Any) -> Iterator[Any]:
    """Return a napari viewer without layers."""
    yield one_viewer
    one_viewer.layers.clear()
