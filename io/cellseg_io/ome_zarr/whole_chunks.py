"""Chunks that are cut off are refused before they are decoded.

Blosc reads as many bytes as the first ones of a chunk say, whether they are there or not: what lies
behind them in memory would be decoded as pixels.
"""

from __future__ import annotations

from typing import Any

import zarr
from zarr.abc.store import ByteRequest, RangeByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import StorePath, WrapperStore

__all__ = ["whole_chunks"]

_HEADER = 16  # bytes, of which the last four are the size of the chunk


def whole_chunks(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """Return an array that raises ValueError where a chunk is not all there.

    Other codecs than Blosc notice that by themselves. Of a shard that is read as a whole, the
    chunks in it are not looked at.
    """
    if not any("Blosc" in type(codec).__name__ for codec in array.compressors):
        return array
    place = StorePath(_WholeChunks(array.store, sharded=bool(array.shards)), array.path)
    again: Any = zarr.AsyncArray(array.metadata, place)
    return zarr.Array(again)


class _WholeChunks(WrapperStore[Store]):
    """The store of an array that Blosc packed."""

    def __init__(self, store: Store, *, sharded: bool) -> None:
        super().__init__(store)
        self._sharded = sharded

    def _with_store(self, store: Store) -> _WholeChunks:
        return _WholeChunks(store, sharded=self._sharded)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return what is stored under a key, None where there is nothing."""
        found = await self._store.get(key, prototype, byte_range)
        is_chunk = isinstance(byte_range, RangeByteRequest) if self._sharded else byte_range is None
        if found is not None and is_chunk:
            header = found[:_HEADER].to_bytes()
            if len(found) < max(_HEADER, int.from_bytes(header[-4:], "little")):
                raise ValueError(f"{key} is cut off: it has {len(found)} bytes")
        return found
