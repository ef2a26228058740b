"""What a run records of its segmenter's network, and that another network is not "done before"."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tifffile

from cellseg_backends.maskrcnn.presets import PRESETS, Preset
from cellseg_backends.maskrcnn.segmenter import MaskRCNNSegmenter
from cellseg_backends.maskrcnn.weights import describe, save_weights
from cellseg_core import provenance
from cellseg_core.batch import run_batch
from cellseg_core.component import Component
from cellseg_core.config import RunConfig
from cellseg_core.errors import ConfigurationError, SegmentationError, WeightsError
from cellseg_core.plugins import Plugins, Registered, load_plugins
from cellseg_core.protocols import Described, Segmentation
from cellseg_core.provenance import deciding_packages, environment, facts_of, package_versions

TINY = Preset(
    name="tiny",
    widths=(8, 8, 8, 8, 8),
    depths=(0, 1, 1, 1, 1),
    pyramid=8,
    box_units=8,
    mask_channels=8,
    mask_convs=1,
)


@attrs.frozen
class Plain:
    """Everything over half of the brightness is one nucleus."""

    native_diameter = None
    halo = 10

    def segment(self, tile: np.ndarray) -> Segmentation:
        return Segmentation((tile[0] > 0.5).astype(np.int32))


@attrs.frozen
class FromFile(Plain):
    """The same, with a text in a file for a network."""

    file: str = ""

    def facts(self) -> dict[str, Any]:
        try:
            return {"weights": Path(self.file).read_text(encoding="utf-8")}
        except FileNotFoundError as error:
            raise WeightsError(f"there are no weights at {self.file}") from error


class Returning:
    """Says of itself what it was made with."""

    def __init__(self, facts: Any) -> None:
        self._facts = facts

    def facts(self) -> Any:
        if isinstance(self._facts, Exception):
            raise self._facts
        return self._facts


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Return the built-in components, and the segmenters above."""
    # So that this module is found where components are looked for.
    here = Path(__file__)
    monkeypatch.syspath_prepend(here.parent)
    monkeypatch.setitem(sys.modules, here.stem, sys.modules[__name__])
    classes = {"plain": "Plain", "from-file": "FromFile"}
    made = [
        Registered(
            kind="segmenter",
            component=Component(name=name, factory=f"{here.stem}:{factory}"),
            origin="tests 1.0",
        )
        for name, factory in classes.items()
    ]
    built_in = load_plugins()
    return attrs.evolve(built_in, components=(*built_in.components, *made))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    plane = np.full((64, 64), 100, np.uint16)
    plane[20:40, 20:40] = 4000
    tifffile.imwrite(tmp_path / "image.tif", plane)
    return tmp_path / "image.tif"


Run = Callable[..., tuple[str, dict[str, Any]]]


@pytest.fixture
def run(image: Path, tmp_path: Path, plugins: Plugins) -> Run:
    """Return a function that runs a segmenter on the image; it returns the state and run.json."""

    def of(segmenter: str, **options: Any) -> tuple[str, dict[str, Any]]:
        config = RunConfig(
            segmenter=segmenter, set={"segmenter": options}, nuclear_diameter=24, write=("csv",)
        )
        summary = run_batch([image], tmp_path / "out", config, plugins=plugins)
        (outcome,) = summary.outcomes
        assert outcome.state != "failed", outcome
        return outcome.state, json.loads((tmp_path / "out" / "run.json").read_text())

    return of


# A run and its segmenter's facts


def test_what_a_segmenter_says_of_itself_decides_what_is_done_before(run, tmp_path) -> None:
    file = tmp_path / "weights.txt"
    states = []
    for content in ("one", "one", "two", "two", "one"):
        file.write_text(content)
        state, record = run("from-file", file=str(file))
        assert record["segmenter"] == {"weights": content}
        states.append(state)
    assert states == ["done", "resumed", "done", "resumed", "done"]


def test_a_segmenter_that_says_nothing_resumes_as_ever(run) -> None:
    first, record = run("plain")
    second, again = run("plain")
    assert (first, second) == ("done", "resumed")
    assert record["segmenter"] == again["segmenter"] == {}


