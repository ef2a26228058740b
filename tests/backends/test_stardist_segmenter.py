"""StarDist as a component: as the library itself would, and a clear error where it cannot."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellseg_backends.model_note import ModelNote, read_note, sha256_of, write_note
from cellseg_backends.stardist.model_folder import describe
from cellseg_backends.stardist.segmenter import StarDistSegmenter
from cellseg_core import Image, Pipeline
from cellseg_core.errors import (
    ChannelError,
    ConfigurationError,
    MissingPackageError,
    SegmentationError,
    WeightsError,
)
from cellseg_core.normalize import Brightness
from cellseg_core.scaled import ScaledImage
from cellseg_core.synthetic import simulate_tissue
from cellseg_core.testing import SegmenterTests

pytest.importorskip("stardist")
# TensorFlow's variables follow numpy's older protocol of conversion.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def make_model(folder: Path, channels: int = 1, **options: Any) -> Path:
    """Write an untrained model that finds something wherever it looks."""
    from stardist.models import Config2D, StarDist2D

    config = Config2D(
        n_rays=8,
        grid=(2, 2),
        n_channel_in=channels,
        unet_n_depth=1,
        unet_n_filter_base=4,
        net_conv_after_unet=4,
        train_tensorboard=False,
        **options,
    )
    with redirect_stdout(io.StringIO()):
        model = StarDist2D(config, name=folder.name, basedir=str(folder.parent))
    for name, bias in (("prob", 2.0), ("dist", 5.0)):
        kernel, before = model.keras_model.get_layer(name).get_weights()
        model.keras_model.get_layer(name).set_weights([kernel, np.full_like(before, bias)])
    model.keras_model.save_weights(str(folder / "weights_best.h5"))
    (folder / "thresholds.json").write_text('{"prob": 0.6, "nms": 0.3}')
    return folder


@pytest.fixture(scope="module")
def gray(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model for one channel."""
    return make_model(tmp_path_factory.mktemp("models") / "gray")


