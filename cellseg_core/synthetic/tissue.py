"""Simulated multiplexed tissue with its ground truth: any size, any window, seeded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ConfigurationError, nearest
from cellseg_core.image import Image
from cellseg_core.synthetic.cells import Cells, draw_cells
from cellseg_core.synthetic.fields import speckle
from cellseg_core.synthetic.ground import (
    autofluorescence,
    draw_specks,
    illumination,
    speck_light,
)
from cellseg_core.synthetic.light import add_noise, cell_patterns, optics, point_spread
from cellseg_core.synthetic.outlines import Canvas, draw_outlines
from cellseg_core.synthetic.panel import CHANNELS, PANEL, TYPES
from cellseg_core.synthetic.parameters import (
    as_names,
    check_channels,
    check_seed,
    check_shape,
    parameter,
)

__all__ = ["BLOCK", "PIXEL_SIZE", "SimulatedTissue", "Tissue", "simulate_tissue"]

BLOCK = 512
"""Edge in px of the blocks that a slide is computed in; windows along their grid cost least."""

PIXEL_SIZE = 0.5
"""Edge length in um of a pixel of simulated tissue."""


@attrs.frozen(kw_only=True)
class Tissue:
    """A simulated slide: its cells are a table, and its pixels are computed window by window.

    The slide is computed in blocks of ``BLOCK`` px, each from the cells around it and from
    random numbers of its own, so a window is bit for bit the same window of the whole, and its
    memory does not depend on the slide's size; only the table of cells grows with that.

    The image is ``noise(illumination * (PSF * (cells + debris) + background))``, where ``PSF *``
    is convolution with ``(1 - bleed) * Gaussian(blur) + bleed * Gaussian(bleed_sigma)``: of the
    light of each point, the fraction ``bleed`` is scattered over a Gaussian of ``bleed_sigma`` px.
    With ``blur``, ``bleed``, ``noise``, ``illumination``, ``background`` and ``debris`` 0, the
    mean of a channel over a cell is the cell's expression, but for rounding to whole counts.

    Parameters
    ----------
    shape
        (height, width) in px, from 1 x 1. Centres lie on the slide, a quarter of a nuclear
        diameter from its edge; the edge cuts cells.
    seed
        Same seed and parameters, same bytes. The parameters of the optics, from ``texture``
        on, do not change the cells.
    nuclear_diameter
        Typical diameter of a nucleus in px.
    size_variation
        Log-normal sigma of the diameter within a cell type; types differ in size too.
    elongation
        Mean of (long axis / short axis - 1) of nuclei; stromal cells are longer.
    irregularity
        Relative standard deviation of the outline from an ellipse.
    rim
        Mean width of cytoplasm in px around a nucleus that no neighbour limits; cells vary by a
        third to both sides.
    density
        Share of the slide that nuclei cover, about: a few per cent of them find no place in the
        densest tissue. There are ``density * area / (0.85 * nuclear_diameter ** 2)`` cells,
        about.
    patchiness
        0: the same density everywhere; 1: islands of the densest tissue in empty ground.
    clustering
        0: cell types are mixed at random; larger: each gathers in neighbourhoods.
    dimness
        Log-normal sigma of the brightness of nuclei: 0.5 gives a tenfold range.
    texture
        Strength of the grain in nuclei, membranes and cytoplasm.
    blur
        Sigma of the sharp part of the point-spread function in px.
    bleed
        Fraction of the light that is scattered laterally.
    bleed_sigma
        Sigma of the scattered part in px.
    noise
        1: shot noise at 6 counts per photo-electron and read noise of 12 counts; other values
        multiply its standard deviation.
    illumination
        Largest relative deviation of the illumination from even.
    background
        Autofluorescence in counts, on average; it varies smoothly.
    debris
        Bright specks per million px; they are listed in ``specks`` and are not cells.
    channels
        Markers to render, in this order; a channel does not depend on the others.

    Raises
    ------
    ConfigurationError
        If a parameter is out of range; the message names it and its range.
    ChannelError
        If a channel is not in the panel or occurs twice.

    >>> tissue = Tissue(shape=(300, 200), seed=1)
    >>> tissue.channels[:3]
    ('DAPI', 'Ki67', 'CD45')
    >>> window = tissue.render(slice(40, 60), slice(100, 130))
    >>> window.shape, str(window.dtype)
    ((10, 20, 30), 'uint16')
    >>> whole = tissue.render(slice(None), slice(None))
    >>> bool(np.array_equal(window, whole[:, 40:60, 100:130]))
    True
    """

    shape: tuple[int, int] = attrs.field(default=(1024, 1024), validator=check_shape)
    seed: int = attrs.field(default=0, validator=check_seed)
    nuclear_diameter: float = parameter(12.0, 5.0, 60.0, "the diameter of a nucleus in px")
    size_variation: float = parameter(0.16, 0.0, 0.3, "the log-normal sigma of nuclear diameters")
    elongation: float = parameter(0.2, 0.0, 0.6, "the mean elongation of nuclei")
    irregularity: float = parameter(0.05, 0.0, 0.08, "the irregularity of outlines")
    rim: float = parameter(3.0, 0.0, 20.0, "the width of the cytoplasm in px")
    density: float = parameter(0.5, 0.0, 0.7, "the share of the slide that nuclei cover")
    patchiness: float = parameter(0.4, 0.0, 1.0, "the regional variation of density")
    clustering: float = parameter(0.8, 0.0, 5.0, "the spatial clustering of cell types")
    dimness: float = parameter(0.5, 0.0, 0.8, "the log-normal sigma of nuclear brightness")
    texture: float = parameter(0.3, 0.0, 1.0, "the strength of the grain in cells")
    blur: float = parameter(0.9, 0.0, 10.0, "the sigma of the optical blur in px")
    bleed: float = parameter(0.2, 0.0, 1.0, "the fraction of light that is scattered")
    bleed_sigma: float = parameter(3.0, 0.0, 30.0, "the sigma of scattered light in px")
    noise: float = parameter(1.0, 0.0, 100.0, "the strength of noise")
    illumination: float = parameter(0.15, 0.0, 0.9, "the unevenness of illumination")
    background: float = parameter(120.0, 0.0, 10_000.0, "the autofluorescence in counts")
    debris: float = parameter(60.0, 0.0, 10_000.0, "the number of specks per million px")
    channels: tuple[str, ...] = attrs.field(
        default=CHANNELS, converter=as_names, validator=check_channels
    )

    @cached_property
    def cells(self) -> Cells:
        """The table of all cells, drawn on first use; row ``i`` has the id ``i + 1``."""
        return draw_cells(
            self.shape,
            self.seed,
            nuclear_diameter=self.nuclear_diameter,
            size_variation=self.size_variation,
            elongation=self.elongation,
            irregularity=self.irregularity,
            rim=self.rim,
            density=self.density,
            patchiness=self.patchiness,
            clustering=self.clustering,
            dimness=self.dimness,
        )

    @cached_property
    def _reach(self) -> NDArray[np.float32]:
        return self.cells.reach

    @property
    def type_names(self) -> tuple[str, ...]:
        """The names of the cell types, which ``types`` index."""
        return tuple(kind.name for kind in TYPES)

    @property
    def types(self) -> NDArray[np.int8]:
        """The type of each cell, (N,) int8."""
        return self.cells.types

    @property
    def expression(self) -> NDArray[np.float32]:
        """The true mean over each cell in counts, without any effect of optics, (N, K)."""
        return self.cells.expression[:, [CHANNELS.index(name) for name in self.channels]]

    @cached_property
    def specks(self) -> NDArray[np.float64]:
        """The debris: y, x and sigma in px, and peak in counts before the optics, (M, 4)."""
        return draw_specks(self.shape, self.seed, self.debris)

    def render(self, rows: slice = slice(None), columns: slice = slice(None)) -> NDArray[np.uint16]:
        """Return the pixels of a window, (C, Y, X) uint16.

        Raises
        ------
        ConfigurationError
            If a slice has a step.
        """
        window = self._window(rows, columns)
        pixels = np.empty((len(self.channels), *window.shape), np.uint16)
        for block, inside, target in self._blocks(window):
            for index, plane in enumerate(self._render(block)):
                pixels[(index, *target)] = plane[inside]
        return pixels

    def labels(
        self,
        rows: slice = slice(None),
        columns: slice = slice(None),
        kind: Literal["nuclei", "cells"] = "nuclei",
    ) -> NDArray[np.int32]:
        """Return the true label image of a window, (Y, X) int32: 0 or the id of a cell.

        Ids are 1 to N in reading order of the centres. Each nucleus and each cell is one
        4-connected piece, a nucleus lies within its cell, and none is without pixels.

        Raises
        ------
        ConfigurationError
            If a slice has a step, or the kind is neither "nuclei" nor "cells".
        """
        if kind not in ("nuclei", "cells"):
            raise ConfigurationError(
                f"simulated tissue: the labels' kind is 'nuclei' or 'cells'; got {kind!r}."
            )
        window = self._window(rows, columns)
        labels = np.zeros(window.shape, np.int32)
        for block, inside, target in self._blocks(window):
            canvas = block.grown(self._halo)
            outlines = draw_outlines(self.cells, self._reach, self._slide, canvas)
            ids = np.concatenate([[0], outlines.numbers + 1]).astype(np.int32)
            owner = outlines.owner
            if kind == "nuclei":
                owner = np.where(outlines.nuclear, owner, 0)
            labels[target] = ids[owner[block.within(canvas)][inside]]
        return labels

    @property
    def _slide(self) -> Canvas:
        return Canvas(0, self.shape[0], 0, self.shape[1])

    @property
    def _halo(self) -> int:
        """Px around a region in which its cells are complete, and their neighbours too."""
        return 2 * int(np.ceil(self._reach.max(initial=0))) + 1

    def _window(self, rows: slice, columns: slice) -> Canvas:
        ends: list[int] = []
        for part, length in zip((rows, columns), self.shape, strict=True):
            start, stop, step = part.indices(length)
            if step != 1:
                raise ConfigurationError(
                    f"simulated tissue: a window is a slice without a step; got {part}. "
                    "Thin out the array that comes back."
                )
            ends += [start, max(start, stop)]
        return Canvas(*ends)

    def _blocks(
        self, window: Canvas
    ) -> Iterator[tuple[Canvas, tuple[slice, slice], tuple[slice, slice]]]:
        """Yield blocks, the part of each that is in the window, and its place in the window."""
        if 0 in window.shape:
            return
        height, width = self.shape
        for y in range(window.y0 // BLOCK * BLOCK, window.y1, BLOCK):
            for x in range(window.x0 // BLOCK * BLOCK, window.x1, BLOCK):
                block = Canvas(y, min(y + BLOCK, height), x, min(x + BLOCK, width))
                yield block, window.within(block), block.within(window)

    def _render(self, block: Canvas) -> Iterator[NDArray[np.uint16]]:
        """Yield the channels of one whole block."""
        parts = point_spread(self.blur, self.bleed, self.bleed_sigma)
        canvas = block.grown(self._halo + max(len(kernel) // 2 for _, kernel in parts))
        outlines = draw_outlines(self.cells, self._reach, self._slide, canvas)
        visible = np.zeros(canvas.shape, bool)
        visible[self._slide.within(canvas)] = True
        scale = self.nuclear_diameter / 12
        grain = speckle(canvas.rows, canvas.columns, self.seed, max(0.7, 1.1 * scale))
        patterns = cell_patterns(outlines, visible, grain, self.texture, scale)
        specks = speck_light(self.specks, canvas)
        haze = autofluorescence(self.seed, self.background, self.nuclear_diameter, block)
        lamp = illumination(self.seed, self.illumination, block)
        convolve, crop = optics(parts, canvas.shape), block.within(canvas)
        for name in self.channels:
            index = CHANNELS.index(name)
            level = self.cells.expression[outlines.numbers, index]
            of_owner = np.concatenate([np.zeros(1, np.float32), level])
            light = of_owner[outlines.owner] * patterns[PANEL[index].place]
            # Debris shines in every channel, more or less.
            light += specks * np.float32(0.3 + 0.7 * abs(math.cos(2.4 * index)))
            light = (convolve(light)[crop] + haze) * lamp
            rng = np.random.default_rng([self.seed, 4, index, block.y0, block.x0])
            light = add_noise(light, self.noise, rng)
            yield np.rint(light).clip(0, 65_535).astype(np.uint16)


@attrs.frozen(eq=False, kw_only=True)
class SimulatedTissue:
    """A simulated tissue as a whole in memory.

    Attributes
    ----------
    image
        The channels with their names, uint16, 0.5 um per px.
    nuclei, cells
        True label images (Y, X) int32 with the same ids 1..N; a nucleus lies within its cell.
    types
        Index into ``type_names`` of the cell ``i + 1``, (N,) int8.
    type_names
        The cell types.
    expression
        True mean over each cell, without bleed, noise or background, in counts, (N, K) float32.
    channels
        The K channels of image and expression.
    tissue
        The model that all of this was computed from.
    """

    image: Image
    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]
    types: NDArray[np.int8]
    type_names: tuple[str, ...]
    expression: NDArray[np.float32]
    channels: tuple[str, ...]
    tissue: Tissue


def simulate_tissue(
    shape: tuple[int, int] = (1024, 1024), *, seed: int = 0, **parameters: Any
) -> SimulatedTissue:
    """Return a simulated tissue with image and truth in memory; :class:`Tissue` has the parameters.

    Raises
    ------
    ConfigurationError
        If a parameter is unknown or out of range.
    ChannelError
        If a channel is not in the panel or occurs twice.

    >>> simulated = simulate_tissue((64, 96), seed=3, channels=("DAPI", "CD3"))
    >>> simulated.image
    <Image 'simulated': 2 channels x 64 x 96 px, uint16, 0.5 um/px>
    >>> int(simulated.nuclei.max()) == len(simulated.types) == len(simulated.expression)
    True
    """
    known = [field.name for field in attrs.fields(Tissue)]
    for name in parameters:
        if name not in known:
            raise ConfigurationError(
                f"simulated tissue has no parameter {name!r}; {nearest(name, known)}."
            )
    tissue = Tissue(shape=shape, seed=seed, **parameters)
    return SimulatedTissue(
        image=Image(
            tissue.render(),
            channels=tissue.channels,
            pixel_size=PIXEL_SIZE,
            name="simulated",
            source=f"simulated tissue, seed {seed}",
        ),
        nuclei=tissue.labels(kind="nuclei"),
        cells=tissue.labels(kind="cells"),
        types=tissue.types,
        type_names=tissue.type_names,
        expression=tissue.expression,
        channels=tissue.channels,
        tissue=tissue,
    )
