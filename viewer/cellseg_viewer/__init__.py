"""What napari shows of cellseg: finished runs, and a widget to try settings."""
