"""Outlines and measurements of cells as GeoJSON, for QuPath."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_io.about import units
from cellseg_io.cell_outlines import grown, outlines_of_cells

if TYPE_CHECKING:
    from cellseg_core.result import Result
    from cellseg_core.table import CellTable

__all__ = ["GeoJsonWriter"]

# What is the same for all cells of an image, and positions in another frame than the outlines'.
_OF_THE_IMAGE = ("region", "tile_row", "tile_col", "tile_z", "absolute_y", "absolute_x")

_Ring = tuple[NDArray[np.int32], bool]


@attrs.frozen
class GeoJsonWriter:
    """Writes ``cells.geojson``: one object a cell as QuPath (0.4 on) exports and imports them.

    Where nuclei were grown these are QuPath's cells, with a nucleus inside; where they were not,
    its detections. Outlines go along pixel edges, in px of the image. A cell of several pieces is a
    MultiPolygon. The name is the id in the label image, and the object's own id is made from that
    and the image's name, so that it is the same in every run.

    Parameters
    ----------
    measurements
        Whether the columns of the table go along; without, there is ``cell_id`` alone. What is the
        same for all cells of an image (region and tile) and absolute positions are left out, and a
        cell does not have a measurement that is missing, since JSON has no word for it. Units are
        in the member ``cellseg`` of the collection, which QuPath does not look at.
    """

    measurements: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))

    def write(self, result: Result, folder: Path) -> list[Path]:
        """Write the objects, and return the path."""
        path = folder / "cells.geojson"
        columns = _columns(result.table) if self.measurements else {"cell_id": result.table.labels}
        space = uuid.uuid5(uuid.NAMESPACE_URL, f"cellseg:{result.image.name}")
        kind = "cell" if grown(result) else "detection"
        with path.open("w", encoding="ascii", newline="\n") as stream:
            stream.write('{"type":"FeatureCollection",')
            if self.measurements:
                unit = units(result.table)
                known = {name: unit[name] for name in columns if name in unit}
                stream.write(f'"cellseg":{json.dumps({"units": known})},')
            stream.write('"features":[')
            before = "\n"
            for rows, polygons in outlines_of_cells(result):
                cells = polygons["cell"]
                nuclei = polygons["nucleus"].rings() if "nucleus" in polygons else [[]] * len(cells)
                for number, outline, nucleus, measured in zip(
                    cells.ids.tolist(), cells.rings(), nuclei, _measured(columns, rows), strict=True
                ):
                    inner = f'"nucleusGeometry":{_geometry(nucleus)},' if nucleus else ""
                    stream.write(
                        f'{before}{{"type":"Feature","id":"{uuid.uuid5(space, str(number))}",'
                        f'"geometry":{_geometry(outline)},{inner}"properties":{{"objectType":'
                        f'"{kind}","name":"{number}","measurements":{{{measured}}}}}}}'
                    )
                    before = ",\n"
            stream.write("\n]}\n")
        return [path]


def _columns(table: CellTable) -> dict[str, NDArray[np.generic]]:
    return {
        name: values.astype(np.uint8) if values.dtype.kind == "b" else values
        for name, values in table.columns().items()
        if name not in _OF_THE_IMAGE and np.isfinite(values).any()
    }


def _measured(columns: Mapping[str, NDArray[np.generic]], rows: NDArray[np.int64]) -> Iterator[str]:
    """Yield the measurements of some cells, as the inside of a JSON object."""
    of_rows = [values[rows] for values in columns.values()]
    known: NDArray[np.bool_] = np.stack([np.isfinite(values) for values in of_rows])
    complete: Any = known.all(axis=0)
    quoted = [json.dumps(name) for name in columns]
    whole = ",".join(f"{name.replace('%', '%%')}:%r" for name in quoted)
    for place, cell in zip(
        range(rows.size),
        zip(*(values.tolist() for values in of_rows), strict=True),
        strict=True,
    ):
        # Python writes finite numbers as JSON does, and so that they read back to the same bits.
        yield (
            whole % cell
            if complete[place]
            else ",".join(
                f"{name}:{value!r}"
                for name, value, there in zip(quoted, cell, known[:, place], strict=True)
                if there
            )
        )


def _geometry(rings: Iterable[_Ring]) -> str:
    polygons: list[str] = []
    for vertices, hole in rings:
        text = str(vertices.tolist()).replace(" ", "")
        if hole:
            polygons[-1] += f",{text}"
        else:
            polygons.append(text)
    if len(polygons) == 1:
        return f'{{"type":"Polygon","coordinates":[{polygons[0]}]}}'
    several = "],[".join(polygons)
    return f'{{"type":"MultiPolygon","coordinates":[[{several}]]}}'
