"""Results to report on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import pytest

from cellseg_core.measure import measure
from cellseg_core.normalize import Brightness
from cellseg_core.result import Result
from cellseg_core.scaled import ScaledImage
from cellseg_core.synthetic import simulate_tissue

Make = Callable[..., Result]

HOSTILE = ('</script><script>alert("1")</script>', "<img src=x onerror=alert(1)>", "=SUM(A1)\u2028")


@pytest.fixture(scope="session")
def make() -> Make:
    """Return a function that makes a result of simulated tissue of 200 x 260 px."""
    tissue = simulate_tissue((200, 260), seed=2, channels=("DAPI", "CD3", "CD20"))

    def result(
        name: str = "slide",
        channels: Sequence[str] = ("DAPI", "CD3", "CD20"),
        *,
        compensated: bool = False,
        empty: bool = False,
        **changed: Any,
    ) -> Result:
        image = attrs.evolve(tissue.image, channels=channels, name=name)
        nuclei = np.zeros_like(tissue.nuclei) if empty else tissue.nuclei
        cells = np.zeros_like(tissue.cells) if empty else tissue.cells
        table = measure(image, cells, regions=None)
        if compensated:
            before = table.intensities
            table = attrs.evolve(table, intensities=before * 0.5, uncompensated=before)
        made = Result(
            image=image,
            nuclei=nuclei,
            cells=cells,
            table=table,
            scaled=ScaledImage(image, (0,), (), Brightness.of(image, (0,))),
            nuclear_diameter=12.0,
            facts={},
            warnings=(),
        )
        return attrs.evolve(made, **changed)

    return result


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Return a browser, or skip where there is none."""
    sync = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
    found = found or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs chromium on the path")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()
