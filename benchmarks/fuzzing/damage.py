"""One damaged input: a seed, some of whose files were changed in ways that fit their format."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path, PurePosixPath
from random import Random

import attrs

from fuzzing.bytewise import cut_off, damage_bytes
from fuzzing.containers import damage_jpeg, damage_png, damage_tiff
from fuzzing.seeds import Seed, seeds_of
from fuzzing.texts import damage_text

__all__ = ["Damaged", "damage", "damage_content", "numbered"]

_TEXTS = {".json", ".toml", ".txt", ".csv", ".ome", ".zattrs", ".zarray", ".zgroup"}


@attrs.frozen
class Damaged:
    """A damaged input.

    Attributes
    ----------
    seed
        The valid input.
    files
        Its files as they are now.
    ways
        What was done to them.
    cut
        Whether nothing was done but to leave out the end of a file of pixels.
    """

    seed: Seed
    files: dict[str, bytes]
    ways: tuple[str, ...]
    cut: bool = False

    def write(self, folder: Path) -> Path:
        """Write the files into an empty folder, and return what is to be opened."""
        shutil.rmtree(folder, ignore_errors=True)
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder / self.seed.opened


def numbered(kind: str, number: int, seed: int) -> Damaged:
    """Return the damaged input with a number; always the same one."""
    return damage(kind, Random(f"{seed} {kind} {number}"))  # noqa: S311 - no secret


def damage(kind: str, random: Random) -> Damaged:
    """Return a damaged input of a kind."""
    seed = random.choice(seeds_of(kind))
    files = dict(seed.files)
    names = sorted(files)
    # Metadata is little of a folder and most of what there is to go wrong.
    texts = [name for name in names if _is_text(name)]
    name = random.choice(texts if texts and random.random() < 0.6 else names)
    if not _is_text(name) and random.random() < 0.1:
        files[name] = cut_off(files[name], random)
        return Damaged(seed, files, (f"{name}: cut off",), cut=True)
    if len(files) > 1 and random.random() < 0.06:
        return Damaged(seed, *_of_folder(files, name, random))
    ways = []
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        files[name], how = damage_content(name, files[name], random)
        ways.append(f"{name}: {how}")
    if "model/weights.npz" in files and random.random() < 0.7:
        _check_again(files)
    return Damaged(seed, files, tuple(ways))


def damage_content(name: str, data: bytes, random: Random) -> tuple[bytes, str]:
    """Return the content of a file with one piece of damage, and what it is."""
    if random.random() < 0.3:
        return damage_bytes(data, random)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return damage_tiff(data, random)
    if data.startswith(b"\x89PNG"):
        return damage_png(data, random)
    if data.startswith(b"\xff\xd8\xff"):
        return damage_jpeg(data, random)
    return damage_text(data, random) if _is_text(name) else damage_bytes(data, random)


def _is_text(name: str) -> bool:
    path = PurePosixPath(name)
    return (path.suffix or path.name) in _TEXTS


def _of_folder(
    files: dict[str, bytes], name: str, random: Random
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Damage a folder as a whole: a file is missing, empty, another one, or itself a folder."""
    way = random.choice(("missing", "empty", "another's", "a folder"))
    content = files.pop(name)
    if way == "empty":
        files[name] = b""
    elif way == "another's":
        files[name] = files[random.choice(sorted(files))]
    elif way == "a folder":
        files[f"{name}/x"] = content
    return files, (f"{name}: {way}",)


def _check_again(files: dict[str, bytes]) -> None:
    """Let the checksum in the description fit the arrays: who forges one file forges both."""
    try:
        facts = json.loads(files["model/model.json"])
        facts["sha256"] = hashlib.sha256(files["model/weights.npz"]).hexdigest()
        files["model/model.json"] = json.dumps(facts).encode()
    except (KeyError, TypeError, ValueError, RecursionError):
        return
