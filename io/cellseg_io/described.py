"""What the metadata of a file tells about an image beyond its axes."""

from __future__ import annotations

import attrs

__all__ = ["Described"]


@attrs.frozen
class Described:
    """What metadata tells about an image beyond its axes.

    ``names`` has one entry for each channel that it lists, None for one without a name;
    ``pixel_size`` is in um; ``pixel_note`` says where it comes from or why it is not used.
    """

    names: tuple[str | None, ...] = ()
    pixel_size: float | None = None
    pixel_note: str = ""
