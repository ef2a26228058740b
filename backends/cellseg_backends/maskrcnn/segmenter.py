"""The Mask R-CNN as a segmenter of cellseg."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.adaptation import check_adaptation
from cellseg_backends.maskrcnn.contrast import Contrast, compressed
from cellseg_backends.maskrcnn.keras_start import configured_backend
from cellseg_backends.maskrcnn.presets import GRID, HALO
from cellseg_backends.maskrcnn.weights import Description, describe, find_weights
from cellseg_backends.options import as_text
from cellseg_backends.processor import cpu_flags, has_bfloat16
from cellseg_core.errors import ConfigurationError, SegmentationError
from cellseg_core.protocols import Segmentation
from cellseg_core.provenance import package_versions

__all__ = ["MaskRCNNSegmenter"]

_VIEWS = {"normal": 1, "high": 4}


def _check_share(_: object, __: object, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise ConfigurationError(
            f"maskrcnn.score is a share from 0 to below 1; got {value!r}. Leave it out for what "
            "was best on the training images."
        )


def _check_path(_: object, __: object, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value.strip() or "\0" in value):
        raise ConfigurationError(
            "maskrcnn.weights is the path of a folder that `cellseg train` wrote; got "
            f"{value!r}. Where it is named like a number or a date, write ./ before it; leave it "
            "out for the weights that come with cellseg."
        )


_MEANINGS = {
    "polarity": {
        "auto": "told from the image",
        "fluorescence": "bright nuclei",
        "bright-field": "dark nuclei on a bright background",
    },
    "quality": {"normal": "", "high": "four times slower"},
    "precision": {"auto": "told from the processor", "float32": "", "bfloat16": ""},
}


def _check_choice(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    choices = _MEANINGS[attribute.name]
    if not isinstance(value, str) or value not in choices:
        shown = [f"{one!r} ({why})" if why else repr(one) for one, why in choices.items()]
        raise ConfigurationError(
            f"maskrcnn.{attribute.name} is {', '.join(shown[:-1])} or {shown[-1]}; got {value!r}."
        )


@attrs.frozen(kw_only=True)
class MaskRCNNSegmenter:
    """Finds nuclei with a Mask R-CNN (He et al. 2017) trained on nuclei of many kinds.

    It must see the image once, through :meth:`adapt`, before it can segment tiles of it. The
    network is loaded when the first tile is segmented, once in a process; a segmenter that is sent
    to another process takes its options along and loads the network there.

    Parameters
    ----------
    weights
        Folder with the weights, as ``cellseg train`` writes it, or its name in the folder that
        ``CELLSEG_WEIGHTS`` names. Default: those that come with cellseg.
    polarity
        ``"fluorescence"``: bright nuclei on a dark background; ``"bright-field"``: dark nuclei on
        a bright one; ``"auto"``: told from the image's brightness.
    score
        Least confidence of a nucleus, 0 to 1. Lower finds more. Default: what was best on the
        training images.
    quality
        ``"high"`` looks at every tile four times, mirrored, and averages: a little more accurate,
        and up to four times slower.
    precision
        ``"auto"`` computes in half precision (``"bfloat16"``) where the processor has it and it
        finds the same, otherwise in ``"float32"``.

    Raises
    ------
    ConfigurationError
        If an option has a value outside its range.

    >>> MaskRCNNSegmenter(score=0.5).quality
    'normal'
    """

    weights: str | None = attrs.field(default=None, converter=as_text, validator=_check_path)
    polarity: Literal["auto", "fluorescence", "bright-field"] = attrs.field(
        default="auto", validator=_check_choice
    )
    score: float | None = attrs.field(default=None, validator=_check_share)
    quality: Literal["normal", "high"] = attrs.field(default="normal", validator=_check_choice)
    precision: Literal["auto", "float32", "bfloat16"] = attrs.field(
        default="auto", validator=_check_choice
    )

    _contrast: Contrast | None = attrs.field(default=None, init=False, repr=False)

    uses_membrane: ClassVar[bool] = False
    grid: ClassVar[int] = GRID

    @property
    def native_diameter(self) -> float:
        """Return the diameter in px of the nuclei that the network was trained on.

        Raises
        ------
        WeightsError
            If there are no weights where they should be, or what they say of themselves is
            damaged.
        """
        return _described(find_weights(self.weights)).diameter

    @property
    def halo(self) -> int:
        """Return 5 nuclear diameters in px, the margin that a tile needs."""
        return math.ceil(HALO * self.native_diameter)

    def adapt(self, sample: NDArray[np.float32], diameter: float) -> MaskRCNNSegmenter:
        """Return a copy that is set up for one image: its contrast, and which way round it is.

        Parameters
        ----------
        sample
            Pixels (C, y, x) of the whole image on a regular grid, in [0, 1]; channel 0 is nuclear.
        diameter
            Typical nuclear diameter in px that tiles will have: :attr:`native_diameter`, to which
            the pipeline rescales them. Other sizes are worked with as they are.

        Raises
        ------
        ConfigurationError
            If the diameter is not a positive number.
        SegmentationError
            If the sample has no pixels or not three axes.
        WeightsError
            If there are no weights where they should be.
        """
        check_adaptation("maskrcnn", sample, diameter)
        dark = None if self.polarity == "auto" else self.polarity == "bright-field"
        # Where another process works in another folder, it must find the same weights.
        weights = None if self.weights is None else str(find_weights(self.weights))
        adapted = attrs.evolve(self, weights=weights)
        object.__setattr__(adapted, "_contrast", Contrast.of(sample[0], dark))
        return adapted

    def segment(self, tile: NDArray[np.float32]) -> Segmentation:
        """Return the nuclei of ``tile`` (C, Y, X) in [0, 1], with their confidence in [0, 1].

        The confidence is the probability of a nucleus times the IoU that its mask is expected to
        have with it.

        Raises
        ------
        SegmentationError
            If this is not what :meth:`adapt` returned, or if this process was forked from one in
            which the network was at work.
        WeightsError
            If the weights are missing, damaged, or of another network than they say.
        MissingPackageError
            If Keras or its backend is not installed; the message has the command.
        """
        if self._contrast is None:
            raise SegmentationError(
                f"maskrcnn was given a tile of the shape {tile.shape} before it saw the image. "
                "Call segmenter.adapt(sample, diameter) and segment with what that returns."
            )
        detector, description = _loaded(find_weights(self.weights), self.precision)

        from cellseg_backends.maskrcnn.detector import Thresholds

        thresholds = Thresholds(score=self._least_score(description))
        plane = compressed(self._contrast.apply(tile[0]))
        found: Segmentation = detector.find(plane, thresholds, _VIEWS[self.quality])
        return found

    def facts(self) -> dict[str, Any]:
        """Return which network this is, and what computes it, for the record of a run.

        ``weights`` has the checksum of the weights, the preset and the diameter of nuclei in px,
        ``score`` is the least confidence that counts, ``precision`` what this processor computes
        in, ``packages`` are versions. Neither Keras nor the weights are loaded: whether the weights
        have this checksum shows when they are.

        Raises
        ------
        WeightsError
            If there are no weights where they should be, or what they say of themselves is
            damaged.
        """
        # Not from memory: the file can be replaced within one tick of the clock.
        description = describe(find_weights(self.weights))
        backend = configured_backend()
        return {
            "weights": {
                "sha256": description.sha256,
                "preset": description.preset,
                "diameter_px": description.diameter,
            },
            "score": self._least_score(description),
            "backend": backend,
            "precision": self._precision(backend),
            # They compute every score and outline, and a new version may round otherwise.
            "packages": package_versions(("keras", backend)),
        }

    def _least_score(self, description: Description) -> float:
        return description.score if self.score is None else self.score

    def _precision(self, backend: str) -> str:
        """Return the precision that the network is tried in first on this processor."""
        if self.precision != "auto":
            return self.precision
        half = backend == "tensorflow" and has_bfloat16(cpu_flags())
        return "bfloat16" if half else "float32"

    def export(self, folder: Path) -> Sequence[Path]:
        """Write the network as ONNX files for other programs, and return the files written.

        Raises
        ------
        WeightsError
            If the weights are missing or damaged.
        MissingPackageError
            If a package that converts is not installed; the message has the command.
        OutputError
            If the folder cannot be written to.
        """
        from cellseg_backends.maskrcnn.export import export_network

        return export_network(find_weights(self.weights), Path(folder), self.score)


_loading = threading.Lock()


def _described(folder: Path) -> Description:
    return _described_as_it_is(folder, _state(folder))


def _loaded(folder: Path, precision: str) -> tuple[Any, Description]:
    """Return the detector with the weights in a folder; one for all threads of a process."""
    from cellseg_backends.maskrcnn.keras_start import start_keras

    start_keras()
    with _loading:
        return _loaded_as_it_is(folder, _state(folder), precision)


def _state(folder: Path) -> tuple[tuple[int, int], ...]:
    """Return what changes when the files in a folder do."""
    try:
        facts = [(folder / name).stat() for name in ("model.json", "weights.npz")]
    except OSError:
        return ()  # reading them tells what is wrong
    return tuple((one.st_mtime_ns, one.st_size) for one in facts)


@lru_cache(maxsize=4)
def _described_as_it_is(folder: Path, _: object) -> Description:
    return describe(folder)


@lru_cache(maxsize=2)
def _loaded_as_it_is(folder: Path, _: object, precision: str) -> tuple[Any, Description]:
    from cellseg_backends.maskrcnn.detector import Detector
    from cellseg_backends.maskrcnn.model import MaskRCNN
    from cellseg_backends.maskrcnn.precision import built
    from cellseg_backends.maskrcnn.presets import preset
    from cellseg_backends.maskrcnn.weights import load_weights

    description = describe(folder)

    def build(kind: str) -> MaskRCNN:
        network = MaskRCNN(preset(description.preset), kind)
        load_weights(folder, network.weights())
        return network

    return Detector(built(build, precision)), description
