"""Every n-th pixel of an image, in memory: its sample at any brightness, read only once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.image import Image
from cellseg_core.normalize import row_bands
from cellseg_core.scaled import ScaledImage

__all__ = ["thinned"]


@attrs.frozen(eq=False)
class _Planes:
    """Some channels of an image, in memory."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    planes: Mapping[int, NDArray[Any]]

    def __getitem__(self, key: Any) -> Any:
        return self.planes[key[0]][key[1:]]


def thinned(scaled: ScaledImage) -> Image:
    """Return the pixels that ``scaled.sample()`` looks at as an image.

    It has those channels only that the segmenter sees.

    >>> image = Image(np.arange(24).reshape(2, 3, 4), channels=("DAPI", "CD3"))
    >>> from cellseg_core.scaled import view
    >>> scaled, _ = view(image, "DAPI")
    >>> again = attrs.evolve(scaled, image=thinned(scaled))
    >>> np.array_equal(again.read(), scaled.sample())
    True
    """
    image, step = scaled.image, scaled.sample_step()
    planes = {}
    for number in (*scaled.nuclear, *scaled.membrane):
        bands = [
            image.read(number, band)[-band.start % step :: step, ::step].copy()
            for band in row_bands(image.shape)
        ]
        planes[number] = np.concatenate(bands)
    shape = planes[scaled.nuclear[0]].shape
    return attrs.evolve(image, pixels=_Planes((len(image.channels), *shape), image.dtype, planes))
