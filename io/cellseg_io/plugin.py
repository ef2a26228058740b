"""The readers and writers that come with cellseg."""

from __future__ import annotations

from cellseg_core.component import Component
from cellseg_core.hookspecs import hookimpl

__all__ = ["cellseg_readers", "cellseg_writers"]


@hookimpl
def cellseg_readers() -> list[Component]:
    """Return the built-in readers."""
    return [
        Component(
            name="tiff",
            factory="cellseg_io.tiff:TiffReader",
            description="TIFF, OME-TIFF, ImageJ TIFF and QPTIFF",
            patterns=("*.tif", "*.tiff", "*.qptiff", "*.companion.ome"),
        ),
        Component(
            name="ome-zarr",
            factory="cellseg_io.ome_zarr:OmeZarrReader",
            description="OME-Zarr 0.1 to 0.5, in a folder or at an address (s3://, https://)",
            patterns=("*.zarr/",),
            contains=("zarr.json", ".zattrs", ".zgroup"),
            addresses=True,
        ),
        Component(
            name="picture",
            factory="cellseg_io.picture:PictureReader",
            description="PNG and JPG, gray or colour",
            patterns=("*.png", "*.jpg", "*.jpeg"),
        ),
        Component(
            name="bioio",
            factory="cellseg_io.bioio_reader:BioioReader",
            description="CZI, ND2, LIF, IMS, VSI, MRXS, DV, OIR and more, by the package bioio",
            requires=("bioio>=3",),
            install="pip install bioio bioio-czi  # or bioio-nd2, -lif, -dv, -sldy, -bioformats",
            patterns=(
                *("*.czi", "*.nd2", "*.lif", "*.dv", "*.r3d", "*.sldy"),
                # By Bio-Formats:
                *("*.ims", "*.vsi", "*.mrxs", "*.oir", "*.oib", "*.oif", "*.zvi"),
                *("*.svs", "*.ndpi", "*.scn", "*.bif", "*.sld", "*.lof", "*.xlef"),
            ),
        ),
        Component(
            name="channels",
            factory="cellseg_io.channels:ChannelFolderReader",
            description="a folder of single-channel TIFFs, named by their file names",
            patterns=("*/",),
        ),
        Component(
            name="codex",
            factory="cellseg_io.codex:CodexReader",
            description="CODEX tiles (reg001_X01_Y01_Z01.tif) and raw CODEX folders (Cyc1_reg1)",
            patterns=("reg[0-9]*_x[0-9]*_y[0-9]*.tif", "reg[0-9]*_x[0-9]*_y[0-9]*.tiff"),
        ),
    ]


@hookimpl
def cellseg_writers() -> list[Component]:
    """Return the built-in writers."""
    return [
        Component(
            name="csv",
            factory="cellseg_io.csv_table:CsvWriter",
            description="cells.csv: one row a cell",
        ),
        Component(
            name="fcs",
            factory="cellseg_io.fcs:FcsWriter",
            description="cells.fcs for FlowJo, Cytobank and CellEngine",
        ),
        Component(
            name="labels",
            factory="cellseg_io.labels:LabelsWriter",
            description="nuclei.ome.tif and cells.ome.tif: the ids of the table; large ones .zarr",
        ),
        Component(
            name="overlay",
            factory="cellseg_io.overlay:OverlayWriter",
            description="overlay.png: outlines on the brightness-scaled nuclear image",
        ),
        Component(
            name="report",
            factory="cellseg_io.report:ReportWriter",
            description="report.html: what to look at, pictures to zoom into, plots and maps",
        ),
    ]
