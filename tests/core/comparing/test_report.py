"""The report of a comparison: what it says, and that it is one safe and readable file."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import attrs
import numpy as np
import pytest

from cellseg_core.comparing.comparison import Comparison
from cellseg_core.comparing.cost import Cost, Spread
from cellseg_core.comparing.downstream import Correlation, DoublePositives
from cellseg_core.comparing.gates import parse_gates
from cellseg_core.comparing.gating import Thresholds
from cellseg_core.comparing.image_table import per_image
from cellseg_core.comparing.report import render, write_report
from cellseg_core.comparing.trial import Trial

Make = Callable[..., Comparison]

SHAPE = (90, 110)
HOSTILE = '<script>alert("1")</script>\'&amp;{{ 7*7 }}'
_VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """A parsed page: its tags with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
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
        if self.open[-1:] != ["style"]:
            self.text += data

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]


def lattice(offset: int = 0, shape: tuple[int, int] = SHAPE, step: int = 16) -> np.ndarray:
    labels = np.zeros(shape, np.int32)
    for y in range(4, shape[0] - 10, step):
        for x in range(4 + offset, shape[1] - 10, step):
            labels[y : y + 9, x : x + 9] = labels.max() + 1
    return labels


def without(labels: np.ndarray, ids: int) -> np.ndarray:
    return np.where(labels <= ids, 0, labels)


def cells(html: str, table: str, method: str) -> list[tuple[str, str]]:
    """Return (class, text) of each cell in the row of a method of the table with this caption."""
    tables = (part.split("</table>")[0] for part in html.split("<table")[1:])
    body = next(part for part in tables if table in part)
    row = re.search(rf'<th scope="row">{re.escape(method)}</th>(.*?)</tr>', body, re.DOTALL)
    assert row is not None
    found = re.findall(r"<td([^>]*)>(.*?)</td>", row[1], re.DOTALL)
    return [
        (
            (re.search(r'class="([^"]*)"', head) or ["", ""])[1],
            " ".join(re.sub(r"<[^>]*>", "", text).replace("&nbsp;", " ").split()),
        )
        for head, text in found
    ]


def test_with_truth_it_has_every_section_and_names_every_method_and_image(compared: Make) -> None:
    truth = {"one": lattice(), "two": lattice(3)}
    made = compared(
        {"maskrcnn": {k: without(v, 3) for k, v in truth.items()}, "other": truth}, truth
    )
    path = write_report(made)
    assert path == made.out / "report.html"
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    sections = ["what", "accuracy", "cost", "quality", "agreement", "gallery", "images"]
    assert {*sections, "definitions"} <= set(page.ids())
    assert "downstream" not in page.ids()
    for name in ("maskrcnn", "other", "one", "two", "comparison.json", "images.csv"):
        assert name in page.text
    assert "other is best (1.000" in page.text
    assert "The default segmenter (maskrcnn) is not the best in mAP" in page.text
    whys = ["Where the methods disagree most", "Drawn at random"]
    assert [why for why in whys if why in page.text]
    assert "F1 1.00" in page.text


def test_the_best_is_marked_with_a_sign_and_in_words(compared: Make) -> None:
    truth = {"one": lattice(), "two": lattice(3)}
    html = render(compared({"a": {k: without(v, 3) for k, v in truth.items()}, "b": truth}, truth))
    worse, best = (cells(html, "the mean over images, so", name) for name in ("a", "b"))
    assert best[0] == ("best", "1.000 \u2605 best 1.000 to 1.000")
    assert worse[0][0] == ""
    # Precision is 1 for both: a tie.
    assert worse[3][0] == best[3][0] == "best"
    # Nothing missed is the best.
    assert best[11] == ("best", "0 \u2605 best")


def test_hostile_names_are_text(compared: Make) -> None:
    image = HOSTILE
    trials = {"broken": [Trial(failed=HOSTILE)]}
    made = compared(
        {"a": {image: lattice()}, "b": {image: lattice(2)}, "broken": {}},
        {image: lattice()},
        trials=trials,
        inputs=[HOSTILE, "caf\udce9"],
    )
    gates = parse_gates("[gates]\n'<img src=x onerror=alert(1)>' = ['<i>CD3</i>+']")
    made = attrs.evolve(
        made,
        findings=attrs.evolve(
            made.findings,
            gates=gates,
            thresholds=Thresholds(values={"<i>CD3</i>": None}, sources={"<i>CD3</i>": "no values"}),
            correlations=[
                Correlation.of(gates.gates[0].name, ("a", "b"), "images", [1, 2, 3], [2, 4, 7])
            ],
        ),
    )
    page = Page(write_report(made).read_text(encoding="utf-8"))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "iframe", "object", "embed", "i", "form", "base"}
    assert not [name for _, found in page.tags for name in found if name.startswith("on")]
    assert page.text.count(HOSTILE) >= 5
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "<i>CD3</i>" in page.text
    assert "49" not in page.text.replace(HOSTILE, "")[:2000]
    assert "caf\\udce9" in page.text


