"""The directive ``{commands}``: what every command of ``cellseg`` says of itself, from click."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import click
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from cellseg_core.cli.main import _cellseg


class Commands(SphinxDirective):
    """Writes a section for each command: its usage, its help, its options."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        parent = click.Context(_cellseg, info_name="cellseg")
        return self.parse_text_to_nodes(
            "\n".join(_group(_cellseg, parent)), allow_section_headings=True
        )


def _group(group: click.Group, parent: click.Context) -> Iterator[str]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent)
        yield from _described(command, context)
        if isinstance(command, click.Group):
            yield from _group(command, context)


def _described(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"## {context.command_path}\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{context.command_path} {usage}\n```\n"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        # click's mark of lines that are to stay as they are
        yield (
            f"```text\n{paragraph[2:]}\n```\n" if paragraph.startswith("\b\n") else f"{paragraph}\n"
        )
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if record is not None and record[1] and "--help" not in option.opts:
            names, text = record
            yield f"`{names}`\n: {_plain(text)}\n"


def _plain(text: str) -> str:
    return text.replace("<", "\\<").replace("*", "\\*").replace("[", "\\[")


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
