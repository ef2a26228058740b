"""Label images in files: a file, a folder of them, or the results of ``cellseg run``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError, nearest
from cellseg_core.image import Image
from cellseg_core.label_image import LazyLabels, check_labels
from cellseg_core.plugins import Plugins, load_plugins
from cellseg_core.reading import find_sources, read_all
from cellseg_core.training_split import listed, stem

__all__ = [
    "Kind",
    "LabelPair",
    "Pairing",
    "find_label_files",
    "labels_of_result",
    "pair_label_files",
    "read_label_file",
]

Kind = Literal["nuclei", "cells"]

_ENDINGS = (".tif", ".tiff", ".png", ".npy")
_LOSSY = (".jpg", ".jpeg")
_WHOLE = 2**28  # px: up to here a label image is read at once, beyond in windows
_PIECE = 9  # px: less is a stray of an annotation
_FORMS = (
    "Label images are TIFF, PNG, .npy or OME-Zarr (0 is background, each object has its number)"
)


@attrs.frozen
class LabelPair:
    """The files of the true and of the predicted label image of one image."""

    name: str
    truth: Path
    pred: Path


@attrs.frozen(kw_only=True)
class Pairing:
    """Label images that belong together, and those without a partner.

    Attributes
    ----------
    pairs
        Sorted by name.
    only_truth, only_pred
        Files without a partner.
    """

    pairs: tuple[LabelPair, ...]
    only_truth: tuple[Path, ...] = ()
    only_pred: tuple[Path, ...] = ()


def find_label_files(path: str | Path, kind: Kind = "nuclei") -> dict[str, Path]:
    """Return the label images at a path by name, sorted.

    A file's name is its stem: ``a`` for ``a.ome.tif``. In a folder these are the TIFF, PNG and
    ``.npy`` files and OME-Zarr folders. Where it has none but holds the results of ``cellseg run``,
    they are the ``nuclei.ome.tif`` or ``nuclei.ome.zarr`` (or ``cells``, as ``kind`` says) of every
    image, under the image's name; the folder of one image can be given too.

    Raises
    ------
    ImageError
        If there is none, two have one name, or one is a JPEG, which changes ids.
    """
    path = Path(path)
    if not path.exists():
        raise ImageError(f"{path} does not exist. Check the spelling of the path.")
    if _is_one(path):
        return _by_name([path], path)
    own = labels_of_result(path, kind)
    if own is not None:
        return {path.resolve().name: own}
    try:
        entries = sorted(
            (one for one in path.iterdir() if not one.name.startswith(".")), key=lambda e: e.name
        )
    except OSError as error:
        raise ImageError(f"the folder {path} cannot be read: {error}") from error
    files = [
        one
        for one in entries
        if one.suffix.lower() in ((".zarr",) if one.is_dir() else (*_ENDINGS, *_LOSSY))
    ]
    if files:
        return _by_name(files, path)
    results = {one.name: labels_of_result(one, kind) for one in entries}
    found = {name: one for name, one in results.items() if one is not None}
    if not found and (path / "runs").is_dir():
        raise ImageError(
            f"{path} is what `cellseg compare` wrote, it seems: give the folder of one method, "
            f"{path / 'runs' / 'NAME'}."
        )
    if not found:
        raise ImageError(
            f"{path} holds no label image. {_FORMS}; the folder that `cellseg run -o` wrote can be "
            f"given too, if it has an image with {kind}.ome.tif or {kind}.ome.zarr."
        )
    return found


def _is_one(path: Path) -> bool:
    """Return whether a path is that of one label image: a file, or a Zarr folder."""
    return path.is_file() or path.suffix.lower() == ".zarr"


def labels_of_result(folder: Path, kind: Kind) -> Path | None:
    """Return the label image that ``cellseg run`` left in an image's folder, if it is there."""
    for path in (folder / f"{kind}.ome.tif", folder / f"{kind}.ome.zarr"):
        if path.exists():
            return path
    return None


