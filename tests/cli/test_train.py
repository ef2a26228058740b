"""``cellseg train``."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import numpy as np
import pytest
import tifffile

from cellseg_backends.maskrcnn.presets import PRESETS, Preset
from cellseg_core import plugins as plugins_module
from cellseg_core.component import Component
from cellseg_core.errors import ComponentError
from cellseg_core.plugins import Plugins, Registered, load_plugins
from cellseg_core.synthetic import simulate_tissue

TINY = Preset(
    name="tiny-for-tests",
    widths=(8, 8, 8, 8, 8),
    depths=(0, 1, 1, 1, 1),
    pyramid=8,
    box_units=16,
    mask_channels=8,
    mask_convs=1,
)


@attrs.frozen
class Watching:
    """A trainer that writes down what it was given."""

    steps: int = 5
    seed: int = 0
    fancy: str = ""

    def train(self, dataset, folder, report, *, fresh=False):
        report.say("at work")
        report.progress("training", 1, 2, {"loss": 1.0})
        told = {"steps": self.steps, "seed": self.seed, "fancy": self.fancy, "fresh": fresh}
        told["nuclear"] = dataset.examples[0].nuclear
        (folder / "told.json").write_text(json.dumps(told))
        row = {"images": 1, "nuclei": 1234, "mAP": 0.5, "AP50": 0.75}
        return {"accuracy": {"blue": row, "red": row, "all": row}}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "nuclei"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(3):
        tissue = simulate_tissue((80, 80), seed=number, channels=("DAPI",), nuclear_diameter=18)
        tifffile.imwrite(folder / "images" / f"{number}.tif", tissue.image.pixels)
        tifffile.imwrite(folder / "masks" / f"{number}.tif", tissue.nuclei.astype(np.uint16))
    (folder / "index.csv").write_text("id,split\n0,train\n1,train\n2,val\n")
    return folder


@pytest.fixture
def with_trainers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the watching trainer be that of a segmenter, and another that of maskrcnn."""
    real = load_plugins()
    there = [entry for entry in real.components if entry.name != "maskrcnn"]
    maskrcnn = Component(
        name="maskrcnn",
        factory="cellseg_backends.maskrcnn.segmenter:MaskRCNNSegmenter",
        trainer="cellseg_backends.maskrcnn.trainer:MaskRCNNTrainer",
    )
    watched = Component(
        name="watched", factory="cellseg_core:Segmentation", trainer=f"{__name__}:Watching"
    )
    added = [Registered("segmenter", one, "tests 1.0") for one in (maskrcnn, watched)]
    found = Plugins((*there, *added), real.problems)
    monkeypatch.setattr(plugins_module, "load_plugins", lambda: found)
    monkeypatch.setattr(Registered, "load_trainer", _load_trainer)


def _load_trainer(entry: Registered) -> object:
    """Import as the plugins do, but for this file, which is no package's."""
    if entry.name == "watched":
        return Watching
    assert entry.component.trainer is not None
    return entry._imported(entry.component.trainer)


def test_a_trainer_gets_its_options_and_the_data_set(
    cellseg, dataset: Path, tmp_path: Path, with_trainers: None
) -> None:
    done = cellseg(
        "train", dataset, "-o", tmp_path / "out", "--segmenter", "watched", "--steps", 7,
        "--set", "trainer.fancy=yes", "--set", "trainer.seed=1", "--seed", 2, "--fresh",
        "--nuclear", "channel_1",
    )  # fmt: skip
    assert done.status == 0, done.err
    told = json.loads((tmp_path / "out" / "told.json").read_text())
    assert told == {
        "steps": 7, "seed": 2, "fancy": "yes", "fresh": True, "nuclear": ["channel_1"],
    }  # fmt: skip
    assert "2 images to train on, 1 to validate" in done.err
    assert "at work" in done.err
    assert "blue" in done.out
    assert "1,234  0.500   0.750" in done.out
    assert f"--set segmenter.weights={tmp_path / 'out'}" in done.out


def test_quiet_says_nothing(cellseg, dataset: Path, tmp_path: Path, with_trainers: None) -> None:
    done = cellseg("train", dataset, "-o", tmp_path / "out", "--segmenter", "watched", "--quiet")
    assert (done.status, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--segmenter", "watershed"], 2, "cannot be trained. Those that can: "),
        (["--segmenter", "mascrcnn"], 2, "did you mean 'maskrcnn'"),
        (["--set", "trainer.stepps=3"], 2, "has no option 'stepps'; did you mean 'steps'"),
        (["--set", "segmenter.score=3"], 2, "takes options of the trainer"),
        (["--set", "steps=3"], 2, "KIND.OPTION=VALUE"),
        (["--steps", "0"], 2, "trainer.steps is a whole number from 1 to"),
        (["--set", "trainer.start=nowhere"], 1, "there are no weights at nowhere"),
    ],
)
def test_wrong_use_is_explained(
    cellseg, dataset, tmp_path, with_trainers, arguments, status, message
) -> None:
    done = cellseg("train", dataset, "-o", tmp_path / "out", *arguments)
    assert done.status == status
    assert message in done.err


def test_a_data_set_that_is_none_is_explained(cellseg, tmp_path, with_trainers) -> None:
    done = cellseg("train", tmp_path / "none", "-o", tmp_path / "out", "--segmenter", "watched")
    assert done.status == 1
    assert "none does not exist. A data set holds images/ and masks/" in done.err
    assert not (tmp_path / "out").exists()


def test_help_shows_how(cellseg) -> None:
    done = cellseg("train", "--help")
    assert done.status == 0
    assert "cellseg train my-nuclei/ -o my-weights" in done.out
    assert "train" in cellseg("--help").out


def test_a_segmenter_without_a_trainer_where_none_can_be_trained() -> None:
    one = Registered("segmenter", Component(name="plain", factory="a:B"), "somewhere 1")
    with pytest.raises(ComponentError, match=r"'plain' cannot be trained\. None of those"):
        Plugins((one,)).build_trainer("plain")


def test_a_trainer_reads_like_a_factory() -> None:
    with pytest.raises(ValueError, match=r"a trainer reads 'package\.module:Class'"):
        Component(name="plain", factory="a:B", trainer="a.B")


@pytest.mark.slow
def test_the_mask_r_cnn_is_trained_and_then_used(
    cellseg, dataset: Path, tmp_path: Path, with_trainers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, TINY.name, TINY)
    out = tmp_path / "weights"
    options = {"preset": TINY.name, "start": "scratch", "batch_size": 2, "crop": 64}
    settings = [
        part for item in options.items() for part in ("--set", "trainer.{}={}".format(*item))
    ]
    done = cellseg("train", dataset, "-o", out, "--steps", 4, *settings)
    assert done.status == 0, done.err
    assert {path.name for path in out.iterdir()} >= {
        "model.json", "weights.npz", "log.csv", "report.json", "checkpoint.npz",
    }  # fmt: skip
    assert "validation" in done.out
    found = cellseg(
        "run", dataset / "images" / "2.tif", "-o", tmp_path / "results", "--segmenter", "maskrcnn",
        "--set", f"segmenter.weights={out}", "--nuclear-diameter", 18, "--write", "labels",
    )  # fmt: skip
    assert found.status == 0, found.err
    other = cellseg("train", dataset, "-o", out, "--steps", 5, *settings)
    assert other.status == 2
    assert "steps (4, now 5)" in other.err
    assert "--fresh" in other.err
