"""Objects of overlapping tiles become one label image: each once, each whole."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cellseg_core import regions
from cellseg_core.errors import SegmentationError
from cellseg_core.normalize import row_bands
from cellseg_core.objects import tidy
from cellseg_core.protocols import Labels, Segmentation
from cellseg_core.reading_order import reading_order
from cellseg_core.regions import find_regions
from cellseg_core.stitching import nothing_in, stitch, tile_objects
from cellseg_core.stitching_kernels import resolve
from cellseg_core.tiling import Box, Tile, tile_image


def in_reading_order(labels: Labels) -> Labels:
    return reading_order(find_regions(labels)).apply(labels)


def discs(shape: tuple[int, int], count: int, radius: int, seed: int) -> Labels:
    """Return touching and clipped discs, ids in reading order."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for number in range(1, count + 1):
        y, x, r = rng.integers(0, shape[0]), rng.integers(0, shape[1]), rng.integers(2, radius + 1)
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        disc = ((rows - y) ** 2 + (columns - x) ** 2 <= r * r) & (labels == 0)
        labels[disc] = number
    return in_reading_order(tidy(labels))


def stitched(whole: Labels, size: int, margin: int) -> Labels:
    """Cut an ideal segmentation into tiles and stitch it again."""
    tiles = tile_image(whole.shape, size, margin)
    parts = [
        tile_objects(tile, Segmentation(whole[tile.window.slices]), whole.shape) for tile in tiles
    ]
    return in_reading_order(stitch(whole.shape, parts)[:, :])


@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    count=st.integers(0, 40),
    size=st.integers(8, 60),
    margin=st.integers(16, 30),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_tiling_then_stitching_gives_the_whole(shape, count, size, margin, seed) -> None:
    whole = discs(shape, count, 7, seed)
    assert np.array_equal(stitched(whole, size, margin), whole)


@pytest.mark.parametrize("size", [16, 33, 64, 1000])
def test_objects_larger_than_the_overlap_are_joined(size: int) -> None:
    whole = np.zeros((150, 150), np.int32)
    whole[10:140, 20:60] = 1
    whole[70:76, 60:149] = 2
    assert np.array_equal(stitched(whole, size, 6), whole)


def test_the_order_of_tiles_makes_no_difference() -> None:
    whole = discs((80, 100), 60, 9, 1)
    tiles = tile_image(whole.shape, 30, 12)
    parts = [tile_objects(t, Segmentation(whole[t.window.slices]), whole.shape) for t in tiles]
    one, other = stitch(whole.shape, parts)[:, :], stitch(whole.shape, parts[::-1])[:, :]
    assert np.array_equal(one, other)


def test_any_window_is_painted_like_the_whole() -> None:
    whole = discs((90, 110), 70, 9, 2)
    tiles = tile_image(whole.shape, 30, 12)
    parts = [tile_objects(t, Segmentation(whole[t.window.slices]), whole.shape) for t in tiles]
    lazy = stitch(whole.shape, parts)
    painted = lazy[:, :]
    for rows, columns in (((0, 90), (0, 110)), ((7, 8), (29, 61)), ((50, 90), (100, 110))):
        window = slice(*rows), slice(*columns)
        assert np.array_equal(lazy[window], painted[window])
    assert lazy[5:5, 3:1].shape == (0, 0)


def test_the_reading_order_of_a_lazy_image_is_that_of_the_whole(monkeypatch) -> None:
    whole = discs((90, 110), 70, 9, 2)
    shuffled = np.random.default_rng(0).permutation(200).astype(np.int32)
    shuffled[shuffled == 0], shuffled[0] = shuffled[0], 0
    labels = shuffled[whole]
    expected = reading_order(find_regions(labels), 30)
    sizes = np.bincount(labels.ravel())
    kept = [one for one in dict.fromkeys(labels[labels > 0].tolist()) if sizes[one] >= 30]
    assert expected.former.tolist() == kept
    assert len(kept) < np.count_nonzero(sizes[1:])
    assert expected.new.size == labels.max() + 1
    again = find_regions(expected.apply(labels))
    for column in ("ids", "areas", "centroids", "boxes", "first"):
        assert np.array_equal(getattr(expected.regions, column), getattr(again, column))
    monkeypatch.setattr(
        regions, "bands_of", lambda labels: row_bands(labels.shape, 7 * labels.shape[1])
    )
    banded = reading_order(find_regions(labels), 30)
    assert np.array_equal(banded.former, expected.former)
    assert np.array_equal(banded.apply(labels), expected.apply(labels))


