"""StarDist learns, goes on after an interruption as if there had been none, and is used."""

from __future__ import annotations

import csv
import errno
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tifffile

pytest.importorskip("stardist", reason="needs the stardist package")

from cellseg_backends.model_note import read_note
from cellseg_backends.stardist import training_run
from cellseg_backends.stardist.library import stardist_models
from cellseg_backends.stardist.segmenter import StarDistSegmenter
from cellseg_backends.stardist.thresholds import choose_thresholds
from cellseg_backends.stardist.trainer import StarDistTrainer
from cellseg_backends.training.log import TrainingLog
from cellseg_core import Pipeline, store
from cellseg_core.errors import ConfigurationError, ImageError, OutputError, WeightsError
from cellseg_core.protocols import Trainer
from cellseg_core.synthetic import simulate_tissue
from cellseg_core.training_set import TrainingSet, read_training_set

pytestmark = pytest.mark.slow

EPOCHS, STEPS = 3, 2


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
            assert total == EPOCHS * STEPS
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
    """Return seven simulated tissues, one without nuclei and one for validation."""
    return made(tmp_path_factory.mktemp("nuclei"), 7, validated=1, empty=1)


@pytest.fixture(scope="module", autouse=True)
def short_epochs() -> None:
    """Let an epoch have two steps."""
    patch = pytest.MonkeyPatch()
    patch.setattr("cellseg_backends.stardist.trainer._EPOCH", STEPS)
    yield
    patch.undo()


