"""What a report shows of results after segmentation: double positives, gates and counts."""

from __future__ import annotations

from cellseg_core.comparing.downstream import DoublePositives
from cellseg_core.comparing.findings import Findings
from cellseg_core.comparing.shown import ImagesDone
from cellseg_core.pages.tables import DASH, Cell, Column, Table, listed, number, share, whole

__all__ = [
    "correlation_table",
    "double_positive_tables",
    "gate_table",
    "left_out",
    "threshold_table",
]


def left_out(findings: Findings) -> list[str]:
    """Return, a sentence for each marker, the images that lack it."""
    said = []
    for marker, images in findings.lacking.items():
        if len(images) == 1:
            said.append(f"{marker} is not in image {images[0]}, whose cells are left out.")
        elif images:
            said.append(
                f"{marker} is not in {len(images):,} images, whose cells are left out: "
                f"{listed(images)}."
            )
    return said


def double_positive_tables(findings: Findings) -> list[Table]:
    """Return a table for each pair of markers that exclude each other."""
    done = ImagesDone.of(findings)
    pairs = dict.fromkeys(
        (pair.first, pair.second) for one in findings.methods for pair in one.double_positives
    )
    columns = (
        Column("Cells", "That have a value of both markers."),
        Column("Positive", "For at least one of the markers, before compensation."),
        Column("Double positive", "For both, as a share of the positive cells."),
        Column("Positive after", "For at least one of the markers, after compensation."),
        Column("Double positive after", "For both, after compensation at the same thresholds."),
        Column(
            "Kept",
            "Positive cells that still are after compensation: few mean that signal was lost.",
        ),
    )
    return [
        Table(
            f"Cells positive for both {first} and {second}, which exclude each other.",
            "Method",
            columns,
            tuple(
                (done.head(one.method.name), _double(pair))
                for one in findings.methods
                for pair in one.double_positives
                if (pair.first, pair.second) == (first, second)
            ),
        )
        for first, second in pairs
    ]


def _double(pair: DoublePositives) -> tuple[Cell, ...]:
    before = (
        Cell(whole(pair.cells)),
        Cell(whole(pair.either), share(pair.either, pair.cells)),
        Cell(share(pair.both, pair.either), f"{whole(pair.both)} cells"),
    )
    if pair.either_after is None or pair.both_after is None or pair.kept is None:
        return (*before, Cell(DASH), Cell(DASH), Cell(DASH))
    return (
        *before,
        Cell(whole(pair.either_after), share(pair.either_after, pair.cells)),
        Cell(share(pair.both_after, pair.either_after), f"{whole(pair.both_after)} cells"),
        Cell(share(pair.kept, pair.either)),
    )


def gate_table(findings: Findings) -> Table | None:
    """Return the cells of each method in each gate, over all images; None without gates."""
    if findings.gates is None:
        return None
    names, done = [one.method.name for one in findings.methods], ImagesDone.of(findings)
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for row in findings.counts:
        if row["count"] is not None:
            key = row["gate"], row["method"]
            inside, cells = counts.get(key, (0, 0))
            counts[key] = inside + row["count"], cells + row["cells"]
    return Table(
        "Cells in each gate, and their share of all cells of the method.",
        "Gate",
        tuple(Column(done.head(name)) for name in names),
        tuple(
            (
                f"{gate.name} ({gate})",
                tuple(_counted(counts.get((gate.name, name))) for name in names),
            )
            for gate in findings.gates.gates
        ),
    )


def _counted(found: tuple[int, int] | None) -> Cell:
    return Cell(DASH) if found is None else Cell(whole(found[0]), share(*found))


def threshold_table(findings: Findings) -> Table | None:
    """Return where each marker is positive; None without markers."""
    if findings.thresholds is None:
        return None
    return Table(
        "Thresholds: a cell is positive for a marker whose mean in it is over this. They are the "
        "same for all methods.",
        "Marker",
        (Column("Threshold", "In the units of the image's file."), Column("From")),
        tuple(
            (
                marker,
                (
                    Cell(number(found["threshold"])),
                    Cell(
                        "Otsu, over the cells of all methods"
                        if found["source"] == "otsu"
                        else str(found["source"])
                    ),
                ),
            )
            for marker, found in findings.thresholds.facts().items()
        ),
    )


def correlation_table(findings: Findings) -> Table | None:
    """Return how the counts of every two methods go together in each gate; None without any."""
    found, done = findings.correlations, ImagesDone.of(findings)
    if not found:
        return None
    pairs = list(dict.fromkeys((one.first, one.second) for one in found))
    by = {(one.gate, one.first, one.second): one for one in found}
    gates = list(dict.fromkeys(one.gate for one in found))
    return Table(
        f"Squared correlation (r\u00b2) of the counts of two methods over {found[0].over}; under "
        "it the slope of the line (second / first).",
        "Gate",
        tuple(Column(f"{done.head(first)} / {done.head(second)}") for first, second in pairs),
        tuple(
            (
                gate,
                tuple(
                    Cell(DASH)
                    if one is None
                    else Cell(
                        number(one.r2, 2),
                        "" if one.slope is None else f"slope {number(one.slope, 2)}",
                        weight=one.r2,
                    )
                    for pair in pairs
                    for one in [by.get((gate, *pair))]
                ),
            )
            for gate in gates
        ),
    )