@pytest.fixture(scope="module")
def color(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model for photographs in colour."""
    return make_model(tmp_path_factory.mktemp("models") / "color", channels=3)


@pytest.fixture
def copied(gray: Path, tmp_path: Path) -> Path:
    """Return a copy of a model, to be damaged."""
    return Path(shutil.copytree(gray, tmp_path / "model"))


def adapted(weights: Path, sample: np.ndarray, **options: Any) -> StarDistSegmenter:
    return StarDistSegmenter(weights=str(weights), **options).adapt(sample, 20.0)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


class TestTheShippedModel(SegmenterTests):
    def make(self) -> StarDistSegmenter:
        return StarDistSegmenter()


# As the library itself


def test_one_tile_gives_what_the_library_gives_for_the_image() -> None:
    from stardist.models import StarDist2D

    model = describe(StarDistSegmenter()._model().folder)
    tissue = simulate_tissue((300, 260), seed=4, nuclear_diameter=24, channels=("DAPI",))
    plane = ScaledImage(tissue.image, (0,), (), Brightness.of(tissue.image, (0,))).read()
    low, high = np.percentile(plane, (1, 99.8)).round(6)
    with redirect_stdout(io.StringIO()):
        library = StarDist2D(None, name=model.folder.name, basedir=str(model.folder.parent))
    scaled = (plane[0] - np.float32(low)) / np.float32(high - low)
    expected, found = library.predict_instances(scaled, show_tile_progress=False)

    pipeline = Pipeline(segmenter="stardist", nuclear_diameter=24, tile=4096, min_size=0)
    result = pipeline.run(tissue.image)

    assert expected.max() > 20
    pairs = np.unique(np.stack([expected[expected > 0], result.nuclei[expected > 0]]), axis=1)
    assert np.array_equal(expected > 0, result.nuclei > 0)
    assert pairs.shape[1] == np.unique(expected).size - 1 == len(result.table)
    by_label = dict(zip(pairs[1].tolist(), found["prob"][pairs[0] - 1].tolist(), strict=True))
    assert np.allclose([by_label[n + 1] for n in range(len(by_label))], result.table.scores)


def test_thresholds_are_those_of_the_model_unless_they_are_given(gray: Path) -> None:
    tile = noise(1, 96, 96)
    usual = adapted(gray, tile)
    assert usual.facts()["prob_threshold"] == 0.6
    assert usual.facts()["nms_threshold"] == 0.3
    assert len(usual.segment(tile).scores) > 0
    strict = adapted(gray, tile, prob_threshold=0.999)
    assert strict.facts()["prob_threshold"] == 0.999
    assert not strict.segment(tile).labels.any()
    many = adapted(gray, tile, nms_threshold=0.9).segment(tile)
    assert len(many.scores) > len(usual.segment(tile).scores)


def test_the_scale_is_that_of_the_image_not_of_the_tile(gray: Path) -> None:
    image = noise(1, 128, 128)
    image[:, :64] *= 0.2
    segmenter = adapted(gray, image)
    assert segmenter._scale.high == pytest.approx(np.percentile(image, 99.8), abs=1e-5)
    assert segmenter.segment(image[:, :64]).labels.shape == (64, 128)
    assert segmenter._scale.high == pytest.approx(np.percentile(image, 99.8), abs=1e-5)


def test_dark_nuclei_are_turned_bright(gray: Path) -> None:
    image = noise(1, 64, 64) * 0.2
    image[0, 20:30, 20:30] += 0.7
    bright, dark = adapted(gray, image), adapted(gray, 1 - image)
    assert (bright._scale.dark_nuclei, dark._scale.dark_nuclei) == (False, True)
    assert np.array_equal(bright.segment(image).labels, dark.segment(1 - image).labels)


def test_what_is_known_of_a_model_comes_from_its_files(gray: Path, copied: Path) -> None:
    assert StarDistSegmenter(weights=gray).native_diameter is None
    assert StarDistSegmenter(weights=gray, diameter=30).native_diameter == 30
    facts = {"segmenter": "stardist", "diameter": 21.0, "options": {"prob_threshold": 0.6}}
    write_note(copied, ModelNote(**facts, sha256=sha256_of(copied / "weights_best.h5")))
    segmenter = StarDistSegmenter(weights=str(copied))
    assert segmenter.native_diameter == 21.0
    assert (segmenter.grid, segmenter.uses_color) == (4, False)
    # Two convolutions of 3 px on each of its levels, with pools between, and one after.
    assert segmenter._model().reach == 2 * (1 + 2 + 2 + 4) + 2 + 3
    assert segmenter.facts()["weights"]["sha256"] == read_note(copied).sha256
    assert "stardist" in segmenter.facts()["packages"]


def test_the_reach_holds_what_the_library_measures() -> None:
    from stardist.models import Config2D, StarDist2D

    from cellseg_backends.stardist.model_folder import load

    model = StarDistSegmenter()._model()
    # Weights near zero hide a part of what a trained network could see.
    assert max(load(model)._axes_tile_overlap("YX")) <= model.reach
    with redirect_stdout(io.StringIO()):
        untrained = StarDist2D(Config2D(n_rays=32, grid=(2, 2)), basedir=None)
    measured = max(untrained._axes_tile_overlap("YX"))
    assert measured <= model.reach <= 1.5 * measured


def test_colours_reach_a_model_for_them_alone(gray: Path, color: Path) -> None:
    picture = Image(
        (noise(3, 80, 80) * 200).astype(np.uint8), channels=("red", "green", "blue"), color=True
    )
    found = Pipeline(segmenter=StarDistSegmenter(weights=color), nuclear_diameter=12).run(picture)
    assert found.scaled.in_color
    assert len(found.table) > 0
    in_gray = Pipeline(segmenter=StarDistSegmenter(weights=gray), nuclear_diameter=12).run(picture)
    assert not in_gray.scaled.in_color
    one = Image((noise(1, 80, 80) * 200).astype(np.uint8), channels=("DAPI",), name="plate")
    with pytest.raises(ChannelError, match=r"plate: this segmenter looks at colours: it takes an"):
        Pipeline(segmenter=StarDistSegmenter(weights=color), nuclear_diameter=12).run(one)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (3, 2), (5, 64)])
def test_tiles_smaller_than_the_network_s_steps(gray: Path, shape: tuple[int, int]) -> None:
    found = adapted(gray, noise(1, 64, 64)).segment(noise(1, *shape))
    assert found.labels.shape == shape


# What can be wrong


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"prob_threshold": 1}, r"stardist.prob_threshold is a number over 0 and below 1; got 1"),
        ({"nms_threshold": "0.4"}, "got '0.4'"),
        ({"diameter": -3}, "got -3"),
        ({"weights": 3}, "weights names a published model or a folder with one; got 3"),
        ({"polarity": "dark"}, r"polarity is 'auto' \(told from the image\).*; got 'dark'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        StarDistSegmenter(**options)


def test_a_tile_needs_the_image_first_and_the_right_channels(gray: Path, color: Path) -> None:
    with pytest.raises(SegmentationError, match="before it saw the image"):
        StarDistSegmenter(weights=gray).segment(noise(1, 32, 32))
    with pytest.raises(SegmentationError, match=r"takes 1 channel\(s\), and the tile has 3"):
        adapted(gray, noise(1, 32, 32)).segment(noise(3, 32, 32))
    with pytest.raises(SegmentationError, match=r"takes 3 channel\(s\), and the tile has 1"):
        adapted(color, noise(1, 32, 32))


def test_a_name_that_is_not_known_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"did you mean '2D_versatile_fluo'"):
        StarDistSegmenter(weights="2D_versatile_flou").facts()
    monkeypatch.setenv("CELLSEG_OFFLINE", "1")
    monkeypatch.setenv("HOME", str(Path("/nowhere")))
    with pytest.raises(WeightsError, match=r"(?s)2D_versatile_fluo.*https://.*BSD"):
        StarDistSegmenter(weights="2D_versatile_fluo").facts()


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("config.json", None, r"holds no StarDist model: there is no config.json in it"),
        ("config.json", "{", r"config.json is damaged"),
        ("config.json", "[1]", r"a table was expected, and it is a list"),
        ("config.json", '{"n_dim": 3}', r"a model for 3-D images; cellseg takes 2-D ones"),
        ("config.json", '{"n_channel_in": 1}', r"is damaged \(KeyError: 'n_rays'\)"),
        ("weights_best.h5", None, r"has no weights: a file such as weights_best.h5"),
        ("weights_best.h5", "version https://git-lfs", r"h5 cannot be loaded: it is no HDF5 file"),
        ("thresholds.json", "0.5", r"thresholds.json is damaged"),
        ("thresholds.json", '{"prob": NaN}', r"is damaged .*its thresholds are nan and 0.4"),
        ("thresholds.json", '{"nms": 3}', r"is damaged .*its thresholds are 0.5 and 3.0"),
        ("cellseg.json", '{"format": 99}', r"has format 99; this version of cellseg reads 1"),
        ("cellseg.json", '{"format": 1, "diameter": 3}', r"cellseg.json is damaged"),
        (
            "cellseg.json",
            f'{{"format": 1, "segmenter": "", "sha256": "", "diameter": 1{"0" * 400}}}',
            r"cellseg.json is damaged",
        ),
        (
            "cellseg.json",
            '{"format": 1, "segmenter": "", "sha256": "12", "diameter": 3}',
            r"its checksum is \w+\.\.\., and 12\.\.\. was expected",
        ),
    ],
)
def test_folders_that_are_damaged(copied: Path, file: str, content: str | None, why: str) -> None:
    (copied / file).unlink(missing_ok=True)
    if content is not None:
        (copied / file).write_text(content)
    with pytest.raises(WeightsError, match=why):
        StarDistSegmenter(weights=str(copied)).facts()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"n_rays": 10**9}, r"its n_rays is 1000000000, and 3 to 2048 is possible"),
        ({"n_rays": float("inf")}, r"is damaged \(OverflowError"),
        ({"unet_n_depth": 10**9}, r"its unet_n_depth is 1000000000"),
        ({"unet_n_filter_base": 10**6}, r"its unet_n_filter_base is"),
        ({"grid": [3, 3]}, r"its grid is \[3, 3\]"),
        ({"unet_kernel_size": [10**5, 3]}, r"its unet_kernel_size is"),
        ({"unet_pool": [4, 4]}, r"its unet_pool is \[4, 4\], and cellseg knows \[2, 2\]"),
        ({"unet_expansion": 99}, r"its unet_expansion is 99"),
        ({"n_classes": 10**9}, r"its n_classes is 1000000000"),
        (
            {"unet_n_depth": 8, "unet_n_filter_base": 4096},
            r"it has [\d,]+ bytes, and HDF5 of about",
        ),
    ],
)
def test_a_network_that_would_fill_the_memory_is_never_built(
    copied: Path, changed: dict[str, Any], why: str
) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, **changed}))
    with pytest.raises(WeightsError, match=why):
        StarDistSegmenter(weights=str(copied)).facts()


def test_a_file_is_the_one_that_is_loaded_or_it_is_refused(copied: Path) -> None:
    best = StarDistSegmenter(weights=copied / "weights_best.h5")
    assert best.facts() == StarDistSegmenter(weights=copied).facts()
    shutil.copy(copied / "weights_best.h5", copied / "weights_last.h5")
    with pytest.raises(WeightsError, match=r"weights_last.h5 is not what StarDist loads from"):
        StarDistSegmenter(weights=copied / "weights_last.h5").facts()


def test_a_name_with_its_segmenter_has_the_same_diameter(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLSEG_WEIGHTS", str(copied.parent))
    copied.rename(copied.parent / "2D_versatile_fluo")
    for name in ("2D_versatile_fluo", "stardist/2D_versatile_fluo"):
        assert StarDistSegmenter(weights=name).native_diameter == 17.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning")
def test_a_process_forked_after_loading_says_so_and_does_not_hang(gray: Path) -> None:
    tile = noise(1, 32, 32)
    copy = adapted(gray, tile)
    copy.segment(tile)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        work = pool.apply_async(copy.segment, (tile,))
        with pytest.raises(SegmentationError, match=r"forked from one .*get_context\('spawn'\)"):
            work.get(timeout=60)


def test_weights_that_are_damaged_or_of_another_network(copied: Path) -> None:
    good = (copied / "weights_best.h5").read_bytes()
    for bad in (b"", b"garbage", good[: len(good) // 2]):
        (copied / "weights_best.h5").write_bytes(bad)
        with pytest.raises(WeightsError, match=r"weights_best.h5 cannot be loaded"):
            adapted(copied, noise(1, 32, 32)).segment(noise(1, 32, 32))
    (copied / "weights_best.h5").write_bytes(good)
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "n_rays": 16, "n_channel_out": 17}))
    with pytest.raises(WeightsError, match=r"of another network than config.json says"):
        adapted(copied, noise(1, 32, 32)).segment(noise(1, 32, 32))
    write_note(copied, ModelNote(segmenter="stardist", diameter=20.0, sha256="0" * 64))
    with pytest.raises(WeightsError, match=r"its checksum is \w+\.\.\., and 000000000000"):
        adapted(copied, noise(1, 32, 32)).segment(noise(1, 32, 32))


@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_a_whole_model_with_code_in_it_is_refused_and_not_run(
    copied: Path, tmp_path: Path, kind: str
) -> None:
    import keras

    trace = tmp_path / "trace"
    spy = eval(f"lambda x: (open({str(trace)!r}, 'w').close(), x)[1]")  # noqa: S307 - ours
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(spy), keras.layers.Dense(1)])
    model.save(tmp_path / f"model.{kind}")
    assert trace.exists()  # the code does something
    trace.unlink()
    shutil.copy(tmp_path / f"model.{kind}", copied / "weights_best.h5")
    with pytest.raises(WeightsError, match=r"weights_best.h5 cannot be loaded"):
        adapted(copied, noise(1, 32, 32)).segment(noise(1, 32, 32))
    assert not trace.exists()


def test_memory_that_runs_out_is_told(gray: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cellseg_backends.stardist import segmenter

    class Network:
        def predict_instances(self, *_: object, **__: object) -> None:
            raise RuntimeError("{{function_node}} RESOURCE_EXHAUSTED: OOM when allocating tensor")

    monkeypatch.setattr(segmenter, "load", lambda _: Network())
    image = Image((noise(1, 64, 64) * 200).astype(np.uint8), channels=("DAPI",), name="slide")
    pipeline = Pipeline(segmenter=StarDistSegmenter(weights=gray), nuclear_diameter=12)
    with pytest.raises(SegmentationError, match=r"slide: tile in row 1.*out of memory.*--tile 512"):
        pipeline.run(image)


@pytest.mark.parametrize(
    ("backend", "broken", "why"),
    [
        ("jax", "", r"Keras is set to 'jax'. Set KERAS_BACKEND=tensorflow"),
        ("tensorflow", "keras", r"by Keras with TensorFlow, which cannot be .*half installed"),
        ("tensorflow", "stardist", r"StarDist cannot be imported \(ImportError: half installed"),
    ],
)
def test_libraries_that_cannot_work(
    gray: Path, tmp_path: Path, backend: str, broken: str, why: str
) -> None:
    if broken:
        (tmp_path / broken).mkdir()
        (tmp_path / broken / "__init__.py").write_text("raise ImportError('half installed')")
    code = (
        "import numpy as np\n"
        "from cellseg_backends.stardist.segmenter import StarDistSegmenter\n"
        "from cellseg_core.errors import MissingPackageError\n"
        "tile = np.eye(32, dtype=np.float32)[None]\n"
        f"segmenter = StarDistSegmenter(weights={str(gray)!r}).adapt(tile, 20.0)\n"
        "try:\n    segmenter.segment(tile)\n"
        "except MissingPackageError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert re.search(why, done.stdout), done.stdout


def test_nothing_is_printed(gray: Path, capfd: pytest.CaptureFixture[str]) -> None:
    adapted(gray, noise(1, 32, 32)).segment(noise(1, 32, 32))
    assert capfd.readouterr().out == ""
    assert issubclass(MissingPackageError, ImportError)
