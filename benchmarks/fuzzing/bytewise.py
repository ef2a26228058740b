"""Damage that knows nothing of formats: flipped bits, extreme numbers, parts cut out or moved."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

__all__ = ["EXTREME", "cut_off", "damage_bytes"]

EXTREME = (
    0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 257, 32_767, 32_768, 65_535, 65_536, 99_999,
    2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
"""Numbers at the edges of what types of C hold."""


def damage_bytes(data: bytes, random: Random) -> tuple[bytes, str]:
    """Return the bytes with one piece of damage, and what it is."""
    how = random.choice(_WAYS)
    return how(data, random), how.__name__.strip("_")


def cut_off(data: bytes, random: Random) -> bytes:
    """Return the beginning of the bytes."""
    return data[: random.randrange(max(1, len(data)))]


def _place(data: bytes, random: Random) -> int:
    """Return a place in the bytes; headers come more often than the rest."""
    end = max(1, len(data))
    return random.randrange(min(end, 600) if random.random() < 0.4 else end)


def _span(data: bytes, random: Random) -> tuple[int, int]:
    start = _place(data, random)
    return start, min(len(data), start + random.choice((1, 2, 4, 8, 16, 64, 256, 1024)))


def _flip_bits(data: bytes, random: Random) -> bytes:
    out = bytearray(data)
    for _ in range(random.randint(1, 6)):
        if out:
            out[_place(data, random)] ^= 1 << random.randrange(8)
    return bytes(out)


def _random_bytes(data: bytes, random: Random) -> bytes:
    start, end = _span(data, random)
    return data[:start] + _noise(end - start, random) + data[end:]


def _noise(count: int, random: Random) -> bytes:
    return bytes(random.randrange(256) for _ in range(count))


def _extreme_number(data: bytes, random: Random) -> bytes:
    size = random.choice((1, 2, 4, 8))
    kind = random.choice("<>") + {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
    number = struct.pack(kind, random.choice(EXTREME) % 2 ** (8 * size))
    start = _place(data, random)
    return data[:start] + number + data[start + size :]


def _zeros(data: bytes, random: Random) -> bytes:
    start, end = _span(data, random)
    return data[:start] + bytes(end - start) + data[end:]


def _left_out(data: bytes, random: Random) -> bytes:
    start, end = _span(data, random)
    return data[:start] + data[end:]


def _doubled(data: bytes, random: Random) -> bytes:
    start, end = _span(data, random)
    return data[:end] + data[start:end] * random.choice((1, 2, 50)) + data[end:]


def _moved(data: bytes, random: Random) -> bytes:
    start, end = _span(data, random)
    other = _place(data, random)
    return data[:other] + data[start:end] + data[other + end - start :]


def _appended(data: bytes, random: Random) -> bytes:
    return data + _noise(random.choice((1, 3, 100)), random)


_WAYS: tuple[Callable[[bytes, Random], bytes], ...] = (
    _flip_bits, _flip_bits, _random_bytes, _extreme_number, _extreme_number, _zeros, _left_out,
    _doubled, _moved, _appended, cut_off,
)  # fmt: skip
