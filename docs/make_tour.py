"""Draws the picture of docs/tour.md by the commands and the Python that stand there.

python docs/make_tour.py        # writes docs/images/tour-map.png
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from PIL import Image

from cellseg_core.batch import run_batch
from cellseg_core.cli.demo import write_demo_image
from cellseg_core.config import RunConfig

PAGE = Path(__file__).parent / "tour.md"


def main() -> None:
    """Run the page's settings on the image of the demo, and then its Python."""
    (block,) = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    settings = RunConfig(nuclear=("DAPI",), expand=2, compensate=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_demo_image(Path("tissue.ome.tif"))
        run_batch(["tissue.ome.tif"], "results", settings)
        exec(compile(block, PAGE.name, "exec"), {})  # noqa: S102 - our own page
        few = Image.open("map.png").convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
        few.save(PAGE.parent / "images" / "tour-map.png", optimize=True)


if __name__ == "__main__":
    main()
