"""How fast the segmenters are and what they need: seconds per megapixel, start-up, peak memory.

Runs every method, each time in a fresh process and in turns, over one simulated tissue with nuclei
of 12 px (CODEX at 20x) and one with nuclei of 24 px, with the nuclear diameter given. The time is
that in the segmenter, after a first small tile; times of different machines cannot be compared, so
the table has the ratio to the fastest too.

    python benchmarks/speed.py [--segmenters maskrcnn,stardist,cellpose,watershed] [--edge 2048]
                               [--repeats 3] [--out FOLDER]
"""

from __future__ import annotations

from pathlib import Path

import common
import tifffile

from cellseg_core.comparing.findings import MethodFindings
from cellseg_core.config import RunConfig
from cellseg_core.synthetic import simulate_tissue

DIAMETERS = (12.0, 24.0)


def slide(folder: Path, edge: int, diameter: float) -> Path:
    """Return the file of a simulated tissue, which is made unless it is there."""
    path = folder / f"tissue-{edge}-{diameter:g}.tif"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        tissue = simulate_tissue((edge, edge), seed=1, nuclear_diameter=diameter, channels=["DAPI"])
        tifffile.imwrite(path, tissue.image.read(0))
    return path


def show(diameter: float, rows: list[MethodFindings]) -> None:
    """Print the table of one tissue."""
    print(f"\nnuclei {diameter:g} px wide: median of the runs, (least-most)")
    print(
        f"{'':<12}{'cells':>8}  {'s/megapixel':<26}{'ratio':>8}  {'start-up s':>10}  {'peak GB':>8}"
    )
    known = [row.cost.segment.median for row in rows if row.cost.segment is not None]
    for row in rows:
        cost = row.cost
        if row.failed or row.errors:
            print(f"{row.method.name:<12}FAILED: {row.failed or '; '.join(row.errors.values())}")
            continue
        if cost.segment is None or cost.peak is None:
            print(f"{row.method.name:<12}{row.cells:>8,}  time or memory could not be measured")
            continue
        spread = f"{cost.segment.median:.3f} ({cost.segment.low:.3f}-{cost.segment.high:.3f})"
        start = "-" if cost.startup is None else f"{cost.startup.median:.1f}"
        print(
            f"{row.method.name:<12}{row.cells:>8,}  {spread:<26}"
            f"{cost.segment.median / min(known):>8.1f}  {start:>10}  "
            f"{cost.peak.median / 1e9:>8.2f}"
        )


def main() -> None:
    """Run the methods, print the tables, and write JSON."""
    parser = common.parser(__doc__)
    parser.add_argument("--edge", type=int, default=2048)
    parser.set_defaults(repeats=3)
    options = parser.parse_args()
    options.fresh = True  # what was done before has no cost
    found = {}
    for diameter in DIAMETERS:
        comparison = common.head_to_head(
            options,
            f"speed-{options.edge}-{diameter:g}",
            [slide(options.out, options.edge, diameter)],
            config=RunConfig(nuclear_diameter=diameter),
        )
        show(diameter, list(comparison.findings.methods))
        found[f"{diameter:g} px"] = {
            row.method.name: {"failed": row.failed, "cells": row.cells, **row.cost.facts()}
            for row in comparison.findings.methods
        }
    common.write(options, "speed", {"edge": options.edge, "tissues": found}, None)


if __name__ == "__main__":
    main()
