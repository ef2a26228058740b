"""Runs the notebooks, and writes each with its pictures beside the text that it is made from.

    python docs/make_notebooks.py        # notebooks/*.py -> notebooks/*.ipynb

Change the text, never the notebook alone; or change the notebook and bring the text in step with
`jupytext --to py:percent notebooks/NAME.ipynb`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"


def executed(text: Path, folder: Path) -> Any:
    """Return the notebook of a text, run in a folder, without what differs from run to run."""
    notebook = jupytext.read(text)
    client = NotebookClient(
        notebook,
        timeout=600,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    notebook.metadata.pop("language_info", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        # What is told beside the work, such as how many threads there are, is of this machine.
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Run all notebooks."""
    for text in sorted(FOLDER.glob("*.py")):
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(text, Path(folder))
        nbformat.write(notebook, text.with_suffix(".ipynb"))
        print(text.with_suffix(".ipynb").name)


if __name__ == "__main__":
    main()
