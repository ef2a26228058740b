"""How time and memory grow with the image, from 1 megapixel on.

Writes simulated slides of growing size (two channels, nuclei of 12 px), once; runs every method
over each in a fresh process, with the nuclear diameter given, nuclei grown by 2 px and compensated;
and prints seconds per megapixel, in the segmenter and in all, and peak memory. Label images are
held in memory as a whole, so that memory grows with the slide: try --megapixels 1000 where there is
enough.

    python benchmarks/scaling.py [--segmenters watershed] [--megapixels 1,4,16,64] [--out FOLDER]
"""

from __future__ import annotations

from pathlib import Path

import common
import numpy as np
import tifffile

from cellseg_core.cli.progress import Console
from cellseg_core.comparing.cost import Cost
from cellseg_core.comparing.trial import run_trial
from cellseg_core.config import RunConfig
from cellseg_core.synthetic import Tissue

DIAMETER = 12.0
BAND = 1024  # px: rows that are rendered at a time


def slide(folder: Path, megapixels: float) -> Path:
    """Return the file of a simulated slide, which is made unless it is there."""
    edge = round((megapixels * 1e6) ** 0.5)
    path = folder / f"slide-{edge}.tif"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    tissue = Tissue(
        shape=(edge, edge), seed=1, nuclear_diameter=DIAMETER, channels=("DAPI", "CD45")
    )
    partial = path.with_suffix(".part")
    shape = (2, edge, edge)
    pixels = tifffile.memmap(
        partial, shape=shape, dtype=np.uint16, photometric="minisblack", metadata={"axes": "CYX"}
    )
    for top in range(0, edge, BAND):
        rows = slice(top, min(edge, top + BAND))
        pixels[:, rows] = tissue.render(rows)
        print(f"\rsimulating {megapixels:g} megapixels: {rows.stop / edge:.0%}", end="", flush=True)
    print()
    pixels.flush()
    del pixels
    return partial.rename(path)


def main() -> None:
    """Run the methods over the slides, print the table, and write JSON."""
    parser = common.parser(__doc__)
    parser.set_defaults(segmenters="watershed")
    parser.add_argument("--megapixels", default="1,4,16,64")
    options = parser.parse_args()
    names = options.out / "channels.txt"
    found: dict[str, dict[str, object]] = {}
    lines = []
    for megapixels in map(float, options.megapixels.split(",")):
        path = slide(options.out, megapixels)
        names.write_text("DAPI\nCD45\n")
        for method in common.methods(options):
            config = method.config(
                RunConfig(
                    nuclear=("DAPI",),
                    channels=names,
                    nuclear_diameter=DIAMETER,
                    expand=2,
                    compensate=True,
                    write=("csv", "labels"),
                )
            )
            with Console() as console:
                trials = [
                    run_trial(
                        [path],
                        options.out / f"scaling-{method.name}-{megapixels:g}",
                        config,
                        console,
                        fresh=True,
                    )
                    for _ in range(options.repeats)
                ]
            cost = Cost.of(trials)
            failed = trials[0].failed or "; ".join(trials[0].errors.values())
            found.setdefault(method.name, {})[f"{megapixels:g}"] = {
                "failed": failed or None,
                **cost.facts(),
            }
            if cost.segment is None or cost.total is None or cost.peak is None:
                lines.append(f"{method.name:<12}{megapixels:>10g}  FAILED: {failed}")
                continue
            lines.append(
                f"{method.name:<12}{megapixels:>10g}{cost.segment.median:>12.3f}"
                f"{cost.total.median:>12.3f}{cost.peak.median / 1e9:>10.2f}"
                f"{cost.peak.median / megapixels / 1e6:>14.0f}"
            )
    print(
        f"{'':<12}{'megapixels':>10}{'segment s/MP':>14}{'all s/MP':>10}{'peak GB':>10}  bytes a px"
    )
    print("\n".join(lines))
    common.write(options, "scaling", found, None)


if __name__ == "__main__":
    main()
