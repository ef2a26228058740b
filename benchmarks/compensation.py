"""How much of the lateral bleed each compensator takes out, against simulated truth and on tissue.

Simulated: tissues over densities and strengths of bleed, whose every pixel is known with and
without scattered light. For each method, and for none:

- error: mean absolute difference from the true mean, as a share of the signal
  (`sum |found - true| / sum true` over cells, mean over channels). The true mean over a mask has
  the cell's own light, not scattered, and autofluorescence; not light of others inside the mask;
- doubles: cells above the gates of both markers of an exclusive pair, as a share of those above
  either; no such cell exists. A marker's gate is a fifth of the true mean of its median carrier;
- lost: carriers of a marker that are under its gate, as a share of its carriers;
- doubles at equal sensitivity: the same with each method's own gates, where 99 % of the carriers
  are positive, so that a method that merely dims everything gains nothing.

Masks are the true cells; the true nuclei grown by 2 px; and what the watershed finds, grown by
2 px, where a mask stands for the nucleus that it covers most.

Real: `imc_spleen`, with the authors' cell masks: cells positive for both of an exclusive pair among
those positive for either. Once at gates fixed before compensation (Otsu's threshold of
arcsinh(mean)), with the positives that are left; and once at gates that keep the number of
positives of each marker.

    python benchmarks/compensation.py [--quick] [--seeds 3] [--methods contact,conserving:spread=1]
                                      [--data FOLDER] [--json FILE] [--figures FOLDER]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import tifffile

from cellseg_core import Image, Pipeline, read_image
from cellseg_core.compensating import run_compensator
from cellseg_core.config import parse_setting
from cellseg_core.measure import measure
from cellseg_core.plugins import load_plugins
from cellseg_core.synthetic import Tissue
from cellseg_core.synthetic.panel import TYPES
from cellseg_postprocess.expansion import expand_sequential

DENSITIES = (0.3, 0.5, 0.65)
BLEEDS = (0.0, 0.1, 0.2, 0.4)
EXCLUSIVE = (("CD3", "CD20"), ("CD4", "CD8"), ("CD45", "PanCK"))
IMC_PAIRS = (("CD3", "CD20"), ("CD4", "CD8a"))
GATE = 0.2
SENSITIVITY = 0.99
FIGURES = ("error", "doubles", "lost", "doubles_at_equal_sensitivity")


def apply(method: str, image: Image, labels: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the means that a method makes: none, or a compensator, ``name:option=value``."""
    if method == "none":
        return means
    name, *settings = method.split(":")
    options = dict(parse_setting(f"set.{setting}") for setting in settings)
    compensator = load_plugins().build(
        "compensator", name, {option.removeprefix("set."): v for option, v in options.items()}
    )
    return run_compensator(compensator, image, labels, means).means


def doubles(positive: np.ndarray, pairs: list[list[int]]) -> float:
    """Return the share of cells positive for both among those positive for either, over pairs."""
    return float(
        np.mean(
            [
                positive[:, pair].all(axis=1).sum() / max(1, positive[:, pair].any(axis=1).sum())
                for pair in pairs
            ]
        )
    )


def scores(
    means: np.ndarray, true: np.ndarray, carriers: np.ndarray, pairs: list[list[int]]
) -> dict[str, float]:
    """Return the four figures of one method; all arrays are (cells, channels)."""
    columns = range(means.shape[1])
    gates = [GATE * np.median(true[carriers[:, i], i]) for i in columns]
    own = [np.quantile(means[carriers[:, i], i], 1 - SENSITIVITY) for i in columns]
    positive = means > gates
    return {
        "error": float((np.abs(means - true).sum(axis=0) / true.sum(axis=0)).mean()),
        "doubles": doubles(positive, pairs),
        "lost": float(np.mean([1 - positive[carriers[:, i], i].mean() for i in columns])),
        "doubles_at_equal_sensitivity": doubles(means >= np.maximum(own, 1e-9), pairs),
    }


