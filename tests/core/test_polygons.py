"""Outlines are exact: what they enclose is the object, pixel for pixel."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from cellseg_core import normalize as normalize_module
from cellseg_core.errors import ImageError
from cellseg_core.polygons import Polygons, find_polygons, polygons_by_window
from cellseg_core.regions import find_regions


def geometries(found: Polygons) -> list[shapely.Geometry]:
    outlines = []
    for rings in found.rings():
        polygons: list[list[np.ndarray]] = []
        for vertices, hole in rings:
            if hole:
                polygons[-1].append(vertices)
            else:
                polygons.append([vertices])
        outlines.append(
            shapely.MultiPolygon([shapely.Polygon(outer, holes) for outer, *holes in polygons])
        )
    return outlines


@given(
    shape=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    seed=st.integers(0, 10_000),
    objects=st.integers(1, 4),
    sparse=st.booleans(),
    band=st.integers(1, 200),
)
@settings(max_examples=100, deadline=None)
def test_an_outline_encloses_exactly_its_object_for_any_windows(
    shape, seed, objects, sparse, band
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, objects + 1, shape)
    if sparse:
        labels *= rng.integers(0, 2, shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalize_module.row_bands, "__defaults__", (band,))
        found = find_polygons(labels)
    assert found.ids.tolist() == sorted(set(labels[labels > 0].tolist()))
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    for number, outline in zip(found.ids, geometries(found), strict=True):
        assert outline.is_valid, shapely.is_valid_reason(outline)
        assert np.array_equal(shapely.contains_xy(outline, x, y), labels == number)
        assert outline.area == (labels == number).sum()
    steps = [
        np.diff(vertices[[*range(len(vertices)), 1]], axis=0)
        for rings in found.rings()
        for vertices, _ in rings
    ]
    for step in steps:
        assert ((step == 0).sum(axis=1) == 1).all(), "along pixel edges"
        assert ((step[1:] == 0) != (step[:-1] == 0)).all(), "no corner between edges in line"


def test_holes_and_pieces_are_told_apart() -> None:
    labels = np.zeros((7, 9), np.int32)
    labels[:5, :5] = 3
    labels[1:4, 1:4] = 0
    labels[2, 2] = 3
    labels[5, 5] = 3  # at a corner
    labels[6, 8] = 8
    found = find_polygons(labels)
    assert found.ids.tolist() == [3, 8]
    assert found.first.tolist() == [0, 4, 5]
    assert found.holes.tolist() == [False, True, False, False, False]
    ring = found.vertices[found.starts[4] :]
    assert ring.tolist() == [[8, 6], [9, 6], [9, 7], [8, 7], [8, 6]]


def test_ids_beyond_32_bits_and_objects_that_are_not_there_are_no_problem() -> None:
    labels = np.array([[2**40, 0, 2**40 + 1]])
    assert find_polygons(labels).ids.tolist() == [2**40, 2**40 + 1]
    none = find_polygons(np.zeros((3, 4), np.uint8))
    assert (len(none), none.vertices.shape) == (0, (0, 2))
    assert list(polygons_by_window(labels * 0, None, find_regions(labels * 0))) == []
    with pytest.raises(ImageError, match="negative values"):
        find_polygons(np.array([[-1]]))


def test_nuclei_come_with_the_cells_that_they_lie_in() -> None:
    cells = np.array([[4, 4, 4, 2, 2, 2]])
    nuclei = np.array([[0, 4, 0, 0, 0, 0]])
    ((rows, found),) = polygons_by_window(cells, nuclei, find_regions(cells))
    assert rows.tolist() == [0, 1]
    assert found["nucleus"].ids.tolist() == found["cell"].ids.tolist() == [2, 4]
    assert [len(rings) for rings in found["nucleus"].rings()] == [0, 1]
