"""Segmenters head to head: run on the same images, on one path, and held against each other."""

from __future__ import annotations

from cellseg_core.comparing.comparison import Comparison, compare
from cellseg_core.comparing.method import Method, parse_methods
from cellseg_core.comparing.report import write_report
from cellseg_core.comparing.tables import write_tables

__all__ = ["Comparison", "Method", "compare", "parse_methods", "write_report", "write_tables"]
