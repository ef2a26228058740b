"""Pictures of any size are opened: Pillow's own limit cannot be raised by a user."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["any_size"]

_opening = threading.Lock()


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """Let Pillow open pictures whatever their size, for those who check it themselves."""
    import PIL.Image

    with _opening:
        limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit
