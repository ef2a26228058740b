"""Comparisons of label images made by hand: no segmenter runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellseg_core.comparing.comparison import Comparison
from cellseg_core.comparing.findings import find
from cellseg_core.comparing.method import Method
from cellseg_core.comparing.trial import Trial
from cellseg_core.config import RunConfig
from cellseg_core.finished_run import FinishedImage, FinishedRun
from cellseg_core.image import Image
from cellseg_core.label_files import Kind
from cellseg_core.normalize import Brightness
from cellseg_core.reporting import Silent

Labels = Mapping[str, np.ndarray]


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., Comparison]:
    """Return a function that makes a comparison from label images by method and image."""

    def make(
        labels: Mapping[str, Labels],
        truth: Labels | None = None,
        *,
        planes: Labels | None = None,
        pixel_size: float | None = None,
        trials: Mapping[str, Sequence[Trial]] | None = None,
        inputs: Sequence[str] = ("images",),
        kind: Kind = "nuclei",
    ) -> Comparison:
        example = dict(truth or {})
        for of_method in labels.values():
            example |= of_method
        planes = planes or {name: (found > 0) * 900 + 50 for name, found in example.items()}
        images = {
            name: Image(
                planes[name].astype(np.uint16),
                channels=("DAPI",),
                name=name,
                pixel_size=pixel_size,
            )
            for name in example
        }
        scales = {name: Brightness.of(image, (0,)) for name, image in images.items()}
        runs: dict[str, FinishedRun | None] = {}
        usual = {}
        for method, of_method in labels.items():
            finished = {}
            for number, (name, found) in enumerate(of_method.items()):
                folder = tmp_path / "runs" / method / str(number)
                folder.mkdir(parents=True)
                for of_kind in ("nuclei", kind):
                    tifffile.imwrite(folder / f"{of_kind}.ome.tif", found.astype(np.int32))
                facts = {
                    "input": {"shape": list(found.shape), "channels": ["DAPI"]},
                    "decided": {
                        "nuclear": ["DAPI"],
                        "membrane": [],
                        "nuclear_diameter_px": 8.0,
                        "nuclear_diameter_from": "given",
                        "seconds": {"segment": 0.5},
                    },
                }
                cells = int(np.unique(found[found > 0]).size)
                finished[name] = FinishedImage(name, Path(name), cells, facts, folder, scales[name])
            record = {"components": {"segmenter": {method: "made 1"}}, "segmenter": {}}
            runs[method] = FinishedRun(tmp_path, record, finished) if of_method else None
            size = sum(found.size for found in of_method.values()) / 1e6
            usual[method] = [
                Trial(startup=1.0, segment=0.5, seconds=0.7, peak=10**9, megapixels=size)
            ]
        true_files = {}
        for number, (name, found) in enumerate((truth or {}).items()):
            true_files[name] = tmp_path / f"truth{number}.tif"
            tifffile.imwrite(true_files[name], found.astype(np.int32))
        config = RunConfig()
        findings = find(
            [Method.of(name) for name in labels],
            {**usual, **(trials or {})},
            runs,
            images,
            config,
            true_files=true_files,
            kind=kind,
            exclusive=(),
            gates=None,
            reporter=Silent(),
        )
        record = {
            "cellseg": "0",
            "python": "3",
            "platform": "a machine",
            "packages": {"numpy": "2"},
            "started": "2020-01-01T00:00:00+00:00",
            "seconds": 3.0,
            "inputs": list(inputs),
            "truth": None if truth is None else "masks",
            "kind": kind,
            "repeats": 1,
            "settings": {
                "nuclear": [],
                "brightness": "auto",
                "min_size": 20,
                "expand": 0,
                "expander": "sequential",
                "compensate": False,
                "compensator": "conserving",
                "set": {},
            },
        }
        return Comparison(
            out=tmp_path,
            findings=findings,
            record=record,
            images=images,
            true_files=true_files,
            config=config,
        )

    return make