def test_weights_that_are_missing_end_the_run_before_it_begins(run, tmp_path) -> None:
    with pytest.raises(WeightsError, match="there are no weights at nowhere"):
        run("from-file", file="nowhere")
    assert not (tmp_path / "out").exists()


def test_weights_that_change_while_an_image_is_segmented_are_told(
    image, plugins, tmp_path, monkeypatch
) -> None:
    file = tmp_path / "weights.txt"
    file.write_text("one")
    segment = FromFile.segment

    def replaced(self: FromFile, tile: np.ndarray) -> Segmentation:
        file.write_text("two")
        return segment(self, tile)

    monkeypatch.setattr(FromFile, "segment", replaced)
    config = RunConfig(segmenter="from-file", set={"segmenter.file": str(file)}, write=("csv",))
    (outcome,) = run_batch([image], tmp_path / "out", config, plugins=plugins).outcomes
    assert outcome.state == "failed"
    assert "changed during the run" in str(outcome.error)
    assert "Run the same command again" in str(outcome.error)


# Facts as such


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (ZeroDivisionError("oh"), "ZeroDivisionError: oh"),
        ({"a": np.zeros(2)}, "ndarray is not JSON serializable"),
        ({"a": float("nan")}, "ValueError"),
        (3, "TypeError"),
    ],
)
def test_facts_that_are_not_plain_are_told_with_the_protocol(facts: Any, why: str) -> None:
    with pytest.raises(SegmentationError, match=rf"Returning.facts\(\) failed.*{why}.*Described"):
        facts_of(Returning(facts))


def test_errors_made_for_the_user_stay_as_they_are() -> None:
    with pytest.raises(ConfigurationError, match=r"^as it is$"):
        facts_of(Returning(ConfigurationError("as it is")))


def test_facts_are_as_json_holds_them() -> None:
    assert facts_of(Returning({"a": (1, 2), 3: "b"})) == {"a": [1, 2], "3": "b"}


# Versions of packages


def test_networks_and_compilers_are_recorded_and_do_not_decide_alone() -> None:
    recorded, deciding = environment()["packages"], deciding_packages()
    assert {"numba", "keras"} <= set(recorded)
    assert not {"numba", "keras", "tensorflow", "jax", "torch"} & set(deciding)
    assert deciding.items() <= recorded.items()


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert package_versions(["no-such-package-at-all"]) == {}


@pytest.mark.parametrize(("package", "state"), [("keras", "resumed"), ("scipy", "done")])
def test_after_an_upgrade_images_are_done_again_only_where_it_decides(
    run, monkeypatch, package: str, state: str
) -> None:
    run("plain")
    installed = provenance.version
    monkeypatch.setattr(
        provenance, "version", lambda name: "99" if name == package else installed(name)
    )
    again, record = run("plain")
    assert again == state
    assert record["packages"][package] == "99"


# The Mask R-CNN


@pytest.fixture
def _tiny() -> Iterator[None]:
    PRESETS["tiny"] = TINY
    yield
    del PRESETS["tiny"]


def save(folder: Path, arrays: dict[str, np.ndarray], score: float = 0.3) -> str:
    """Write weights, and return their checksum."""
    made = save_weights(folder, arrays, preset="tiny", diameter=24.0, score=score, training={})
    return made.sha256


def empty(value: float = 0.0) -> dict[str, np.ndarray]:
    """Return what stands for arrays of weights where they are not loaded."""
    return {"stem/bias": np.full(3, value, np.float32)}


