"""Counts of gated populations, correlated between methods, as in Fig. 6C of Lee et al. 2022.

Runs every method over imaging mass cytometry of spleen, gates the cells by a file of phenotypes
with one set of thresholds, and correlates the counts of each two methods: least-squares line and
r2. The paper has 140 samples; four regions are too few for points, so these are windows of them.

    python benchmarks/paper_fig6.py [--segmenters ...] [--gates benchmarks/gates_spleen.toml]
                                    [--data FOLDER] [--out FOLDER] [--fresh]
"""

from __future__ import annotations

from pathlib import Path

import common
from matplotlib.figure import Figure

from cellseg_core.comparing.downstream import Correlation
from cellseg_core.comparing.gates import read_gates
from cellseg_core.config import RunConfig

GATES = Path(__file__).with_name("gates_spleen.toml")


def draw(rows: list[Correlation]) -> Figure:
    """Return a panel for each gate (column) and two methods (row)."""
    gates = list(dict.fromkeys(row.gate for row in rows))
    pairs = list(dict.fromkeys((row.first, row.second) for row in rows))
    figure = Figure(figsize=(2.4 * len(gates), 2.4 * len(pairs)))
    panels = figure.subplots(len(pairs), len(gates), squeeze=False)
    for row in rows:
        panel = panels[pairs.index((row.first, row.second))][gates.index(row.gate)]
        panel.plot(row.x, row.y, ".", color="#0072b2", markersize=4)
        top = max([1, *row.x, *row.y])
        panel.plot([0, top], [0, top], color="0.8", linewidth=1, zorder=0)
        if row.slope is not None and row.intercept is not None:
            ends = [0, max(row.x)]
            panel.plot(ends, [row.intercept + row.slope * x for x in ends], color="#d55e00")
        r2 = "" if row.r2 is None else f", r2 {row.r2:.2f}"
        panel.set_title(f"{row.gate}{r2}", fontsize=7)
        panel.set_xlabel(row.first, fontsize=7)
        panel.set_ylabel(row.second, fontsize=7)
        panel.tick_params(labelsize=6)
    figure.tight_layout()
    return figure


def main() -> None:
    """Run the methods, print the table, and write JSON and the figure."""
    parser = common.parser(__doc__)
    parser.add_argument("--gates", type=Path, default=GATES)
    options = parser.parse_args()
    comparison = common.head_to_head(
        options,
        "paper_fig6",
        sorted((options.data / "imc_spleen").glob("ROI*/channels")),
        config=RunConfig(nuclear=("DNA1", "DNA3"), expand=2, compensate=True),
        gates=read_gates(options.gates),
    )
    rows = list(comparison.findings.correlations)
    print(f"counts over {rows[0].over if rows else 'nothing'}")
    print(f"{'gate':<20}{'methods':<26}{'counts':<16}{'slope':>7}{'r2':>7}")
    for row in rows:
        slope, r2 = ("-" if v is None else f"{v:.2f}" for v in (row.slope, row.r2))
        counts = f"{sum(row.x):,} {sum(row.y):,}"
        print(f"{row.gate:<20}{row.first + ', ' + row.second:<26}{counts:<16}{slope:>7}{r2:>7}")
    findings = comparison.findings
    found = {
        "gates": findings.gates and findings.gates.facts(),
        "thresholds": findings.thresholds and findings.thresholds.facts(),
        "failed": {m.method.name: m.failed for m in findings.methods if m.failed},
        "counts": list(findings.counts),
        "correlations": [row.facts() for row in rows],
    }
    common.write(options, "paper_fig6", found, draw(rows) if rows else None)


if __name__ == "__main__":
    main()
