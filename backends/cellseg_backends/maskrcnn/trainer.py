"""Training the Mask R-CNN on a user's own images: what ``cellseg train`` runs.

The folder holds, while it goes on and afterwards::

    model.json, weights.npz   the network; what `segmenter.weights=FOLDER` loads. While training
                              goes on it is the best so far, at the end the last: validation
                              images have no part in the result
    report.json               accuracy by group of images, settings, versions
    log.csv                   losses, learning rate and mAP by step
    checkpoint.npz            all that a training needs to go on; not needed once it is done
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from cellseg_backends.maskrcnn.presets import GRID, preset
from cellseg_backends.maskrcnn.training_run import Plan, TrainingRun
from cellseg_backends.maskrcnn.weights import describe, find_weights, shipped
from cellseg_backends.options import as_text
from cellseg_backends.training.folder import check_unfinished
from cellseg_backends.training.options import (
    is_precision,
    is_start,
    multiple_of,
    number,
    whole,
)
from cellseg_core.errors import ConfigurationError
from cellseg_core.protocols import TrainingReporter
from cellseg_core.training_set import TrainingSet

__all__ = ["MaskRCNNTrainer"]

_FROM_SCRATCH, _FINE_TUNING = 12_000, 1_000  # steps
_RATE_FROM_SCRATCH, _RATE_FINE_TUNING = 1e-3, 2e-4
_DIAMETER = 24.0
_CHECKPOINT, _MODEL = "checkpoint.npz", "model.json"
_STARTS = "'shipped', 'scratch', or a folder that `cellseg train` wrote"


def _known(_: object, __: object, value: Any) -> None:
    preset(str(value))


_optional = attrs.validators.optional


@attrs.frozen(kw_only=True)
class MaskRCNNTrainer:
    """Trains the Mask R-CNN, from scratch or from weights that there are.

    Parameters
    ----------
    preset
        Size of the network, of :data:`~cellseg_backends.maskrcnn.presets.PRESETS`.
    start
        ``"shipped"``: fine-tune the weights that come with cellseg, where they are of the preset;
        ``"scratch"``: random weights; otherwise a folder that an earlier training wrote.
    steps
        Batches to see. Default: 12,000 from scratch, 1,000 for fine-tuning.
    batch_size, crop
        Crops in a batch, and their edge in px.
    rate
        Highest learning rate. Default: 1e-3 from scratch, 2e-4 for fine-tuning.
    seed
        Of everything random. One seed gives one result, on one machine.
    simulated
        Number of simulated tissues that join the training images, as one more group of images.
    class_weight
        Weight of the losses of classification; the published recipe has 0.5.
    precision
        ``"float32"``, ``"bfloat16"`` (half precision), or ``"auto"``: half where the processor has
        instructions for it.
    validate_every
        Steps between looks at the validation images. Default: a tenth of all, at least 100.
    diameter
        Diameter in px that nuclei have for the network. Default: that of the weights it starts
        from, 24 from scratch.
    """

    preset: str = attrs.field(default="light", validator=_known)
    start: str = attrs.field(default="shipped", converter=as_text, validator=is_start(_STARTS))
    steps: int | None = attrs.field(default=None, validator=_optional(whole(1)))
    batch_size: int = attrs.field(default=8, validator=whole(1))
    crop: int = attrs.field(default=256, validator=multiple_of(GRID, 256))
    rate: float | None = attrs.field(default=None, validator=_optional(number(0, 1)))
    seed: int = attrs.field(default=0, validator=whole(0, 2**32 - 1))
    simulated: int = attrs.field(default=0, validator=whole(0))
    class_weight: float = attrs.field(default=0.5, validator=number(0, 100))
    precision: str = attrs.field(default="auto", validator=is_precision)
    validate_every: int | None = attrs.field(default=None, validator=_optional(whole(1)))
    diameter: float | None = attrs.field(default=None, validator=_optional(number(4, 200)))

    def train(
        self, dataset: TrainingSet, folder: Path, report: TrainingReporter, *, fresh: bool = False
    ) -> dict[str, Any]:
        """Train, and write the network and how good it is into ``folder``.

        Where a checkpoint of the same settings and images is there, the training goes on from it,
        and ends as it would have without the interruption.

        Raises
        ------
        ConfigurationError
            If settings do not fit each other, or those of the training that the folder holds; the
            message names what differs.
        ImageError
            If images or masks cannot be used.
        WeightsError
            If the weights to start from, or the checkpoint, are missing or damaged.
        MissingPackageError
            If Keras or its backend is not installed.
        KeyboardInterrupt
            On Ctrl-C, once a checkpoint is written.
        """
        from cellseg_backends.maskrcnn.keras_start import start_keras

        start = self._start(folder, report)
        start_keras()
        if not fresh:
            check_unfinished(folder / _MODEL, folder / _CHECKPOINT)
        contents = dataset.check(lambda n, of: report.progress("checking images", n, of, {}))
        run = TrainingRun(self._plan(start), dataset, contents, folder, report, fresh)
        return run.finish(run.train())

    def _start(self, folder: Path, report: TrainingReporter) -> Path | None:
        """Return the folder of the weights to start from, None for random ones."""
        if self.start == "scratch":
            return None
        if self.start == "shipped":
            if not (shipped() / _MODEL).is_file():
                report.say("training from scratch: this cellseg comes without weights")
                return None
            if describe(shipped()).preset != self.preset:
                report.say(
                    f"training from scratch: cellseg comes with weights of the preset "
                    f"{describe(shipped()).preset!r}, not of {self.preset!r}"
                )
                return None
            return shipped()
        start = find_weights(self.start)
        found = describe(start).preset
        if found != self.preset:
            raise ConfigurationError(
                f"the weights in {start} are of the preset {found!r}, and trainer.preset is "
                f"{self.preset!r}. Give --set trainer.preset={found}, or --set "
                "trainer.start=scratch."
            )
        if start.resolve() == folder.resolve():
            raise ConfigurationError(
                f"{folder} cannot be both the weights to start from and the folder for the new "
                "ones. Choose another folder with -o."
            )
        return start

    def _plan(self, start: Path | None) -> Plan:
        """Return the options with every default settled."""
        from cellseg_backends.maskrcnn.precision import computes_in_bfloat16

        steps = self.steps or (_FINE_TUNING if start else _FROM_SCRATCH)
        half = self.precision == "bfloat16" or (self.precision == "auto" and computes_in_bfloat16())
        return Plan(
            preset=self.preset,
            start=start,
            steps=steps,
            batch_size=self.batch_size,
            crop=self.crop,
            rate=self.rate or (_RATE_FINE_TUNING if start else _RATE_FROM_SCRATCH),
            seed=self.seed,
            simulated=self.simulated,
            class_weight=self.class_weight,
            precision="mixed_bfloat16" if half else "float32",
            validate_every=self.validate_every or max(100, steps // 10),
            diameter=self.diameter or (describe(start).diameter if start else _DIAMETER),
        )
