"""What runs in the other environment: builds one component there and segments tiles with it.

It is started as ``PYTHON script.py FOLDER`` and needs the standard library of Python 3.8 and
numpy, nothing of cellseg. It reads requests from standard input, one a line in JSON, and answers
each with a line of ``{"done": {...}}`` or ``{"failed": {...}}``. Arrays lie in FOLDER as ``.npy``
files. It ends when standard input does, whatever it is at, and takes along what the component has
started.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import inspect
import json
import os
import platform
import queue
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from importlib import metadata
from pathlib import Path
from typing import IO, Any

__all__ = ["main"]

_GRACE = 2.0  # s to end by itself once nobody listens
_LINES, _COLUMNS = 12, 300


class Failure(Exception):  # noqa: N818 - it becomes an error on the other side
    """What the other side is told: a kind that it knows, a text, and lines of a traceback."""

    def __init__(self, kind: str, text: str, lines: list[str] | None = None) -> None:
        super().__init__(text)
        self.told = {"kind": kind, "text": text, "lines": lines or []}


def main() -> None:
    """Answer requests until standard input ends."""
    folder = Path(sys.argv[1])
    # The folder of this script is no place to import from; with PYTHONSAFEPATH it is not there.
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - as Python has it
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != here]  # noqa: PTH100
    requests, replies = _take_pipes()
    inbox: Any = queue.Queue()
    threading.Thread(target=_listen, args=(requests, inbox, folder), daemon=True).start()
    atexit.register(_end_group)  # the first to be registered is the last to be called
    served = _Served(folder)
    for request in iter(inbox.get, None):
        try:
            reply = {"done": served.answer(request)}
        except Failure as failure:
            reply = {"failed": failure.told}
        except BaseException as error:  # noqa: BLE001
            # The component's code may raise anything, SystemExit too, and the next tile may do.
            reply = {"failed": _raised("raised", error).told}
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()


def _take_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Return the two pipes, and give the component others: what it prints is no answer."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _listen(requests: IO[bytes], inbox: Any, folder: Path) -> None:
    """Pass requests on; at their end, see to it that this process ends too."""
    for line in iter(requests.readline, b""):
        inbox.put(json.loads(line))
    # First: the end of the other thread may be the end of this one.
    shutil.rmtree(str(folder), ignore_errors=True)
    inbox.put(None)
    time.sleep(_GRACE)
    _end_group()
    os._exit(1)


def _end_group() -> None:
    """Kill what the component has started, and with it this process, if they are a group."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)


