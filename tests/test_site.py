"""The site of the documentation: it builds without a warning, and says what is so."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(made_once: Callable[..., Path]) -> Path:
    """Return the folder of the site, built anew with every warning as an error."""
    return made_once("site", build) / "html"


def build(folder: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d"]
    done = subprocess.run(
        [*command, folder / "trees", DOCS, folder / "html"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def described(site: Path) -> set[str]:
    """Return the names of the library that the site describes."""
    from sphinx.util.inventory import InventoryFile

    with (site / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, path: path)
    return {name for kind, found in inventory.items() if kind.startswith("py:") for name in found}


def test_every_page_is_reached_from_the_first(site: Path) -> None:
    first = (site / "index.html").read_text(encoding="utf-8")
    menu = first.split('class="sidebar-tree"', 1)[1].split("</aside>", 1)[0]
    for page in DOCS.glob("*.md"):
        assert page.stem == "index" or f'href="{page.stem}.html"' in menu, page.name


def test_the_whole_public_library_is_described(site: Path) -> None:
    import cellseg_core
    from cellseg_core import errors, hookspecs, protocols, testing

    names = described(site)
    for module in (cellseg_core, errors, protocols, testing, hookspecs):
        for public in set(module.__all__) - {"__version__", "hookspec", "Labels"}:
            assert names & {f"{module.__name__}.{public}", f"cellseg_core.{public}"}, public


def test_every_option_of_every_command_is_on_the_site(site: Path) -> None:
    import click

    from cellseg_core.cli.main import _cellseg

    page = (site / "commands.html").read_text(encoding="utf-8")
    for name in _cellseg.list_commands(click.Context(_cellseg)):
        command = _cellseg.get_command(click.Context(_cellseg), name)
        assert command is not None
        section = page.split(f"<h2>cellseg {name}<", 1)[1].split("<h2>", 1)[0]
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert option in section, f"cellseg {name} {option}"


def test_the_site_needs_no_network(site: Path) -> None:
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|img|iframe)[^>]*src="(https?:[^"]+)', text)
        fetched += re.findall(r'<link[^>]*rel="stylesheet"[^>]*href="(https?:[^"]+)', text)
        assert not fetched, page.name


@cache
def texts_in_the_code() -> tuple[str, ...]:
    """Return every text of the packages but docstrings, with a NUL for each value put in."""
    folders = ("cellseg_core", "backends", "io", "postprocess")
    found = []
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        alone = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "\0" for v in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and id(node) not in alone:
                found.append(str(node.value))
    return tuple(found)


def messages() -> list[str]:
    """Return the messages that the page on troubleshooting quotes."""
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| message .*\n\|[-|]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    return [re.fullmatch(r"\| `(.+?)` \| .+ \|", row)[1] for t in tables for row in t.splitlines()]  # type: ignore[index]


@pytest.mark.parametrize("message", messages())
def test_a_message_that_is_explained_is_one_that_cellseg_has(message: str) -> None:
    parts = [part.strip() for part in message.split("...") if part.strip()]
    pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
    assert any(pattern.search(text) for text in texts_in_the_code())


def test_every_kind_of_error_has_a_section() -> None:
    from cellseg_core import errors

    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    for name in set(errors.__all__) - {"CellsegError", "PartOfImageError", "nearest"}:
        assert f"`{name}`" in page


def test_the_columns_of_the_original_program_are_on_its_page() -> None:
    from cellseg_io.csv_table import _CELLSEG

    page = (DOCS / "from-cellseg.md").read_text(encoding="utf-8")
    for theirs, ours in _CELLSEG.items():
        assert f"| `{theirs}` | `{ours}` |" in page


def test_the_reference_managers_file_has_the_papers_of_the_page() -> None:
    page = (DOCS / "citation.md").read_text(encoding="utf-8")
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for doi in re.findall(r"^ *doi: (\S+)$", cited, re.MULTILINE):
        assert f"https://doi.org/{doi}" in page
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"license: {project['license']}" in cited
