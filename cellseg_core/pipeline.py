"""The pipeline for one image: scale, tile, segment, stitch, filter, expand, measure, compensate.

Nothing here depends on which segmenter runs: each sees one numpy tile and returns labels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.compensating import moved, run_compensator
from cellseg_core.component import KINDS
from cellseg_core.errors import (
    ConfigurationError,
    ImageError,
    SegmentationError,
    nearest,
)
from cellseg_core.features import Features
from cellseg_core.growing import grow
from cellseg_core.image import Image
from cellseg_core.label_image import LazyLabels
from cellseg_core.label_store import make_labels
from cellseg_core.length import Length
from cellseg_core.measure import measure
from cellseg_core.measured_diameter import measure_diameter
from cellseg_core.normalize import Brightness
from cellseg_core.plugins import Plugins, load_plugins
from cellseg_core.protocols import (
    Compensator,
    Expander,
    ImageCompensator,
    Labels,
    Segmenter,
)
from cellseg_core.provenance import facts_of
from cellseg_core.reading_order import reading_order
from cellseg_core.regions import Regions
from cellseg_core.scaled import DOUBTED, GUESSED, ScaledImage, guess_diameter, view
from cellseg_core.segmenting import adapt, margin_of, segment_tiles
from cellseg_core.stitching import TileObjects, stitch
from cellseg_core.table import CellTable
from cellseg_core.tile_store import TileStore
from cellseg_core.tiling import tile_image
from cellseg_core.workers import Workers

__all__ = ["DEFAULT_SEGMENTER", "Pipeline", "Progress", "Result"]

DEFAULT_SEGMENTER = "maskrcnn"

_TILE = 1024
_IN_MEMORY = 2**26  # px: label images of up to 8192 x 8192

Progress = Callable[[str, int, int], None]
"""Called with the name of a step, how many parts of it are done, and how many there are."""


@attrs.frozen(eq=False, repr=False, kw_only=True)
class Result:
    """What the pipeline made of one image.

    Attributes
    ----------
    image
        The image.
    nuclei
        (Y, X) int32 label image as segmented: 0 is background, ids 1..N in reading order. Of very
        large images that were done with a work folder, it is lazy, and gone with the folder.
    cells
        The same after expansion, with the same ids.
    table
        One row for each cell.
    scaled
        The image as the segmenter saw it: ``scaled.read()`` is (C, Y, X) in [0, 1].
    nuclear_diameter
        Diameter of nuclei in px that was worked with.
    facts
        What was decided on the way, and seconds for each step, for the record.
    warnings
        What the user should look at, in full sentences.
    """

    image: Image
    nuclei: Labels | LazyLabels
    cells: Labels | LazyLabels
    table: CellTable
    scaled: ScaledImage
    nuclear_diameter: float
    facts: Mapping[str, Any]
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Result: {len(self.table)} cells in {self.image!r}>"


def _not_negative(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 <= value < math.inf:
        raise ConfigurationError(f"{attribute.name} is not negative; got {value}")


def _positive(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ConfigurationError(f"{attribute.name} is more than 0; got {value}")


def _is_length(_: object, attribute: attrs.Attribute[Any], value: float | str) -> None:
    Length.of(value, attribute.name)


def _are_features(_: object, __: object, value: Sequence[str]) -> None:
    Features.of(value)


@attrs.frozen(kw_only=True)
class Pipeline:
    """Everything that is done to an image between its reader and the writers.

    Parameters
    ----------
    segmenter, expander, compensator
        Names of components, or objects of your own that follow the protocols in
        :mod:`cellseg_core.protocols`. No compensation without ``compensator``.
    expand_by
        Px by which nuclei are grown into cells, or um as a text, ``"1um"``, which is rounded to
        whole px; 0 leaves them as they are.
    compensate_except
        Channels that compensation leaves as they are.
    features
        What to measure besides the mean: see :mod:`cellseg_core.features`.
    nuclear_diameter
        Typical diameter of a nucleus in px. Default: estimated from the image, and measured by
        the segmenter where it knows one diameter and gives scores.
    min_size
        Smaller nuclei, in px, are removed. 20 is the published value.
    tile
        Largest edge in px of the part of the image that is segmented at a time. Default: what is
        1024 px, or as many as the segmenter prefers, at the size at which it sees the image.
    overlap
        Px that neighbouring tiles share. Default: what the segmenter declares. Less than that is
        refused, since seams would show.
    skip_failed_tiles
        Whether a part of the image in which the segmenter fails is left out, with a warning. By
        default that is an error.
    brightness
        Correction of the automatic scale: 2 makes everything twice as bright.
    options
        Options of named components by kind: ``{"segmenter": {"polarity": "bright-field"}}``.
    plugins
        Where components are looked up. Default: everything that is installed.

    Notes
    -----
    The steps are those of CellSeg (Lee et al., BMC Bioinformatics 23:46, 2022), on pixels at
    their native bit depth and with every object kept once and whole at the seams of tiles.

    >>> pixels = np.zeros((1, 40, 40), np.uint16)
    >>> pixels[0, 10:20, 10:20] = 900
    >>> result = Pipeline(segmenter="watershed", nuclear_diameter=10).run(Image(pixels))
    >>> len(result.table)
    1
    """

    segmenter: str | Segmenter = DEFAULT_SEGMENTER
    expander: str | Expander = "sequential"
    expand_by: float | str = attrs.field(default=0, validator=_is_length)
    compensator: str | Compensator | ImageCompensator | None = None
    compensate_except: Sequence[str] = ()
    features: Sequence[str] = attrs.field(default=(), validator=_are_features)
    nuclear_diameter: float | None = attrs.field(default=None, validator=_positive)
    min_size: int = attrs.field(default=20, validator=_not_negative)
    tile: int | None = attrs.field(default=None, validator=_positive)
    overlap: int | None = attrs.field(default=None, validator=_not_negative)
    skip_failed_tiles: bool = False
    brightness: float = attrs.field(default=1.0, validator=_positive)
    options: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    plugins: Plugins | None = attrs.field(default=None, repr=False)

    def run(
        self,
        image: Image,
        nuclear: str | Sequence[str] = (),
        membrane: str | Sequence[str] = (),
        *,
        levels: Brightness | None = None,
        progress: Progress | None = None,
        work: Path | None = None,
        workers: Workers | None = None,
    ) -> Result:
        """Return the cells of one image.

        Parameters
        ----------
        image
            The image.
        nuclear, membrane
            Names of the channels that show nuclei, and cell membranes if a segmenter uses them.
            Several of one role are averaged.
        levels
            The brightness scale of the data set. Default: from this image alone.
        progress
            Called before every look at the diameter, and after every tile and every measured
            channel.
        work
            A folder to keep segmented tiles in: those that are there from the same image with the
            same settings are not segmented again, others are removed. Label images of more than
            8192 x 8192 px are made there too, so that memory does not grow with the image.
            Default: all is kept in memory. Values do not depend on it.
        workers
            Who segments tiles: see :func:`~cellseg_core.workers.open_workers`. Default: this
            process. Values do not depend on it.

        Raises
        ------
        ChannelError, ImageError, ComponentError, ConfigurationError, SegmentationError, OutputError
        WorkerError
            With what was expected, what came, and the fix.
        """
        report = progress or (lambda _step, _done, _total: None)
        image = _as_image(image)
        grow_by = Length.of(self.expand_by).in_px(image.pixel_size, image.name)
        untouched = [image.index(name) for name in self.compensate_except]
        built = self.build(grow_by)
        watch = _Watch()
        warnings: list[str] = []

        scaled, chosen = view(
            image,
            nuclear,
            membrane,
            levels,
            self.brightness,
            in_color=getattr(built.segmenter, "uses_color", False),
        )
        if chosen.startswith("no nuclear"):
            warnings.append(f"{chosen}. Name it with --nuclear if that is wrong.")
        if scaled.membrane and not getattr(built.segmenter, "uses_membrane", True):
            warnings.append(
                "this segmenter, or its weights, finds nuclei alone: it does not use the membrane "
                "channel."
            )
        if (self.nuclear_diameter or 0) > 2 * max(image.shape):
            warnings.append("the nuclear diameter is more than twice the image: is it in px?")
        sample = scaled.sample()
        if not sample[0].any():
            names = ", ".join(image.channels[n] for n in scaled.nuclear)
            warnings.append(
                f"the nuclear channel ({names}) is black in this image: no value over 0."
            )
        watch.lap("brightness")
        if self.nuclear_diameter is None:
            diameter, known_from = guess_diameter(scaled, sample)
            measured = measure_diameter(
                built.segmenter,
                scaled,
                sample,
                diameter,
                progress=lambda n, of: report("diameter", n, of),
            )
            if measured is not None:
                diameter, known_from = measured, "measured on nuclei found in parts of the image"
        else:
            diameter, known_from = self.nuclear_diameter, "given"
        watch.lap("diameter")

        source, segmenter = adapt(built.segmenter, scaled, sample, diameter)
        edge = self.tile or math.ceil(getattr(segmenter, "tile", _TILE) / source.factor)
        margin = margin_of(segmenter, source, edge, self.overlap)
        tiles = tile_image(image.shape, edge, margin)
        store = None
        if work is not None and len(tiles) > 1:
            store = TileStore(work, self._plan(built, scaled, sample, edge, margin, diameter))
        found = segment_tiles(
            segmenter,
            source,
            tiles,
            store,
            workers,
            skip_failed=self.skip_failed_tiles,
            progress=lambda n, of: report("segment", n, of),
        )
        if len(found.failed) == len(tiles):
            raise SegmentationError(found.failed[0])
        warnings += [f"left out, without any cell: {reason}" for reason in found.failed]
        watch.lap("segment")

        on_disk = store is not None and math.prod(image.shape) > _IN_MEMORY

        def file_for(kind: str) -> Path | None:
            return store.folder / kind if store is not None and on_disk else None

        nuclei, regions, scores, removed = _stitched(
            image.shape, found.objects, self.min_size, file_for("nuclei.labels")
        )
        again, left_out = found.before, len(found.failed)
        del found
        watch.lap("stitch")

        if built.expander is not None:
            report("expand", 0, 1)
        cells = nuclei
        if built.expander is not None:
            # Of an object nobody knows how far it looks.
            named = isinstance(self.expander, str)
            file = file_for("cells.labels") if named else None
            cells, regions = grow(built.expander, nuclei, regions, grow_by, image.name, file)
        watch.lap("expand")
        with catch_warnings(record=True) as caught:
            simplefilter("always")
            table = measure(
                image,
                cells,
                nuclei=nuclei,
                features=self.features,
                scores=scores,
                regions=regions,
                progress=lambda n, of: report("measure", n, of),
            )
            watch.lap("measure")
            compensation: dict[str, Any] = {}
            if built.compensator is not None:
                report("compensate", 0, 1)
                table, compensation = _compensated(
                    built.compensator, self._name_of_compensator, image, cells, table, untouched
                )
                shares = compensation["channels"].values()
                asked = len(table) > 1 and len(untouched) < len(table.channels)
                if asked and not any(share["removed"] or share["added"] for share in shares):
                    warnings.append(
                        "compensation changed nothing: it moves signal between cells that touch, "
                        "and hardly any do. Grow nuclei into cells with --expand."
                    )
                report("compensate", 1, 1)
                watch.lap("compensate")
        warnings += [str(warning.message) for warning in caught]
        of_rings = [name for name in Features.of(self.features).needs_nuclei if "ring_" in name]
        if of_rings and cells is nuclei:
            warnings.append(
                f"{', '.join(of_rings)}: a ring is what a cell gained by growing, and nuclei were "
                "not grown. Give --expand 2."
            )
        if not len(table):
            warnings.append(
                "no cell was found. Does the overlay show nuclei? If not, choose the channel with "
                "--nuclear; if so, give their diameter with --nuclear-diameter."
            )
        if known_from == DOUBTED and image.pixel_size is not None:
            warnings.append(
                f"nuclei seem to be {diameter:.0f} px wide, which is "
                f"{diameter * image.pixel_size:.3g} um at {image.pixel_size:g} um for each px: is "
                "the pixel size right? Give it with --pixel-size."
            )
        if known_from == GUESSED:
            warnings.append(
                f"nuclei were taken to be {diameter:g} px wide, for want of anything to go by. "
                "Give their diameter with --nuclear-diameter."
            )
        facts = {
            "nuclear": [image.channels[n] for n in scaled.nuclear],
            "membrane": [image.channels[n] for n in scaled.membrane],
            "brightness": attrs.asdict(scaled.brightness),
            "nuclear_diameter_px": round(diameter, 3),
            "nuclear_diameter_from": known_from,
            "magnification": round(source.factor, 4),
            "tiles": len(tiles),
            **({"tiles_done_before": again} if again else {}),
            **({"tiles_left_out": left_out} if left_out else {}),
            "overlap_px": 2 * margin,
            "expand_px": grow_by,
            **({"compensation": compensation} if compensation else {}),
            "removed_small": removed,
            "seconds": watch.laps,
        }
        return Result(
            image=image,
            nuclei=nuclei,
            cells=cells,
            table=table,
            scaled=scaled,
            nuclear_diameter=diameter,
            facts=facts,
            warnings=tuple(warnings),
        )

    def _plan(
        self,
        built: Components,
        scaled: ScaledImage,
        sample: NDArray[np.float32],
        tile: int,
        margin: int,
        diameter: float,
    ) -> dict[str, Any]:
        """Return what decides over the objects of each tile."""
        return {
            "image": scaled.image.source,
            # Two arrays have the same source, and a file can change.
            "sample": sha256(sample.tobytes()).hexdigest(),
            "facts": facts_of(built.segmenter),
            "shape": scaled.shape,
            "channels": [scaled.nuclear, scaled.membrane],
            "brightness": attrs.asdict(scaled.brightness),
            "segmenter": self.segmenter
            if isinstance(self.segmenter, str)
            else repr(self.segmenter),
            "options": self.options.get("segmenter", {}),
            "diameter": diameter,
            "tile": tile,
            "margin": margin,
        }

    @property
    def _name_of_compensator(self) -> str:
        named = isinstance(self.compensator, str)
        return str(self.compensator) if named else type(self.compensator).__name__

    def build(self, grow: float = 1) -> Components:
        """Return the components, built: a wrong name or option shows before any work is done.

        ``grow`` is what the expander is built with where the distance is given in um.
        """
        length = Length.of(self.expand_by)
        distance = grow if length.unit == "um" else length.value
        plugins = self.plugins or load_plugins()
        for kind in self.options:
            if kind not in KINDS:
                raise ConfigurationError(
                    f"options are given by kind; there is no kind {kind!r}: {nearest(kind, KINDS)}."
                )

        def get(kind: Any, component: Any, **extra: Any) -> Any:
            if not isinstance(component, str):
                return component
            return plugins.build(kind, component, {**extra, **self.options.get(kind, {})})

        segmenter = get("segmenter", self.segmenter)
        _check_follows(segmenter, Segmenter, ("native_diameter", "halo", "segment"))
        native = segmenter.native_diameter
        if native is not None and not 0 < native < math.inf:
            raise ConfigurationError(
                f"the native_diameter of {segmenter!r} is a positive number of px or None; it is "
                f"{native!r}."
            )
        return Components(
            segmenter=segmenter,
            expander=get("expander", self.expander, distance=distance)
            if length.value or not isinstance(self.expander, str)
            else None,
            compensator=None if self.compensator is None else get("compensator", self.compensator),
        )


@attrs.frozen(eq=False)
class Components:
    """The built components of a pipeline."""

    segmenter: Segmenter
    expander: Expander | None
    compensator: Compensator | ImageCompensator | None


def _as_image(image: Any) -> Image:
    if isinstance(image, Image):
        return image
    if isinstance(image, (str, Path)):
        raise ImageError(
            f"a pipeline takes an image, not a path: pipeline.run(read_image({str(image)!r}))"
        )
    return Image(image)


def _check_follows(component: Any, protocol: Any, names: Sequence[str]) -> None:
    """Tell the author of a component object what it lacks."""
    if isinstance(component, type):
        raise ConfigurationError(
            f"give an object, not its class: {component.__name__}() and not {component.__name__}"
        )
    if not isinstance(component, protocol):
        missing = [name for name in names if not hasattr(component, name)]
        raise ConfigurationError(
            f"{component!r} is not a {protocol.__name__}: it has no {', '.join(missing)}. "
            "See cellseg_core.protocols."
        )


class _Watch:
    """Seconds for each step."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.laps[step] = round(now - self._last, 3)
        self._last = now


