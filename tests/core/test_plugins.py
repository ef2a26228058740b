"""Plugins are found, checked and built; what is broken is reported and the rest works."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from cellseg_core.component import Component
from cellseg_core.errors import ComponentError, ConfigurationError, MissingPackageError
from cellseg_core.plugins import Plugins, Registered, load_plugins

HEADER = "from cellseg_core import Component, hookimpl\n"
GOOD = (
    HEADER
    + """
@hookimpl
def cellseg_segmenters():
    return [Component(name="{name}", factory="{module}:Thing", description="d")]

class Thing:
    native_diameter = None
    halo = 0
    def __init__(self, size: int = 3):
        if size < 0:
            raise ValueError("size is 0 or more")
        self.size = size
"""
)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that fakes an installed package with a plugin module."""
    monkeypatch.syspath_prepend(tmp_path)

    def fake(distribution: str, module: str, code: str | None, target: str = "") -> None:
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(f"[cellseg]\n{module} = {target or module}\n")
        if code is not None:
            (tmp_path / f"{module}.py").write_text(code)
        monkeypatch.delitem(sys.modules, module, raising=False)

    yield fake
    for name in [
        n for n, m in sys.modules.items() if str(tmp_path) in str(getattr(m, "__file__", ""))
    ]:
        del sys.modules[name]


def reasons(plugins: Plugins) -> dict[str, str]:
    return {problem.origin: f"{problem.reason} | {problem.remedy}" for problem in plugins.problems}


def test_built_ins_register_through_the_entry_points_of_their_distribution() -> None:
    entries = [e for d in distributions(name="cellseg-core") for e in d.entry_points]
    values = {entry.value for entry in entries if entry.group == "cellseg"}
    assert values == {"cellseg_backends.plugin", "cellseg_postprocess.plugin", "cellseg_io.plugin"}
    plugins = load_plugins()
    assert plugins.problems == ()
    assert {entry.origin.split()[0] for entry in plugins.components} >= {"cellseg-core"}
    optional = {"bioio", "stardist", "cellpose", "h5ad", "rois", "spatialdata"}
    missing = {entry.name for entry in plugins.components if entry.missing() is not None}
    assert missing <= optional, "a built-in is missing"
    told = [entry for entry in plugins.components if entry.name in missing]
    assert all(entry.component.install.startswith("pip install") for entry in told)


def test_a_package_s_component_is_found_and_built_with_options(install) -> None:
    install("good-one", "good_plugin", GOOD.format(name="good", module="good_plugin"))
    plugins = load_plugins()
    assert plugins.find("segmenter", "good").origin == "good-one 1.0"
    assert plugins.build("segmenter", "good", {"size": 5}).size == 5


@pytest.mark.parametrize(
    ("code", "target", "reason"),
    [
        ("raise RuntimeError('boom')", "", "RuntimeError: boom"),
        ("import no_such_package_at_all", "", "No module named 'no_such_package_at_all'"),
        ("import sys; sys.exit(3)", "", "SystemExit: 3"),
        (None, "", "No module named 'bad_plugin'"),
        ("x = 1", "bad_plugin:missing", "has no attribute 'missing'"),
        ("x = 1", "", "implements no hook"),
        (
            HEADER + "@hookimpl\ndef cellseg_segmentors():\n    return []\n",
            "",
            "there is no hook cellseg_segmentors; did you mean 'cellseg_segmenters'",
        ),
        (
            HEADER + "@hookimpl\ndef cellseg_segmenters(extra):\n    return []\n",
            "",
            "cannot be loaded",
        ),
        (
            HEADER + "@hookimpl\ndef cellseg_segmenters():\n    raise OSError('disk')\n",
            "",
            "cellseg_segmenters raised OSError: disk",
        ),
        (
            HEADER + "@hookimpl\ndef cellseg_segmenters():\n    return ['text']\n",
            "",
            "returned 'text', which is not a Component",
        ),
        (
            HEADER + "@hookimpl\ndef cellseg_segmenters():\n    return None\n",
            "",
            "returned None, which is not a Component",
        ),
        (
            HEADER + "@hookimpl\ndef cellseg_segmenters():\n"
            "    return [Component(name='A B', factory='x:Y')]\n",
            "",
            "lower-case letters",
        ),
    ],
)
def test_a_broken_plugin_is_reported_and_the_others_work(install, code, target, reason) -> None:
    install("good-one", "good_plugin", GOOD.format(name="good", module="good_plugin"))
    install("bad-one", "bad_plugin", code, target)
    plugins = load_plugins()
    assert reason in reasons(plugins)["bad-one 1.0"]
    assert "update or reinstall bad-one 1.0" in reasons(plugins)["bad-one 1.0"]
    assert plugins.build("segmenter", "good").size == 3
    assert plugins.find("segmenter", "watershed").origin.startswith("cellseg-core")


