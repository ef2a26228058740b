"""The report of a finished run, made again: pages that are missing, and the page on the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from cellseg_core.errors import CellsegError, OutputError
from cellseg_core.finished_result import config_of, result_of
from cellseg_core.finished_run import FinishedImage, FinishedRun
from cellseg_core.plugins import Plugins, load_plugins
from cellseg_core.protocols import Combiner, Writer
from cellseg_core.reporting import Reporter, Silent
from cellseg_core.store import Store, atomic_write, output_error

__all__ = ["Rebuilt", "rebuild_report"]

_PAGE = "report.html"


@attrs.frozen
class Rebuilt:
    """What became of a report.

    Attributes
    ----------
    files
        The pages on the whole run; none where no image has a page.
    failed
        Why the page of an image could not be made, by the image's name.
    """

    files: tuple[Path, ...]
    failed: Mapping[str, str]


def rebuild_report(
    out: Path,
    options: Mapping[str, Any] | None = None,
    *,
    fresh: bool = False,
    plugins: Plugins | None = None,
    reporter: Reporter | None = None,
) -> Rebuilt:
    """Make the report of the run in ``out`` of the pages of its images, and these where missing.

    An image whose page cannot be made is listed in the report with the reason. An earlier page of
    it stays. Where no page could be made at all, the report stays as it was.

    Parameters
    ----------
    options
        Options of the writer ``report``, beside those of the run. With any, all pages are made
        anew.
    fresh
        Whether all pages are made anew.

    Raises
    ------
    ImageError
        If ``out`` is not the folder of a run that is over.
    ConfigurationError, ComponentError
        If an option makes no sense.
    OutputError
        If a page cannot be written, or another process is at work in ``out``.
    """
    FinishedRun.read(out).choose()
    plugins, reporter = plugins or load_plugins(), reporter or Silent()
    with Store.open(out) as store:
        run = FinishedRun.read(out)
        settings = {**config_of(run).options("writer", "report", plugins), **(options or {})}
        writer = plugins.build("writer", "report", settings)
        anew = fresh or bool(options)
        missing = [one for one in run.images.values() if anew or not _page_of(one).is_file()]
        failed = _make_pages(run, missing, writer, store, plugins, reporter)
        if len(failed) == len(run.images) or not isinstance(writer, Combiner):
            return Rebuilt((), failed)
        told = FinishedRun.of(out, _with_failures(run, failed))
        return Rebuilt(tuple(writer.combine(told)), failed)


def _page_of(done: FinishedImage) -> Path:
    return done.folder / _PAGE


def _make_pages(
    run: FinishedRun,
    missing: list[FinishedImage],
    writer: Writer,
    store: Store,
    plugins: Plugins,
    reporter: Reporter,
) -> dict[str, str]:
    """Make the pages of some images, and return why others could not be made."""
    failed: dict[str, str] = {}
    sizes: dict[str, dict[str, int]] = {}
    try:
        for number, done in enumerate(missing):
            reporter.images(number, len(missing))
            reporter.step(done.name, "write", 0, 1)
            try:
                result = result_of(run, done, plugins)
                with store.image_folder() as folder:
                    _write(writer, result, folder, done)
                    sizes[done.name] = store.add(done.name, folder)
            except OutputError:
                raise
            except CellsegError as error:
                failed[done.name] = str(error).removeprefix(f"{done.name}: ")
                reporter.warn(f"FAILED {done.name}: {failed[done.name]}")
        reporter.images(len(missing), len(missing))
    finally:
        if sizes:
            atomic_write(run.out / "run.json", json.dumps(_with_files(run, sizes), indent=1))
    return failed


def _write(writer: Writer, result: Any, folder: Path, done: FinishedImage) -> None:
    try:
        writer.write(result, folder)
    except OutputError:
        raise
    except OSError as error:
        raise output_error(_page_of(done), error) from error


def _with_files(run: FinishedRun, sizes: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return the record with further files of some images."""
    images = []
    for image in run.record["images"]:
        if image["state"] != "failed" and image["name"] in sizes:
            facts = image["facts"]
            files = dict(sorted({**facts["files"], **sizes[image["name"]]}.items()))
            image = {**image, "facts": {**facts, "files": files}}
        images.append(image)
    return {**run.record, "images": images}


def _with_failures(run: FinishedRun, failed: Mapping[str, str]) -> dict[str, Any]:
    """Return the record as the report is to tell it."""
    images = []
    for image in run.record["images"]:
        name = image["name"]
        if image["state"] != "failed" and name in failed:
            if _page_of(run.images[name]).is_file():
                note = f"this is an earlier page; no new one could be made: {failed[name]}"
                image = {**image, "warnings": [*image["warnings"], note]}
            else:
                reason = f"its page could not be made: {failed[name]}"
                image = {**image, "state": "failed", "error": reason}
        images.append(image)
    cells = sum(image["cells"] for image in images if image["state"] != "failed")
    return {**run.record, "images": images, "cells": cells}
