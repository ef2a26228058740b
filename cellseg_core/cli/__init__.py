"""Command line of cellseg: one module for each command."""
