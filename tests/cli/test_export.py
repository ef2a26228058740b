"""``cellseg export``."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellseg_backends.maskrcnn.segmenter import MaskRCNNSegmenter


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[tuple[MaskRCNNSegmenter, Path]]:
    """Stand in for the conversion; return a list of what was exported, and where to."""
    calls: list[tuple[MaskRCNNSegmenter, Path]] = []

    def export(self: MaskRCNNSegmenter, folder: Path) -> list[Path]:
        calls.append((self, folder))
        return [folder / "first.onnx", folder / "network.md"]

    monkeypatch.setattr(MaskRCNNSegmenter, "export", export)
    return calls


def test_export_hands_over_the_options_and_names_the_files(cellseg, exports, tmp_path) -> None:
    done = cellseg(
        "export", "-o", tmp_path / "onnx", "--segmenter", "maskrcnn",
        "--set", "segmenter.weights=mine", "--set", "maskrcnn.score=0.5",
    )  # fmt: skip
    assert done.status == 0, done.err
    [(segmenter, folder)] = exports
    assert (segmenter.weights, segmenter.score) == ("mine", 0.5)
    assert folder == tmp_path / "onnx"
    assert done.out.split() == [str(folder / "first.onnx"), str(folder / "network.md")]


def test_a_segmenter_without_a_network_is_refused(cellseg, tmp_path) -> None:
    done = cellseg("export", "-o", tmp_path, "--segmenter", "watershed")
    assert done.status == 2
    assert "'watershed' has no network to export" in done.err
    assert "--segmenter maskrcnn" in done.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--segmenter", "maskrcn"], "did you mean 'maskrcnn'"),
        (["--segmenter", "maskrcnn", "--set", "segmenter.wieghts=a"], "did you mean 'weights'"),
        (["--segmenter", "maskrcnn", "--set", "csv.style=cellseg"], "'csv' is not at work here"),
        (["--segmenter", "maskrcnn", "--set", "maskrcnn.score=7"], "share from 0 to below 1"),
    ],
)
def test_wrong_use_is_told(cellseg, tmp_path, arguments, why) -> None:
    done = cellseg("export", "-o", tmp_path, *arguments)
    assert done.status == 2
    assert why in done.err


def test_export_needs_a_folder(cellseg) -> None:
    done = cellseg("export")
    assert done.status == 2
    assert "-o results" in done.err


def test_weights_that_are_missing_are_told(cellseg, tmp_path) -> None:
    done = cellseg(
        "export", "-o", tmp_path / "out", "--segmenter", "maskrcnn",
        "--set", f"segmenter.weights={tmp_path / 'no'}",
    )  # fmt: skip
    assert done.status == 1
    assert "there are no weights at" in done.err
    assert not (tmp_path / "out").exists()
