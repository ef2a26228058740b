"""The Mask R-CNN as a component: options, adapting, loading, precision, and what can be missing."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from cellseg_backends.maskrcnn import keras_start, precision, segmenter
from cellseg_backends.maskrcnn.detector import Detector, Thresholds
from cellseg_backends.maskrcnn.keras_start import start_keras
from cellseg_backends.maskrcnn.precision import TOLERANCE, built, computes_in_bfloat16
from cellseg_backends.maskrcnn.presets import PRESETS, Preset
from cellseg_backends.maskrcnn.segmenter import MaskRCNNSegmenter
from cellseg_backends.maskrcnn.weights import save_weights
from cellseg_backends.processor import cpu_flags
from cellseg_core.errors import (
    ConfigurationError,
    MissingPackageError,
    SegmentationError,
    WeightsError,
)
from cellseg_core.protocols import AdaptiveSegmenter, Exportable, Segmentation

pytestmark = pytest.mark.usefixtures("known_tiny")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, known_tiny: Preset) -> Path:
    """Return a folder with weights that find something wherever they look."""
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    write_weights(folder)
    return folder


def write_weights(folder: Path, diameter: float = 24.0, bias: float = 3.0) -> None:
    import keras

    from cellseg_backends.maskrcnn.model import MaskRCNN

    keras.utils.set_random_seed(1)
    arrays = {
        name: np.array(variable.numpy())
        for name, variable in MaskRCNN(PRESETS["tiny"]).weights().items()
    }
    arrays["proposal_output/bias"][::5] = bias
    for name in ("box_nucleus/bias", "quality_logit/bias", "mask_logits/bias"):
        arrays[name][:] = bias
    save_weights(folder, arrays, preset="tiny", diameter=diameter, score=0.3, training={})


def tile(height: int = 90, width: int = 110) -> np.ndarray:
    return np.random.default_rng(0).random((1, height, width)).astype(np.float32)


def adapted(weights: Path, **options: Any) -> MaskRCNNSegmenter:
    made = MaskRCNNSegmenter(weights=str(weights), **options)
    return made.adapt(tile(), made.native_diameter)


# Options


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"score": 1}, r"maskrcnn.score is a share from 0 to below 1; got 1"),
        ({"score": -0.1}, "got -0.1"),
        ({"score": True}, "got True"),
        ({"score": "0.5"}, "got '0.5'"),
        ({"score": float("nan")}, "got nan"),
        ({"weights": 3}, "maskrcnn.weights is the path of a folder .*got 3. Where it is"),
        ({"weights": ""}, "got ''"),
        ({"weights": " "}, "got ' '"),
        ({"weights": "a\0b"}, r"got 'a\\x00b'"),
        ({"polarity": "dark"}, "maskrcnn.polarity is 'auto' .*'bright-field' .*got 'dark'"),
        ({"quality": "best"}, "maskrcnn.quality is 'normal' or 'high' .*got 'best'"),
        ({"precision": "float16"}, "maskrcnn.precision is 'auto' .*'float32' or 'bfloat16'"),
        ({"precision": ["auto"]}, r"got \['auto'\]"),
        ({"polarity": None}, "got None"),
    ],
)
def test_a_wrong_option_is_refused_with_what_it_can_be(options: dict, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        MaskRCNNSegmenter(**options)


def test_it_follows_the_protocols() -> None:
    made = MaskRCNNSegmenter(weights=Path("somewhere"), score=0)
    assert made.weights == "somewhere"
    assert isinstance(made, Exportable)
    assert not made.uses_membrane
    assert isinstance(MaskRCNNSegmenter(), AdaptiveSegmenter)


def test_making_one_imports_neither_keras_nor_a_backend(trained: Path) -> None:
    code = (
        "import sys; from cellseg_backends.maskrcnn.presets import PRESETS, preset\n"
        "import attrs; PRESETS['tiny'] = attrs.evolve(preset('light'), name='tiny')\n"
        "from cellseg_backends.maskrcnn.segmenter import MaskRCNNSegmenter\n"
        f"made = MaskRCNNSegmenter(weights={str(trained)!r}); made.native_diameter, made.halo\n"
        "print(*{m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"keras", "tensorflow", "torch", "jax", "numba", "scipy", "skimage"}


# Adapting


def test_it_must_be_adapted_first(trained: Path) -> None:
    with pytest.raises(SegmentationError, match=r"\(1, 90, 110\) before it saw.*Call segmenter"):
        MaskRCNNSegmenter(weights=str(trained)).segment(tile())


@pytest.mark.parametrize("diameter", [0, -1, float("nan"), float("inf")])
def test_adapting_needs_a_diameter(trained: Path, diameter: float) -> None:
    with pytest.raises(ConfigurationError, match=r"positive number of px.*--nuclear-diameter"):
        MaskRCNNSegmenter(weights=str(trained)).adapt(tile(), diameter)


@pytest.mark.parametrize("shape", [(1, 0, 5), (5, 5), (1, 1, 5, 5)])
def test_adapting_needs_pixels(trained: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(SegmentationError, match="adapts to a sample of the shape"):
        MaskRCNNSegmenter(weights=str(trained)).adapt(np.zeros(shape, np.float32), 24.0)


def test_adapting_leaves_the_original_and_keeps_the_options(trained: Path) -> None:
    made = MaskRCNNSegmenter(weights=str(trained), score=0.25, quality="high")
    copy = made.adapt(tile(), 24.0)
    assert (copy.score, copy.quality) == (0.25, "high")
    with pytest.raises(SegmentationError):
        made.segment(tile())


def test_an_adapted_one_finds_its_weights_from_any_folder(
    trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(trained.parent)
    copy = MaskRCNNSegmenter(weights="tiny").adapt(tile(), 24.0)
    monkeypatch.chdir(tmp_path)
    assert copy.native_diameter == 24.0


def test_weights_that_are_missing_show_before_any_work(tmp_path: Path) -> None:
    made = MaskRCNNSegmenter(weights=str(tmp_path / "no"))
    for use in (lambda: made.native_diameter, lambda: made.halo, lambda: made.adapt(tile(), 24.0)):
        with pytest.raises(WeightsError, match="there are no weights at"):
            use()


# Segmenting


def test_labels_and_scores_fit_the_tile(trained: Path) -> None:
    copy = adapted(trained)
    for shape in ((90, 110), (1, 1), (1, 40), (33, 64)):
        found = copy.segment(tile(*shape))
        assert found.labels.shape == shape
        assert found.labels.dtype == np.int32
        assert found.labels.max(initial=0) <= len(found.scores)
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert copy.segment(tile()).labels.any(), "these weights find something"


def test_a_higher_score_leaves_the_less_confident_out(trained: Path) -> None:
    strict = adapted(trained, score=0.99)
    assert not strict.segment(tile()).labels.any()


@pytest.mark.parametrize(("quality", "views"), [("normal", 1), ("high", 4)])
def test_high_quality_looks_at_the_mirror_images_too(
    trained: Path, monkeypatch: pytest.MonkeyPatch, quality: str, views: int
) -> None:
    find, seen = Detector.find, []

    def watched(self: Detector, plane: Any, thresholds: Thresholds, views: int) -> Segmentation:
        seen.append(views)
        return find(self, plane, thresholds, views)

    monkeypatch.setattr(Detector, "find", watched)
    assert adapted(trained, quality=quality).segment(tile()).labels.any()
    assert seen == [views]


def test_a_copy_in_this_process_and_one_from_bytes_find_the_same(trained: Path) -> None:
    copy = adapted(trained)
    again = pickle.loads(pickle.dumps(copy))  # noqa: S301 - made here
    assert again == copy
    assert np.array_equal(again.segment(tile()).labels, copy.segment(tile()).labels)


def test_threads_share_one_network(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = adapted(trained)
    segmenter._loaded_as_it_is.cache_clear()
    results: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: results.append(copy.segment(tile()).labels))
        for _ in range(3)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert segmenter._loaded_as_it_is.cache_info().misses == 1
    assert len(results) == 3
    assert all(np.array_equal(one, results[0]) for one in results)


def test_weights_that_changed_are_loaded_anew(tmp_path: Path) -> None:
    write_weights(tmp_path / "w")
    copy = adapted(tmp_path / "w")
    assert copy.segment(tile()).labels.any()
    write_weights(tmp_path / "w", diameter=20.0, bias=-9.0)
    assert copy.native_diameter == 20.0
    assert not copy.segment(tile()).labels.any()


def test_a_damaged_file_shows_when_the_network_is_loaded(tmp_path: Path) -> None:
    write_weights(tmp_path / "w")
    copy = adapted(tmp_path / "w")
    content = bytearray((tmp_path / "w" / "weights.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "w" / "weights.npz").write_bytes(content)
    with pytest.raises(WeightsError, match="its checksum is"):
        copy.segment(tile())


def _spawned(copy: MaskRCNNSegmenter) -> np.ndarray:
    return np.asarray(copy.segment(tile()).labels)


@pytest.mark.slow
def test_a_fresh_process_is_quiet_and_finds_the_same(
    trained: Path, tmp_path: Path, known_tiny: Preset
) -> None:
    copy = adapted(trained)
    (tmp_path / "copy").write_bytes(pickle.dumps(copy))
    code = (
        "import pickle, sys, numpy as np\n"
        "from cellseg_backends.maskrcnn.presets import PRESETS, Preset\n"
        f"PRESETS['tiny'] = Preset(**{attrs.asdict(known_tiny)!r})\n"
        f"copy = pickle.load(open({str(tmp_path / 'copy')!r}, 'rb'))\n"
        "tile = np.random.default_rng(0).random((1, 90, 110)).astype(np.float32)\n"
        f"np.save({str(tmp_path / 'labels.npy')!r}, copy.segment(tile).labels)\n"
        "copy.segment(tile[:, :50]), copy.segment(tile[:, :33])\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stderr == "", "nothing of what TensorFlow says at its start reaches the user"
    assert np.array_equal(np.load(tmp_path / "labels.npy"), copy.segment(tile()).labels)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning")
def test_a_process_forked_after_loading_says_so_and_does_not_hang(trained: Path) -> None:
    copy = adapted(trained)
    copy.segment(tile())
    with multiprocessing.get_context("fork").Pool(1) as pool:
        work = pool.apply_async(_spawned, (copy,))
        with pytest.raises(SegmentationError, match=r"forked from one .*get_context\('spawn'\)"):
            work.get(timeout=60)


# What can be missing


@pytest.fixture
def not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_start, "_started_by", [])


@pytest.mark.usefixtures("not_started")
def test_without_keras_the_message_has_the_command(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = adapted(trained)
    monkeypatch.setitem(sys.modules, "keras", None)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    with pytest.raises(MissingPackageError, match=r"pip install keras tensorflow.*watershed"):
        copy.segment(tile())


@pytest.mark.usefixtures("not_started")
def test_the_backend_that_the_user_chose_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(MissingPackageError, match="pip install keras torch"):
        start_keras()


def test_a_backend_that_keras_does_not_know_is_told() -> None:
    code = "from cellseg_backends.maskrcnn.keras_start import start_keras; start_keras()"
    environment = {**os.environ, "KERAS_BACKEND": "tensorfow"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert "ConfigurationError: Keras is set to the backend 'tensorfow', and" in done.stderr


@pytest.mark.usefixtures("not_started")
def test_a_processor_without_avx_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(keras_start, "cpu_flags", lambda: frozenset({"sse2"}))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(MissingPackageError, match="needs a processor with AVX"):
        start_keras()


@pytest.mark.usefixtures("not_started")
def test_axes_in_another_order_are_told() -> None:
    import keras

    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ConfigurationError, match=r"image_data_format in ~/\.keras/keras\.json"):
            start_keras()
    finally:
        keras.config.set_image_data_format("channels_last")


def test_what_is_no_chatter_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with keras_start._without_chatter():
        os.write(2, b"I0000 00:00:1.5 7 port.cc:153] oneDNN custom operations are on.\n")
        os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are\n")
        os.write(2, b"E0000 00:00:1.5 7 cuda_platform.cc:52] failed call to cuInit\n")
        os.write(2, b"E0000 00:00:1.5 7 alloc.cc:1] out of memory\nand this\n")
    assert capfd.readouterr().err == "E0000 00:00:1.5 7 alloc.cc:1] out of memory\nand this\n"


# Precision


def test_the_flags_of_the_processor_are_words() -> None:
    assert all(flag and " " not in flag for flag in cpu_flags())


class Network:
    """What is asked of a network, with logits of its own."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def first(self, image: Any, training: bool) -> tuple:
        assert tuple(image.shape) == (1, 128, 128, 1)
        return None, self.logits[None], None


