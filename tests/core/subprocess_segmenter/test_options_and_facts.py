"""The options of the segmenter of another environment, and what it says of that environment."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest

from cellseg_core.errors import ConfigurationError
from cellseg_core.protocols import AdaptiveSegmenter, Described
from cellseg_core.provenance import facts_of
from cellseg_core.subprocess_segmenter import SubprocessSegmenter
from cellseg_core.subprocess_worker import interpreter, script


def test_it_follows_the_optional_protocols_and_says_its_options() -> None:
    made = SubprocessSegmenter(
        component="a:b", native_diameter=20, grid=32, uses_membrane=False, uses_color=True
    )
    assert isinstance(made, AdaptiveSegmenter)
    assert isinstance(made, Described)
    assert (made.halo, made.grid, made.uses_membrane, made.uses_color) == (80, 32, False, True)
    assert SubprocessSegmenter(component="a:b", halo=7).halo == 7
    assert SubprocessSegmenter(component="a:b").halo == 48
    assert made == attrs.evolve(made)
    assert "Worker" not in repr(made)


def test_the_halo_follows_the_diameter_of_the_image(env) -> None:
    sample = np.zeros((1, 8, 8), np.float32)
    with env.segmenter() as plain, env.segmenter("nuclei:Finder") as adaptive:
        for segmenter in (plain, adaptive):
            assert segmenter.halo == 48
            assert segmenter.adapt(sample, 20.5).halo == 82
            assert attrs.evolve(segmenter, halo=5).adapt(sample, 20.5).halo == 5
            assert segmenter.halo == 48


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"component": "module"}, "reads 'module:Class' or 'module:function'"),
        ({"component": "a:b.c"}, "reads 'module:Class'"),
        ({"python": 3}, "path of an interpreter"),
        ({"python": ""}, "path of an interpreter"),
        ({"options": [1]}, "names and values"),
        ({"options": {"a": {1}}}, "travel as JSON"),
        ({"options": "a"}, "names and values"),
        ({"native_diameter": 0}, "native_diameter is a number over 0 up to 1000 px"),
        ({"halo": -1}, "subprocess.halo is a whole number from 0"),
        ({"halo": 1.5}, "whole number"),
        ({"grid": 0}, "whole number from 1"),
        ({"timeout": 0}, "number over 0"),
        ({"timeout": float("nan")}, "number over 0"),
        ({"timeout": None}, "number over 0"),
        ({"start_timeout": True}, "number over 0"),
        ({"uses_membrane": "no"}, "true or false"),
    ],
)
def test_options_that_make_no_sense_are_told(options, told) -> None:
    with pytest.raises(ConfigurationError, match=told):
        SubprocessSegmenter(**options)


def test_facts_tell_the_versions_there_and_come_without_cellseg(env) -> None:
    with env.segmenter("nuclei:Finder") as segmenter:
        facts = facts_of(segmenter)
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["packages"]["else-where"] == "1.2"
    assert facts["packages"]["numpy"] == np.__version__
    assert "scipy" in facts["packages"]
    assert not {"pytest", "cellseg-core"} & set(facts["packages"])
    assert facts["component"] == {"has_cellseg": False}


def test_source_that_is_not_installed_counts_by_its_content(env, tmp_path) -> None:
    (tmp_path / "mine.py").write_text("def find(tile):\n    return tile[0].astype(int)\n")
    pth = env.site / "mine.pth"
    pth.write_text(str(tmp_path))
    found = []
    try:
        for _ in range(2):
            with SubprocessSegmenter(python=env.folder, component="mine:find") as segmenter:
                found.append(segmenter.facts())
            with (tmp_path / "mine.py").open("a") as file:
                file.write("# changed\n")
    finally:
        pth.unlink()
    assert found[0]["source_sha256"] != found[1]["source_sha256"]
    # It belongs to no package, so it may use all that are installed.
    assert {"else-where", "pytest", "numpy"} <= set(found[0]["packages"])


def test_the_script_needs_nothing_newer_than_its_oldest_python() -> None:
    source = Path(str(script.__file__)).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=interpreter.OLDEST)
    modules = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name.split(".")[0] for name in modules} <= {*sys.stdlib_module_names, "numpy"}
