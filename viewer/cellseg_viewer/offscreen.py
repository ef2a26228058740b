"""OpenGL without a screen, so that pictures can be made on servers and in tests."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from cellseg_core.errors import MissingPackageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["has_screen", "picture", "start"]

_started: list[Any] = []


def has_screen() -> bool:
    """Return whether windows can be shown."""
    if os.environ.get("QT_QPA_PLATFORM"):
        return os.environ["QT_QPA_PLATFORM"] not in ("offscreen", "minimal")
    other = sys.platform in ("win32", "darwin")
    return other or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def start() -> None:
    """Let Qt and OpenGL work without a screen, in this process. Before napari is imported.

    Raises
    ------
    MissingPackageError
        If that is not possible: there is no Mesa.
    """
    if _started:
        return
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    os.environ["PYOPENGL_PLATFORM"] = "egl"
    os.environ.setdefault("EGL_PLATFORM", "surfaceless")
    # Qt warns that it has no OpenGL of its own.
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")
    try:
        from vispy.ext import egl

        display = egl.eglGetDisplay()
        egl.eglInitialize(display)
        egl.eglBindAPI(egl.EGL_OPENGL_API)
        config = egl.eglChooseConfig(display)[0]
        context = egl.eglCreateContext(display, config)
        surface = egl.eglCreatePbufferSurface(
            display, config, [egl.EGL_WIDTH, 8, egl.EGL_HEIGHT, 8]
        )
        egl.eglMakeCurrent(display, surface, surface, context)
    except Exception as error:
        raise MissingPackageError(
            f"there is no screen, and OpenGL cannot draw without one here ({error}). On Debian and "
            "Ubuntu: apt install libegl1 libgl1 libgl1-mesa-dri. Elsewhere run it where there is a "
            "screen."
        ) from error
    _started.append((display, surface, context))


def picture(viewer: Any, height: int, width: int) -> NDArray[np.uint8]:
    """Return what the canvas of a napari viewer shows (Y, X, 4), in that size."""
    # napari's own screenshot asks Qt, which draws nothing without a screen.
    canvas = viewer.window._qt_viewer.canvas
    canvas.size = (height, width)
    canvas.native.resizeGL(width, height)
    viewer.reset_view(margin=0)
    canvas.on_draw(None)
    drawn: NDArray[np.uint8] = canvas._scene_canvas.render()
    return drawn
