"""Classical nucleus segmentation: local and global thresholds, then a seeded watershed.

No training and no weights. Every step has a finite reach, so that a nucleus comes out the same in
any tile that shows it with a margin of :attr:`WatershedSegmenter.halo`:

1. lift dim nuclei (a power of the brightness) and smooth a little; what is above the image-wide
   threshold *and* above the box mean is nucleus for now;
2. their mean and that of the pixels between them, in a box around each pixel, give a local
   threshold (one step of Ridler and Calvard's iteration, done locally);
3. a landscape: the distance to the edge of the bright cores (where a pixel is not darker than its
   surroundings at the scale of a nucleus), plus a share of the local brightness;
4. each pixel climbs to a peak of the landscape; a peak that stands less than ``split`` of its own
   height above the pass to a higher neighbour joins it (watershed with markers of that dynamics,
   without a queue, whose order would depend on the whole tile);
5. each object keeps the pixels above its own half height, and is left out if small or faint.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.adaptation import check_adaptation
from cellseg_backends.levels import Levels
from cellseg_backends.peaks import label_peaks
from cellseg_core.diameter import is_bright_field
from cellseg_core.errors import ConfigurationError, SegmentationError
from cellseg_core.protocols import Labels, Segmentation

__all__ = ["WatershedSegmenter"]

Polarity = Literal["auto", "fluorescence", "bright-field"]
_Mask = NDArray[np.bool_]
_Plane = NDArray[np.float32]

# Lengths in nuclear diameters, tuned on the training images of the 2018 Data Science Bowl.
_SMOOTH = 0.03
_BOX = 0.75
_SURROUND = 0.4
_LANDSCAPE = 0.1
_REACH = 0.75
_HALO = 4.0
_TRUNCATE = 3.0

# Areas in areas of a disc of the nuclear diameter: background that counts as a hole.
_HOLE = 0.25
_HOLE_IN_CORE = 0.1

_GAMMA = 0.8  # lifts dim nuclei beside bright ones, in fluorescence
_GLOBAL = 0.3  # image-wide threshold, between background (0) and nuclei (1)
_NOISE = 4.0  # and in standard deviations of the smoothed background
_OPENING = 0.8  # the threshold that opens nuclei, as a share of the one that draws their edges
_DARKER = 0.08  # a core pixel may be this much darker than its surroundings, in local contrast
_BRIGHTNESS = 0.25  # weight of brightness against distance (in radii)
_SCALE = 1 << 14  # box sums are taken over integers: running sums of floats depend on the place
_TINY = 1e-6


def _check_share(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None and attribute.default is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise ConfigurationError(
            f"watershed.{attribute.name} is a share from 0 to below 1; got {value!r}. Leave it out "
            f"for the default ({attribute.default})."
        )


def _check_polarity(_: object, __: object, value: object) -> None:
    if value not in ("auto", "fluorescence", "bright-field"):
        raise ConfigurationError(
            "watershed.polarity is 'auto', 'fluorescence' (bright nuclei) or 'bright-field' (dark "
            f"nuclei on a bright background); got {value!r}."
        )


@attrs.frozen(kw_only=True)
class WatershedSegmenter:
    """Finds nuclei without a trained model.

    It must see the image once, through :meth:`adapt`, before it can segment tiles of it: levels
    taken from each tile alone would differ from tile to tile and leave seams.

    Parameters
    ----------
    polarity
        ``"fluorescence"``: bright nuclei on a dark background; ``"bright-field"``: dark nuclei on
        a bright one; ``"auto"``: told from the image's brightness by
        :func:`~cellseg_core.diameter.is_bright_field`.
    threshold
        Where the edge of a nucleus is drawn: 0 at the brightness of its surroundings, 1 at its
        own mean. Lower makes nuclei larger.
    split
        How deep the pass between two peaks must be, as a share of the lower one, to make them
        two nuclei. Lower makes more and smaller nuclei.
    min_contrast
        Objects with less contrast to their surroundings are left out; 1 is the difference between
        nuclei and background in the whole image. Default: 0.2 in fluorescence and 0.5 in bright
        field, where cytoplasm is stained too.
    min_area
        Objects with less area are left out; 1 is a disc of the nuclear diameter.

    Raises
    ------
    ConfigurationError
        If an option has a value outside its range.

    >>> tile = np.zeros((1, 40, 60), np.float32)
    >>> tile[0, 10:22, 8:20] = tile[0, 10:22, 24:36] = 0.9
    >>> found = WatershedSegmenter().adapt(tile, 12.0).segment(tile)
    >>> int(found.labels.max()), found.labels[15, 14] != found.labels[15, 30]
    (2, np.True_)
    """

    polarity: Polarity = attrs.field(default="auto", validator=_check_polarity)
    threshold: float = attrs.field(default=0.45, validator=_check_share)
    split: float = attrs.field(default=0.06, validator=_check_share)
    min_contrast: float | None = attrs.field(default=None, validator=_check_share)
    min_area: float = attrs.field(default=0.12, validator=_check_share)

    _fitted: _Fitted | None = attrs.field(default=None, init=False, repr=False)

    uses_membrane: ClassVar[bool] = False

    @property
    def native_diameter(self) -> None:
        """Return None: nuclei of any size, told through :meth:`adapt`."""
        return

    @property
    def halo(self) -> int:
        """Return 4 nuclear diameters in px, with 12 px for the diameter before :meth:`adapt`.

        Seen with this margin, a nucleus of up to 3 diameters whose centre is in the tile's core
        has the pixels that it has in the whole image; tests hold that to 999 of 1000.
        """
        return math.ceil(_HALO * (12.0 if self._fitted is None else self._fitted.diameter)) + 3

    def adapt(self, sample: NDArray[np.float32], diameter: float) -> WatershedSegmenter:
        """Return a copy that is set up for one image.

        Parameters
        ----------
        sample
            Pixels (C, y, x) of the whole image on a regular grid, in [0, 1]; channel 0 is nuclear.
        diameter
            Typical nuclear diameter in px.

        Raises
        ------
        ConfigurationError
            If the diameter is not a positive number.
        SegmentationError
            If the sample has no pixels or not three axes.
        """
        check_adaptation("watershed", sample, diameter)
        adapted = attrs.evolve(self)
        object.__setattr__(adapted, "_fitted", _fit(self, sample[0], float(diameter)))
        return adapted

    def segment(self, tile: NDArray[np.float32]) -> Segmentation:
        """Return the nuclei of ``tile`` (C, Y, X) in [0, 1], numbered from 1 in raster order.

        The score of an object is the difference between its mean and the brightness between the
        nuclei around it, over the difference between nuclei and background of the whole image,
        at most 1.

        Raises
        ------
        SegmentationError
            If this is not what :meth:`adapt` returned.
        """
        if self._fitted is None:
            raise SegmentationError(
                f"watershed was given a tile of the shape {tile.shape} before it saw the image. "
                "Call segmenter.adapt(sample, diameter) and segment with what that returns."
            )
        return self._fitted.segment(tile[0])


def _fit(options: WatershedSegmenter, plane: _Plane, diameter: float) -> _Fitted:
    # A quarter of a million pixels settle the levels.
    step = max(1, math.isqrt(plane.size // 250_000))
    values = plane[::step, ::step].ravel()
    dark_nuclei = options.polarity == "bright-field" or (
        options.polarity == "auto" and is_bright_field(values)
    )
    values = _shown(values, dark_nuclei=dark_nuclei)
    levels = Levels.of(values, by_root=not dark_nuclei)
    min_contrast = options.min_contrast
    if min_contrast is None:
        min_contrast = 0.5 if dark_nuclei else 0.2
    return _Fitted(
        diameter=diameter,
        dark_nuclei=dark_nuclei,
        background=levels.background,
        foreground=levels.foreground,
        noise=levels.noise,
        threshold=options.threshold,
        split=options.split,
        min_contrast=min_contrast,
        min_area=options.min_area,
    )


@attrs.frozen(kw_only=True)
class _Fitted:
    """Everything that decides over the pixels of one image's tiles.

    ``background`` and ``foreground`` are the typical brightness of the background and of nuclei
    (of 1 - brightness where nuclei are dark), ``noise`` the standard deviation of a pixel of the
    background; the rest is as in :class:`WatershedSegmenter`.
    """

    diameter: float
    dark_nuclei: bool
    background: float
    foreground: float
    noise: float
    threshold: float
    split: float
    min_contrast: float
    min_area: float

    def segment(self, plane: _Plane) -> Segmentation:
        if self.foreground - self.background <= _TINY:
            return Segmentation(np.zeros(plane.shape, np.int32), np.zeros(0, np.float32))
        plane = _shown(plane, dark_nuclei=self.dark_nuclei)
        sigma = max(0.5, _SMOOTH * self.diameter)
        smooth = _gaussian(plane, sigma)
        nuclei, around, contrast = self._local_threshold(smooth, sigma)
        nuclei |= _holes(nuclei, _HOLE * self._disc)
        landscape = self._landscape(smooth, nuclei, around, contrast)
        return self._objects(label_peaks(landscape, nuclei, self.split), smooth, around)

    @property
    def _disc(self) -> float:
        return math.pi / 4 * self.diameter**2

    def _local_threshold(self, smooth: _Plane, sigma: float) -> tuple[_Mask, _Plane, _Plane]:
        """Return the pixels of nuclei, the brightness around them, and their height above it."""
        # White noise after a Gaussian of this width.
        noise = self.noise * min(1.0, 1 / (2 * math.sqrt(math.pi) * sigma))
        span = self.foreground - self.background
        lit = smooth > self.background + max(_GLOBAL * span, _NOISE * noise)
        levels = np.rint(smooth * _SCALE).astype(np.int32)
        radius = max(2, round(_BOX * self.diameter))
        total = _box_sum(levels, radius)
        count = _box_count(smooth.shape, radius)
        nuclei = lit & (levels * count > total)
        inside = _box_sum(nuclei.astype(np.int32), radius)
        bright = _box_sum(np.where(nuclei, levels, 0), radius)
        outside = count - inside
        # A box that is nearly all nucleus says nothing about the background.
        open_box = outside * 50 > count
        around = np.full(smooth.shape, self.background, np.float32)
        np.divide(total - bright, outside * _SCALE, out=around, where=open_box, casting="same_kind")
        height = np.zeros(smooth.shape, np.float32)
        np.divide(bright, inside * _SCALE, out=height, where=inside > 0, casting="same_kind")
        contrast = np.maximum(height - around, np.float32(1e-4))
        edge = np.float32(_OPENING * self.threshold)
        return lit & (smooth > around + edge * contrast), around, contrast

    def _landscape(self, smooth: _Plane, nuclei: _Mask, around: _Plane, contrast: _Plane) -> _Plane:
        """Return a height that peaks in the middle of each nucleus."""
        from scipy import ndimage

        surround = _gaussian(smooth, _SURROUND * self.diameter)
        cores = nuclei & (smooth - surround > np.float32(-_DARKER) * contrast)
        cores |= nuclei & _holes(cores, _HOLE_IN_CORE * self._disc)
        if cores.all():
            height = np.full(smooth.shape, _REACH * self.diameter, np.float32)
        else:
            height = np.asarray(ndimage.distance_transform_edt(cores), np.float32)
            np.minimum(height, np.float32(_REACH * self.diameter), out=height)
        height /= np.float32(0.5 * self.diameter)
        height += np.float32(_BRIGHTNESS) * np.where(
            nuclei, np.clip((smooth - around) / contrast, 0, 2), np.float32(0)
        )
        return _gaussian(height, max(0.5, _LANDSCAPE * self.diameter))

    def _objects(self, labels: Labels, smooth: _Plane, around: _Plane) -> Segmentation:
        """Return the objects that stay, each cut to its own half height."""
        from skimage.measure import label

        above = smooth - around
        mean = _means(labels, above)
        kept = (labels > 0) & (above > np.float32(self.threshold) * mean[labels])
        kept |= _holes(kept, _HOLE * self._disc)
        # Cutting can take an object apart: the pieces count on their own.
        pieces: Any = label(np.where(kept, labels, 0), background=0, connectivity=1)
        labels = pieces.astype(np.int32)
        contrast = _means(labels, above) / np.float32(self.foreground - self.background)
        area = np.bincount(labels.ravel(), minlength=len(contrast))
        stays = (area >= max(1.0, self.min_area * self._disc)) & (
            contrast >= np.float32(self.min_contrast)
        )
        stays[0] = False
        number = np.where(stays, np.cumsum(stays), 0).astype(np.int32)
        return Segmentation(number[labels], np.clip(contrast[stays], 0, 1))


def _shown(values: _Plane, *, dark_nuclei: bool) -> _Plane:
    """Return brightness as nuclei are looked for: bright, and with the dim ones lifted."""
    return np.float32(1) - values if dark_nuclei else values ** np.float32(_GAMMA)


def _gaussian(plane: _Plane, sigma: float) -> _Plane:
    from scipy import ndimage

    smooth: _Plane = ndimage.gaussian_filter(plane, sigma, mode="nearest", truncate=_TRUNCATE)
    return smooth


def _box_sum(plane: NDArray[np.int32], radius: int) -> NDArray[np.integer[Any]]:
    """Return the exact sum over the square of that radius around each pixel, cut at the edges."""
    # Running sums may wrap around: differences are right where the sum of one box fits.
    dtype = np.int32 if (2 * radius + 1) ** 2 * _SCALE < 2**31 else np.int64
    total: NDArray[Any] = plane
    for axis in (0, 1):
        size = total.shape[axis]
        running: NDArray[Any] = np.zeros(
            [n + (k == axis) for k, n in enumerate(total.shape)], dtype
        )
        np.cumsum(total, axis=axis, dtype=dtype, out=running[1:] if axis == 0 else running[:, 1:])
        where = np.arange(size)
        upper, lower = np.minimum(where + radius + 1, size), np.maximum(where - radius, 0)
        total = running.take(upper, axis) - running.take(lower, axis)
    return total


def _box_count(shape: tuple[int, ...], radius: int) -> NDArray[np.int64]:
    """Return how many pixels each of the boxes of :func:`_box_sum` holds."""

    def along(size: int) -> NDArray[np.int64]:
        where = np.arange(size, dtype=np.int64)
        return np.minimum(where + radius + 1, size) - np.maximum(where - radius, 0)

    return np.multiply.outer(along(shape[0]), along(shape[1]))


def _holes(mask: _Mask, area: float) -> _Mask:
    """Return the pixels of background regions (4-connected) smaller than ``area``."""
    from scipy import ndimage

    regions = np.zeros(mask.shape, np.int32)
    ndimage.label(~mask, output=regions)
    small = np.bincount(regions.ravel()) < area
    small[0] = False
    return small[regions]


def _means(labels: Labels, values: _Plane) -> NDArray[np.float32]:
    """Return the mean of each label, 0 for label 0 and for labels that do not occur."""
    # Integers, so that the mean of an object does not depend on where it lies in the tile.
    levels = np.rint(values * _SCALE)
    count = np.bincount(labels.ravel())
    total = np.bincount(labels.ravel(), levels.ravel(), minlength=len(count))
    means = (total / np.maximum(count, 1) / _SCALE).astype(np.float32)
    means[0] = 0
    return means
