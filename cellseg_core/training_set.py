"""A set of images with the true nuclei of each, to train segmenters on.

::

    DATASET/images/a.tif  b.png ...     what any reader reads
    DATASET/masks/a.png   b.tif ...     label images: 0 is background, each nucleus has its value
    DATASET/index.csv                   optional: id, split (train, val, test), modality
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import CellsegError, ChannelError, ImageError, nearest
from cellseg_core.image import Image
from cellseg_core.label_image import check_labels, read_labels
from cellseg_core.objects import compact
from cellseg_core.plugins import Plugins, load_plugins
from cellseg_core.protocols import Labels
from cellseg_core.reading import Source, find_sources
from cellseg_core.scaled import view
from cellseg_core.training_split import Split, listed, read_index, set_aside, stem

__all__ = ["Contents", "TrainingExample", "TrainingSet", "read_training_set"]

_SHOWN = 10  # names and reasons in one message
_PIECE = 9  # px: less is a stray of an annotation
_FORM = (
    "A data set holds images/ and masks/ with files of the same names (images/a.tif, "
    "masks/a.png), and may hold index.csv"
)


@attrs.frozen(kw_only=True)
class TrainingExample:
    """One image with its mask; both are read when they are asked for.

    Attributes
    ----------
    name
        Stem of the files.
    split
        ``"train"``, ``"val"`` (looked at during training) or ``"test"`` (not touched).
    group
        What kind of image it is, from the column ``modality`` of ``index.csv``; or ``""``.
    source, mask
        The files.
    nuclear
        Names of the channels that show nuclei; none: found as for any image.
    """

    name: str
    split: Split
    group: str
    source: Source
    mask: Source
    nuclear: tuple[str, ...] = ()
    plugins: Plugins = attrs.field(repr=False)

    def image(self) -> Image:
        """Return the image, lazily.

        Raises
        ------
        ImageError
            If the file cannot be read or holds several images.
        """
        return _only_image(self.source, self.plugins)

    def labels(self) -> Labels:
        """Return the true nuclei (Y, X), numbered 1..N in the order of the mask's values.

        A nucleus in several pieces stays one.

        Raises
        ------
        ImageError
            If the mask cannot be read, is not a label image, or gives many nuclei one value.
        """
        path = str(self.mask.path)
        image = _only_image(self.mask, self.plugins)
        if len(image.channels) > 1:
            raise ImageError(
                f"{path}: a mask is one plane of integers, a value for each nucleus; this one has "
                f"{len(image.channels)} channels ({', '.join(image.channels[:4])}). Save the label "
                "image itself, not a picture of it in colours."
            )
        plane = image.read(0).astype(image.dtype, copy=False)
        labels, ids = compact(read_labels(check_labels(plane, path), name=path))
        _check_one_value_each(labels, ids, path)
        return labels

    def read(self) -> tuple[NDArray[np.float32], Labels]:
        """Return the nuclear plane (Y, X) on the image's own brightness scale, and the labels.

        Raises
        ------
        ImageError
            If either cannot be used, or their sizes differ.
        ChannelError
            If the nuclear channel is not to be found.
        """
        image, labels = self.image(), self.labels()
        if image.shape != labels.shape:
            raise ImageError(
                f"{self.source.path} has {image.shape[0]} x {image.shape[1]} px, and its mask "
                f"{self.mask.path} {labels.shape[0]} x {labels.shape[1]}. They must show the same "
                "pixels."
            )
        return view(image, self.nuclear)[0].read()[0], labels


@attrs.frozen(kw_only=True)
class Contents:
    """What is in a training set that was read whole.

    Attributes
    ----------
    images, nuclei
        How many each split has.
    fingerprint
        Differs where pixels, masks, names or splits do.
    """

    images: Mapping[Split, int]
    nuclei: Mapping[Split, int]
    fingerprint: str


@attrs.frozen(kw_only=True)
class TrainingSet:
    """Images with masks, by name.

    Attributes
    ----------
    name, folder
        Of the data set.
    examples
        Sorted by name.
    """

    name: str
    folder: Path
    examples: tuple[TrainingExample, ...]

    def of(self, split: Split) -> tuple[TrainingExample, ...]:
        """Return the examples of a split."""
        return tuple(one for one in self.examples if one.split == split)

    def check(self, progress: Callable[[int, int], None] = lambda _done, _total: None) -> Contents:
        """Read what will be trained and validated on, once, so that nothing fails hours later.

        Raises
        ------
        ImageError
            If images or masks cannot be used; each is named with its reason.
        """
        used = [one for one in self.examples if one.split != "test"]
        problems: list[CellsegError] = []
        nuclei: Counter[Split] = Counter()
        digest = hashlib.sha256()
        for done, one in enumerate(used):
            progress(done, len(used))
            try:
                plane, labels = one.read()
            except (ImageError, ChannelError) as error:
                problems.append(error)
                continue
            nuclei[one.split] += int(labels.max(initial=0))
            pixels = [zlib.crc32(array.tobytes()) for array in (plane, labels)]
            digest.update(repr((one.name, one.split, one.group, plane.shape, pixels)).encode())
        progress(len(used), len(used))
        if len(problems) == 1:
            raise problems[0]
        if problems:
            told = "".join(f"\n  {error}" for error in problems[:_SHOWN])
            more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise ImageError(
                f"{len(problems)} of the {len(used)} images of {self.folder} cannot be used:"
                f"{told}{more}"
            )
        if not nuclei["train"]:
            raise ImageError(
                f"the masks of the training images in {self.folder} hold no nucleus: all are 0."
            )
        images: Counter[Split] = Counter(one.split for one in self.examples)
        return Contents(images=images, nuclei=nuclei, fingerprint=digest.hexdigest())


def read_training_set(
    folder: str | Path, nuclear: Sequence[str] = (), plugins: Plugins | None = None
) -> TrainingSet:
    """Return the training set in a folder, lazily: names and splits are checked, no pixel is read.

    Without a column ``split`` in ``index.csv``, a tenth of the images, chosen by a hash of their
    names, is for validation where there are ten or more: the same images every time, also after
    others have joined.

    Raises
    ------
    ImageError
        If folders or files are missing, two images share a name, or ``index.csv`` does not fit.
    """
    folder = Path(folder)
    plugins = plugins or load_plugins()
    for part in (folder, folder / "images", folder / "masks"):
        if not part.is_dir():
            what = "is not a folder" if part.exists() else "does not exist"
            raise ImageError(f"{part} {what}. {_FORM}.")
    images = _by_stem(find_sources(folder / "images", plugins, "images"))
    masks = _by_stem(find_sources(folder / "masks", plugins, "images"))
    _check_partners(images, masks)
    names = [mask.path.name for mask in masks.values()]
    lossy = [name for name in names if name.lower().endswith((".jpg", ".jpeg"))]
    if lossy:
        raise ImageError(
            f"{folder / 'masks'}: JPEG changes the values of label images ({listed(lossy)}). Save "
            "masks as PNG or TIFF."
        )
    rows = read_index(folder / "index.csv", images)
    splits: dict[str, Split] = {
        name: split for name, (split, _) in rows.items() if split is not None
    }
    splits = splits or set_aside(images)
    examples = tuple(
        TrainingExample(
            name=name,
            split=splits[name],
            group=rows[name][1] if name in rows else "",
            source=images[name],
            mask=masks[name],
            nuclear=tuple(nuclear),
            plugins=plugins,
        )
        for name in sorted(images)
    )
    if all(one.split != "train" for one in examples):
        raise ImageError(
            f"{folder / 'index.csv'} leaves no image to train on: the column 'split' says 'train' "
            "nowhere."
        )
    return TrainingSet(name=folder.resolve().name, folder=folder, examples=examples)


def _only_image(source: Source, plugins: Plugins) -> Image:
    images = source.read(plugins)
    if len(images) > 1:
        raise ImageError(
            f"{source.path} holds {len(images)} images; a data set has one in each file. Export "
            "them one by one."
        )
    return images[0]


def _check_one_value_each(labels: Labels, ids: NDArray[np.int64], path: str) -> None:
    """Tell a label image from a mask with one value for all nuclei, or for all and their edges."""
    from skimage.measure import label

    if not 1 <= ids.size <= 2:
        return
    sizes = np.bincount(np.asarray(label(labels, connectivity=2)).ravel())[1:]
    pieces = int(np.count_nonzero(sizes >= _PIECE))
    if pieces > 2 * ids.size or (pieces > 1 and ids.tolist() == [255]):
        values = " and ".join(map(str, ids.tolist()))
        raise ImageError(
            f"{path} is a binary mask, it seems: {pieces} separate objects have the value"
            f"{'s' if ids.size > 1 else ''} {values}. Give each nucleus a value of its own; where "
            "none touch, skimage.measure.label does."
        )


def _by_stem(sources: Iterable[Source]) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for source in sources:
        name = stem(source.path.name)
        if name in found:
            raise ImageError(
                f"{found[name].path} and {source.path} have the same name but for the ending: "
                "which is meant? Rename or remove one."
            )
        found[name] = source
    return found


def _check_partners(images: Mapping[str, Source], masks: Mapping[str, Source]) -> None:
    for here, there, what in ((images, masks, "mask"), (masks, images, "image")):
        alone = [name for name in here if name not in there]
        if alone:
            files = listed(str(here[name].path) for name in alone)
            raise ImageError(
                f"there is no {what} of {files}: for {alone[0]!r}, {nearest(alone[0], there)}. "
                f"{_FORM}."
            )
