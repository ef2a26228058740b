"""The exported network gives what Keras gives, and its description is enough to use it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellseg_backends.maskrcnn import export
from cellseg_backends.maskrcnn.export import export_network
from cellseg_backends.maskrcnn.presets import Preset
from cellseg_backends.maskrcnn.segmenter import MaskRCNNSegmenter
from cellseg_backends.maskrcnn.weights import save_weights
from cellseg_core.errors import ConfigurationError, MissingPackageError, OutputError, WeightsError

pytestmark = pytest.mark.usefixtures("known_tiny")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, known_tiny: Preset) -> Path:
    """Return a folder with weights."""
    import keras

    from cellseg_backends.maskrcnn.model import MaskRCNN

    keras.utils.set_random_seed(1)
    folder = tmp_path_factory.mktemp("weights")
    arrays = {n: np.array(v.numpy()) for n, v in MaskRCNN(known_tiny).weights().items()}
    save_weights(folder, arrays, preset="tiny", diameter=24.0, score=0.3, training={})
    return folder


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the exported network, or skip where nothing can convert it."""
    reason = 'needs what `pip install "cellseg-core[export]"` brings'
    pytest.importorskip("onnx", reason=reason)
    pytest.importorskip("tf2onnx", reason=reason)
    folder = tmp_path_factory.mktemp("onnx") / "made" / "by export"
    files = export_network(trained, folder)
    assert [path.name for path in files] == [
        "first.onnx", "boxes.onnx", "masks.onnx", "network.json", "network.md",
    ]  # fmt: skip
    assert sorted(folder.iterdir()) == sorted(files), "nothing else is left there"
    return folder


def session(folder: Path, name: str) -> Any:
    runtime = pytest.importorskip("onnxruntime", reason="runs the exported network; not installed")
    return runtime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(64, 96), (128, 32)])
def test_the_exported_network_computes_what_keras_computes(
    trained: Path, exported: Path, known_tiny: Preset, shape: tuple[int, int]
) -> None:
    from keras import ops

    from cellseg_backends.maskrcnn.boxes import decode
    from cellseg_backends.maskrcnn.heads import BOX_CELLS, MASK_CELLS
    from cellseg_backends.maskrcnn.model import MaskRCNN
    from cellseg_backends.maskrcnn.roi_align import roi_align
    from cellseg_backends.maskrcnn.targets import grown
    from cellseg_backends.maskrcnn.weights import load_weights

    network = MaskRCNN(known_tiny)
    load_weights(trained, network.weights())
    rng = np.random.default_rng(0)
    image = rng.random((1, *shape, 1)).astype(np.float32)

    def same(found: Any, wanted: Any) -> None:
        np.testing.assert_allclose(found, ops.convert_to_numpy(wanted), rtol=1e-3, atol=1e-4)

    found = session(exported, "first.onnx").run(None, {"image": image})
    wanted = network.first(image, training=False)
    assert len(found) == len(wanted) == 6
    for one, other in zip(found, wanted, strict=True):
        same(one, other)

    maps = wanted[:4]
    given = {f"map{2**n}": ops.convert_to_numpy(one) for n, one in enumerate(maps, start=1)}
    top = rng.uniform(-5, [shape[0] - 10, shape[1] - 10], (5, 2))
    boxes = np.concatenate([top, top + rng.uniform(4, 60, (5, 2))], axis=1).astype(np.float32)

    found = session(exported, "boxes.onnx").run(None, {**given, "proposals": boxes})
    features = roi_align(maps, boxes[None], BOX_CELLS)[0]
    logit, deltas = network.boxes(features, training=False)
    for one, other in zip(found, (ops.sigmoid(logit[:, 0]), decode(deltas, boxes)), strict=True):
        same(one, other)

    found = session(exported, "masks.onnx").run(None, {**given, "boxes": boxes})
    windows = grown(boxes)
    logits, quality = network.masks(roi_align(maps, windows[None], MASK_CELLS)[0], training=False)
    for one, other in zip(found, (logits, ops.sigmoid(quality[:, 0]), windows), strict=True):
        same(one, other)


@pytest.mark.slow
def test_the_description_has_the_tensors_as_they_are(exported: Path) -> None:
    facts = json.loads((exported / "network.json").read_text())
    assert facts["thresholds"]["score"] == 0.3
    assert facts["nuclear_diameter_px"] == 24.0
    readme = (exported / "network.md").read_text()
    assert "$" not in readme
    assert "nuclei are 24 px wide" in readme
    for file, ends in facts["graphs"].items():
        made = session(exported, file)
        assert {one.name: one.shape for one in made.get_inputs()} == ends["inputs"]
        assert {one.name: one.shape for one in made.get_outputs()} == ends["outputs"]
        for name, shape in {**ends["inputs"], **ends["outputs"]}.items():
            assert f"`{name}` | {', '.join(map(str, shape))} |" in readme


@pytest.mark.slow
def test_the_lines_in_the_description_decode_the_proposals(exported: Path) -> None:
    from keras import ops

    from cellseg_backends.maskrcnn.anchors import anchors
    from cellseg_backends.maskrcnn.boxes import decode

    height, width = 64, 96
    references = anchors(height, width)
    deltas = np.random.default_rng(0).normal(size=(1, len(references), 4)).astype(np.float32)
    lines = re.search(r"```python\n(.*?)```", (exported / "network.md").read_text(), re.DOTALL)[1]
    names: dict[str, Any] = {
        "np": np, "height": height, "width": width, "deltas": deltas,
        "facts": json.loads((exported / "network.json").read_text()),
    }  # fmt: skip
    exec(re.sub("^   ", "", lines, flags=re.MULTILINE), names)  # noqa: S102 - our own text
    wanted = ops.convert_to_numpy(decode(deltas[0], references))
    np.testing.assert_allclose(names["proposals"], wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_the_user_s_score_is_described(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_check_tools", lambda: None)
    monkeypatch.setattr(export, "_converted", lambda graph: b"")
    MaskRCNNSegmenter(weights=str(trained), score=0.77).export(tmp_path)
    assert json.loads((tmp_path / "network.json").read_text())["thresholds"]["score"] == 0.77
    assert "at least 0.77" in (tmp_path / "network.md").read_text()


@pytest.mark.parametrize("package", ["onnx", "tf2onnx"])
def test_a_missing_converter_is_told_with_the_command(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=r'pip install "cellseg-core\[export\]"'):
        export_network(trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_backends_of_keras_are_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ConfigurationError, match="KERAS_BACKEND=tensorflow"):
        export_network(trained, tmp_path)


def test_weights_that_are_missing_are_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        export_network(tmp_path, tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_told(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_check_tools", lambda: None)
    monkeypatch.setattr(export, "_converted", lambda graph: b"")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"first\.onnx cannot be written"):
        export_network(trained, tmp_path / "file")
