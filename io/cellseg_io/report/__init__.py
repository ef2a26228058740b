"""The report of a run: one HTML page on every image, and one on all of them."""

from __future__ import annotations

from cellseg_io.report.writer import ReportWriter

__all__ = ["ReportWriter"]
