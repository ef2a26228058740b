"""Draws the gallery of docs/nuclei.md: what the default segmenter finds in ten varied images.

    python docs/make_gallery.py [--data FOLDER] [--segmenter maskrcnn]   # docs/images/gallery.jpg

It also draws docs/images/preview.jpg, the contact sheet of docs/preview.md.

The data folder (default: CELLSEG_TEST_DATA, or ../shared/data) holds dsb2018/, imc_spleen/ and
codex_lymph_node/. Nothing is set by hand but the nuclear channels' names: nuclear diameters are
estimated. Training saw none of these images.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import attrs
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image as Picture
from skimage.segmentation import find_boundaries

from cellseg_core import Pipeline, read_image
from cellseg_core.config import RunConfig
from cellseg_core.contact_sheet import draw_sheet
from cellseg_core.image import Image
from cellseg_core.preview import preview
from cellseg_core.synthetic import simulate_tissue

OUT = Path(__file__).parent / "images" / "gallery.jpg"
EDGE = 220  # px of each image that are shown, at most
FINE = 4

# Of the validation split: the file, and what it shows.
BOWL = {
    "1f0008060150": "culture, large nuclei",
    "0bf4b1441676": "culture, crowded",
    "64eeef16fdc4": "culture, uneven brightness",
    "20b20ab04937": "fly embryo",
    "2246874c8b5b": "stained tissue",
    "610f32e2d9d2": "stained smear",
    "091944f1d261": "stained cytology",
}


def images(data: Path) -> Iterator[tuple[str, Image, tuple[str, ...], tuple[int, int]]]:
    """Yield a title, the image, its nuclear channels, and where the part that is shown begins."""
    for name, title in BOWL.items():
        (path,) = (data / "dsb2018" / "images").glob(f"{name}*.png")
        image = read_image(path)
        start = (180, 430) if "embryo" in title else (420, 600) if "cytology" in title else (0, 0)
        yield title, image, (), start
    codex = read_image(data / "codex_lymph_node" / "image.tif")
    yield "CODEX, lymph node", codex, (codex.channels[0],), (140, 140)
    imc = read_image(data / "imc_spleen" / "ROI002" / "channels")
    yield "imaging mass cytometry, spleen", imc, ("DNA1", "DNA3"), (140, 140)
    tissue = simulate_tissue((512, 512), seed=77, density=0.5, nuclear_diameter=14.0)
    yield "simulated tissue, dense", tissue.image, ("DAPI",), (140, 140)


def outlined(plane: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return a picture (Y, X, 3), magnified, with outlines two fine pixels wide."""
    low, high = np.percentile(plane, (0.5, 99.8))
    gray = np.clip((plane - low) / max(high - low, 1e-6), 0, 1) ** 0.7
    gray, labels = (np.kron(one, np.ones((FINE, FINE), one.dtype)) for one in (gray, labels))
    picture = np.repeat(gray[..., np.newaxis], 3, axis=2)
    picture[find_boundaries(labels, mode="thick")] = (1, 0.5, 0)
    return picture


def contact_sheet(data: Path, out: Path) -> None:
    """Draw a preview of the lymph node."""
    image = read_image(data / "codex_lymph_node" / "image.tif")
    image = attrs.evolve(image, name="lymph node")
    sheet = draw_sheet(preview(image, RunConfig(nuclear=("DAPI",))))
    Picture.fromarray(sheet).save(out, quality=85)


def main() -> None:
    """Segment the images and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--segmenter", default="maskrcnn")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    data = options.data or Path(os.environ.get("CELLSEG_TEST_DATA", "../shared/data"))
    figure, axes = plt.subplots(2, 5, figsize=(20, 8.6), layout="constrained")
    for axis, (title, image, nuclear, start) in zip(axes.flat, images(data), strict=True):
        result = Pipeline(segmenter=options.segmenter).run(image, nuclear)
        shown = tuple(slice(first, first + EDGE) for first in start)
        plane = result.scaled.read(*shown)[0]
        axis.imshow(outlined(plane, result.nuclei[shown]))
        axis.set_title(f"{title}: {len(result.table)} nuclei", fontsize=11)
        axis.axis("off")
        print(f"{title}: {len(result.table)} nuclei, {result.nuclear_diameter:.1f} px")
    figure.savefig(options.out, dpi=90, pil_kwargs={"quality": 88})
    contact_sheet(data, options.out.with_name("preview.jpg"))


if __name__ == "__main__":
    main()
