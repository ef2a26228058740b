"""The pipeline for one image: scale, tile, segment, stitch, filter, expand, measure, compensate.

Nothing here depends on which segmenter runs: each sees one numpy tile and returns labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.building import Components, build_components
from cellseg_core.compensating import moved, run_compensator
from cellseg_core.errors import ConfigurationError, ImageError, SegmentationError
from cellseg_core.features import Features
from cellseg_core.growing import grow
from cellseg_core.image import Image
from cellseg_core.label_image import LazyLabels
from cellseg_core.label_store import make_labels
from cellseg_core.length import Length
from cellseg_core.measure import measure
from cellseg_core.normalize import Brightness
from cellseg_core.plugins import Plugins, load_plugins
from cellseg_core.preparing import Prepared, StepWatch, diameter_cautions, prepare
from cellseg_core.protocols import Compensator, Expander, ImageCompensator, Labels, Segmenter
from cellseg_core.provenance import facts_of
from cellseg_core.quality_notes import quality_notes
from cellseg_core.reading_order import reading_order
from cellseg_core.regions import Regions
from cellseg_core.result import Result
from cellseg_core.seams import check_seams, seams_of
from cellseg_core.segmenting import segment_tiles
from cellseg_core.stitching import TileObjects, stitch
from cellseg_core.table import CellTable
from cellseg_core.tile_store import TileStore
from cellseg_core.workers import Workers

__all__ = ["DEFAULT_SEGMENTER", "Pipeline", "Progress"]

DEFAULT_SEGMENTER = "maskrcnn"

_IN_MEMORY = 2**26  # px: label images of up to 8192 x 8192

Progress = Callable[[str, int, int], None]
"""Called with the name of a step, how many parts of it are done, and how many there are."""


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
        report = progress or _silent
        image = _as_image(image)
        grow_by = Length.of(self.expand_by).in_px(image.pixel_size, image.name)
        for name in self.compensate_except:
            image.index(name)  # a wrong one shows before any work is done
        built = self.build(grow_by)
        watch = StepWatch()

        ready = self._prepared(image, nuclear, membrane, levels, built.segmenter, watch, report)
        warnings = list(ready.warnings)
        tiles = ready.tiles
        store = None
        if work is not None and len(tiles) > 1:
            store = TileStore(work, self._plan(built, ready))
        found = segment_tiles(
            ready.segmenter,
            ready.source,
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
        table, compensation, told = self._quantified(
            built, image, cells, nuclei, regions, scores, watch, report
        )
        warnings += told
        warnings += self._cautions(ready, table, grown=cells is not nuclei)
        facts: dict[str, Any] = {
            **self._decided(built, ready, grow_by),
            **({"tiles_done_before": again} if again else {}),
            **({"tiles_left_out": left_out} if left_out else {}),
            **({"compensation": compensation} if compensation else {}),
            "removed_small": removed,
            "seconds": watch.laps,
        }
        if len(tiles) > 1:
            facts["seams_checked"] = check_seams(
                facts["seams"], nuclei, table.centroids, table.areas, ready.diameter
            )
        warnings += quality_notes(image, ready.scaled, nuclei, table, ready.diameter, facts)
        watch.lap("check")
        return Result(
            image=image,
            nuclei=nuclei,
            cells=cells,
            table=table,
            scaled=ready.scaled,
            nuclear_diameter=ready.diameter,
            facts=facts,
            warnings=tuple(warnings),
        )

    def prepare(
        self,
        image: Image,
        nuclear: str | Sequence[str] = (),
        membrane: str | Sequence[str] = (),
        *,
        levels: Brightness | None = None,
    ) -> Prepared:
        """Return what :meth:`run` decides before it segments: brightness, diameter, tiles.

        Parameters and errors are those of :meth:`run`.

        >>> pixels = np.zeros((1, 40, 40), np.uint16)
        >>> pixels[0, 10:20, 10:20] = 900
        >>> pipeline = Pipeline(segmenter="watershed", nuclear_diameter=10)
        >>> ready = pipeline.prepare(Image(pixels))
        >>> len(ready.tiles), int(ready.segment(ready.tiles[0]).labels.max())
        (1, 1)
        """
        segmenter = self.build().segmenter
        return self._prepared(
            _as_image(image), nuclear, membrane, levels, segmenter, StepWatch(), _silent
        )

    def _prepared(
        self,
        image: Image,
        nuclear: str | Sequence[str],
        membrane: str | Sequence[str],
        levels: Brightness | None,
        segmenter: Segmenter,
        watch: StepWatch,
        report: Progress,
    ) -> Prepared:
        return prepare(
            image,
            nuclear,
            membrane,
            levels,
            segmenter=segmenter,
            brightness=self.brightness,
            nuclear_diameter=self.nuclear_diameter,
            tile=self.tile,
            overlap=self.overlap,
            watch=watch,
            progress=lambda n, of: report("diameter", n, of),
        )

    def _quantified(
        self,
        built: Components,
        image: Image,
        cells: Labels | LazyLabels,
        nuclei: Labels | LazyLabels,
        regions: Regions,
        scores: NDArray[np.float64],
        watch: StepWatch,
        report: Progress,
    ) -> tuple[CellTable, dict[str, Any], list[str]]:
        """Return the table, what compensation did, and what there is to look at in either."""
        untouched = [image.index(name) for name in self.compensate_except]
        compensation: dict[str, Any] = {}
        told = []
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
            if built.compensator is not None:
                report("compensate", 0, 1)
                table, compensation = _compensated(
                    built.compensator, _name_of(self.compensator), image, cells, table, untouched
                )
                shares = compensation["channels"].values()
                asked = len(table) > 1 and len(untouched) < len(table.channels)
                if asked and not any(share["removed"] or share["added"] for share in shares):
                    told.append(
                        "compensation changed nothing: it moves signal between cells that touch, "
                        "and hardly any do. Grow nuclei into cells with --expand."
                    )
                report("compensate", 1, 1)
                watch.lap("compensate")
        return table, compensation, [*told, *(str(warning.message) for warning in caught)]

    def _decided(self, built: Components, ready: Prepared, grow_by: float) -> dict[str, Any]:
        """Return what was decided before the first tile was segmented, for the record."""
        channels, seams = ready.scaled.image.channels, seams_of(ready.tiles)
        return {
            "segmenter": _name_of(self.segmenter),
            **({} if built.expander is None else {"expander": _name_of(self.expander)}),
            "nuclear": [channels[n] for n in ready.scaled.nuclear],
            "membrane": [channels[n] for n in ready.scaled.membrane],
            "brightness": attrs.asdict(ready.scaled.brightness),
            "nuclear_diameter_px": round(ready.diameter, 3),
            "nuclear_diameter_from": ready.known_from,
            "magnification": round(ready.source.factor, 4),
            "tiles": len(ready.tiles),
            "overlap_px": 2 * ready.margin,
            **({"seams": seams} if len(ready.tiles) > 1 else {}),
            "expand_px": grow_by,
        }

    def _plan(self, built: Components, ready: Prepared) -> dict[str, Any]:
        """Return what decides over the objects of each tile."""
        named = isinstance(self.segmenter, str)
        return {
            "image": ready.scaled.image.source,
            # Two arrays have the same source, and a file can change.
            "sample": sha256(ready.sample.tobytes()).hexdigest(),
            "facts": facts_of(built.segmenter),
            "shape": ready.scaled.shape,
            "channels": [ready.scaled.nuclear, ready.scaled.membrane],
            "brightness": attrs.asdict(ready.scaled.brightness),
            "segmenter": self.segmenter if named else repr(self.segmenter),
            "options": self.options.get("segmenter", {}),
            "diameter": ready.diameter,
            "tile": ready.edge,
            "margin": ready.margin,
        }

    def _cautions(self, ready: Prepared, table: CellTable, *, grown: bool) -> list[str]:
        """Return what the user should look at, now that the cells are known."""
        told = []
        of_rings = [name for name in Features.of(self.features).needs_nuclei if "ring_" in name]
        if of_rings and not grown:
            told.append(
                f"{', '.join(of_rings)}: a ring is what a cell gained by growing, and nuclei were "
                "not grown. Give --expand 2."
            )
        if not len(table):
            told.append(
                "no cell was found. Does the overlay show nuclei? If not, choose the channel with "
                "--nuclear; if so, give their diameter with --nuclear-diameter."
            )
        told += diameter_cautions(ready.scaled.image, ready.diameter, ready.known_from)
        return told

    def build(self, grow: float = 1) -> Components:
        """Return the components, built: a wrong name or option shows before any work is done.

        ``grow`` is what the expander is built with where the distance is given in um.
        """
        length = Length.of(self.expand_by)
        return build_components(
            self.segmenter,
            self.expander,
            self.compensator,
            grow if length.unit == "um" and length.value else length.value,
            options=self.options,
            plugins=self.plugins or load_plugins(),
        )


def _name_of(component: object) -> str:
    return component if isinstance(component, str) else type(component).__name__


def _silent(_step: str, _done: int, _total: int) -> None:
    pass


def _as_image(image: Any) -> Image:
    if isinstance(image, Image):
        return image
    if isinstance(image, (str, Path)):
        raise ImageError(
            f"a pipeline takes an image, not a path: pipeline.run(read_image({str(image)!r}))"
        )
    return Image(image)


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
