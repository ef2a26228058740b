"""The crops of a report: the image alone, the truth, and the outlines of every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.comparing.agreement import Found, Pair, compare_pair
from cellseg_core.comparing.crops import Crop, choose_crops, methods_by_image
from cellseg_core.comparing.pictures import Line, Picture, draw_crop
from cellseg_core.label_files import Kind, read_label_file
from cellseg_core.label_image import LazyLabels
from cellseg_core.pages.scale import bar_length
from cellseg_core.pages.tables import number
from cellseg_core.regions import find_regions
from cellseg_core.scaled import view
from cellseg_core.tiling import Box

if TYPE_CHECKING:
    from cellseg_core.comparing.comparison import Comparison
    from cellseg_core.comparing.findings import ImageFindings

__all__ = ["Shown", "ShownCrop", "gallery"]

Outlines = list[tuple[NDArray[np.integer[Any]], Line]]


@attrs.frozen
class Shown:
    """One picture of a row: what it shows, in one word and for those who cannot see it.

    ``picture`` is None where there is none; ``note`` then says why.
    """

    name: str
    note: str
    alt: str
    picture: Picture | None


@attrs.frozen
class ShownCrop:
    """A row of the gallery; ``place`` is where the crop is, ``bar`` how long the scale bar."""

    crop: Crop
    place: str
    bar: str
    pictures: tuple[Shown, ...]


def gallery(comparison: Comparison, crops: Sequence[Crop] | None = None) -> list[ShownCrop]:
    """Return every crop with its pictures, in the order of ``crops`` (:func:`choose_crops`)."""
    crops = choose_crops(comparison) if crops is None else crops
    done = methods_by_image(comparison.findings)
    rows: dict[Crop, ShownCrop] = {}
    # Image by image, so that the label images of one image are in memory, and only once.
    for image in dict.fromkeys(crop.image for crop in crops):
        own = [crop for crop in crops if crop.image == image]
        rows |= zip(own, _rows(comparison, image, own, done[image]), strict=True)
    return [rows[crop] for crop in crops]


def _rows(
    comparison: Comparison, image: str, crops: Sequence[Crop], done: Mapping[str, ImageFindings]
) -> list[ShownCrop]:
    """Return the rows of the crops of one image, in which ``done`` is what the methods found."""
    findings, kind = comparison.findings, comparison.record["kind"]
    size = comparison.images[image].pixel_size
    brightness = next(iter(done.values())).image.brightness
    scaled, _ = view(comparison.images[image], comparison.config.nuclear, (), brightness)
    scenes = [_Scene(crop, scaled.read(*crop.box.slices)[0], size, kind) for crop in crops]
    pictures = [[scene.shown("Image", "nuclear stain", [])] for scene in scenes]
    truth = _truth(comparison, image)
    if truth is not None:
        centroids = find_regions(truth).centroids
        for scene, row in zip(scenes, pictures, strict=True):
            note = f"{np.count_nonzero(_inside(centroids, scene.crop.box)):,} {kind}"
            row.append(scene.shown("Truth", note, [(truth[scene.crop.box.slices], "truth")]))
    for method in findings.methods:
        name = method.method.name
        if name not in done:
            why = method.failed or method.errors.get(image, "this image was not done")
            for row in pictures:
                row.append(Shown(name, f"failed: {why}", "", None))
            continue
        # Not all of its pixels: what lies in the crops is all that is looked at, unless it is held
        # against the truth.
        labels = done[name].image.lazy_labels(kind)
        if truth is not None:
            pair = compare_pair(truth, labels, ("the truth", name))
            for scene, row in zip(scenes, pictures, strict=True):
                row.append(_against_truth(scene, name, labels, truth, pair))
        else:
            by_others = [
                pair.first if name == both[0] else pair.second
                for both, pair in findings.pairs.get(image, {}).items()
                if name in both
            ]
            for scene, row in zip(scenes, pictures, strict=True):
                row.append(_against_others(scene, name, labels, by_others))
    return [
        ShownCrop(scene.crop, scene.place, scene.bar[1], tuple(row))
        for scene, row in zip(scenes, pictures, strict=True)
    ]


@attrs.frozen(eq=False)
class _Scene:
    """A crop with its stain (Y, X) as it was taken, and the size of its pixels in um or None.

    ``kind`` is what is outlined.
    """

    crop: Crop
    stain: NDArray[np.float32]
    pixel_size: float | None
    kind: Kind

    @property
    def place(self) -> str:
        """Return where the crop is, in words."""
        box, size = self.crop.box, self.pixel_size
        height, width = box.shape
        extent = f"{width:,} \u00d7 {height:,} px"
        if size is not None:
            extent += f" ({number(width * size, 1)} \u00d7 {number(height * size, 1)} \u00b5m)"
        return f"x {box.x0:,} to {box.x1:,}, y {box.y0:,} to {box.y1:,}: {extent}"

    @property
    def bar(self) -> tuple[float, str]:
        """Return the length of the scale bar in px, and what it says."""
        return bar_length(self.crop.box.shape[1], self.pixel_size)

    def shown(self, name: str, note: str, outlines: Outlines) -> Shown:
        """Return the picture of the crop with some outlines."""
        alt = f"{name}, {self.crop.image}, {self.place}: {note}"
        return Shown(name, note, alt, draw_crop(self.stain, outlines, self.bar[0]))


def _truth(comparison: Comparison, image: str) -> LazyLabels | None:
    path = comparison.true_files.get(image)
    return None if path is None else read_label_file(path)


def _against_truth(
    scene: _Scene,
    name: str,
    labels: LazyLabels,
    truth: LazyLabels,
    pair: Pair,
) -> Shown:
    """Show which objects of a method match true ones, and which true ones none."""
    box = scene.crop.box
    true, found = _inside(pair.first.centroids, box), _inside(pair.second.centroids, box)
    together = np.count_nonzero(true) + np.count_nonzero(found)
    matched = np.count_nonzero(true & pair.first.matched)
    matched += np.count_nonzero(found & pair.second.matched)
    f1 = number(matched / together if together else None, 2)
    missed, _ = _split(truth[box.slices], pair.first.ids[~pair.first.matched])
    same, other = _split(labels[box.slices], pair.second.ids[pair.second.matched])
    note = f"{np.count_nonzero(found):,} {scene.kind}, F1 {f1}"
    return scene.shown(name, note, [(missed, "missed"), (same, "same"), (other, "other")])


def _against_others(
    scene: _Scene, name: str, labels: LazyLabels, by_others: Sequence[Found]
) -> Shown:
    """Show which objects of a method another method has too; all, if there is no other."""
    box = scene.crop.box
    if not by_others:
        count = np.count_nonzero(_inside(find_regions(labels).centroids, box))
        return scene.shown(name, f"{count:,} {scene.kind}", [(labels[box.slices], "same")])
    matched: NDArray[np.bool_] = np.logical_or.reduce([found.matched for found in by_others])
    inside = _inside(by_others[0].centroids, box)
    alone = np.count_nonzero(inside & ~matched)
    same, other = _split(labels[box.slices], by_others[0].ids[matched])
    note = f"{np.count_nonzero(inside):,} {scene.kind}, {alone:,} without a match"
    return scene.shown(name, note, [(same, "same"), (other, "other")])


def _split(
    window: NDArray[np.integer[Any]], ids: NDArray[np.int64]
) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]:
    """Return the objects of these ids and the others, as label images of their own."""
    chosen = np.isin(window, ids)
    return np.where(chosen, window, 0), np.where(chosen, 0, window)


def _inside(centroids: NDArray[np.float64], box: Box) -> NDArray[np.bool_]:
    """Return (N,) bool: which centres lie in a box."""
    low, high = (box.y0 - 0.5, box.x0 - 0.5), (box.y1 - 0.5, box.x1 - 0.5)
    within = (centroids >= low) & (centroids < high)
    inside: NDArray[np.bool_] = np.logical_and.reduce(within, axis=1)
    return inside
