"""Napari without a screen; only for the process that test_in_napari.py starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

if "CELLSEG_IN_NAPARI" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


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
