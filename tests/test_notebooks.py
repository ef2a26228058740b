"""The notebooks run, and each is in step with the text that is reviewed."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import jupytext
import nbformat
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
TEXTS = sorted((ROOT / "notebooks").glob("*.py"))


def executed(text: Path, folder: Path) -> nbformat.NotebookNode:
    path = ROOT / "docs" / "make_notebooks.py"
    spec = importlib.util.spec_from_file_location("make_notebooks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.executed(text, folder)


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", ())]
    assert not [one for one in outputs if one.output_type == "error"]
    return "".join(one.text for one in outputs if one.output_type == "stream")


def test_there_is_a_notebook_for_each_text() -> None:
    assert [text.stem for text in TEXTS] == ["batch", "step_by_step"]
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert [one.with_suffix(".py") for one in notebooks] == TEXTS


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.stem)
def test_a_notebook_is_in_step_with_its_text(text: Path) -> None:
    notebook = nbformat.read(text.with_suffix(".ipynb"), as_version=4)
    cells = [
        [(cell.cell_type, cell.source) for cell in one.cells]
        for one in (notebook, jupytext.read(text))
    ]
    assert cells[0] == cells[1], "run python docs/make_notebooks.py"


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.stem)
def test_a_notebook_is_stored_with_its_pictures_and_without_a_trace_of_the_machine(
    text: Path,
) -> None:
    file = text.with_suffix(".ipynb")
    notebook = nbformat.read(file, as_version=4)
    assert printed(notebook)
    pictures = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            pictures += "image/png" in data
            shown = "".join([output.get("text", ""), *(data.get(f"text/{k}", "") for k in KINDS)])
            assert not re.search(r"/(tmp|home|root|usr|Users|work)\b|[A-Z]:\\", shown)
    assert pictures
    assert file.stat().st_size < 1_000_000


KINDS = ("plain", "html")


@pytest.mark.slow
# What Jupyter does on its way to a kernel is not ours to mend.
@pytest.mark.filterwarnings("default")
def test_the_notebook_of_single_steps_leads_to_cells_and_files(tmp_path: Path) -> None:
    said = printed(executed(ROOT / "notebooks" / "step_by_step.py", tmp_path))
    results = tmp_path / "step-by-step-results"
    cells = pd.read_csv(results / "cells.csv")
    assert 190 < len(cells) < 240
    assert f"<Result: {len(cells)} cells" in said
    gates = {name: int(n) for name, n in re.findall(r"(CD3\S CD20\S): (\d+) of", said)}
    assert gates["CD3+ CD20-"] > 20
    assert gates["CD3- CD20+"] > 20
    assert gates["CD3+ CD20+"] < 5
    for name in ("cells.fcs", "nuclei.ome.tif", "cells.ome.tif", "overlay.png"):
        assert f"step-by-step-results/{name}" in said
        assert (results / name).is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_notebook_of_batches_does_every_good_image_and_names_the_bad_one(
    tmp_path: Path,
) -> None:
    said = printed(executed(ROOT / "notebooks" / "batch.py", tmp_path))
    assert "! FAILED batch-images/broken.ome.tif" in said
    assert "4 of 4 images" in said
    cells = pd.read_csv(tmp_path / "batch-results" / "cells.csv")
    assert cells["image"].unique().tolist() == ["control", "treated 1", "treated 2"]
    for name in cells["image"].unique():
        assert (tmp_path / "batch-results" / name / "overlay.png").is_file()
