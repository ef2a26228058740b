"""What the pipeline made of one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cellseg_core.errors import OutputError
from cellseg_core.image import Image
from cellseg_core.label_image import LazyLabels
from cellseg_core.plugins import Plugins, load_plugins
from cellseg_core.protocols import Labels
from cellseg_core.scaled import ScaledImage
from cellseg_core.store import output_error
from cellseg_core.table import CellTable

__all__ = ["Result"]


@attrs.frozen(eq=False, repr=False, kw_only=True)
class Result:
    """What the pipeline made of one image.

    Attributes
    ----------
    image
        The image.
    nuclei
        (Y, X) int32 label image as segmented: 0 is background, ids 1..N in reading order. Of very
        large images that were done with a work folder, it is lazy, and gone with the folder.
    cells
        The same after expansion, with the same ids.
    table
        One row for each cell.
    scaled
        The image as the segmenter saw it: ``scaled.read()`` is (C, Y, X) in [0, 1].
    nuclear_diameter
        Diameter of nuclei in px that was worked with.
    facts
        What was decided on the way, and seconds for each step, for the record.
    warnings
        What the user should look at, in full sentences.
    """

    image: Image
    nuclei: Labels | LazyLabels
    cells: Labels | LazyLabels
    table: CellTable
    scaled: ScaledImage
    nuclear_diameter: float
    facts: Mapping[str, Any]
    warnings: tuple[str, ...]

    def write(
        self,
        folder: str | Path,
        writers: Sequence[str] = ("csv", "fcs", "labels", "overlay"),
        *,
        plugins: Plugins | None = None,
    ) -> list[Path]:
        """Write files into a folder, which is made if need be, and return their paths.

        ``writers`` are names of components, with their usual options.

        Raises
        ------
        ComponentError
            If a writer is not known.
        OutputError
            If the folder cannot be made or written to.
        """
        plugins, folder = plugins or load_plugins(), Path(folder)
        built = [plugins.build("writer", name) for name in writers]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return [Path(path) for writer in built for path in writer.write(self, folder)]
        except OutputError:
            raise
        except OSError as error:
            raise output_error(folder, error) from error

    def __repr__(self) -> str:
        return f"<Result: {len(self.table)} cells in {self.image!r}>"
