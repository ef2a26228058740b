"""An image on a web server that fails at random, cuts off what it sends, or says nothing."""

from __future__ import annotations

import importlib.util
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faults_of.trials import Row, differences, draw, finish, left_over, run_of

FAULTS = ("500", "reset", "cut off", "cut off unseen")


def write_zarr(folder: Path, pixels: NDArray[np.generic]) -> Path:
    """Write an OME-Zarr 0.5 of one level."""
    import zarr

    group = zarr.open_group(folder, mode="w", zarr_format=3)
    group.create_array("0", data=pixels, chunks=(1, 80, 80))
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space"} for n in "yx")]
    scale = [{"type": "scale", "scale": [1, 1, 1]}]
    level = {"path": "0", "coordinateTransformations": scale}
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": [level]}],
        "omero": {"channels": [{"label": "DAPI"}, {"label": "CD45"}]},
    }
    return folder


@contextmanager
def server(folder: Path, share: float, seed: int) -> Iterator[tuple[str, Counter[str]]]:
    """Give the address of a server of which a share of the answers fails, and how often it did."""
    chance, failed = random.Random(seed), Counter[str]()  # noqa: S311 - no secret

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            path = Path(self.translate_path(self.path))
            if not path.is_file() or chance.random() >= share:
                super().do_GET()
                return
            fault = chance.choice(FAULTS)
            failed[fault] += 1
            self.close_connection = True
            if fault == "500":
                self.send_error(500)
                return
            if fault == "reset":
                self.connection.close()
                return
            content = path.read_bytes()
            self.send_response(200)
            if fault == "cut off":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])

        def log_message(self, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *args: Any) -> None:
            pass

    made = Quiet(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{made.server_port}", failed
    finally:
        made.shutdown()
        made.server_close()


def networks(folder: Path, times: int, seed: int) -> Row:
    """Run over the server, again and again until it is done."""
    row = Row("network", "OME-Zarr from a web server of which answers fail; again until done")
    if importlib.util.find_spec("aiohttp") is None:
        row.notes["left out"] = "aiohttp is missing"
        return row
    slide = write_zarr(folder / "slide.ome.zarr", draw(240, 1)[0])
    plain, runs, answers = folder / "undisturbed", 0, Counter[str]()
    write = ("--write", "csv,labels")
    finish(run_of(slide, plain, *write), folder / "temporary")
    for number in range(times):
        out = folder / f"out-{number}"
        with server(folder, 0.02 * (1 + number), seed + number) as (url, failed):
            for _ in range(20):
                ended = finish(run_of(f"{url}/slide.ome.zarr", out, *write), folder / "temporary")
                runs += 1
                if ended.status == 0:
                    break
                row.check(ended.told, f"ended with {ended.status}: {ended.said[-500:]}")
            row.check(ended.status == 0, "it was never done")
            row.times += sum(failed.values())
            answers += failed
        row.wrong += [*differences(out, plain), *left_over(out, folder / "temporary")]
    row.notes |= {"runs": runs, "answers that failed": dict(answers)}
    return row