@pytest.mark.parametrize(
    ("flags", "shift", "expected"),
    [
        ({"amx_bf16"}, 0.0, "mixed_bfloat16"),
        ({"avx512_bf16"}, 0.1, "mixed_bfloat16"),
        ({"avx2"}, 0.0, "float32"),
        (set(), 0.0, "float32"),
        ({"amx_bf16"}, 0.5, "float32"),
        ({"amx_bf16"}, np.nan, "float32"),
    ],
)
def test_half_precision_is_taken_where_it_is_quick_and_exact(
    monkeypatch: pytest.MonkeyPatch, flags: set, shift: float, expected: str
) -> None:
    monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset(flags))
    logits = np.linspace(-5, 3, 500).astype(np.float32)
    made: dict[str, Network] = {}

    def build(kind: str) -> Network:
        made[kind] = Network(logits + (shift if kind == "mixed_bfloat16" else 0))
        return made[kind]

    assert built(build, "auto") is made[expected]


def test_the_user_s_choice_of_a_precision_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_flags", frozenset)
    assert built(lambda kind: kind, "bfloat16") == "mixed_bfloat16"
    assert built(lambda kind: kind, "float32") == "float32"


def test_both_precisions_of_one_network_agree(trained: Path, known_tiny: Preset) -> None:
    from cellseg_backends.maskrcnn.model import MaskRCNN
    from cellseg_backends.maskrcnn.weights import load_weights

    def build(kind: str) -> MaskRCNN:
        network = MaskRCNN(known_tiny, kind)
        load_weights(trained, network.weights())
        return network

    assert precision.disagreement(build("float32"), build("mixed_bfloat16")) < TOLERANCE
    assert precision.disagreement(build("float32"), build("float32")) == 0


def test_other_backends_compute_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset({"amx_bf16"}))
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert not computes_in_bfloat16()
