"""The components of a pipeline, from their names or as objects, checked before any work is done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from cellseg_core.component import KINDS
from cellseg_core.errors import ConfigurationError, nearest
from cellseg_core.plugins import Plugins
from cellseg_core.protocols import Compensator, Expander, ImageCompensator, Segmenter

__all__ = ["Components", "build_components"]


@attrs.frozen(eq=False)
class Components:
    """The built components of a pipeline; None where a step is left out."""

    segmenter: Segmenter
    expander: Expander | None
    compensator: Compensator | ImageCompensator | None


def build_components(
    segmenter: str | Segmenter,
    expander: str | Expander,
    compensator: str | Compensator | ImageCompensator | None,
    distance: float,
    *,
    options: Mapping[str, Mapping[str, Any]],
    plugins: Plugins,
) -> Components:
    """Return the components that names mean; objects stay as they are.

    Parameters
    ----------
    distance
        What a named expander is built with, in px; with 0 there is none.
    options
        Options of named components, by kind.

    Raises
    ------
    ComponentError, MissingPackageError
        If a name is unknown, or its package is not there.
    ConfigurationError
        If an option is wrong, or an object does not follow the protocol.
    """
    for kind in options:
        if kind not in KINDS:
            raise ConfigurationError(
                f"options are given by kind; there is no kind {kind!r}: {nearest(kind, KINDS)}."
            )

    def get(kind: Any, component: Any, **extra: Any) -> Any:
        if not isinstance(component, str):
            return component
        return plugins.build(kind, component, {**extra, **options.get(kind, {})})

    built = get("segmenter", segmenter)
    _check_follows(built, Segmenter, ("native_diameter", "halo", "segment"))
    native = built.native_diameter
    if native is not None and not 0 < native < math.inf:
        raise ConfigurationError(
            f"the native_diameter of {built!r} is a positive number of px or None; it is "
            f"{native!r}."
        )
    wanted = distance or not isinstance(expander, str)
    return Components(
        segmenter=built,
        expander=get("expander", expander, distance=distance) if wanted else None,
        compensator=None if compensator is None else get("compensator", compensator),
    )


def _check_follows(component: Any, protocol: Any, names: Sequence[str]) -> None:
    """Tell the author of a component object what it lacks."""
    if isinstance(component, type):
        raise ConfigurationError(
            f"give an object, not its class: {component.__name__}() and not {component.__name__}"
        )
    if not isinstance(component, protocol):
        missing = [name for name in names if not hasattr(component, name)]
        raise ConfigurationError(
            f"{component!r} is not a {protocol.__name__}: it has no {', '.join(missing)}. "
            "See cellseg_core.protocols."
        )
