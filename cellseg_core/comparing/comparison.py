"""A head-to-head: several methods on the same images, on one path."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from cellseg_core.address import Location
from cellseg_core.comparing.findings import Findings, find
from cellseg_core.comparing.gates import Gates, check_markers
from cellseg_core.comparing.method import Method
from cellseg_core.comparing.trial import Trial, run_trial
from cellseg_core.config import RunConfig
from cellseg_core.errors import ConfigurationError, ImageError, MissingPackageError, nearest
from cellseg_core.finished_run import FinishedRun
from cellseg_core.image import Image
from cellseg_core.inputs import input_locations, open_inputs
from cellseg_core.label_files import Kind, find_label_files, read_label_file
from cellseg_core.label_image import check_labels
from cellseg_core.naming import safe_name
from cellseg_core.plugins import Plugins, load_plugins
from cellseg_core.provenance import environment
from cellseg_core.reporting import Reporter, RunLog, Silent
from cellseg_core.store import Store, output_error
from cellseg_core.training_split import listed

__all__ = ["Comparison", "compare"]

_WRITERS = ("csv", "labels", "overlay")
_RESULTS = ("comparison.json", "methods.csv", "images.csv", "agreement.csv", "report.html")
_SHOWN = 10  # truths in one message


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
    def complete(self) -> bool:
        """Return whether every input could be read, and every method did all of them each time."""
        return not self.findings.unread and not any(
            one.failed or one.errors or one.repeats_failed for one in self.findings.methods
        )

    def facts(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {**self.record, **_plain(self.findings.facts())}


def compare(
    inputs: Sequence[str | Location],
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
        Before anything is done, if no image can be read, or an image has no truth, or a wrong one.
    OutputError
        If ``out`` cannot be written.
    """
    if repeats < 1:
        raise ConfigurationError(f"--repeats is a whole number of 1 or more; got {repeats}.")
    plugins, reporter = plugins or load_plugins(), reporter or Silent()
    began, started = time.perf_counter(), datetime.now(UTC)
    # Seen from any folder, images have the same names.
    places = [path.absolute() for path in input_locations(inputs)]
    shared = attrs.evolve(config or RunConfig(), features=(), write=_WRITERS)
    configs = {method.name: method.config(shared, methods) for method in methods}
    for one in configs.values():
        _check(one, plugins)
    with Store.open(out) as store:
        images, unread = _images(places, shared, plugins, store, reporter)
        true_files = _truths(truth, images, kind, plugins, reporter)
        lacking = _lacking(exclusive, gates, images, reporter)
        _clear(out)
        runs = _Runs(places, images, unread, store, configs, reporter, repeats)
        trials = runs.do_all(fresh=fresh)
        findings = find(
            methods,
            trials,
            {name: runs.finished(name, trials[name][0]) for name in configs},
            images,
            shared,
            true_files=true_files,
            kind=kind,
            exclusive=exclusive,
            gates=gates,
            reporter=reporter,
        )
        findings = attrs.evolve(findings, unread=unread, lacking=lacking)
    record = {
        **environment(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 3),
        "inputs": [str(path) for path in places],
        "truth": None if truth is None else str(truth),
        "kind": kind,
        "repeats": repeats,
        "settings": _plain(shared.as_dict()),
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

    What a run says beside that, it says of the images, and all methods have the same ones; so are
    inputs that nobody can read, of which the user was told. What one method warned of, others do
    not repeat: it is about an image. The ``run.json`` of each has all of its own.
    """

    reporter: Reporter
    name: str
    unread: Mapping[str, str]
    warned: set[str]
    before: int
    total: int

    def say(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        if text in self.warned or any(path in text for path in self.unread):
            return
        self.warned.add(text)
        self.reporter.warn(f"{self.name}: {text}")

    def images(self, done: int, total: int) -> None:  # noqa: ARG002
        self.reporter.images(self.before + done, self.total)

    def step(self, image: str, step: str, done: int, total: int) -> None:
        self.reporter.step(image, step, done, total)


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as JSON can hold them: what is not finite, or of another type, as text."""
    plain: dict[str, Any] = json.loads(json.dumps(facts, default=str), parse_constant=str)
    return plain


def _check(config: RunConfig, plugins: Plugins) -> None:
    """Check what can be checked of the settings of a method before any work."""
    config.components(plugins)
    config.check_options(plugins)
    name = config.segmenter
    # Where its package is missing, its row says so, and the others are compared.
    with contextlib.suppress(MissingPackageError):
        plugins.build("segmenter", name, config.options("segmenter", name, plugins))


def _images(
    inputs: Sequence[Location],
    config: RunConfig,
    plugins: Plugins,
    store: Store,
    reporter: Reporter,
) -> tuple[dict[str, Image], dict[str, str]]:
    """Return the images by the names that the runs give them, and inputs that cannot be read."""
    log = RunLog(reporter)
    images = {job.image.name: job.image for job in open_inputs(inputs, config, plugins, store, log)}
    if not images:
        raise ImageError("there is no image to compare the methods on; see above.")
    return images, {one.name: one.error or "" for one in log.outcomes}


def _truths(
    truth: Path | None,
    images: Mapping[str, Image],
    kind: Kind,
    plugins: Plugins,
    reporter: Reporter,
) -> dict[str, Path]:
    """Return the file of the true label image of each image; none without ``truth``.

    Each is read, so that a wrong one is told before hours of work.
    """
    if truth is None:
        return {}
    found = {safe_name(name): path for name, path in find_label_files(truth, kind).items()}
    if len(found) == len(images) == 1:
        found = dict(zip(images, found.values(), strict=True))
    lacking = [name for name in images if name not in found]
    if lacking:
        raise ImageError(
            f"{truth} has no label image for {listed(lacking)}; for {lacking[0]!r}, "
            f"{nearest(lacking[0], found)}. Label images are found by the names of the images, "
            "without the ending. Rename them, or leave images without truth out of the comparison."
        )
    wrong = []
    for number, (name, image) in enumerate(images.items()):
        reporter.step(name, "checking the truth", number, len(images))
        try:
            shape = check_labels(read_label_file(found[name], plugins), str(found[name])).shape
        except ImageError as error:
            wrong.append(str(error))
            continue
        if tuple(shape) != image.shape:
            wrong.append(
                f"{found[name]} has {shape[0]} x {shape[1]} px, and its image {name} "
                f"{image.shape[0]} x {image.shape[1]}: they must show the same pixels."
            )
    if wrong:
        more = f"\n... and {len(wrong) - _SHOWN} more." if len(wrong) > _SHOWN else ""
        raise ImageError("\n".join(wrong[:_SHOWN]) + more)
    return {name: found[name] for name in images}


def _lacking(
    exclusive: Sequence[tuple[str, str]],
    gates: Gates | None,
    images: Mapping[str, Image],
    reporter: Reporter,
) -> dict[str, list[str]]:
    """Return the images without a marker that is asked for, by marker, and say so."""
    channels = {name: image.channels for name, image in images.items()}
    pairs = [name for pair in exclusive for name in pair]
    lacking = check_markers(pairs, channels, "--exclusive")
    if gates is not None:
        lacking |= check_markers(gates.markers, channels, gates.source)
    for marker, names in lacking.items():
        reporter.warn(f"{marker} is not in {listed(names)}: their cells are not counted for it.")
    return lacking


def _clear(out: Path) -> None:
    """Remove what an earlier comparison said: it would not fit what the runs leave now."""
    for name in _RESULTS:
        try:
            (out / name).unlink(missing_ok=True)
        except OSError as error:
            raise output_error(out / name, error) from error


@attrs.frozen(eq=False)
class _Runs:
    """The runs of all methods: in OUT, and repeats elsewhere, of which only the cost is kept."""

    inputs: Sequence[Location]
    images: Mapping[str, Image]
    unread: Mapping[str, str]
    store: Store
    configs: Mapping[str, RunConfig]
    reporter: Reporter
    repeats: int
    _warned: set[str] = attrs.field(factory=set, init=False)

    def do_all(self, *, fresh: bool) -> dict[str, list[Trial]]:
        """Run every method so often, in turns: what slows the machine down slows all."""
        trials: dict[str, list[Trial]] = {name: [] for name in self.configs}
        with tempfile.TemporaryDirectory(dir=self.store.work, prefix="unfinished-") as elsewhere:
            for number in range(self.repeats):
                for place, name in enumerate(self.configs):
                    if number and trials[name][0].failed is not None:
                        continue
                    again = f", run {number + 1} of {self.repeats}" if self.repeats > 1 else ""
                    self.reporter.say(f"{name}{again}")
                    out = Path(elsewhere, name) if number else self._out(name)
                    trial = self._run(
                        name, out, number * len(self.configs) + place, fresh=fresh or number > 0
                    )
                    if trial.failed is not None:
                        self.reporter.warn(f"{name} FAILED: {trial.failed}")
                    trials[name].append(trial)
        return trials

    def _out(self, name: str) -> Path:
        return self.store.out / "runs" / name

    def _run(self, name: str, out: Path, before: int, *, fresh: bool) -> Trial:
        total = self.repeats * len(self.configs) * len(self.images)
        done = before * len(self.images)
        told = _Named(self.reporter, name, self.unread, self._warned, done, total)
        trial = run_trial(self.inputs, out, self.configs[name], told, fresh=fresh)
        own = {image: why for image, why in trial.errors.items() if image not in self.unread}
        return attrs.evolve(trial, errors=own)

    def finished(self, name: str, trial: Trial) -> FinishedRun | None:
        """Return what a run left, without images that it did not do; None if it left nothing."""
        if trial.failed is not None or not trial.megapixels:
            return None
        run = FinishedRun.read(self._out(name))
        # What an earlier run with other settings left of them must not count.
        kept = {image: one for image, one in run.images.items() if image not in trial.errors}
        unknown = sorted(kept.keys() - self.images.keys())
        if unknown:
            raise ImageError(
                f"the inputs changed while the methods ran: {listed(unknown)} of {name} was not "
                "there before. Run the same command again; what is done stays done."
            )
        return attrs.evolve(run, images=kept)