def two_tiles() -> tuple[Tile, Tile]:
    """Return the tiles of a (20, 60) image: cores end at column 30, windows reach 10 px over."""
    left = Tile(0, 0, Box(0, 20, 0, 30), Box(0, 20, 0, 40))
    right = Tile(0, 1, Box(0, 20, 30, 60), Box(0, 20, 20, 60))
    return left, right


def combine(left: Labels, right: Labels) -> Labels:
    one, other = two_tiles()
    parts = [
        tile_objects(one, Segmentation(left[:, :40]), (20, 60)),
        tile_objects(other, Segmentation(right[:, 20:]), (20, 60)),
    ]
    return in_reading_order(stitch((20, 60), parts)[:, :])


def blank() -> Labels:
    return np.zeros((20, 60), np.int32)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_deeper_version_stays_even_if_its_centre_is_the_other_tile_s(mirrored: bool) -> None:
    deep, shallow = blank(), blank()
    deep[5:15, 28:36] = 1  # its centre, column 32, is the right tile's
    shallow[5:15, 22:39] = 1
    if mirrored:
        assert np.array_equal(combine(shallow[:, ::-1], deep[:, ::-1]), deep[:, ::-1])
    else:
        assert np.array_equal(combine(deep, shallow), deep)


@pytest.mark.parametrize(("lower", "objects"), [(3, 1), (4, 2)])
def test_cut_objects_are_joined_that_agree_on_half_of_what_both_tiles_see(lower, objects) -> None:
    left, right = blank(), blank()
    left[:9, :40] = 1
    right[lower : lower + 9, 20:] = 1  # 6 rows of 12 are in both, or 5 of 13
    found = combine(left, right)
    assert found.max() == objects
    assert np.array_equal(found > 0, (left > 0) | (right > 0))


def test_a_piece_that_its_judge_does_not_see_is_not_joined() -> None:
    tiles = tile_image((60, 60), 30, 10)
    whole = np.zeros((4, 60, 60), np.int32)
    whole[1, 5:40, 20:42] = 1  # cut by the lower border of its tile
    whole[3, 20:45, 20:38] = 1  # its centre is the third tile's, which is empty
    parts = [
        tile_objects(tile, Segmentation(seen[tile.window.slices]), (60, 60))
        for tile, seen in zip(tiles, whole, strict=True)
    ]
    assert np.array_equal(stitch((60, 60), parts)[:, :] > 0, whole[1] > 0)


@given(
    links=st.dictionaries(
        st.tuples(st.integers(0, 8), st.integers(0, 8)), st.booleans(), max_size=20
    ),
    order=st.permutations(range(9)),
    dropped=st.sets(st.integers(0, 8), max_size=2),
)
@example(links={(0, 2): True, (1, 2): True}, order=[1, 0, *range(2, 9)], dropped=set())
@settings(max_examples=200, deadline=None)
def test_an_object_is_dropped_for_a_deeper_one_or_joins_all_its_deeper_pieces(
    links, order, dropped
) -> None:
    links = {tuple(sorted(pair)): is_piece for pair, is_piece in links.items() if len({*pair}) == 2}
    rank = np.argsort(order)
    linked = [
        sorted((j, piece) for pair, piece in links.items() if i in pair for j in pair if j != i)
        for i in range(9)
    ]
    pieces_of = {i: {i} for i in range(9) if i not in dropped}
    for i in (i for i in order if i not in dropped):
        deeper = [(j, piece) for j, piece in linked[i] if rank[j] < rank[i] and j in pieces_of]
        if not all(piece for _, piece in deeper):
            del pieces_of[i]
        elif deeper:
            together = pieces_of[i].union(*(pieces_of[j] for j, _ in deeper))
            pieces_of.update(dict.fromkeys(together, together))
    expected = [
        min(pieces_of[i], key=lambda j: rank[j]) if i in pieces_of else -1 for i in range(9)
    ]

    group = np.array([-1 if i in dropped else i for i in range(9)])
    ends = np.cumsum([0, *map(len, linked)])
    other = np.array([j for links_of in linked for j, _ in links_of], np.int64)
    joins = np.array([piece for links_of in linked for _, piece in links_of], bool)
    resolve(np.array(order), rank, ends, other, joins, group)
    assert group.tolist() == expected


