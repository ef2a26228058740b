"""Where an image lies: a path on this machine, or an address that fsspec opens (``s3://...``)."""

from __future__ import annotations

import os
import re
import time
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from urllib.request import url2pathname

import attrs

from cellseg_core.errors import CellsegError, ImageError, MissingPackageError
from cellseg_core.weights_places import offline

__all__ = ["PATIENCE", "Address", "Location", "as_location", "resolved"]

PATIENCE = 60.0
"""Seconds that an address has to answer one request."""

_PAUSES = (1.0, 4.0)  # s, before a request is made again
_IS_ADDRESS = re.compile(r"[a-z][\w+.:-]*://", re.IGNORECASE)
_SECRET = re.compile(r"(?<=://)[^/\s]*@|\?[^\s'\"),]*")
_ON_THIS_MACHINE = ("memory", "file", "local")
_PACKAGES = {
    **dict.fromkeys(("http", "https"), "aiohttp"),
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("abfs", "abfss", "adl", "az"), "adlfs"),
}
_CREDENTIALS = {
    "s3": "those of AWS, as for the program aws, or FSSPEC_S3_ANON=true for what is public",
    "gs": "those of Google Cloud, or FSSPEC_GS_TOKEN=anon for what is public",
}


@attrs.frozen
class Address:
    """An address on the network, or in another store that fsspec knows.

    As text it is without user name, password, and what follows ``?``: only ``root`` and ``query``
    have these.

    >>> address = Address.of("https://me:secret@host/my%20slide.zarr/?token=x")
    >>> address
    Address('https://host/my%20slide.zarr')
    >>> address.name, str(address / "0")
    ('my slide.zarr', 'https://host/my%20slide.zarr/0')
    """

    root: str
    query: str = ""

    @classmethod
    def of(cls, text: str) -> Address:
        """Return the address that a user typed."""
        root, mark, query = text.partition("?")
        if mark and not root.lower().startswith(("http://", "https://")):
            # It is no part of other addresses; see _check.
            root, query = text, ""
        return cls(root.rstrip("/"), query)

    @property
    def name(self) -> str:
        """Return its last part."""
        return unquote(str(self).rpartition("/")[2])

    @property
    def in_full(self) -> str:
        """Return it with its secrets, as it was typed."""
        return f"{self.root}?{self.query}" if self.query else self.root

    @property
    def options(self) -> dict[str, Any]:
        """Return what fsspec needs beside ``root``."""
        return {"params": parse_qsl(self.query, keep_blank_values=True)} if self.query else {}

    def resolve(self) -> Address:
        """Return the address itself: it is the same from every folder."""
        return self

    absolute = resolve

    def __truediv__(self, part: str) -> Address:
        return Address(f"{self.root}/{part}" if part else self.root, self.query)

    def __str__(self) -> str:
        return self.hide(self.root)

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    @staticmethod
    def hide(text: object) -> str:
        """Return a text, such as a message, without the secrets of the addresses in it."""
        return _SECRET.sub("", str(text))

    def check(self) -> None:
        """Check, without a network, that the address can be opened.

        Raises
        ------
        ImageError
            If nothing opens such addresses, or ``CELLSEG_OFFLINE`` forbids it.
        MissingPackageError
            If the package that does is not installed.
        """
        import fsspec

        protocol = self.root.partition("://")[0].lower()
        try:
            fsspec.get_filesystem_class(protocol.partition("::")[0])
        except ImportError as error:
            package = _PACKAGES.get(protocol)
            fix = f"Install it with: pip install {package}" if package else f"{error}."
            raise MissingPackageError(
                f"{self}: a package that opens addresses with {protocol}:// is not installed. {fix}"
            ) from error
        except ValueError as error:
            raise ImageError(
                f"{self}: nothing is known that opens addresses with {protocol}://. Those with "
                "https://, s3:// and gs:// can be read."
            ) from error
        if protocol == "file":
            raise ImageError(f"{self} is no path: write file:///FOLDER/NAME, or the path itself.")
        if "?" in self.root:
            raise ImageError(
                f"{self}: only addresses with http:// and https:// may have a part after '?'. "
                "Leave it out, and give credentials in the way of the program that opens such "
                "addresses, such as environment variables."
            )
        if protocol not in _ON_THIS_MACHINE and offline():
            raise ImageError(
                f"{self} is not read, since CELLSEG_OFFLINE forbids the network. Unset it, or "
                "download the image."
            )

    def fetch(
        self,
        part: str = "",
        start: int | None = None,
        end: int | None = None,
        *,
        lenient: bool = False,
    ) -> bytes | None:
        """Return what is stored at the address, or at a part of it; None where nothing is.

        A request that fails is made again, twice, unless there is no permission or no answer in
        time.

        Parameters
        ----------
        start, end
            The bytes that are wanted; a negative ``start`` counts from the end.
        lenient
            Whether what may not be read counts as nothing: many servers do not tell which it is.

        Raises
        ------
        ImageError
            If the address cannot be opened, or does not answer in time.
        MissingPackageError
            If a package is missing that opens it.
        """
        place = self / part
        for pause in (*_PAUSES, None):
            try:
                system, root = _opened(self)
                limit = {"timeout": PATIENCE} if system.async_impl else {}
                path = f"{root}/{part}" if part else root
                content: bytes = system.cat_file(path, start=start, end=end, **limit)
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                return None
            except CellsegError:
                raise
            except Exception as error:  # noqa: BLE001 - each library has errors of its own
                denied = self.denied(error)
                if denied and lenient:
                    return None
                final = denied or isinstance(error, TimeoutError) or _has_no_credentials(error)
                if final or pause is None:
                    raise (self if lenient else place).unreadable(error) from None
                time.sleep(pause)
            else:
                return content
        return None

    @staticmethod
    def denied(error: Exception) -> bool:
        """Tell whether a request failed for want of permission."""
        return isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403)

    def unreadable(self, error: Exception) -> ImageError:
        """Return the error that says why a request failed, and what to do."""
        if isinstance(error, TimeoutError):
            return ImageError(
                f"{self} did not answer within {PATIENCE:g} s. Check the address and the network, "
                "and run the same command again."
            )
        said = f"{type(error).__name__}: {self.hide(error)}"
        if self.denied(error) or _has_no_credentials(error):
            known = _CREDENTIALS.get(self.root.partition("://")[0].lower(), "")
            return ImageError(
                f"{self} may not be read ({said}). Check the credentials{known and f': {known}'}."
            )
        return ImageError(
            f"{self} cannot be read ({said}). Check the address and the network, and run the same "
            "command again."
        )


def _has_no_credentials(error: Exception) -> bool:
    return type(error).__name__ == "NoCredentialsError"  # of botocore, which need not be there


@lru_cache(maxsize=64)
def _opened(address: Address) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the path in it."""
    from fsspec.core import url_to_fs

    address.check()
    system, root = url_to_fs(address.root, **address.options)
    return system, root.rstrip("/")


Location = Path | Address
"""Where an image lies."""


def resolved(place: Location) -> Location:
    """Return a place without symbolic links, as far as they lead anywhere.

    ``Path.resolve`` raises, before Python 3.13, where they lead in a circle.
    """
    return place.resolve() if isinstance(place, Address) else Path(os.path.realpath(place))


def as_location(text: str | Location) -> Location:
    """Return the path or the address that a user typed; ``file:///...`` is a path.

    >>> as_location("s3://bucket/slide.zarr"), as_location("file:///data/my%20slide.zarr").name
    (Address('s3://bucket/slide.zarr'), 'my slide.zarr')
    """
    if not isinstance(text, str):
        return text
    if not _IS_ADDRESS.match(text):
        return Path(text)
    if text.lower().startswith("file:///"):
        return Path(url2pathname(urlsplit(text).path))
    return Address.of(text)
