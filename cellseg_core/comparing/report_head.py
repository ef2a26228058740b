"""What stands at the top of a report: what was compared with what, and what failed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from cellseg_core.pages.tables import DASH, Cell, Column, Table, listed, number

if TYPE_CHECKING:
    from cellseg_core.comparing.comparison import Comparison
    from cellseg_core.comparing.findings import Findings, MethodFindings

__all__ = ["Failure", "Head", "head"]

_DETAILS = 10  # images of one failure
_SET_ASIDE = ("segmenter", "features", "write")
_PACKAGES = ("numpy", "scipy", "scikit-image", "keras", "tensorflow", "torch", "jax", "numba")


@attrs.frozen
class Failure:
    """What went wrong: a sentence, and what with each image, of many with the first.

    Attributes
    ----------
    said
        The sentence.
    details
        Names of images, inputs or runs, and why.
    more
        How many others there are.
    """

    said: str
    details: tuple[tuple[str, str], ...] = ()
    more: int = 0

    @classmethod
    def of(cls, said: str, details: Iterable[tuple[str, str]]) -> Failure:
        """Return the failure with the first of its details."""
        every = tuple(details)
        return cls(said, every[:_DETAILS], max(0, len(every) - _DETAILS))


@attrs.frozen
class Head:
    """The top of a report.

    Attributes
    ----------
    title
        In one line.
    failures
        In plain words; empty if all went well.
    facts
        Names and values: images, channels, settings.
    settings
        All that the methods share.
    methods
        What each method is.
    """

    title: str
    failures: tuple[Failure, ...]
    facts: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    methods: Table


def head(comparison: Comparison) -> Head:
    """Return what stands at the top of the report."""
    found, record = comparison.findings, comparison.record
    names = [one.method.name for one in found.methods]
    images = list(found.images)
    where = images[0] if len(images) == 1 else f"{len(images):,} images"
    settings = {k: v for k, v in record["settings"].items() if k not in _SET_ASIDE}
    return Head(
        title=f"{listed(names)} on {where}",
        failures=tuple(_failures(found, record["repeats"])),
        facts=tuple(_facts(comparison)),
        settings=tuple((name.replace("_", " "), _value(value)) for name, value in settings.items()),
        methods=_methods(found.methods),
    )


def _failures(found: Findings, repeats: int) -> Iterable[Failure]:
    images = len(found.images)
    if len(found.unread) == 1:
        ((path, why),) = found.unread.items()
        reason = why if path in why else f"{path}: {why}"
        yield Failure(f"1 input could not be read, by any method: {reason}")
    elif found.unread:
        yield Failure.of(
            f"{len(found.unread):,} inputs could not be read, by any method.", found.unread.items()
        )
    left = [name for name in found.images if name not in found.done]
    if left and found.done:
        verb = "is" if len(left) == 1 else "are"
        yield Failure.of(
            f"{len(left):,} of the {images:,} images could be done by no method, and {verb} not in "
            "what follows.",
            (
                (f"{image}, {one.method.name}", one.errors[image])
                for image in left
                for one in found.methods
                if image in one.errors
            ),
        )
    for one in found.methods:
        name, errors = one.method.name, one.errors
        if one.failed is None:
            errors = {image: why for image, why in errors.items() if image in found.done}
        if one.failed is not None:
            yield Failure.of(
                f"{name} failed, and is not in what follows: {one.failed}", errors.items()
            )
        elif errors:
            yield Failure.of(
                f"{name} could not do {len(errors):,} of the {len(found.done):,} images. Its "
                "figures are of the others, so they do not compare with those of methods that did "
                "all.",
                errors.items(),
            )
        if one.repeats_failed:
            yield Failure.of(
                f"{len(one.repeats_failed):,} of the {repeats:,} runs of {name} failed. Its time "
                "and memory are of the others.",
                ((f"Failed run {n}", why) for n, why in enumerate(one.repeats_failed, 1)),
            )


def _facts(comparison: Comparison) -> Iterable[tuple[str, str]]:
    found, record = comparison.findings, comparison.record
    shapes = found.images
    size = sum(height * width for height, width in shapes.values()) / 1e6
    many = f"{len(shapes):,}: " if len(shapes) > 1 else ""
    yield "Images", f"{many}{listed(list(shapes))} ({number(size, 2)} megapixels)"
    yield "From", listed(record["inputs"])
    yield "Truth", record["truth"] or "none: nothing here says which method is right"
    decided = [image.image.facts["decided"] for one in found.methods for image in one.images]
    channels = list(dict.fromkeys(" + ".join(one["nuclear"]) for one in decided))
    if channels:
        yield "Nuclear channels", listed(channels)
    membrane = list(
        dict.fromkeys(" + ".join(one["membrane"]) for one in decided if one["membrane"])
    )
    if membrane:
        yield "Membrane channels", listed(membrane)
    sizes = sorted({image.pixel_size or 0 for image in comparison.images.values()})
    known = [f"{one:g} \u00b5m" if one else "not known" for one in sizes]
    yield "Pixel size", listed(known)
    yield "Shared settings", _shared(record["settings"])
    what = "nuclei" if record["kind"] == "nuclei" else "cells, as they were grown from nuclei"
    yield "What is compared", what
    yield "Runs of each method", f"{record['repeats']:,}"
    yield "When", f"{record['started']}, {number(record['seconds'], 0)} s in all"
    packages = [
        f"{name} {record['packages'][name]}" for name in _PACKAGES if name in record["packages"]
    ]
    yield (
        "Versions",
        f"cellseg {record['cellseg']}, Python {record['python']}, {', '.join(packages)}",
    )
    yield "Machine", record["platform"]


def _shared(settings: dict[str, Any]) -> str:
    """Return the settings that decide most, in words."""
    parts = [f"brightness {settings['brightness']}"]
    expand = settings["expand"]
    parts.append(f"nuclei grown by {expand} ({settings['expander']})" if expand else "not grown")
    parts.append(
        f"compensated ({settings['compensator']})" if settings["compensate"] else "not compensated"
    )
    parts.append(f"objects under {settings['min_size']} px removed")
    return ", ".join(parts)


def _methods(methods: Sequence[MethodFindings]) -> Table:
    return Table(
        "The methods: the same images, brightness, tiles, stitching, growing and measuring; only "
        "these differ.",
        "Method",
        (Column("Segmenter"), Column("Of package"), Column("Options"), Column("Says of itself")),
        tuple(
            (
                one.method.name,
                (
                    Cell(one.method.segmenter),
                    Cell(_origin(one)),
                    Cell(_pairs(one.method.options) or "as usual"),
                    Cell(_told(one)),
                ),
            )
            for one in methods
        ),
    )


def _origin(found: MethodFindings) -> str:
    record = {} if found.run is None else found.run.record
    origins = record.get("components", {}).get("segmenter", {})
    return str(next(iter(origins.values()), DASH))


def _told(found: MethodFindings) -> str:
    record = {} if found.run is None else found.run.record
    return _pairs(record.get("segmenter") or {}) or DASH


def _pairs(options: Any) -> str:
    """Return options as ``name value, name value``; tables within tables are flat."""
    parts = []
    for name, value in options.items():
        if isinstance(value, dict):
            parts.append(f"{name}: {_pairs(value)}")
        else:
            parts.append(f"{name} {_short(value)}")
    return ", ".join(parts)


def _short(value: Any) -> str:
    text = _value(value)
    # Of a checksum the beginning tells one from another; comparison.json has all of it.
    return text[:12] + "\u2026" if len(text) == 64 and text.isalnum() else text


def _value(value: Any) -> str:
    if value is None or value in ([], {}, ()):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
