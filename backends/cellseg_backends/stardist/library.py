"""The ``stardist`` package: what is in the way of importing it is told with its remedy."""

from __future__ import annotations

from typing import Any

from cellseg_backends.quiet import quiet
from cellseg_core.errors import MissingPackageError

__all__ = ["stardist_models", "start"]


def start() -> None:
    """Start Keras with TensorFlow, once in a process.

    Raises
    ------
    MissingPackageError
        If it cannot be started here; the message has the remedy.
    SegmentationError
        If this process was forked from one that had started it: it would wait forever.
    """
    from cellseg_backends.maskrcnn.keras_start import configured_backend, start_keras

    if configured_backend() != "tensorflow":
        raise MissingPackageError(
            f"StarDist computes by TensorFlow, and Keras is set to {configured_backend()!r}. Set "
            "KERAS_BACKEND=tensorflow, or remove it."
        )
    try:
        start_keras()
    except MissingPackageError as error:
        # What it advises, another backend of Keras, is no help here.
        if error.__cause__ is None:
            reason = "this processor lacks AVX, which it needs"
        else:
            reason = f"which cannot be imported here ({error.__cause__})"
        raise MissingPackageError(
            f"StarDist computes by Keras with TensorFlow, {reason}. Install them with: pip install "
            "keras tensorflow; or choose another --segmenter."
        ) from error


def stardist_models() -> Any:
    """Return the module ``stardist.models``; Keras is started with it.

    Raises
    ------
    MissingPackageError
        If StarDist or TensorFlow cannot be imported here; the message has the remedy.
    """
    start()
    try:
        # Packages that it uses warn of each other.
        with quiet():
            from stardist import models
    except Exception as error:
        raise MissingPackageError(
            f"StarDist cannot be imported ({type(error).__name__}: {error}). Install it again "
            "with: pip install --force-reinstall stardist"
        ) from error
    return models
