"""The pages: what they say, that they need nothing else, and that names are only text."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import attrs
import numpy as np
import pytest

from cellseg_core.errors import ChannelError, ConfigurationError, OutputError
from cellseg_core.finished_run import FinishedRun
from cellseg_core.result import Result
from cellseg_core.testing import WriterTests
from cellseg_io.report import ReportWriter

Make = Callable[..., Result]
HOSTILE = ('</script><script>alert("1")</script>', "<img src=x onerror=alert(1)>", "=SUM(A1)\u2028")
_VOID = {"meta", "link", "img", "br", "input"}


class TestReport(WriterTests):
    def make(self) -> ReportWriter:
        return ReportWriter()


class Page(HTMLParser):
    """A parsed page: its tags with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(self.html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(result: Result, folder: Path, **options: object) -> Page:
    (path,) = ReportWriter(**options).write(result, folder)
    return Page(path)


def run_of(out: Path, results: list[Result], failed: int = 0, **options: object) -> Path:
    """Write the pages of some images and the one on all."""
    images = []
    for result in results:
        name = result.image.name
        (out / name).mkdir()
        ReportWriter(**options).write(result, out / name)
        brightness = {"levels": {"DAPI": 9.0}, "factor": 1.0, "source": "all"}
        images.append(
            {
                "name": name,
                "source": f"/data/{name}.tif",
                "state": "done",
                "cells": len(result.table),
                "error": None,
                "warnings": [*result.warnings, "fcs: a name was changed"],
                "facts": {
                    "decided": {"brightness": brightness, "seconds": {"segment": 2.25}},
                    "input": {
                        "shape": list(result.image.shape),
                        "channels": list(result.image.channels),
                        "position": attrs.asdict(result.image.position),
                    },
                },
            }
        )
    images += [
        {
            "name": f"broken {n}",
            "source": f"/data/<b>{n}</b>",
            "state": "failed",
            "error": "the file is cut",
        }
        for n in range(failed)
    ]
    record = {
        "cellseg": "1.2",
        "python": "3.13",
        "platform": "Linux",
        "packages": {"numpy": "9.9"},
        "started": "2026-01-01T00:00:00",
        "seconds": 3.5,
        "inputs": ["/data"],
        "settings": {"nuclear": ["DAPI"], "expand": 2, "set": {}},
        "components": {"segmenter": {"watershed": "cellseg-core 1.2"}},
        "segmenter": {"weights": "abc"},
        "brightness": None,
        "cells": sum(len(result.table) for result in results),
        "images": images,
    }
    (path,) = ReportWriter(**options).combine(FinishedRun.of(out, record))
    return path


def test_a_page_shows_numbers_pictures_plots_and_maps(make: Make, tmp_path: Path) -> None:
    one = make(warnings=("the nuclear image is dim: expose longer",))
    page = page_of(one, tmp_path)
    assert f"{len(one.table):,}" in page.text
    assert "1 thing to look at" in page.text
    assert "The nuclear image is dim: expose longer" in page.text
    for title in ("Size and shape", "Markers", "Seams between tiles", "Bleed between neighbours"):
        assert title in page.text
    for name in one.image.channels:
        assert f"Map of {name}, from" in page.html
    assert page.html.count('class="bars"') == 4 + len(one.image.channels)
    assert "Signal that bleeds over from neighbouring cells was not taken out" in page.text


def test_without_anything_to_look_at_it_says_so_and_what_was_checked(make, tmp_path) -> None:
    page = page_of(make(), tmp_path)
    assert "Nothing stood out" in page.text
    assert "over 1.5 times as wide as in the sharpest part" in page.text


def test_the_figures_are_right(make: Make, tmp_path: Path) -> None:
    one = make()
    page = page_of(one, tmp_path)
    area = 200 * 260 * 0.5**2 / 1e6
    assert f"{len(one.table) / area:,.0f} per mm²" in page.text
    share = np.count_nonzero(np.isin(one.nuclei, one.table.labels) & (one.nuclei > 0)) / (200 * 260)
    assert f"{100 * share:.1f} %" in page.text
    median = np.median(one.table.intensities[:, 1])
    row = page.html.split("<tbody>")[-1].split('<th scope="row">CD3</th>')[1].split("</tr>")[0]
    assert f"{median:.3g}" in row or f"{median:,.0f}" in row


def test_every_picture_has_a_text_and_every_head_of_a_table_its_scope(make, tmp_path) -> None:
    page = page_of(make(compensated=True), tmp_path)
    assert page.all("img")
    assert all(one.get("alt") for one in page.all("img"))
    assert all(one.get("scope") in ("row", "col") for one in page.all("th"))
    assert page.all("html") == [{"lang": "en"}]
    assert all(one["aria-label"] for one in page.all("canvas"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_nothing_is_loaded_from_elsewhere_and_only_our_script_may_run(make, tmp_path) -> None:
    page = page_of(make(compensated=True), tmp_path)
    (policy,) = (one["content"] for one in page.all("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "script-src 'sha256-" in policy
    for name in ("src", "href", "action", "data", "poster"):
        for _, attributes in page.tags:
            assert attributes.get(name, "data:").startswith(("data:", "#"))
    assert not re.search(r"url\(|@import|https?:", page.html)


def test_hostile_names_are_text(make: Make, tmp_path: Path) -> None:
    one = make(name=HOSTILE[0], channels=HOSTILE, compensated=True, warnings=(HOSTILE[1],))
    page = page_of(one, tmp_path, pairs=(f"{HOSTILE[1]}:{HOSTILE[2].strip()}",))
    assert [one for one in page.all("script") if one.get("type") is None] == [{}]
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    for name in (HOSTILE[0], HOSTILE[1]):
        assert name in page.text
    (summary,) = re.findall(r'id="summary">(.*?)</script>', page.html)
    assert json.loads(summary)["notes"] == [HOSTILE[1]]
    assert "\u2028" not in page.html


def test_chosen_pairs_are_shown_before_and_after(make: Make, tmp_path: Path) -> None:
    page = page_of(make(compensated=True), tmp_path, pairs="CD3:cd20")
    assert re.search(r"CD3 against CD20, before compensation: [\d,]+ double positive", page.html)
    assert re.search(r"CD3 against CD20, after compensation: [\d,]+ double positive", page.html)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"pairs": "CD3"}, ConfigurationError, "pairs of channels such as CD3:CD20"),
        ({"pairs": "CD3:CD21x"}, ChannelError, "CD21x"),
        ({"pairs": 5}, ConfigurationError, "pairs of channels"),
        ({"pairs": ["CD3:CD20", "CD3:"]}, ConfigurationError, "pairs of channels"),
        ({"pairs": "CD3:CD20:DAPI"}, ConfigurationError, "pairs of channels"),
        ({"megabytes": 0}, ConfigurationError, r"report\.megabytes is a number of megabytes over"),
        ({"image_megabytes": "x"}, ConfigurationError, r"report\.image_megabytes is a number"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, tmp_path, options, error, told) -> None:
    with pytest.raises(error, match=told):
        page_of(make(), tmp_path, **options)


def test_a_large_image_says_that_it_is_shown_coarser(make: Make, tmp_path: Path) -> None:
    page = page_of(make(), tmp_path, image_megabytes=0.01)
    assert re.search(r"one pixel here stands for (\d+) \S \1 of the image", page.text)
    assert "one pixel here stands for" not in page_of(make(), tmp_path).text


def test_odd_images_are_no_error(make: Make, tmp_path: Path) -> None:
    one = make()
    nan = np.full_like(one.table.intensities, np.nan)
    table = attrs.evolve(one.table, intensities=nan, uncompensated=nan)
    page_of(attrs.evolve(one, table=table), tmp_path)
    page = page_of(make(empty=True), tmp_path)
    assert "no cell was found" in page.text
    thin = WriterTests().result()
    page_of(attrs.evolve(thin, cells=thin.nuclei, nuclear_diameter=500.0), tmp_path)


def test_the_page_on_a_run_holds_its_images_its_failures_and_its_settings(make, tmp_path) -> None:
    path = run_of(tmp_path, [make("a"), make("b c", warnings=("look at this",))], failed=1)
    assert path == tmp_path / "report.html"
    page = Page(path)
    assert "1 input failed" in page.text
    assert "/data/<b>0</b>" in page.text
    assert "the file is cut" in page.text
    assert len(page.all("canvas")) == 2
    links = [one["href"] for one in page.all("a")]
    for one in page.all("article"):
        assert f"#{one['id']}" in links
    for text in ("watershed (cellseg-core 1.2)", "cellseg 1.2, Python 3.13", "numpy", "2.2"):
        assert text in page.text
    assert "fcs: a name was changed" in page.text, "what other writers warn of"
    assert "Look at this" in page.text
    assert [one for one in page.all("script") if one.get("type") is None] == [{}]


def test_images_beyond_the_budget_are_linked(make: Make, tmp_path: Path) -> None:
    results = [make("one"), make("t/wo #2?".replace("/", "_")), make("three")]
    page = Page(run_of(tmp_path, results, megabytes=0.3))
    shown = len(page.all("article"))
    assert 1 <= shown < 3
    links = [one["href"] for one in page.all("a") if one["href"].endswith("report.html")]
    assert len(links) == 3 - shown
    assert "t_wo%20%232%3F/report.html" in links
    assert f"{3 - shown} images are not in this file" in page.text


def test_a_page_that_is_gone_or_damaged_is_told_with_what_to_do(make, tmp_path) -> None:
    path = run_of(tmp_path, [make("a")])
    before = path.read_bytes()
    for damage in (b"nothing", None):
        if damage is None:
            (tmp_path / "a" / "report.html").unlink()
        else:
            (tmp_path / "a" / "report.html").write_bytes(damage)
        record = {"images": [], "out": None}
        run = FinishedRun(tmp_path, record, {"a": type("Image", (), {"folder": tmp_path / "a"})()})
        with pytest.raises(OutputError, match=r"missing or damaged.*--fresh"):
            ReportWriter().combine(run)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".cellseg-*"))
