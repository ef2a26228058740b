"""A run that is done again from its record: what it asked for, and whether all is as it was."""

from __future__ import annotations

import filecmp
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cellseg_core.address import Location, as_location
from cellseg_core.component import Kind
from cellseg_core.config import RunConfig
from cellseg_core.config_files import load_record
from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.finished_run import FinishedRun
from cellseg_core.inputs import Job, files_of
from cellseg_core.provenance import environment
from cellseg_core.store import fingerprint

__all__ = ["RecordedRun"]

_TABLES = ("cells.", "nuclei.")
_SHOWN = 5


@attrs.frozen(eq=False)
class RecordedRun:
    """What ``run.json`` tells of a run that is to be done again.

    Attributes
    ----------
    path
        The file.
    run
        What is in it.
    """

    path: Path
    run: FinishedRun

    @classmethod
    def read(cls, path: Path) -> RecordedRun:
        """Return what a record tells.

        Raises
        ------
        ConfigurationError
            If it cannot be read, or is no record of a run.
        """
        try:
            return cls(path, FinishedRun.of(path.parent, load_record(path)))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(
                f"{path} is no record of a run, or is damaged ({type(error).__name__}: {error}). "
                "Give the run.json that `cellseg run` wrote, or a TOML file of `cellseg init`."
            ) from error

    @property
    def inputs(self) -> list[Location]:
        """Return the inputs of the run."""
        return [as_location(one) for one in self.run.record["inputs"]]

    @property
    def config(self) -> RunConfig:
        """Return the settings of the run."""
        return RunConfig.from_mapping(self.run.record["settings"], str(self.path))

    def same_inputs(self, inputs: Sequence[str | Location]) -> bool:
        """Tell whether these are the inputs of the run."""
        given = [str(as_location(one).absolute()) for one in inputs]
        return given == [str(one) for one in self.inputs]

    def check_segmenter(
        self,
        config: RunConfig,
        facts: Mapping[str, Any],
        components: Mapping[Kind, Mapping[str, str]],
    ) -> list[str]:
        """Return what is not as it was, in sentences; other settings than those of the run may be.

        Raises
        ------
        ConfigurationError
            If the segmenter has other weights, and none were asked for.
        """
        record, now = self.run.record, environment()
        changed = list(_differences(record.get("packages", {}), now["packages"]))
        changed += _differences({"python": record.get("python")}, now)
        origins = {kind: dict(named) for kind, named in components.items()}
        for kind, named in record["components"].items():
            # Those that come with cellseg have its version, which is among the packages.
            foreign = {name: of for name, of in named.items() if "cellseg-core" not in of}
            changed += _differences(foreign, origins.get(kind, {}))
        told = []
        if changed:
            told.append(f"versions are not those of {self.path}: {_some(changed)}.")
        if (config.segmenter, config.set) != (self.config.segmenter, self.config.set):
            return told
        known, found = _flat(record["segmenter"]), _flat(facts)
        differing = [
            (key, text)
            for key, text in _keyed_differences({**dict.fromkeys(found), **known}, found)
            if "packages" not in key
        ]
        weights = [text for key, text in differing if "weights" in key or "sha256" in key]
        if weights:
            raise ConfigurationError(
                f"{self.path} cannot be repeated, since {config.segmenter!r} has other weights: "
                f"{_some(weights)}. Put those of the run back (`cellseg weights where` tells where "
                "they lie), or name weights with --set segmenter.weights=..., and it is another "
                "run with its settings."
            )
        if differing:
            told.append(
                f"{config.segmenter!r} does not work as in {self.path}: "
                f"{_some([text for _, text in differing])}."
            )
        return told

    def check_images(self, jobs: Sequence[Job], failed: Sequence[str]) -> list[str]:
        """Return what cannot be told of the images of the run, in sentences.

        ``failed`` are the sources of those that cannot be read now.

        Raises
        ------
        ConfigurationError
            If they are not those of the run: one lacks, is new, or has another content.
        """
        found = {job.image.name: job for job in jobs}
        of_run = self.run.images
        failed_then = {
            text
            for one in self.run.record["images"]
            if one["state"] == "failed"
            for text in (one["name"], one["source"])
        }
        wrong = [f"{name} lacks" for name in of_run if name not in found]
        wrong += [
            f"{name} was not there"
            for name, job in found.items()
            if name not in of_run and not {name, str(job.source.path)} & failed_then
        ]
        unsure = []
        for name in of_run.keys() & found.keys():
            recorded, job = of_run[name].facts["input"], found[name]
            try:
                changes, maybe = _changes(recorded["files"], files_of(job))
            except ImageError:
                continue  # the run tells it of this image
            wrong += [f"{name} has another content ({one})" for one in changes]
            unsure += [f"{name} ({one})" for one in maybe]
            for what, there in (
                ("channels", list(job.image.channels)),
                ("pixel_size_um", job.image.pixel_size),
                ("shape", list(job.image.shape)),
            ):
                if there != recorded[what]:
                    wrong.append(f"{name} has another {what}: {recorded[what]} then, {there} now")
        if wrong:
            unread = f" Not readable: {', '.join(failed)}." if failed else ""
            raise ConfigurationError(
                f"{self.path} cannot be repeated, since its images are not those of the run: "
                f"{_some(sorted(wrong))}.{unread} Put them back as they were, or name the images "
                "after `run`, and its settings are used for these."
            )
        if unsure:
            note = "whether folders hold what they held cannot be told, since times in them changed"
            return [f"{note}, as after copying: {_some(sorted(unsure))}."]
        return []

    def check_results(self, out: Path) -> tuple[list[str], int]:
        """Compare the tables and label images in ``out`` with those beside the record, if there.

        Returns
        -------
        list of str, int
            The files that are not the same to the last byte, and how many were compared.
        """
        differing, compared = [], 0
        for done in self.run.images.values():
            for file in done.facts["files"]:
                then, now = done.folder / file, out / done.name / file
                if not file.startswith(_TABLES) or not (then.is_file() and now.is_file()):
                    continue
                compared += 1
                if not filecmp.cmp(then, now, shallow=False):
                    differing.append(f"{done.name}/{file}")
        return differing, compared


