"""The page on a whole run, made of the pages of its images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs

from cellseg_core.errors import OutputError
from cellseg_core.pages.tables import DASH, listed, number, whole

if TYPE_CHECKING:
    from cellseg_core.finished_run import FinishedRun

__all__ = ["Page", "head_of_run"]

_SUMMARY = (b'<script type="application/json" id="summary">', b"</script>")
_SECTION = (b"<!-- section -->", b"<!-- end of section -->")


@attrs.frozen
class Page:
    """The page of an image: where it is, what it says of itself, and where its section is."""

    path: Path
    summary: Mapping[str, Any]
    start: int
    size: int

    @classmethod
    def read(cls, path: Path) -> Page:
        """Return the page at a path.

        Raises
        ------
        OutputError
            If it is not there, or is not what this version writes.
        """
        try:
            content = path.read_bytes()
            _head, _, rest = content.partition(_SUMMARY[0])
            text, _, rest = rest.partition(_SUMMARY[1])
            summary = json.loads(text)
            start = content.index(_SECTION[0])
            return cls(path, summary, start, content.index(_SECTION[1], start) - start)
        except (OSError, ValueError) as error:
            raise OutputError(
                f"{path} is missing or damaged ({type(error).__name__}). Run the same command "
                "again with --fresh."
            ) from error

    def section(self) -> bytes:
        """Return the part of the page that shows the image."""
        with self.path.open("rb") as stream:
            stream.seek(self.start)
            return stream.read(self.size)

    @property
    def id(self) -> str:
        """Return the id of the section."""
        return str(self.summary["id"])


def head_of_run(
    run: FinishedRun, pages: Mapping[str, Page], shown: Sequence[str]
) -> dict[str, Any]:
    """Return what the page says besides its sections; ``shown`` are the images it holds."""
    record = run.record
    images = [
        {
            "name": name,
            "link": f"#{page.id}" if name in shown else f"{quote(name)}/report.html",
            "here": name in shown,
            "thumbnail": page.summary["thumbnail"],
            "facts": page.summary["facts"],
            "notes": run.images[name].warnings,
            "more": [one for one in run.images[name].warnings if one not in page.summary["notes"]],
            "seconds": _seconds(run, name),
        }
        for name, page in pages.items()
    ]
    failed = [
        (image["name"], image["source"], image["error"])
        for image in record["images"]
        if image["state"] == "failed"
    ]
    done = len(images)
    title = f"{done:,} image{'' if done == 1 else 's'}"
    return {
        "title": images[0]["name"] if done == 1 and not failed else title,
        "images": images,
        "failed": failed,
        "cells": whole(record["cells"]),
        "warned": sum(bool(image["notes"]) for image in images),
        "elsewhere": done - len(shown),
        "run_facts": list(_run_facts(record)),
        "settings": [
            (name.replace("_", " "), _value(value)) for name, value in record["settings"].items()
        ],
        "versions": [*record["packages"].items()],
    }


def _seconds(run: FinishedRun, name: str) -> str:
    laps = run.images[name].facts["decided"].get("seconds", {})
    return number(sum(laps.values()), 1) if laps else DASH


def _run_facts(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Inputs", listed(record["inputs"])
    yield "Started", f"{record['started']}, {number(record['seconds'], 1)} s in all"
    for kind, chosen in record["components"].items():
        if chosen:
            yield kind.capitalize(), ", ".join(f"{name} ({of})" for name, of in chosen.items())
    if record["segmenter"]:
        yield "Segmenter says", _value(record["segmenter"])
    if record["brightness"]:
        levels = record["brightness"]["levels"].items()
        said = ", ".join(f"{name} {level:g}" for name, level in levels)
        yield "White at", f"{said} (from {record['brightness']['source']})"
    yield "Version", f"cellseg {record['cellseg']}, Python {record['python']}"
    yield "Machine", record["platform"]


def _value(value: Any) -> str:
    """Return a setting as text.

    >>> _value(None), _value(True), _value(["a", "b"]), _value({"a": {"b": 1}})
    ('–', 'yes', 'a, b', 'a: b 1')
    """
    if value is None or value in ([], {}, "", ()):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value))
    if isinstance(value, dict):
        return ", ".join(
            f"{name}: {_value(inner)}" if isinstance(inner, dict) else f"{name} {_value(inner)}"
            for name, inner in value.items()
        )
    return str(value)
