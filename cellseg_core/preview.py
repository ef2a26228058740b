"""A crop of an image under several settings, segmented as a run would do it, to choose by eye."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.building import Components
from cellseg_core.config import RunConfig
from cellseg_core.errors import CellsegError, ConfigurationError, ImageError
from cellseg_core.growing import grow
from cellseg_core.image import Image
from cellseg_core.length import Length
from cellseg_core.normalize import Brightness
from cellseg_core.plugins import Plugins, load_plugins
from cellseg_core.preparing import check_diameter, diameter_cautions, find_diameter, seen_by
from cellseg_core.preview_panels import Panel, Preview, Row
from cellseg_core.preview_place import crop_at, crop_edge, find_crop
from cellseg_core.protocols import Labels
from cellseg_core.provenance import facts_of
from cellseg_core.reading_order import reading_order
from cellseg_core.regions import find_regions
from cellseg_core.scaled import ScaledImage
from cellseg_core.segmenting import adapt, margin_of, segment_tile
from cellseg_core.thinned import thinned
from cellseg_core.tiling import Box, Tile

__all__ = ["preview"]

_STEPS = (0.7, 1.0, 1.4)  # diameters to choose from, in diameters that a run takes
_FACTORS = (0.5, 1.0, 2.0)
_MOST = 60
_LARGEST = 1e9
_BEYOND = 2  # diameters around the crop in which nuclei are found that reach into it


def preview(
    image: Image,
    config: RunConfig | None = None,
    *,
    segmenters: Sequence[str] = (),
    diameters: Sequence[float] = (),
    factors: Sequence[float] = (),
    at: tuple[float, float] | None = None,
    size: int | None = None,
    levels: Brightness | None = None,
    plugins: Plugins | None = None,
    progress: Callable[[str, int, int], None] = lambda _step, _done, _total: None,
) -> Preview:
    """Return a crop of an image as runs with different settings would segment it.

    It is segmented with its surroundings, at the brightness scale and the diameter of the whole
    image, so that a run finds the same nuclei there. Besides the crop, what is read is the nuclear
    channel, twice, and the parts in which the diameter is measured.

    Parameters
    ----------
    image
        The image.
    config
        The settings that the choices start from. What is measured and written has no effect.
    segmenters
        Names. Default: the one of ``config``.
    diameters
        Of nuclei, in px. Default: 0.7, 1 and 1.4 times what a run takes by itself.
    factors
        Corrections of the brightness. Default: half, once and twice that of ``config``; with
        several segmenters, that alone.
    at
        Centre of the crop (y, x) in px. Default: a place with more nuclei than most.
    size
        Edge of the crop in px. Default: 14 nuclear diameters.
    levels
        The brightness scale of the data set. Default: from this image alone.
    progress
        Called with the name of a step, how many parts of it are done, and how many there are.

    Raises
    ------
    ChannelError, ImageError
        If the nuclear channel is not there, is black, or cannot be read.
    ComponentError, ConfigurationError
        If a setting makes no sense, or a segmenter is not known.
    CellsegError
        If no segmenter can work. Where one can, why others cannot is in their rows.
    """
    config, plugins = config or RunConfig(), plugins or load_plugins()
    config.check_options(plugins)
    names = tuple(dict.fromkeys(segmenters)) or (config.segmenter,)
    for name in names:
        plugins.find("segmenter", name)
    base = 1.0 if isinstance(config.brightness, str) else float(config.brightness)
    if not factors:
        factors = [base] if len(names) > 1 else [base * step for step in _FACTORS]
    _check(diameters, "--diameters")
    _check(factors, "--brightness-factors")
    for diameter in diameters:
        check_diameter(diameter, image)
    total = len(names) * (len(diameters) or len(_STEPS)) * len(factors)
    if total > _MOST:
        raise ConfigurationError(
            f"these are {total} panels, and {_MOST} is the most: give fewer --segmenters, "
            "--diameters or --brightness-factors."
        )
    work = _Work(image, config, plugins, base, levels, progress)
    looks: list[_Look | Row] = [work.look(name) for name in names]
    able = [look for look in looks if isinstance(look, _Look)]
    if not able:
        work.fail(names)
    first = able[0]
    edge = crop_edge(first.diameter, size)
    if at is None:
        box = find_crop(first.scaled, first.sample, first.diameter, edge)
    else:
        box = crop_at(at, image.shape, edge)
    rows = []
    number = 0
    for look in looks:
        if isinstance(look, _Look):
            panels = []
            for diameter, factor, settings in work.choices(look, diameters, factors):
                progress("preview", number, total)
                number += 1
                panels.append(work.panel(look, box, number, diameter, factor, settings))
            look = Row(
                segmenter=look.name,
                diameter=look.diameter,
                known_from=look.known_from,
                panels=tuple(panels),
            )
        rows.append(look)
    progress("preview", total, total)
    gray = attrs.evolve(first.scaled, in_color=False, membrane=())
    unscaled = attrs.evolve(gray, brightness=attrs.evolve(gray.brightness, factor=1.0))
    return Preview(
        image=image,
        box=box,
        stain=unscaled.read(*box.slices)[0],
        overview=first.sample[0],
        nuclear=tuple(image.channels[n] for n in gray.nuclear),
        rows=tuple(rows),
        notes=tuple(dict.fromkeys(note for look in able for note in look.notes)),
    )


def _check(values: Sequence[float], option: str) -> None:
    for value in values:
        if not 0 < value <= _LARGEST:
            raise ConfigurationError(
                f"{option} are numbers over 0, up to {_LARGEST:g}; got {value:g}"
            )


@attrs.frozen(eq=False)
class _Look:
    """A segmenter, and the image as it sees it at the brightness that a run takes by itself."""

    name: str
    built: Components
    scaled: ScaledImage
    sample: NDArray[np.float32]
    diameter: float
    known_from: str
    notes: Sequence[str]


@attrs.define(eq=False)
class _Work:
    """What all panels have in common."""

    image: Image
    config: RunConfig
    plugins: Plugins
    base: float
    levels: Brightness | None
    progress: Callable[[str, int, int], None]
    pixels: Image | None = None
    errors: dict[str, CellsegError] = attrs.field(factory=dict)

    def look(self, name: str) -> _Look | Row:
        """Return what a segmenter makes of the image, or the row that says why it cannot."""
        try:
            return self._look(name)
        except ImageError:
            raise
        except CellsegError as error:
            self.errors[name] = error
            return Row(segmenter=name, failed=str(error))

    def fail(self, names: Sequence[str]) -> None:
        """Raise why no segmenter can work."""
        raise self.errors[names[0]]

    def _look(self, name: str) -> _Look:
        config, image = self.config, self.image
        pipeline = attrs.evolve(config, segmenter=name).pipeline(self.plugins)
        built = pipeline.build(self._grow_by)
        facts_of(built.segmenter)
        scaled, notes = seen_by(
            built.segmenter, image, config.nuclear, config.membrane, self.levels, self.base
        )
        scaled = self._at(scaled, self.base)
        self.levels = scaled.brightness
        sample = self._sample(scaled)
        if not sample[0].any():
            shown = ", ".join(image.channels[n] for n in scaled.nuclear)
            raise ImageError(
                f"{image.name}: the nuclear channel ({shown}) is black: no value over 0. Choose "
                "another with --nuclear NAME."
            )
        diameter, known_from = find_diameter(
            built.segmenter,
            scaled,
            sample,
            config.nuclear_diameter,
            lambda n, of: self.progress("diameter", n, of),
        )
        notes += diameter_cautions(image, diameter, known_from)
        return _Look(name, built, scaled, sample, diameter, known_from, notes)

    @property
    def _grow_by(self) -> float:
        return Length.of(self.config.expand).in_px(self.image.pixel_size, self.image.name)

    def _at(self, scaled: ScaledImage, factor: float) -> ScaledImage:
        return attrs.evolve(scaled, brightness=attrs.evolve(scaled.brightness, factor=factor))

    def _sample(self, scaled: ScaledImage) -> NDArray[np.float32]:
        """Return what ``scaled.sample()`` does; pixels are read from the image only once."""
        if self.pixels is None:
            self.pixels = thinned(scaled)
        return attrs.evolve(scaled, image=self.pixels).read()

    def choices(
        self, look: _Look, diameters: Sequence[float], factors: Sequence[float]
    ) -> Iterator[tuple[float, float, dict[str, Any]]]:
        """Yield the diameter, the brightness and the settings of each panel of a segmenter."""
        own, found = self.config.nuclear_diameter, look.diameter
        given = list(diameters)
        if not given:
            small, middle, large = (_rounded(step * found) for step in _STEPS)
            given = [small, middle if own is None else own, large]
        for place, diameter in enumerate(given):
            for factor in factors:
                settings: dict[str, Any] = {}
                if look.name != self.config.segmenter:
                    settings["segmenter"] = look.name
                if factor != self.base:
                    settings["brightness"] = factor
                found_alike = own is None and not diameters and place == 1 and factor == self.base
                if not found_alike and diameter != own:
                    settings["nuclear_diameter"] = diameter
                yield found if found_alike else diameter, factor, settings

    def panel(
        self,
        look: _Look,
        box: Box,
        number: int,
        diameter: float,
        factor: float,
        settings: Mapping[str, Any],
    ) -> Panel:
        """Return the crop under one choice of settings, or why that failed."""
        panel = Panel(
            number=number,
            segmenter=look.name,
            diameter=diameter,
            brightness=factor,
            settings=settings,
        )
        try:
            nuclei, cells, count = self._segment(look, box, diameter, factor)
        except CellsegError as error:
            return attrs.evolve(panel, failed=str(error))
        return attrs.evolve(panel, nuclei=nuclei, cells=cells, count=count)

    def _segment(
        self, look: _Look, box: Box, diameter: float, factor: float
    ) -> tuple[Labels, Labels, int]:
        """Return nuclei and cells of the crop, and how many nuclei have their centre in it."""
        scaled = self._at(look.scaled, factor)
        source, segmenter = adapt(look.built.segmenter, scaled, self._sample(scaled), diameter)
        shape = self.image.shape
        core = box.grown(math.ceil(_BEYOND * diameter + self._grow_by), shape)
        window = core.grown(margin_of(segmenter, source, max(core.shape)), shape)
        found = segment_tile(segmenter, source, Tile(0, 0, core, window))
        labels = np.asarray(found.labels[:, :])
        y, x = found.centres.T
        kept = (y >= core.y0) & (y < core.y1) & (x >= core.x0) & (x < core.x1)
        kept &= found.areas >= self.config.min_size
        nuclei = np.where(np.append(False, kept)[labels], labels, 0).astype(np.int32)
        # Where nuclei meet, an expander may go by the order of their ids.
        order = reading_order(find_regions(nuclei), 0)
        nuclei = cells = order.apply(nuclei)
        if look.built.expander is not None:
            grown, _ = grow(
                look.built.expander, nuclei, order.regions, self._grow_by, self.image.name
            )
            cells = np.asarray(grown[:, :])
        inside = (y >= box.y0) & (y < box.y1) & (x >= box.x0) & (x < box.x1) & kept
        crop = nuclei[box.within(window)]
        if cells is nuclei:
            return crop, crop, int(inside.sum())
        return crop, cells[box.within(window)], int(inside.sum())


def _rounded(diameter: float) -> float:
    """Return a diameter to a tenth of a px below 100, to a px above."""
    return round(diameter, 1) if diameter < 100 else float(round(diameter))
