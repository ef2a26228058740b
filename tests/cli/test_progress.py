"""What commands tell while they work: bars on a terminal, lines now and then elsewhere."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from cellseg_core.cli import progress
from cellseg_core.cli.progress import Console
from cellseg_core.cli.train import _TrainingConsole
from cellseg_core.cli.weights import _Downloads


@contextmanager
def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Make stderr a terminal; give a function that returns, afterwards, the text it was sent."""
    if sys.platform == "win32":
        pytest.skip("Windows has no pseudo-terminals of this kind")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    reading, writing = os.openpty()
    sent = bytearray()

    def read() -> None:
        # Linux says that the other end was closed by an error, other systems by nothing more.
        with suppress(OSError):
            while part := os.read(reading, 4096):
                sent.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(writing, "w", encoding="utf-8") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        yield lambda: re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", sent.decode())
    reader.join()
    os.close(reading)


def refresh(bars: progress.Bars) -> None:
    assert bars._bars is not None
    bars._bars.refresh()


def test_a_run_has_a_bar_of_images_and_one_of_the_step(monkeypatch) -> None:
    with a_terminal(monkeypatch) as sent, Console() as console:
        console.images(1, 3)
        for done in range(5):
            console.step("a/very/long/path/to/one/slide/of/many.ome.tif", "segment", done, 8)
        console.warn("look at this")
        console.warn("FAILED that")
        refresh(console)
        console.step("slide.tif", "measure", 1, 2)
        refresh(console)
    shown = sent()
    assert re.search(r"images .* 1/3 .* left", shown)
    assert re.search(r"a/very/long/p\.\.\.many\.ome\.tif: finding nuclei, tile .* 4/8 .*/s", shown)
    assert re.search(r"slide\.tif: measuring channel .* 1/2", shown)
    assert "Warning: look at this\r\n" in shown
    assert "FAILED that\r\n" in shown
    assert "Warning: FAILED" not in shown


def test_what_a_terminal_would_obey_is_shown(monkeypatch) -> None:
    with a_terminal(monkeypatch) as sent, Console() as console:
        console.step("a\x1b]0;title\x07.tif", "segment", 0, 1)
        console.say("b\x1b[2J.tif [bold]")
        refresh(console)
    shown = sent()
    assert r"a\x1b]0;title\x07.tif" in shown
    assert r"b\x1b[2J.tif [bold]" in shown


def test_training_shows_its_figures(monkeypatch) -> None:
    with a_terminal(monkeypatch) as sent, _TrainingConsole() as console:
        for epoch in range(2):
            for done in range(4):
                console.progress(f"epoch {epoch}", done, 9, {"loss": 0.5 - done / 10})
        console.progress("epoch 1", 0, 9, {})
        console.progress("epoch 1", 2, 9, {"loss": 0.25})
        refresh(console)
    shown = sent()
    assert re.search(r"epoch 1: loss 0\.250 .* 2/9", shown)


def test_downloads_are_told_in_bytes(monkeypatch) -> None:
    with a_terminal(monkeypatch) as sent, _Downloads() as bars:
        bars.received("cyto3", 2_000_000, 26_000_000)
        bars.fail("Error: no such server")
        refresh(bars)
    shown = sent()
    assert re.search(r"cyto3 .* 2\.0/26\.0 MB", shown)
    assert "Error: no such server\r\n" in shown


def test_a_log_file_gets_lines_now_and_then(monkeypatch, capsys) -> None:
    def told() -> list[str]:
        with Console() as console, _TrainingConsole() as training, _Downloads() as downloads:
            for done in range(3):
                console.images(done, 2)
                console.step("slide.tif", "segment", done, 9)
                training.progress("epoch 1", done, 1000, {"loss": 0.5})
                downloads.received("cyto3", done * 10**6, 26_000_000)
        return re.sub(r"\d s", "N s", capsys.readouterr().err).splitlines()

    assert told() == [f"{done} of 2 images, N s, about N s left" for done in (1, 2)]
    monkeypatch.setattr(progress, "_EVERY", -1)
    assert told()[-3:] == [
        "2 of 2 images, N s, about N s left",
        "epoch 1: 2 of 1,000, loss 0.500",
        "cyto3: 2.0 MB of 26 MB",
    ]


def test_quiet_shows_failures_only(monkeypatch, capsys) -> None:
    monkeypatch.setattr(progress, "_EVERY", -1)
    with Console(quiet=True) as console, _Downloads(quiet=True) as downloads:
        console.images(1, 2)
        console.say("something")
        downloads.received("cyto3", 1, 2)
        console.warn("look at this")
        downloads.fail("Error: no such server")
    assert capsys.readouterr().err == "Warning: look at this\nError: no such server\n"
