"""Training StarDist on a user's own images: what ``cellseg train --segmenter stardist`` runs.

The folder holds, while it goes on and afterwards::

    config.json, weights_best.h5, thresholds.json
                    the model as the stardist package writes and loads it, at the end
    cellseg.json    the diameter of its nuclei, and how it came about
    report.json     accuracy by group of images, settings, versions
    log.csv         losses and learning rate by epoch
    checkpoint.npz  all that a training needs to go on; not needed once it is done
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs

from cellseg_backends.options import as_text
from cellseg_backends.stardist.library import stardist_models
from cellseg_backends.stardist.model_folder import StarDistModel, check, described
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

__all__ = ["StarDistTrainer"]

_FROM_SCRATCH, _FINE_TUNING = 10_000, 1_000  # steps
_RATE_FROM_SCRATCH, _RATE_FINE_TUNING = 3e-4, 1e-4
_EPOCH = 100  # steps, as in the package
_DIAMETER = 24.0
_COARSEST = 16  # px of the network's lowest level
_STARTS = "'scratch', a folder with a StarDist model, or a published one"

_optional = attrs.validators.optional


@attrs.frozen(kw_only=True)
class StarDistTrainer:
    """Trains a StarDist network (Schmidt et al. 2018), from scratch or from weights there are.

    Parameters
    ----------
    start
        ``"scratch"``: random weights; otherwise a folder with a model that ``cellseg train`` or
        StarDist itself wrote, or the name of a published one (``cellseg weights list``). It must
        be of the network that is trained here: 32 rays, a grid of 2 px, one channel.
    steps
        Batches to see, in epochs of up to 100 of one length; rounded up where that does not work
        out. Default: 10,000 from scratch, 1,000 for fine-tuning.
    batch_size, crop
        Crops in a batch, and their edge in px.
    rate
        Learning rate at first; halved where the loss on images held out has not fallen for a tenth
        of the epochs. Default: 3e-4 from scratch, 1e-4 for fine-tuning.
    diameter
        Diameter in px that nuclei have for the network, give or take a quarter. Default: that of
        the weights it starts from if they tell it, otherwise 24.
    held_out
        Share of the training images that weights and thresholds are chosen on; one at least.
    seed
        Of everything random. One seed gives one result, on one machine.
    precision
        ``"float32"``, ``"bfloat16"`` (half precision), or ``"auto"``: half where the processor has
        instructions for it.
    """

    start: str = attrs.field(default="scratch", converter=as_text, validator=is_start(_STARTS))
    steps: int | None = attrs.field(default=None, validator=_optional(whole(1)))
    batch_size: int = attrs.field(default=4, validator=whole(1))
    crop: int = attrs.field(default=256, validator=multiple_of(_COARSEST, 256))
    rate: float | None = attrs.field(default=None, validator=_optional(number(0, 1)))
    diameter: float | None = attrs.field(default=None, validator=_optional(number(4, 200)))
    held_out: float = attrs.field(default=0.1, validator=number(0, 0.5))
    seed: int = attrs.field(default=0, validator=whole(0, 2**32 - 1))
    precision: str = attrs.field(default="auto", validator=is_precision)

    def train(
        self, dataset: TrainingSet, folder: Path, report: TrainingReporter, *, fresh: bool = False
    ) -> dict[str, Any]:
        """Train, and write the model and how good it is into ``folder``.

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
            If StarDist or TensorFlow cannot be imported.
        KeyboardInterrupt
            On Ctrl-C, after the step at hand; the training will go on from its last whole epoch.
        """
        from cellseg_backends.stardist.training_run import CHECKPOINT, MODEL, TrainingRun

        start = self._start(folder)
        stardist_models()
        if not fresh:
            check_unfinished(folder / MODEL, folder / CHECKPOINT)
        contents = dataset.check(lambda n, of: report.progress("checking images", n, of, {}))
        run = TrainingRun(self.plan(start), dataset, contents, folder, report, fresh)
        return run.finish(run.train())

    def plan(self, start: StarDistModel | None = None) -> Any:
        """Return the options with every default settled, given the model to start from.

        The result is a :class:`~cellseg_backends.stardist.training_run.Plan`.
        """
        from cellseg_backends.maskrcnn.precision import computes_in_bfloat16
        from cellseg_backends.stardist.training_run import Plan

        steps = self.steps or (_FINE_TUNING if start else _FROM_SCRATCH)
        epochs = math.ceil(steps / _EPOCH)
        known = start.note.diameter if start and start.note else _DIAMETER
        return Plan(
            start=start,
            epochs=epochs,
            steps=math.ceil(steps / epochs),
            batch_size=self.batch_size,
            crop=self.crop,
            rate=self.rate or (_RATE_FINE_TUNING if start else _RATE_FROM_SCRATCH),
            diameter=self.diameter or known,
            half=self.precision == "bfloat16"
            or (self.precision == "auto" and computes_in_bfloat16()),
            held_out=self.held_out,
            seed=self.seed,
        )

    def _start(self, folder: Path) -> StarDistModel | None:
        """Return the model to start from, None for random weights."""
        if self.start == "scratch":
            return None
        from cellseg_backends.stardist.published import PUBLISHED
        from cellseg_core.weights import find

        model = described(find(self.start, PUBLISHED, "stardist"))
        if model.folder.resolve() == folder.resolve():
            raise ConfigurationError(
                f"{folder} cannot be both the weights to start from and the folder for the new "
                "ones. Choose another folder with -o."
            )
        check(model)
        return model
