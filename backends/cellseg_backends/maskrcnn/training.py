"""The training loop: steps, learning rate, averaged weights, checkpoints and their resumption."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.maskrcnn.batches import Batches
from cellseg_backends.training.checkpoint import DAMAGE, damaged
from cellseg_backends.training.loss import check_finite
from cellseg_core.errors import WeightsError
from cellseg_core.store import atomic_binary_file

__all__ = ["Schedule", "Training", "checkpoint_facts"]

Weights = dict[str, NDArray[np.float32]]

_AHEAD = 3  # batches that are made while the model is at work
_AVERAGE_EVERY = 5


@attrs.frozen(kw_only=True)
class Schedule:
    """The learning rate of each step: a short rise, a long plateau, a descent to zero.

    With a plateau, a finished training can be taken up again from before its descent and go on for
    longer (Hägele et al. 2024).

    Parameters
    ----------
    steps
        All steps.
    rate
        On the plateau.
    rise, descent
        Steps at the start and at the end over which the rate changes.

    >>> schedule = Schedule(steps=1000, rate=1.0, rise=10, descent=100)
    >>> schedule.at(0), schedule.at(500), round(schedule.at(975), 3), schedule.at(1000)
    (0.1, 1.0, 0.134, 0.0)
    """

    steps: int
    rate: float = 1e-3
    rise: int = 300
    descent: int = 2000

    def at(self, step: int) -> float:
        """Return the learning rate of step ``step``, counted from 0."""
        rising = min(1.0, (step + 1) / max(1, self.rise))
        left = min(1.0, (self.steps - step) / max(1, self.descent))
        return self.rate * min(rising, 1 - math.sqrt(max(0.0, 1 - left)))


@attrs.define(eq=False)
class Training:
    """A model in training; everything that changes from step to step is in its checkpoint.

    Parameters
    ----------
    model
        A compiled :class:`~cellseg_backends.maskrcnn.model.TrainingModel`.
    variables
        The network's variables by name.
    batches, schedule
        What it sees, and how fast it learns.
    momentum
        Of the running average of the weights, which is what is used after training.
    """

    model: Any
    variables: Mapping[str, Any]
    batches: Batches
    schedule: Schedule
    momentum: float = 0.999
    step: int = 0
    average: Weights = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.average = self.weights()
        # A checkpoint can be restored only into an optimizer that has its variables.
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)

    def weights(self) -> Weights:
        """Return a copy of the weights as they are at this step."""
        return {
            name: np.array(_array(variable), np.float32)
            for name, variable in self.variables.items()
        }

    def _others(self) -> list[Any]:
        """Return the variables that serve in training only."""
        own = {id(variable) for variable in self.variables.values()}
        return [v for v in self.model.variables if id(v) not in own]

    def run(
        self,
        until: int,
        each: Callable[[int, dict[str, float]], None] = lambda _step, _losses: None,
    ) -> None:
        """Train up to step ``until``; ``each`` is called after every step with its losses."""
        ahead = ThreadPoolExecutor(1)
        try:
            waiting = [ahead.submit(self.batches.batch, self.step + k) for k in range(_AHEAD)]
            while self.step < until:
                batch = waiting.pop(0).result()
                waiting.append(ahead.submit(self.batches.batch, self.step + _AHEAD))
                self.model.optimizer.learning_rate = self.schedule.at(self.step)
                losses = self.model.train_on_batch(batch, return_dict=True)
                losses = {name: float(value) for name, value in losses.items()}
                check_finite(losses["loss"], self.step, self.schedule.rate)
                self.step += 1
                if self.step % _AVERAGE_EVERY == 0:
                    self._take_average()
                each(self.step, losses)
        finally:
            ahead.shutdown(cancel_futures=True)

    def _take_average(self) -> None:
        # Young averages forget faster, or they would keep the random start for long.
        keep = min(self.momentum, (1 + self.step) / (10 + self.step)) ** _AVERAGE_EVERY
        for name, new in self.weights().items():
            self.average[name] += (new - self.average[name]) * np.float32(1 - keep)

    def save(self, path: Path, facts: Mapping[str, Any] | None = None) -> None:
        """Write a checkpoint, whole or not at all; ``facts`` are plain values that go with it.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        state: dict[str, Any] = {
            "step": np.array(self.step),
            "facts": np.array(json.dumps(dict(facts or {}))),
        }
        state |= {f"weight {name}": value for name, value in self.weights().items()}
        state |= {f"average {name}": value for name, value in self.average.items()}
        for number, variable in enumerate([*self.model.optimizer.variables, *self._others()]):
            state[f"other {number}"] = _array(variable)
        with atomic_binary_file(path) as file:
            np.savez(file, **state)

    def restore(self, path: Path) -> None:
        """Go back to a checkpoint: weights, their average, the optimizer's state, the step.

        Raises
        ------
        WeightsError
            If it is damaged, or of another network.
        """
        others = [*self.model.optimizer.variables, *self._others()]
        try:
            # np.load leaves a file open that it cannot read.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as state:
                step = int(state["step"])
                weights = {name: state[f"weight {name}"] for name in self.variables}
                average = {name: state[f"average {name}"] for name in self.variables}
                values = [state[f"other {number}"] for number in range(len(others))]
        except DAMAGE as error:
            raise damaged(path, error) from error
        found = [*weights.values(), *values]
        for variable, value in zip([*self.variables.values(), *others], found, strict=True):
            if tuple(variable.shape) != value.shape:
                raise WeightsError(
                    f"{path} is of another network: {variable.path} has the shape "
                    f"{tuple(variable.shape)}, and {value.shape} there."
                )
            variable.assign(value)
        self.step, self.average = step, average


def checkpoint_facts(path: Path) -> dict[str, Any]:
    """Return the facts that were saved with a checkpoint.

    Raises
    ------
    WeightsError
        If it is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as state:
            facts: dict[str, Any] = json.loads(str(state["facts"]))
    except DAMAGE as error:
        raise damaged(path, error) from error
    return facts


def _array(variable: Any) -> NDArray[Any]:
    from keras import ops

    # A tensor: TensorFlow's variables follow numpy's older protocol of conversion.
    array: Any = ops.convert_to_numpy(ops.copy(variable.value))
    return np.asarray(array)
