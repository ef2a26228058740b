"""How the site of the documentation is made.

sphinx-build -W --keep-going -b html docs docs/_build
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "cellseg"
author = "the cellseg developers"
copyright = author  # noqa: A001 - the name that Sphinx gives it
version = release = version_of("cellseg-core")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "command_reference"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "cellseg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False

myst_heading_anchors = 3
myst_enable_extensions = ["deflist", "fieldlist"]

smartquotes = False
default_role = "code"  # docstrings have Markdown's single backticks at times
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "all"
python_use_unqualified_type_names = True
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
# What cellseg names must be there. Nothing is looked up in the documentation of other packages,
# which would take a network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!cellseg_).*")]

_OUTSIDE = re.compile(r"\[([^]]+)\]\(\.\./([^)#]+)[^)]*\)")


def _leave_the_site(_: Any, __: str, source: list[str]) -> None:
    """Show the path of a file of the checkout that is no page, in place of a link to it."""
    source[0] = _OUTSIDE.sub(
        lambda found: f"`{found[2]}`" if found[1] == found[2] else f"{found[1]} (`{found[2]}`)",
        source[0],
    )


def _mark_examples(
    _: Any, __: str, ___: str, ____: object, _____: object, lines: list[str]
) -> None:
    """Begin a section where a docstring's example stands after another section."""
    first = next((n for n, line in enumerate(lines) if line.startswith(">>>")), 0)
    if any(set(line) == {"-"} for line in lines[:first]) and "Examples" not in lines:
        lines[first:first] = ["Examples", "--------"]


def setup(app: Any) -> None:
    """Register what changes pages and docstrings before they are read."""
    app.connect("source-read", _leave_the_site)
    app.connect("autodoc-process-docstring", _mark_examples, priority=100)  # before napoleon