@pytest.mark.parametrize("mirrored", [False, True])
def test_of_two_versions_the_one_deeper_in_its_tile_stays_whole(mirrored: bool) -> None:
    deep, shallow = blank(), blank()
    deep[5:15, 22:33] = 1  # 7 px from its tile's border
    shallow[5:15, 23:36] = 1  # 3 px
    if mirrored:
        assert np.array_equal(combine(shallow[:, ::-1], deep[:, ::-1]), deep[:, ::-1])
    else:
        assert np.array_equal(combine(deep, shallow), deep)


def test_two_objects_that_share_exactly_half_of_the_smaller_are_one() -> None:
    left, right = blank(), blank()
    left[5:15, 20:30] = 1
    right[5:15, 25:35] = 1
    assert np.array_equal(combine(left, right), left), "equally deep: the earlier tile's stays"


@pytest.mark.parametrize(
    ("window", "depth"),
    [
        (Box(1, 20, 0, 30), 4),
        (Box(0, 19, 0, 30), 7),
        (Box(0, 20, 1, 30), 8),
        (Box(0, 20, 0, 29), 16),
        (Box(0, 20, 0, 30), 1000),
    ],
)
def test_depth_is_measured_from_those_borders_that_are_not_the_image_s(window, depth) -> None:
    image = blank()[:, :30]
    image[5:12, 9:13] = 1
    found = tile_objects(Tile(0, 0, window, window), Segmentation(image[window.slices]), (20, 30))
    assert np.minimum(found.depths, 1000).tolist() == [depth]
    assert found.centres.tolist() == [[8.5, 11]]


def test_tiles_without_overlap_keep_the_pieces_that_they_see() -> None:
    whole = discs((60, 70), 40, 7, 3)
    tiles = tile_image(whole.shape, 20, 0)
    parts = [tile_objects(t, Segmentation(whole[t.window.slices]), whole.shape) for t in tiles]
    found = stitch(whole.shape, parts)[:, :]
    assert found.max() > whole.max()
    for part in parts:
        piece = found[part.tile.window.slices]
        assert np.array_equal(in_reading_order(piece), in_reading_order(part.labels))


def test_a_tile_s_edge_invents_no_object() -> None:
    left, right = blank(), blank()
    left[5:15, 34:38] = 1  # beyond the left core, where the right tile sees nothing
    assert not combine(left, right).any()


def test_two_tiles_that_each_leave_an_object_to_the_other_do_not_lose_it() -> None:
    left, right = blank(), blank()
    left[5:15, 26:36] = 1  # its centre, column 31, is the right tile's
    right[5:15, 24:34] = 1  # its centre, column 29, is the left tile's
    found = combine(left, right)
    assert found.max() == 1
    assert np.count_nonzero(found) == 100


def test_where_one_tile_merges_what_the_other_splits_one_version_is_taken() -> None:
    left, right = blank(), blank()
    left[5:15, 22:36] = 1
    right[5:15, 22:29], right[5:15, 29:36] = 1, 2
    found = combine(left, right)
    assert found.max() in (1, 2)
    assert np.array_equal(found > 0, left > 0), "a pixel was lost or doubled"


