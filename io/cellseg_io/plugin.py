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
            name="parquet",
            factory="cellseg_io.parquet:ParquetWriter",
            description="cells.parquet: the table with types and units, for pandas, polars and R",
        ),
        Component(
            name="h5ad",
            factory="cellseg_io.h5ad:H5adWriter",
            description="cells.h5ad for scanpy and squidpy",
            requires=("anndata>=0.11",),
            install="pip install 'cellseg-core[anndata]'",
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
            name="overlay-tiff",
            factory="cellseg_io.overlay_tiff:OverlayTiffWriter",
            description="overlay.ome.tif: the same at full resolution, with a pyramid",
        ),
        Component(
            name="masks",
            factory="cellseg_io.masks:MasksWriter",
            description="masks.tif: both label images as a stack for ImageJ and Fiji",
        ),
        Component(
            name="geojson",
            factory="cellseg_io.geojson:GeoJsonWriter",
            description="cells.geojson: outlines and measurements for QuPath",
        ),
        Component(
            name="rois",
            factory="cellseg_io.rois:RoisWriter",
            description="rois.zip: outlines for the ROI Manager of ImageJ and Fiji",
            requires=("roifile>=2026.2.10",),
            install="pip install 'cellseg-core[rois]'",
        ),
        Component(
            name="spatialdata",
            factory="cellseg_io.spatialdata_store:SpatialDataWriter",
            description="cells.spatialdata.zarr: image, labels, outlines and table, linked",
            requires=("spatialdata>=0.7.3",),
            install="pip install 'cellseg-core[spatialdata]'",
        ),
        Component(
            name="report",
            factory="cellseg_io.report:ReportWriter",
            description="report.html: what to look at, pictures to zoom into, plots and maps",
        ),
    ]
