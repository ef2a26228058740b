"""Starting Keras: what is missing is told with its remedy, and start-up chatter stays away."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cellseg_backends.processor import cpu_flags
from cellseg_core.errors import ConfigurationError, MissingPackageError, SegmentationError

__all__ = ["configured_backend", "start_keras"]

_BACKENDS = ("tensorflow", "jax", "torch")

_OTHERWISE = "Everything else works without it: --segmenter watershed, for example."
# TensorFlow's notes, and its complaints that there is no GPU, at times of every severity.
_CHATTER = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} |[IWE]\d{4} .*cu(da|Init|DNN)"
    rb"|\d{4}-\d\d-\d\d .*: [IW] "
)
_lock = threading.Lock()
_started_by: list[int] = []


def configured_backend() -> str:
    """Return the backend that Keras would start with; to ask Keras would start it."""
    named = os.environ.get("KERAS_BACKEND")
    if named:
        return named
    try:
        file = Path(os.environ.get("KERAS_HOME", "~/.keras"), "keras.json").expanduser()
        return str(json.loads(file.read_text(encoding="utf-8"))["backend"])
    except (OSError, RuntimeError, ValueError, LookupError, TypeError):
        return "tensorflow"  # what Keras takes where its settings are missing or damaged


def start_keras() -> None:
    """Import Keras and the backend that it is set to, once in a process.

    The backend is that of :func:`configured_backend`.

    Raises
    ------
    MissingPackageError
        If Keras or the backend cannot be imported here; the message has the command that installs
        it.
    ConfigurationError
        If Keras is set to something that the network cannot work with.
    SegmentationError
        If this process was forked from one that had started Keras: it would wait forever.
    """
    with _lock:
        if _started_by and _started_by[0] != os.getpid():
            raise SegmentationError(
                "this process was forked from one in which Keras was at work already; "
                "the threads that it computes with do not exist here. Start workers by "
                "multiprocessing.get_context('spawn'), or fork before anything is segmented"
            )
        if _started_by:
            return
        _start()
        _started_by.append(os.getpid())


def _start() -> None:
    backend = configured_backend()
    if backend not in _BACKENDS:
        raise ConfigurationError(
            f"Keras is set to the backend {backend!r}, and the Mask R-CNN works with "
            f"{', '.join(_BACKENDS)}. Set KERAS_BACKEND=tensorflow."
        )
    # What TensorFlow cannot do it raises; what it logs as an error is, for example, that a graph
    # was not optimised in one of many ways. Other backends' packages import it too.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if backend == "tensorflow":
        flags = cpu_flags()
        if platform.machine() in ("x86_64", "AMD64") and flags and "avx" not in flags:
            raise MissingPackageError(
                "TensorFlow needs a processor with AVX, and this one has none. Set KERAS_BACKEND="
                f"torch and install it with: pip install torch. {_OTHERWISE}"
            )
    try:
        with _without_chatter():
            import keras

            keras.ops.convert_to_tensor(0.0)  # looks for devices
    except ImportError as error:
        wanted = f"Keras with its backend {backend}"
        raise MissingPackageError(
            f"the Mask R-CNN computes by {wanted}, which cannot be imported ({error}). Install it "
            f"with: pip install keras {backend}; or set KERAS_BACKEND to another of "
            f"{', '.join(_BACKENDS)} that is installed. {_OTHERWISE}"
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f"Keras cannot start with the backend {backend} ({error}). Its settings are in the "
            "environment variables KERAS_... and in ~/.keras/keras.json: mend or remove them."
        ) from error
    if keras.config.image_data_format() != "channels_last":
        raise ConfigurationError(
            "Keras is set to channels_first, and the Mask R-CNN works with channels_last. Change "
            'image_data_format in ~/.keras/keras.json to "channels_last".'
        )


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back what is written to standard error; write it afterwards, but for the chatter."""
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, AttributeError, ValueError):
        yield  # there is no standard error
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            said = b"".join(line for line in held if not _CHATTER.match(line))
            while said:
                said = said[os.write(2, said) :]
