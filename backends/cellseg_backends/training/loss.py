"""A loss that tells that a training has gone astray."""

from __future__ import annotations

import math

from cellseg_core.errors import ConfigurationError

__all__ = ["check_finite"]


def check_finite(loss: float, step: int, rate: float) -> None:
    """Check that the loss at a step is a number: what comes after would not be.

    Raises
    ------
    ConfigurationError
        If not; ``rate`` is the learning rate, which was too high.
    """
    if not math.isfinite(loss):
        raise ConfigurationError(
            f"the loss became {loss} at step {step}: the learning rate {rate:g} is too high for "
            "these images. Start again with a lower one: --set trainer.rate=... --fresh"
        )
