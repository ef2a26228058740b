"""Help of commands with many options, in sections: what a first user needs stands first."""

from __future__ import annotations

import click

__all__ = ["SectionedCommand"]

_SECTIONS = {
    "What is compared": (
        *("segmenters", "described", "truth", "kind", "exclusive", "gates", "repeats"),
        *("diameters", "factors", "name", "at", "size"),
    ),
    "Images": ("nuclear", "membrane", "channels", "layout", "pixel_size"),
    "Finding nuclei": ("segmenter", "nuclear_diameter", "brightness", "reference", "min_size"),
    "Cells and what is measured": (
        *("expand", "expander", "compensate", "compensator", "compensate_except", "features"),
    ),
    "Results": ("out", "write", "fresh", "quiet"),
    "Large images": ("tile", "overlap", "skip_failed_tiles", "workers", "scheduler", "memory"),
}
_REST = "Everything else"


class SectionedCommand(click.Command):
    """A command whose options are shown by what they are about; those of no section come last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections that the command has options of."""
        records = {
            param.name: record
            for param in self.get_params(ctx)
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx))
        }
        for title, names in _SECTIONS.items():
            shown = [records.pop(name) for name in names if name in records]
            if shown:
                with formatter.section(title):
                    formatter.write_dl(shown)
        with formatter.section(_REST):
            formatter.write_dl(list(records.values()))
