"""One training from its plan to the files it leaves: loop, validation, checkpoints, report."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from cellseg_backends.maskrcnn.batches import Batches
from cellseg_backends.maskrcnn.dataset import load_images, simulated_images
from cellseg_backends.maskrcnn.presets import preset
from cellseg_backends.maskrcnn.segmenter import MaskRCNNSegmenter
from cellseg_backends.maskrcnn.training import Schedule, Training, checkpoint_facts
from cellseg_backends.maskrcnn.trial import Trial
from cellseg_backends.maskrcnn.weights import describe, load_weights, save_weights
from cellseg_backends.training.folder import check_same, clear
from cellseg_backends.training.interruption import interruption
from cellseg_backends.training.log import TrainingLog
from cellseg_backends.training.report import (
    counter,
    training_facts,
    warn_without_validation,
    write_report,
)
from cellseg_backends.training.validation import (
    SCORES,
    accuracy,
    best_score,
    examine,
    mean_precision,
    some,
)
from cellseg_core.protocols import TrainingReporter
from cellseg_core.training_set import Contents, TrainingExample, TrainingSet

__all__ = ["Plan", "TrainingRun"]

_CHECKPOINT = "checkpoint.npz"
_FILES = (_CHECKPOINT, "log.csv", "report.json", "model.json", "weights.npz")
_SAVE_EVERY = 200
_WATCHED = 32  # validation images during training
_SAMPLE = 60  # training images that the least confidence is chosen on
_USUAL_SCORE = 0.4  # until it is chosen
_WORSE = 0.01
_WEIGHT_DECAY, _CLIP = 0.01, 5.0
_SHOWN = ("loss", "class", "box", "mask")
# Figures of each step: the weighted sum of the losses, each of them, and the masks' IoU.
_LOSSES = (
    *("loss", "proposal_class", "proposal_box", "dense", "class", "box", "mask"),
    *("quality", "mask_iou"),
)
_COLUMNS = ("step", *_LOSSES, "learning_rate", "seconds", "val_mAP")


@attrs.frozen(kw_only=True)
class Plan:
    """The options of a trainer with every default settled.

    As in :class:`~cellseg_backends.maskrcnn.trainer.MaskRCNNTrainer`, but for ``start``, the folder
    of the weights to start from, and ``precision``, as Keras names it.
    """

    preset: str
    start: Path | None
    steps: int
    batch_size: int
    crop: int
    rate: float
    seed: int
    simulated: int
    class_weight: float
    precision: str
    validate_every: int
    diameter: float

    def settings(self) -> dict[str, Any]:
        """Return what decides over the result: two runs that share it can go on as one."""
        facts = attrs.asdict(self)
        del facts["validate_every"]
        start = describe(self.start).sha256 if self.start else "scratch"
        return {**facts, "start": start, "keras_backend": _backend()}


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
    _history: list[list[float]] = attrs.field(init=False, factory=list)  # step, validation mAP
    _trial: Trial | None = attrs.field(init=False, default=None)
    _seconds_before: float = attrs.field(init=False, default=0.0)
    _began: float = attrs.field(init=False, factory=time.monotonic)

    def __attrs_post_init__(self) -> None:
        self._settings = {**self.plan.settings(), "images": self.contents.fingerprint}
        if self._checkpoint.is_file() and not self.fresh:
            facts = checkpoint_facts(self._checkpoint)
            check_same(facts.get("settings", {}), self._settings, self.folder)
            self._history, self._seconds_before = facts["history"], facts["seconds"]
        else:
            warn_without_validation(self.dataset, self.report)

    def train(self) -> Training:
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
        watched = some(self.dataset.of("val"), _WATCHED)
        shown: dict[str, float] = {}
        with (
            TrainingLog(self.folder / "log.csv", _COLUMNS, training.step) as log,
            interruption(self.report) as interrupted,
        ):

            def each(step: int, losses: dict[str, float]) -> None:
                last = step == self.plan.steps
                due = last or step % self.plan.validate_every == 0
                score = self._validated(training, watched) if due else None
                row = {**losses, "learning_rate": training.schedule.at(step - 1)}
                log.write(step, {**row, "seconds": self._seconds, "val_mAP": score})
                stop = interrupted.is_set()
                if due or stop or step % _SAVE_EVERY == 0:
                    self._save(training)
                # The folder must have a checkpoint before it has a model: see
                # MaskRCNNTrainer.train.
                if score is not None and score >= max(before for _, before in self._history):
                    facts = {"finished": False, "step": step, "settings": self._settings}
                    self._write_weights(training, _USUAL_SCORE, facts)
                if stop:
                    raise KeyboardInterrupt
                for name in _SHOWN:
                    shown[name] = 0.95 * shown.get(name, losses[name]) + 0.05 * losses[name]
                known = {"val mAP": self._history[-1][1]} if self._history else {}
                self.report.progress("training", step, self.plan.steps, {**shown, **known})

            if training.step == 0 and self.plan.start is not None:
                score = self._validated(training, watched)
                row = {"learning_rate": 0.0, "seconds": self._seconds, "val_mAP": score}
                log.write(0, row)
            training.run(self.plan.steps, each)
        return training

    def finish(self, training: Training) -> dict[str, Any]:
        """Choose the least confidence, measure accuracy, write network and report, and return it.

        The least confidence is chosen on training images, so that validation images say how good
        the network is on images that had no part in it.
        """
        weights = str(self.folder.resolve())
        self._write_weights(training, SCORES[0], {"finished": False, "settings": self._settings})
        sample = some(self.dataset.of("train"), _SAMPLE)
        learnt = examine(
            MaskRCNNSegmenter(weights=weights),
            sample,
            counter(self.report, "choosing the confidence"),
        )
        score = best_score(learnt)
        found = examine(
            MaskRCNNSegmenter(weights=weights, score=score),
            self.dataset.of("val"),
            counter(self.report, "validating"),
        )
        facts = training_facts(
            self.dataset,
            self.contents,
            self._settings,
            self._seconds,
            accuracy(found) if found else {},
            {name: importlib.import_module(name).__version__ for name in ("keras", _backend())},
        )
        self._write_weights(training, score, facts)
        curve = {f"{s:g}": round(mean_precision(learnt, s), 4) for s in SCORES}
        told = {
            **facts,
            "score": score,
            "mAP_on_training_images_by_score": curve,
            "validation_mAP_by_step": self._history,
        }
        write_report(self.folder, told)
        self._compare_with_earlier()
        return told

    @property
    def _checkpoint(self) -> Path:
        return self.folder / _CHECKPOINT

    @property
    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    def _built(self) -> Training:
        import keras

        from cellseg_backends.maskrcnn.model import MaskRCNN, TrainingModel

        plan = self.plan
        images = load_images(
            self.dataset.of("train"), plan.diameter, counter(self.report, "reading images")
        )
        images += simulated_images(plan.simulated, plan.diameter, plan.seed)
        keras.utils.set_random_seed(plan.seed)
        network = MaskRCNN(preset(plan.preset), plan.precision)
        if plan.start is not None:
            load_weights(plan.start, network.weights())
        model = TrainingModel(network, class_weight=plan.class_weight)
        model.compile(
            optimizer=keras.optimizers.AdamW(plan.rate, weight_decay=_WEIGHT_DECAY, clipnorm=_CLIP),
            # JAX compiles everything or nothing; TensorFlow on a CPU is slower with XLA.
            jit_compile=_backend() == "jax",  # pyright: ignore[reportArgumentType]
        )
        batches = Batches(
            images=images,
            diameter=plan.diameter,
            size=plan.crop,
            batch_size=plan.batch_size,
            seed=plan.seed,
        )
        schedule = Schedule(
            steps=plan.steps,
            rate=plan.rate,
            rise=min(300, plan.steps // 10),
            descent=plan.steps * 2 // 5,
        )
        return Training(model, network.weights(), batches, schedule)

    def _save(self, training: Training) -> None:
        facts = {
            "settings": self._settings,
            "history": self._history,
            "seconds": self._seconds,
        }
        training.save(self._checkpoint, facts)

    def _validated(self, training: Training, watched: Sequence[TrainingExample]) -> float | None:
        """Return the mAP of the averaged weights, None without images to validate on."""
        if not watched:
            return None
        if self._trial is None:
            size = preset(self.plan.preset)
            self._trial = Trial(size, self.plan.precision, self.plan.diameter)
        segmenter = self._trial.segmenter(training.average, _USUAL_SCORE)
        found = examine(segmenter, watched, counter(self.report, "validating"))
        score: float = accuracy(found)["all"]["mAP"]
        self._history.append([training.step, score])
        self.report.say(
            f"step {training.step}: mAP {score:.3f} on validation images ({len(watched)})"
        )
        return score

    def _write_weights(self, training: Training, score: float, facts: dict[str, Any]) -> None:
        save_weights(
            self.folder,
            training.average,
            preset=self.plan.preset,
            diameter=self.plan.diameter,
            score=score,
            training=facts,
        )

    def _compare_with_earlier(self) -> None:
        if not self._history:
            return
        last = self._history[-1][1]
        step, best = max(self._history, key=lambda pair: pair[1])
        if best > last + _WORSE:
            where = "before training" if step == 0 else f"at step {step:.0f}"
            self.report.warn(
                f"the mAP on validation images was {best:.3f} {where}, and is {last:.3f} now: the "
                "network learnt the training images by heart, or the rate was too high. The folder "
                "holds it as it is now. Try fewer steps (--steps), a lower rate "
                "(--set trainer.rate=...), or more images."
            )


def _backend() -> str:
    import keras

    name: str = keras.backend.backend()
    return name
