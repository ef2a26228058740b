"""A Zarr at an address: what zarr asks for is fetched by :meth:`Address.fetch`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, WrapperStore

from cellseg_core.address import PATIENCE, Address

__all__ = ["AddressStore", "open_store"]

_METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")


def open_store(address: Address) -> AddressStore:
    """Return what zarr reads an address through; nothing is asked for yet.

    Raises
    ------
    ImageError
        If nothing opens such addresses, or ``CELLSEG_OFFLINE`` forbids it.
    MissingPackageError
        If the package that does is not installed.
    """
    address.check()
    try:
        store = FsspecStore.from_url(address.root, address.options, read_only=True)
    except Exception as error:  # noqa: BLE001 - each library has errors of its own
        raise address.unreadable(error) from None
    return AddressStore(store, address)


class AddressStore(WrapperStore[FsspecStore]):
    """An :class:`~zarr.storage.FsspecStore` that is patient, but not for ever.

    Metadata that may not be read is taken for missing: S3 says so of what is not there. Servers
    of web pages cannot list a folder, and are not asked to.
    """

    def __init__(self, store: FsspecStore, address: Address) -> None:
        super().__init__(store)
        self._address = address

    def _with_store(self, store: FsspecStore) -> AddressStore:
        return AddressStore(store, self._address)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return what is stored under a key, None where there is nothing.

        Raises
        ------
        ImageError
            If it cannot be had.
        """
        start, end = _bounds(byte_range)
        lenient = key.rpartition("/")[2] in _METADATA
        content = await asyncio.to_thread(self._address.fetch, key, start, end, lenient=lenient)
        return None if content is None else prototype.buffer.from_bytes(content)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Give the names in a folder, none where it cannot be listed."""
        if self._address.root.lower().startswith(("http://", "https://")):
            return
        try:
            async with asyncio.timeout(PATIENCE):
                names = [name async for name in self._store.list_dir(prefix)]
        except Exception as error:  # noqa: BLE001 - each library has errors of its own
            if self._address.denied(error):
                return
            raise (self._address / prefix).unreadable(error) from None
        for name in names:
            yield name


def _bounds(wanted: ByteRequest | None) -> tuple[int | None, int | None]:
    if isinstance(wanted, RangeByteRequest):
        return wanted.start, wanted.end
    if isinstance(wanted, OffsetByteRequest):
        return wanted.offset, None
    return (-wanted.suffix if isinstance(wanted, SuffixByteRequest) else None), None
