"""The images of a run: opened, named, and none of them a result, a part or a target of another."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from cellseg_core.address import Address, Location, as_location, resolved
from cellseg_core.channels import read_channel_names
from cellseg_core.config import RunConfig
from cellseg_core.errors import (
    CellsegError,
    ChannelError,
    ConfigurationError,
    ImageError,
    MissingPackageError,
)
from cellseg_core.image import Image
from cellseg_core.naming import unique_names
from cellseg_core.plugins import Plugins
from cellseg_core.reading import Source, find_sources, read_each
from cellseg_core.reporting import RunLog
from cellseg_core.store import Store

__all__ = ["Job", "files_of", "input_locations", "open_inputs", "read_source"]


@attrs.frozen(eq=False)
class Job:
    """An image that could be opened, and the numbers of its nuclear and membrane channels."""

    image: Image
    source: Source
    notes: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()


def input_locations(inputs: Sequence[str | Location]) -> list[Location]:
    """Return the paths and addresses that were given.

    Raises
    ------
    ConfigurationError
        If there is none, or one is an empty text.
    """
    if not inputs:
        raise ConfigurationError("there is nothing to do: name at least one image or folder.")
    if "" in inputs:
        raise ConfigurationError("an input is empty. To read the current folder, write ./ instead.")
    return [as_location(one) for one in inputs]


def open_inputs(
    inputs: Sequence[Location], config: RunConfig, plugins: Plugins, store: Store, log: RunLog
) -> list[Job]:
    """Return every image at the inputs, by name; what is given twice counts once.

    Names are unique and safe as names of folders. What cannot be opened is told to ``log``.

    Raises
    ------
    ConfigurationError
        If the results of an image would be written into a folder that an input lies in.
    """
    jobs: list[Job] = []
    sources = _sources(inputs, config, plugins, store, log)
    for source, found in read_each(sources, lambda one: read_source(one, config, plugins)):
        if isinstance(found, (ImageError, ChannelError, MissingPackageError)):
            log.fail(str(source.path), source.path, found)
        elif isinstance(found, CellsegError):
            raise found
        else:
            jobs += [Job(image, source) for image in found]
    jobs = _without_parts(jobs, log)
    names = unique_names(
        [job.image.name for job in jobs], [str(job.source.path.resolve()) for job in jobs]
    )
    named = []
    for job, name in zip(jobs, names, strict=True):
        renamed = f"{job.image.name!r} of {job.source.path} is called {name!r} here."
        notes = () if name == job.image.name else (renamed,)
        named.append(attrs.evolve(job, image=attrs.evolve(job.image, name=name), notes=notes))
    _spare_inputs(named, store)
    return sorted(named, key=lambda job: job.image.name)


def read_source(source: Source, config: RunConfig, plugins: Plugins) -> list[Image]:
    """Return the images of a source, with the names and pixel size that the user gave."""
    images = source.read(plugins, config.options("reader", source.reader, plugins))
    if config.channels is not None:
        names = read_channel_names(config.channels)
        images = [attrs.evolve(image, channels=names, color=False) for image in images]
    if config.pixel_size is not None:
        images = [attrs.evolve(image, pixel_size=config.pixel_size) for image in images]
    return images


def files_of(job: Job) -> set[Location]:
    """Return all files that an image is read from."""
    return {path.resolve() for path in job.image.files or (job.source.path,)}


def _sources(
    inputs: Sequence[Location], config: RunConfig, plugins: Plugins, store: Store, log: RunLog
) -> list[Source]:
    """Return what is to be read, sorted, without results of earlier runs into the same folder."""
    found: dict[Location, Source] = {}
    results = 0
    for path in sorted(set(inputs), key=str):
        if store.owns(path):
            results += 1
            continue
        try:
            for source in find_sources(path, plugins, config.layout, config.nuclear):
                found.setdefault(resolved(source.path), source)
        except (ImageError, MissingPackageError) as error:
            log.fail(str(path), path, error)
    sources = [found[path] for path in sorted(found, key=str)]
    for note in dict.fromkeys(source.note for source in sources if source.note):
        log.reporter.say(note)
    if results:
        log.reporter.say(
            f"{results} of the inputs are results of an earlier run into {store.out}, and are left "
            "out"
        )
    return sources


def _without_parts(jobs: Sequence[Job], log: RunLog) -> list[Job]:
    """Leave out images whose files are all part of another image that is read too."""
    kept: list[Job] = []
    readers_of: dict[Location, set[Location]] = {}
    for job in sorted(jobs, key=lambda job: -len(files_of(job))):
        own = job.source.path.resolve()
        holders = set.intersection(*(readers_of.get(file, set()) for file in files_of(job)))
        if holders - {own}:
            log.reporter.say(f"{job.source.path} is a part of another image, and left out")
            continue
        for file in files_of(job):
            readers_of.setdefault(file, set()).add(own)
        kept.append(job)
    return kept


def _spare_inputs(jobs: Sequence[Job], store: Store) -> None:
    folders = {(store.out / job.image.name).resolve() for job in jobs}
    for job in jobs:
        for file in files_of(job):
            if not isinstance(file, Address) and not folders.isdisjoint(file.parents):
                raise ConfigurationError(
                    f"results would be written into {file.parent}, where the input {file.name} "
                    "lies. Choose another folder with -o."
                )
