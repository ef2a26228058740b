"""Reads raw CODEX folders: ``Cyc2_reg1/1_00003_Z005_CH4.tif`` is one plane of one tile."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.image import Image, Position
from cellseg_io.axes import Projection
from cellseg_io.lazy import LazyPlanes
from cellseg_io.names import fit_names, names_beside, unique_names
from cellseg_io.stack import FileStack
from cellseg_io.tiff import open_plane

__all__ = ["RawPlane", "find_planes", "is_raw_folder", "read_raw"]

_FOLDER = re.compile(r"cyc(\d+)_reg(\d+)", re.IGNORECASE)
_PLANE = re.compile(r"\d+_(\d+)_z(\d+)_ch(\d+)\.tiff?", re.IGNORECASE)


@attrs.frozen(order=True)
class RawPlane:
    """What the name of a raw plane and its folder say."""

    region: int
    tile: int
    z: int
    cycle: int
    channel: int
    path: Path


def is_raw_folder(path: Path) -> bool:
    """Return True for a folder named like ``Cyc1_reg1``.

    >>> is_raw_folder(Path("not/there/Cyc1_reg1"))
    False
    """
    return _FOLDER.fullmatch(path.name) is not None and path.is_dir()


def find_planes(folder: Path) -> list[RawPlane]:
    """Return the planes of a raw acquisition, by region, tile, z, cycle and channel."""
    planes = []
    for cycle in folder.iterdir():
        if not is_raw_folder(cycle):
            continue
        cycle_number, region = map(int, _FOLDER.findall(cycle.name)[0])
        for path in cycle.iterdir():
            match = _PLANE.fullmatch(path.name)
            if match is not None:
                tile, z, channel = map(int, match.groups())
                planes.append(RawPlane(region, tile, z, cycle_number, channel, path))
    return sorted(planes)


def read_raw(folder: Path, z: int | Projection | None = None) -> list[Image]:
    """Return one image for each region, tile and z; its channels are those of cycle after cycle.

    The header of the first plane of each image is read now, the others when they are needed. The
    files do not say how the tiles lie, so tile T is column T of row 1, at the origin.

    Raises
    ------
    ImageError
        If a plane is missing that the other cycles, channels and tiles have; it is named.
    ChannelError
        If ``channelNames.txt`` does not fit.
    """
    if isinstance(z, str):
        raise ConfigurationError(
            f"z={z!r} is for stacks; in a raw CODEX folder each Z is an image, or one is chosen by "
            "its number"
        )
    planes = find_planes(folder)
    if z is not None:
        numbers = sorted({plane.z for plane in planes})
        planes = [plane for plane in planes if plane.z == z]
        if not planes:
            raise ImageError(f"{folder} has no Z {z}; there are {', '.join(map(str, numbers))}.")
    images = []
    for region in sorted({plane.region for plane in planes}):
        images += _read_region(folder, [plane for plane in planes if plane.region == region])
    return images


def _read_region(folder: Path, planes: list[RawPlane]) -> list[Image]:
    cycles = sorted({plane.cycle for plane in planes})
    channels = sorted({plane.channel for plane in planes})
    found: dict[tuple[int, int, int, int], Path] = {}
    for p in planes:
        other = found.setdefault((p.tile, p.z, p.cycle, p.channel), p.path)
        if other != p.path:
            raise ImageError(
                f"{other.name} and {p.path.name} in {p.path.parent} are the same plane; take one "
                "of them out of the folder."
            )
    wanted = [(cycle, channel) for cycle in cycles for channel in channels]
    names_file = names_beside(folder)
    if names_file is None:
        names: tuple[str, ...] = tuple(f"Cyc{c}_CH{k}" for c, k in wanted)
        note = "channels named by cycle and CH"
    else:
        names, repeated = unique_names(fit_names(names_file, len(wanted), str(folder)))
        note = "; ".join(filter(None, [f"names from {names_file.name}", repeated]))
    images = []
    region = planes[0].region
    for tile in sorted({plane.tile for plane in planes}):
        for z in sorted({plane.z for plane in planes}):
            paths = [found.get((tile, z, c, k)) for c, k in wanted]
            if None in paths:
                cycle, channel = wanted[paths.index(None)]
                raise ImageError(
                    f"{folder} is incomplete: Cyc{cycle}_reg{region} has no plane of tile {tile}, "
                    f"Z {z}, CH {channel} (*_{tile:05d}_Z{z:03d}_CH{channel}.tif). Copy it there, "
                    "or take the rest of its tile, Z, cycle or channel away."
                )
            files = [path for path in paths if path is not None]
            first = open_plane(files[0], names[0])
            stack = FileStack(files, first.shape, first.dtype)
            stack.add(0, first)
            images.append(
                Image(
                    LazyPlanes((len(files), *first.shape), first.dtype, stack),
                    channels=names,
                    pixel_size=first.pixel_size,
                    name=f"reg{region:03d}_T{tile:05d}_Z{z:03d}",
                    source=str(folder),
                    axes=(
                        f"raw CODEX: cycles {', '.join(map(str, cycles))} of {len(channels)} "
                        f"channels each; {note}"
                    ),
                    position=Position(region, 1, tile, z),
                    files=tuple(files),
                )
            )
    return images
