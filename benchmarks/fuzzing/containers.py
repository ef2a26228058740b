"""Damage to the structures of TIFF, PNG and JPEG, with all else around it kept whole."""

from __future__ import annotations

import struct
import zlib
from random import Random

import attrs

from fuzzing.bytewise import EXTREME, damage_bytes
from fuzzing.texts import damage_text

__all__ = ["damage_jpeg", "damage_png", "damage_tiff"]

_DESCRIPTION = 270
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_TAGS = (
    254, 256, 257, 258, 259, 262, 266, 270, 273, 274, 277, 278, 279, 282, 283, 284, 296, 317, 320,
    322, 323, 324, 325, 330, 338, 339, 347, 32997, 32998, 50838, 50839, 65426,
)  # fmt: skip


@attrs.frozen
class _Tiff:
    """Where things are in a TIFF: its entries, and the places that say where the next page is."""

    order: str
    big: bool
    entries: tuple[int, ...]
    links: tuple[int, ...]
    pages: tuple[int, ...]

    @classmethod
    def of(cls, data: bytes) -> _Tiff:
        order = "<" if data[:2] == b"II" else ">"
        big = data[2:4] in (b"+\0", b"\0+")
        number, count, size = ("Q", "Q", 20) if big else ("I", "H", 12)
        link = 8 if big else 4
        entries, links, pages = [], [link], []
        while True:
            (at,) = struct.unpack_from(order + number, data, links[-1])
            if not 0 < at < len(data) or at in pages:
                return cls(order, big, tuple(entries), tuple(links), tuple(pages))
            pages.append(at)
            (here,) = struct.unpack_from(order + count, data, at)
            first = at + struct.calcsize(order + count)
            if first + here * size + 8 > len(data):
                return cls(order, big, tuple(entries), tuple(links), tuple(pages))
            entries += [first + i * size for i in range(here)]
            links.append(first + here * size)

    @property
    def number(self) -> str:
        """Return how counts and places are packed."""
        return self.order + ("Q" if self.big else "I")


def damage_tiff(data: bytes, random: Random) -> tuple[bytes, str]:
    """Return a TIFF with a damaged tag, chain of pages or description, and what was done."""
    try:
        tiff = _Tiff.of(data)
    except struct.error:
        return damage_bytes(data, random)
    if not tiff.entries:
        return damage_bytes(data, random)
    described = [at for at in tiff.entries if _tag(data, tiff, at) == _DESCRIPTION]
    if described and random.random() < 0.4:
        return _describe(data, tiff, random.choice(described), random)
    if random.random() < 0.15:
        link = random.choice(tiff.links)
        wild = random.choice(EXTREME) % 2 ** (64 if tiff.big else 32)
        target = random.choice((*tiff.pages, link, random.choice(tiff.entries), wild))
        return _put(data, link, tiff.number, target), "tiff: next page"
    at = random.choice(tiff.entries)
    what = f"tiff: tag {_tag(data, tiff, at)}"
    field = random.choice(("tag", "type", "count", "value", "value", "value", "array", "array"))
    if field == "tag":
        return _put(data, at, tiff.order + "H", random.choice(_TAGS)), what + " renamed"
    if field == "type":
        return _put(data, at + 2, tiff.order + "H", random.randrange(20)), what + " type"
    value = at + 4 + struct.calcsize(tiff.number)
    wild = random.choice((*EXTREME, random.randrange(len(data)), random.choice(tiff.pages)))
    if field == "count":
        return _put(data, at + 4, tiff.number, wild), what + " count"
    if field == "array":
        # The numbers lie elsewhere, where there are several.
        kind, count = struct.unpack_from(tiff.order + "H" + tiff.number[1], data, at + 2)
        size = _SIZES.get(kind, 1)
        (there,) = struct.unpack_from(tiff.number, data, value)
        if count * size > struct.calcsize(tiff.number) and there + count * size <= len(data):
            value = there + size * random.randrange(count)
            packed = tiff.order + {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
            return _put(data, value, packed, wild), what + " number"
    packed = tiff.order + random.choice("HIQ" if tiff.big else "HI")
    return _put(data, value, packed, wild), what + " value"


def _tag(data: bytes, tiff: _Tiff, at: int) -> int:
    (tag,) = struct.unpack_from(tiff.order + "H", data, at)
    return int(tag)


def _put(data: bytes, at: int, kind: str, number: int) -> bytes:
    size = struct.calcsize(kind)
    return data[:at] + struct.pack(kind, number % 2 ** (8 * size)) + data[at + size :]


def _describe(data: bytes, tiff: _Tiff, at: int, random: Random) -> tuple[bytes, str]:
    """Return the TIFF with a damaged description at its end."""
    value = at + 4 + struct.calcsize(tiff.number)
    count, there = struct.unpack_from(tiff.order + 2 * tiff.number[1], data, at + 4)
    text, what = damage_text(data[there : there + count].rstrip(b"\0"), random)
    text += b"\0" * (1 + len(text) % 2 + 8)
    out = _put(data, at + 4, tiff.number, len(text))
    return _put(out, value, tiff.number, len(data)) + text, f"tiff: description: {what}"


def damage_png(data: bytes, random: Random) -> tuple[bytes, str]:
    """Return a PNG with a damaged chunk whose checksum is right again, and what was done."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks:
        return damage_bytes(data, random)
    number = 0 if random.random() < 0.4 else random.randrange(len(chunks))
    kind, content = chunks[number]
    what = f"png: {kind.decode('latin-1')}"
    way = random.choice(("content", "content", "content", "left out", "doubled", "renamed"))
    if way == "content" and kind == b"IDAT" and random.random() < 0.5:
        # Pixels that the checksums of the compression fit, too.
        pixels, _ = damage_bytes(_unpacked(content), random)
        content = zlib.compress(pixels * random.choice((1, 1, 1, 300)))
    elif way == "content":
        content, _ = damage_bytes(content, random)
    chunks[number] = (kind, content)
    if way == "left out":
        del chunks[number]
    elif way == "doubled":
        chunks.insert(number, chunks[number])
    elif way == "renamed":
        names = (b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"zTXt", b"iCCP", b"iTXt", b"acTL", b"fcTL")
        chunks[number] = (random.choice(names), content)
    packed = b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in chunks
    )
    return data[:8] + packed, f"{what} {way}"


def _unpacked(content: bytes) -> bytes:
    try:
        return zlib.decompress(content)
    except zlib.error:  # damaged before
        return content


def damage_jpeg(data: bytes, random: Random) -> tuple[bytes, str]:
    """Return a JPEG with damage in one of its segments, and what was done."""
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        (size,) = struct.unpack_from(">H", data, at + 2)
        segments.append((at, size + 2))
        at += size + 2
    if not segments:
        return damage_bytes(data, random)
    start, size = random.choice(segments)
    what = f"jpeg: segment {data[start + 1]:x}"
    if random.random() < 0.2:
        return data[:start] + data[start + size :], what + " left out"
    changed, how = damage_bytes(data[start + 2 : start + size], random)
    return data[: start + 2] + changed + data[start + size :], f"{what} {how}"
