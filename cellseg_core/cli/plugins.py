"""``cellseg plugins``: every component, whether it can run here, and what would make it run."""

from __future__ import annotations

import json

import click

__all__ = ["command"]


@click.command("plugins", short_help="List every component.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, for scripts.")
def command(as_json: bool) -> int:
    """List every segmenter, expander, compensator, reader and writer.

    For each: its name, the package that brings it, and whether it can run here; if not, why, and
    the command that makes it run. Plugins that could not be loaded are listed too.
    """
    from cellseg_core.component import KINDS
    from cellseg_core.plugins import load_plugins

    plugins = load_plugins()
    rows: list[dict[str, object]] = []
    for entry in sorted(plugins.components, key=lambda entry: KINDS.index(entry.kind)):
        reason = entry.missing()
        rows.append(
            {
                "kind": entry.kind,
                "name": entry.name,
                "origin": entry.origin,
                "available": reason is None,
                "reason": reason or "",
                "install": (entry.component.install or f"update or reinstall {entry.origin}")
                if reason
                else "",
                "description": entry.component.description,
            }
        )
    rows += [
        {
            "kind": "plugin",
            "name": problem.name,
            "origin": problem.origin,
            "available": False,
            "reason": problem.reason,
            "install": problem.remedy,
            "description": "",
        }
        for problem in plugins.problems
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return 0
    kind = ""
    width = max((len(str(row["name"])) for row in rows), default=0)
    for row in rows:
        if row["kind"] != kind:
            kind = str(row["kind"])
            click.echo(f"{kind}s" if kind != "plugin" else "plugins that could not be used")
        state = "ok     " if row["available"] else "missing"
        if kind == "plugin":
            state = "broken "
        told = f"{row['description']} [{row['origin']}]".strip()
        click.echo(f"  {row['name']!s:<{width}}  {state}  {told}")
        if not row["available"]:
            click.echo(f"  {'':<{width}}           {row['reason']}")
            if row["install"]:
                click.echo(f"  {'':<{width}}           to mend: {row['install']}")
    return 0
