"""docs/walkthrough.md is run as it stands, on the image that it is about."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def script() -> ModuleType:
    path = ROOT / "docs" / "make_walkthrough.py"
    spec = importlib.util.spec_from_file_location("make_walkthrough", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parts(text: str) -> tuple[str, list[float]]:
    """Return the words, and the numbers but for times, which differ from run to run."""
    text = re.sub(r"[\d.]+ s\.", "TIME", text.strip())
    return NUMBER.sub("N", text), [float(one.replace(",", "")) for one in NUMBER.findall(text)]


@pytest.mark.slow
@pytest.mark.data
def test_the_blocks_of_the_walkthrough_print_what_it_shows(data_dir: Path, tmp_path: Path) -> None:
    walkthrough = script()
    walkthrough.put_image(data_dir, tmp_path)
    programs = 0
    for language, program, shown in walkthrough.blocks():
        words, numbers = parts(walkthrough.run(language, program, tmp_path))
        assert words == parts(shown)[0], program
        # Networks round differently on other processors, which can change some cells.
        assert numbers == pytest.approx(parts(shown)[1], rel=0.03, abs=1), program
        programs += 1
    assert programs == 8
    for picture in ("preview.png", "gate.png", "map.png", "view.png", "results/report.html"):
        assert (tmp_path / picture).is_file()
