"""The expanders and compensators that come with cellseg."""

from __future__ import annotations

from cellseg_core.component import Component
from cellseg_core.hookspecs import hookimpl

__all__ = ["cellseg_compensators", "cellseg_expanders"]


@hookimpl
def cellseg_expanders() -> list[Component]:
    """Return the built-in expanders."""
    return [
        Component(
            name="sequential",
            factory="cellseg_postprocess.expansion:SequentialExpander",
            description="all masks grow 1 px at a time and stop where they meet",
        ),
        Component(
            name="standard",
            factory="cellseg_postprocess.expansion:StandardExpander",
            description="a pixel that several masks reach goes to the nearest centre",
        ),
        Component(
            name="voronoi",
            factory="cellseg_postprocess.expansion:VoronoiExpander",
            description="a pixel goes to the nearest mask (Euclidean)",
        ),
    ]


@hookimpl
def cellseg_compensators() -> list[Component]:
    """Return the built-in compensators."""
    return [
        Component(
            name="contact",
            factory="cellseg_postprocess.compensation:ContactCompensator",
            description="removes what neighbours share over their common border (Goltsev 2018)",
        ),
        Component(
            name="conserving",
            factory="cellseg_postprocess.conserving:ConservingCompensator",
            description="gives scattered light back to the neighbours; the total stays the same",
        ),
        Component(
            name="boundary",
            factory="cellseg_postprocess.boundary:BoundaryCompensator",
            description="gives light seen beside a border back to the brighter side of it",
        ),
    ]
