"""Segmentations side by side by kind of tissue, as in Figs. 3 and 4 of Lee et al. 2022.

Runs every method over open images of several tissues and draws, for each, the place where the
methods disagree most and one drawn at random: the image alone, then each method's outlines, matched
ones in orange, those that no other method has (or, with a truth, that match none) dashed. The
report of each tissue has more. The paper's multi-tumour array is not open; `tissues` has what is
here.

    python benchmarks/paper_fig3_4.py [--segmenters maskrcnn,stardist,cellpose,watershed]
                                      [--data FOLDER] [--out FOLDER] [--fresh]
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import attrs
import common
import tifffile
from matplotlib.figure import Figure
from PIL import Image as Picture

from cellseg_core.comparing import write_report
from cellseg_core.comparing.crops import choose_crops
from cellseg_core.comparing.gallery import ShownCrop, gallery
from cellseg_core.config import RunConfig
from cellseg_core.synthetic import simulate_tissue

BOWL = ("fluorescence", "purple-on-white")


@attrs.frozen
class Kind:
    """A kind of tissue: its images, how they are run, and where their truth is."""

    title: str
    inputs: list[Path]
    config: RunConfig
    truth: Path | None = None


def dense(folder: Path) -> Path:
    """Return the file of a simulated tissue whose nuclei are packed, made unless it is there."""
    path = folder / "dense.tif"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        tissue = simulate_tissue((1024, 1024), seed=3, density=0.7, channels=["DAPI"])
        tifffile.imwrite(path, tissue.image.read(0))
        tifffile.imwrite(folder / "dense-truth.tif", tissue.nuclei)
    return path


def tissues(data: Path, out: Path) -> list[Kind]:
    """Return the kinds of tissue."""
    node = data / "codex_lymph_node"
    masks = data / "dsb2018" / "masks"
    images = common.bowl(data, "val")
    each = RunConfig(brightness="each")
    return [
        Kind(
            "spleen, IMC",
            sorted((data / "imc_spleen").glob("ROI*/channels")),
            RunConfig(nuclear=("DNA1", "DNA3")),
        ),
        Kind(
            "lymph node, CODEX",
            [node / "image.tif"],
            RunConfig(nuclear=("DAPI",), channels=node / "channelNames.txt"),
        ),
        Kind("tumour, Vectra", [data / "readers" / "qptiff" / "small_vectra.qptiff"], RunConfig()),
        *(
            Kind(f"2018 Bowl, {kind}", [i.path for i in images if i.modality == kind], each, masks)
            for kind in BOWL
        ),
        Kind("packed nuclei, simulated", [dense(out)], RunConfig(), out / "dense-truth.tif"),
    ]


def draw(rows: list[tuple[str, ShownCrop]]) -> Figure:
    """Return the crops, a row each."""
    columns = max(len(row.pictures) for _, row in rows)
    figure = Figure(figsize=(2 * columns, 2.2 * len(rows)))
    space = {"wspace": 0.05, "hspace": 0.3}
    panels = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw=space)
    for line, (title, row) in zip(panels, rows, strict=True):
        for panel in line:
            panel.set_axis_off()
        for panel, shown in zip(line, row.pictures, strict=False):
            panel.set_title(f"{shown.name}\n{shown.note}", fontsize=6)
            if shown.picture is not None:
                png = base64.b64decode(shown.picture.uri.partition(",")[2])
                panel.imshow(Picture.open(io.BytesIO(png)))
        line[0].text(
            *(-0.22, 0.5, f"{title}\n{row.crop.why}\nbar: {row.bar}"),
            transform=line[0].transAxes,
            fontsize=6,
            rotation=90,
            ha="center",
            va="center",
        )
    return figure


def main() -> None:
    """Run the methods over every tissue, and write the picture, the reports and JSON."""
    options = common.parser(__doc__).parse_args()
    rows: list[tuple[str, ShownCrop]] = []
    found: dict[str, Any] = {}
    for number, kind in enumerate(tissues(options.data, options.out)):
        comparison = common.head_to_head(
            options, f"paper_fig3_4-{number}", kind.inputs, config=kind.config, truth=kind.truth
        )
        print(f"{kind.title}: {write_report(comparison)}")
        crops = choose_crops(comparison)
        if not crops:
            print(f"{kind.title}: no method found anything to show")
        # One crop alone may be all that there is.
        ends = list(dict.fromkeys([*crops[:1], *crops[-1:]]))
        rows += [(kind.title, row) for row in gallery(comparison, ends)]
        findings = comparison.findings
        found[kind.title] = {
            "methods": {one.method.name: one.facts() for one in findings.methods},
            "agreement": {f"{a}, {b}": one.facts() for (a, b), one in findings.agreement.items()},
        }
    common.write(options, "paper_fig3_4", found, draw(rows) if rows else None)


if __name__ == "__main__":
    main()
