"""The benchmark scripts run: each says what it does, and some do it on little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py") if path.name != "common.py")
TWO = ("--segmenters", "watershed", "--method", "fine=watershed,threshold=0.3")


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_says_what_its_options_are(script: str) -> None:
    assert "usage:" in run(script, "--help").stdout


@pytest.mark.slow
def test_speed_and_scaling_tell_time_and_memory(tmp_path: Path) -> None:
    run("speed.py", *TWO, "--edge", 256, "--repeats", 1, "--out", tmp_path)
    speed = json.loads((tmp_path / "speed.json").read_text())
    assert set(speed["tissues"]["12 px"]) == {"watershed", "fine"}
    assert speed["tissues"]["24 px"]["fine"]["segment"]["median"] > 0
    few = ("--megapixels", "0.1,2", "--channels", "2", "--workers", "1,2", "--memory", "2GB")
    said = run("scaling.py", *few, "--out", tmp_path).stdout
    scaling = json.loads((tmp_path / "scaling.json").read_text())["watershed"]
    assert "FAILED" not in said
    for megapixels in ("0.1", "2"):
        one, two = scaling[megapixels]["1"], scaling[megapixels]["2"]
        assert one["found"] == two["found"]
        assert one["peak"] > 10**8
        assert one["after_segmentation"] > 0
    seams, elsewhere = two["found"]["seams"], two["found"]["elsewhere"]
    assert elsewhere["once"] > 0.6
    assert seams["once"] > elsewhere["once"] - 0.05
    assert seams["twice"] < 0.01


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals, pipes and links of POSIX")
def test_faults_lose_nothing(tmp_path: Path) -> None:
    few = ("--kinds", "kills,batch", "--kills", 3, "--images", 11)
    said = run("faults.py", *few, "--out", tmp_path).stdout
    assert "nothing was lost, hung or leaked" in said
    kinds = json.loads((tmp_path / "faults.json").read_text())["kinds"]
    rows = {row["kind"]: row for kind in kinds.values() for row in kind["rows"]}
    assert rows["kills"]["times"] == 3
    assert sum(rows["kills"]["notes"]["kills by phase"].values()) == 3
    assert len(rows["batch"]["notes"]["broken"]) == 10


@pytest.mark.slow
@pytest.mark.data
def test_the_paper_s_figures_are_drawn(data_dir: Path, tmp_path: Path) -> None:
    for number in (5, 6):
        run(f"paper_fig{number}.py", *TWO, "--data", data_dir, "--out", tmp_path)
        assert (tmp_path / f"paper_fig{number}.png").stat().st_size > 10_000
    doubles = json.loads((tmp_path / "paper_fig5.json").read_text())
    (one,) = doubles["lymph node, CODEX"]["methods"]["watershed"]
    counts = json.loads((tmp_path / "paper_fig6.json").read_text())["correlations"]
    assert {row["gate"] for row in counts} >= {"T cells", "B cells"}
    assert all(row["r2"] > 0.9 for row in counts if row["gate"] in ("T cells", "B cells"))
    assert one["share"] > 0


@pytest.mark.slow
def test_fuzzing_says_what_was_tried_and_that_nothing_was_lost(tmp_path: Path) -> None:
    few = ("--readers", "png,toml", "--files", 40, "--runs", 20, "--out", tmp_path)
    said = run("fuzz.py", *few).stdout
    assert "80 damaged inputs read" in said
    assert "nothing was lost, hung or leaked" in said
    readers = json.loads((tmp_path / "fuzz.json").read_text())["readers"]
    assert all(one["results"]["refused"] > 5 and not one["faults"] for one in readers.values())
    assert readers["png"]["runs"] == 2
