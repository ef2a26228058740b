"""Downloads of published weights: checked, all or nothing, one at a time."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import attrs

from cellseg_core.published_weights import PublishedWeights
from cellseg_core.weights_install import DownloadReporter, LogReporter, exclusive, install
from cellseg_core.weights_places import lies_in, offline, size_text, unavailable

__all__ = ["download"]

_CHUNK = 2**18
_SECONDS = (20, 60)  # to connect, and between two packets


@attrs.define
class _Received:
    """What has come of a file so far."""

    size: int = 0
    digest: Any = attrs.field(factory=hashlib.sha256)


class _TooLongError(Exception):
    """The server sends more than there is."""


def download(
    published: PublishedWeights, folder: Path, report: DownloadReporter | None = None
) -> Path:
    """Download weights into ``folder`` and return where they are: the file, or the folder of them.

    Nothing is downloaded if they are there already. Of several processes that want the same
    weights, one downloads and the others wait. What is not whole, or has another checksum than
    published, is deleted; what a killed process left goes with the next download.

    Raises
    ------
    WeightsError
        If they cannot be had: offline, no network, a certificate that does not hold, an answer
        that is not the file, no checksum known, a folder that cannot be written, a full disk.
    """
    if not published.url:
        raise unavailable(published, "there is no public address to download them from")
    if published.sha256 is None:
        raise unavailable(published, "cellseg downloads nothing whose checksum it does not know")
    with exclusive(published, folder, report or LogReporter()) as partial:
        target = folder / published.entry
        if lies_in(published, target):
            return target
        if offline():
            raise unavailable(published, "CELLSEG_OFFLINE forbids downloads")
        _check_space(published, folder)
        (report or LogReporter()).say(
            f"downloading the weights {published.name!r} ({size_text(published.bytes)}) from "
            f"{published.url} to {folder}; licence: {published.licence}"
        )
        file = _retrieve(published, partial, report or LogReporter())
        if published.folder:
            return install(published, file, partial, target)
        file.replace(target)
        return target


def _retrieve(published: PublishedWeights, partial: Path, report: DownloadReporter) -> Path:
    """Return the file, whose checksum is right, in the folder ``partial``."""
    import pooch
    import requests

    received = _Received()

    def get(url: str, path: str, _: object) -> None:
        # Certificates are checked by default: it stands here so that nobody takes it away.
        with (
            requests.get(url, stream=True, timeout=_SECONDS, verify=True) as answer,
            Path(path).open("wb") as file,
        ):
            answer.raise_for_status()
            told = answer.headers.get("content-length", "")
            total = published.bytes or (int(told) if told.isdecimal() else None)
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)
                received.digest.update(chunk)
                received.size += len(chunk)
                if published.bytes is not None and received.size > published.bytes:
                    raise _TooLongError
                report.received(published.name, received.size, total)

    try:
        with _quiet(pooch.get_logger()):
            return Path(
                pooch.retrieve(
                    published.url,
                    known_hash=f"sha256:{published.sha256}",
                    fname=published.file,
                    path=partial,
                    downloader=cast("Any", get),
                )
            )
    except requests.exceptions.RequestException as error:
        raise unavailable(published, f"downloading them failed: {_reason(error)}") from error
    except (ValueError, _TooLongError) as error:
        # pooch has compared the checksum, and deleted the file.
        raise unavailable(
            published,
            f"what {published.url} sends is something else: its first {received.size:,} bytes have "
            f"the sha256 {received.digest.hexdigest()[:12]}..., and "
            f"{str(published.sha256)[:12]}... was expected (the login page of a network? a new "
            "version?); it was deleted",
        ) from error


def _reason(error: Exception) -> str:
    """Return why a request failed, in words."""
    from requests import exceptions

    if isinstance(error, exceptions.SSLError):
        return (
            f"the certificate of the server does not hold ({_last(error)}), and cellseg does not "
            "do without. Behind a proxy that replaces certificates, name its authority in "
            "REQUESTS_CA_BUNDLE"
        )
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, exceptions.Timeout):
        return "the server does not answer in time"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection broke off; try again"
    return f"there is no connection, or it broke off ({_last(error)})"


def _last(error: BaseException) -> str:
    """Return the innermost cause of an error of requests, which wraps those of urllib3."""
    while error.args and isinstance(error.args[-1], BaseException):
        error = error.args[-1]
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _last(reason)
    return f"{error}"[:200]


def _check_space(published: PublishedWeights, folder: Path) -> None:
    needed = (published.bytes or 0) * (3 if published.folder else 1)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise unavailable(
            published,
            f"{folder} has {size_text(free)} of free space, of which {size_text(needed)} are "
            "needed",
        )


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch from telling what our own line has told."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
