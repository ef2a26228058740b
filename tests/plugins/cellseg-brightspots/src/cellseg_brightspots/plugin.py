"""What this package brings to cellseg."""

from cellseg_core import Component, hookimpl


@hookimpl
def cellseg_segmenters():
    """Return the segmenters of this package."""
    return [
        Component(
            name="brightspots",
            factory="cellseg_brightspots.segmenter:BrightSpots",
            description="connected pixels over one threshold; an example to start from",
        )
    ]
