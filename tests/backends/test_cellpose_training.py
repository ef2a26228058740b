"""Cellpose learns, goes on after an interruption as if there had been none, and is used."""

from __future__ import annotations

import csv
import errno
import json
import signal
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

pytest.importorskip("cellpose", reason="needs the cellpose package")

from cellseg_backends.cellpose.model_file import CellposeModel
from cellseg_backends.cellpose.segmenter import CellposeSegmenter
from cellseg_backends.cellpose.thresholds import CELLPROB, FLOW
from cellseg_backends.cellpose.trainer import CellposeTrainer, _known_diameter
from cellseg_backends.model_note import read_note
from cellseg_core import Pipeline, store
from cellseg_core.errors import (
    ConfigurationError,
    ImageError,
    MissingPackageError,
    OutputError,
    WeightsError,
)
from cellseg_core.protocols import Trainer
from cellseg_core.synthetic import simulate_tissue
from cellseg_core.training_set import TrainingSet, read_training_set

VERSION_3 = version("cellpose").startswith("3.")
STEPS = 4

pytestmark = pytest.mark.slow
needs_3 = pytest.mark.skipif(not VERSION_3, reason="cellpose 4 cannot be trained from scratch")


class CrashError(Exception):
    """The machine fails."""


class Reports:
    """Takes what is reported; at a step it can interrupt, or crash."""

    def __init__(self, interrupt_at: int = 0, crash_at: int = 0, crash_in: str = "") -> None:
        self.lines: list[str] = []
        self.interrupt_at, self.crash_at, self.crash_in = interrupt_at, crash_at, crash_in
        self.steps: list[int] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    warn = say

    def progress(self, doing: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if doing == self.crash_in:
            raise CrashError
        if doing == "training":
            self.steps.append(done)
            assert figures["loss"] > 0
            if done == self.interrupt_at:
                signal.raise_signal(signal.SIGINT)
            if done == self.crash_at:
                raise CrashError


def made(folder: Path, images: int, *, validated: int = 0, empty: int = 0) -> TrainingSet:
    """Return a data set of small simulated tissues; the first ``empty`` ones have no nuclei."""
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    rows = ["id,split,modality"]
    for number in range(images):
        tissue = simulate_tissue(
            (80, 80), seed=number, channels=("DAPI",), nuclear_diameter=16.0, density=0.3
        )
        nuclei = tissue.nuclei.astype(np.uint16) * (number >= empty)
        tifffile.imwrite(folder / "images" / f"t{number}.tif", tissue.image.pixels)
        tifffile.imwrite(folder / "masks" / f"t{number}.tif", nuclei)
        rows.append(f"t{number},{'val' if number >= images - validated else 'train'},blue")
    (folder / "index.csv").write_text("\n".join(rows))
    return read_training_set(folder)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    """Return four simulated tissues, one without nuclei and one for validation."""
    return made(tmp_path_factory.mktemp("nuclei"), 4, validated=1, empty=1)


def trainer(**options: object) -> CellposeTrainer:
    usual = {
        "steps": STEPS, "batch_size": 2, "crop": 64, "seed": 3, "precision": "float32",
        "rate": 0.05, "validate_every": 2, "device": "cpu",
    }  # fmt: skip
    return CellposeTrainer(**(usual | options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(dataset: TrainingSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    trainer().train(dataset, folder, Reports())
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def loaded(path: Path) -> dict:
    import torch

    state: dict = torch.load(path, weights_only=True)
    return state


def assert_same_training(folder: Path, whole: Path) -> None:
    """Compare bit by bit, but for the time that it took."""
    import torch

    for one, other in zip(rows(folder), rows(whole), strict=True):
        assert {**one, "seconds": ""} == {**other, "seconds": ""}
    one, other = loaded(folder / "cellpose_model"), loaded(whole / "cellpose_model")
    assert set(one) == set(other)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert read_note(folder).options == read_note(whole).options


@needs_3
def test_everything_is_written(trained: Path) -> None:
    log = rows(trained)
    assert [int(row["step"]) for row in log] == [1, 2, 3, 4]
    assert [row["step"] for row in log if row["val_loss"]] == ["2", "4"]
    report = json.loads((trained / "report.json").read_text())
    assert set(report["accuracy"]) == {"blue", "all"}
    assert report["images"] == {"train": 3, "val": 1}
    assert len(report["mAP_on_training_images_by_thresholds"]) == len(FLOW) * len(CELLPROB)
    assert {"cellpose", "torch"} <= set(report["environment"]["packages"])
    note = read_note(trained)
    assert (note.segmenter, note.diameter) == ("cellpose", 17.0)
    assert note.options["flow_threshold"] in FLOW
    assert note.options["cellprob_threshold"] in CELLPROB
    assert note.training["settings"]["seed"] == 3


@needs_3
def test_the_library_loads_the_file_and_finds_what_the_whole_weights_find(
    trained: Path, dataset: TrainingSet, tmp_path: Path
) -> None:
    import torch
    from cellpose.models import CellposeModel

    path = trained / "cellpose_model"
    assert path.stat().st_size < 14e6
    whole = loaded(trained / "checkpoint.pt")["network"]
    torch.save(whole, tmp_path / "whole")
    networks = [
        CellposeModel(pretrained_model=str(file), nchan=2) for file in (path, tmp_path / "whole")
    ]
    for name, value in networks[0].net.state_dict().items():
        assert value.dtype == whole[name].dtype
        torch.testing.assert_close(value, whole[name], rtol=1e-3, atol=1e-6)
    assert networks[0].diam_mean == 17.0
    pixels, _ = dataset.of("val")[0].read()
    outputs = [
        one.eval(
            np.stack([pixels, 0 * pixels], -1),
            channel_axis=-1,
            normalize={"normalize": False},
            diameter=17.0,
            cellprob_threshold=-6.0,
            flow_threshold=0.0,
        )
        for one in networks
    ]
    for one, other in zip(outputs[0][1][1:3], outputs[1][1][1:3], strict=True):
        np.testing.assert_allclose(one, other, atol=0.02)
    same = (outputs[0][0] > 0) == (outputs[1][0] > 0)
    assert same.mean() > 0.98


@needs_3
def test_the_result_is_a_segmenter_s_weights(trained: Path, dataset: TrainingSet) -> None:
    image = dataset.of("val")[0].image()
    segmenter = CellposeSegmenter(weights=str(trained))
    result = Pipeline(segmenter=segmenter, nuclear_diameter=16).run(image)
    assert result.nuclei.shape == (80, 80)


@needs_3
def test_after_ctrl_c_and_a_crash_it_goes_on_to_the_same_weights_bit_by_bit(
    trained: Path, dataset: TrainingSet, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer().train(dataset, tmp_path, Reports(interrupt_at=1))
    assert signal.getsignal(signal.SIGINT) is before
    assert [row["step"] for row in rows(tmp_path)] == ["1", "2"]
    assert not (tmp_path / "cellpose_model").exists()

    second = Reports(crash_at=3)
    with pytest.raises(CrashError):
        trainer().train(dataset, tmp_path, second)
    assert "going on from step 2 of 4" in second.lines

    last = Reports()
    trainer().train(dataset, tmp_path, last)
    assert last.steps == [3, 4]
    assert_same_training(tmp_path, trained)

    again = Reports()
    trainer().train(dataset, tmp_path, again)
    assert again.steps == [], "what is done is not done again"
    assert_same_training(tmp_path, trained)


@needs_3
def test_another_training_is_not_mixed_in(trained: Path, dataset: TrainingSet) -> None:
    with pytest.raises(ConfigurationError, match=r"steps \(4, now 3\), seed \(3, now 4\)"):
        trainer(steps=3, seed=4).train(dataset, trained, Reports())


@needs_3
def test_fresh_starts_over_once_the_new_training_can_begin(
    trained: Path, dataset: TrainingSet, tmp_path: Path
) -> None:
    for file in trained.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for doing in ("checking images", "reading images"):
        with pytest.raises(CrashError):
            trainer(seed=4).train(dataset, tmp_path, Reports(crash_in=doing), fresh=True)
        assert (tmp_path / "cellpose_model").exists()
    with pytest.raises(CrashError):
        trainer(seed=4).train(dataset, tmp_path, Reports(crash_in="training"), fresh=True)
    assert [file.name for file in tmp_path.iterdir()] == ["log.csv"]


@needs_3
@pytest.mark.parametrize("content", [b"PK\x03\x04 cut off", b"\x80\x02}q\x00."])
def test_a_damaged_checkpoint_is_named(
    dataset: TrainingSet, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"checkpoint\.pt cannot be read.*--fresh"):
        trainer().train(dataset, tmp_path, Reports())


@needs_3
def test_a_checkpoint_that_lacks_arrays_is_named(
    trained: Path, dataset: TrainingSet, tmp_path: Path
) -> None:
    import torch

    state = loaded(trained / "checkpoint.pt")
    state["network"].popitem()
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(WeightsError, match=r"checkpoint\.pt cannot be read"):
        trainer().train(dataset, tmp_path, Reports())


@needs_3
def test_fine_tuning_starts_from_weights(
    trained: Path, dataset: TrainingSet, tmp_path: Path
) -> None:
    done = trainer(start=str(trained), steps=2, rate=None).train(dataset, tmp_path, Reports())
    assert done["settings"]["rate"] == 0.05
    assert done["started_from"] == read_note(trained).sha256
    one, other = loaded(trained / "cellpose_model"), loaded(tmp_path / "cellpose_model")
    name = "output.2.weight"
    np.testing.assert_allclose(one[name], other[name], atol=0.1)
    from_file = trainer(start=str(trained / "cellpose_model"), steps=2)
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(CrashError):
        from_file.train(dataset, again, Reports(crash_in="training"))


@needs_3
def test_weights_that_do_not_fit_and_a_finished_folder_are_refused(
    trained: Path, dataset: TrainingSet, tmp_path: Path
) -> None:
    import torch

    with pytest.raises(ConfigurationError, match="cannot be both"):
        trainer(start=str(trained)).train(dataset, trained, Reports())
    finished = tmp_path / "finished"
    finished.mkdir()
    (finished / "cellpose_model").write_bytes((trained / "cellpose_model").read_bytes())
    with pytest.raises(ConfigurationError, match="holds a trained network already"):
        trainer().train(dataset, finished, Reports())
    (tmp_path / "new").mkdir()
    torch.save({"a": torch.zeros(1)}, tmp_path / "of_something")
    with pytest.raises(WeightsError, match=r"cannot be trained further.*Cellpose 3"):
        trainer(start=str(tmp_path / "of_something"), diameter=17.0).train(
            dataset, tmp_path / "new", Reports()
        )
    torch.save({"W2": torch.zeros(1)}, tmp_path / "of_version_4")
    with pytest.raises(WeightsError, match=r"is a network of cellpose 4, and cellpose 3"):
        trainer(start=str(tmp_path / "of_version_4")).train(dataset, tmp_path / "new", Reports())
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(WeightsError, match="no Cellpose network, or damaged"):
        trainer(start=str(tmp_path / "text")).train(dataset, tmp_path / "new", Reports())


@needs_3
def test_one_image_is_enough_and_the_missing_accuracy_is_told(tmp_path: Path) -> None:
    report = Reports()
    done = trainer(steps=1).train(made(tmp_path, 1), tmp_path, report)
    assert done["accuracy"] == {}
    assert any("accuracy will not be known" in line for line in report.lines)


@needs_3
def test_images_that_cannot_be_used_stop_it_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="hold no nucleus"):
        trainer().train(made(tmp_path, 2, empty=2), tmp_path, Reports())


@needs_3
def test_a_full_disk_is_told(
    trained: Path, dataset: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoint.pt").write_bytes((trained / "checkpoint.pt").read_bytes())

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot be written.*disk is full"):
        trainer().train(dataset, tmp_path, Reports())


@needs_3
def test_half_precision_is_learnt_in(dataset: TrainingSet, tmp_path: Path) -> None:
    done = trainer(precision="bfloat16", steps=1).train(dataset, tmp_path, Reports())
    assert done["settings"]["precision"] == "bfloat16"


@needs_3
def test_a_device_that_is_not_there_is_told(dataset: TrainingSet, tmp_path: Path) -> None:
    with pytest.raises(MissingPackageError, match=r"cannot compute on 'xpu:7'.*cpu"):
        trainer(device="xpu:7").train(dataset, tmp_path, Reports())


@needs_3
def test_the_diameter_is_that_of_the_weights_or_a_sensible_one(tmp_path: Path) -> None:
    import torch

    def known(file: str, **arrays: Any) -> float:
        torch.save(arrays, tmp_path / file)
        return _known_diameter(CellposeModel(path=tmp_path / file, note=None))

    assert known("network", diam_mean=torch.tensor([24.0])) == 24.0
    assert (known("cytotorch_0"), known("nucleitorch_0"), known("other")) == (30.0, 17.0, 17.0)
    for bad in (float("nan"), 1e9):
        with pytest.raises(WeightsError, match=r"Give --set trainer.diameter"):
            known("network", diam_mean=torch.tensor([bad]))


def test_what_half_precision_cannot_hold_stays_whole() -> None:
    import torch

    from cellseg_backends.cellpose.training_run import _halved

    assert _halved(torch.tensor([1.0, 2.0])).dtype == torch.float16
    assert _halved(torch.tensor([1.0, 1e6])).dtype == torch.float32
    assert _halved(torch.tensor(3)).dtype == torch.int64


@pytest.mark.skipif(VERSION_3, reason="cellpose 3 can be trained")
def test_version_4_is_refused_before_any_work(tmp_path: Path) -> None:
    report = Reports(crash_in="checking images")
    with pytest.raises(ConfigurationError, match=r'pip install "cellpose>=3.1,<4"'):
        CellposeTrainer().train(made(tmp_path, 2), tmp_path, report)


@pytest.mark.parametrize("found", ["4.0.1", "3.0.11"])
def test_versions_that_cannot_be_trained_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    from cellseg_backends.cellpose import model_file
    from cellseg_backends.cellpose import trainer as module

    for place in (model_file, module):
        monkeypatch.setattr(place, "version", lambda _name: found)
    with pytest.raises(ConfigurationError, match=f'{found}.*pip install "cellpose>=3.1,<4"'):
        CellposeTrainer().train(made(tmp_path, 2), tmp_path, Reports())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "trainer.steps is a whole number from 1 to 1,000,000,000; got 0"),
        ({"batch_size": "8"}, "trainer.batch_size is a whole number"),
        ({"crop": 100}, "multiple of 16"),
        ({"rate": 0}, "trainer.rate is a number over 0"),
        ({"precision": "half"}, "'auto', 'float32' or 'bfloat16'"),
        ({"device": 5}, "trainer.device is 'auto', 'cpu'"),
        ({"start": 5}, "trainer.start is 'scratch', the file"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        CellposeTrainer(**options)


def test_it_follows_the_protocol() -> None:
    assert isinstance(CellposeTrainer(), Trainer)