def trainer(**options: object) -> StarDistTrainer:
    usual = {
        "steps": EPOCHS * STEPS, "batch_size": 2, "crop": 64, "seed": 3, "precision": "float32",
        "diameter": 16.0,
    }  # fmt: skip
    return StarDistTrainer(**(usual | options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(dataset: TrainingSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    trainer().train(dataset, folder, Reports())
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files if name != "facts"}


def assert_same_training(folder: Path, whole: Path) -> None:
    """Compare bit by bit, but for the time that it took."""
    for one, other in zip(rows(folder), rows(whole), strict=True):
        assert {**one, "seconds": ""} == {**other, "seconds": ""}
    one, other = arrays(folder / "checkpoint.npz"), arrays(whole / "checkpoint.npz")
    assert set(one) == set(other)
    assert all(np.array_equal(one[key], other[key]) for key in one)
    assert read_note(folder).options == read_note(whole).options


def test_everything_is_written(trained: Path, dataset: TrainingSet) -> None:
    log = rows(trained)
    assert [int(row["step"]) for row in log] == [2, 4, 6]
    assert all(float(row["held_out_loss"]) > 0 for row in log)
    report = json.loads((trained / "report.json").read_text())
    assert set(report["accuracy"]) == {"blue", "all"}
    assert report["images"] == {"train": 6, "val": 1}
    assert len(report["held_out_images"]) == 1
    assert report["held_out_images"] != ["t0"], "an image without nuclei tells nothing"
    assert {"stardist", "keras", "numpy"} <= set(report["environment"]["packages"])
    note = read_note(trained)
    assert (note.segmenter, note.diameter) == ("stardist", 16.0)
    assert note.training["settings"]["seed"] == 3
    assert set(note.options) == {"prob_threshold", "nms_threshold"}
    thresholds = json.loads((trained / "thresholds.json").read_text())
    assert thresholds == {
        "prob": note.options["prob_threshold"],
        "nms": note.options["nms_threshold"],
    }


def test_the_library_loads_the_folder(trained: Path, capsys: pytest.CaptureFixture) -> None:
    network = stardist_models().StarDist2D(None, trained.name, str(trained.parent))
    assert "Couldn't" not in capsys.readouterr().out
    best = [array for name, array in arrays(trained / "checkpoint.npz").items() if "best" in name]
    for one, other in zip(network.keras_model.get_weights(), best, strict=True):
        np.testing.assert_array_equal(one, other)
    assert network.thresholds.prob == read_note(trained).options["prob_threshold"]
    assert network.config.train_patch_size == [64, 64]


def test_the_result_is_a_segmenter_s_weights(trained: Path, dataset: TrainingSet) -> None:
    image = dataset.of("val")[0].image()
    result = Pipeline(
        segmenter=StarDistSegmenter(weights=str(trained)), nuclear_diameter=16
    ).run(image)  # fmt: skip
    assert result.nuclei.shape == (80, 80)


def test_after_ctrl_c_and_a_crash_it_goes_on_to_the_same_weights_bit_by_bit(
    trained: Path, dataset: TrainingSet, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer().train(dataset, tmp_path, Reports(interrupt_at=1))
    assert signal.getsignal(signal.SIGINT) is before
    assert rows(tmp_path) == [], "an epoch that was not finished does not count"

    with pytest.raises(KeyboardInterrupt):
        trainer().train(dataset, tmp_path, Reports(interrupt_at=2))
    assert [row["step"] for row in rows(tmp_path)] == ["2"], "the last step of an epoch counts"
    assert not (tmp_path / "weights_best.h5").exists()

    second = Reports(crash_at=5)
    with pytest.raises(CrashError):
        trainer().train(dataset, tmp_path, second)
    assert "going on from step 2 of 6" in second.lines
    assert second.steps == [3, 4, 5]

    last = Reports()
    trainer().train(dataset, tmp_path, last)
    assert last.steps == [5, 6]
    assert_same_training(tmp_path, trained)

    again = Reports()
    trainer().train(dataset, tmp_path, again)
    assert again.steps == [], "what is done is not done again"
    assert_same_training(tmp_path, trained)


def test_another_training_is_not_mixed_in(trained: Path, dataset: TrainingSet) -> None:
    with pytest.raises(ConfigurationError, match=r"steps \(6, now 4\), .*seed \(3, now 4\)"):
        trainer(steps=4, seed=4).train(dataset, trained, Reports())


def test_fresh_starts_over_once_the_new_training_can_begin(
    trained: Path, dataset: TrainingSet, tmp_path: Path
) -> None:
    for file in trained.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for doing in ("checking images", "reading images"):
        with pytest.raises(CrashError):
            trainer(seed=4).train(dataset, tmp_path, Reports(crash_in=doing), fresh=True)
        assert (tmp_path / "weights_best.h5").exists()
    with pytest.raises(CrashError):
        trainer(seed=4).train(dataset, tmp_path, Reports(crash_in="training"), fresh=True)
    assert [file.name for file in tmp_path.iterdir()] == ["log.csv"]


def test_a_damaged_checkpoint_is_named(dataset: TrainingSet, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(WeightsError, match=r"checkpoint\.npz cannot be read.*--fresh"):
        trainer().train(dataset, tmp_path, Reports())


def test_a_checkpoint_that_lacks_arrays_is_named(
    trained: Path, dataset: TrainingSet, tmp_path: Path
) -> None:
    with np.load(trained / "checkpoint.npz") as found:
        kept = {name: found[name] for name in found.files if name != "weight3"}
    np.savez(tmp_path / "checkpoint.npz", **kept)
    with pytest.raises(WeightsError, match=r"checkpoint\.npz cannot be read.*weight3"):
        trainer().train(dataset, tmp_path, Reports())


def test_fine_tuning_starts_from_weights(
    trained: Path, dataset: TrainingSet, tmp_path: Path
) -> None:
    tuned = trainer(start=str(trained), steps=EPOCHS * STEPS, rate=None, diameter=None)
    done = tuned.train(dataset, tmp_path, Reports())
    assert done["settings"]["rate"] == 1e-4
    assert done["settings"]["diameter"] == 16.0, "that of the weights"
    assert done["started_from"] == read_note(trained).sha256
    # Small steps do not lead far from the start.
    one, other = arrays(trained / "checkpoint.npz"), arrays(tmp_path / "checkpoint.npz")
    names = [name for name in one if name.startswith("best")]
    assert all(np.allclose(one[name], other[name], atol=0.01) for name in names)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_weights_that_do_not_fit_and_a_finished_folder_are_refused(
    trained: Path, dataset: TrainingSet, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="cannot be both"):
        trainer(start=str(trained)).train(dataset, trained, Reports())
    finished = tmp_path / "finished"
    finished.mkdir()
    (finished / "weights_best.h5").write_bytes((trained / "weights_best.h5").read_bytes())
    with pytest.raises(ConfigurationError, match="holds a trained network already"):
        trainer().train(dataset, finished, Reports())
    other = tmp_path / "other"
    models = stardist_models()
    config = models.Config2D(n_rays=8, grid=(2, 2), train_patch_size=(64, 64))
    network = models.StarDist2D(config, "other", str(tmp_path))
    network.keras_model.save_weights(str(other / "weights_best.h5"))
    (tmp_path / "new").mkdir()
    with pytest.raises(WeightsError, match=r"cannot be trained further.*32 rays"):
        trainer(start=str(other)).train(dataset, tmp_path / "new", Reports())


def test_two_images_are_enough_and_one_is_too_with_a_warning(tmp_path: Path) -> None:
    for number, told in ((2, "of which 1 is held out"), (1, "one training image with nuclei")):
        folder = tmp_path / str(number)
        folder.mkdir()
        report = Reports(crash_in="training")
        with pytest.raises(CrashError):
            trainer().train(made(folder, number), folder, report)
        assert any(told in line for line in report.lines)
        assert any("accuracy will not be known" in line for line in report.lines)


def test_images_that_cannot_be_used_stop_it_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="hold no nucleus"):
        trainer().train(made(tmp_path, 2, empty=2), tmp_path, Reports())


def test_a_full_disk_is_told(
    trained: Path, dataset: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoint.npz").write_bytes((trained / "checkpoint.npz").read_bytes())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as writing:
        writing.setattr(store.os, "fsync", full)
        with pytest.raises(OutputError, match=r"cannot be written.*disk is full"):
            trainer().train(dataset, tmp_path, Reports())
    monkeypatch.setattr(training_run.tempfile, "TemporaryDirectory", full)
    with pytest.raises(OutputError, match=r"weights_best\.h5 cannot be written.*disk is full"):
        trainer().train(dataset, tmp_path, Reports())


def test_half_precision_is_learnt_in_and_written_whole(
    dataset: TrainingSet, tmp_path: Path
) -> None:
    done = trainer(precision="bfloat16").train(dataset, tmp_path, Reports())
    assert done["settings"]["precision"] == "bfloat16"
    network = stardist_models().StarDist2D(None, tmp_path.name, str(tmp_path.parent))
    assert {array.dtype for array in network.keras_model.get_weights()} == {np.dtype(np.float32)}


class Flat:
    """A network that says the same of every pixel."""

    def predict(self, image: np.ndarray, **_: object) -> tuple[np.ndarray, None]:
        return np.full(image.shape, 0.5, np.float32), None


class Crowded:
    """A network that proposes a nucleus at nearly every pixel."""

    def predict(self, image: np.ndarray, **_: object) -> tuple[np.ndarray, None]:
        return np.linspace(0.5, 0.6, image.size, dtype=np.float32).reshape(image.shape), None

    def optimize_thresholds(self, images, truths, optimize_kwargs, save_to_json):
        low, high = optimize_kwargs["bracket"]
        assert (low, high) == pytest.approx((0.575, 0.6), abs=1e-3)
        return {"prob": 1.7, "nms": 0.3}


def test_thresholds_of_networks_that_have_learnt_little() -> None:
    pair = np.zeros((40, 40), np.float32), np.zeros((40, 40), np.int32)
    assert choose_thresholds(Flat(), [pair]) is None
    assert choose_thresholds(Crowded(), [pair]) == pytest.approx((0.6, 0.3))


def test_thresholds_are_chosen_where_there_is_no_standard_error(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = stardist_models().StarDist2D(None, trained.name, str(trained.parent))
    tissue = simulate_tissue((64, 64), seed=5, channels=("DAPI",), nuclear_diameter=16.0)
    pixels = tissue.image.pixels[0].astype(np.float32)
    monkeypatch.setattr(sys, "stderr", None)
    prob, nms = choose_thresholds(network, [(pixels / pixels.max(), tissue.nuclei)])
    assert 0 < prob < 1
    assert nms in (0.3, 0.4, 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "trainer.steps is a whole number from 1 to 1,000,000,000; got 0"),
        ({"batch_size": "8"}, "trainer.batch_size is a whole number"),
        ({"crop": 100}, "multiple of 16"),
        ({"rate": 0}, "trainer.rate is a number over 0"),
        ({"held_out": 0.6}, "trainer.held_out is a number over 0, up to 0.5"),
        ({"precision": "half"}, "'auto', 'float32' or 'bfloat16'"),
        ({"start": 5}, "trainer.start is 'scratch', a folder"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        StarDistTrainer(**options)


@pytest.mark.parametrize(("steps", "epochs"), [(1, (1, 1)), (2, (1, 2)), (5, (3, 2)), (7, (4, 2))])
def test_steps_are_divided_into_epochs_of_one_length(steps: int, epochs: tuple[int, int]) -> None:
    plan = trainer(steps=steps).plan()
    assert (plan.epochs, plan.steps) == epochs


def test_a_log_with_garbage_from_a_crash_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"step,loss\n1,0.5\n2,0.4\n\xb2,1\n3\n" + bytes(9) + b"\xff\xfe")
    with TrainingLog(path, ("step", "loss"), 2) as log:
        log.write(3, {"loss": 0.25})
    assert path.read_text() == "step,loss\n1,0.5\n2,0.4\n3,0.25\n"


def test_it_follows_the_protocol() -> None:
    assert isinstance(StarDistTrainer(), Trainer)
