"""The Mask R-CNN on Keras' other backends: a step of training, its checkpoint, and nuclei.

A process has one backend, so this file is also the program that each test starts.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from cellseg_backends.maskrcnn.presets import PRESETS, Preset
from cellseg_core.synthetic import simulate_tissue


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_it_learns_goes_on_and_finds_nuclei(backend: str, tiny: Preset, tmp_path: Path) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs {backend}, another backend of Keras: pip install {backend}")
    # What these packages warn of is theirs; here it would be an error.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    environment["KERAS_BACKEND"] = backend
    environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # compiles sooner
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), json.dumps(attrs.asdict(tiny))],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["backend"] == backend
    first, second, again = facts["losses"]
    assert np.isfinite([*first.values(), *second.values()]).all()
    assert all(value > 0 for value in first.values())
    assert facts["changed"], "a step changes the weights"
    assert facts["restored"], "a checkpoint brings back weights, averages and the optimizer's state"
    assert second == pytest.approx(again, rel=1e-3), "from a checkpoint it goes on alike"
    assert facts["nuclei"] > 0
    assert facts["shape"] == [90, 110]
    assert 0 <= facts["scores"][0] <= facts["scores"][1] <= 1
    assert facts["alike"], "the weights find the same each time"


def training(preset: Preset) -> Any:
    """Return a tiny network in training, compiled as ``cellseg train`` compiles it."""
    import keras

    from cellseg_backends.maskrcnn.batches import Batches
    from cellseg_backends.maskrcnn.dataset import training_image
    from cellseg_backends.maskrcnn.model import MaskRCNN, TrainingModel
    from cellseg_backends.maskrcnn.training import Schedule, Training

    tissue = simulate_tissue((96, 96), seed=1, channels=("DAPI",), nuclear_diameter=16.0)
    plane = np.asarray(tissue.image.pixels)[0].astype(np.float32)
    image = training_image("tissue", plane / plane.max(), tissue.nuclei, 16.0)
    batches = Batches(
        images=[image], diameter=16, size=64, batch_size=2, nuclei=24, jittered=16, proposals=48
    )
    network = MaskRCNN(preset)
    model = TrainingModel(network, positive=8, negative=8)
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-3, weight_decay=0.01, clipnorm=5.0),
        jit_compile=keras.backend.backend() == "jax",  # pyright: ignore[reportArgumentType]
    )
    return Training(model, network.weights(), batches, Schedule(steps=2, rise=1, descent=1))


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def main(folder: Path, preset: Preset) -> None:
    """Do with the backend that ``KERAS_BACKEND`` names what the test looks at; print the facts."""
    from cellseg_backends.maskrcnn.keras_start import start_keras

    start_keras()
    import keras

    from cellseg_backends.maskrcnn.segmenter import MaskRCNNSegmenter
    from cellseg_backends.maskrcnn.weights import save_weights

    PRESETS[preset.name] = preset
    keras.utils.set_random_seed(1)
    losses: list[dict[str, float]] = []
    one = training(preset)
    start = one.weights()
    one.run(1, lambda _step, found: losses.append(found))
    after = one.weights()
    one.save(folder / "checkpoint.npz")
    one.run(2, lambda _step, found: losses.append(found))

    # A network that has not learnt yet takes up the whole state.
    other = training(preset)
    other.restore(folder / "checkpoint.npz")
    other.save(folder / "again.npz")
    with np.load(folder / "checkpoint.npz") as saved, np.load(folder / "again.npz") as copy:
        restored = same(dict(saved), dict(copy)) and same(after, other.weights())
    # One that has goes back; it is compiled already.
    one.restore(folder / "checkpoint.npz")
    one.run(2, lambda _step, found: losses.append(found))

    arrays = one.weights()
    # Weights that find something wherever they look.
    arrays["proposal_output/bias"][::5] = 3
    for name in ("box_nucleus/bias", "quality_logit/bias", "mask_logits/bias"):
        arrays[name][:] = 3
    save_weights(folder, arrays, preset=preset.name, diameter=24.0, score=0.3, training={})
    tile = np.random.default_rng(0).random((1, 90, 110)).astype(np.float32)
    results = [
        MaskRCNNSegmenter(weights=str(folder), quality=quality).adapt(tile, 24.0).segment(tile)
        for quality in ("normal", "normal", "high")
    ]
    found, repeated, _ = results
    assert found.scores is not None
    facts = {
        "backend": keras.backend.backend(),
        "losses": losses,
        "changed": not same(start, after),
        "restored": restored,
        "shape": found.labels.shape,
        "nuclei": int(found.labels.max()),
        "scores": [float(found.scores.min()), float(found.scores.max())],
        "alike": bool(np.array_equal(found.labels, repeated.labels)),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Preset(**json.loads(sys.argv[2])))
