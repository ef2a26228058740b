"""One training of Cellpose from its plan to the files it leaves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from cellseg_backends.cellpose.model_file import describe, load
from cellseg_backends.cellpose.segmenter import CellposeSegmenter
from cellseg_backends.cellpose.thresholds import choose_thresholds
from cellseg_backends.cellpose.training import (
    CellposeTraining,
    TrainingImage,
    checkpoint_facts,
    load_images,
)
from cellseg_backends.model_note import NOTE, ModelNote, sha256_of, write_note
from cellseg_backends.training.folder import check_same, clear
from cellseg_backends.training.interruption import interruption
from cellseg_backends.training.log import TrainingLog
from cellseg_backends.training.loss import check_finite
from cellseg_backends.training.report import (
    counter,
    training_facts,
    warn_without_validation,
    write_report,
)
from cellseg_backends.training.validation import accuracy, examine, some
from cellseg_core.protocols import TrainingReporter
from cellseg_core.provenance import package_versions
from cellseg_core.store import atomic_binary_file
from cellseg_core.training_set import Contents, TrainingSet

__all__ = ["CHECKPOINT", "MODEL", "Plan", "TrainingRun"]

CHECKPOINT, MODEL = "checkpoint.pt", "cellpose_model"
_FILES = (CHECKPOINT, MODEL, NOTE, "log.csv", "report.json")
_COLUMNS = ("step", "loss", "learning_rate", "seconds", "val_loss")
_SAVE_EVERY = 200
_SAMPLE = 60  # training images that thresholds are chosen on


@attrs.frozen(kw_only=True)
class Plan:
    """The options of a trainer with every default settled.

    As in :class:`~cellseg_backends.cellpose.trainer.CellposeTrainer`, but for ``start``, the file
    of the weights to start from or None, and ``half``, the precision.
    """

    start: Path | None
    steps: int
    batch_size: int
    crop: int
    rate: float
    diameter: float
    half: bool
    device: str
    validate_every: int
    seed: int

    def settings(self) -> dict[str, Any]:
        """Return what decides over the result: two runs that share it can go on as one."""
        return {
            "start": sha256_of(self.start) if self.start else "scratch",
            "steps": self.steps,
            "batch_size": self.batch_size,
            "crop": self.crop,
            "rate": self.rate,
            "diameter": self.diameter,
            "precision": "bfloat16" if self.half else "float32",
            "device": self.device,
            "seed": self.seed,
        }


@attrs.define(eq=False)
class TrainingRun:
    """A training in a folder; what was begun there goes on if the plan and the images are the same.

    With ``fresh``, what is there is removed once the new training is ready to begin.

    Raises
    ------
    ConfigurationError
        If the folder's checkpoint is of another training; the message names what differs.
    """

    plan: Plan
    dataset: TrainingSet
    contents: Contents
    folder: Path
    report: TrainingReporter
    fresh: bool = False
    _settings: dict[str, Any] = attrs.field(init=False)
    _history: list[list[float]] = attrs.field(init=False, factory=list)  # step, validation loss
    _seconds_before: float = attrs.field(init=False, default=0.0)
    _began: float = attrs.field(init=False, factory=time.monotonic)

    def __attrs_post_init__(self) -> None:
        self._settings = {**self.plan.settings(), "images": self.contents.fingerprint}
        if self._checkpoint.is_file() and not self.fresh:
            facts = checkpoint_facts(self._checkpoint)
            check_same(facts.get("settings", {}), self._settings, self.folder)
            self._history = list(facts.get("history", []))
            self._seconds_before = float(facts.get("seconds", 0.0))
        else:
            warn_without_validation(self.dataset, self.report)

    def train(self) -> CellposeTraining:
        """Return the training, at its end.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C, once the step at hand is done and the checkpoint written.
        """
        training = self._built()
        # Only now is it known that a new training can begin.
        if self.fresh:
            clear(self.folder, _FILES)
        if self._checkpoint.is_file():
            training.restore(self._checkpoint)
            self.report.say(f"going on from step {training.step} of {self.plan.steps}")
        watched = self._watched(training)
        shown: float | None = None
        with (
            TrainingLog(self.folder / "log.csv", _COLUMNS, training.step) as log,
            interruption(self.report) as interrupted,
        ):
            while training.step < self.plan.steps:
                rate = training.rate_at(training.step)
                loss = training.advance()
                step = training.step
                check_finite(loss, step, self.plan.rate)
                due = step == self.plan.steps or step % self.plan.validate_every == 0
                validated = training.loss_on(watched) if due and watched else None
                if validated is not None:
                    self._history.append([step, validated])
                row = {"loss": loss, "learning_rate": rate, "val_loss": validated}
                log.write(step, {**row, "seconds": self._seconds})
                if due or interrupted.is_set() or step % _SAVE_EVERY == 0:
                    self._save(training)
                if interrupted.is_set():
                    raise KeyboardInterrupt
                shown = loss if shown is None else 0.95 * shown + 0.05 * loss
                known = {"val loss": self._history[-1][1]} if self._history else {}
                self.report.progress("training", step, self.plan.steps, {"loss": shown, **known})
        return training

    def finish(self, training: CellposeTraining) -> dict[str, Any]:
        """Choose the thresholds, measure accuracy, write network and report, and return the report.

        The thresholds are chosen on training images, so that validation images say how good the
        network is on images that had no part in it.
        """
        self._write_weights(training)
        folder = self.folder.resolve()
        loaded = load(describe(folder), self.plan.device)
        chosen = choose_thresholds(
            loaded.network,
            some(self.dataset.of("train"), _SAMPLE),
            counter(self.report, "choosing the thresholds"),
        )
        options = {
            "flow_threshold": chosen.flow_threshold,
            "cellprob_threshold": chosen.cellprob_threshold,
        }
        self._write_note(options, {"finished": False, "settings": self._settings})
        found = examine(
            CellposeSegmenter(weights=str(folder), device=self.plan.device),
            self.dataset.of("val"),
            counter(self.report, "validating"),
        )
        facts = training_facts(
            self.dataset,
            self.contents,
            self._settings,
            self._seconds,
            accuracy(found) if found else {},
            package_versions(("cellpose", "opencv-python-headless")),
        )
        self._write_note(options, facts)
        told = {
            **facts,
            **options,
            "mAP_on_training_images_by_thresholds": chosen.curve,
            "validation_loss_by_step": self._history,
        }
        write_report(self.folder, told)
        return told

    @property
    def _checkpoint(self) -> Path:
        return self.folder / CHECKPOINT

    @property
    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    def _built(self) -> CellposeTraining:
        plan = self.plan
        images = self.dataset.of("train")
        learnt = load_images(images, counter(self.report, "reading images"))
        if len(learnt) < len(images):
            self.report.say(
                f"{len(images) - len(learnt)} training images have no nuclei, and are left out"
            )
        training = CellposeTraining(
            images=learnt,
            diameter=plan.diameter,
            steps=plan.steps,
            batch_size=plan.batch_size,
            crop=plan.crop,
            rate=plan.rate,
            seed=plan.seed,
            half=plan.half,
            device=plan.device,
        )
        if plan.start is not None:
            training.start_from(plan.start)
        return training

    def _watched(self, training: CellposeTraining) -> Sequence[TrainingImage]:
        if training.step >= self.plan.steps:
            return ()
        return load_images(self.dataset.of("val"), counter(self.report, "reading images"))

    def _save(self, training: CellposeTraining) -> None:
        facts = {
            "settings": self._settings,
            "history": self._history,
            "seconds": self._seconds,
        }
        training.save(self._checkpoint, facts)

    def _write_weights(self, training: CellposeTraining) -> None:
        """Write the network as the library loads it; what was chosen for an earlier one goes."""
        import torch

        clear(self.folder, (NOTE,))
        state = {name: _halved(value) for name, value in training.network.state_dict().items()}
        with atomic_binary_file(self.folder / MODEL) as stream:
            torch.save(state, stream)

    def _write_note(self, options: dict[str, float], facts: dict[str, Any]) -> None:
        note = ModelNote(
            segmenter="cellpose",
            diameter=self.plan.diameter,
            sha256=sha256_of(self.folder / MODEL),
            options=options,
            training=facts,
        )
        write_note(self.folder, note)


def _halved(value: Any) -> Any:
    """Return an array in half precision, which the library turns back, where that holds it."""
    import torch

    value = value.detach().cpu().contiguous()
    if not value.is_floating_point():
        return value
    half = value.to(torch.float16)
    return half if bool(torch.isfinite(half).all()) else value
