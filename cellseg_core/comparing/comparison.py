"""A head-to-head: several methods on the same images, on one path."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from cellseg_core.comparing.findings import Findings, find
from cellseg_core.comparing.gates import Gates, check_markers
from cellseg_core.comparing.method import Method
from cellseg_core.comparing.trial import Trial, run_trial
from cellseg_core.config import RunConfig
from cellseg_core.errors import ConfigurationError, ImageError, MissingPackageError
from cellseg_core.finished_run import FinishedRun, Kind
from cellseg_core.image import Image
from cellseg_core.inputs import open_inputs
from cellseg_core.label_files import find_label_files
from cellseg_core.plugins import Plugins, load_plugins
from cellseg_core.provenance import environment
from cellseg_core.reporting import Reporter, RunLog, Silent
from cellseg_core.store import Store

__all__ = ["Comparison", "compare"]

_WRITERS = ("csv", "labels", "overlay")
_SHOWN = 10  # names in one message


@attrs.frozen(eq=False, kw_only=True)
class Comparison:
    """What a comparison found, and where it is.

    Attributes
    ----------
    out
        The folder. ``runs/METHOD`` in it is what ``cellseg run`` would have left.
    findings
        All figures.
    record
        What was compared with what: settings, versions, inputs.
    images, true_files
        The images by name, lazy, and the files of their true label images.
    config
        The settings that all methods share.
    """

    out: Path
    findings: Findings
    record: Mapping[str, Any]
    images: Mapping[str, Image]
    true_files: Mapping[str, Path]
    config: RunConfig

    @property
    def failed(self) -> list[str]:
        """Return the methods that could not do everything."""
        return [one.method.name for one in self.findings.methods if one.failed or one.errors]

    def facts(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {**self.record, **self.findings.facts()}


def compare(
    inputs: Sequence[Path],
    out: Path,
    methods: Sequence[Method],
    config: RunConfig | None = None,
    *,
    truth: Path | None = None,
    kind: Kind = "nuclei",
    exclusive: Sequence[tuple[str, str]] = (),
    gates: Gates | None = None,
    repeats: int = 1,
    fresh: bool = False,
    plugins: Plugins | None = None,
    reporter: Reporter | None = None,
) -> Comparison:
    """Run every method over every image on the one path, and return what differs.

    Only the segmenter differs: tiles, brightness, stitching, growing, measuring and compensation
    are those of ``config`` for all. Each method runs in a fresh process, in turns where there are
    ``repeats``. One that fails is a row that says why.

    Parameters
    ----------
    inputs, out, config, fresh
        As for :func:`~cellseg_core.batch.run_batch`. The segmenter, the features and the writers
        of ``config`` are set aside.
    methods
        What is compared.
    truth
        A label image, or a folder of them with the names of the images.
    kind
        What is compared with it, and between methods: nuclei, or cells as they were grown.
    exclusive
        Pairs of markers that no cell has both of.
    gates
        Phenotypes whose cells are counted.
    repeats
        How often each method is run, to see how its cost spreads.

    Raises
    ------
    ConfigurationError, ComponentError
        Before anything is done, if the settings make no sense or a segmenter is unknown.
    ChannelError
        Before anything is done, if a marker of the gates or pairs is in no image.
    ImageError
        Before anything is done, if no image can be read, or an image has no truth.
    OutputError
        If ``out`` cannot be written.
    """
    if repeats < 1:
        raise ConfigurationError(f"--repeats is a whole number of 1 or more; got {repeats}.")
    plugins, reporter = plugins or load_plugins(), reporter or Silent()
    began, started = time.perf_counter(), datetime.now(UTC)
    shared = attrs.evolve(config or RunConfig(), features=(), write=_WRITERS)
    configs = {method.name: method.config(shared, methods) for method in methods}
    for one in configs.values():
        _check(one, plugins)
    with Store.open(out) as store:
        images = _images(inputs, shared, plugins, store, reporter)
        true_files = _truths(truth, images, kind)
        channels = {name: image.channels for name, image in images.items()}
        check_markers([name for pair in exclusive for name in pair], channels, "--exclusive")
        if gates is not None:
            check_markers(gates.markers, channels, gates.source)
        trials = _run_all(inputs, len(images), store, configs, reporter, repeats, fresh=fresh)
        runs = {name: _finished(store.out / "runs" / name, trials[name][0]) for name in configs}
        findings = find(
            methods,
            trials,
            runs,
            images,
            shared,
            true_files=true_files,
            kind=kind,
            exclusive=exclusive,
            gates=gates,
            reporter=reporter,
        )
    record = {
        **environment(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 3),
        "inputs": [str(path) for path in inputs],
        "truth": None if truth is None else str(truth),
        "kind": kind,
        "repeats": repeats,
        "settings": _plain(shared),
    }
    return Comparison(
        out=out,
        findings=findings,
        record=record,
        images=images,
        true_files=true_files,
        config=shared,
    )


@attrs.frozen
class _Named:
    """A reporter of one run of many: its warnings say whose they are, its images add up.

    What a run says beside that, it says of the images, and all methods have the same ones.
    """

    reporter: Reporter
    name: str
    before: int
    total: int

    def say(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        self.reporter.warn(f"{self.name}: {text}")

    def images(self, done: int, total: int) -> None:  # noqa: ARG002
        self.reporter.images(self.before + done, self.total)

    def step(self, image: str, step: str, done: int, total: int) -> None:
        self.reporter.step(image, step, done, total)


def _plain(config: RunConfig) -> dict[str, Any]:
    import json

    settings: dict[str, Any] = json.loads(json.dumps(attrs.asdict(config), default=str))
    return settings


def _check(config: RunConfig, plugins: Plugins) -> None:
    """Check what can be checked of the settings of a method before any work."""
    config.components(plugins)
    config.check_options(plugins)
    name = config.segmenter
    # Where its package is missing, its row says so, and the others are compared.
    with contextlib.suppress(MissingPackageError):
        plugins.build("segmenter", name, config.options("segmenter", name, plugins))


def _images(
    inputs: Sequence[Path], config: RunConfig, plugins: Plugins, store: Store, reporter: Reporter
) -> dict[str, Image]:
    """Return the images by the names that the runs give them."""
    log = RunLog(reporter)
    images = {job.image.name: job.image for job in open_inputs(inputs, config, plugins, store, log)}
    if not images:
        raise ImageError("there is no image to compare the methods on; see above.")
    return images


def _truths(truth: Path | None, images: Mapping[str, Image], kind: Kind) -> dict[str, Path]:
    """Return the file of the true label image of each image; none without ``truth``."""
    if truth is None:
        return {}
    found = find_label_files(truth, kind)
    if len(found) == len(images) == 1:
        return dict(zip(images, found.values(), strict=True))
    lacking = [name for name in images if name not in found]
    if lacking:
        shown = ", ".join(lacking[:_SHOWN]) + (", ..." if len(lacking) > _SHOWN else "")
        raise ImageError(
            f"{truth} has no label image for {shown}. Name each like its image, or leave the "
            "images without truth out of the comparison."
        )
    return {name: found[name] for name in images}


def _run_all(
    inputs: Sequence[Path],
    images: int,
    store: Store,
    configs: Mapping[str, RunConfig],
    reporter: Reporter,
    repeats: int,
    *,
    fresh: bool,
) -> dict[str, list[Trial]]:
    """Run every method ``repeats`` times, in turns: what slows the machine down slows all."""
    trials: dict[str, list[Trial]] = {name: [] for name in configs}
    before = 0
    with tempfile.TemporaryDirectory(dir=store.work, prefix="unfinished-") as elsewhere:
        for number in range(repeats):
            for name, config in configs.items():
                if number and trials[name][0].failed is not None:
                    continue
                again = f", run {number + 1} of {repeats}" if repeats > 1 else ""
                reporter.say(f"{name}{again}")
                out = Path(elsewhere, name) if number else store.out / "runs" / name
                told = _Named(reporter, name, before, repeats * len(configs) * images)
                before += images
                trial = run_trial(inputs, out, config, told, fresh=fresh or number > 0)
                if trial.failed is not None:
                    reporter.warn(f"{name} FAILED: {trial.failed}")
                trials[name].append(trial)
    return trials


def _finished(out: Path, trial: Trial) -> FinishedRun | None:
    """Return what a run left, without images that it did not do; None if it left nothing."""
    if trial.failed is not None or not trial.megapixels:
        return None
    run = FinishedRun.read(out)
    # What an earlier run with other settings left of them must not count.
    kept = {name: image for name, image in run.images.items() if name not in trial.errors}
    return attrs.evolve(run, images=kept)
