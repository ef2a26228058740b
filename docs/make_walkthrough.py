"""Draws the pictures of docs/walkthrough.md by the commands and the Python that stand there.

    python docs/make_walkthrough.py [--data FOLDER]     # writes into docs/images

The data folder (default: CELLSEG_TEST_DATA, or ../shared/data) holds codex_lymph_node/. It prints
what the blocks print, for the page, and needs chromium on the path.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

PAGE = Path(__file__).with_name("walkthrough.md")
FOLDER = PAGE.parent / "images"
_BLOCK = re.compile(
    r"^```(console|python)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE
)


def blocks() -> Iterator[tuple[str, str, str]]:
    """Yield the language, the program and what the page says that it prints, of each block."""
    for language, program, shown in _BLOCK.findall(PAGE.read_text("utf-8")):
        if language == "python":
            yield language, program, shown
            continue
        command, _, printed = program.removeprefix("$ ").partition("\n")
        if command.startswith("cellseg "):
            yield language, command, printed


def run(language: str, program: str, folder: Path) -> str:
    """Return what a block prints; each has a process, since napari and TensorFlow share none."""
    if language == "python":
        arguments = [sys.executable, "-W", "ignore", "-c", program]
    else:
        arguments = [sys.executable, "-m", "cellseg_core", *shlex.split(program)[1:]]
    environment = {**os.environ, "MPLBACKEND": "agg"}
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{program}\n{done.stdout}{done.stderr}")
    return done.stdout


def put_image(data: Path, folder: Path) -> None:
    """Copy the image and the names of its channels."""
    shutil.copyfile(data / "codex_lymph_node" / "image.tif", folder / "lymph_node.tif")
    shutil.copy(data / "codex_lymph_node" / "channelNames.txt", folder)


def report_top(report: Path) -> Image.Image:
    """Return the report as a browser shows it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        window = browser.new_page(viewport={"width": 1160, "height": 1250})
        window.goto(report.as_uri())
        shot = Image.open(io.BytesIO(window.screenshot()))
        browser.close()
    return shot


def main() -> None:
    """Run the page, and draw its pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    data = options.data or Path(os.environ.get("CELLSEG_TEST_DATA", "../shared/data"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        put_image(data, folder)
        for language, program, _ in blocks():
            print(f"--- {program.splitlines()[0]}\n{run(language, program, folder)}", end="")
        preview = Image.open(folder / "preview.png").convert("RGB")
        preview.resize((1000, preview.height * 1000 // preview.width)).save(
            FOLDER / "walkthrough-preview.jpg", quality=85
        )
        top = report_top(folder / "results" / "report.html").convert("RGB")
        top.resize((1000, top.height * 1000 // top.width)).save(
            FOLDER / "walkthrough-report.jpg", quality=82
        )
        gate = Image.open(folder / "gate.png").convert("RGB")
        gate.quantize(64).save(FOLDER / "walkthrough-gate.png", optimize=True)
        maps = Image.open(folder / "map.png").convert("RGB")
        maps.save(FOLDER / "walkthrough-map.jpg", quality=85)
        # A part: of the whole, outlines would be thinner than a pixel of this size.
        view = Image.open(folder / "view.png").convert("RGB").crop((0, 0, 700, 500))
        view.save(FOLDER / "walkthrough-view.jpg", quality=85)


if __name__ == "__main__":
    main()