def test_nothing_outside_the_file_is_asked_for(compared: Make) -> None:
    html = render(compared({"a": {"i": lattice()}, "b": {"i": lattice(2)}}, {"i": lattice(1)}))
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    for _, attributes in Page(html).tags:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:"))


def test_it_is_made_for_all_readers(compared: Make) -> None:
    html = render(compared({"a": {"i": lattice()}, "b": {"i": lattice(2)}}, {"i": lattice(1)}))
    page = Page(html)
    assert ("html", {"lang": "en"}) in page.tags
    ids = page.ids()
    assert len(ids) == len(set(ids))
    links = [found["href"][1:] for tag, found in page.tags if tag == "a"]
    assert links
    assert set(links) <= set(ids)
    assert html.count("<table") == html.count("<caption>")
    assert all("scope" in found for tag, found in page.tags if tag == "th")
    pictures = [found for tag, found in page.tags if tag == "img"]
    assert pictures
    assert all(found["alt"] for found in pictures)
    charts = [found for _, found in page.tags if found.get("class") == "chart"]
    assert all(found["role"] == "img" and found["aria-label"] for found in charts)


def test_a_failed_method_is_at_the_top_with_its_reason_and_a_partial_one_has_no_mark(
    compared: Make,
) -> None:
    truth = {"one": lattice(), "two": lattice(3)}
    trials = {
        "broken": [Trial(failed="the weights are not there")],
        "partial": [
            Trial(
                errors={"two": "it ran out of memory"}, startup=1.0, segment=1.0, megapixels=0.01
            ),
        ],
    }
    made = compared(
        {
            "whole": {k: without(v, 3) for k, v in truth.items()},
            "second": {k: without(v, 6) for k, v in truth.items()},
            "partial": {"one": truth["one"]},
            "broken": {},
        },
        truth,
        trials=trials,
    )
    html = render(made)
    text = Page(html).text
    assert text.index("the weights are not there") < text.index("What was compared")
    assert "broken failed" in text
    assert "partial could not do 1 of the 2 images" in text
    assert "it ran out of memory" in text
    assert "partial is best" not in text
    assert {mark for mark, _ in cells(html, "the mean over images", "partial\u00a0\u2020")} == {""}
    assert cells(html, "the mean over images, so", "whole")[0][0] == "best"
    assert "Not all is known of partial" in text
    # The partial one fits the stain best, and is not marked for it.
    quality = {name: cells(html, "Fit of nuclei", name) for name in ("whole", "second")}
    fit = cells(html, "Fit of nuclei", "partial\u00a0\u2020")
    assert fit[0][1] > max(row[0][1] for row in quality.values())
    assert {mark for mark, _ in fit} == {""}
    assert "best" in {mark for mark, _ in quality["whole"]}
    assert "partial did 1 of 2 images and is not ranked." in text
    # In the curve of AP, that of sizes, and of speed.
    assert html.count(">partial (1 of 2 images)</text>") == 3


def test_without_truth_there_is_no_accuracy(compared: Make) -> None:
    html = render(compared({"a": {"i": lattice()}, "b": {"i": lattice(2)}}))
    page = Page(html)
    assert "accuracy" not in page.ids()
    assert "There is no truth here" in page.text
    assert "mAP" not in page.text
    assert "without a match" in page.text


@pytest.mark.parametrize("truth", [False, True])
@pytest.mark.parametrize("methods", [1, 2])
def test_nothing_found_is_dashes(compared: Make, methods: int, *, truth: bool) -> None:
    nothing = np.zeros(SHAPE, np.int32)
    names = ["a", "b"][:methods]
    made = compared({name: {"i": nothing} for name in names}, {"i": nothing} if truth else None)
    text = Page(render(made)).text
    assert "\u2013" in text
    assert not re.search(r"\b(nan|inf|None|NaN)\b", text)
    assert "No method found anything" in text


def test_one_method_in_one_image(compared: Make) -> None:
    text = Page(render(compared({"a": {"i": lattice()}}, pixel_size=0.5))).text
    assert "With one method there is nothing to agree with" in text
    assert "\u00b5m" in text
    assert "\u2605 best" not in text


