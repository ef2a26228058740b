"""``cellseg demo``: the whole pipeline on a simulated tissue, in a minute."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from cellseg_core.cli.progress import Console
from cellseg_core.cli.run import summarise
from cellseg_core.protocols import Labels

__all__ = ["command", "write_demo_image"]

_SIZE = 512
_SEED = 7


@click.command("demo", short_help="Simulate a tissue and run the default pipeline on it.")
@click.option(
    "-o",
    "--output",
    "out",
    default="cellseg-demo",
    show_default=True,
    type=Path,
    metavar="OUT",
    help="Folder for the image and the results.",
)
@click.option("--quiet", is_flag=True, help="Show warnings and failures only.")
def command(out: Path, quiet: bool) -> int:
    """Write a small simulated tissue, run the default pipeline on it, and say where to look.

    The image is a real multi-channel OME-TIFF with known truth. Nothing is downloaded.
    """
    from cellseg_core.batch import run_batch
    from cellseg_core.config import RunConfig
    from cellseg_core.metrics import pairwise_iou
    from cellseg_core.store import output_error

    image = out / "tissue.ome.tif"
    try:
        out.mkdir(parents=True, exist_ok=True)
        truth = write_demo_image(image)
    except OSError as error:
        raise output_error(out, error) from error
    settings = RunConfig(nuclear=("DAPI",), expand=2, compensate=True)
    with Console(quiet=quiet) as console:
        summary = run_batch([image], out, settings, fresh=True, reporter=console)
    if summary.failed:
        summarise(summary)
        return 1
    if not quiet:
        import tifffile

        found = tifffile.imread(out / "tissue" / "nuclei.ome.tif")
        _, _, iou = pairwise_iou(truth, found)
        summarise(summary)
        click.echo(
            f"The tissue was made with {int(truth.max()):,} nuclei, many of them dim and crowded; "
            f"{np.count_nonzero(iou > 0.5):,} of those found match one of them (IoU over 0.5)."
        )
        click.echo(
            f"Now your own: cellseg run IMAGE --nuclear NAME -o RESULTS (`cellseg info {image}` "
            "shows what an image holds)"
        )
    return 0


def write_demo_image(path: Path) -> Labels:
    """Write the simulated tissue as OME-TIFF, and return the label image of its nuclei."""
    import tifffile

    from cellseg_core.synthetic import simulate_tissue

    tissue = simulate_tissue((_SIZE, _SIZE), seed=_SEED)
    size = tissue.image.pixel_size
    tifffile.imwrite(
        path,
        np.asarray(tissue.image.pixels),
        ome=True,
        photometric="minisblack",
        compression="zlib",
        metadata={
            "axes": "CYX",
            "Channel": {"Name": list(tissue.image.channels)},
            "PhysicalSizeX": size,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": size,
            "PhysicalSizeYUnit": "µm",
        },
    )
    return tissue.nuclei