class _Served:
    """The component, and what it made of the images that it adapted to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options: dict[str, Any] = {}
        self.component: Any = None
        self.facts: dict[str, Any] = {}
        self.adapted: dict[str, Any] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = getattr(self, "do_" + request.pop("do"))
        return operation(**request) or {}

    def do_start(self) -> dict[str, Any]:
        asked = json.loads((self.folder / "start.json").read_text(encoding="utf-8"))
        try:
            import numpy  # noqa: ICN001
        except Exception as error:
            raise _raised("numpy", error) from error
        self.options = asked["options"]
        self.component = _built(asked["component"], self.options)
        module = asked["component"].partition(":")[0]
        packages = dict(_packages(module), numpy=numpy.__version__)
        source = _checksum(module)
        self.facts = {"python": platform.python_version(), "packages": packages}
        if source is not None:
            self.facts["source_sha256"] = source
        return {"adapts": callable(getattr(self.component, "adapt", None))}

    def do_facts(self) -> dict[str, Any]:
        describe = getattr(self.component, "facts", None)
        if not callable(describe):
            return self.facts
        described: Any = describe()
        own = dict(described)
        try:
            json.dumps(own, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise Failure(
                "rule", f"its facts() must be plain numbers, texts, lists and mappings: {error}"
            ) from None
        return {**self.facts, "component": own}

    def do_adapt(self, name: str, diameter: float, forget: list[str]) -> None:
        for old in forget:
            self.adapted.pop(old, None)
        adapted = self.component.adapt(self._read("sample.npy"), diameter)
        if not callable(getattr(adapted, "segment", None)):
            raise Failure(
                "rule",
                "its adapt() must return an object with the method segment(tile); it returned "
                + type(adapted).__name__,
            )
        self.adapted[name] = adapted

    def do_segment(self, adapted: str | None = None) -> dict[str, Any]:
        component = self.component if adapted is None else self.adapted[adapted]
        tile = self._read("tile.npy")
        shape = tile.shape[1:]
        segment = getattr(component, "segment", None)
        found = segment(tile) if callable(segment) else component(tile, **self.options)
        del tile
        labels, scores = _labels_and_scores(found, shape)
        self._write("labels.npy", labels)
        if scores is not None:
            self._write("scores.npy", scores)
        return {"scores": scores is not None}

    def _read(self, name: str) -> Any:
        import numpy as np

        try:
            array = np.load(str(self.folder / name), allow_pickle=False)
            (self.folder / name).unlink()
        except (OSError, ValueError) as error:
            raise Failure("transfer", f"{self.folder / name} cannot be read: {error}") from error
        return array

    def _write(self, name: str, array: Any) -> None:
        import numpy as np

        try:
            np.save(str(self.folder / name), array, allow_pickle=False)
        except OSError as error:
            raise Failure("transfer", f"{self.folder / name} cannot be written: {error}") from error


def _built(component: str, options: dict[str, Any]) -> Any:
    """Return the object with the method ``segment``, or the function."""
    name, _, attribute = component.partition(":")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(missing + "."):
            raise Failure("module", missing) from None
        raise _raised("import", error) from error
    except BaseException as error:
        raise _raised("import", error) from error
    if not hasattr(module, attribute):
        there = [key for key in vars(module) if not key.startswith("_")]
        raise Failure("attribute", str(module.__file__), there[:200])
    found = getattr(module, attribute)
    if inspect.isclass(found):
        _check_call(found, (), options)
        try:
            built = found(**options)
        except (TypeError, ValueError) as error:
            raise _raised("options", error) from error
        except BaseException as error:
            raise _raised("build", error) from error
        if not callable(getattr(built, "segment", None)):
            raise Failure("unusable", "is a class without the method segment(tile)")
        return built
    if not callable(found):
        raise Failure("unusable", "is no class and no function, but " + type(found).__name__)
    _check_call(found, (None,), options)
    return found


def _check_call(function: Any, positional: tuple[Any, ...], options: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # compiled code need not say
    try:
        signature.bind(*positional, **options)
    except TypeError as error:
        raise Failure("options", f"{error}; it takes {signature}") from None


def _labels_and_scores(found: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Return what a component returned as arrays; ``shape`` is that of the tile."""
    scores = None
    if hasattr(found, "labels"):
        found, scores = found.labels, getattr(found, "scores", None)
    elif isinstance(found, tuple):
        if len(found) != 2:
            raise Failure(
                "rule",
                f"it must return labels, or labels and scores; it returned {len(found)} things",
            )
        found, scores = found
    labels = _as_array(found, "labels")
    if labels.dtype.kind not in "iu":
        remedy = {
            "b": "number the nuclei of a mask first, for example with scipy.ndimage.label",
            "f": "if its values are whole numbers, return labels.astype('int32')",
        }.get(labels.dtype.kind, "return an integer array")
        came = type(found).__name__ if labels.dtype.kind == "O" else str(labels.dtype)
        raise Failure("rule", f"labels must be integers and these are {came}: {remedy}")
    if labels.shape != shape:
        raise Failure(
            "rule",
            f"labels must have the size of the tile, {shape}; these have {labels.shape}",
        )
    if scores is None:
        return labels, None
    scores = _as_array(scores, "scores")
    top = int(labels.max()) if labels.size else 0
    if scores.dtype.kind not in "fiu" or scores.ndim != 1 or len(scores) < top:
        raise Failure(
            "rule",
            f"scores must be numbers, one for each label up to {top} (scores[i] for label i + 1); "
            f"these are {scores.dtype} of the shape {scores.shape}",
        )
    return labels, scores.astype("float64")


def _as_array(value: Any, what: str) -> Any:
    import numpy as np

    try:
        return np.asarray(value)
    except Exception as error:
        raise Failure("rule", f"{what} cannot be made an array: {error}") from error


def _raised(kind: str, error: BaseException) -> Failure:
    """Return the failure that tells of an error, with its traceback beyond this file."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    if isinstance(error, MemoryError):
        kind = "memory"
    text = "".join(traceback.format_exception_only(type(error), error)).strip()
    lines = "".join(traceback.format_tb(trace)).splitlines()[-_LINES:]
    return Failure(kind, text[:1000], [line[:_COLUMNS] for line in lines])


def _packages(module: str) -> dict[str, str]:
    """Return the versions of the distribution of a module and of all that it requires.

    Where the module belongs to none, any installed package may be what it works with: all of them.
    """
    name = _distribution_of(module.partition(".")[0])
    if name is None:
        pairs = [(one.metadata["Name"], one.version) for one in metadata.distributions()]
        return {_normal(one): str(version) for one, version in sorted(p for p in pairs if p[0])}
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        name = _normal(waiting.pop())
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = str(distribution.version)
        for requirement in distribution.requires or ():
            asked = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
            if asked and not re.search(r";.*\bextra\b", requirement):
                waiting.append(asked.group())
    return dict(sorted(found.items()))


def _distribution_of(top: str) -> str | None:
    """Return the name of the distribution that brought a top-level module, or None."""
    try:
        metadata.distribution(top)
    except metadata.PackageNotFoundError:
        pass
    else:
        return top
    files = re.compile(rf"^{re.escape(top)}(/|\.)", re.MULTILINE)
    for distribution in metadata.distributions():
        names = (distribution.read_text("top_level.txt") or "").split()
        if top in names or files.search(distribution.read_text("RECORD") or ""):
            return str(distribution.metadata["Name"])
    return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _checksum(module: str) -> str | None:
    """Return a checksum of source that is not installed, which may change under one version."""
    own = getattr(sys.modules[module], "__file__", None)
    top = getattr(sys.modules[module.partition(".")[0]], "__file__", None) or own
    if top is None or {"site-packages", "dist-packages"} & set(Path(top).parts):
        return None
    whole = Path(top).name == "__init__.py"
    digest = hashlib.sha256()
    for file in sorted(Path(top).parent.rglob("*.py")) if whole else [Path(own or top)]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