def test_nothing_but_failures_is_still_a_report(compared: Make) -> None:
    made = compared({"a": {}, "b": {"i": lattice()}}, trials={"a": [Trial(failed="no luck")]})
    alone = attrs.evolve(
        made, findings=attrs.evolve(made.findings, methods=made.findings.methods[:1], pairs={})
    )
    text = Page(render(alone)).text
    assert "no luck" in text
    assert "No method found anything" in text


def test_the_same_comparison_gives_the_same_file(compared: Make) -> None:
    made = compared({"a": {"i": lattice()}, "b": {"i": lattice(2)}}, {"i": lattice(1)})
    assert render(made) == render(made)


def test_what_comes_after_segmentation_is_shown(compared: Make) -> None:
    made = compared({"a": {"i": lattice()}, "b": {"i": lattice(2)}})
    pair = DoublePositives(
        first="CD3",
        second="CD20",
        cells=20,
        either=10,
        both=3,
        either_after=9,
        both_after=1,
        kept=9,
    )
    gates = parse_gates('[gates]\n"T cells" = "CD3+ CD20-"\n"B cells" = "CD20+"')
    rows = [
        {"method": m, "image": "i", "gate": g, "count": n, "share": None, "cells": 20}
        for m, g, n in [("a", "T cells", 5), ("b", "T cells", 7), ("a", "B cells", None)]
    ]
    made = attrs.evolve(
        made,
        findings=attrs.evolve(
            made.findings,
            methods=tuple(
                attrs.evolve(one, double_positives=(pair,)) for one in made.findings.methods
            ),
            gates=gates,
            counts=rows,
            thresholds=Thresholds(
                values={"CD3": 1.5, "CD20": 2.0}, sources={"CD3": "otsu", "CD20": "given"}
            ),
            correlations=[
                Correlation.of("T cells", ("a", "b"), "images", [1, 2, 3], [2, 4, 6]),
                Correlation.of("B cells", ("a", "b"), "images", [], []),
            ],
        ),
    )
    html = render(made)
    assert cells(html, "positive for both CD3 and CD20", "a")[2][1] == "30.0 % 3 cells"
    assert cells(html, "Cells in each gate", "T cells (CD3+ CD20-)")[1][1] == "7 35.0 %"
    assert cells(html, "Cells in each gate", "B cells (CD20+)") == [("", "\u2013")] * 2
    assert cells(html, "Squared correlation", "T cells")[0][1] == "1.00 slope 2.00"
    assert "r\u00b2 not known" in html


def test_the_spread_over_repeats_is_shown(compared: Make) -> None:
    made = compared({"a": {"i": lattice()}, "b": {"i": lattice(2)}})
    first = made.findings.methods[0]
    cost = Cost(startup=Spread.of([2.0, 1.0, 3.0]), segment=Spread.of([0.5]), total=None, peak=None)
    methods = (attrs.evolve(first, cost=cost), *made.findings.methods[1:])
    html = render(attrs.evolve(made, findings=attrs.evolve(made.findings, methods=methods)))
    row = cells(html, "What each method costs", "a")
    assert [text for _, text in row] == ["2.00 1.00 to 3.00", "0.500", "\u2013", "\u2013"]


def test_of_many_images_the_most_disputed_are_listed(compared: Make) -> None:
    images = {f"image{number}": lattice() for number in range(5)}
    other = dict(images, image3=lattice(8))
    made = compared({"a": images, "b": other})
    found = per_image(made.findings, "nuclei", limit=2)
    assert [name for name, _ in found.table.rows] == ["image3", "image0"]
    assert found.left_out == 3
    assert found.table.rows[1][1][1].text == "0 %"


def test_the_template_is_beside_the_module_and_so_in_the_wheel() -> None:
    import cellseg_core.comparing

    folder = Path(cellseg_core.comparing.__file__).parent
    assert (folder / "report.html.j2").is_file()


def test_what_nobody_could_read_and_what_failed_again_is_said_once_at_the_top(
    compared: Make,
) -> None:
    trials = {"a": [Trial(startup=1.0, segment=1.0, megapixels=0.01), Trial(failed="out of luck")]}
    made = compared({"a": {"i": lattice()}, "b": {"i": lattice(2)}}, trials=trials)
    made = attrs.evolve(made, record={**made.record, "repeats": 2})
    one = attrs.evolve(made.findings, unread={"bad.tif": HOSTILE})
    text = Page(render(attrs.evolve(made, findings=one))).text
    assert text.count(f"1 input could not be read, by any method: bad.tif: {HOSTILE}") == 1
    assert text.index("bad.tif") < text.index("What was compared")
    assert "1 of the 2 runs of a failed" in text
    assert "out of luck" in text
    many = attrs.evolve(made.findings, unread={f"bad{n:03}.tif": "is empty" for n in range(500)})
    text = Page(render(attrs.evolve(made, findings=many))).text
    assert "500 inputs could not be read, by any method." in text
    assert "bad009.tif" in text
    assert "bad010.tif" not in text
    assert "and 490 more" in text


