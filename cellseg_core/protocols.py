"""The interfaces of the swappable components: one or two methods each, nothing to inherit from.

A component is built from its options (the constructor's keyword arguments) and holds no state
that changes; models and the like load on first use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.image import Image
from cellseg_core.label_image import LazyLabels
from cellseg_core.tiling import Box

if TYPE_CHECKING:
    from cellseg_core.finished_run import FinishedRun
    from cellseg_core.result import Result
    from cellseg_core.training_set import TrainingSet

__all__ = [
    "AdaptiveSegmenter",
    "Combiner",
    "Compensation",
    "Compensator",
    "Described",
    "Expander",
    "Exportable",
    "ImageCompensator",
    "Labels",
    "PlacedSegmenter",
    "Reader",
    "Segmentation",
    "Segmenter",
    "Trainer",
    "TrainingReporter",
    "Writer",
]

Labels = NDArray[np.int32]
"""A label image (Y, X): 0 is background, every other value is the id of one object."""


@attrs.frozen(eq=False)
class Segmentation:
    """What a segmenter found in one tile.

    Parameters
    ----------
    labels
        Integer array (Y, X) of the tile's size; 0 is background, each object has one positive
        value. Values need not follow each other.
    scores
        Optional confidence of each object in [0, 1]: ``scores[i]`` belongs to label ``i + 1``.
    """

    labels: NDArray[np.integer[Any]]
    scores: NDArray[np.floating[Any]] | None = None


@runtime_checkable
class Segmenter(Protocol):
    """Finds nuclei in one tile.

    A segmenter that looks at the nuclear image alone may say so by an attribute
    ``uses_membrane = False``: the user is then told when a membrane channel was named in vain. One
    that looks at the colours of an RGB image says ``uses_color = True``: its tiles have red, green
    and blue, and other images are refused. One whose result changes when the image is shifted by
    less than ``n`` px, as with networks that shrink their input, says so by an attribute
    ``grid = n``: every tile then begins at a multiple of ``n`` px. One that is given larger or
    smaller tiles than 1024 px for good reason says ``tile = n``, in px at the native diameter.
    """

    @property
    def native_diameter(self) -> float | None:
        """Diameter in px of the nuclei that the segmenter knows best.

        The pipeline rescales every tile so that nuclei have this diameter. None: the segmenter
        takes any size (it is told the size if it is an :class:`AdaptiveSegmenter`).
        """
        ...

    @property
    def halo(self) -> int:
        """Margin in px, at the native diameter, that makes a tile's core independent of the rest.

        It covers the context that decides over a pixel plus half the largest nucleus. Tiles are
        read with this margin on every side.
        """
        ...

    def segment(self, tile: NDArray[np.float32]) -> Segmentation:
        """Return the objects of ``tile``.

        ``tile`` has the shape (C, Y, X) with values in [0, 1] on the brightness scale of the
        data set: channel 0 is the nuclear image; channel 1, present where the user named a
        membrane channel, the membrane image. Any size from 1 x 1 up can come. The array must not
        be changed.
        """
        ...


@runtime_checkable
class AdaptiveSegmenter(Segmenter, Protocol):
    """A segmenter that looks at the image once before it sees tiles of it."""

    def adapt(self, sample: NDArray[np.float32], diameter: float) -> Segmenter:
        """Return a segmenter set up for one image.

        ``sample`` has the shape (C, y, x): pixels of the whole image on a regular grid, the same
        for any tiling, on the brightness scale of the data set. ``diameter`` is the nuclear
        diameter in px that tiles will have.
        """
        ...


@runtime_checkable
class PlacedSegmenter(Segmenter, Protocol):
    """A segmenter that wants to know where in the image a tile lies.

    For networks that cut what they are given into patches, and see something else when the patches
    lie elsewhere: of a tile, they can look at the patches of the whole image.
    """

    def segment_at(
        self, tile: NDArray[np.float32], window: Box, shape: tuple[int, int]
    ) -> Segmentation:
        """Return the objects of ``tile``, as :meth:`Segmenter.segment` does.

        ``window`` is the place of the tile in an image of the size ``shape``, at the size that
        tiles have. Objects in the outer :attr:`halo` px may be missing.
        """
        ...


@runtime_checkable
class Described(Protocol):
    """A segmenter whose results depend on more than its options: on a file of weights, say."""

    def facts(self) -> Mapping[str, Any]:
        """Return what decides over the results beside the options and the version of its package.

        Plain numbers, texts, lists and mappings, such as a checksum of weights, and versions of
        packages that compute. A run records them, and does an image again when they change. It is
        called before any work and with every image: read no more than a small file for it.

        Raises a :class:`~cellseg_core.errors.CellsegError` where the segmenter could not work, for
        want of its weights, say: that ends a run before it begins.
        """
        ...


@runtime_checkable
class Exportable(Protocol):
    """A segmenter whose model other programs can use: ``cellseg export`` calls this."""

    def export(self, folder: Path) -> Sequence[Path]:
        """Write the model into ``folder``, which is made if need be, and return the files.

        One of them tells a reader what goes in, what comes out, and how images are prepared.
        """
        ...


@runtime_checkable
class Expander(Protocol):
    """Grows nuclei into cells. Built with ``distance``, in px, and its own options."""

    def expand(self, labels: Labels) -> Labels:
        """Return the grown label image: same shape, same ids, nuclei keep all their pixels."""
        ...


@attrs.frozen(eq=False)
class Compensation:
    """What a compensator made of the means, where there is something to say about it.

    Parameters
    ----------
    means
        The compensated means (N, K), not negative.
    facts
        Plain numbers and texts for the record, such as the condition of the system solved.
    """

    means: NDArray[np.float64]
    facts: Mapping[str, Any] = attrs.field(factory=dict)


@runtime_checkable
class Compensator(Protocol):
    """Takes signal that bled in from neighbouring cells out of the per-cell means."""

    def compensate(
        self, labels: Labels | LazyLabels, means: NDArray[np.float64]
    ) -> NDArray[np.float64] | Compensation:
        """Return the compensated means, shape (N, K), not negative.

        ``labels`` (Y, X) holds the ids 1..N; row ``i`` of ``means`` belongs to id ``i + 1``. Of
        very large images it is lazy: index it window by window. A mean is NaN where a cell has no
        pixel with a value, and stays so.
        """
        ...


@runtime_checkable
class ImageCompensator(Protocol):
    """A compensator that looks at the pixels too."""

    def compensate_image(
        self, image: Image, labels: Labels | LazyLabels, means: NDArray[np.float64]
    ) -> NDArray[np.float64] | Compensation:
        """Return the compensated means, as :meth:`Compensator.compensate` does.

        Column ``k`` of ``means`` belongs to channel ``k`` of ``image``.
        """
        ...


@runtime_checkable
class Reader(Protocol):
    """Opens the images at a path.

    One whose :class:`~cellseg_core.component.Component` says ``addresses`` is given
    :class:`~cellseg_core.address.Address` too.
    """

    def read(self, path: Path) -> Sequence[Image]:
        """Return the images there, lazily: what is named and how large it is, not the pixels.

        Raises :class:`~cellseg_core.errors.ImageError` with the reason where that fails.
        """
        ...


@runtime_checkable
class Writer(Protocol):
    """Writes the result of one image in one format."""

    def write(self, result: Result, folder: Path) -> Sequence[Path]:
        """Write into ``folder``, which exists, and return the files written."""
        ...


@runtime_checkable
class Combiner(Protocol):
    """A writer that, when a run is over, makes one file of those of all its images."""

    def combine(self, run: FinishedRun) -> Sequence[Path]:
        """Write into ``run.out`` and return the files written; each appears whole or not at all.

        What :meth:`Writer.write` wrote for an image is in ``run.images[name].folder``. Images done
        by an earlier run are among them.
        """
        ...


class TrainingReporter(Protocol):
    """Tells the user how far a training is."""

    def say(self, text: str) -> None:
        """Show one line that is worth knowing."""
        ...

    def warn(self, text: str) -> None:
        """Show a warning."""
        ...

    def progress(self, doing: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Show how far one part of the work is, such as ``"training"``, and current figures."""
        ...


@runtime_checkable
class Trainer(Protocol):
    """Trains a segmenter on images and label masks.

    A segmenter's :class:`~cellseg_core.component.Component` names its trainer. It is built from
    its options, of which every trainer has ``steps`` and ``seed``.
    """

    def train(
        self, dataset: TrainingSet, folder: Path, report: TrainingReporter, *, fresh: bool = False
    ) -> Mapping[str, Any]:
        """Train, and write into ``folder``, which exists, what the segmenter loads.

        A training that was interrupted goes on from where it was, unless ``fresh``. Returns plain
        numbers and texts for the record; ``"accuracy"`` has, for each group of validation images
        and for ``"all"``, a mapping with ``images``, ``nuclei``, ``mAP`` and ``AP50``.
        """
        ...
