"""Reading label images piece by piece."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cellseg_core import label_image
from cellseg_core.label_image import bands_of


@pytest.mark.parametrize(
    ("shape", "chunks", "step"),
    [
        ((100, 20), None, 10),
        ((100, 20), (4, 20), 8),
        ((100, 20), (16, 5), 16),
        ((100, 20), (40, 40), 10),  # more than is read at a time
        ((100, 20), ((50, 50), (20,)), 10),  # as Dask tells
        ((100, 500), None, 1),
        ((100, 500), (2, 2), 1),
        ((1, 20), (4, 20), 8),
    ],
)
def test_bands_are_whole_rows_of_chunks(shape, chunks, step, monkeypatch) -> None:
    monkeypatch.setattr(label_image, "_MOST_AT_ONCE", 400)
    monkeypatch.setattr(label_image.row_bands, "__defaults__", (200,))
    labels = SimpleNamespace(shape=shape, **({} if chunks is None else {"chunks": chunks}))
    bands = list(bands_of(labels))
    assert bands[0] == slice(0, min(step, shape[0]))
    assert [band.start for band in bands[1:]] == [band.stop for band in bands[:-1]]
    assert bands[-1].stop == shape[0]


def test_an_image_without_pixels_has_no_bands() -> None:
    assert list(bands_of(SimpleNamespace(shape=(0, 20)))) == []
    assert list(bands_of(SimpleNamespace(shape=(20, 0)))) == []
