"""The widget that tries settings on a part of an image, and writes them for a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FloatSpinBox,
    Label,
    ProgressBar,
    PushButton,
    Select,
    SpinBox,
)

from cellseg_core.config import RunConfig
from cellseg_core.errors import CellsegError
from cellseg_core.normalize import Brightness
from cellseg_core.plugins import load_plugins
from cellseg_core.store import output_error
from cellseg_core.tiling import Box
from cellseg_viewer.crop import box_of_shape, box_of_view, image_of, levels_known, source_of
from cellseg_viewer.trial import Trial, TrialProcess

__all__ = ["TrySettings"]

_VIEW = "what is in view"
_PREFIX = "try: "


class TrySettings(Container[Any]):
    """Try a segmenter and its settings on what is in view, and save them for `cellseg run`.

    Parameters
    ----------
    napari_viewer
        The napari viewer.
    """

    def __init__(self, napari_viewer: Any) -> None:
        self._viewer = napari_viewer
        self._plugins = load_plugins()
        self._process = TrialProcess()
        self._known: dict[tuple[Any, ...], Brightness] = {}
        self.nuclear = Select(label="nuclei", choices=self._images)
        self.membrane = Select(label="membranes", choices=self._images)
        self.segmenter = ComboBox(label="segmenter", choices=self._segmenters())
        self.estimate = CheckBox(text="estimate diameter", value=True)
        self.diameter = FloatSpinBox(label="diameter, px", value=12, min=1, max=1000, enabled=False)
        self.brightness = FloatSpinBox(label="brightness x", value=1, min=0.05, max=50, step=0.1)
        self.expand = SpinBox(label="expand, px", value=2, min=0, max=100)
        self.part = ComboBox(label="part", choices=self._parts)
        self.run = PushButton(text="Try")
        self.save = PushButton(text="Save settings...")
        self.progress = ProgressBar(visible=False)
        self.told = Label(value="")
        super().__init__(
            widgets=[
                self.nuclear,
                self.membrane,
                self.segmenter,
                self.estimate,
                self.diameter,
                self.brightness,
                self.expand,
                self.part,
                self.run,
                self.progress,
                self.save,
                self.told,
            ]
        )
        self.told.native.setWordWrap(True)
        for widget in (self.nuclear, self.membrane):
            widget.native.setMaximumHeight(90)
        self.estimate.changed.connect(self._choose_diameter)
        self.run.changed.connect(self.start)
        self.save.changed.connect(self._ask_where)
        for event in (self._viewer.layers.events.inserted, self._viewer.layers.events.removed):
            event.connect(self._refresh)
        self.native.destroyed.connect(self._process.close)
        self._choose_nuclei()

    def config(self) -> RunConfig:
        """Return the settings as a run takes them.

        Raises
        ------
        ConfigurationError
            If no layer shows nuclei.
        """
        names = image_of(self.nuclear.value).channels
        membrane = image_of(self.membrane.value).channels if self.membrane.value else ()
        return RunConfig(
            nuclear=names,
            membrane=membrane,
            segmenter=self.segmenter.value,
            nuclear_diameter=None if self.estimate.value else self.diameter.value,
            brightness="auto" if self.brightness.value == 1 else self.brightness.value,
            expand=self.expand.value,
        )

    def start(self) -> None:
        """Try the settings in a thread, and show what was found."""
        from napari.qt.threading import create_worker

        try:
            layers = list(dict.fromkeys([*self.nuclear.value, *self.membrane.value]))
            config, image, box = self.config(), image_of(layers), self._box()
        except CellsegError as error:
            self._fail(error)
            return
        key = tuple(layers)
        levels = levels_known(layers) or self._known.get(key)

        def work() -> Trial | str:
            return self._process.run(image, box, config, levels)

        def done(found: Trial | str) -> None:
            if isinstance(found, str):
                self._fail(found)
                return
            self._known[key] = found.brightness
            self._show(found, layers[0])

        self._busy(True)
        self.told.value = "Looking at the image..."
        worker = create_worker(work, _start_thread=False)
        worker.returned.connect(done)
        worker.finished.connect(lambda _=None: self._busy(False))
        worker.start()

    def write(self, path: Path) -> str:
        """Write the settings into a TOML file, and return the command that runs with them.

        Raises
        ------
        ConfigurationError
            If no layer shows nuclei.
        OutputError
            If the file cannot be written.
        """
        from cellseg_core.cli.init import default_toml

        text = default_toml(self._plugins, self.config())
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise output_error(path, error) from error
        source = source_of(self.nuclear.value[0])
        image = "INPUT" if source is None else shlex.quote(source)
        return f"cellseg run {image} --config {shlex.quote(str(path))} -o OUT"

    def _ask_where(self) -> None:
        from qtpy.QtWidgets import QFileDialog

        name, _ = QFileDialog.getSaveFileName(self.native, "Save settings", "settings.toml")
        if not name:
            return
        try:
            command = self.write(Path(name))
        except CellsegError as error:
            self._fail(error)
        else:
            self.told.value = f"Saved. Run with:\n{command}"

    def _box(self) -> Box:
        layer = self.nuclear.value[0]
        chosen = self.part.value
        return box_of_view(layer) if isinstance(chosen, str) else box_of_shape(layer, chosen)

    def _show(self, found: Trial, layer: Any) -> None:
        """Show what was found, in place of what an earlier trial found."""
        corner = (found.box.y0, found.box.x0)
        for name, labels in (("nuclei", found.nuclei), ("cells", found.cells)):
            name = f"{_PREFIX}{name}"
            if name in self._viewer.layers:
                self._viewer.layers.remove(name)
            added = self._viewer.add_labels(
                labels,
                name=name,
                scale=layer.scale[-2:],
                translate=layer.data_to_world((*[0] * (layer.ndim - 2), *corner))[-2:],
                units=layer.units[-2:],
                opacity=0.7,
            )
            added.contour = 1
        size = f"{found.box.shape[1]} x {found.box.shape[0]} px"
        about = f"nuclei about {found.diameter:.1f} px ({found.known_from})"
        told = [f"{found.count:,} cells in {size}; {about}.", *found.warnings]
        self.told.value = "\n".join(told)

    def _fail(self, error: CellsegError | str) -> None:
        from napari.utils import notifications

        self.told.value = str(error)
        notifications.show_error(str(error))

    def _busy(self, busy: bool) -> None:
        self.run.enabled = not busy
        self.progress.visible = busy
        if busy:
            self.progress.range = (0, 0)

    def _choose_diameter(self, estimated: bool) -> None:
        self.diameter.enabled = not estimated

    def _choose_nuclei(self) -> None:
        """Choose what looks like a nuclear stain."""
        from cellseg_core.channels import nuclear_channels

        layers = self._images()
        if not layers:
            return
        try:
            image = image_of(layers)
            numbers, _ = nuclear_channels(image)
        except CellsegError:
            numbers = (0,)
        self.nuclear.value = [layers[number] for number in numbers]

    def _segmenters(self) -> Sequence[str]:
        """Return the segmenters that can run here."""
        found = [one.name for one in self._plugins.of_kind("segmenter") if one.missing() is None]
        return tuple(dict.fromkeys(found))

    def _images(self, _widget: Any = None) -> list[Any]:
        from napari.layers import Image

        return [
            one
            for one in self._viewer.layers
            if isinstance(one, Image) and one.ndim == 2 and not one.rgb
        ]

    def _parts(self, _widget: Any = None) -> list[Any]:
        from napari.layers import Shapes

        return [_VIEW, *(one for one in self._viewer.layers if isinstance(one, Shapes))]

    def _refresh(self, _event: Any = None) -> None:
        chosen = [*self.nuclear.value], [*self.membrane.value]
        self.nuclear.reset_choices()
        self.membrane.reset_choices()
        self.part.reset_choices()
        for widget, before in zip((self.nuclear, self.membrane), chosen, strict=True):
            widget.value = [layer for layer in before if layer in self._viewer.layers]
        if not self.nuclear.value:
            self._choose_nuclei()