def _flat(facts: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        key = f"{above}{name}"
        flat |= _flat(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    return flat


def _keyed_differences(
    then: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield what is not as it was, of what was known then, and how it was and is."""
    for key, value in then.items():
        there = now.get(key)
        if there != value:
            was, became = ("nothing" if one is None else one for one in (value, there))
            yield key, f"{key} {was} then, {became} now"


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    return (text for _, text in _keyed_differences(then, now))


def _changes(then: Sequence[Any], files: set[Location]) -> tuple[list[str], list[str]]:
    """Return which files of an image are not as they were, and of which it cannot be told.

    ``then`` is what :func:`~cellseg_core.store.fingerprint` returned; times do not count. Those of
    the files in a folder are part of what is known of it.
    """
    before = {str(row[0]): (row[1], row[-1]) for row in then}
    after = {str(row[0]): (row[1], row[-1]) for row in fingerprint(files)}
    folders = {"/".join(one.parts[-2:]) for one in files if isinstance(one, Path) and one.is_dir()}
    if len(before) != len(after):
        return [f"{len(before)} files then, {len(after)} now"], []
    changed: list[str] = []
    unsure: list[str] = []
    pairs = zip(sorted(before.items()), sorted(after.items()), strict=True)
    # The same files in another folder, or under other names, are the same.
    for (was, known), (name, there) in pairs:
        if known != there:
            alike = name in folders and known[0] == there[0]
            (unsure if alike else changed).append(name if name == was else f"{was}, now {name}")
    return changed, unsure


def _some(texts: Sequence[str]) -> str:
    more = len(texts) - _SHOWN
    return "; ".join(texts[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
