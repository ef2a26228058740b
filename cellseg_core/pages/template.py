"""Templates of pages: what users named appears as text, whatever it holds."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["template_of"]


@cache
def template_of(package: str, name: str) -> Template:
    """Return a template of a package, which may use the style and the macros of this one."""
    import jinja2

    def load(file: str) -> str | None:
        for place in (package, "cellseg_core.pages"):
            found = files(place).joinpath(file)
            if found.is_file():
                return found.read_text("utf-8")
        return None

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
