"""The segmenter of another environment keeps the rules of all segmenters, and whole runs use it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import attrs
import numpy as np
import pytest
import tifffile

from cellseg_core import Pipeline
from cellseg_core.batch import run_batch
from cellseg_core.config import RunConfig
from cellseg_core.metrics import pairwise_iou
from cellseg_core.subprocess_segmenter import SubprocessSegmenter
from cellseg_core.synthetic import simulate_tissue
from cellseg_core.testing import SegmenterTests


class TestConformance(SegmenterTests):
    @pytest.fixture(autouse=True)
    def _environment(self, env) -> Iterator[None]:
        self._segmenter = env.segmenter("nuclei:Finder")
        with self._segmenter:
            yield

    def make(self) -> SubprocessSegmenter:
        return attrs.evolve(self._segmenter)


class TestConformanceOfAFunction(SegmenterTests):
    finds_nuclei = False

    @pytest.fixture(autouse=True)
    def _environment(self, env) -> Iterator[None]:
        self._segmenter = env.segmenter(
            "nuclei:find", options={"threshold": 0.2}, native_diameter=12
        )
        with self._segmenter:
            yield

    def make(self) -> SubprocessSegmenter:
        return attrs.evolve(self._segmenter)


def test_tiles_are_stitched_as_of_any_segmenter(env) -> None:
    image = simulate_tissue((300, 260), seed=1, channels=("DAPI",), density=0.25).image
    with env.segmenter("nuclei:Finder", options={"threshold": 0.2}) as segmenter:
        whole, tiled = (
            Pipeline(segmenter=segmenter, nuclear_diameter=12, tile=edge).run(image)
            for edge in (1024, 100)
        )
    assert (whole.facts["tiles"], tiled.facts["tiles"]) == (1, 9)
    assert tiled.facts["overlap_px"] == 2 * 4 * 12
    assert len(whole.table) > 30
    _, _, iou = pairwise_iou(whole.nuclei, tiled.nuclei)
    assert np.count_nonzero(iou > 0.9) >= 0.99 * len(whole.table)
    assert (tiled.table.scores == 0.5).all()


def test_the_command_line_runs_it_and_says_it_once_more(env, tmp_path) -> None:
    image = simulate_tissue((128, 128), seed=1, channels=("DAPI",), density=0.25).image
    tifffile.imwrite(tmp_path / "image.tif", np.asarray(image.read(0, slice(None), slice(None))))
    command = [
        sys.executable, "-m", "cellseg_core", "run", tmp_path / "image.tif", "-o", tmp_path / "out",
        "--segmenter", "subprocess", "--nuclear-diameter", "12", "--write", "csv",
        "--set", f"segmenter.python={env.folder}",
        "--set", "segmenter.component=elsewhere.nuclei:Finder",
        "--set", "segmenter.options={threshold = 0.2}",
    ]  # fmt: skip
    for again in (False, True):
        done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        assert ("(done before)" in done.stdout) == again
    record = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert record["cells"] > 5
    assert record["segmenter"]["packages"]["else-where"] == "1.2"
    assert record["settings"]["set"]["segmenter"]["options"] == {"threshold": 0.2}


def test_wrong_settings_end_a_run_before_it_begins(env, tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cellseg_core", "run", "image.tif", "-o", tmp_path / "out",
         "--segmenter", "subprocess"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--set segmenter.component=my_package.nuclei:Finder" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_image_is_done_again_after_an_upgrade_there_and_shares_one_process(
    env, tmp_path
) -> None:
    plane = np.zeros((64, 64), np.uint16)
    plane[20:32, 20:32] = 4000
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tif", plane)
    options = {
        "python": env.folder,
        "component": "elsewhere.nuclei:Finder",
        "options": {"threshold": 0.1},
    }
    config = RunConfig(
        segmenter="subprocess", set={"segmenter": options}, nuclear_diameter=12, write=("csv",)
    )
    states = []
    try:
        for version in ("1.2", "1.2", "1.3"):
            env.set_version(version)
            summary = run_batch([tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "out", config)
            assert not summary.failed, summary.failed
            states += [outcome.state for outcome in summary.outcomes]
    finally:
        env.set_version("1.2")
    assert states == ["done", "done", "resumed", "resumed", "done", "done"]
