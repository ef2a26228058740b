"""Impossible double positives with and without compensation, as in Fig. 5B of Lee et al. 2022.

Runs every method over real tissues, grows nuclei by 2 px, compensates, and counts cells that are
positive for two markers that exclude each other, among those positive for either. Thresholds are
Otsu's on the arcsinh of the values of all cells of all methods before compensation, for all alike.
The paper's colorectal cancers are not open; here it is imaging mass cytometry of spleen (CD3/CD20,
CD4/CD8) and a CODEX lymph node (CD4/CD8).

    python benchmarks/paper_fig5.py [--segmenters ...] [--expand 2] [--compensator conserving]
                                    [--data FOLDER] [--out FOLDER] [--fresh]
"""

from __future__ import annotations

import common
from matplotlib.figure import Figure

from cellseg_core.comparing.downstream import DoublePositives
from cellseg_core.config import RunConfig


def draw(tables: dict[str, dict[str, DoublePositives]]) -> Figure:
    """Return bars of the shares before and after compensation, a panel for each pair."""
    figure = Figure(figsize=(3.2 * len(tables), 3.6), layout="constrained")
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for panel, (title, rows) in zip(panels, tables.items(), strict=True):
        for offset, name, shade in ((-0.2, "share", "0.6"), (0.2, "share_after", "#0072b2")):
            shares = [100 * (getattr(row, name) or 0) for row in rows.values()]
            places = [place + offset for place in range(len(rows))]
            label = "before" if name == "share" else "after compensation"
            panel.bar(places, shares, 0.4, color=shade, label=label)
        panel.set_xticks(range(len(rows)), list(rows), rotation=30, fontsize=8)
        panel.set_title(title, fontsize=9)
    panels[0].set_ylabel("double positives, % of positives")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def main() -> None:
    """Run the methods, print the table, and write JSON and the figure."""
    parser = common.parser(__doc__)
    parser.add_argument("--expand", default=2, type=float)
    parser.add_argument("--compensator", default="conserving")
    options = parser.parse_args()
    spleen = sorted((options.data / "imc_spleen").glob("ROI*/channels"))
    node = options.data / "codex_lymph_node"
    grown = {"expand": options.expand, "compensate": True, "compensator": options.compensator}
    tissues = {
        "spleen, IMC": (
            spleen,
            RunConfig(nuclear=("DNA1", "DNA3"), **grown),
            [("CD3", "CD20"), ("CD4", "CD8a")],
        ),
        "lymph node, CODEX": (
            [node / "image.tif"],
            RunConfig(nuclear=("DAPI",), channels=node / "channelNames.txt", **grown),
            [("CD4", "CD8")],
        ),
    }
    tables: dict[str, dict[str, DoublePositives]] = {}
    found = {}
    for number, (tissue, (inputs, config, exclusive)) in enumerate(tissues.items()):
        comparison = common.head_to_head(
            options, f"paper_fig5-{number}", inputs, config=config, exclusive=exclusive
        )
        for method in comparison.findings.methods:
            for pair in method.double_positives:
                title = f"{tissue}\n{pair.first} and {pair.second}"
                tables.setdefault(title, {})[method.method.name] = pair
        found[tissue] = {
            "failed": {m.method.name: m.failed for m in comparison.findings.methods if m.failed},
            "thresholds": (t := comparison.findings.thresholds) and t.facts(),
            "methods": {
                m.method.name: [pair.facts() for pair in m.double_positives]
                for m in comparison.findings.methods
            },
        }
    for title, rows in tables.items():
        print(f"\n{title.replace(chr(10), ': ')}")
        print(f"{'':<12}{'cells':>8}{'positive':>10}{'both':>8}{'after':>8}{'still positive':>16}")
        for method, row in rows.items():
            shares = [row.share, row.share_after, row.facts()["kept_share"]]
            told = ["-" if share is None else f"{share:.1%}" for share in shares]
            print(
                f"{method:<12}{row.cells:>8,}{row.either:>10,}{told[0]:>8}{told[1]:>8}{told[2]:>16}"
            )
    common.write(options, "paper_fig5", found, draw(tables) if tables else None)


if __name__ == "__main__":
    main()