def masks(tissue: Tissue, image: Image) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the name of a kind of mask, the label image 1..N, and the true cell of each id."""
    nuclei, cells = tissue.labels(), tissue.labels(kind="cells")
    for name, labels in (("true cells", cells), ("nuclei + 2 px", expand_sequential(nuclei, 2))):
        yield name, labels, np.arange(len(tissue.types))
    found = Pipeline(segmenter="watershed", expand_by=2).run(image, nuclear="DAPI")
    # The label image of the nuclei is the one to match; each mask takes the nucleus it covers most.
    hit = (found.nuclei > 0) & (nuclei > 0)
    pairs, overlap = np.unique(
        np.stack([found.nuclei[hit], nuclei[hit]]), axis=1, return_counts=True
    )
    covered = np.zeros(len(found.table) + 1, np.int64)
    order = np.argsort(overlap, kind="stable")
    covered[pairs[0, order]] = pairs[1, order]
    kept = np.where(covered[1:] > 0, np.arange(1, len(covered)), 0)
    number = np.concatenate([[0], np.where(kept, np.cumsum(kept > 0), 0)]).astype(np.int32)
    yield "watershed + 2 px", number[found.cells], covered[1:][kept > 0] - 1


def simulated(
    methods: list[str],
    size: int,
    seeds: int,
    densities: tuple[float, ...],
    bleeds: tuple[float, ...],
) -> list[dict[str, Any]]:
    """Return one row for each tissue, kind of mask and method."""
    channels = list(dict.fromkeys(itertools.chain(*EXCLUSIVE)))
    pairs = [[channels.index(name) for name in pair] for pair in EXCLUSIVE]
    rows = []
    cases = list(itertools.product(densities, bleeds, range(seeds)))
    for number, (density, bleed, seed) in enumerate(cases, start=1):
        print(f"\rsimulated tissue {number} of {len(cases)}", end="", file=sys.stderr)
        names = ("DAPI", *channels)
        tissue = Tissue(shape=(size, size), seed=seed, density=density, bleed=bleed, channels=names)
        sharp = attrs.evolve(tissue, bleed=0.0, blur=0.0, noise=0.0)
        of_cells = attrs.evolve(sharp, background=0.0, debris=0.0)
        seen, ideal, light = (model.render() for model in (tissue, sharp, of_cells))
        owner = tissue.labels(kind="cells")
        whole, image = Image(seen, channels=names), Image(seen[1:], channels=channels)
        carried = np.array([[name in kind.markers for name in channels] for kind in TYPES])
        for mask, labels, truth in masks(tissue, whole):
            means = measure(image, labels).intensities
            foreign = owner != np.concatenate([[0], truth + 1])[labels]
            own = ideal[1:].astype(np.float32) - np.where(foreign, light[1:], 0)
            true = measure(own, labels).intensities
            carriers = carried[tissue.types[truth]]
            for method in methods:
                found = scores(apply(method, image, labels, means), true, carriers, pairs)
                condition = {"mask": mask, "density": density, "bleed": bleed, "seed": seed}
                rows.append({**condition, "method": method, **found})
    print(file=sys.stderr)
    return rows


def real(methods: list[str], folder: Path) -> list[dict[str, Any]]:
    """Return one row for each region, pair and method of ``imc_spleen``."""
    from skimage.filters import threshold_otsu

    rows = []
    for region in sorted(folder.glob("ROI*")):
        image = read_image(region / "channels")
        labels = tifffile.imread(region / "cell_labels.tif")
        table = measure(image, labels)
        # Compensators take the ids 1..N.
        labels = np.searchsorted(np.r_[0, table.labels], labels).astype(np.int32)
        results = {method: apply(method, image, labels, table.intensities) for method in methods}
        for pair in IMC_PAIRS:
            columns = [image.index(name) for name in pair]
            before = table.intensities[:, columns]
            gates = [np.sinh(threshold_otsu(np.arcsinh(column))) for column in before.T]
            positive = before > gates
            for method, means in results.items():
                after = means[:, columns]
                equal = [
                    np.quantile(column, 1 - share)
                    for column, share in zip(after.T, positive.mean(axis=0), strict=True)
                ]
                rows.append(
                    {
                        "region": region.name,
                        "pair": "/".join(pair),
                        "method": method,
                        "doubles": doubles(after > gates, [[0, 1]]),
                        "positives_left": float((after > gates)[positive].mean()),
                        "doubles_at_equal_positives": doubles(after > equal, [[0, 1]]),
                    }
                )
    return rows


def summary(rows: list[dict[str, Any]], keys: tuple[str, ...], values: tuple[str, ...]) -> Any:
    """Return means and standard deviations of values over the rows that agree in the keys."""
    groups = defaultdict(list)
    for row in rows:
        groups[tuple(row[key] for key in keys)].append([row[value] for value in values])
    return {
        key: {
            value: (float(np.mean(column)), float(np.std(column)))
            for value, column in zip(values, zip(*group, strict=True), strict=True)
        }
        for key, group in groups.items()
    }


def verdicts(table: Any, methods: list[str]) -> list[str]:
    """Return in how many simulated conditions each method is better than none."""
    lines = []
    conditions = sorted({key[:3] for key in table})
    for method in methods[1:]:
        better = {
            value: sum(
                table[*condition, method][value][0] <= table[*condition, "none"][value][0]
                for condition in conditions
            )
            for value in ("error", "doubles_at_equal_sensitivity")
        }
        lines.append(
            f"{method}: no worse than without compensation, of {len(conditions)} conditions: "
            f"means in {better['error']}, doubles at equal sensitivity in "
            f"{better['doubles_at_equal_sensitivity']}"
        )
    return lines


def draw(folder: Path, table: Any, spleen: list[dict[str, Any]], methods: list[str]) -> None:
    """Draw errors and false doubles over the strength of bleed, and the real pairs."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    kinds = list(dict.fromkeys(key[0] for key in table))
    shown = (
        ("error", "error of means, % of signal"),
        ("doubles", "false doubles, %"),
        ("doubles_at_equal_sensitivity", "doubles at equal sensitivity, %"),
    )
    density = sorted({key[1] for key in table})[len({key[1] for key in table}) // 2]
    figure, axes = plt.subplots(
        len(shown), len(kinds), figsize=(9.6, 7.2), sharex=True, sharey="row", squeeze=False
    )
    for (value, name), row in zip(shown, axes, strict=True):
        for kind, axis in zip(kinds, row, strict=True):
            for method in methods:
                found = sorted(
                    (bleed, stats[value])
                    for (mask, d, bleed, m), stats in table.items()
                    if (mask, d, m) == (kind, density, method)
                )
                axis.errorbar(
                    [100 * bleed for bleed, _ in found],
                    [100 * mean for _, (mean, _) in found],
                    [100 * spread for _, (_, spread) in found],
                    marker="o",
                    ms=4,
                    label=method,
                )
            axis.grid(alpha=0.3)
        row[0].set_ylabel(name)
        row[0].set_ylim(bottom=0)
    for kind, top, bottom in zip(kinds, axes[0], axes[-1], strict=True):
        top.set_title(kind)
        bottom.set_xlabel("light scattered, %")
    key(figure, axes)
    figure.suptitle(f"nuclei cover {density:.0%} of the tissue", x=0.99, ha="right", fontsize=10)
    figure.savefig(folder / "compensation-simulated.png", dpi=110)
    if not spleen:
        return
    panels = (
        ("doubles", "double positive, fixed gates, %"),
        ("positives_left", "positives left, fixed gates, %"),
        ("doubles_at_equal_positives", "double positive, equal positives, %"),
    )
    figure, axes = plt.subplots(1, len(panels), figsize=(10.5, 3.2), squeeze=False)
    pairs = list(dict.fromkeys(row["pair"] for row in spleen))
    for axis, (value, name) in zip(axes[0], panels, strict=True):
        found = summary(spleen, ("pair", "method"), (value,))
        for number, method in enumerate(methods):
            stats = [found[pair, method][value] for pair in pairs]
            axis.bar(
                np.arange(len(pairs)) + 0.8 * (number + 0.5) / len(methods) - 0.4,
                [100 * mean for mean, _ in stats],
                0.8 / len(methods),
                yerr=[100 * spread for _, spread in stats],
                label=method,
            )
        axis.set_xticks(range(len(pairs)), pairs)
        axis.set_ylabel(name)
    key(figure, axes)
    figure.savefig(folder / "compensation-spleen.png", dpi=110)


def key(figure: Any, axes: Any) -> None:
    """Say above the panels what the colours are."""
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / figure.get_figheight()))


