"""Running the command line in this process, on small images."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile

from cellseg_core.cli.main import main


class Done(NamedTuple):
    """What a command left: exit status, standard output and standard error."""

    status: int
    out: str
    err: str


@pytest.fixture
def cellseg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Return a function that runs ``cellseg`` with its arguments."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["cellseg", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        status = stop.value.code
        return Done(status if isinstance(status, int) else 1, printed.out, printed.err)

    return run


def spots(shape: tuple[int, int] = (60, 80), seed: int = 0, dtype: str = "uint16") -> np.ndarray:
    """Return a plane with some bright discs of 10 px on a dim background."""
    rng = np.random.default_rng(seed)
    plane = rng.normal(200, 10, shape)
    y, x = np.ogrid[: shape[0], : shape[1]]
    for row in range(12, shape[0] - 8, 16):
        for col in range(12, shape[1] - 8, 16):
            plane += 800 * ((y - row) ** 2 + (x - col) ** 2 <= 25)
    return np.clip(plane, 0, np.iinfo(dtype).max).astype(dtype)


@pytest.fixture
def write_image(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an OME-TIFF with spots and returns its path."""

    def write(name: str = "image.ome.tif", channels: tuple[str, ...] = ("DAPI", "CD3"), **kwargs):
        planes = [spots(**{"seed": i, **kwargs}) for i in range(len(channels))]
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"axes": "CYX", "Channel": {"Name": list(channels)}, "PhysicalSizeX": 0.5}
        tifffile.imwrite(
            path,
            np.stack(planes),
            ome=True,
            photometric="minisblack",
            metadata={
                **metadata,
                "PhysicalSizeXUnit": "µm",
                "PhysicalSizeY": 0.5,
                "PhysicalSizeYUnit": "µm",
            },
        )
        return path

    return write


@pytest.fixture
def files() -> Callable[[Path], dict[str, bytes]]:
    """Return a function that returns every result file but run.json and its report, with times."""

    def read(out: Path) -> dict[str, bytes]:
        return {
            path.relative_to(out).as_posix(): path.read_bytes()
            for path in out.rglob("*")
            if path.is_file()
            and path.relative_to(out).as_posix() not in ("run.json", "report.html")
            and ".cellseg" not in path.parts
        }

    return read