def _stitched(
    shape: tuple[int, int], objects: Sequence[TileObjects], min_size: int, file: Path | None
) -> tuple[Labels | LazyLabels, Regions, NDArray[np.float64], int]:
    """Return the nuclei of all tiles, where they are, their scores, and how many were too small."""
    stitched = stitch(shape, objects)
    painted, regions = make_labels(shape, lambda box: stitched[box.slices], file)
    order = reading_order(regions, min_size)
    nuclei = order.of(painted) if file is not None else order.apply(painted[:, :])
    removed = regions.ids.size - order.former.size
    return nuclei, order.regions, stitched.scores[order.former - 1], removed


def _compensated(
    compensator: Compensator | ImageCompensator,
    name: str,
    image: Image,
    cells: Labels | LazyLabels,
    table: CellTable,
    untouched: Sequence[int],
) -> tuple[CellTable, dict[str, Any]]:
    """Return the table with compensated means, and what there is to record about them."""
    done = run_compensator(compensator, image, cells, table.intensities)
    means = done.means.copy()
    means[:, untouched] = table.intensities[:, untouched]
    facts = {
        "compensator": name,
        **done.facts,
        "left_alone": [table.channels[number] for number in untouched],
        "channels": dict(
            zip(table.channels, moved(table.intensities, means, table.areas), strict=True)
        ),
    }
    return attrs.evolve(table, intensities=means, uncompensated=table.intensities), facts
