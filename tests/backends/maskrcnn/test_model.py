"""The network and its training: weights, losses, gradients, in full and in half precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from cellseg_backends.maskrcnn.anchors import anchors
from cellseg_backends.maskrcnn.batches import Batches
from cellseg_backends.maskrcnn.boxes import encode
from cellseg_backends.maskrcnn.dataset import TrainingImage
from cellseg_backends.maskrcnn.heads import BOX_CELLS, MASK_CELLS
from cellseg_backends.maskrcnn.model import MaskRCNN, TrainingModel
from cellseg_backends.maskrcnn.presets import Preset

Batch = dict[str, np.ndarray]
LOSSES = {
    *("proposal_class", "proposal_box", "dense", "class", "box", "mask", "quality", "mask_iou")
}


def training_model(preset: Preset, precision: str = "float32", **options: Any) -> TrainingModel:
    keras.utils.set_random_seed(1)
    options = {"positive": 8, "negative": 8} | options
    return TrainingModel(MaskRCNN(preset, precision), **options)


def values(losses: dict[str, Any]) -> dict[str, float]:
    return {name: float(ops.convert_to_numpy(loss)) for name, loss in losses.items()}


def weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {one.path: one.numpy().copy() for one in model.trainable_weights}


def batches(image: TrainingImage) -> Batches:
    return Batches(
        images=[image], diameter=16, size=64, batch_size=2, nuclei=24, jittered=16, proposals=48
    )


@pytest.fixture(scope="module")
def batch(discs: Callable[..., TrainingImage]) -> Batch:
    return batches(discs(count=16, side=96)).batch(0)


@pytest.fixture(scope="module")
def empty_batch(discs: Callable[..., TrainingImage]) -> Batch:
    return batches(discs(count=0)).batch(0)


class TestMaskRCNN:
    @pytest.mark.parametrize("shape", [(32, 32), (64, 96)])
    def test_parts_fit_together_at_any_multiple_of_32(
        self, tiny: Preset, shape: tuple[int, int]
    ) -> None:
        network = MaskRCNN(tiny)
        *maps, logits, deltas = network.first(np.ones((2, *shape, 1), np.float32))
        assert [one.shape for one in maps] == [
            (2, shape[0] // s, shape[1] // s, tiny.pyramid) for s in (2, 4, 8, 16)
        ]
        assert logits.shape == (2, len(anchors(*shape)))
        assert deltas.shape == (2, len(anchors(*shape)), 4)
        assert network.boxes.input_shape == (None, BOX_CELLS, BOX_CELLS, tiny.pyramid)
        assert network.masks.input_shape == (None, MASK_CELLS, MASK_CELLS, tiny.pyramid)

    def test_every_weight_has_a_name_of_its_own_the_same_in_every_network(
        self, tiny: Preset
    ) -> None:
        one, other = MaskRCNN(tiny), MaskRCNN(tiny, "mixed_bfloat16")
        assert len(one.weights()) == sum(len(part.variables) for part in one.parts)
        assert list(one.weights()) == list(other.weights())
        for name, variable in one.weights().items():
            assert variable.shape == other.weights()[name].shape
            assert keras.backend.standardize_dtype(other.weights()[name].dtype) == "float32"

    def test_the_precision_of_other_networks_stays(self, tiny: Preset) -> None:
        before = keras.config.dtype_policy()
        MaskRCNN(tiny, "mixed_bfloat16")
        assert keras.config.dtype_policy() == before

    def test_half_precision_maps_and_full_precision_answers(self, tiny: Preset) -> None:
        network = MaskRCNN(tiny, "mixed_bfloat16")
        *maps, logits, deltas = network.first(np.ones((1, 32, 32, 1), np.float32))
        for one in maps:
            assert keras.backend.standardize_dtype(one.dtype) == "bfloat16"
        for one in (logits, deltas):
            assert keras.backend.standardize_dtype(one.dtype) == "float32"


class TestLosses:
    def test_the_same_batch_gives_the_same_losses_twice(self, tiny: Preset, batch: Batch) -> None:
        model = training_model(tiny)
        first = values(model(batch))
        assert set(first) == LOSSES
        assert first == values(model(batch))
        assert all(np.isfinite(value) and value >= 0 for value in first.values())
        assert 0 < first["mask_iou"] <= 1

    def test_the_whole_loss_weighs_classes_by_a(self, tiny: Preset) -> None:
        parts = {name: float(2**k) for k, name in enumerate(sorted(LOSSES))}
        for a in (0.5, 1.0):
            model = training_model(tiny, class_weight=a)
            expected = (
                a * (parts["proposal_class"] + parts["class"])
                + parts["proposal_box"]
                + parts["box"]
                + parts["mask"]
                + parts["dense"]
                + 0.5 * parts["quality"]
            )
            assert float(model.compute_loss(y_pred=parts)) == expected
            assert model.compute_metrics(None, None, parts)["loss"] == expected

    def test_perfect_outputs_cost_next_to_nothing(
        self, tiny: Preset, batch: Batch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = training_model(tiny)
        truth = np.zeros((*batch["match"].shape, 5), np.float32)
        truth[..., 0] = np.where(batch["match"] >= 0, 20, -20)
        references = anchors(64, 64)
        for image, match in enumerate(batch["match"]):
            found = match >= 0
            aim = encode(batch["boxes"][image][match[found]], references[found])
            truth[image, found, 1:] = ops.convert_to_numpy(aim)
        first = model.first

        def perfect(image: Any) -> list[Any]:
            *maps, _, _ = first(image)
            return [
                *maps,
                ops.convert_to_tensor(truth[..., 0]),
                ops.convert_to_tensor(truth[..., 1:]),
            ]

        monkeypatch.setattr(model, "first", perfect)
        losses = values(model(batch))
        assert losses["proposal_class"] < 1e-6
        assert losses["proposal_box"] < 1e-6

    def test_an_empty_batch_costs_finite_amounts(self, tiny: Preset, empty_batch: Batch) -> None:
        assert not empty_batch["labels"].any()
        losses = values(training_model(tiny)(empty_batch))
        assert all(np.isfinite(value) for value in losses.values())
        assert all(losses[name] == 0 for name in ("proposal_box", "box", "mask", "quality"))
        assert losses["class"] > 0

    def test_a_black_batch_and_a_wild_one_cost_finite_amounts(
        self, tiny: Preset, batch: Batch
    ) -> None:
        model = training_model(tiny)
        for factor in (0, 1e6):
            losses = values(model(batch | {"image": batch["image"] * np.float32(factor)}))
            assert all(np.isfinite(value) for value in losses.values())


@pytest.fixture(scope="module", params=["float32", "mixed_bfloat16"])
def trained(
    request: pytest.FixtureRequest, tiny: Preset, batch: Batch
) -> tuple[TrainingModel, set[str], list[dict[str, float]]]:
    """Return a model, the weights that its first step left alone, and the losses of 30 steps."""
    model = training_model(tiny, request.param)
    model.compile(optimizer=keras.optimizers.Adam(5e-3), jit_compile=False)  # pyright: ignore[reportArgumentType]
    # Variables that exist already need not be traced into the step, which halves its compilation.
    model(batch)
    model.optimizer.build(model.trainable_variables)
    start = weights(model)
    losses = [model.train_on_batch(batch, return_dict=True)]
    same = {name for name, value in weights(model).items() if np.array_equal(value, start[name])}
    losses += [model.train_on_batch(batch, return_dict=True) for _ in range(29)]
    return model, same, losses


class TestTraining:
    def test_gradients_reach_every_weight(
        self, trained: tuple[TrainingModel, set[str], list[dict[str, float]]]
    ) -> None:
        model, same, _ = trained
        assert len(weights(model)) > 40
        assert not same

    def test_losses_fall_when_one_batch_is_repeated(
        self, trained: tuple[TrainingModel, set[str], list[dict[str, float]]]
    ) -> None:
        _, _, losses = trained
        assert set(losses[0]) == LOSSES | {"loss"}
        assert all(np.isfinite(list(one.values())).all() for one in losses)
        assert losses[-1]["loss"] < 0.7 * losses[0]["loss"]
        for name in ("proposal_class", "dense", "class", "mask"):
            assert losses[-1][name] < losses[0][name]
        assert losses[-1]["mask_iou"] > losses[0]["mask_iou"]

    def test_a_step_on_an_empty_batch_leaves_finite_weights(
        self,
        trained: tuple[TrainingModel, set[str], list[dict[str, float]]],
        empty_batch: Batch,
    ) -> None:
        model, _, _ = trained
        losses = model.train_on_batch(empty_batch, return_dict=True)
        assert np.isfinite(list(losses.values())).all()
        assert all(np.isfinite(value).all() for value in weights(model).values())
