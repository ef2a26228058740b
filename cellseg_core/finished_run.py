"""What a run left in its folder: the record, the label images and the tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from cellseg_core.address import Location, as_location
from cellseg_core.errors import ImageError, nearest
from cellseg_core.image import Position
from cellseg_core.label_files import Kind, labels_of_result, read_label_file
from cellseg_core.label_image import LazyLabels, read_labels
from cellseg_core.normalize import Brightness
from cellseg_core.protocols import Labels
from cellseg_core.table import CellTable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FinishedImage", "FinishedRun"]

_NEEDED = ("settings", "components", "segmenter", "brightness", "inputs", "cells", "images")


@attrs.frozen(eq=False)
class FinishedImage:
    """One image that a run has done.

    Attributes
    ----------
    name
        The image's name, and its folder in OUT.
    source
        Path or address of the input.
    cells
        How many were found.
    facts
        What ``run.json`` says of it: ``input``, ``decided`` and ``files``.
    folder
        Where its files are.
    brightness
        The scale that it was segmented at.
    warnings
        What the user was told to look at.
    """

    name: str
    source: Location
    cells: int
    facts: Mapping[str, Any]
    folder: Path
    brightness: Brightness
    warnings: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Return (height, width) in px."""
        height, width = self.facts["input"]["shape"]
        return int(height), int(width)

    def labels(self, kind: Kind = "nuclei") -> Labels:
        """Return the label image (Y, X), int32, of the nuclei or of the grown cells.

        Raises
        ------
        ImageError
            If it is not there, or damaged.
        """
        labels: Labels = read_labels(self.lazy_labels(kind), name=str(self.folder))
        return labels

    def lazy_labels(self, kind: Kind = "nuclei") -> LazyLabels:
        """Return the same, of large images window by window.

        Raises
        ------
        ImageError
            If it is not there, or damaged.
        """
        path = labels_of_result(self.folder, kind)
        if path is None:
            raise ImageError(
                f"{self.folder / kind}.ome.tif (or .zarr) is not there. Run again with `labels` "
                "among the writers (--write)."
            )
        return read_label_file(path)

    def table(self) -> CellTable:
        """Return the table of cells: what ``cells.csv`` has, without features and statistics.

        Raises
        ------
        ImageError
            If it is not there, or damaged.
        """
        frame = self.frame()
        try:
            return self._as_table(frame)
        except (ValueError, LookupError) as error:
            path = self.folder / "cells.csv"
            raise ImageError(f"{path} cannot be read: {error}. Run again with --fresh.") from error

    def frame(self) -> pd.DataFrame:
        """Return ``cells.csv`` as it is: a row for each cell.

        Raises
        ------
        ImageError
            If it is not there, is damaged, or has no ids.
        """
        import pandas as pd

        path = self.folder / "cells.csv"
        try:
            frame = pd.read_csv(path, float_precision="round_trip")
        except FileNotFoundError as error:
            raise ImageError(
                f"{path} is not there. Run again with `csv` among the writers (--write)."
            ) from error
        except (OSError, ValueError) as error:
            raise ImageError(f"{path} cannot be read: {error}. Run again with --fresh.") from error
        if "cell_id" not in frame:
            raise ImageError(
                f"{path} has no column cell_id: it is in another style. Run again without "
                "--set csv.style."
            )
        return frame

    def _as_table(self, frame: pd.DataFrame) -> CellTable:
        channels = tuple(self.facts["input"]["channels"])
        columns = _intensity_columns(list(frame.columns), channels)
        before = [f"{column}:uncompensated" for column in columns]
        compensated = set(before) <= set(frame.columns)
        return CellTable(
            labels=frame["cell_id"].to_numpy(np.int64),
            areas=frame["area"].to_numpy(np.int64),
            centroids=frame[["y", "x"]].to_numpy(np.float64),
            touches_edge=frame["touches_edge"].to_numpy(bool),
            channels=channels,
            intensities=frame[columns].to_numpy(np.float64),
            uncompensated=frame[before].to_numpy(np.float64) if compensated else None,
            scores=frame["score"].to_numpy(np.float64),
            image=self.name,
            position=Position(**self.facts["input"]["position"]),
        )


@attrs.frozen(eq=False)
class FinishedRun:
    """The folder OUT of a run that is over.

    Attributes
    ----------
    out
        The folder.
    record
        What is in ``run.json``.
    images
        The images that are done, by name.
    """

    out: Path
    record: Mapping[str, Any]
    images: Mapping[str, FinishedImage]

    @classmethod
    def read(cls, out: Path) -> FinishedRun:
        """Return the run whose results are in ``out``.

        Raises
        ------
        ImageError
            If there are none, or the record is damaged.
        """
        path = out / "run.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return cls.of(out, record)
        except FileNotFoundError as error:
            raise ImageError(
                f"{out} holds no run.json: it is not the folder of a run that is over."
            ) from error
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ImageError(
                f"{path} is damaged, or of another version ({type(error).__name__}: {error}). Run "
                "again with --fresh."
            ) from error

    def choose(self, name: str | None = None) -> FinishedImage:
        """Return the image of a name, or the first.

        Raises
        ------
        ImageError
            If there is none; the message has the nearest.
        """
        if not self.images:
            raise ImageError(f"{self.out} has no image that was done: all failed. See run.json.")
        if name is None:
            return next(iter(self.images.values()))
        if name not in self.images:
            raise ImageError(f"{self.out} has no image {name!r}; {nearest(name, self.images)}.")
        return self.images[name]

    @classmethod
    def of(cls, out: Path, record: Mapping[str, Any]) -> FinishedRun:
        """Return the run whose results are in ``out``, as its record tells.

        Raises
        ------
        ValueError, LookupError, TypeError
            If the record is not one that a run writes.
        """
        lacking = [name for name in _NEEDED if name not in record]
        if lacking:
            raise LookupError(f"without {', '.join(lacking)}")
        images = {
            image["name"]: FinishedImage(
                name=_checked_name(image),
                source=as_location(image["source"]),
                cells=image["cells"],
                facts=image["facts"],
                folder=out / image["name"],
                brightness=Brightness(**image["facts"]["decided"]["brightness"]),
                warnings=tuple(image["warnings"]),
            )
            for image in record["images"]
            if image["state"] != "failed"
        }
        return cls(out, record, images)


def _checked_name(image: Mapping[str, Any]) -> str:
    """Return the name of a recorded image, having checked that its facts are what is relied on."""
    name, told = image["name"], image["facts"]["input"]
    if PurePath(name).name != name or name == "..":
        raise ValueError(f"{name!r} is no name of a folder of results")
    height, width = (int(length) for length in told["shape"])
    if min(height, width) < 0 or not all(isinstance(one, str) for one in told["channels"]):
        raise ValueError(f"the shape or the channels of {name!r} make no sense")
    Position(**told["position"])
    return str(name)


def _intensity_columns(header: Sequence[str], channels: Sequence[str]) -> list[str]:
    """Return the columns with the means of the channels.

    They stand beside each other, or one apart where what was before compensation stands between,
    after the features: one of these can have a channel's name, whose column then has a longer one.
    """
    forms = [re.compile(rf"{re.escape(channel)}(:mean)*") for channel in channels]
    for start in reversed(range(len(header))):
        for step in (1, 2):
            block = list(header[start : start + step * len(channels) : step])
            if len(block) == len(forms) and all(map(re.Pattern.fullmatch, forms, block)):
                return block
    raise LookupError(f"it has no columns for the channels {', '.join(channels[:4])}")
