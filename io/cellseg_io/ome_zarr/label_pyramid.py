"""Writes a label image as OME-Zarr 0.5, with a pyramid, in bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cellseg_core.label_image import LazyLabels
from cellseg_core.label_store import windows_of

__all__ = ["write_label_pyramid"]

_CHUNK = 512  # px: what is decoded at a time
_SHARD = 2048  # px: what is one file
_SMALLEST = 512  # px: a level of no more on both sides is the last one


def write_label_pyramid(
    path: Path, labels: LazyLabels, name: str, pixel_size: float | None = None
) -> list[Path]:
    """Write ``labels`` (Y, X) as OME-Zarr 0.5 into the new folder ``path``; return its files.

    Every level has half the size of the one before, by every second pixel of every second row,
    since ids cannot be averaged. Chunks of 512 px lie in files of 2048 px, of which one and what
    it is made from are in memory. The same labels give the same bytes.

    Parameters
    ----------
    path
        The folder. It is not there yet.
    labels
        Integers; they keep their type. It may be lazy: every pixel is read once.
    name
        The image's name in the metadata.
    pixel_size
        In um, where it is known.
    """
    import zarr

    # Nobody can use attributes in a half-written folder: they come last.
    group = zarr.open_group(path, mode="w-", zarr_format=3)
    datasets: list[dict[str, Any]] = []
    level: Any = labels
    step = 1
    while True:
        size = (pixel_size or 1.0) * step
        transform = {"type": "scale", "scale": [size, size]}
        datasets.append({"path": str(len(datasets)), "coordinateTransformations": [transform]})
        every = 2 if len(datasets) > 1 else 1
        level = _write_level(group, datasets[-1]["path"], level, every)
        if max(level.shape) <= _SMALLEST:
            break
        step *= 2
    unit = {} if pixel_size is None else {"unit": "micrometer"}
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "name": name,
                "axes": [{"name": axis, "type": "space", **unit} for axis in "yx"],
                "datasets": datasets,
                "type": "nearest",
            }
        ],
        "image-label": {},
    }
    return sorted(file for file in path.rglob("*") if file.is_file())


def _write_level(group: Any, name: str, above: LazyLabels, every: int) -> Any:
    """Write every ``every``-th pixel of the level ``above``, file by file, and return the array."""
    shape = tuple(-(-int(length) // every) for length in above.shape)
    array = group.create_array(
        name,
        shape=shape,
        dtype=above.dtype,
        chunks=(_CHUNK, _CHUNK),
        shards=(_SHARD, _SHARD),
        dimension_names=("y", "x"),
    )
    for box in windows_of(shape, _SHARD):
        rows, columns = slice(box.y0 * every, box.y1 * every), slice(box.x0 * every, box.x1 * every)
        array[box.slices] = above[rows, columns][::every, ::every]
    return array
