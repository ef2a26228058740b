"""From paths and addresses to images: which reader takes one, and what a folder is taken for."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from cellseg_core.address import Address, Location, as_location, resolved
from cellseg_core.channels import NUCLEAR_STAIN, find_channel
from cellseg_core.errors import (
    CellsegError,
    ChannelError,
    ComponentError,
    ImageError,
    PartOfImageError,
)
from cellseg_core.image import Image
from cellseg_core.plugins import Plugins, Registered, load_plugins

__all__ = ["Source", "find_sources", "read_all", "read_each", "read_image", "read_images"]

_CODEX_TILE = re.compile(r"reg(\d+)_(x\d+_y\d+)(_z\d+)?(\.ome)?\.tiff?", re.IGNORECASE)
_HOW = "--layout images|channels|codex|mosaic changes that"
_CODEX_CYCLE = re.compile(r"cyc\d+_reg\d+", re.IGNORECASE)


@attrs.frozen
class Source:
    """A path or address, its reader, and the options of the reader that the layout sets."""

    path: Location
    reader: str
    note: str = ""
    options: Mapping[str, Any] = attrs.field(factory=dict)

    def read(self, plugins: Plugins, options: Mapping[str, Any] | None = None) -> list[Image]:
        """Return the images at the path, lazily.

        Raises
        ------
        ImageError
            If it cannot be read, or the reader fails; the message has the path.
        """
        _check_exists(self.path)
        reader = plugins.build("reader", self.reader, {**(options or {}), **self.options})
        try:
            images = list(reader.read(self.path))
        except CellsegError:
            raise
        except Exception as error:
            said = Address.hide(error) if isinstance(self.path, Address) else error
            raise ImageError(
                f"{self.path} cannot be read by the reader {self.reader!r} "
                f"({type(error).__name__}: {said}). The file may be damaged, or "
                "not what its name says."
            ) from error
        if not images:
            raise ImageError(f"{self.path} holds no image.")
        return images


def read_each(
    sources: Sequence[Source], read: Callable[[Source], list[Image]]
) -> Iterator[tuple[Source, list[Image] | CellsegError]]:
    """Give what ``read`` returns for each source, or the error that it raised.

    Files that hold a part of an image are left out where the file that describes it is read too.
    """
    places = {resolved(source.path) for source in sources}
    for source in sources:
        try:
            yield source, read(source)
        except PartOfImageError as error:
            if error.whole.resolve() not in places:
                yield source, error
        except CellsegError as error:
            yield source, error


def read_all(sources: Sequence[Source], read: Callable[[Source], list[Image]]) -> list[Image]:
    """Return all images of :func:`read_each`; an error is raised."""
    images: list[Image] = []
    for _, found in read_each(sources, read):
        if isinstance(found, CellsegError):
            raise found
        images += found
    return images


def find_sources(
    path: Location, plugins: Plugins, layout: str = "auto", nuclear: Sequence[str] = ()
) -> list[Source]:
    """Return what there is to read at ``path``: one source, or one for each image of a folder.

    ``layout`` says what a folder is: ``images``, ``channels`` (one image), ``codex``, ``mosaic``
    (the tiles of each CODEX region put together), or ``auto``: CODEX if its names say so; channels
    if a name in ``nuclear`` fits the stem of a TIFF in it or, with no name given, up to half of
    them look like a nuclear stain; images otherwise. Folders that a reader claims by a pattern of
    its own (``*.zarr/``), or by a file in them, are read by it; at an address there is nothing
    else. Sources come sorted by name.

    Raises
    ------
    ImageError
        If the path does not exist, no reader fits, or a folder holds no image.
    MissingPackageError
        If a package that opens an address is not installed.
    """
    if isinstance(path, Address):
        return [Source(path, _reader_at(path, plugins).name)]
    _check_exists(path)
    if path.is_dir():
        claimed = _reader_for(path, plugins)
        if claimed is not None and claimed.name != "channels":
            return [Source(path, claimed.name)]
        return _in_folder(path, plugins, layout, nuclear)
    reader = _reader_for(path, plugins)
    if reader is None:
        raise ImageError(
            f"{path}: no reader takes a file of this name. Readable are {_readable(plugins)}. "
            "Export the image as OME-TIFF, or install a package that reads it."
        )
    return [Source(path, reader.name)]


def _check_exists(path: Location) -> None:
    if isinstance(path, Address):
        path.check()
        return
    try:
        path.stat()
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist. Check the spelling of the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path} cannot be opened: {reason}. Check the path.") from error


def _in_folder(folder: Path, plugins: Plugins, layout: str, nuclear: Sequence[str]) -> list[Source]:
    try:
        entries = sorted(
            (e for e in folder.iterdir() if not e.name.startswith(".")), key=lambda e: e.name
        )
    except OSError as error:
        raise ImageError(f"the folder {folder} cannot be read: {error}") from error
    if layout == "auto":
        layout, note = _guess_layout(entries, nuclear)
    else:
        note = "as --layout says"
    if layout == "channels":
        return [Source(folder, "channels", f"{folder} is one image, a channel a file ({note})")]
    if layout in ("codex", "mosaic"):
        return _codex(folder, entries, plugins, note, together=layout == "mosaic")
    note = f"{folder} is a folder of images ({note})"
    found = [
        Source(entry, reader.name, note)
        for entry in entries
        if (reader := _reader_for(entry, plugins)) is not None and reader.name != "channels"
    ]
    if not found:
        raise ImageError(
            f"{folder} holds no image. Readable are {_readable(plugins)}; folders within it are "
            "not searched: name them one by one."
        )
    return found


def _reader_at(address: Address, plugins: Plugins) -> Registered:
    """Return the reader that takes what is at an address: by its name, else by what it holds."""
    able = [entry for entry in plugins.of_kind("reader") if entry.component.addresses]
    address.check()
    reader = _by_name(f"{address.name}/", able, address)
    if reader is None and _by_name(address.name, plugins.of_kind("reader"), address) is None:
        reader = _by_content(
            lambda name: address.fetch(name, lenient=True) is not None, able, address
        )
    if reader is None:
        readable = "; ".join(entry.component.description for entry in able)
        raise ImageError(
            f"{address} is not there, or nothing that is read from an address, which is: "
            f"{readable}. Check the spelling and the credentials. Download a file of another "
            "format and give its path, or convert it to OME-Zarr, with bioformats2raw for example."
        )
    return reader


def _codex(
    folder: Path, entries: Sequence[Path], plugins: Plugins, note: str, *, together: bool
) -> list[Source]:
    """Return a source for each tile, or one for all of them; raw folders are one in any case."""
    tiles = {e: name for e in entries if (name := _CODEX_TILE.fullmatch(e.name)) is not None}
    note = f"{folder} holds CODEX tiles ({note})"
    if together:
        note += ", which are put together"
    elif len({(name[1], name[2]) for name in tiles.values()}) > len({n[1] for n in tiles.values()}):
        note += "; each tile is an image of its own, --layout mosaic puts them together"
    others = [
        entry.name
        for entry in entries
        if tiles and entry not in tiles and entry.is_file() and _reader_for(entry, plugins)
    ]
    if others:
        note += f"; left out, since they are not: {', '.join(others[:10])}"
    if together:
        return [Source(folder, "codex", note, {"assemble": True})]
    return [Source(tile, "codex", note) for tile in tiles] or [Source(folder, "codex", note)]


def _readable(plugins: Plugins) -> str:
    """Return what can be read, in the readers' own words."""
    return "; ".join(entry.component.description for entry in plugins.of_kind("reader"))


