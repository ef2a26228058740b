"""The Mask R-CNN learns, goes on after an interruption as if there had been none, and is used."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellseg_backends.maskrcnn.presets import Preset
from cellseg_backends.maskrcnn.segmenter import MaskRCNNSegmenter
from cellseg_backends.maskrcnn.trainer import MaskRCNNTrainer
from cellseg_backends.maskrcnn.training import Schedule
from cellseg_backends.maskrcnn.weights import describe
from cellseg_backends.training.validation import Examined, accuracy, best_score
from cellseg_core import Pipeline
from cellseg_core.errors import ConfigurationError, ImageError, WeightsError
from cellseg_core.metrics import average_precision, pairwise_iou
from cellseg_core.protocols import Trainer
from cellseg_core.synthetic import simulate_tissue
from cellseg_core.training_set import TrainingSet, read_training_set

STEPS = 40
TINY = "tiny"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("known_tiny")]


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


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    """Return six simulated tissues of two kinds, one of each kind for validation."""
    folder = tmp_path_factory.mktemp("nuclei")
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    rows = ["id,split,modality"]
    for number in range(6):
        tissue = simulate_tissue(
            (96, 96), seed=number, channels=("DAPI", "CD3"), nuclear_diameter=18.0, density=0.3
        )
        tifffile.imwrite(folder / "images" / f"t{number}.tif", tissue.image.pixels)
        tifffile.imwrite(folder / "masks" / f"t{number}.tif", tissue.nuclei.astype(np.uint16) * 3)
        rows.append(
            f"t{number},{'val' if number > 3 else 'train'},{'odd' if number % 2 else 'even'}"
        )
    (folder / "index.csv").write_text("\n".join(rows))
    return read_training_set(folder, ["channel_1"])


def trainer(**options: object) -> MaskRCNNTrainer:
    usual = {
        "preset": TINY, "start": "scratch", "steps": STEPS, "batch_size": 4, "crop": 64,
        "rate": 5e-3, "precision": "float32", "validate_every": 15, "simulated": 1, "seed": 3,
    }  # fmt: skip
    return MaskRCNNTrainer(**(usual | options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(
    dataset: TrainingSet, tmp_path_factory: pytest.TempPathFactory, known_tiny: Preset
) -> Path:
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
    for name in ("checkpoint.npz", "weights.npz"):
        one, other = arrays(folder / name), arrays(whole / name)
        assert set(one) == set(other)
        assert all(np.array_equal(one[key], other[key]) for key in one)


def test_the_loss_falls_and_everything_is_written(trained: Path) -> None:
    log = rows(trained)
    assert [int(row["step"]) for row in log] == list(range(1, STEPS + 1))
    for name, share in (("loss", 0.97), ("mask", 0.9), ("class", 0.8)):
        losses = np.array([float(row[name]) for row in log])
        assert losses[-8:].mean() < share * losses[:8].mean(), name
    assert [row["step"] for row in log if row["val_mAP"]] == ["15", "30", str(STEPS)]
    assert float(log[-1]["learning_rate"]) < float(log[10]["learning_rate"])
    report = json.loads((trained / "report.json").read_text())
    assert set(report["accuracy"]) == {"even", "odd", "all"}
    assert report["images"] == {"train": 4, "val": 2}
    assert report["accuracy"]["all"]["nuclei"] == report["nuclei"]["val"]
    assert {"keras", "numpy"} <= set(report["environment"]["packages"])
    found = describe(trained)
    assert (found.preset, found.diameter) == (TINY, 24.0)
    assert 0.3 <= found.score <= 0.7
    assert found.training["settings"]["seed"] == 3


def test_the_result_is_a_segmenter_s_weights(trained: Path, dataset: TrainingSet) -> None:
    segmenter = MaskRCNNSegmenter(weights=str(trained), score=0.0)
    image = dataset.of("val")[0].image()
    result = Pipeline(segmenter=segmenter, nuclear_diameter=18).run(image, "channel_1")
    assert result.nuclei.shape == (96, 96)
    assert np.isfinite(result.table.scores).all()


def test_after_ctrl_c_and_a_crash_it_goes_on_to_the_same_weights_bit_by_bit(
    trained: Path, dataset: TrainingSet, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer().train(dataset, tmp_path, Reports(interrupt_at=6))
    assert signal.getsignal(signal.SIGINT) is before
    assert int(rows(tmp_path)[-1]["step"]) == 7
    assert not (tmp_path / "model.json").exists()

    second = Reports(crash_at=18)
    with pytest.raises(CrashError):
        trainer().train(dataset, tmp_path, second)
    assert f"going on from step 7 of {STEPS}" in second.lines
    assert second.steps == list(range(8, 19))
    assert describe(tmp_path).training["step"] == 15, "the weights of the last validation are there"

    last = Reports()
    trainer().train(dataset, tmp_path, last)
    assert last.steps == list(range(16, STEPS + 1))
    assert_same_training(tmp_path, trained)

    again = Reports()
    trainer().train(dataset, tmp_path, again)
    assert again.steps == [], "what is done is not done again"
    assert_same_training(tmp_path, trained)


def test_another_training_is_not_mixed_in(trained: Path, dataset: TrainingSet) -> None:
    with pytest.raises(ConfigurationError, match=r"steps \(40, now 30\), seed \(3, now 4\)"):
        trainer(steps=30, seed=4).train(dataset, trained, Reports())


def test_fresh_starts_over(trained: Path, dataset: TrainingSet, tmp_path: Path) -> None:
    for file in trained.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    report = Reports(crash_in="training")
    with pytest.raises(CrashError):
        trainer(seed=4).train(dataset, tmp_path, report, fresh=True)
    assert [file.name for file in tmp_path.iterdir()] == ["log.csv"]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2, "the first step of the new"


@pytest.mark.parametrize("doing", ["checking images", "reading images"])
def test_fresh_keeps_what_is_there_until_the_new_training_can_begin(
    trained: Path, dataset: TrainingSet, tmp_path: Path, doing: str
) -> None:
    (tmp_path / "model.json").write_bytes((trained / "model.json").read_bytes())
    report = Reports(crash_in=doing)
    with pytest.raises(CrashError):
        trainer(seed=4).train(dataset, tmp_path, report, fresh=True)
    assert (tmp_path / "model.json").exists()


def test_a_damaged_checkpoint_is_named(dataset: TrainingSet, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(WeightsError, match=r"checkpoint\.npz cannot be read.*--fresh"):
        trainer().train(dataset, tmp_path, Reports())


def test_fine_tuning_starts_from_weights_and_tells_how_good_they_were(
    trained: Path, dataset: TrainingSet, tmp_path: Path
) -> None:
    report = Reports()
    tuned = trainer(start=str(trained), steps=2, rate=None, simulated=0)
    done = tuned.train(dataset, tmp_path, report)
    assert any(line.startswith("step 0: mAP") for line in report.lines)
    assert done["validation_mAP_by_step"][0][0] == 0
    assert done["settings"]["rate"] == 2e-4
    assert done["settings"]["start"] == describe(trained).sha256
    # Two small steps do not lead far from the start.
    one, other = arrays(trained / "weights.npz"), arrays(tmp_path / "weights.npz")
    assert all(np.allclose(one[key], other[key], atol=0.01) for key in one)


def test_weights_of_another_preset_and_a_finished_folder_are_refused(
    trained: Path, dataset: TrainingSet, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=f"trainer.preset={TINY}"):
        trainer(preset="light", start=str(trained)).train(dataset, tmp_path, Reports())
    with pytest.raises(ConfigurationError, match="cannot be both"):
        trainer(start=str(trained)).train(dataset, trained, Reports())
    for name in ("model.json", "weights.npz"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    with pytest.raises(ConfigurationError, match="holds a trained network already"):
        trainer().train(dataset, tmp_path, Reports())


def test_images_that_cannot_be_used_stop_it_before_it_starts(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        tifffile.imwrite(tmp_path / part / "a.tif", np.zeros((40, 40), np.uint16))
    with pytest.raises(ImageError, match="hold no nucleus"):
        trainer().train(read_training_set(tmp_path), tmp_path, Reports())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "ligth"}, "did you mean 'light'"),
        ({"steps": 0}, "trainer.steps is a whole number from 1 to 1,000,000,000; got 0"),
        ({"steps": 2.5}, "got 2.5"),
        ({"batch_size": "8"}, "trainer.batch_size is a whole number"),
        ({"crop": 100}, "multiple of 32"),
        ({"rate": 0}, "trainer.rate is a number over 0"),
        ({"precision": "half"}, "'auto', 'float32' or 'bfloat16'"),
        ({"diameter": 2}, "trainer.diameter"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MaskRCNNTrainer(**options)


def test_it_follows_the_protocol() -> None:
    assert isinstance(MaskRCNNTrainer(), Trainer)


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    schedule = Schedule(steps=100, rate=2.0, rise=10, descent=20)
    rates = [schedule.at(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:81] == [2.0] * 72
    assert all(one > other for one, other in pairwise(rates[80:]))
    assert rates[100] == 0


def test_precision_of_what_was_examined_is_that_of_the_metrics() -> None:
    rng = np.random.default_rng(0)
    truth = simulate_tissue((128, 128), seed=5, channels=("DAPI",)).nuclei
    found = np.roll(truth, 1, axis=0)
    found[rng.random(int(truth.max()) + 1)[found] < 0.2] = 0
    found, scores = np.unique(found, return_inverse=True)[1].reshape(truth.shape), None
    scores = rng.random(int(found.max()))
    _, label, iou = pairwise_iou(truth, found)
    overlaps = np.zeros(len(scores))
    np.maximum.at(overlaps, label - 1, iou)
    image = Examined("a", "", int(truth.max()), scores, overlaps)
    np.testing.assert_allclose(image.precision(), average_precision(truth, found))
    kept = np.concatenate([[False], scores >= 0.5])
    only = np.where(kept[found], found, 0)
    np.testing.assert_allclose(image.precision(0.5), average_precision(truth, only))


def test_the_least_confidence_is_where_wrong_ones_stay_out_and_right_ones_in() -> None:
    right, wrong = np.array([0.9, 0.62, 0.58]), np.array([0.41, 0.33])
    image = Examined("a", "", 3, np.r_[right, wrong], np.r_[0.9, 0.8, 0.8, 0.1, 0.2])
    assert best_score([image]) == 0.45
    empty = Examined("b", "x", 0, np.zeros(0), np.zeros(0))
    told = accuracy([image, empty])
    assert list(told) == ["x", "all"]
    assert told["x"]["mAP"] == 1.0
    assert told["all"]["images"] == 2
