"""A segmenter of another Python environment, for packages that cannot live together with ours."""

from __future__ import annotations

import json
import math
import os
import re
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ConfigurationError
from cellseg_core.protocols import Segmentation
from cellseg_core.subprocess_worker.worker import Adaptation, Limits, Worker, worker_for

__all__ = ["SubprocessSegmenter"]

_COMPONENT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_HALO = 4.0  # nuclear diameters
_UNKNOWN_DIAMETER = 12.0
_DAY = 86400.0


def _as_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _check_python(_: object, __: object, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value.strip() or "\0" in value):
        raise ConfigurationError(
            "subprocess.python is the path of an interpreter, or of the folder of an environment; "
            f"got {value!r}."
        )


def _check_component(_: object, __: object, value: Any) -> None:
    if value is not None and not (isinstance(value, str) and _COMPONENT.fullmatch(value)):
        raise ConfigurationError(
            "subprocess.component reads 'module:Class' or 'module:function', as in "
            f"my_package.nuclei:Finder; got {value!r}."
        )


def _check_options(_: object, __: object, value: Any) -> None:
    try:
        good = isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
        json.dumps(dict(value) if good else value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"subprocess.options travel as JSON: numbers, texts, true and false, lists, tables; "
            f"got {value!r} ({error})."
        ) from error
    if not good:
        raise ConfigurationError(
            "subprocess.options are names and values, as in --set "
            f"'segmenter.options={{threshold = 0.3, model = \"small\"}}'; got {value!r}."
        )


def _number(low: float, high: float, unit: str, *, whole: bool = False) -> Any:
    """Return a validator of numbers over ``low`` (whole ones: from ``low``) up to ``high``."""

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None and attribute.default is None:
            return
        fits = (
            isinstance(value, int if whole else int | float)
            and not isinstance(value, bool)
            and low <= value <= high
            and (whole or value > low)
        )
        if not fits:
            what = "whole number from" if whole else "number over"
            raise ConfigurationError(
                f"subprocess.{attribute.name.strip('_')} is a {what} {low:g} up to {high:g} "
                f"{unit}; got {value!r}."
            )

    return check


def _check_flag(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"subprocess.{attribute.name} is true or false; got {value!r}.")


