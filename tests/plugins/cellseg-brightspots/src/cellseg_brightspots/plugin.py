"""What this package brings to cellseg. It is imported at every start: nothing heavy here."""

from cellseg_core import Component, hookimpl


@hookimpl
def cellseg_segmenters():
    """Return the segmenters of this package."""
    return [
        Component(
            name="brightspots",
            factory="cellseg_brightspots.segmenter:BrightSpots",
            description="peaks of the smoothed image; an example to start from",
            # Looked up in what is installed, without an import. Packages that users may lack, such
            # as stardist or torch, go here and not into the dependencies of pyproject.toml: then
            # `cellseg plugins` says what is missing, and `install` how to get it.
            requires=("scipy>=1.11",),
            install="pip install scipy",
        )
    ]