def test_objects_that_overlap_a_little_both_stay_and_share_no_pixel() -> None:
    left, right = blank(), blank()
    left[5:15, 18:31] = 1
    right[5:15, 30:42] = 1
    found = combine(left, right)
    assert found.max() == 2
    assert np.count_nonzero(found) == 10 * (42 - 18)


def test_more_than_65535_objects_keep_their_own_ids() -> None:
    whole = np.zeros((600, 1000), np.int32)
    count = 300 * 250
    whole[::2, ::4] = np.arange(1, count + 1).reshape(300, 250)
    found = stitched(whole, 200, 4)
    assert found.max() == count
    assert np.array_equal(found, whole)


def test_scores_follow_their_objects() -> None:
    tile = Tile(0, 0, Box(0, 4, 0, 6), Box(0, 4, 0, 6))
    labels = np.array([[0, 5, 5, 0, 2, 2]] * 4)
    parts = [tile_objects(tile, Segmentation(labels, np.arange(5) / 10), (4, 6))]
    image = stitch((4, 6), parts)
    order = reading_order(find_regions(image))
    assert image.scores[order.former - 1].tolist() == [0.4, 0.1]
    assert order.apply(image[:, :])[0].tolist() == [0, 1, 1, 0, 2, 2]


def test_a_tile_without_objects_is_the_same_whether_it_was_segmented_or_not() -> None:
    tile, _ = two_tiles()
    found = Segmentation(np.zeros((20, 40), np.int32), np.empty(0))
    for one, other in zip(
        attrs.astuple(nothing_in(tile), recurse=False),
        attrs.astuple(tile_objects(tile, found, (20, 60)), recurse=False),
        strict=True,
    ):
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)
        else:
            assert one == other == tile


def test_an_image_without_objects_has_an_empty_reading_order() -> None:
    order = reading_order(find_regions(blank()))
    assert order.former.size == 0
    assert order.new.tolist() == [0]
    assert np.array_equal(order.apply(blank()), blank())


def test_what_holds_arrays_is_equal_to_itself_only() -> None:
    def made() -> tuple[object, ...]:
        objects = nothing_in(two_tiles()[0])
        order = reading_order(find_regions(blank()))
        return objects, stitch((20, 60), [objects]), order, order.of(blank())

    assert len({*made(), *made()}) == 8


def test_a_window_has_two_axes_and_steps_of_one_pixel() -> None:
    image = stitch((20, 60), [nothing_in(tile) for tile in two_tiles()])
    with pytest.raises(ValueError, match="argument"):
        image[:, :, :]
    with pytest.raises(IndexError, match="steps of 1 px"):
        image[:, ::2]


def test_scores_may_be_from_0_to_1() -> None:
    tile = Tile(0, 0, Box(0, 1, 0, 3), Box(0, 1, 0, 3))
    found = Segmentation(np.array([[1, 0, 2]]), np.array([0.0, 1.0]))
    assert tile_objects(tile, found, (1, 3)).scores.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        (np.zeros((3, 6), int), None, r"size of the tile, \(4, 6\)"),
        (np.zeros((4, 6)), None, "must be integers; these are float64"),
        (np.full((4, 6), -1), None, "must not be negative"),
        (np.full((4, 6), 3), np.ones(2), "a score for each label up to 3; 2 came"),
        (np.ones((4, 6), int), np.array([1.5]), "these go from 1.5 to 1.5"),
        (np.full((4, 6), 2), np.array([0.5, -0.1]), "these go from -0.1 to 0.5"),
    ],
)
def test_a_segmenter_that_breaks_a_rule_is_told_which(labels, scores, message) -> None:
    tile = Tile(0, 0, Box(0, 4, 0, 6), Box(0, 4, 0, 6))
    with pytest.raises(SegmentationError, match=message):
        tile_objects(tile, Segmentation(labels, scores), (4, 6))
