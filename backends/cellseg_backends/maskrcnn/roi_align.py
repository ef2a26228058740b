"""ROI align: the features of each box, resampled to one size."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from cellseg_backends.maskrcnn.presets import STRIDES

__all__ = ["roi_align"]


def roi_align(maps: list[Any], boxes: Any, size: int) -> Any:
    """Return features (B, R, size, size, C): bilinear samples at the centres of each box's cells.

    Each box is read from the level whose stride is nearest to the distance of its samples, so that
    one sample stands for one pixel of the map (He et al. 2017 sample the level chosen by area four
    times for each cell). Beyond the image the nearest features count.

    Parameters
    ----------
    maps
        The levels (B, H / s, W / s, C), from the finest stride ``s`` of the pyramid on.
    boxes
        (B, R, 4) in px of the image.
    size
        Cells along an edge.
    """
    batch, channels = ops.shape(maps[0])[0], maps[0].shape[-1]
    shapes = [(ops.shape(one)[1], ops.shape(one)[2]) for one in maps]
    table = ops.concatenate([ops.reshape(one, (batch, -1, channels)) for one in maps], axis=1)
    places = ops.shape(table)[1]

    y0, x0, y1, x1 = (boxes[..., i] for i in range(4))
    spacing = ops.sqrt(ops.maximum((y1 - y0) * (x1 - x0), 1.0)) / size
    level = ops.log(spacing / STRIDES[0]) / math.log(2.0)
    level = ops.cast(ops.clip(ops.round(level), 0, len(maps) - 1), "int32")
    starts, heights, widths = [], [], []
    total: Any = 0
    for height, width in shapes:
        starts.append(total)
        heights.append(height)
        widths.append(width)
        total = total + height * width
    start, height, width = (
        ops.take(ops.cast(ops.stack(values), "int32"), level)
        for values in (starts, heights, widths)
    )
    stride = ops.take(ops.convert_to_tensor(STRIDES[: len(maps)], "float32"), level)

    steps = (ops.arange(size, dtype="float32") + 0.5) / size
    rows = (y0[..., None] + steps * (y1 - y0)[..., None]) / stride[..., None] - 0.5
    columns = (x0[..., None] + steps * (x1 - x0)[..., None]) / stride[..., None] - 0.5

    def neighbours(at: Any, count: Any) -> tuple[Any, Any, Any]:
        last = ops.cast(count - 1, "float32")[..., None]
        at = ops.clip(at, 0.0, last)
        low = ops.floor(at)
        high = ops.minimum(low + 1.0, last)
        return ops.cast(low, "int32"), ops.cast(high, "int32"), at - low

    top, bottom, down = neighbours(rows, height)
    left, right, across = neighbours(columns, width)

    first = ops.arange(batch, dtype="int32")[:, None] * places + start
    flat = ops.reshape(table, (-1, channels))

    def corner(row: Any, column: Any, weight: Any) -> Any:
        index = first[..., None, None] + row[..., :, None] * width[..., None, None]
        index = index + column[..., None, :]
        return ops.take(flat, index, axis=0) * ops.cast(weight, flat.dtype)[..., None]

    down, across = down[..., :, None], across[..., None, :]
    return (
        corner(top, left, (1 - down) * (1 - across))
        + corner(top, right, (1 - down) * across)
        + corner(bottom, left, down * (1 - across))
        + corner(bottom, right, down * across)
    )
