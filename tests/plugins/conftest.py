"""The package in this folder is one of its own: a test installs it and runs its tests."""

collect_ignore = ["cellseg-brightspots"]
