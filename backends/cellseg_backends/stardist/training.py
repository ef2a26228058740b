"""The training of a StarDist network: images, augmentation, epochs, checkpoints.

The recipe is that of the package's own examples for 2-D fluorescence (Schmidt et al. 2018): 32
rays on a grid of 2 px, crops of 256 px, flips and quarter turns, random brightness and noise, Adam
whose rate is halved when the loss on images held out no longer falls, and the weights of the least
such loss in the end. Network, losses and crops are the package's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.percentiles import PercentileScale
from cellseg_backends.quiet import quiet
from cellseg_backends.training.checkpoint import DAMAGE, damaged
from cellseg_backends.training.diameter import nuclear_diameter
from cellseg_core.errors import WeightsError
from cellseg_core.protocols import Labels
from cellseg_core.training_set import TrainingExample

__all__ = ["PERCENTILES", "Pair", "StarDistTraining", "checkpoint_facts", "cut", "load_images"]

PERCENTILES = (1.0, 99.8)
_SCALES = (0.75, 1.0, 4 / 3)  # of the diameter: nuclei of an image differ in size
_UNKNOWN = -1  # label of pixels that do not count
_DARKEST, _BRIGHTEST, _SHIFT, _NOISE = 0.6, 2.0, 0.2, 0.02
_PATIENCE = 0.1  # of all epochs; 40 of 400 in the package

Pair = tuple[NDArray[np.float32], Labels]
"""An image (Y, X), between its percentiles, and its labels."""


def load_images(
    examples: Sequence[TrainingExample],
    diameter: float,
    crop: int,
    scales: Sequence[float] = _SCALES,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Pair]:
    """Return images (Y, X), between their percentiles, with labels, ``crop`` px wide at least.

    Each comes at several sizes, ``scales`` times that at which its nuclei have the diameter. What a
    small image lacks is its mirror image, with the label -1: StarDist learns nothing from that.
    """
    from skimage.transform import rescale

    pairs = []
    for done, one in enumerate(examples):
        progress(done, len(examples))
        plane, labels = one.read()
        now = nuclear_diameter(labels) or diameter
        shown = PercentileScale.of(plane, PERCENTILES).apply(plane)
        for scale in scales:
            factor = scale * diameter / now
            pixels = rescale(shown, factor, order=1, anti_aliasing=factor < 1)
            smaller = rescale(labels, factor, order=0, anti_aliasing=False, preserve_range=True)
            margins = [(0, max(0, crop - edge)) for edge in pixels.shape]
            pairs.append(
                (
                    np.pad(pixels.astype(np.float32), margins, mode="symmetric"),
                    np.pad(smaller.astype(np.int32), margins, constant_values=_UNKNOWN),
                )
            )
    progress(len(examples), len(examples))
    return pairs


def cut(pairs: Sequence[Pair], crop: int) -> list[Pair]:
    """Return the crops with nuclei that lie side by side in images of at least that size.

    A loss on them is of the same pixels every time; StarDist itself would draw other crops.
    """
    crops = []
    for pixels, labels in pairs:
        for top in range(0, pixels.shape[0] - crop + 1, crop):
            for left in range(0, pixels.shape[1] - crop + 1, crop):
                place = slice(top, top + crop), slice(left, left + crop)
                if (labels[place] > 0).any():
                    crops.append((pixels[place], labels[place]))
    return crops


def augmented(pixels: NDArray[np.float32], labels: Labels) -> Pair:
    """Return a crop turned, mirrored, brightened or darkened, and made noisy, at random."""
    draw = np.random  # what StarDist draws crops from: one seed for both
    turns, mirrored = draw.randint(4), draw.rand() < 0.5
    pixels, labels = np.rot90(pixels, turns), np.rot90(labels, turns)
    if mirrored:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    gain, shift = draw.uniform(_DARKEST, _BRIGHTEST), draw.uniform(-_SHIFT, _SHIFT)
    noise = _NOISE * draw.rand() * draw.standard_normal(pixels.shape)
    return (pixels * gain + shift + noise).astype(np.float32), labels


@attrs.define(eq=False, kw_only=True)
class StarDistTraining:
    """A network that learns, epoch by epoch.

    Attributes
    ----------
    images, held_out
        What it learns from, and crops that tell when the rate falls and which weights are best.
    epochs, steps, batch_size, crop, rate, seed
        Of the plan: steps are batches in an epoch.
    half
        Compute in bfloat16 where that is exact enough.
    epoch
        Epochs done.
    best
        Least loss on what is held out, and after which epoch.
    """

    images: Sequence[Pair]
    held_out: Sequence[Pair]
    epochs: int
    steps: int
    batch_size: int
    crop: int
    rate: float
    seed: int
    half: bool
    epoch: int = attrs.field(default=0, init=False)
    best: tuple[float, int] = attrs.field(default=(np.inf, 0), init=False)
    model: Any = attrs.field(default=None, init=False)
    _waited: int = attrs.field(default=0, init=False)
    _best_weights: list[NDArray[np.float32]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        import keras
        from stardist.models import (
            Config2D,
            StarDist2D,
        )

        keras.utils.set_random_seed(self.seed)
        config = Config2D(
            n_rays=32,
            grid=(2, 2),
            n_channel_in=1,
            train_patch_size=(self.crop, self.crop),
            train_batch_size=self.batch_size,
            train_epochs=self.epochs,
            train_steps_per_epoch=self.steps,
            train_learning_rate=self.rate,
            train_reduce_lr=None,  # done here, so that it outlives an interruption
            train_tensorboard=False,
        )
        with _precision(half=self.half), quiet():
            self.model = StarDist2D(config, basedir=None)  # pyright: ignore[reportArgumentType]
        if self.half:
            # The losses are computed in float32.
            for name in ("prob", "dist"):
                self.model.keras_model.get_layer(name).dtype_policy = keras.DTypePolicy("float32")
        self.model.prepare_for_training()

    def advance(self, each: Callable[[int, float], None]) -> dict[str, float]:
        """Do one epoch, and return its losses; ``each`` is called with step and loss so far.

        What ``each`` raises ends the epoch, which then does not count: go on from what
        :meth:`save` wrote before.
        """
        import keras

        self.model.callbacks = [
            keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda step, logs: each(step + 1, float(logs["loss"]))
            )
        ]
        seed = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1)[0]
        # Keras says that it will not shuffle what comes shuffled.
        with quiet("`shuffle=True` was passed"):
            history = self.model.train(
                list(map(_pixels, self.images)),
                list(map(_labels, self.images)),
                validation_data=(
                    list(map(_pixels, self.held_out)),
                    list(map(_labels, self.held_out)),
                ),
                augmenter=augmented,
                seed=int(seed),
                epochs=1,
                steps_per_epoch=self.steps,
            ).history
        self.epoch += 1
        losses = {name: float(history[name][-1]) for name in ("loss", "val_loss")}
        self._judge(losses["val_loss"])
        return losses

    def _judge(self, loss: float) -> None:
        """Keep the best weights; halve the rate where no better ones came for a while."""
        if loss < self.best[0]:
            self.best, self._waited = (loss, self.epoch), 0
            self._best_weights = self.model.keras_model.get_weights()
            return
        self._waited += 1
        if self._waited >= max(1, round(_PATIENCE * self.epochs)):
            rate = self.model.keras_model.optimizer.learning_rate
            rate.assign(rate / 2)
            self._waited = 0

    @property
    def learning_rate(self) -> float:
        """Return the rate of the next epoch."""
        return float(self.model.keras_model.optimizer.learning_rate.numpy())

    @property
    def best_weights(self) -> list[NDArray[np.float32]]:
        """Return the weights after the best epoch, in the order of Keras."""
        return self._best_weights

    def save(self, path: Path, facts: str) -> None:
        """Write what :meth:`restore` needs, and facts as a text, into one file."""
        from cellseg_core.store import atomic_binary_file

        arrays = {f"weight{i}": w for i, w in enumerate(self.model.keras_model.get_weights())}
        state = [np.asarray(one) for one in self.model.keras_model.optimizer.variables]
        arrays |= {f"optimizer{i}": value for i, value in enumerate(state)}
        arrays |= {f"best{i}": value for i, value in enumerate(self._best_weights)}
        counters = np.array([self.epoch, self.best[0], self.best[1], self._waited], np.float64)
        with atomic_binary_file(path) as stream:
            np.savez(stream, counters=counters, facts=np.array(facts), **arrays)

    def restore(self, path: Path) -> None:
        """Go on from what :meth:`save` wrote.

        Raises
        ------
        WeightsError
            If it is damaged, or of another network.
        """
        network = self.model.keras_model
        network.optimizer.build(network.trainable_variables)
        variables = list(network.optimizer.variables)
        try:
            # np.load leaves a file open that it cannot read.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                epoch, loss, best, waited = saved["counters"].tolist()
                count = len(network.get_weights())
                weights = [saved[f"weight{i}"] for i in range(count)]
                best_weights = [saved[f"best{i}"] for i in range(count)]
                state = [saved[f"optimizer{i}"] for i in range(len(variables))]
            network.set_weights(weights)
            for variable, value in zip(variables, state, strict=True):
                variable.assign(value)
        except DAMAGE as error:
            raise damaged(path, error) from error
        self._best_weights = best_weights
        self.epoch, self.best, self._waited = int(epoch), (loss, int(best)), int(waited)

    def start_from(self, path: Path) -> None:
        """Take the weights in a file of the library's, before the first epoch.

        Raises
        ------
        WeightsError
            If they are damaged, or of another network than this one.
        """
        try:
            self.model.keras_model.load_weights(str(path))
        except DAMAGE as error:
            raise WeightsError(
                f"the weights {path} cannot be trained further ({type(error).__name__}: "
                f"{str(error)[:300]}): they are damaged, or of another network than the one that "
                "is trained here, with 32 rays, a grid of 2 px and one channel. Take others, or "
                "--set trainer.start=scratch."
            ) from error


def checkpoint_facts(path: Path) -> dict[str, Any]:
    """Return the facts that were saved with a checkpoint.

    Raises
    ------
    WeightsError
        If it is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as state:
            facts = json.loads(str(state["facts"]) or "{}")
        if not isinstance(facts, dict):
            raise TypeError("its facts are no table")
    except DAMAGE as error:
        raise damaged(path, error) from error
    return facts


def _pixels(pair: Pair) -> NDArray[np.float32]:
    return pair[0]


def _labels(pair: Pair) -> Labels:
    return pair[1]


@contextmanager
def _precision(*, half: bool) -> Iterator[None]:
    """Have layers that are made meanwhile compute in bfloat16."""
    import keras

    before = keras.config.dtype_policy()
    if half:
        keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