def test_of_many_images_that_failed_the_first_are_listed(compared: Make) -> None:
    names = [f"image{number:02}" for number in range(14)]
    trials = {"b": [Trial(errors=dict.fromkeys(names[1:], "too dark"), megapixels=0.01)]}
    html = render(
        compared({"a": {n: lattice() for n in names}, "b": {names[0]: lattice()}}, trials=trials)
    )
    top = html.split('<section id="what"')[0]
    assert top.count("too dark") == 10
    assert "and 3 more: comparison.json" in top


def test_an_image_that_no_method_did_is_told_and_the_others_are_ranked(compared: Make) -> None:
    truth = {name: lattice() for name in ("one", "two", "three")}
    errors = {"three": "too dark"}
    made = compared(
        {
            "good": {"one": truth["one"], "two": truth["two"]},
            "bad": {"one": without(truth["one"], 6), "two": without(truth["two"], 6)},
        },
        truth,
        trials={name: [Trial(errors=errors, megapixels=0.01)] for name in ("good", "bad")},
    )
    html = render(made)
    text = Page(html).text
    assert "1 of the 3 images could be done by no method, and is not in what follows." in text
    assert "three, good" in text
    assert "could not do" not in text
    assert cells(html, "the mean over images, so", "good")[0][0] == "best"


@pytest.mark.parametrize(("images", "few"), [(1, False), (2, True), (10, False)])
def test_with_few_images_intervals_are_said_to_be_too_narrow(
    compared: Make, images: int, *, few: bool
) -> None:
    truth = {f"image{number}": lattice() for number in range(images)}
    text = Page(
        render(compared({"a": {k: without(v, 3) for k, v in truth.items()}, "b": truth}, truth))
    ).text
    assert ("intervals are too narrow" in " ".join(text.split())) == few


@pytest.mark.parametrize("with_truth", [False, True])
def test_of_cells_the_report_says_cells(compared: Make, *, with_truth: bool) -> None:
    truth = {"i": lattice()} if with_truth else None
    labels = {"a": {"i": lattice()}, "b": {"i": lattice(2)}}
    html = render(compared(labels, truth, kind="cells"))
    text = Page(html).text
    # The fit to the stain is that of nuclei, from which cells are grown.
    parts = [html[html.index('<section id="agreement"') :]]
    if with_truth:
        parts.append(html.split('<section id="accuracy"')[1].split('<section id="cost"')[0])
    for part in parts:
        assert "nucle" not in part.lower().replace("nuclear stain", "")
    assert "F1 of cells matched" in text
    assert "{" not in text
    for name in re.findall(r'title="([^"]*)"', html):
        assert "{" not in name


def test_images_without_a_marker_are_named(compared: Make) -> None:
    made = compared({"a": {"i": lattice()}, "b": {"i": lattice(2)}})
    gates = parse_gates('[gates]\n"B cells" = "CD20+"')
    thresholds = Thresholds(values={"CD20": 1.0}, sources={"CD20": "given"})
    lacking = {"CD20": ["B"], "CD3": ["A", "B"], "CD4": []}
    findings = attrs.evolve(made.findings, gates=gates, thresholds=thresholds, lacking=lacking)
    text = Page(render(attrs.evolve(made, findings=findings))).text
    assert "CD20 is not in image B, whose cells are left out." in text
    assert "CD3 is not in 2 images, whose cells are left out: A and B." in text
    assert "CD4" not in text


def test_of_many_pairs_those_with_one_method_are_drawn(compared: Make) -> None:
    names = [f"method{number:02}" for number in range(9)] + ["maskrcnn"]
    made = compared({name: {"i": lattice()} for name in names})
    gates = parse_gates('[gates]\n"B cells" = "CD20+"')
    correlations = [
        Correlation.of("B cells", pair, "images", [1, 2, 3], [2, 4, 7])
        for pair in itertools.combinations(names, 2)
    ]
    findings = attrs.evolve(
        made.findings,
        gates=gates,
        thresholds=Thresholds(values={"CD20": 1.0}, sources={"CD20": "given"}),
        correlations=correlations,
    )
    html = render(attrs.evolve(made, findings=findings))
    assert "Drawn are pairs with maskrcnn; the table has all." in Page(html).text
    chart = html[html.index("Counts of B cells") :].split("</svg>")[0]
    assert chart.count("r\u00b2 = ") == 6
    assert chart.count(">maskrcnn</text>") == 6
