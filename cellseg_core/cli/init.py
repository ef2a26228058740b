"""``cellseg init``: a commented TOML file with every setting and its default."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

if TYPE_CHECKING:
    from cellseg_core.config import RunConfig

__all__ = ["command", "default_toml"]


@click.command("init", short_help="Write a commented file with every setting.")
@click.argument("file", required=False, type=Path, metavar="[FILE]")
def command(file: Path | None) -> int:
    """Write every setting with its default and what it does, for `cellseg run --config FILE`.

    Without FILE it is printed. A file that exists is not overwritten.
    """
    from cellseg_core.errors import OutputError
    from cellseg_core.plugins import load_plugins
    from cellseg_core.store import output_error

    text = default_toml(load_plugins())
    if file is None:
        click.echo(text, nl=False)
        return 0
    if file.exists():
        raise OutputError(f"{file} exists already. Choose another name, or remove it first.")
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise output_error(file, error) from error
    click.echo(
        f"Wrote {file}. Change what you need, then: cellseg run INPUT --config {file} -o OUT"
    )
    return 0


def default_toml(plugins: Any, config: RunConfig | None = None) -> str:
    """Return the text of the file. Settings without a value are commented out.

    Values are those of ``config``; default: the defaults. Its options of components (``set``) are
    not written.
    """
    from cellseg_core.config import RunConfig, as_toml
    from cellseg_core.errors import ComponentError

    what = "is the default" if config is None else "was chosen, or is the default"
    config = config or RunConfig()
    lines = [
        *_comment(
            f"Settings for `cellseg run --config FILE`. What is set here {what}; what begins with "
            "a # is an example. Options on the command line come before what is set here."
        ),
        "",
    ]
    for field in attrs.fields(RunConfig):
        if field.name == "set":
            continue
        lines += _comment(field.metadata["help"])
        value = getattr(config, field.name)
        key = field.name.replace("_", "-")
        if value in (None, ()):
            lines += [f"# {key} = {field.metadata['example']}", ""]
        else:
            lines += [f"{key} = {as_toml(value)}", ""]
    lines += [
        "# Options of the components, by their name. Remove the # to change one.",
        "",
    ]
    for entry in plugins.components:
        try:
            component = entry.load()
        except ComponentError as error:
            lines += [*_comment(f"Left out: {error}"), ""]
            continue
        options = inspect.signature(component).parameters
        # The distance to grow is the setting `expand`.
        shown = [o for n, o in options.items() if (entry.kind, n) != ("expander", "distance")]
        if not shown:
            continue
        texts = _parameter_texts(component)
        lines += [f"[set.{entry.name}]  # {entry.kind}: {entry.component.description}"]
        for option in shown:
            lines += _comment(texts.get(option.name, ""))
            value = option.default
            plain = isinstance(value, (bool, int, float, str, tuple, list))
            lines += [
                f"# {option.name} = {as_toml(value)}" if plain else f"# {option.name}: not set"
            ]
        lines += [""]
    return "\n".join(lines)


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, 96)]


def _parameter_texts(component: type) -> dict[str, str]:
    """Return what a numpydoc docstring says of each parameter."""
    doc = inspect.getdoc(component) or ""
    section = re.search(
        r"^Parameters\n-+\n(.*?)(?=^\w[^\n]*\n-+\n|\Z)", doc, re.DOTALL | re.MULTILINE
    )
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in section[1].splitlines() if section else ():
        if line and not line.startswith(" "):
            names = [name.strip() for name in line.partition(":")[0].split(",")]
        elif line.startswith("    "):
            for name in names:
                texts[name] = f"{texts.get(name, '')} {line.strip()}".strip()
        elif not line and names and not texts.get(names[0]):
            break
    # What is markup to Sphinx is noise to a reader of settings.
    return {n: re.sub(r":\w+:`~?([^`]*)`|``?([^`]*)``?", r"\1\2", t) for n, t in texts.items()}
