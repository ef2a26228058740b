"""One training of StarDist from its plan to the files it leaves."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs

from cellseg_backends.model_note import NOTE, ModelNote, sha256_of, write_note
from cellseg_backends.quiet import quiet
from cellseg_backends.stardist.model_folder import StarDistModel, describe, load
from cellseg_backends.stardist.segmenter import StarDistSegmenter
from cellseg_backends.stardist.thresholds import choose_thresholds
from cellseg_backends.stardist.training import StarDistTraining, checkpoint_facts, cut, load_images
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
from cellseg_backends.training.validation import accuracy, examine
from cellseg_core.protocols import TrainingReporter
from cellseg_core.provenance import package_versions
from cellseg_core.store import atomic_write, output_error
from cellseg_core.training_set import Contents, TrainingExample, TrainingSet

__all__ = ["CHECKPOINT", "MODEL", "Plan", "TrainingRun"]

CHECKPOINT, MODEL = "checkpoint.npz", "weights_best.h5"
_CONFIG, _THRESHOLDS = "config.json", "thresholds.json"
_FILES = (CHECKPOINT, MODEL, _CONFIG, _THRESHOLDS, NOTE, "log.csv", "report.json")
_COLUMNS = ("step", "loss", "held_out_loss", "learning_rate", "seconds")
_USUAL_THRESHOLDS = 0.5, 0.4  # the library's own
_SAMPLE = 60  # images held out that thresholds are chosen on
_FEW = 5  # images to train on


@attrs.frozen(kw_only=True)
class Plan:
    """The options of a trainer with every default settled.

    As in :class:`~cellseg_backends.stardist.trainer.StarDistTrainer`, but for ``start``, the model
    to start from or None, ``epochs`` of ``steps`` each, and ``half``, the precision.
    """

    start: StarDistModel | None
    epochs: int
    steps: int
    batch_size: int
    crop: int
    rate: float
    diameter: float
    half: bool
    held_out: float
    seed: int

    def settings(self) -> dict[str, Any]:
        """Return what decides over the result: two runs that share it can go on as one."""
        return {
            "start": self.start.sha256 if self.start else "scratch",
            "steps": self.epochs * self.steps,
            "batch_size": self.batch_size,
            "crop": self.crop,
            "rate": self.rate,
            "diameter": self.diameter,
            "precision": "bfloat16" if self.half else "float32",
            "held_out": self.held_out,
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
    _learnt: list[TrainingExample] = attrs.field(init=False)
    _held_out: list[TrainingExample] = attrs.field(init=False)
    _seconds_before: float = attrs.field(init=False, default=0.0)
    _began: float = attrs.field(init=False, factory=time.monotonic)

    def __attrs_post_init__(self) -> None:
        self._settings = {**self.plan.settings(), "images": self.contents.fingerprint}
        if self._checkpoint.is_file() and not self.fresh:
            facts = checkpoint_facts(self._checkpoint)
            check_same(facts.get("settings", {}), self._settings, self.folder)
            self._seconds_before = float(facts.get("seconds", 0.0))
        else:
            warn_without_validation(self.dataset, self.report)
        self._learnt, self._held_out = self._divided()

    def train(self) -> StarDistTraining:
        """Return the training, at its end.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C, once the step at hand is done. The epoch that was begun is lost, unless it
            was its last step.
        """
        plan = self.plan
        training = self._built()
        # Only now is it known that a new training can begin.
        if self.fresh:
            clear(self.folder, _FILES)
        if self._checkpoint.is_file():
            training.restore(self._checkpoint)
            self.report.say(
                f"going on from step {training.epoch * plan.steps} of {plan.epochs * plan.steps}"
            )
        with (
            TrainingLog(self.folder / "log.csv", _COLUMNS, training.epoch * plan.steps) as log,
            interruption(self.report) as interrupted,
        ):

            def each(step: int, loss: float) -> None:
                done = training.epoch * plan.steps + step
                check_finite(loss, done, plan.rate)
                figures = {"loss": loss}
                if training.best[1]:
                    figures["best held-out loss"] = training.best[0]
                self.report.progress("training", done, plan.epochs * plan.steps, figures)
                if interrupted.is_set() and step < plan.steps:
                    raise KeyboardInterrupt

            while training.epoch < plan.epochs:
                rate = training.learning_rate
                losses = training.advance(each)
                step = training.epoch * plan.steps
                check_finite(losses["val_loss"], step, plan.rate)
                figures = {"loss": losses["loss"], "held_out_loss": losses["val_loss"]}
                log.write(step, {**figures, "learning_rate": rate, "seconds": self._seconds})
                facts = {"settings": self._settings, "seconds": self._seconds}
                training.save(self._checkpoint, json.dumps(facts))
                if interrupted.is_set():
                    raise KeyboardInterrupt
        return training

    def finish(self, training: StarDistTraining) -> dict[str, Any]:
        """Choose the thresholds, measure accuracy, write model and report, and return the report.

        The model is that of the least loss on the training images held out, and its thresholds are
        chosen on them, so that validation images have no part in the result.
        """
        self._write_model(training)
        model = describe(self.folder.resolve())
        count = min(_SAMPLE, len(self._held_out))
        self.report.say(f"choosing the thresholds on {count} training images held out")
        chosen = choose_thresholds(
            load(model), load_images(self._held_out[:_SAMPLE], self.plan.diameter, 1, (1.0,))
        )
        if chosen is None:
            self.report.warn(
                "the network says the same of every pixel: it has learnt nothing. Train it for "
                "more steps (--steps), or at another rate (--set trainer.rate=...)."
            )
        prob, nms = chosen or _USUAL_THRESHOLDS
        text = json.dumps({"prob": prob, "nms": nms})
        atomic_write(self.folder / _THRESHOLDS, text)
        self._write_note(prob, nms, {"finished": False, "settings": self._settings})
        found = examine(
            StarDistSegmenter(weights=str(self.folder.resolve())),
            self.dataset.of("val"),
            counter(self.report, "validating"),
        )
        facts = training_facts(
            self.dataset,
            self.contents,
            self._settings,
            self._seconds,
            accuracy(found) if found else {},
            package_versions(("stardist", "csbdeep")),
        )
        self._write_note(prob, nms, facts)
        told = {
            **facts,
            "prob_threshold": prob,
            "nms_threshold": nms,
            "held_out_images": [one.name for one in self._held_out],
            "best_held_out_loss": training.best[0],
            "best_after_step": training.best[1] * self.plan.steps,
        }
        write_report(self.folder, told)
        return told

    @property
    def _checkpoint(self) -> Path:
        return self.folder / CHECKPOINT

    @property
    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    def _divided(self) -> tuple[list[TrainingExample], list[TrainingExample]]:
        """Return the images that are learnt, and those held out: the same ones every time.

        Images without nuclei tell nothing when they are held out, and are learnt.
        """
        images = self.dataset.of("train")
        wanted = max(1, round(self.plan.held_out * len(images)))
        by_hash = sorted(images, key=lambda one: hashlib.sha256(one.name.encode()).digest())
        held_out: list[TrainingExample] = []
        for one in by_hash:
            if len(held_out) == wanted:
                break
            if one.labels().any():
                held_out.append(one)
        names = {one.name for one in held_out}
        learnt = [one for one in images if one.name not in names]
        if not any(one.labels().any() for one in learnt):
            self.report.warn(
                f"{self.dataset.name} has one training image with nuclei: it must serve to learn "
                "from and to choose weights and thresholds, which will fit no other image well. "
                "Add images."
            )
            return list(images), held_out
        if len(images) < _FEW:
            self.report.warn(
                f"{self.dataset.name} has {len(images)} training images, of which {len(held_out)} "
                "is held out to choose weights and thresholds: the choice will hardly hold for "
                f"other images. Add images, {_FEW} at least."
            )
        # In the order of the data set: load_images and the log of a run show it.
        return learnt, [one for one in images if one.name in names]

    def _built(self) -> StarDistTraining:
        plan = self.plan
        images = load_images(
            self._learnt, plan.diameter, plan.crop, progress=counter(self.report, "reading images")
        )
        held_out = cut(load_images(self._held_out, plan.diameter, plan.crop, (1.0,)), plan.crop)
        training = StarDistTraining(
            images=images,
            held_out=held_out,
            epochs=plan.epochs,
            steps=plan.steps,
            batch_size=plan.batch_size,
            crop=plan.crop,
            rate=plan.rate,
            seed=plan.seed,
            half=plan.half,
        )
        if plan.start is not None:
            training.start_from(plan.start.weights)
        return training

    def _write_model(self, training: StarDistTraining) -> None:
        """Write the weights after the best epoch, and what they are weights of, as StarDist does.

        What was chosen for earlier weights goes first.
        """
        clear(self.folder, (NOTE, _THRESHOLDS))
        network = training.model.keras_model
        network.set_weights(training.best_weights)
        path = self.folder / MODEL
        try:
            # The library's format is written by name only, and would be there in part.
            # TensorFlow's variables follow numpy's older protocol of conversion.
            with tempfile.TemporaryDirectory() as elsewhere, quiet("__array__ implementation"):
                written = Path(elsewhere, MODEL)
                network.save_weights(str(written))
                content = written.read_bytes()
        except OSError as error:
            raise output_error(path, error) from error
        atomic_write(path, content)
        atomic_write(self.folder / _CONFIG, json.dumps(vars(training.model.config)))

    def _write_note(self, prob: float, nms: float, facts: dict[str, Any]) -> None:
        note = ModelNote(
            segmenter="stardist",
            diameter=self.plan.diameter,
            sha256=sha256_of(self.folder / MODEL),
            options={"prob_threshold": prob, "nms_threshold": nms},
            training=facts,
        )
        write_note(self.folder, note)
