"""Training Cellpose on a user's own images: what ``cellseg train --segmenter cellpose`` runs.

The folder holds, while it goes on and afterwards::

    cellpose_model  the network as the cellpose package (version 3) loads it, at the end
    cellseg.json    the diameter of its nuclei, its thresholds, and how it came about
    report.json     accuracy by group of images, settings, versions
    log.csv         losses and learning rate by step
    checkpoint.pt   all that a training needs to go on; not needed once it is done
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
from packaging.version import Version

from cellseg_backends.cellpose.library import cellpose_models, device_named
from cellseg_backends.cellpose.model_file import (
    CellposeModel,
    check,
    describe,
    installed_version,
)
from cellseg_backends.options import as_text
from cellseg_backends.processor import cpu_flags, has_bfloat16
from cellseg_backends.training.folder import check_unfinished
from cellseg_backends.training.options import (
    is_precision,
    is_start,
    multiple_of,
    number,
    whole,
)
from cellseg_core.errors import ConfigurationError, WeightsError
from cellseg_core.protocols import TrainingReporter
from cellseg_core.training_set import TrainingSet

__all__ = ["CellposeTrainer"]

_FROM_SCRATCH, _FINE_TUNING = 7_500, 500  # steps
_RATE_FROM_SCRATCH, _RATE_FINE_TUNING = 0.2, 0.05
_DIAMETER = 17.0
_DIAMETERS = (4, 200)  # px
_COARSEST = 16  # px: the network halves three times, and what is odd is lost
_OLDEST = "3.1"
_STARTS = "'scratch', the file of a network or the folder with one, or a published one"
_INSTALL = 'pip install "cellpose>=3.1,<4"'

_optional = attrs.validators.optional


def _is_device(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(
            f"trainer.{attribute.name} is 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'; got {value!r}."
        )


@attrs.frozen(kw_only=True)
class CellposeTrainer:
    """Trains a network of Cellpose 3 (Stringer et al. 2021), from scratch or from weights.

    Parameters
    ----------
    start
        ``"scratch"``: random weights; otherwise the file of a network for Cellpose 3, a folder that
        ``cellseg train`` wrote, or the name of a published network (``cellseg weights list``).
    steps
        Batches to see. Default: 7,500 from scratch, 500 for fine-tuning.
    batch_size, crop
        Crops in a batch, and their edge in px.
    rate
        Highest learning rate. Default: 0.2 from scratch, 0.05 for fine-tuning.
    diameter
        Diameter in px that nuclei have for the network, give or take a quarter. Default: that of
        the weights it starts from, 17 from scratch.
    seed
        Of everything random. One seed gives one result, on one machine.
    precision
        ``"float32"``, ``"bfloat16"`` (half precision), or ``"auto"``: half where the processor or
        the GPU has instructions for it.
    device
        ``"auto"``: a GPU if there is one; or a device as torch names it.
    validate_every
        Steps between looks at the loss on validation images. Default: a tenth of all, at least 100.
    """

    start: str = attrs.field(default="scratch", converter=as_text, validator=is_start(_STARTS))
    steps: int | None = attrs.field(default=None, validator=_optional(whole(1)))
    batch_size: int = attrs.field(default=8, validator=whole(1))
    crop: int = attrs.field(default=224, validator=multiple_of(_COARSEST, 224))
    rate: float | None = attrs.field(default=None, validator=_optional(number(0, 10)))
    diameter: float | None = attrs.field(default=None, validator=_optional(number(*_DIAMETERS)))
    seed: int = attrs.field(default=0, validator=whole(0, 2**32 - 1))
    precision: str = attrs.field(default="auto", validator=is_precision)
    device: str = attrs.field(default="auto", validator=_is_device)
    validate_every: int | None = attrs.field(default=None, validator=_optional(whole(1)))

    def train(
        self, dataset: TrainingSet, folder: Path, report: TrainingReporter, *, fresh: bool = False
    ) -> dict[str, Any]:
        """Train, and write the network and how good it is into ``folder``.

        Where a checkpoint of the same settings and images is there, the training goes on from it,
        and ends as it would have without the interruption.

        Raises
        ------
        ConfigurationError
            If cellpose 4 is installed, which cannot be trained so; if settings do not fit each
            other, or those of the training that the folder holds; the message names what differs.
        ImageError
            If images or masks cannot be used.
        WeightsError
            If the weights to start from, or the checkpoint, are missing or damaged.
        MissingPackageError
            If cellpose or torch cannot be imported, or there is no such device.
        KeyboardInterrupt
            On Ctrl-C, once a checkpoint is written.
        """
        from cellseg_backends.cellpose.training_run import CHECKPOINT, MODEL, TrainingRun

        _check_version()
        start = self._start(folder)
        cellpose_models()
        if not fresh:
            check_unfinished(folder / MODEL, folder / CHECKPOINT)
        plan = self.plan(start)
        contents = dataset.check(lambda n, of: report.progress("checking images", n, of, {}))
        run = TrainingRun(plan, dataset, contents, folder, report, fresh)
        return run.finish(run.train())

    def plan(self, start: CellposeModel | None = None) -> Any:
        """Return the options with every default settled, given the network to start from.

        The result is a :class:`~cellseg_backends.cellpose.training_run.Plan`.
        """
        from cellseg_backends.cellpose.training_run import Plan

        steps = self.steps or (_FINE_TUNING if start else _FROM_SCRATCH)
        device = device_named(self.device)
        return Plan(
            start=start.path if start else None,
            steps=steps,
            batch_size=self.batch_size,
            crop=self.crop,
            rate=self.rate or (_RATE_FINE_TUNING if start else _RATE_FROM_SCRATCH),
            diameter=self.diameter or (_known_diameter(start) if start else _DIAMETER),
            half=self.precision == "bfloat16" or (self.precision == "auto" and _half_pays(device)),
            device=str(device),
            validate_every=self.validate_every or max(100, steps // 10),
            seed=self.seed,
        )

    def _start(self, folder: Path) -> CellposeModel | None:
        """Return the network to start from, None for random weights."""
        if self.start == "scratch":
            return None
        from cellseg_backends.cellpose.published import PUBLISHED
        from cellseg_core.weights import find

        model = describe(find(self.start, PUBLISHED, "cellpose"))
        if model.path.parent.resolve() == folder.resolve():
            raise ConfigurationError(
                f"{folder} cannot be both the weights to start from and the folder for the new "
                "ones. Choose another folder with -o."
            )
        check(model)
        return model


def _check_version() -> None:
    found = version("cellpose") if installed_version() else ""
    if installed_version() > 3:
        raise ConfigurationError(
            f"cellpose {found} is Cellpose-SAM, a network of 305 million weights that cannot be "
            "trained from scratch, and cellseg trains the network of version 3. Install that, in "
            f"an environment of its own if version 4 is needed too: {_INSTALL}"
        )
    if Version(found) < Version(_OLDEST):
        raise ConfigurationError(
            f"cellseg trains with cellpose {_OLDEST} or a later 3, and {found} is installed. "
            f"Update it: {_INSTALL}"
        )


def _known_diameter(start: CellposeModel) -> float:
    from cellseg_backends.cellpose.published import PUBLISHED
    from cellseg_backends.cellpose.training import stored_diameter

    if start.note is not None:
        return start.note.diameter
    found = stored_diameter(start.path)
    if found is None:  # the first published ones do not tell
        names = {one.file: one.diameter for one in PUBLISHED}
        return names.get(start.path.name) or _DIAMETER
    low, high = _DIAMETERS
    if not low < found <= high:
        raise WeightsError(
            f"{start.path} says that its nuclei are {found:g} px wide, and {low} to {high} px can "
            "be trained. Give --set trainer.diameter=..., or take other weights."
        )
    return found


def _half_pays(device: Any) -> bool:
    """Tell whether a device computes quickest in bfloat16."""
    _, torch = cellpose_models()
    if device.type == "cuda":
        # Older ones compute in it, and slowly.
        return bool(torch.cuda.get_device_capability(device) >= (8, 0))
    return bool(device.type == "cpu" and has_bfloat16(cpu_flags()))
