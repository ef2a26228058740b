"""StarDist as a segmenter of cellseg."""

from __future__ import annotations

import math
import threading
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.adaptation import check_adaptation
from cellseg_backends.options import as_text, check_between, check_path, check_polarity
from cellseg_backends.percentiles import PercentileScale
from cellseg_backends.stardist.model_folder import (
    StarDistModel,
    check,
    describe,
    described,
    load,
    shipped,
)
from cellseg_backends.stardist.published import PUBLISHED
from cellseg_core.errors import SegmentationError
from cellseg_core.protocols import Segmentation
from cellseg_core.provenance import package_versions
from cellseg_core.weights import find

__all__ = ["StarDistSegmenter"]

_PERCENTILES = (1.0, 99.8)  # of the library's own examples, and of its published models
_NUCLEI = 2.0  # diameters that the widest nucleus and those it competes with may reach
_ASSUMED = 20.0  # px, where nothing says which nuclei a model knows

_predicting = threading.Lock()


@attrs.frozen(kw_only=True)
class StarDistSegmenter:
    """Finds nuclei as star-convex polygons (Schmidt et al. 2018), by the ``stardist`` package.

    It must see the image once, through :meth:`adapt`, before it can segment tiles of it. The
    network is loaded when the first tile is segmented, once in a process.

    Parameters
    ----------
    weights
        Name of a published model (``cellseg weights list``), or a folder with a model of your own.
        Default: the model that comes with cellseg, trained on the 2018 Data Science Bowl.
    prob_threshold
        Least probability of a nucleus, over 0 and below 1; lower finds more. Default: as chosen
        for the model.
    nms_threshold
        Overlap beyond which two candidates are one nucleus, 0 to 1. Default: as chosen for the
        model.
    diameter
        Diameter in px that nuclei are brought to. Default: that of the nuclei which the model was
        trained on; where that is not known, the image is taken as it is.
    polarity
        ``"fluorescence"``: bright nuclei on a dark background; ``"bright-field"``: dark nuclei on
        a bright one, which are turned bright; ``"auto"``: told from the image's brightness. A model
        for colours takes them as they are.

    Raises
    ------
    ConfigurationError
        If an option has a value outside its range.

    Notes
    -----
    The image is scaled between its percentiles 1 and 99.8, taken over the whole image once and not
    over each tile. Where the nuclear diameter is that of the model, an image in one tile gives what
    ``StarDist2D.predict_instances`` gives for it.

    >>> StarDistSegmenter(prob_threshold=0.5).polarity
    'auto'
    """

    weights: str | None = attrs.field(
        default=None,
        converter=as_text,
        validator=check_path("stardist", "a published model or a folder with one"),
    )
    prob_threshold: float | None = attrs.field(
        default=None, validator=check_between("stardist", 0, 1)
    )
    nms_threshold: float | None = attrs.field(
        default=None, validator=check_between("stardist", 0, 1)
    )
    diameter: float | None = attrs.field(default=None, validator=check_between("stardist", 2, 500))
    polarity: Literal["auto", "fluorescence", "bright-field"] = attrs.field(
        default="auto", validator=check_polarity("stardist")
    )

    _scale: PercentileScale | None = attrs.field(default=None, init=False, repr=False)

    uses_membrane: ClassVar[bool] = False
    tile: ClassVar[int] = 2048  # its margins are wide

    @property
    def uses_color(self) -> bool:
        """Return whether the model takes the three colours of an RGB image.

        Raises
        ------
        WeightsError
            If there is no model where it should be, or it is damaged.
        """
        return self._model().channels > 1

    @property
    def grid(self) -> int:
        """Return the px of the network's coarsest level, at whose multiples tiles begin."""
        return self._model().grid

    @property
    def native_diameter(self) -> float | None:
        """Return the diameter in px of the nuclei that the model knows, None if nothing tells.

        Raises
        ------
        WeightsError
            If there is no model where it should be, or it is damaged.
        """
        if self.diameter is not None:
            return float(self.diameter)
        note = self._model().note
        if note is not None:
            return note.diameter
        named = (self.weights or "").removeprefix("stardist/")
        return next((one.diameter for one in PUBLISHED if one.name == named), None)

    @property
    def halo(self) -> int:
        """Return the margin in px that a tile needs: the network's reach and two nuclei."""
        return self._model().reach + math.ceil(_NUCLEI * (self.native_diameter or _ASSUMED))

    def adapt(self, sample: NDArray[np.float32], diameter: float) -> StarDistSegmenter:
        """Return a copy that is set up for one image: its percentiles, and which way round it is.

        Parameters
        ----------
        sample
            Pixels (C, y, x) of the whole image on a regular grid, in [0, 1]; channel 0 is nuclear,
            or all are the colours of an RGB image, for a model that takes them.
        diameter
            Typical nuclear diameter in px that tiles will have.

        Raises
        ------
        ConfigurationError
            If the diameter is not a positive number.
        SegmentationError
            If the sample has no pixels or not three axes, or not the channels of the model.
        WeightsError
            If there is no model where it should be, or it is damaged.
        """
        check_adaptation("stardist", sample, diameter)
        model = self._model()
        shown = self._channels(sample, model)
        dark = False if model.channels > 1 or self.polarity == "fluorescence" else None
        dark = True if self.polarity == "bright-field" and model.channels == 1 else dark
        # Where another process works in another folder, it must find the same model, under the
        # name that tells its diameter.
        adapted = attrs.evolve(
            self,
            weights=None if self.weights is None else str(model.folder),
            diameter=self.native_diameter,
        )
        # Colours share one scale, side by side.
        scale = PercentileScale.of(np.concatenate(list(shown)), _PERCENTILES, dark)
        object.__setattr__(adapted, "_scale", scale)
        return adapted

    def segment(self, tile: NDArray[np.float32]) -> Segmentation:
        """Return the nuclei of ``tile`` (C, Y, X) in [0, 1], with their probability.

        Raises
        ------
        SegmentationError
            If this is not what :meth:`adapt` returned, if the tile has not the channels that the
            model takes, or if memory runs out.
        WeightsError
            If the weights are damaged, or of another network than their folder says.
        MissingPackageError
            If StarDist or TensorFlow cannot be imported here; the message has the command.
        """
        if self._scale is None:
            raise SegmentationError(
                f"stardist was given a tile of the shape {tile.shape} before it saw the image. "
                "Call segmenter.adapt(sample, diameter) and segment with what that returns."
            )
        model = self._model()
        shown = self._channels(tile, model)
        nothing = Segmentation(np.zeros(tile.shape[1:], np.int32), np.zeros(0))
        if shown.min() == shown.max():
            return nothing
        network = load(model)
        pixels = np.moveaxis(self._scale.apply(shown), 0, -1)
        # A reflection, as the library adds where a size does not fit its levels, needs two pixels.
        margins = [(0, max(0, 2 - edge)) for edge in pixels.shape[:2]]
        padded = np.pad(pixels, [*margins, (0, 0)], mode="edge")
        try:
            with _predicting:
                labels, found = network.predict_instances(
                    padded,
                    axes="YXC",
                    prob_thresh=self._prob_threshold(model),
                    nms_thresh=self._nms_threshold(model),
                    show_tile_progress=False,
                )
        except Exception as error:
            if "RESOURCE_EXHAUSTED" in str(error) or type(error).__name__ == "ResourceExhausted":
                raise MemoryError(str(error)) from error
            raise
        height, width = tile.shape[1:]
        # The most probable of equal ones is drawn last; label i + 1 is candidate i.
        scores = np.clip(np.asarray(found["prob"], np.float64), 0, 1)
        return Segmentation(np.asarray(labels[:height, :width], np.int32), scores)

    def facts(self) -> dict[str, Any]:
        """Return which model this is, and what computes it, for the record of a run.

        ``weights`` has the model's name and the checksum of its weights, then come the thresholds
        that count, and versions of packages. StarDist is not imported.

        Raises
        ------
        WeightsError
            If there is no model where it should be, or it is damaged.
        """
        model = self._model()
        check(model)
        return {
            "weights": {
                "name": "dsb2018" if model.folder == shipped() else model.folder.name,
                "sha256": model.sha256,
                "diameter_px": self.native_diameter,
            },
            "prob_threshold": self._prob_threshold(model),
            "nms_threshold": self._nms_threshold(model),
            "packages": package_versions(("stardist", "csbdeep", "keras", "tensorflow")),
        }

    def _model(self) -> StarDistModel:
        if self.weights is None:
            return describe(shipped())
        return described(find(self.weights, PUBLISHED, "stardist"))

    def _channels(self, pixels: NDArray[np.float32], model: StarDistModel) -> NDArray[np.float32]:
        """Return the channels (C, Y, X) of a tile that the model takes."""
        if model.channels == 1 and len(pixels) <= 2:  # beside the nuclei, a membrane
            return pixels[:1]
        if len(pixels) != model.channels:
            raise SegmentationError(
                f"this StarDist model takes {model.channels} channel(s), and the tile has "
                f"{len(pixels)}. A model for RGB images (2D_versatile_he) takes red, "
                "green and blue, any other one the nuclear channel."
            )
        return pixels

    def _prob_threshold(self, model: StarDistModel) -> float:
        return model.prob_threshold if self.prob_threshold is None else self.prob_threshold

    def _nms_threshold(self, model: StarDistModel) -> float:
        return model.nms_threshold if self.nms_threshold is None else self.nms_threshold
