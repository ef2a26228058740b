"""The input and the result of an image that a run has done, opened again."""

from __future__ import annotations

from pathlib import Path

import attrs

from cellseg_core.address import Address
from cellseg_core.config import RunConfig
from cellseg_core.errors import ImageError
from cellseg_core.finished_run import FinishedImage, FinishedRun
from cellseg_core.image import Image
from cellseg_core.inputs import read_source
from cellseg_core.label_files import Kind
from cellseg_core.label_image import LazyLabels
from cellseg_core.naming import unique_names
from cellseg_core.plugins import Plugins
from cellseg_core.reading import find_sources
from cellseg_core.result import Result
from cellseg_core.scaled import view

__all__ = ["config_of", "input_of", "result_of"]


def config_of(run: FinishedRun) -> RunConfig:
    """Return the settings of a run.

    Raises
    ------
    ConfigurationError
        If this version does not know them.
    """
    return RunConfig.from_mapping(run.record["settings"], str(run.out / "run.json"))


def input_of(run: FinishedRun, done: FinishedImage, plugins: Plugins) -> Image:
    """Return the image that a run has done, as it was read then; pixels are read when needed.

    Raises
    ------
    ImageError
        If it is no longer there, or is another.
    """
    config = config_of(run)
    recorded = done.facts["input"]
    path = done.source
    if not isinstance(path, Address):
        places = [one for one in (Path(recorded["path"]), path) if one.exists()]
        if not places:
            raise ImageError(
                f"{recorded['path']} does not exist any more. Put the image back where it was, or "
                "run again."
            )
        path = places[0]
    sources = find_sources(path, plugins, config.layout, config.nuclear)
    images = [image for one in sources for image in read_source(one, config, plugins)]
    names = unique_names([one.name for one in images], [str(path)] * len(images))
    named = [one for one, name in zip(images, names, strict=True) if done.name in (one.name, name)]
    alike = [one for one in named or images if list(one.channels) == list(recorded["channels"])]
    if len(alike) != 1 or alike[0].shape != done.shape:
        raise ImageError(
            f"{path} is not the image that was done: it has another size, other channels or "
            "another name. Put the image back where it was, or run again."
        )
    return attrs.evolve(alike[0], name=done.name)


def result_of(run: FinishedRun, done: FinishedImage, plugins: Plugins) -> Result:
    """Return what was made of an image, from its input and the files in its folder.

    Its table has no features and no further statistics, and it is shown in gray also where the
    segmenter looked at colours. Label images of large images are lazy.

    Raises
    ------
    CellsegError
        If the input, a label image or the table is not there, or is another; the message has the
        fix.
    """
    decided = done.facts["decided"]
    image = input_of(run, done, plugins)
    nuclei = _labels(done, "nuclei")
    table = done.table()
    if len(table) != done.cells:
        raise ImageError(
            f"{done.folder / 'cells.csv'} has {len(table):,} cells, and {done.cells:,} were found: "
            "it was changed. Run again with --fresh."
        )
    scaled, _ = view(image, decided["nuclear"], decided["membrane"], done.brightness)
    return Result(
        image=image,
        nuclei=nuclei,
        cells=_labels(done, "cells") if decided["expand_px"] else nuclei,
        table=table,
        scaled=scaled,
        nuclear_diameter=decided["nuclear_diameter_px"],
        facts=decided,
        warnings=done.warnings,
    )


def _labels(done: FinishedImage, kind: Kind) -> LazyLabels:
    labels = done.lazy_labels(kind)
    if labels.shape != done.shape:
        raise ImageError(
            f"the {kind} in {done.folder} are not of this image: they have another size. Run again "
            "with --fresh."
        )
    return labels