def show(table: dict[tuple[Any, ...], Any], header: str) -> None:
    """Print means and standard deviations in per cent, one line for each key."""
    print(f"\n{header}")
    for key, stats in table.items():
        figures = "  ".join(
            f"{name.replace('_', ' ')} {mean:.1%} ±{spread:.1%}"
            for name, (mean, spread) in stats.items()
        )
        print(f"{', '.join(map(str, key)):<42} {figures}")


def main() -> None:
    """Measure every method, print tables, and write JSON and figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--methods", help="default: every compensator that can run here")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--quick", action="store_true", help="one seed, 512 px, two conditions")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figures", type=Path)
    options = parser.parse_args()
    found = [
        entry.name
        for entry in load_plugins().components
        if entry.kind == "compensator" and not entry.missing()
    ]
    methods = ["none", *(options.methods.split(",") if options.methods else found)]
    size, seeds = (512, 1) if options.quick else (options.size, options.seeds)
    densities, bleeds = ((0.5,), (0.0, 0.2)) if options.quick else (DENSITIES, BLEEDS)

    rows = simulated(methods, size, seeds, densities, bleeds)
    table = summary(rows, ("mask", "density", "bleed", "method"), FIGURES)
    show(table, "mask, density, bleed, method")
    show(summary(rows, ("mask", "method"), FIGURES), "mean over densities and bleeds")
    show(summary(rows, ("method",), FIGURES), "mean over all")
    print("\n" + "\n".join(verdicts(table, methods)))

    default = os.environ.get("CELLSEG_TEST_DATA", "../shared/data")
    folder = (options.data or Path(default)) / "imc_spleen"
    spleen = real(methods, folder) if folder.is_dir() else []
    if spleen:
        values = ("doubles", "positives_left", "doubles_at_equal_positives")
        show(summary(spleen, ("pair", "method"), values), "imc_spleen, four regions")
    else:
        print(f"\nno imc_spleen in {folder}: name its parent with --data", file=sys.stderr)
    if options.figures:
        draw(options.figures, table, spleen, methods)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "machine": platform.platform(),
            "cellseg": version("cellseg-core"),
            "packages": {name: version(name) for name in ("numpy", "scipy", "scikit-image")},
            "processor": platform.processor(),
            "methods": methods,
            "seeds": seeds,
            "size": size,
            "simulated": rows,
            "imc_spleen": spleen,
        }
        options.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
