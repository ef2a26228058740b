"""The picture of a preview: numbered panels, each with its settings and how many nuclei it has."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.outlines import inner_outlines
from cellseg_core.pages.scale import bar_length
from cellseg_core.painting import CELL, DIMMEST_WHITE, NUCLEUS, PALE, Tone, magnified, reduced
from cellseg_core.preview_panels import Panel, Preview, Row
from cellseg_core.protocols import Labels

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

__all__ = ["draw_sheet"]

_PANEL = 420  # px of a panel's longer edge, about
_LEAST = 300  # px of a panel's width, for its caption
_TOP = 200  # px of the pictures above the panels
_GAP = 18
_CAPTION = 58
_FRAME = 6
_COLUMNS = 6
_TITLE = 34
_REASON = 22  # px of a line
_WHITEST = 99  # percentile: of small crops, that of the pictures above would be single pixels
_INK, _FAINT, _PAPER, _EMPTY = (28, 30, 34), (110, 114, 122), (255, 255, 255), (236, 237, 240)
_MARK = (200, 90, 0)


def draw_sheet(preview: Preview) -> NDArray[np.uint8]:
    """Return the picture (Y, X, 3) of a preview.

    Above is the whole image with a frame where the crop is, and the crop without outlines; then a
    row of panels for each diameter, or for each segmenter. All panels of one brightness are shown
    alike: a correction of 2 is twice as bright. Nuclei are outlined in orange and, where they were
    grown, cells in blue. What a run does by itself has a frame.
    """
    sheet = _Sheet.of(preview)
    drawn: NDArray[np.uint8] = np.asarray(sheet.draw())
    return drawn


@attrs.frozen(eq=False)
class _Sheet:
    """A preview, the sizes of its picture in px, and how its panels are shown as gray."""

    preview: Preview
    zoom: int
    step: int
    tone: Tone
    bright: bool
    columns: int

    @classmethod
    def of(cls, preview: Preview) -> _Sheet:
        extent = max(preview.box.shape)
        factors = [panel.brightness for panel in preview.panels] or [1.0]
        brightest = np.minimum(preview.stain * np.float32(max(factors)), 1)
        white = max(DIMMEST_WHITE, float(np.percentile(brightest, _WHITEST)))
        bright = float(np.median(brightest / white)) > 0.6
        per_row = len(dict.fromkeys(factors))
        if len(preview.rows) > 1 or per_row == 1:
            per_row = max(len(row.panels) for row in preview.rows)
        return cls(
            preview=preview,
            zoom=max(1, round(_PANEL / extent)),
            step=max(1, round(extent / (1.5 * _PANEL))),
            tone=_tone(brightest, bright, _WHITEST),
            bright=bright,
            columns=max(1, min(per_row, _COLUMNS)),
        )

    @property
    def crop(self) -> tuple[int, int]:
        """Return (height, width) in px of a crop in the picture."""
        height, width = (-(-n // self.step) * self.zoom for n in self.preview.box.shape)
        return height, width

    @property
    def cell(self) -> tuple[int, int]:
        """Return (height, width) in px of a panel with its caption and frame."""
        height, width = self.crop
        return height + _CAPTION + 2 * _FRAME, max(width, _LEAST) + 2 * _FRAME

    def draw(self) -> Picture:
        from PIL import Image as Pillow
        from PIL import ImageDraw

        tall, wide = self.cell
        width = max(self.columns, 2) * (wide + _GAP) + _GAP
        lines = [math.ceil(len(row.panels) / self.columns) for row in self.preview.rows]
        titled = len(self.preview.rows) > 1
        heights = [
            number * (tall + _GAP) + titled * _TITLE + (3 * _REASON if row.failed else 0)
            for row, number in zip(self.preview.rows, lines, strict=True)
        ]
        height = _TOP + 3 * _GAP + sum(heights)
        picture = Pillow.new("RGB", (width, height), _PAPER)
        draw = ImageDraw.Draw(picture)
        self._draw_head(picture, draw)
        top = _TOP + 2 * _GAP
        for row, height in zip(self.preview.rows, heights, strict=True):
            first = top + titled * _TITLE
            if titled:
                _write(draw, (_GAP, top), _row_title(row), _font(19, bold=True), width - 2 * _GAP)
            if row.failed is not None:
                _write_lines(draw, (_GAP, first), row.failed, width - 2 * _GAP, 2)
            for place, panel in enumerate(row.panels):
                line, column = divmod(place, self.columns)
                corner = _GAP + column * (wide + _GAP), first + line * (tall + _GAP)
                self._draw_panel(picture, draw, corner, panel)
            top += height
        return picture

    def _draw_head(self, picture: Picture, draw: ImageDraw) -> None:
        """Draw the whole image, the crop alone, and what they are."""
        from PIL import Image as Pillow

        preview = self.preview
        whole = Pillow.fromarray(_tone(preview.overview, self.bright).gray(preview.overview))
        whole.thumbnail((2 * _TOP, _TOP))
        picture.paste(whole, (_GAP, _GAP))
        y_scale, x_scale = (
            n / m for n, m in zip((whole.height, whole.width), preview.image.shape, strict=True)
        )
        box = preview.box
        frame = (
            _GAP + box.x0 * x_scale - 1, _GAP + box.y0 * y_scale - 1,
            _GAP + box.x1 * x_scale, _GAP + box.y1 * y_scale,
        )  # fmt: skip
        draw.rectangle(frame, outline=NUCLEUS, width=2)
        crop = Pillow.fromarray(_tone(preview.stain, self.bright).gray(preview.stain))
        scale = _TOP / max(crop.size)
        crop = crop.resize((max(1, round(crop.width * scale)), max(1, round(crop.height * scale))))
        left = 2 * _GAP + whole.width
        picture.paste(crop, (left, _GAP))
        left += crop.width + round(1.5 * _GAP)
        room = picture.width - left - _GAP
        top = _GAP
        for text, size, bold, colour in (
            (preview.image.name, 26, True, _INK),
            (f"nuclei: {', '.join(preview.nuclear)}", 17, False, _INK),
            (self._place(), 17, False, _INK),
            *((line, 17, False, _INK) for line in self._known()),
            (self._legend(), 15, False, _FAINT),
        ):
            _write(draw, (left, top), text, _font(size, bold=bold), room, colour)
            top += round(1.55 * size)

    def _place(self) -> str:
        box, size = self.preview.box, self.preview.image.pixel_size
        height, width = box.shape
        extent = f"{width} \u00d7 {height} px"
        if size is not None:
            extent += f" ({width * size:.4g} \u00d7 {height * size:.4g} \u00b5m)"
        centre = (box.y0 + box.y1) // 2, (box.x0 + box.x1) // 2
        return f"crop: {extent} around row {centre[0]:,}, column {centre[1]:,}"

    def _known(self) -> list[str]:
        rows = [row for row in self.preview.rows if row.failed is None]
        if len(rows) > 1:
            return []
        return [f"cellseg run takes {row.diameter:.1f} px ({row.known_from})" for row in rows]

    def _legend(self) -> str:
        grown = any(panel.cells is not panel.nuclei for panel in self.preview.panels)
        bar = bar_length(self.preview.box.shape[1], self.preview.image.pixel_size)[1]
        return f"orange: nuclei{'; blue: cells' if grown else ''}; white bar: {bar}"

    def _draw_panel(
        self, picture: Picture, draw: ImageDraw, corner: tuple[int, int], panel: Panel
    ) -> None:
        from PIL import Image as Pillow

        (left, top), (tall, wide) = corner, self.cell
        if panel.by_default:
            draw.rectangle((left, top, left + wide - 1, top + tall - 1), outline=_MARK, width=3)
        left, top, room = left + _FRAME, top + _FRAME, wide - 2 * _FRAME
        height, width = self.crop
        if panel.nuclei is None:
            draw.rectangle((left, top, left + room - 1, top + height - 1), fill=_EMPTY)
            most = max(1, (height - 24) // _REASON)
            _write_lines(draw, (left + 12, top + 12), panel.failed or "", room - 24, most)
        else:
            middle = left + (room - width) // 2
            picture.paste(Pillow.fromarray(self._painted(panel)), (middle, top))
            self._draw_bar(draw, (middle, top + height))
        top += height + 7
        number = str(panel.number)
        badge = _font(18, bold=True)
        chip = max(28, round(badge.getlength(number)) + 14)
        colour = _MARK if panel.by_default else _INK
        draw.rounded_rectangle((left, top, left + chip, top + 27), 6, fill=colour)
        draw.text((left + chip / 2, top + 14), number, _PAPER, font=badge, anchor="mm")
        room -= chip + 10
        text = f"diameter {panel.diameter:.1f} px, brightness {panel.brightness:g}"
        _write(draw, (left + chip + 10, top), text, _font(16, bold=True), room)
        count = "failed" if panel.failed else f"{panel.count:,} nuclei"
        if panel.by_default:
            count += " - what cellseg run does by itself"
        _write(draw, (left + chip + 10, top + 23), count, _font(15), room, colour)

    def _painted(self, panel: Panel) -> NDArray[np.uint8]:
        """Return the crop (Y, X, 3) with its outlines."""
        from PIL import Image as Pillow

        assert panel.nuclei is not None
        assert panel.cells is not None
        seen = np.minimum(self.preview.stain * np.float32(panel.brightness), 1)
        height, width = self.crop
        gray = Pillow.fromarray(self.tone.gray(reduced(seen, self.step)))
        picture = np.array(gray.resize((width, height), Pillow.Resampling.BICUBIC).convert("RGB"))
        line = 2 if self.zoom > 1 else 1
        kinds: list[tuple[Labels, tuple[int, int, int], int]] = [(panel.nuclei, NUCLEUS, line)]
        if panel.cells is not panel.nuclei:
            kinds.insert(0, (panel.cells, CELL, 1))
        for labels, colour, thick in kinds:
            large = magnified(labels[:: self.step, :: self.step], self.zoom)
            picture[inner_outlines(large, thick)] = colour
        return picture

    def _draw_bar(self, draw: ImageDraw, corner: tuple[int, int]) -> None:
        """Draw a scale bar into the lower left corner of a crop, which is at ``corner``."""
        length, _ = bar_length(self.preview.box.shape[1], self.preview.image.pixel_size)
        left, bottom = corner[0] + 10, corner[1] - 10
        right = left + round(length * self.zoom / self.step)
        draw.rectangle((left - 1, bottom - 6, right + 1, bottom + 1), fill=(0, 0, 0))
        draw.rectangle((left, bottom - 5, right, bottom), fill=_PAPER)


def _write_lines(draw: ImageDraw, corner: tuple[int, int], text: str, room: int, most: int) -> None:
    """Write a text over up to ``most`` lines."""
    font = _font(15)
    lines = textwrap.wrap(_shown(text), max(10, round(room / font.getlength("n"))))
    for number, line in enumerate(lines[:most]):
        _write(draw, (corner[0], corner[1] + _REASON * number), line, font, room, _FAINT)


def _row_title(row: Row) -> str:
    if row.failed is not None:
        return f"{row.segmenter}: cannot run here"
    return f"{row.segmenter}: by itself {row.diameter:.1f} px ({row.known_from})"


def _tone(sample: NDArray[np.floating[Any]], bright: bool, white: float = 99.8) -> Tone:
    """Return the tone in which the percentile ``white`` of a sample is white."""
    level = max(DIMMEST_WHITE, float(np.percentile(sample, white)))
    return Tone(level, 1.0, PALE) if bright else Tone(level)


def _font(size: int, *, bold: bool = False) -> FreeTypeFont:
    """Return the font that comes with matplotlib: it has the letters of many scripts."""
    from pathlib import Path

    from matplotlib import get_data_path
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / name), size)


def _shown(text: str) -> str:
    """Return a text without what is no letter: control signs move what comes after them."""
    return "".join(one if one.isprintable() else " " for one in text)


def _write(
    draw: ImageDraw,
    corner: tuple[float, float],
    text: str,
    font: FreeTypeFont,
    room: int,
    colour: tuple[int, int, int] = _INK,
) -> None:
    """Write one line, cut where there is no more room."""
    text = _shown(text)
    if font.getlength(text) > room:
        while text and font.getlength(f"{text}...") > room:
            text = text[:-1]
        text += "..."
    draw.text(corner, text, colour, font=font)
