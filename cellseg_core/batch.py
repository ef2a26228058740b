"""A run over many images: one brightness scale, one table, no lost work, every failure named."""

from __future__ import annotations

import errno
import json
import math
import shutil
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from cellseg_core.address import Location
from cellseg_core.channels import nuclear_channels
from cellseg_core.config import RunConfig
from cellseg_core.config_files import SCHEMA
from cellseg_core.errors import (
    CellsegError,
    ChannelError,
    ConfigurationError,
    ImageError,
    OutputError,
    SegmentationError,
)
from cellseg_core.finished_run import FinishedRun
from cellseg_core.inputs import Job, files_of, input_locations, open_inputs
from cellseg_core.normalize import Brightness, UpperPercentile, channel_tails
from cellseg_core.pipeline import Pipeline
from cellseg_core.plugins import Plugins, load_plugins
from cellseg_core.protocols import Combiner, Segmenter, Writer
from cellseg_core.provenance import deciding_packages, environment, facts_of
from cellseg_core.recorded_run import RecordedRun
from cellseg_core.reference import reference_brightness
from cellseg_core.reporting import Outcome, Reporter, RunLog, Silent, Summary
from cellseg_core.result import Result
from cellseg_core.store import Store, atomic_write, fingerprint, key_of, output_error
from cellseg_core.workers import Workers, open_workers

__all__ = ["run_batch"]

_DIM = 0.05


def run_batch(
    inputs: Sequence[str | Location],
    out: str | Path,
    config: RunConfig | None = None,
    *,
    fresh: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
    memory: int | None = None,
    repeat: RecordedRun | None = None,
    plugins: Plugins | None = None,
    reporter: Reporter | None = None,
) -> Summary:
    """Run the pipeline over every image at ``inputs`` and write its files into ``out``.

    An image that fails is named in the summary, and the others are done. Images that an earlier
    run with the same input, parameters and network has done are not done again, unless ``fresh``.

    Parameters
    ----------
    workers, scheduler, memory
        Processes on this machine that segment parts of images, or the address of a Dask cluster;
        and bytes that they may take: see :func:`~cellseg_core.workers.open_workers`. What comes
        out does not depend on them.
    repeat
        The run that is done again: what is not as it was then is told. Images are looked at where
        ``inputs`` are those of that run, the segmenter where it and its options are.

    Raises
    ------
    ConfigurationError, ComponentError
        Before anything is done, if the settings make no sense, or ``repeat`` had other images or
        weights.
    CellsegError
        Before anything is done, if the segmenter could not work, for want of its weights, say.
    OutputError
        If ``out`` cannot be written or the disk is full; what was done before stays done.
    """
    places = input_locations(inputs)
    config, plugins = config or RunConfig(), plugins or load_plugins()
    began, started = time.perf_counter(), datetime.now(UTC)
    pipeline, segmenter, writers = _build(config, plugins)
    segmenter_facts = facts_of(segmenter)
    notes = []
    if repeat is not None:
        components = config.components(plugins)
        notes = repeat.check_segmenter(config, segmenter_facts, components)
    log = RunLog(reporter or Silent())
    with (
        Store.open(Path(out)) as store,
        open_workers(workers, scheduler, memory=memory, tell=log.reporter.warn) as crew,
    ):
        for note in [*config.without_effect(plugins), *notes]:
            log.reporter.warn(note)
        run = _Run(config, plugins, pipeline, segmenter, segmenter_facts, writers, store, log, crew)
        opened = open_inputs(places, config, plugins, store, log)
        if repeat is not None and repeat.same_inputs(places):
            for note in repeat.check_images(opened, [one.source for one in log.outcomes]):
                log.reporter.warn(note)
        jobs = run.select(opened)
        jobs, brightness = run.measure_brightness(jobs)
        run.process_all(jobs, brightness, fresh=fresh)
        outcomes = sorted(run.log.outcomes, key=lambda outcome: (outcome.name, outcome.source))
        summary = Summary(
            out=store.out,
            outcomes=tuple(outcomes),
            brightness=brightness,
            seconds=round(time.perf_counter() - began, 3),
        )
        run.finish(summary, places, started)
    return summary


def _build(config: RunConfig, plugins: Plugins) -> tuple[Pipeline, Segmenter, dict[str, Writer]]:
    """Build every component, so that wrong settings show before any work is done."""
    config.check_options(plugins)
    if config.brightness == "each" and config.reference is not None:
        raise ConfigurationError(
            "--brightness each gives every image its own scale, and --reference all the same: "
            "leave one of them out."
        )
    pipeline = config.pipeline(plugins)
    segmenter = pipeline.build().segmenter
    writers = {
        name: plugins.build("writer", name, config.options("writer", name, plugins))
        for name in config.write
    }
    return pipeline, segmenter, writers


