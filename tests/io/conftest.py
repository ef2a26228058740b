"""What the tests of tables write."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np
import pytest

from cellseg_core.image import Image
from cellseg_core.measure import measure
from cellseg_core.result import Result
from cellseg_core.testing import WriterTests
from cellseg_core.testing.samples import sample_labels

HARD = (
    "a/b", "CD3 (ε)", "β-catenin", "{x}", "=SUM(A1)", "/lead/", "x,y", 'q"t', "µm", "_a b?", "-1",
    "area", "<script>", "@x", ".", "it's",
)  # fmt: skip
CASES = {
    "plain": {},
    "names that are hard": {"channels": HARD, "name": 'im "ä" =1'},
    "no cell": {"count": 0, "features": "all"},
    "one cell": {"count": 1},
    "missing values": {"missing": True},
    "one channel": {"channels": ("DAPI",)},
    "features and statistics": {"features": "all"},
    "compensated": {"features": "all", "compensated": True, "channels": HARD[:3]},
}


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """Return a function that makes a small result to write."""

    def make(
        channels: tuple[str, ...] = ("DAPI", "CD3"),
        *,
        name: str = "small",
        count: int | None = None,
        features: str = "",
        compensated: bool = False,
        missing: bool = False,
        pixel_size: float | None = 0.5,
    ) -> Result:
        labels = sample_labels()
        if count is not None:
            labels = np.where((labels > 0) & (labels <= count), labels, 0)
        pixels = np.random.default_rng(5).random((len(channels), *labels.shape)) * 1000
        if missing:
            pixels[-1][labels == 9] = np.nan
        image = Image(pixels, channels=channels, pixel_size=pixel_size, name=name)
        table = measure(image, labels, nuclei=labels, features=features)
        if compensated:
            less = table.intensities * 0.9
            table = attrs.evolve(table, intensities=less, uncompensated=table.intensities)
        base = WriterTests().result()
        facts = {"segmenter": "watershed", "brightness": {"levels": {"a/b": 2.0}}, "seconds": {}}
        return attrs.evolve(
            base, image=image, nuclei=labels, cells=labels, table=table, facts=facts
        )

    return make


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, make_result: Callable[..., Result]) -> Result:
    """Return a result that is hard to write, each in its own way."""
    return make_result(**CASES[request.param])
