"""The training of a Cellpose network: images, schedule, steps, checkpoints.

The recipe is that of Stringer et al. 2021 (Nature Methods 18:100) for their network for nuclei:
flows as targets, images brought to one diameter, random rotation, flips, scale and crop, SGD with
momentum at a rate of 0.2. Flows, augmentation and network are the cellpose package's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.percentiles import PercentileScale
from cellseg_backends.training.checkpoint import DAMAGE, damaged
from cellseg_core.errors import WeightsError
from cellseg_core.protocols import Labels
from cellseg_core.store import atomic_binary_file
from cellseg_core.training_set import TrainingExample

__all__ = [
    "CHANNELS",
    "PERCENTILES",
    "CellposeTraining",
    "TrainingImage",
    "checkpoint_facts",
    "load_images",
    "stored_diameter",
]

PERCENTILES = (1.0, 99.0)
CHANNELS = 2  # the network's; where there is one image channel, the second is 0
_BASE = (CHANNELS, 32, 64, 128, 256)
_MOMENTUM, _WEIGHT_DECAY = 0.9, 1e-5
_SCALE_RANGE = 0.5  # crops are 0.75 to 1.25 times the diameter
_RISE, _FALL, _HALVINGS = 0.02, 0.2, 10  # of all steps; 10 and 100 of 500 epochs as published
_FLOW_WEIGHT = 5.0
_DIAMETERS = ("diam_mean", "diam_labels")  # as the network stores them


@attrs.frozen(eq=False)
class TrainingImage:
    """An image as the network learns it.

    Attributes
    ----------
    pixels
        (2, Y, X) float32: the nuclear channel between its percentiles, and zeros.
    targets
        (3, Y, X) float32: nucleus or not, flow along Y, flow along X.
    diameter
        Diameter in px of a disc with the median area of the nuclei.
    """

    pixels: NDArray[np.float32]
    targets: NDArray[np.float32]
    diameter: float


def load_images(
    examples: Sequence[TrainingExample],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[TrainingImage]:
    """Return the images that have nuclei. Memory: 20 bytes for each pixel."""
    from cellpose import utils  # pyright: ignore[reportAttributeAccessIssue]

    images = []
    for done, one in enumerate(examples):
        progress(done, len(examples))
        plane, labels = one.read()
        if labels.any():
            pixels = np.zeros((CHANNELS, *plane.shape), np.float32)
            pixels[0] = PercentileScale.of(plane, PERCENTILES).apply(plane)
            diameter = max(float(utils.diameters(labels)[0]), 5.0)
            images.append(TrainingImage(pixels, _targets(labels), diameter))
    progress(len(examples), len(examples))
    return images


def _targets(labels: Labels) -> NDArray[np.float32]:
    import torch
    from cellpose import dynamics  # pyright: ignore[reportAttributeAccessIssue]

    flows = dynamics.labels_to_flows([labels.astype(np.int32)], device=torch.device("cpu"))
    return np.asarray(flows[0][1:4], np.float32)


@attrs.define(eq=False, kw_only=True)
class CellposeTraining:
    """A network that learns; step by step, and the same after an interruption as without one.

    Attributes
    ----------
    images
        What it learns from.
    diameter
        Diameter in px that nuclei are brought to.
    steps, batch_size, crop, rate, seed
        Of the plan: batches in all, crops in a batch, their edge in px, highest learning rate.
    half
        Compute in bfloat16 where that is exact enough.
    device
        Where to, as torch names it.
    step
        Batches seen.
    """

    images: Sequence[TrainingImage]
    diameter: float
    steps: int
    batch_size: int
    crop: int
    rate: float
    seed: int
    half: bool
    device: str = "cpu"
    step: int = attrs.field(default=0, init=False)
    network: Any = attrs.field(default=None, init=False)
    _optimizer: Any = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        import torch
        from cellpose.resnet_torch import CPnet

        torch.manual_seed(self.seed)
        network: Any = CPnet(list(_BASE), 3, 3, diam_mean=self.diameter)
        network.diam_labels.data[:] = float(np.mean([one.diameter for one in self.images]))
        # The order of axes in memory that convolutions on a CPU work with.
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self._optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=self.rate,
            momentum=_MOMENTUM,
            weight_decay=_WEIGHT_DECAY,
        )

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0: rise, plateau, ten halvings."""
        rise = max(1, round(self.steps * _RISE))
        fall = max(1, round(self.steps * _FALL))
        halved = max(0, (step - (self.steps - fall)) * _HALVINGS // fall + 1)
        return float(self.rate * min(1.0, step / rise) * 0.5 ** min(halved, _HALVINGS))

    def advance(self) -> float:
        """Do one step, and return its loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate_at(self.step)
        self.network.train()
        loss = self._loss([self.images[i] for i in self._chosen()], (self.seed, self.step))
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self.step += 1
        return float(loss.item())

    def loss_on(self, images: Sequence[TrainingImage]) -> float:
        """Return the mean loss on crops of other images, the same crops every time."""
        import torch

        self.network.eval()
        losses = []
        with torch.no_grad():
            for start in range(0, len(images), self.batch_size):
                batch = images[start : start + self.batch_size]
                losses += [float(self._loss(batch, (0, start)).item())] * len(batch)
        return float(np.mean(losses))

    def save(self, path: Path, facts: dict[str, Any]) -> None:
        """Write what :meth:`restore` needs, and facts, into one file."""
        import torch

        state = {
            "facts": facts,
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        with atomic_binary_file(path) as stream:
            torch.save(state, stream)

    def restore(self, path: Path) -> None:
        """Go on from what :meth:`save` wrote.

        Raises
        ------
        WeightsError
            If it is damaged, or of another network.
        """
        state = _read(path, self.device)
        try:
            self.network.load_state_dict(state["network"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.step = int(state["step"])
        except DAMAGE as error:
            raise damaged(path, error) from error

    def start_from(self, path: Path) -> None:
        """Take the weights in a file of the library's, before the first step.

        Raises
        ------
        WeightsError
            If they are damaged, or of another network than this one.
        """
        import torch

        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            own = self.network.state_dict()
            # The diameters are those of this training.
            names = [name for name in own if name not in _DIAMETERS]
            wrong = [n for n in names if n not in state or state[n].shape != own[n].shape]
            if wrong:
                raise ValueError(f"{len(wrong)} arrays are missing or of other sizes: {wrong[0]}")
            self.network.load_state_dict({name: state[name] for name in names}, strict=False)
        except DAMAGE as error:
            raise WeightsError(
                f"the weights {path} cannot be trained further ({type(error).__name__}: "
                f"{str(error)[:300]}): they are damaged, or not of the network of Cellpose 3 for "
                "two channels. Take others, or --set trainer.start=scratch."
            ) from error

    def _chosen(self) -> NDArray[np.int64]:
        """Return the images of this step: all come once in an epoch, in a new order each time."""
        places = self.step * self.batch_size + np.arange(self.batch_size)
        epochs, within = np.divmod(places, len(self.images))
        orders = {
            epoch: np.random.default_rng((self.seed, epoch)).permutation(len(self.images))
            for epoch in set(epochs.tolist())
        }
        return np.array([orders[e][i] for e, i in zip(epochs.tolist(), within, strict=True)])

    def _loss(self, batch: Sequence[TrainingImage], seed: tuple[int, int]) -> Any:
        import torch
        from cellpose import transforms  # pyright: ignore[reportAttributeAccessIssue]

        # The augmentation draws from numpy's global generator.
        np.random.seed(np.random.SeedSequence(seed).generate_state(4))  # noqa: NPY002
        pixels, targets, _ = transforms.random_rotate_and_resize(
            [one.pixels for one in batch],
            # It takes the first row for labels, which are interpolated by the nearest.
            Y=[one.targets for one in batch],
            rescale=np.array([one.diameter / self.diameter for one in batch]),
            scale_range=_SCALE_RANGE,
            xy=(self.crop, self.crop),
        )
        given = torch.from_numpy(pixels).to(self.device, memory_format=torch.channels_last)
        wanted = torch.from_numpy(targets).to(self.device)
        kind = torch.device(self.device).type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=self.half):
            found = self.network(given)[0]
        found = found.float()
        flows = torch.nn.functional.mse_loss(found[:, :2], _FLOW_WEIGHT * wanted[:, 1:])
        inside = (wanted[:, 0] > 0.5).float()
        return flows / 2 + torch.nn.functional.binary_cross_entropy_with_logits(found[:, 2], inside)


def checkpoint_facts(path: Path) -> dict[str, Any]:
    """Return the facts that were saved with a checkpoint.

    Raises
    ------
    WeightsError
        If it is damaged.
    """
    facts = _read(path, "cpu").get("facts")
    if not isinstance(facts, dict):
        raise damaged(path, TypeError("its facts are no table"))
    return facts


def stored_diameter(path: Path) -> float | None:
    """Return the diameter in px that a file with a network says it was trained at, if it does.

    Raises
    ------
    WeightsError
        If the file is damaged.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return float(state["diam_mean"].item()) if "diam_mean" in state else None
    except DAMAGE as error:
        raise WeightsError(
            f"{path} is no Cellpose network, or damaged ({type(error).__name__}: "
            f"{str(error)[:300]}). Copy or fetch it again."
        ) from error


def _read(path: Path, device: str) -> dict[str, Any]:
    import torch

    try:
        state = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(state, dict):
            raise TypeError("it holds no table")
    except DAMAGE as error:
        raise damaged(path, error) from error
    return state
