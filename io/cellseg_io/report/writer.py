"""The writer of the report: a page for each image, and one page on the whole run."""

from __future__ import annotations

import base64
import hashlib
import math
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from cellseg_core.errors import ConfigurationError
from cellseg_core.pages.template import template_of
from cellseg_core.store import atomic_binary_file
from cellseg_io.report.joined import Page, head_of_run
from cellseg_io.report.section import make_section, safe_json

if TYPE_CHECKING:
    from cellseg_core.finished_run import FinishedRun
    from cellseg_core.result import Result

__all__ = ["ReportWriter"]

_FILE = "report.html"


def _megabytes(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (good and 0 < value < math.inf):
        raise ConfigurationError(
            f"report.{attribute.name} is a number of megabytes over 0; got {value!r}"
        )


def _pairs(value: Any) -> tuple[tuple[str, str], ...]:
    """Return ``(("CD3", "CD20"), ...)`` from ``"CD3:CD20,..."``, or from a list of such texts."""
    parts = value.split(",") if isinstance(value, str) else value
    pairs = []
    for part in parts if isinstance(parts, (list, tuple)) else [parts]:
        first, _, second = part.partition(":") if isinstance(part, str) else ("", "", "")
        first, second = first.strip(), second.strip()
        if not (first and second) or ":" in second:
            raise ConfigurationError(
                f"report.pairs are pairs of channels such as CD3:CD20,CD4:CD8; got {value!r}"
            )
        pairs.append((first, second))
    return tuple(pairs)


@attrs.frozen
class ReportWriter:
    """Writes ``report.html``: pictures to zoom into, plots, maps, and what to look at.

    One page for each image, and one on the whole run that holds the pages of its images. They
    need no network and no other file.

    Parameters
    ----------
    pairs
        Pairs of channels that are shown before and after compensation, ``CD3:CD20,CD4:CD8``.
        Default: those that lost most double positive cells.
    image_megabytes
        About what the pictures of one image may take; a larger image is shown coarser.
    megabytes
        What the page on the run may take; further images are in their own pages, to which it links.
    """

    pairs: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_pairs)
    image_megabytes: float = attrs.field(default=24, validator=_megabytes)
    megabytes: float = attrs.field(default=64, validator=_megabytes)

    def write(self, result: Result, folder: Path) -> list[Path]:
        """Write the page of an image and return its path.

        Raises
        ------
        ChannelError
            If a channel of ``pairs`` is not in the image.
        """
        image = result.image
        section = make_section(
            result,
            budget=int(self.image_megabytes * 1e6),
            pairs=[(image.index(one), image.index(other)) for one, other in self.pairs],
        )
        html = template_of("cellseg_io.report", "image.html.j2").render(
            section=section, summary=safe_json(section.summary), **_script()
        )
        path = folder / _FILE
        path.write_bytes(html.encode("utf-8", "backslashreplace"))
        return [path]

    def combine(self, run: FinishedRun) -> list[Path]:
        """Write the page on all images and return its path."""
        from markupsafe import Markup

        template = template_of("cellseg_io.report", "run.html.j2")
        pages = {name: Page.read(image.folder / _FILE) for name, image in run.images.items()}
        left = self.megabytes * 1e6
        shown: list[str] = []
        for name, page in pages.items():
            left -= page.size
            if left >= 0 or not shown:
                shown.append(name)
        mark = "<!-- sections of images -->"
        html = template.render(
            **head_of_run(run, pages, shown),
            sections=Markup(mark),  # noqa: S704 - our own text
            **_script(),
        )
        before, after = html.encode("utf-8", "backslashreplace").split(mark.encode())
        path = run.out / _FILE
        with atomic_binary_file(path) as stream:
            stream.write(before)
            for name in shown:
                stream.write(pages[name].section())
            stream.write(after)
        return [path]


def _script() -> dict[str, Any]:
    """Return the viewer's program, and what allows it alone to run."""
    from markupsafe import Markup

    script = files("cellseg_io.report").joinpath("viewer.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return {
        "script": Markup(script),  # noqa: S704 - our own file
        "policy": f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'",
    }