def pair_label_files(
    truth: str | Path, pred: str | Path, kind: Kind = "nuclei", *, allow_missing: bool = False
) -> Pairing:
    """Return which label images belong together: two files, or those of one name in two folders.

    Where each side has one label image these are a pair, whatever their names. A single file is
    paired with the one of its name in a folder.

    Raises
    ------
    ImageError
        If there is no pair, or files have no partner and ``allow_missing`` is not set; or as
        :func:`find_label_files` does.
    """
    truth, pred = Path(truth), Path(pred)
    true_files, pred_files = find_label_files(truth, kind), find_label_files(pred, kind)
    if len(true_files) == len(pred_files) == 1:
        ((name, true_file),), (pred_file,) = true_files.items(), pred_files.values()
        return Pairing(pairs=(LabelPair(name, true_file, pred_file),))
    if _is_one(truth):
        pred_files = {name: file for name, file in pred_files.items() if name in true_files}
    if _is_one(pred):
        true_files = {name: file for name, file in true_files.items() if name in pred_files}
    both = sorted(true_files.keys() & pred_files.keys())
    if not both:
        raise ImageError(
            f"no label image in {truth} has the name of one in {pred}: files are matched by their "
            f"names without the ending, for example {next(iter(true_files or pred_files))!r}. "
            "Rename them alike."
        )
    only_truth = tuple(file for name, file in true_files.items() if name not in pred_files)
    only_pred = tuple(file for name, file in pred_files.items() if name not in true_files)
    if not allow_missing:
        _check_partners(true_files, pred_files, truth, pred)
    pairs = tuple(LabelPair(name, true_files[name], pred_files[name]) for name in both)
    return Pairing(pairs=pairs, only_truth=only_truth, only_pred=only_pred)


def read_label_file(path: str | Path, plugins: Plugins | None = None) -> LazyLabels:
    """Return the label image of a file: integers (Y, X) as they are stored, or what reads them.

    Files of floats are taken if every value is a whole number that the type tells from its
    neighbours (in 32 bits, under 16,777,216), and become int64. Very large files are read window
    by window.

    Raises
    ------
    ImageError
        If the file cannot be read, holds several planes or colours, is a JPEG, holds True and
        False, fractions or negative values, or gives all objects one value.
    """
    path = Path(path)
    labels = _load_npy(path) if path.suffix.lower() == ".npy" else _load_image(path, plugins)
    if np.dtype(labels.dtype).kind == "f" and len(labels.shape) == 2:
        labels = _whole_numbers(np.asarray(labels[:, :]), path)
    checked = check_labels(labels, str(path))
    if isinstance(checked, np.ndarray):
        _check_numbered(checked, path)
    return checked


@attrs.frozen(eq=False)
class _Plane:
    """The one channel of an image as :class:`~cellseg_core.label_image.LazyLabels`."""

    image: Image

    @property
    def shape(self) -> tuple[int, int]:
        return self.image.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.image.dtype

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return self.image.read(0, *key)


