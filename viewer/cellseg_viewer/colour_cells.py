"""The widget that colours cells by a value of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from magicgui.widgets import ComboBox, Container, Label
from numpy.typing import NDArray

from cellseg_viewer.pyramid import Level, mapped

__all__ = ["ColourCells", "values_by_id"]

_COLORMAPS = ("viridis", "magma", "turbo", "gray")
_LOW, _HIGH = 1.0, 99.0  # percentiles
_NAME = "cells by value"


def values_by_id(ids: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float32]:
    """Return an array whose place ``i`` holds the value of the cell with id ``i``, NaN where none.

    >>> values_by_id(np.array([1, 3]), np.array([0.5, 2.0])).tolist()
    [nan, 0.5, nan, 2.0]
    """
    found = np.full(int(ids.max(initial=0)) + 1, np.nan, np.float32)
    found[ids] = values
    return found


class ColourCells(Container[Any]):
    """Choose a labels layer and a column of its table; cells are drawn in colours of its values.

    Parameters
    ----------
    viewer
        The napari viewer.
    """

    def __init__(self, napari_viewer: Any) -> None:
        self._viewer = napari_viewer
        self._coloured: Any = None
        self.cells = ComboBox(label="cells of", choices=self._labels_layers)
        self.value = ComboBox(label="colour by", choices=self._columns, nullable=True)
        self.colours = ComboBox(label="colours", choices=_COLORMAPS)
        hint = Label(value="Contrast: in the controls\nof the new layer.")
        super().__init__(widgets=[self.cells, self.value, self.colours, hint])
        self.cells.changed.connect(self.value.reset_choices)
        self.value.changed.connect(self._draw)
        self.colours.changed.connect(self._recolour)
        self._choose_cells()
        for event in (self._viewer.layers.events.inserted, self._viewer.layers.events.removed):
            event.connect(self._refresh)

    def _refresh(self, _event: Any = None) -> None:
        self.cells.reset_choices()

    def _choose_cells(self) -> None:
        choices = self.cells.choices
        if choices:
            self.cells.value = choices[-1]

    def _labels_layers(self, _widget: Any = None) -> list[Any]:
        from napari.layers import Labels

        return [one for one in self._viewer.layers if isinstance(one, Labels) and len(one.features)]

    def _columns(self, _widget: Any = None) -> list[str]:
        layer = self.cells.value
        if layer is None:
            return []
        numbers = layer.features.select_dtypes(["number", "bool"])
        return [str(name) for name in numbers if name != "index"]

    def _recolour(self, colormap: str) -> None:
        if self._coloured is not None:
            self._coloured.colormap = colormap

    def _draw(self, column: str | None) -> None:
        """Show the values of a column, in a layer of its own."""
        labels = self.cells.value
        if self._coloured is not None and self._coloured in self._viewer.layers:
            self._viewer.layers.remove(self._coloured)
        self._coloured = None
        if labels is None or column is None:
            return
        table = labels.features
        values = table[column].to_numpy(np.float64)
        by_id = values_by_id(table["index"].to_numpy(np.int64), values)

        def coloured(window: NDArray[Any]) -> NDArray[np.float32]:
            known = window < by_id.size
            return np.where(known, by_id[np.where(known, window, 0)], np.float32(np.nan))

        levels = mapped(_levels(labels), coloured, np.float32)
        self._coloured = self._viewer.add_image(
            levels if labels.multiscale else levels[0],
            name=f"{labels.name} by {column}",
            multiscale=labels.multiscale,
            rgb=False,
            colormap=self.colours.value,
            contrast_limits=_limits(values),
            scale=labels.scale,
            translate=labels.translate,
            units=labels.units,
            blending="translucent",
        )


def _levels(labels: Any) -> Sequence[Level]:
    stored = labels.data if labels.multiscale else [labels.data]

    def level(array: Any) -> Level:
        if isinstance(array, Level):
            return array
        return Level(
            tuple(array.shape),
            np.dtype(array.dtype),
            lambda rows, columns: np.asarray(array[rows, columns]),
        )

    return [level(array) for array in stored]


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(known, (_LOW, _HIGH)))
    return (low, high) if high > low else (low, low + 1)