def _guess_layout(entries: Iterable[Path], nuclear: Sequence[str]) -> tuple[str, str]:
    names = [entry.name for entry in entries]
    if any(_CODEX_TILE.fullmatch(name) or _CODEX_CYCLE.fullmatch(name) for name in names):
        return "codex", f"its names are those of CODEX; {_HOW}"
    stems = [
        name.rsplit(".", 1)[0].removesuffix(".ome")
        for name in names
        if name.lower().endswith((".tif", ".tiff"))
    ]
    for name in nuclear:
        try:
            stem = stems[find_channel(name, stems)]
        except ChannelError:
            continue
        return "channels", f"the nuclear channel {name} is its file {stem}; {_HOW}"
    looks_nuclear = [stem for stem in stems if NUCLEAR_STAIN.match(stem)]
    if not nuclear and 0 < len(looks_nuclear) <= len(stems) / 2:
        return "channels", f"its file {looks_nuclear[0]} looks like a nuclear channel; " + _HOW
    return "images", "if its files are channels of one image: --layout channels --nuclear NAME"


def _reader_for(path: Path, plugins: Plugins) -> Registered | None:
    """Return the reader that claims ``path``: by a file in it, or by the longest pattern.

    A pattern of any folder (``*/``) comes after the files in it.

    Raises
    ------
    ComponentError
        If two readers of other packages claim it alike.
    """
    readers = plugins.of_kind("reader")
    if not path.is_dir():
        return _by_name(path.name, readers, path)
    found = _by_name(f"{path.name}/", readers, path)
    if found is None or "*/" in found.component.patterns:
        holds = partial(_is_file_in, path)
        return _by_content(holds, readers, path) or found
    return found


