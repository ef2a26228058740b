"""Looks at a path before a reader does, so that plain mistakes get plain messages."""

from __future__ import annotations

import re
from pathlib import Path

from cellseg_core.address import Location
from cellseg_core.errors import ImageError, OutputError, nearest

__all__ = ["check_file", "damaged", "natural_key", "signature", "stem"]

_SIGNATURES = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"<", "an XML or HTML text"),
    (b"II*\x00", "a TIFF file"),
    (b"MM\x00*", "a TIFF file"),
    (b"II+\x00", "a TIFF file"),
    (b"MM\x00+", "a TIFF file"),
)


def damaged(path: Path, error: Exception) -> OutputError:
    """Return the error that says that a file of an earlier run cannot be read."""
    return OutputError(
        f"{path} is damaged ({str(error)[:200]}). Run the same command again with --fresh."
    )


def check_file(path: Path) -> None:
    """Raise an error with the reason if ``path`` is not a file that can be read.

    Raises
    ------
    ImageError
        If the path is missing, a folder, a pipe or device, empty, or may not be opened.
    """
    try:
        if path.is_dir():
            raise ImageError(
                f"{path} is a folder; this reader takes a file. Name one file in it, or say how "
                "the folder is to be read (--layout images, channels, codex or mosaic)."
            )
        if not path.exists():
            others = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            hint = nearest(path.name, others) if others else f"{path.parent} is not there either"
            raise ImageError(f"{path} does not exist; {hint}.")
        if not path.is_file():
            # To open a pipe is to wait for who writes into it.
            raise ImageError(
                f"{path} is no file but a pipe, a socket or a device. Give the path of an image."
            )
        with path.open("rb") as file:
            if not file.read(1):
                raise ImageError(
                    f"{path} is empty (0 bytes): its copy or download did not finish. "
                    "Copy it again from where it came."
                )
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(
            f"{path} cannot be opened ({error.strerror or error}). Check its permissions, and "
            "that no other program holds it."
        ) from error


def signature(path: Path) -> str:
    """Return what the first bytes of a file say that it is, for messages.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "x.tif")
    ...     _ = path.write_bytes(b"PK" + bytes([3, 4]))
    ...     signature(path)
    'it begins like a ZIP archive'
    """
    with path.open("rb") as file:
        head = file.read(8)
    for magic, name in _SIGNATURES:
        if head.startswith(magic):
            return f"it begins like {name}"
    return f"it begins with the bytes {head!r}"


def stem(path: Location) -> str:
    """Return the file name without its image endings, of which there may be two.

    >>> stem(Path("slide 3.ome.tif")), stem(Path("1.2 um.nd2"))
    ('slide 3', '1.2 um')
    """
    return re.sub(
        r"(?i)(\.ome)?\.(tiff?|qptiff|btf|zarr)$|\.companion\.ome$|\.(png|jpe?g)$"
        r"|\.(bif|czi|dv|ims|lif|lof|mrxs|nd2|ndpi|oi[bfr]|r3d|scn|sldy?|svs|vsi|xlef|zvi)$",
        "",
        path.name,
    )


def natural_key(text: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts numbers by value: ``c2`` before ``c10``.

    >>> sorted(["c10", "c2", "C1"], key=natural_key)
    ['C1', 'c2', 'c10']
    """
    parts = re.findall(r"\d+|\D+", text.casefold())
    # A number sorts before text, as in the directory listings of the common systems.
    return [(int(p), "") if p.isdecimal() else (1 << 62, p) for p in parts], text