def _load_npy(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise ImageError(
            f"{path} cannot be read as a numpy array ({error}). Save the label image alone, with "
            "numpy.save(FILE, labels); of Cellpose's _seg.npy that is its 'masks'."
        ) from error


def _load_image(path: Path, plugins: Plugins | None) -> Any:
    if path.suffix.lower() in _LOSSY:
        raise ImageError(
            f"{path}: JPEG changes the values of label images. Save them as PNG or TIFF."
        )
    plugins = plugins or load_plugins()
    sources = find_sources(path, plugins, "images")
    images = read_all(sources, lambda source: source.read(plugins))
    if len(images) > 1 or len(images[0].channels) > 1:
        channels = images[0].channels
        what = (
            f"{len(images)} images"
            if len(images) > 1
            else f"{len(channels)} channels ({', '.join(channels[:4])})"
        )
        raise ImageError(
            f"{path}: a label image is one plane of whole numbers; this file has {what}. Save the "
            "label image itself, not a picture of it in colours or a stack."
        )
    plane = _Plane(images[0])
    if plane.shape[0] * plane.shape[1] > _WHOLE:
        return plane
    # The reader makes numbers of True and False; their type is told to the user.
    return plane[:, :].astype(plane.dtype, copy=False)


def _whole_numbers(values: NDArray[np.floating[Any]], path: Path) -> NDArray[np.int64]:
    """Return floats as integers, if no object can have lost its id."""
    finite = np.isfinite(values)
    odd = ~finite | (values != np.rint(values, where=finite, out=np.zeros_like(values)))
    if odd.any():
        example = values[odd].flat[0]
        raise ImageError(
            f"{path}: a label image holds whole numbers; {np.count_nonzero(odd):,} values of this "
            f"one are not, for example {example:g}. Is it the image itself, or probabilities? "
            "Give the label image."
        )
    exact = 2 ** (np.finfo(values.dtype).nmant + 1)
    highest = float(np.abs(values).max(initial=0))
    if highest >= exact:
        raise ImageError(
            f"{path} stores ids up to {highest:.0f} as {values.dtype}, which cannot tell ids from "
            f"{exact:,} on apart. Save the label image as 32-bit integers."
        )
    return values.astype(np.int64)


def _check_numbered(labels: NDArray[np.integer[Any]], path: Path) -> None:
    """Tell a label image from an image, and from a mask whose objects all have one value."""
    top = int(labels.max(initial=0))
    _check_in_one_piece(labels, path)
    # Only these are looked at closely: for most label images one maximum is all that it takes.
    if top not in (1, 255):
        return
    foreground = labels == top
    if np.count_nonzero(labels) > np.count_nonzero(foreground):
        return
    from skimage.measure import label

    sizes = np.bincount(np.asarray(label(foreground, connectivity=2)).ravel())[1:]
    pieces = int(np.count_nonzero(sizes >= _PIECE))
    if pieces > 1:
        raise ImageError(
            f"{path} is a binary mask, it seems: {pieces:,} separate objects all have the value "
            f"{top}. Give each object a number of its own; where none touch, "
            "skimage.measure.label does."
        )


def _check_in_one_piece(labels: NDArray[np.integer[Any]], path: Path) -> None:
    """Tell a label image from an image, where neighbouring pixels differ and values recur."""
    there = labels[:, 1:] > 0
    pixels = int(np.count_nonzero(there))
    alike = int(np.count_nonzero(there & (labels[:, 1:] == labels[:, :-1])))
    if 2 * alike < pixels and pixels > _PIECE * np.unique(labels).size:
        raise ImageError(
            f"{path} is an image and no label image, it seems: most pixels differ from their "
            "neighbours, and far from each other many have one value. Give the label image, where "
            "all pixels of an object have its number."
        )


def _by_name(files: list[Path], where: Path) -> dict[str, Path]:
    lossy = [file.name for file in files if file.suffix.lower() in _LOSSY]
    if lossy:
        raise ImageError(
            f"{where}: JPEG changes the values of label images ({listed(lossy)}). Save them as "
            "PNG or TIFF."
        )
    found: dict[str, Path] = {}
    for file in files:
        name = stem(file.name)
        if name in found:
            raise ImageError(
                f"{found[name]} and {file} have the same name but for the ending: which is meant? "
                "Rename or remove one."
            )
        found[name] = file
    return dict(sorted(found.items()))


def _check_partners(
    true_files: Mapping[str, Path], pred_files: Mapping[str, Path], truth: Path, pred: Path
) -> None:
    problems = []
    for here, there, folder, other in (
        (true_files, pred_files, truth, pred),
        (pred_files, true_files, pred, truth),
    ):
        alone = [name for name in here if name not in there]
        if alone:
            problems.append(
                f"{len(alone)} of the {len(here)} label images of {folder} have no partner in "
                f"{other}: {listed(alone)}; for {alone[0]!r}, {nearest(alone[0], there)}"
            )
    if problems:
        raise ImageError(
            ". ".join(problems) + ". Files are matched by their names without the ending; "
            "--allow-missing evaluates the others."
        )
