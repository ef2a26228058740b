"""``cellseg view``: a picture without a screen, and what is said when something is missing."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from cellseg_core.cli.main import main

# napari, and what it is made of, use what is deprecated elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def view(monkeypatch, capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cellseg", "view", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def without_screen(monkeypatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setattr(sys, "platform", "linux")


def test_a_picture_shows_the_channels_and_the_outlines(
    view, finished, tmp_path, napari_started
) -> None:
    file = tmp_path / "b.png"
    status, out, err = view(finished, "b", "--channels", "DAPI", "--screenshot", file)
    assert (status, err) == (0, "")
    assert out == f"Look at: {file}\n"
    picture = np.asarray(Image.open(file)).astype(int)
    assert picture.shape == (900, 1200, 3)
    # Nuclei are blue, and brighter below; outlines have other colours.
    red, _, blue = (picture[..., channel] for channel in range(3))
    assert blue[450:].mean() > 1.5 * blue[:450].mean() > 0
    assert 0.01 < (red > 50).mean() < 0.5


def test_of_several_images_the_first_is_shown_and_the_others_are_named(
    view, finished, tmp_path, napari_started
) -> None:
    status, _, err = view(finished, "--screenshot", tmp_path / "a.png")
    assert status == 0
    assert "Showing a, the first of 2 images" in err
    assert "There are: a, b" in err


def test_without_a_screen_a_window_is_refused_with_the_way_out(
    view, finished, without_screen
) -> None:
    status, _, err = view(finished, "a")
    assert status == 2
    assert "no screen" in err
    assert "--screenshot FILE" in err


def test_without_napari_the_command_that_installs_it_is_told(
    view, finished, tmp_path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "napari", None)
    status, _, err = view(finished, "a", "--screenshot", tmp_path / "a.png")
    assert status == 2
    assert "pip install 'cellseg-core[napari]'" in err


def test_without_opengl_the_packages_that_bring_it_are_told(monkeypatch) -> None:
    from cellseg_core.errors import MissingPackageError
    from cellseg_viewer import offscreen

    monkeypatch.setattr(offscreen, "_started", [])
    for name in ("QT_QPA_PLATFORM", "PYOPENGL_PLATFORM", "EGL_PLATFORM", "QT_LOGGING_RULES"):
        monkeypatch.setenv(name, "offscreen")
    monkeypatch.setitem(sys.modules, "vispy.ext", None)
    with pytest.raises(MissingPackageError, match="apt install libegl1"):
        offscreen.start()


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("OUT/a",), 1, "holds no run.json"),
        (("OUT", "c"), 1, "has no image 'c'"),
        (("OUT", "a", "--screenshot", "a.jpg"), 2, "should end in .png"),
        (("OUT", "a", "--screenshot", "no/such/a.png"), 1, "Make it first"),
        (("OUT", "a", "--channels", "CD4", "--screenshot", "a.png"), 1, "did you mean 'CD3'"),
    ],
)
def test_wrong_use_is_told_with_the_fix(
    view, finished, monkeypatch, tmp_path, napari_started, arguments, status, told
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [one.replace("OUT", str(finished)) for one in arguments]
    found, _, err = view(*given)
    assert (found, told in err) == (status, True), err
    assert not list(tmp_path.iterdir())


def test_a_viewer_that_is_not_registered_is_told(view, finished, monkeypatch) -> None:
    monkeypatch.setattr("cellseg_core.cli.view._GROUP", "no.such.group")
    status, _, err = view(finished, "a")
    assert status == 2
    assert "Reinstall cellseg-core" in err
