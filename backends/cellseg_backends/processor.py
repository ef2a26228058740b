"""What the processor can do."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["cpu_flags", "has_bfloat16"]


def cpu_flags() -> frozenset[str]:
    """Return what the processor can do, as Linux names it (``avx2``); elsewhere nothing."""
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    line = re.search(r"^flags\s*:(.*)$", facts, re.MULTILINE)
    return frozenset(line[1].split()) if line else frozenset()


def has_bfloat16(flags: frozenset[str]) -> bool:
    """Tell whether a processor with these flags has instructions for half precision.

    >>> has_bfloat16(frozenset({"avx2", "amx_bf16"})), has_bfloat16(frozenset({"avx2"}))
    (True, False)
    """
    return not flags.isdisjoint(("amx_bf16", "avx512_bf16"))
