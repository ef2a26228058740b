"""The record of published weights: what they are called, where they come from, who may use them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

__all__ = ["PublishedWeights"]

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _check_name(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not _NAME.fullmatch(str(value)):
        raise ValueError(
            f"the {attribute.name} of published weights has letters, digits and . _ + - alone, "
            f"and begins with a letter or digit; got {value!r}"
        )


def _check_url(_: object, __: object, value: str) -> None:
    if value and not value.startswith(("https://", "http://")):
        raise ValueError(f"a url begins with https://; got {value!r}")


def _check_sha256(_: object, __: object, value: str | None) -> None:
    if value is not None and not _SHA256.fullmatch(str(value)):
        raise ValueError(f"sha256 has 64 hexadecimal digits in lower case; got {value!r}")


def _check_needs(instance: PublishedWeights, _: object, value: tuple[str, ...]) -> None:
    if instance.folder and not value:
        raise ValueError(f"{instance.name}: weights that are a folder say which files it needs")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _strings(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


@attrs.frozen(kw_only=True)
class PublishedWeights:
    """Weights that somebody published; a segmenter's ``Component.weights`` names a table of them.

    Parameters
    ----------
    name
        What users type: ``--set segmenter.weights=NAME``.
    file
        Name of the file to be found or downloaded: the weights, or an archive (zip) of them. Make
        it a telling one: weights of all segmenters share a folder.
    url
        Public address of the file; empty if there is none.
    sha256
        Of the file. None if it is not known: then cellseg does not download it, and says how to
        get it by hand.
    licence
        Of the weights, and of the data that they were trained on where that binds users.
    description
        One line: what they are good for, and what they were trained on.
    diameter
        Diameter in px of the nuclei or cells that they know, or None.
    bytes
        Size of the file, or None if it is not known.
    caches
        Where the package itself keeps them: the file or, with ``folder``, the folder of its
        contents. ``~`` and ``$VARIABLE`` are filled in; where a variable is not set, that entry
        does not count.
    folder
        The file is an archive, and what is used is the folder of its contents.
    needs
        For a folder: names, or shell patterns, of files that must be in it and not be empty.
    requires
        The version of the package that reads them, as a requirement: ``"cellpose>=4"``.
    rgb
        They were trained on colour images, and take three channels.
    shipped
        For weights that come with the package, ``"package:path in it"``.

    Examples
    --------
    >>> weights = PublishedWeights(
    ...     name="tiny", file="tiny.npz", url="https://example.org/tiny.npz", licence="CC0"
    ... )
    >>> weights.sha256 is None
    True
    """

    name: str = attrs.field(validator=_check_name)
    file: str = attrs.field(validator=_check_name)
    url: str = attrs.field(validator=_check_url)
    sha256: str | None = attrs.field(default=None, validator=_check_sha256)
    licence: str = attrs.field(converter=_one_line)
    description: str = attrs.field(default="", converter=_one_line)
    diameter: float | None = None
    bytes: int | None = None
    caches: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    folder: bool = False
    needs: tuple[str, ...] = attrs.field(default=(), converter=_strings, validator=_check_needs)
    requires: str = ""
    rgb: bool = False
    shipped: str = ""

    @property
    def entry(self) -> str:
        """Return what the weights are called in a folder of weights: the file's or folder's name.

        >>> PublishedWeights(name="a", file="a.zip", url="", licence="", folder=True,
        ...                  needs=["config.json"]).entry
        'a'
        """
        return self.name if self.folder else self.file
