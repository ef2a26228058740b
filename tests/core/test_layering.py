"""The packages depend inwards, and starting them costs little."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cellseg_backends
import cellseg_core
import cellseg_io
import cellseg_postprocess
import cellseg_viewer

PACKAGES = {
    "cellseg_core": cellseg_core,
    "cellseg_backends": cellseg_backends,
    "cellseg_io": cellseg_io,
    "cellseg_postprocess": cellseg_postprocess,
    "cellseg_viewer": cellseg_viewer,
}
HEAVY = {
    "anndata", "bioio", "cellpose", "dask", "fsspec", "geopandas", "h5py", "imagecodecs", "keras",
    "magicgui", "matplotlib", "napari", "numba", "pandas", "PIL", "pyarrow", "qtpy", "roifile",
    "scipy", "shapely", "skimage", "spatialdata", "stardist", "tensorflow", "tifffile", "torch",
    "vispy", "zarr",
}  # fmt: skip


def imports(package: str) -> dict[str, set[str]]:
    """Return the top-level packages that each module of a package imports, at any depth."""
    found: dict[str, set[str]] = {}
    root = Path(PACKAGES[package].__path__[0])
    for path in root.rglob("*.py"):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
        found[path.relative_to(root).as_posix()] = names
    assert found
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_the_core_imports_no_component_package_and_they_not_each_other(package: str) -> None:
    allowed = {package, "cellseg_core"}
    for module, names in imports(package).items():
        beyond = {name for name in names if name in PACKAGES} - allowed
        assert not beyond, f"{package}/{module} imports {beyond}"


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys\n{code}\nprint(*{{m.split('.')[0] for m in sys.modules}})",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import cellseg_core",
        "from cellseg_core import Pipeline, Image, read_image, CellTable, Component, hookimpl",
        "from cellseg_core.plugins import load_plugins\nload_plugins()",
        (
            "from cellseg_core.plugins import load_plugins\n"
            "[entry.missing() for entry in load_plugins().components]"
        ),
        (
            "import sys; sys.argv = ['cellseg', '--help']\n"
            "from cellseg_core.cli.main import main\ntry:\n    main()\nexcept SystemExit:\n    pass"
        ),
        (
            "import sys; sys.argv = ['cellseg', 'run', '--help']\n"
            "from cellseg_core.cli.main import main\ntry:\n    main()\nexcept SystemExit:\n    pass"
        ),
    ],
)
def test_starting_imports_nothing_heavy(code: str) -> None:
    assert not modules_after(code) & HEAVY


def test_importing_the_core_takes_in_numpy_attrs_and_pluggy_alone() -> None:
    third_party = {"numpy", "attrs", "attr", "pluggy"}
    standard = set(sys.stdlib_module_names) | {"__main__", "cellseg_core"}
    new = modules_after("import cellseg_core.image, cellseg_core.plugins") - modules_after("pass")
    assert {name for name in new - standard if not name.startswith("_")} <= third_party


def test_every_public_name_is_there() -> None:
    for name in cellseg_core.__all__:
        assert getattr(cellseg_core, name) is not None
    assert set(cellseg_core.__all__) <= set(dir(cellseg_core))
    with pytest.raises(AttributeError, match="no attribute 'Pipelin'"):
        cellseg_core.Pipelin  # noqa: B018