def _is_file_in(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except OSError:
        # Who lists a folder that may not be looked into tells it.
        return False


def _by_name(name: str, readers: Iterable[Registered], where: Location) -> Registered | None:
    """Return the reader with the longest pattern that fits a name, of folders with ``/``."""
    name = name.lower()
    fitting: list[tuple[int, Registered]] = []
    for entry in readers:
        lengths = [
            len(pattern)
            for pattern in entry.component.patterns
            if pattern.endswith("/") == name.endswith("/") and fnmatch.fnmatchcase(name, pattern)
        ]
        if lengths:
            fitting.append((max(lengths), entry))
    longest = max((length for length, _ in fitting), default=0)
    return _only([entry for length, entry in fitting if length == longest], where)


def _by_content(
    holds: Callable[[str], bool], readers: Iterable[Registered], where: Location
) -> Registered | None:
    """Return the reader of folders that hold one of its files, as ``holds`` tells."""
    return _only([one for one in readers if any(map(holds, one.component.contains))], where)


def _only(claimants: Sequence[Registered], where: Location) -> Registered | None:
    if len(claimants) > 1:
        told = " and ".join(f"{entry.name} of {entry.origin}" for entry in claimants)
        raise ComponentError(f"{where} is claimed by {told}. Uninstall one of them.")
    return claimants[0] if claimants else None


def read_images(
    path: str | Location,
    layout: str = "auto",
    nuclear: Sequence[str] = (),
    *,
    plugins: Plugins | None = None,
    **options: Any,
) -> list[Image]:
    """Return every image at ``path``, lazily: a file, or a folder as :func:`find_sources` says.

    A text with ``://``, such as ``s3://bucket/slide.zarr``, is the address of an OME-Zarr.

    ``options`` go to the reader, for example ``z=3``.

    Raises
    ------
    ImageError
        If there is none, or one cannot be read.
    """
    plugins = plugins or load_plugins()
    sources = find_sources(as_location(path), plugins, layout, nuclear)
    return read_all(sources, lambda source: source.read(plugins, options))


def read_image(path: str | Location, *, plugins: Plugins | None = None, **options: Any) -> Image:
    """Return the one image at ``path``, lazily; a folder is read as one file for each channel.

    A text with ``://``, such as ``s3://bucket/slide.zarr``, is the address of an OME-Zarr.

    ``options`` go to the reader, for example ``z=3``.

    Raises
    ------
    ImageError
        If it cannot be read, or the file holds several images.
    """
    path = as_location(path)
    plugins = plugins or load_plugins()
    layout = "auto"
    if isinstance(path, Path) and path.is_dir():
        found, _ = _guess_layout(sorted(path.iterdir()), ())
        layout = "codex" if found == "codex" else "channels"
    images = read_images(path, layout, plugins=plugins, **options)
    if len(images) > 1:
        raise ImageError(
            f"{path} holds {len(images)} images: {', '.join(image.name for image in images)}. "
            "Take one of those that read_images(PATH) returns."
        )
    return images[0]