@pytest.mark.usefixtures("_tiny")
def test_the_network_says_which_one_it_is(tmp_path, monkeypatch) -> None:
    flags = "cellseg_backends.maskrcnn.segmenter.cpu_flags"
    monkeypatch.setattr(flags, lambda: frozenset({"avx512_bf16"}))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    checksum = save(tmp_path / "net", empty())
    made = MaskRCNNSegmenter(weights=str(tmp_path / "net"))
    assert isinstance(made, Described)
    assert made.facts() == {
        "weights": {"sha256": checksum, "preset": "tiny", "diameter_px": 24.0},
        "score": 0.3,
        "backend": "tensorflow",
        "precision": "bfloat16",
        "packages": package_versions(("keras", "tensorflow")),
    }
    assert attrs.evolve(made, score=0.6).facts()["score"] == 0.6
    assert attrs.evolve(made, score=0).facts()["score"] == 0
    assert attrs.evolve(made, precision="float32").facts()["precision"] == "float32"
    monkeypatch.setattr(flags, lambda: frozenset({"avx2"}))
    assert made.facts()["precision"] == "float32"


@pytest.mark.usefixtures("_tiny")
def test_it_says_what_is_there_at_the_time(tmp_path) -> None:
    made = MaskRCNNSegmenter(weights=str(tmp_path / "net"))
    for value in (1.0, 2.0, 1.0):
        checksum = save(tmp_path / "net", empty(value))
        assert made.facts()["weights"]["sha256"] == checksum


@pytest.mark.usefixtures("_tiny")
def test_one_name_in_another_library_is_another_network(tmp_path, monkeypatch) -> None:
    made = MaskRCNNSegmenter(weights="net")
    monkeypatch.chdir(tmp_path)
    for number, library in enumerate(("one", "two")):
        checksum = save(tmp_path / library / "net", empty(number))
        monkeypatch.setenv("CELLSEG_WEIGHTS", str(tmp_path / library))
        assert made.facts()["weights"]["sha256"] == checksum


def test_the_shipped_network_says_which_one_it_is() -> None:
    from cellseg_backends.maskrcnn.weights import shipped

    assert facts_of(MaskRCNNSegmenter())["weights"]["sha256"] == describe(shipped()).sha256


@pytest.mark.parametrize(
    ("variable", "settings", "backend"),
    [
        ("torch", '{"backend": "jax"}', "torch"),
        ("", '{"backend": "jax"}', "jax"),
        (None, '{"backend": "jax"}', "jax"),
        (None, "{}", "tensorflow"),
        (None, "[]", "tensorflow"),
        (None, "damaged", "tensorflow"),
        (None, None, "tensorflow"),
    ],
)
def test_the_backend_is_found_as_keras_finds_it(
    tmp_path, monkeypatch, variable: str | None, settings: str | None, backend: str
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if variable is not None:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    if settings is not None:
        (tmp_path / "keras.json").write_text(settings)
    assert MaskRCNNSegmenter().facts()["backend"] == backend


def test_facts_import_no_network() -> None:
    code = (
        "import sys; from cellseg_backends.maskrcnn.segmenter import MaskRCNNSegmenter\n"
        "MaskRCNNSegmenter().facts(); print(*{m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"keras", "tensorflow", "torch", "jax", "numba", "scipy"}


def test_a_run_without_its_weights_tells_it_once(image, tmp_path) -> None:
    config = RunConfig(set={"segmenter.weights": str(tmp_path / "no")})
    with pytest.raises(WeightsError, match=r"there are no weights at .*cellseg train"):
        run_batch([image], tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("_tiny")
def test_new_weights_in_the_same_folder_are_not_done_before(run, tmp_path) -> None:
    from cellseg_backends.maskrcnn.keras_start import start_keras

    start_keras()
    import keras

    from cellseg_backends.maskrcnn.model import MaskRCNN

    arrays = {
        name: np.array(variable.numpy()) for name, variable in MaskRCNN(TINY).weights().items()
    }
    folder = tmp_path / "net"
    states, found = [], []
    for bias in (3.0, 2.0, None):
        if bias is not None:
            arrays["proposal_output/bias"][::5] = bias
            checksum = save(folder, arrays)
        state, record = run("maskrcnn", weights=str(folder), precision="float32")
        assert record["segmenter"]["weights"]["sha256"] == checksum
        assert record["packages"]["keras"] == keras.__version__
        states.append(state)
        found.append(record["segmenter"])
    assert states == ["done", "done", "resumed"]
    assert found[0] != found[1] == found[2]