@attrs.frozen(eq=False)
class _Run:
    """What all images of a run have in common."""

    config: RunConfig
    plugins: Plugins
    pipeline: Pipeline
    segmenter: Segmenter
    segmenter_facts: dict[str, Any]
    writers: dict[str, Writer]
    store: Store
    log: RunLog
    workers: Workers

    def select(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the images that have the nuclear and membrane channels."""
        selected = []
        for job in jobs:
            try:
                nuclear, _ = nuclear_channels(job.image, self.config.nuclear)
                membrane = [job.image.index(name) for name in self.config.membrane]
            except ChannelError as error:
                self.log.fail(job.image.name, job.source.path, error)
            else:
                numbers = tuple(dict.fromkeys((*nuclear, *membrane)))
                selected.append(attrs.evolve(job, channels=numbers))
        return selected

    def measure_brightness(self, jobs: Sequence[Job]) -> tuple[list[Job], Brightness | None]:
        """Return the images whose pixels can be read, and one brightness scale for them all.

        No scale where each image is to have its own.
        """
        if self.config.brightness == "each":
            return list(jobs), None
        expected: Counter[str] = Counter()
        for job in jobs:
            for number in job.channels:
                expected[job.image.channels[number]] += math.prod(job.image.shape)
        tails = {name: UpperPercentile(count) for name, count in expected.items()}
        kept = []
        own_levels: dict[str, Mapping[str, float]] = {}
        for done, job in enumerate(jobs):
            self.log.reporter.step(job.image.name, "brightness", done, len(jobs))
            try:
                own = channel_tails(job.image, job.channels, expected)
                own_levels[job.image.name] = Brightness.from_tails(own, 1, job.image.name).levels
            except ImageError as error:
                self.log.fail(job.image.name, job.source.path, error)
                continue
            for name, tail in own.items():
                tails[name].merge(tail)
            kept.append(job)
        if not kept:
            return [], None
        factor = 1.0 if self.config.brightness == "auto" else float(self.config.brightness)
        if self.config.reference is not None:
            return kept, reference_brightness(self.config, self.plugins, tails, factor)
        seen = {name: tail for name, tail in tails.items() if tail.count}
        brightness = Brightness.from_tails(seen, factor)
        self._warn_of_dim_images(own_levels, brightness)
        if not any(brightness.levels.values()):
            for job in kept:
                channels = ", ".join(job.image.channels[number] for number in job.channels)
                self.log.fail(
                    job.image.name,
                    job.source.path,
                    ImageError(
                        f"the nuclear channel ({channels}) is black in every image: its values "
                        "are 0. Is it the right channel? Choose with --nuclear NAME."
                    ),
                )
            return [], brightness
        return kept, brightness

    def _warn_of_dim_images(
        self, own_levels: Mapping[str, Mapping[str, float]], shared: Brightness
    ) -> None:
        for name, levels in own_levels.items():
            for channel, level in levels.items():
                if 0 < level < _DIM * shared.levels[channel]:
                    self.log.reporter.warn(
                        f"{name}: {channel} is {shared.levels[channel] / level:.0f} times dimmer "
                        "than in the other images, with which it shares one brightness scale. If "
                        "it is of another kind, run it on its own."
                    )

    def process_all(
        self, jobs: Sequence[Job], brightness: Brightness | None, *, fresh: bool
    ) -> None:
        """Process the images one by one, and record what became of each."""
        shared = self._shared_facts(brightness)
        total = len(jobs) + len(self.log.outcomes)
        for job in jobs:
            self.log.reporter.images(len(self.log.outcomes), total)
            try:
                self._process(job, brightness, shared, fresh=fresh)
            except OutputError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                self.log.fail(job.image.name, job.source.path, error)
            except CellsegError as error:
                if not self.workers.alive:
                    raise
                self.log.fail(job.image.name, job.source.path, error)
            except Exception as error:  # noqa: BLE001 - one image must not take the others down
                lines = "".join(traceback.format_exception(error)[-3:])
                report = (
                    f"unexpected {type(error).__name__}: {error}. This is a bug in cellseg or in "
                    f"one of its plugins; please report it with these lines:\n{lines}"
                )
                self.log.fail(job.image.name, job.source.path, RuntimeError(report))
        self.log.reporter.images(len(self.log.outcomes), total)
        self.store.forget_tiles(one.name for one in self.log.outcomes if one.state == "failed")

    def _shared_facts(self, brightness: Brightness | None) -> dict[str, Any]:
        """Return what, besides the image itself, decides over its results."""
        settings = self.config.as_dict()
        # These say how images are found; what that comes to is among the facts of each image.
        for name in ("layout", "channels", "reference", "pixel_size"):
            settings.pop(name)
        return {
            "settings": settings,
            "components": self.config.components(self.plugins),
            "segmenter": self.segmenter_facts,
            "brightness": None if brightness is None else attrs.asdict(brightness),
            "packages": deciding_packages(),
        }

    def _process(
        self, job: Job, brightness: Brightness | None, shared: dict[str, Any], *, fresh: bool
    ) -> None:
        """Do one image, or find that it is done."""
        self._check_segmenter()
        image = job.image
        facts = {
            "reader": f"{job.source.reader} of {self._origin(job.source.reader)}",
            "files": fingerprint(files_of(job)),
            "channels": list(image.channels),
            "shape": list(image.shape),
            "dtype": str(image.dtype),
            "pixel_size_um": image.pixel_size,
            "position": attrs.asdict(image.position),
            "axes": image.axes,
        }
        key = key_of({"name": image.name, **shared, "input": facts})
        record = None if fresh else self.store.done(image.name, key)
        state = "done" if record is None else "resumed"
        if record is None:
            # What comes after segmentation may change without losing its tiles; the pipeline
            # looks at all else that decides over them.
            about = {name: shared[name] for name in ("segmenter", "packages")}
            origin = shared["components"]["segmenter"]
            work = self.store.tiles_of(image.name, key_of({**about, "of": origin, "input": facts}))
            if fresh:
                shutil.rmtree(work, ignore_errors=True)
            result = self.pipeline.run(
                image,
                self.config.nuclear,
                self.config.membrane,
                levels=brightness,
                progress=lambda step, done, of: self.log.reporter.step(image.name, step, done, of),
                work=work,
                workers=self.workers,
            )
            self._check_segmenter()
            with self.store.image_folder() as folder:
                notes = [*job.notes, *image.notes, *result.warnings, *self._write(result, folder)]
                record = self.store.finish(
                    image.name,
                    key,
                    folder,
                    {
                        "cells": len(result.table),
                        "warnings": notes,
                        "input": {"path": str(job.source.path.resolve()), **facts},
                        "decided": dict(result.facts),
                    },
                )
        for warning in record["warnings"]:
            self.log.reporter.warn(f"{image.name}: {warning}")
        self.log.outcomes.append(
            Outcome(
                name=image.name,
                source=str(job.source.path),
                state=state,
                cells=record["cells"],
                warnings=tuple(record["warnings"]),
                facts={name: record[name] for name in ("input", "decided", "files")},
            )
        )

    def _check_segmenter(self) -> None:
        """Make sure that results are recorded with the network that made them."""
        if facts_of(self.segmenter) != self.segmenter_facts:
            raise SegmentationError(
                f"what {self.config.segmenter!r} works with, such as its weights, changed during "
                "the run, and all images are to be done alike. Run the same command again."
            )

    def _write(self, result: Result, folder: Path) -> list[str]:
        """Run every writer, and return what they warn of."""
        notes = []
        for done, (name, writer) in enumerate(self.writers.items()):
            self.log.reporter.step(result.image.name, "write", done, len(self.writers))
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    written = writer.write(result, folder)
            except OutputError:
                raise
            except OSError as error:
                raise output_error(self.store.out / result.image.name, error) from error
            missing = [str(path) for path in written if not Path(path).is_file()]
            if missing:
                raise OutputError(
                    f"{result.image.name}: {', '.join(missing)} should have been written by the "
                    f"writer {name!r}, and is not there. Run the same command again."
                )
            notes += [f"{name}: {warning.message}" for warning in caught]
        return notes

    def _origin(self, reader: str) -> str:
        return self.plugins.find("reader", reader).origin

    def finish(self, summary: Summary, inputs: Sequence[Location], started: datetime) -> None:
        """Write the table and the record of all images, and point out what else is in the folder.

        Where nothing was done, what an earlier run left stays as it is.
        """
        out = self.store.out
        done = [outcome.name for outcome in summary.outcomes if outcome.state != "failed"]
        if not done:
            return
        others = sorted(self.store.known() - set(done))
        if others:
            shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
            self.log.reporter.warn(
                f"{out} also holds results that are not part of this run: {shown}. cells.csv and "
                "run.json hold this run alone; to have all in one table, give all images in one "
                "command."
            )
        brightness = summary.brightness
        record = {
            "schema": SCHEMA,
            **environment(),
            "started": started.isoformat(timespec="seconds"),
            "seconds": summary.seconds,
            "inputs": [str(path.absolute()) for path in inputs],
            "settings": self.config.as_record(),
            "components": self.config.components(self.plugins),
            "segmenter": self.segmenter_facts,
            "brightness": None if brightness is None else attrs.asdict(brightness),
            "cells": summary.cells,
            "images": [attrs.asdict(outcome) for outcome in summary.outcomes],
        }
        written = json.dumps(record, indent=1)
        run = FinishedRun.of(out, json.loads(written))
        for writer in self.writers.values():
            if isinstance(writer, Combiner):
                writer.combine(run)
        atomic_write(out / "run.json", written)
