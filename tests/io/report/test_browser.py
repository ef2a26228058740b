"""The report in a browser: it works by keyboard and mouse, and asks for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cellseg_core.result import Result
from cellseg_io.report import ReportWriter

Make = Callable[..., Result]
HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "\u202e",
)


@pytest.fixture(scope="module")
def pages(chromium: Any, make: Make, tmp_path_factory: Any) -> Iterator[Any]:
    """Return a page with hostile names, and what the browser complained of or asked for."""
    folder = tmp_path_factory.mktemp("report")
    one = make(
        name=HOSTILE[0], channels=HOSTILE, compensated=True, facts={"seams": {"y": [100], "x": []}}
    )
    (path,) = ReportWriter(pairs=()).write(one, folder)
    page = chromium.new_page(viewport={"width": 1200, "height": 800})
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on(
        "request",
        lambda request: request.url.startswith("data:") or told.append(request.url),
    )
    page.goto(Path(path).as_uri())
    page.locator("canvas").scroll_into_view_if_needed()
    page.wait_for_selector('.viewer[data-missing="0"]')
    yield page, told
    page.close()


def state(page: Any) -> dict[str, float]:
    page.wait_for_timeout(60)
    page.wait_for_selector('.viewer[data-missing="0"]')
    data = page.evaluate("({...document.querySelector('.viewer').dataset})")
    return {name: float(data[name]) for name in ("scale", "x", "y")}


def colours(page: Any) -> tuple[int, int]:
    """Return how many pixels of the canvas are orange and blue."""
    found: list[int] = page.evaluate(
        """() => { const c = document.querySelector('canvas');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let orange = 0, blue = 0;
        for (let i = 0; i < d.length; i += 4) {
          if (d[i] > 200 && d[i + 2] < 60) orange += 1;
          if (d[i] < 120 && d[i + 2] > 200) blue += 1;
        } return [orange, blue]; }"""
    )
    return found[0], found[1]


def test_it_loads_without_an_error_or_a_request_and_names_are_text(pages: Any) -> None:
    page, told = pages
    assert [one for one in told if not one.endswith("report.html")] == []
    assert page.evaluate("window.hacked") is None
    assert page.inner_text("h2.image") == HOSTILE[0]
    titles = page.eval_on_selector_all(".marker h4", "all => all.map(one => one.textContent)")
    assert titles == list(HOSTILE)


def test_it_zooms_and_moves_by_keys_wheel_mouse_and_buttons(pages: Any) -> None:
    page, _ = pages
    page.click("[data-do=whole]")
    whole = state(page)
    page.focus("canvas")
    page.keyboard.press("+")
    near = state(page)
    assert near["scale"] == pytest.approx(1.5 * whole["scale"])
    page.keyboard.press("ArrowRight")
    assert state(page)["x"] == pytest.approx(near["x"] + 60 / near["scale"])
    page.keyboard.press("0")
    assert state(page) == whole
    page.hover("canvas")
    page.mouse.wheel(0, -300)
    assert state(page)["scale"] > whole["scale"]
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    before = state(page)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.up()
    assert state(page)["x"] == pytest.approx(min(260, before["x"] + 100 / before["scale"]))
    page.click("[data-do=out]")
    assert state(page)["scale"] == pytest.approx(before["scale"] / 1.5)


def test_a_close_up_leads_to_its_place_where_outlines_can_be_turned_off(pages: Any) -> None:
    page, _ = pages
    page.click("[data-spot='0']")
    there = state(page)
    x0, y0, x1, y1 = page.evaluate(
        "JSON.parse(document.querySelector('.viewer script').textContent).spots[0]"
    )
    assert (there["x"], there["y"]) == ((x0 + x1) / 2, (y0 + y1) / 2)
    assert page.evaluate("document.activeElement.tagName") == "CANVAS"
    orange, blue = colours(page)
    assert orange > 500
    assert blue > 500
    page.uncheck("[data-layer=cells]")
    state(page)
    assert colours(page)[1] == 0
    page.keyboard.press("Tab")
    page.focus("canvas")
    page.keyboard.press("o")
    state(page)
    assert colours(page) == (0, 0)
    page.keyboard.press("o")
    state(page)
    assert colours(page)[0] > 500


def test_it_fits_a_narrow_screen_and_prints_without_the_viewer(pages: Any) -> None:
    page, _ = pages
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.emulate_media(media="print")
    assert not page.is_visible("canvas")
    assert page.is_visible(".still img")
    assert page.pdf()[:4] == b"%PDF"
    page.emulate_media(media="screen")