@attrs.frozen(kw_only=True)
class SubprocessSegmenter:
    """Finds nuclei with a class or function of another Python environment, in its own process.

    The other environment needs Python 3.8 or newer, numpy and the component, and nothing of
    cellseg. Its process starts when it is first needed, serves all segmenters of this process with
    the same ``python``, ``component`` and ``options``, and ends with the last of them, with
    :meth:`close`, or with this process, however that ends. Threads take turns. Pickled to another
    process, a segmenter takes its options along; it starts a process there, which stays for the
    next that comes.

    Where the component raises, the tile's error has the last lines of its traceback. Where its
    process is lost, by a crash or because a tile took longer than ``timeout``, the next tile has a
    new one. What the component prints goes nowhere, but for the last lines, which are shown where
    its process is lost.

    Parameters
    ----------
    python
        The other environment: its folder, or its interpreter. Default: this one, which shields a
        run from a component that crashes.
    component
        What runs there, ``"my_package.nuclei:Finder"``. A class is built with ``options`` and has
        ``segment(tile)``; if it has ``adapt(sample, diameter)`` too, what that returns segments
        the tiles of an image; what ``facts()`` returns is recorded. A function is called with the
        tile and ``options``. Tiles are as in :class:`~cellseg_core.protocols.Segmenter`; an
        integer label image comes back, or a pair (labels, scores), or an object with ``labels``
        and ``scores``.
    options
        Options of the component, a table of numbers and texts.
    native_diameter
        Diameter in px of the nuclei that it knows best; tiles are rescaled to it. Default: it
        takes any size.
    halo
        Margin in px around a tile that its result depends on, at the native diameter. Default: 4
        nuclear diameters.
    grid
        Px that the image may be shifted by without another result; the number by which a network
        shrinks its input.
    uses_membrane
        Whether it looks at the membrane channel.
    uses_color
        Whether its tiles are the red, green and blue of an RGB image.
    timeout
        Time for one tile, in s.
    start_timeout
        Time for the process to start and build the component, in s.

    Raises
    ------
    ConfigurationError
        If an option has a value that makes no sense. That the environment and the component are
        there is found by :meth:`facts`, which a run calls before it begins.

    >>> options = {"python": None, "component": "numpy:argmax", "options": {"axis": 0}}
    >>> with SubprocessSegmenter(**options) as segmenter:
    ...     segmenter.segment(np.array([[[0.1, 0.1]], [[0.0, 0.9]]], np.float32)).labels
    array([[0, 1]])
    """

    python: str | None = attrs.field(default=None, converter=_as_text, validator=_check_python)
    component: str | None = attrs.field(default=None, validator=_check_component)
    options: Mapping[str, Any] = attrs.field(factory=dict, validator=_check_options)
    native_diameter: float | None = attrs.field(default=None, validator=_number(0, 1000, "px"))
    _halo: int | None = attrs.field(default=None, validator=_number(0, 10_000, "px", whole=True))
    grid: int = attrs.field(default=1, validator=_number(1, 4096, "px", whole=True))
    uses_membrane: bool = attrs.field(default=True, validator=_check_flag)
    uses_color: bool = attrs.field(default=False, validator=_check_flag)
    timeout: float = attrs.field(default=1800.0, validator=_number(0, 30 * _DAY, "s"))
    start_timeout: float = attrs.field(default=300.0, validator=_number(0, _DAY, "s"))

    _worker: Worker = attrs.field(init=False, repr=False, eq=False)
    _adaptation: Adaptation | None = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # No process yet: what is shared by all that are set up alike.
        options = json.dumps(dict(self.options), sort_keys=True)
        object.__setattr__(self, "_worker", worker_for(self.python, self.component, options))

    @property
    def halo(self) -> int:
        """Return the margin in px: as given, or 4 diameters, of 12 px before :meth:`adapt`."""
        if self._halo is not None:
            return self._halo
        diameter = self.native_diameter or _UNKNOWN_DIAMETER
        if self._adaptation is not None:
            diameter = self._adaptation.diameter
        return math.ceil(_HALO * diameter)

    def adapt(self, sample: NDArray[np.float32], diameter: float) -> SubprocessSegmenter:
        """Return a copy that is set up for one image: see ``AdaptiveSegmenter``.

        Raises
        ------
        CellsegError
            As :meth:`facts`, and where the component cannot adapt.
        """
        adaptation = Adaptation(uuid.uuid4().hex, float(diameter), sample)
        if not self._worker.adapt(adaptation, self._limits):
            adaptation = attrs.evolve(adaptation, sample=None)
        adapted = attrs.evolve(self)
        object.__setattr__(adapted, "_adaptation", adaptation)
        return adapted

    def segment(self, tile: NDArray[np.float32]) -> Segmentation:
        """Return what the component finds in a tile (C, Y, X).

        Raises
        ------
        SegmentationError
            If it raises, returns no labels of the tile's size, crashes, or takes too long; with
            the last lines of its traceback, or of what it wrote.
        CellsegError
            As :meth:`facts`, where the process has to be started.
        """
        return self._worker.segment(tile, self._adaptation, self._limits)

    def facts(self) -> dict[str, Any]:
        """Return the versions there: of Python, and of the component's package and what it needs.

        Where the component belongs to no installed package, of all that are installed, and a
        checksum of its source. What the component's own ``facts()`` returns is under
        ``"component"``. The process is started for it.

        Raises
        ------
        ConfigurationError
            If there is no such interpreter, or the component does not accept its options.
        MissingPackageError
            If the module, or numpy, is missing there.
        ComponentError
            If the component cannot be imported or built.
        SegmentationError
            If its own ``facts()`` fail.
        """
        return self._worker.facts(self._limits)

    def close(self) -> None:
        """End the process, after the tile that it is at. The next use starts it again."""
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _limits(self) -> Limits:
        return Limits(start=self.start_timeout, tile=self.timeout)
