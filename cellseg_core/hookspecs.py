"""The hooks that a plugin may implement: one for each kind of component.

Every hook takes no argument and returns a list of :class:`~cellseg_core.component.Component`
records. It must be quick and import nothing heavy: it runs at every start of ``cellseg``.

A plugin is a module, named under the entry-point group ``cellseg`` of its package::

    from cellseg_core import Component, hookimpl

    @hookimpl
    def cellseg_segmenters():
        return [Component(name="mine", factory="my_package.segmenter:Mine")]
"""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from cellseg_core.component import Component

__all__ = [
    "cellseg_compensators",
    "cellseg_expanders",
    "cellseg_readers",
    "cellseg_segmenters",
    "cellseg_writers",
    "hookimpl",
    "hookspec",
]

hookspec = pluggy.HookspecMarker("cellseg")
hookimpl = pluggy.HookimplMarker("cellseg")


@hookspec
def cellseg_segmenters() -> Sequence[Component]:
    """Return components that are a :class:`~cellseg_core.protocols.Segmenter`."""
    raise AssertionError("a hook specification is never called")


@hookspec
def cellseg_expanders() -> Sequence[Component]:
    """Return components that are an :class:`~cellseg_core.protocols.Expander`."""
    raise AssertionError("a hook specification is never called")


@hookspec
def cellseg_compensators() -> Sequence[Component]:
    """Return components that are a :class:`~cellseg_core.protocols.Compensator`."""
    raise AssertionError("a hook specification is never called")


@hookspec
def cellseg_readers() -> Sequence[Component]:
    """Return components that are a :class:`~cellseg_core.protocols.Reader`."""
    raise AssertionError("a hook specification is never called")


@hookspec
def cellseg_writers() -> Sequence[Component]:
    """Return components that are a :class:`~cellseg_core.protocols.Writer`."""
    raise AssertionError("a hook specification is never called")
