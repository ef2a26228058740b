"""Draws the figure of docs/report.md: a report as a browser shows it.

    python docs/make_report_figure.py        # writes into docs/images

It takes the report of a simulated tissue, and needs chromium on the path.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from cellseg_core import Pipeline
from cellseg_core.synthetic import simulate_tissue
from cellseg_io.report import ReportWriter

FOLDER = Path(__file__).parent / "images"


def main() -> None:
    """Draw it."""
    tissue = simulate_tissue((700, 700), seed=7, channels=("DAPI", "CD3", "CD20", "CD8"))
    pipeline = Pipeline(segmenter="watershed", expand_by=2, compensator="conserving", tile=400)
    result = pipeline.run(tissue.image, "DAPI")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        (page,) = ReportWriter().write(result, Path(folder))
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        window = browser.new_page(viewport={"width": 1160, "height": 1250})
        window.goto(page.as_uri())
        shot = Image.open(io.BytesIO(window.screenshot()))
        shot.convert("RGB").quantize(160).save(FOLDER / "report.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