def test_an_unknown_name_lists_the_nearest_and_mentions_broken_plugins(install) -> None:
    install("bad-one", "bad_plugin", "raise RuntimeError('boom')")
    with pytest.raises(ComponentError, match="did you mean 'watershed'") as caught:
        load_plugins().find("segmenter", "watersheds")
    assert "bad-one 1.0" in str(caught.value)


def test_two_providers_of_one_name_are_both_named_and_can_be_chosen(install) -> None:
    install("first-one", "first_plugin", GOOD.format(name="same", module="first_plugin"))
    install("second-one", "second_plugin", GOOD.format(name="same", module="second_plugin"))
    plugins = load_plugins()
    with pytest.raises(ComponentError, match=r"first-one 1\.0 and by second-one 1\.0"):
        plugins.build("segmenter", "same")
    chosen = plugins.build("segmenter", "second-one/same")
    assert type(chosen).__module__ == "second_plugin"


def test_a_missing_package_is_found_without_import_and_named_with_its_command(install) -> None:
    code = HEADER + (
        "@hookimpl\ndef cellseg_segmenters():\n"
        "    return [Component(name='needy', factory='needy_plugin_code:X',\n"
        "        requires=('no-such-package>=2',), install=\"pip install 'needy[all]'\")]\n"
    )
    install("needy", "needy_plugin", code)
    plugins = load_plugins()
    assert plugins.find("segmenter", "needy").missing() == (
        "needs no-such-package>=2, which is not installed"
    )
    with pytest.raises(MissingPackageError, match=r"pip install 'needy\[all\]'"):
        plugins.build("segmenter", "needy")


def test_a_package_that_is_too_old_is_named_with_its_version() -> None:
    component = Component(name="x", factory="numpy:array", requires=("numpy>=999",))
    missing = Registered("segmenter", component, "here").missing()
    assert missing is not None
    assert missing.startswith("needs numpy>=999; numpy 2")


def test_a_module_that_does_not_exist_is_reported_without_importing_its_package(install) -> None:
    code = HEADER + (
        "@hookimpl\ndef cellseg_segmenters():\n"
        "    return [Component(name='lost', factory='numpy.no_such_module:X')]\n"
    )
    install("lost", "lost_plugin", code)
    entry = load_plugins().find("segmenter", "lost")
    assert entry.missing() == "its module 'numpy.no_such_module' does not exist"
    with pytest.raises(ComponentError, match="is broken"):
        entry.load()


def test_wrong_options_are_refused_by_name_and_by_value(install) -> None:
    install("good-one", "good_plugin", GOOD.format(name="good", module="good_plugin"))
    plugins = load_plugins()
    with pytest.raises(ComponentError, match="no option 'sise'; did you mean 'size'"):
        plugins.build("segmenter", "good", {"sise": 1})
    with pytest.raises(ConfigurationError, match="size=-1: size is 0 or more"):
        plugins.build("segmenter", "good", {"size": -1})


def test_a_component_that_fails_to_import_or_build_is_reported_by_package(install) -> None:
    code = HEADER + (
        "@hookimpl\ndef cellseg_segmenters():\n"
        "    return [Component(name='a', factory='broken_code:X'),\n"
        "            Component(name='b', factory='explosive_plugin:X')]\n"
        "class X:\n"
        "    def __init__(self):\n"
        "        raise OSError('no licence')\n"
    )
    install("explosive", "explosive_plugin", code)
    (Path(sys.path[0]) / "broken_code.py").write_text("1 / 0\n")
    plugins = load_plugins()
    with pytest.raises(ComponentError, match=r"of explosive 1\.0 is broken: importing .*division"):
        plugins.build("segmenter", "a")
    with pytest.raises(ComponentError, match=r"of explosive 1\.0 is broken: .*no licence"):
        plugins.build("segmenter", "b")


def test_entry_points_can_be_given() -> None:
    entry = EntryPoint("one", "cellseg_postprocess.plugin", "cellseg")
    kinds = {found.kind for found in load_plugins([entry]).components}
    assert kinds == {"expander", "compensator"}
