"""What the scripts that reproduce the paper's figures share: options, test images, results."""

from __future__ import annotations

import argparse
import csv
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from cellseg_core.cli.progress import Console
from cellseg_core.comparing.comparison import Comparison, compare
from cellseg_core.comparing.method import Method, parse_methods
from cellseg_core.provenance import environment

SEGMENTERS = "maskrcnn,stardist,cellpose,watershed"
RESULTS = Path(__file__).parent / "results"


class BowlImage(NamedTuple):
    """An image of the 2018 Data Science Bowl: its file and its kind."""

    path: Path
    modality: str


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return the options that every script has."""
    made = argparse.ArgumentParser(description=(doc or "").split("\n", 1)[0])
    made.add_argument("--segmenters", default=SEGMENTERS, metavar="NAME,NAME...")
    made.add_argument(
        "--method", action="append", default=[], metavar="NAME=SEGMENTER[,OPTION=VALUE...]"
    )
    made.add_argument("--repeats", type=int, default=1)
    made.add_argument("--fresh", action="store_true", help="do again what was done before")
    default = os.environ.get("CELLSEG_TEST_DATA", "../shared/data")
    made.add_argument("--data", type=Path, default=Path(default), help="folder of test images")
    made.add_argument("--out", type=Path, default=RESULTS, help="folder for results")
    return made


def methods(options: argparse.Namespace) -> list[Method]:
    """Return the methods that the options name."""
    named = [name for name in options.segmenters.split(",") if name]
    return parse_methods(named, options.method)


def head_to_head(
    options: argparse.Namespace, name: str, inputs: list[Path], **kwargs: Any
) -> Comparison:
    """Compare the methods of the options on some images; runs stay in OUT/NAME to be resumed."""
    with Console() as console:
        return compare(
            inputs,
            options.out / name,
            methods(options),
            repeats=options.repeats,
            fresh=options.fresh,
            reporter=console,
            **kwargs,
        )


def bowl(data: Path, split: str) -> list[BowlImage]:
    """Return the images of a split of the 2018 Data Science Bowl."""
    folder = data / "dsb2018"
    with (folder / "index.csv").open(newline="") as file:
        return [
            BowlImage(folder / "images" / f"{row['id']}.png", row["modality"])
            for row in csv.DictReader(file)
            if row["split"] == split
        ]


def write(options: argparse.Namespace, name: str, found: dict[str, Any], figure: Any) -> None:
    """Write the figures as NAME.json and the picture as NAME.png, and say where."""
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{name}.json"
    path.write_text(json.dumps({**environment(), **found}, indent=1) + "\n")
    print(f"written: {path}")
    if figure is not None:
        picture = path.with_suffix(".png")
        figure.savefig(picture, dpi=150, bbox_inches="tight")
        print(f"look at: {picture}")
