"""The patches of a whole image, of which a tile sees some.

The network looks at patches of a few hundred px, and what it finds depends on where they lie. The
library spreads them evenly over whatever array it is given: of a tile it makes others than of the
whole image. Here, a tile is seen in the very patches that the library would lay over the whole
image, as far as they are needed, and in no others.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.cellpose.model_file import LoadedModel
from cellseg_core.rescale import around, interpolated
from cellseg_core.tiling import Box

__all__ = ["flows_of", "known_part", "masks_of", "reach"]

_OVERLAP = 0.1  # of a patch, on either side: the library's own
_AROUND = 3.0  # px beyond a patch that bringing the image to the network's size looks at


def reach(loaded: LoadedModel, diameter: float) -> float:
    """Return how many px of the image beyond a pixel a network looks, for its value to be right."""
    return (loaded.patch + _AROUND) * diameter / loaded.diameter + _AROUND


def known_part(window: Box, shape: tuple[int, int], reach: float) -> Box:
    """Return the part of ``window`` that is ``reach`` px from its edges within the image.

    >>> known_part(Box(0, 500, 300, 1000), (4000, 1000), 100.0)
    Box(y0=0, y1=400, x0=400, x1=1000)
    """
    margin = math.ceil(reach)
    height, width = shape
    return Box(
        window.y0 + margin if window.y0 else 0,
        window.y1 if window.y1 == height else window.y1 - margin,
        window.x0 + margin if window.x0 else 0,
        window.x1 if window.x1 == width else window.x1 - margin,
    )


@attrs.frozen
class _Axis:
    """One axis of the whole image, as the network sees it.

    Attributes
    ----------
    length
        Px, at the size that the network knows.
    before
        Px of padding before it.
    patch
        Px of a patch.
    starts
        Where patches begin, in px of the padded axis.
    """

    length: int
    before: int
    patch: int
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, length: int, pads: tuple[int, int], patch: int) -> _Axis:
        padded = length + sum(pads)
        patch = min(patch, padded)
        number = 1 if padded <= patch else math.ceil((1 + 2 * _OVERLAP) * padded / patch)
        starts = np.linspace(0, padded - patch, number).astype(np.int64)
        return cls(length, pads[0], patch, starts)

    def that_show(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return where the patches begin that show any of the pixels ``start`` to ``stop``."""
        first, last = start + self.before, stop + self.before
        return self.starts[(self.starts < last) & (self.starts + self.patch > first)]


def flows_of(
    loaded: LoadedModel,
    pixels: NDArray[np.float32],
    window: Box,
    shape: tuple[int, int],
    part: Box,
    *,
    diameter: float,
    batch_size: int,
) -> NDArray[np.float32]:
    """Return what the network says of ``part`` of an image of the size ``shape``.

    Parameters
    ----------
    pixels
        (Y, X, C), the part ``window`` of the image, which holds ``part`` and its :func:`reach`.
    diameter
        Px of what is looked for, which is brought to the diameter that the network knows.

    Returns
    -------
    array (3, Y, X)
        Flows along y and x, and the logit of being part of a cell, at the size of the image: what
        the library finds for the whole image, but for rounding.
    """
    from cellpose import core, transforms  # pyright: ignore[reportAttributeAccessIssue]

    factor = loaded.diameter / diameter
    resized = int(shape[0] * factor), int(shape[1] * factor)
    least: dict[str, Any] = {"min_size": (loaded.patch, loaded.patch)} if loaded.version > 3 else {}
    pads = transforms.get_pad_yx(*resized, **least)
    rows = _Axis.of(resized[0], pads[:2], loaded.patch)
    columns = _Axis.of(resized[1], pads[2:], loaded.patch)

    wanted = part if resized == shape else around(part, shape, resized)
    tops = rows.that_show(wanted.y0, wanted.y1)
    lefts = columns.that_show(wanted.x0, wanted.x1)
    # In px of the image at the network's size, and beyond its edges, where the padding is.
    covered = Box(
        int(tops[0]) - rows.before,
        int(tops[-1]) + rows.patch - rows.before,
        int(lefts[0]) - columns.before,
        int(lefts[-1]) + columns.patch - columns.before,
    )
    inside = covered.grown(0, resized)
    image = np.moveaxis(pixels, -1, 0)
    if resized == shape:
        image = image[(slice(None), *inside.within(window))]
    else:
        image = interpolated(image, window, shape, inside, resized)
    padding = [
        (inside.y0 - covered.y0, covered.y1 - inside.y1),
        (inside.x0 - covered.x0, covered.x1 - inside.x1),
    ]
    image = np.pad(image, [(0, 0), *padding])
    places = [(int(top - tops[0]), int(left - lefts[0])) for top in tops for left in lefts]
    found = []
    for start in range(0, len(places), batch_size):
        batch = [
            image[:, top : top + rows.patch, left : left + columns.patch]
            for top, left in places[start : start + batch_size]
        ]
        answers, _ = core._forward(loaded.network.net, np.stack(batch))
        found.append(answers[:, -3:])
    flows: NDArray[np.float32] = transforms.average_tiles(
        np.concatenate(found),
        [(top, top + rows.patch) for top, _ in places],
        [(left, left + columns.patch) for _, left in places],
        *image.shape[1:],
    )
    flows = flows[(slice(None), *wanted.within(covered))]
    return flows if resized == shape else interpolated(flows, wanted, resized, part, shape)


def masks_of(
    loaded: LoadedModel,
    flows: NDArray[np.float32],
    shape: tuple[int, int],
    *,
    diameter: float,
    options: dict[str, Any],
) -> NDArray[np.integer[Any]]:
    """Return the labels (Y, X) that the library makes of what :func:`flows_of` returns."""
    from cellpose import dynamics  # pyright: ignore[reportAttributeAccessIssue]

    share = math.prod(shape) / math.prod(flows.shape[1:])
    return np.asarray(
        dynamics.resize_and_compute_masks(
            flows[:2],
            flows[2],
            niter=int(200 * diameter / loaded.diameter),
            max_size_fraction=min(1.0, 0.4 * share),
            device=loaded.network.device,
            **options,
        )
    )
