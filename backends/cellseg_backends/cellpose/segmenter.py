"""Cellpose as a segmenter of cellseg."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.adaptation import check_adaptation
from cellseg_backends.cellpose.model_file import (
    CellposeModel,
    LoadedModel,
    check,
    describe,
    installed_version,
    load,
    shipped,
)
from cellseg_backends.cellpose.patches import flows_of, known_part, masks_of, reach
from cellseg_backends.cellpose.published import PUBLISHED
from cellseg_backends.options import as_text, check_between, check_path, check_polarity
from cellseg_backends.percentiles import PercentileScale
from cellseg_backends.quiet import quiet
from cellseg_core.errors import ConfigurationError, SegmentationError, WeightsError
from cellseg_core.protocols import Segmentation
from cellseg_core.provenance import package_versions
from cellseg_core.tiling import Box
from cellseg_core.weights import find

__all__ = ["CellposeSegmenter"]

_PERCENTILES = (1.0, 99.0)  # the library's own
_MARGIN = 3.0  # diameters beyond a tile's core, in which the cells that reach into it lie
_REACH = 7.7  # diameters that a patch of a usual network is wide, before the network is known
_ASSUMED = 30.0  # px, before the image is known
_FLOW_THRESHOLD, _CELLPROB_THRESHOLD, _MIN_SIZE = 0.4, 0.0, 15  # the library's own
_DEFAULT_4 = "cpsam"
_FOR_NUCLEI = ("nucleitorch_0",)  # the published ones
_SMALLEST = 16  # px, and half a diameter: what is smaller can vanish when it is resized
_BATCH_ON_CPU, _BATCH_ON_GPU = 1, 8
_DIAMETERS = 1.0, 2000.0  # px
_TILE, _LEAST_TILE = 2048, 256  # px
_FINE = 15.0  # px of diameter: of finer nuclei, a tile grows a lot for the network

_running = threading.Lock()


def _is_batch(_: object, __: object, value: Any) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ConfigurationError(
            f"cellpose.batch_size is a whole number from 1; got {value!r}. Leave it out for 1 on a "
            "CPU and 8 on a GPU."
        )


def _is_min_size(_: object, __: object, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < -1:
        raise ConfigurationError(
            f"cellpose.min_size is a whole number of px, or -1 to keep all; got {value!r}."
        )


def _is_device(_: object, __: object, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(
            f"cellpose.device is 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'; got {value!r}."
        )


@attrs.frozen(kw_only=True)
class CellposeSegmenter:
    """Finds nuclei, or cells, by the flows of Cellpose (Stringer et al. 2021), versions 3 and 4.

    It must see the image once, through :meth:`adapt`, before it can segment tiles of it. The
    network is loaded when the first tile is segmented, once in a process.

    Parameters
    ----------
    weights
        Name of a published network (``cellseg weights list``), the file of a network of your own,
        or a folder that ``cellseg train --segmenter cellpose`` wrote. Default with cellpose 3: the
        network for nuclei that comes with cellseg, trained on the 2018 Data Science Bowl; with
        cellpose 4: the published ``cpsam``.
    diameter
        Diameter in px of what is looked for. Default: the nuclear diameter of the image, times
        ``growth``.
    growth
        How much wider than its nucleus a cell is. Default: 1, and 1.5 where a membrane channel is
        used.
    flow_threshold
        Largest error of the flows of a cell; higher finds more. Default: as chosen for the
        weights, or the library's own 0.4.
    cellprob_threshold
        Least logit of a pixel of a cell, about -6 to 6; lower finds more and larger ones. Default:
        as chosen for the weights, or the library's own 0.
    min_size
        Objects of fewer px are left out by the library, before --min-size. -1 keeps all.
    polarity
        ``"fluorescence"``: bright nuclei on a dark background; ``"bright-field"``: dark nuclei on
        a bright one, which are turned bright; ``"auto"``: told from the image's brightness.
    batch_size
        Patches that the network sees at a time. Default: 1 on a CPU, 8 on a GPU.
    device
        ``"auto"``: a GPU if there is one; or ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

    Raises
    ------
    ConfigurationError
        If an option has a value outside its range.

    Notes
    -----
    Each channel is scaled between its percentiles 1 and 99, taken over the whole image once and not
    over each tile. An image in one tile gives what ``CellposeModel.eval`` gives for it.

    Scores are the mean probability of a cell's pixels, the logistic function of the network's
    logits.

    >>> CellposeSegmenter(flow_threshold=0.6).device
    'auto'
    """

    weights: str | None = attrs.field(
        default=None,
        converter=as_text,
        validator=check_path("cellpose", "a published network or the file of one"),
    )
    diameter: float | None = attrs.field(
        default=None, validator=check_between("cellpose", *_DIAMETERS)
    )
    growth: float | None = attrs.field(default=None, validator=check_between("cellpose", 0.2, 10))
    flow_threshold: float | None = attrs.field(
        default=None, validator=check_between("cellpose", 0, 100, low_counts=True)
    )
    cellprob_threshold: float | None = attrs.field(
        default=None, validator=check_between("cellpose", -20, 20)
    )
    min_size: int = attrs.field(default=_MIN_SIZE, validator=_is_min_size)
    polarity: Literal["auto", "fluorescence", "bright-field"] = attrs.field(
        default="auto", validator=check_polarity("cellpose")
    )
    batch_size: int | None = attrs.field(default=None, validator=_is_batch)
    device: str = attrs.field(default="auto", validator=_is_device)

    _scales: tuple[PercentileScale, ...] = attrs.field(default=(), init=False, repr=False)

    @property
    def native_diameter(self) -> None:
        """Return None: Cellpose itself brings every image to the size that the network knows."""
        return

    @property
    def tile(self) -> int:
        """Return the px of a tile: 2048, or fewer of an image that the network sees enlarged."""
        enlarged = (self.diameter or _ASSUMED) / _FINE
        return max(_LEAST_TILE, math.floor(_TILE * min(1.0, enlarged)))

    @property
    def uses_membrane(self) -> bool:
        """Return whether the network looks at cells as well as nuclei.

        Raises
        ------
        WeightsError
            If there are no weights where they should be.
        """
        model = self._model()
        return model.note is None and model.path.name not in _FOR_NUCLEI

    @property
    def halo(self) -> int:
        """Return the margin that a tile needs, in px: a patch of the network, and three diameters.

        Of what :meth:`adapt` returned, the network is loaded for that.
        """
        diameter = self.diameter or _ASSUMED
        if not self._scales:
            return math.ceil((_REACH + _MARGIN) * diameter)
        loaded = load(self._model(), self.device)
        return math.ceil(reach(loaded, diameter) + _MARGIN * diameter)

    def adapt(self, sample: NDArray[np.float32], diameter: float) -> CellposeSegmenter:
        """Return a copy that is set up for one image: percentiles, which way round, diameter.

        Parameters
        ----------
        sample
            Pixels (C, y, x) of the whole image on a regular grid, in [0, 1]; channel 0 is nuclear,
            channel 1 the membrane.
        diameter
            Typical nuclear diameter in px that tiles will have.

        Raises
        ------
        ConfigurationError
            If the diameter is not a positive number.
        SegmentationError
            If the sample has no pixels or not three axes.
        WeightsError
            If there are no weights where they should be.
        """
        check_adaptation("cellpose", sample, diameter)
        dark = None if self.polarity == "auto" else self.polarity == "bright-field"
        used = sample[:2] if self.uses_membrane else sample[:1]
        growth = self.growth or (1.5 if len(used) > 1 else 1.0)
        wanted = self.diameter or diameter * growth
        low, high = _DIAMETERS
        if not low < wanted < high:
            raise ConfigurationError(
                f"Cellpose looks for what is over {low:g} and below {high:g} px wide, and that is "
                f"{wanted:g} px where nuclei are {diameter:g} px wide. --nuclear-diameter is in "
                "px; a pixel size is in um."
            )
        adapted = attrs.evolve(
            self,
            # Where another process works in another folder, it must find the same weights.
            weights=str(self._model().path),
            diameter=wanted,
        )
        nuclear = PercentileScale.of(used[0], _PERCENTILES, dark)
        # What is bright field is the image: a membrane that fills it must not be turned alone.
        beside = [PercentileScale.of(one, _PERCENTILES, nuclear.dark_nuclei) for one in used[1:]]
        scales = (nuclear, *beside)
        object.__setattr__(adapted, "_scales", scales)
        return adapted

    def segment(self, tile: NDArray[np.float32]) -> Segmentation:
        """Return the objects of ``tile`` (C, Y, X) in [0, 1], with their mean probability.

        Raises
        ------
        SegmentationError
            If this is not what :meth:`adapt` returned, or the tile has other channels than the
            image that it adapted to.
        WeightsError
            If the weights are missing, damaged, or of another version of Cellpose.
        MissingPackageError
            If cellpose or torch cannot be imported here; the message has the command.
        """
        return self.segment_at(tile, Box(0, tile.shape[1], 0, tile.shape[2]), tile.shape[1:])

    def segment_at(
        self, tile: NDArray[np.float32], window: Box, shape: tuple[int, int]
    ) -> Segmentation:
        """Return the objects of ``tile``, which is the part ``window`` of an image.

        The network sees the patches that the library lays over the whole image. Objects in the
        outer :attr:`halo` px of the window are missing, but for three diameters.

        Raises
        ------
        SegmentationError, WeightsError, MissingPackageError
            As :meth:`segment` does.
        """
        if not self._scales:
            raise SegmentationError(
                f"cellpose was given a tile of the shape {tile.shape} before it saw the image. "
                "Call segmenter.adapt(sample, diameter) and segment with what that returns."
            )
        if not len(self._scales) <= len(tile) <= 2:
            raise SegmentationError(
                f"cellpose takes the nuclear channel, and a membrane channel if there is one; it "
                f"adapted to {len(self._scales)} channel(s), and the tile has {len(tile)}."
            )
        size = tile.shape[1:]
        planes = [scale.apply(plane) for scale, plane in zip(self._scales, tile, strict=False)]
        if all(plane.min() == plane.max() for plane in planes):
            return Segmentation(np.zeros(size, np.int32), np.zeros(0))
        model = self._model()
        loaded = load(model, self.device)
        # The library expects the cell first and then its nucleus, where there are both.
        pixels = np.zeros((*size, loaded.channels), np.float32)
        for number, plane in enumerate(planes[::-1][: loaded.channels]):
            pixels[..., number] = plane
        # A small image is made larger; of a larger one, no tile needs it.
        least = max(_SMALLEST, math.ceil((self.diameter or 0) / 2))
        margins = [max(0, least - edge) for edge in shape]
        padded = np.pad(pixels, [(0, margins[0]), (0, margins[1]), (0, 0)], mode="edge")
        shape = shape[0] + margins[0], shape[1] + margins[1]
        window = attrs.evolve(window, y1=window.y1 + margins[0], x1=window.x1 + margins[1])
        with self._watched():
            if window.shape == shape:
                labels, logits = self._evaluated(loaded, model, padded)
            else:
                labels, logits = self._evaluated_at(loaded, model, padded, window, shape)
        labels, logits = labels[: size[0], : size[1]], logits[: size[0], : size[1]]
        return Segmentation(labels, _mean_probability(labels, logits))

    def facts(self) -> dict[str, Any]:
        """Return which network this is, and what computes it, for the record of a run.

        ``weights`` has the name and checksum of the network, then come the thresholds that count,
        and versions of packages. Cellpose is not imported.

        Raises
        ------
        WeightsError
            If there are no weights where they should be, or they are damaged, or of another
            version of Cellpose.
        MissingPackageError
            If cellpose is not installed, or neither version 3 nor 4.
        """
        model = self._model()
        check(model)
        flow, cellprob = self._thresholds(model)
        return {
            "weights": {
                "name": model.name,
                "sha256": model.sha256,
            },
            "flow_threshold": flow,
            "cellprob_threshold": cellprob,
            "packages": package_versions(("cellpose", "torch")),
        }

    def _evaluated(
        self, loaded: LoadedModel, model: CellposeModel, pixels: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return labels and logits (Y, X) of a whole image (Y, X, C), from the library."""
        masks, flows, _ = loaded.network.eval(
            pixels,
            channel_axis=-1,
            # A plain False would change the library's own defaults for the process.
            normalize={"normalize": False},
            diameter=self.diameter,
            batch_size=self._batch(loaded),
            **self._choices(model),
        )
        shape = pixels.shape[:2]
        return np.asarray(masks, np.int32).reshape(shape), np.asarray(flows[2]).reshape(shape)

    def _evaluated_at(
        self,
        loaded: LoadedModel,
        model: CellposeModel,
        pixels: NDArray[np.float32],
        window: Box,
        shape: tuple[int, int],
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return labels and logits (Y, X) of a part (Y, X, C) of an image."""
        diameter = float(self.diameter or _ASSUMED)
        labels = np.zeros(window.shape, np.int32)
        logits = np.zeros(window.shape, np.float32)
        part = known_part(window, shape, reach(loaded, diameter))
        if min(part.shape) < 1:
            raise SegmentationError(
                f"a tile of {window.shape[0]} x {window.shape[1]} px within an image is too small "
                f"for Cellpose at a diameter of {diameter:g} px: it needs a margin of {self.halo} "
                "px on every side"
            )
        flows = flows_of(
            loaded, pixels, window, shape, part, diameter=diameter, batch_size=self._batch(loaded)
        )
        inner = part.within(window)
        labels[inner] = masks_of(
            loaded, flows, shape, diameter=diameter, options=self._choices(model)
        )
        logits[inner] = flows[2]
        return labels, logits

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Let one thread at a time compute, quietly, and tell a want of memory as one."""
        try:
            # torch tells its own callers about a default of its own.
            with _running, quiet("Sparse invariant checks"):
                yield
        except Exception as error:
            told = str(error).lower()
            if "out of memory" in told or "can't allocate memory" in told:
                raise MemoryError(str(error)) from error
            raise

    def _batch(self, loaded: LoadedModel) -> int:
        return self.batch_size or (_BATCH_ON_CPU if loaded.on_cpu else _BATCH_ON_GPU)

    def _choices(self, model: CellposeModel) -> dict[str, Any]:
        flow, cellprob = self._thresholds(model)
        return {
            "flow_threshold": flow,
            "cellprob_threshold": cellprob,
            "min_size": self.min_size,
        }

    def _model(self) -> CellposeModel:
        if self.weights is None and installed_version() == 3:
            return describe(shipped())
        try:
            return describe(find(self.weights or _DEFAULT_4, PUBLISHED, "cellpose"))
        except WeightsError as error:
            if self.weights is not None:
                raise
            raise WeightsError(
                f"{error}\n  Or use cellpose 3, whose weights come with cellseg: pip install "
                '"cellpose>=3.1,<4"'
            ) from error

    def _thresholds(self, model: CellposeModel) -> tuple[float, float]:
        chosen = model.note.options if model.note else {}
        flow, cellprob = self.flow_threshold, self.cellprob_threshold
        return (
            chosen.get("flow_threshold", _FLOW_THRESHOLD) if flow is None else flow,
            chosen.get("cellprob_threshold", _CELLPROB_THRESHOLD) if cellprob is None else cellprob,
        )


def _mean_probability(
    labels: NDArray[np.int32], logits: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the mean of the logistic function of the logits of each label 1..N."""
    from scipy.special import expit

    flat = labels.ravel()
    totals = np.bincount(flat, weights=expit(logits.astype(np.float64)).ravel())[1:]
    return np.asarray(totals / np.maximum(np.bincount(flat)[1:], 1), np.float64)
