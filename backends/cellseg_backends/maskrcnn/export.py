"""The network as ONNX files, which programs in any language can run without cellseg or Keras.

Three graphs, those that the detector runs; between them lies what ONNX says badly: choosing boxes,
and drawing masks. ``network.md``, written beside them, says how to put them together.
"""

from __future__ import annotations

import json
import string
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs

from cellseg_backends.maskrcnn.anchors import ANCHOR_STRIDES, SIZES
from cellseg_backends.maskrcnn.presets import GRID
from cellseg_backends.maskrcnn.weights import Description, describe, load_weights
from cellseg_core.errors import ConfigurationError, MissingPackageError
from cellseg_core.store import atomic_write, output_error

__all__ = ["export_network"]

_OPSET = 17
_MAPS = ("map2", "map4", "map8", "map16")


@attrs.frozen
class _Graph:
    """One file: a function of tensors, what goes in and what comes out, with the axes' names."""

    name: str
    function: Callable[..., Any]
    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]


def export_network(weights: Path, folder: Path, score: float | None = None) -> Sequence[Path]:
    """Write the network as ONNX files, with a description of them, and return the files.

    Parameters
    ----------
    weights
        Folder with the weights.
    folder
        Where to write; it is made if need be.
    score
        Least confidence of a nucleus that the description states. Default: that of the weights.

    Raises
    ------
    WeightsError
        If the weights are missing or damaged.
    MissingPackageError
        If a package that converts is not installed.
    ConfigurationError
        If Keras does not work with TensorFlow, from whose graphs is converted.
    OutputError
        If a file cannot be written.
    """
    from cellseg_backends.maskrcnn.keras_start import start_keras

    description = describe(weights)
    start_keras()
    _check_tools()
    facts = _facts(description, description.score if score is None else score)
    graphs = _graphs(weights, description)
    files: dict[str, bytes] = {}
    for graph in graphs:
        files[f"{graph.name}.onnx"] = _converted(graph)
        facts["graphs"][f"{graph.name}.onnx"] = {"inputs": graph.inputs, "outputs": graph.outputs}
    files["network.json"] = (json.dumps(facts, indent=1) + "\n").encode()
    files["network.md"] = _readme(facts).encode()
    written = []
    for name, content in files.items():
        path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(path, error) from error
        atomic_write(path, content)
        written.append(path)
    return written


def _check_tools() -> None:
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigurationError(
            "export converts TensorFlow's graphs, and Keras works with "
            f"{keras.backend.backend()}. Set KERAS_BACKEND=tensorflow for this command."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, about their own dependencies
            import onnx  # noqa: F401 # pyright: ignore[reportMissingImports]
            import tf2onnx  # noqa: F401 # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingPackageError(
            f"export needs onnx and tf2onnx, which cannot be imported ({error}). Install them "
            'with: pip install "cellseg-core[export]"'
        ) from error


def _graphs(weights: Path, description: Description) -> list[_Graph]:
    from cellseg_backends.maskrcnn.heads import MASK_SIZE
    from cellseg_backends.maskrcnn.model import MaskRCNN
    from cellseg_backends.maskrcnn.presets import preset
    from cellseg_backends.maskrcnn.stages import stages

    network = MaskRCNN(preset(description.preset), "float32")
    load_weights(weights, network.weights())
    look, judge, draw = stages(network)
    channels = network.preset.pyramid
    maps: dict[str, tuple[int | str, ...]] = {
        name: (1, f"height/{name[3:]}", f"width/{name[3:]}", channels) for name in _MAPS
    }
    return [
        _Graph(
            "first",
            look,
            {"image": (1, "height", "width", 1)},
            {**maps, "logits": (1, "anchors"), "deltas": (1, "anchors", 4)},
        ),
        _Graph(
            "boxes",
            judge,
            {**maps, "proposals": ("proposals", 4)},
            {"probability": ("proposals",), "boxes": ("proposals", 4)},
        ),
        _Graph(
            "masks",
            draw,
            {**maps, "boxes": ("boxes", 4)},
            {
                "mask_logits": ("boxes", MASK_SIZE, MASK_SIZE),
                "quality": ("boxes",),
                "windows": ("boxes", 4),
            },
        ),
    ]


def _converted(graph: _Graph) -> bytes:
    """Return the bytes of an ONNX model whose inputs, outputs and axes have names."""
    import onnx
    import tensorflow as tf
    import tf2onnx

    signature = [
        tf.TensorSpec([n if isinstance(n, int) else None for n in shape], tf.float32, name=name)
        for name, shape in graph.inputs.items()
    ]
    function = tf.function(graph.function, autograph=False, input_signature=signature)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, _ = tf2onnx.convert.from_function(function, signature, opset=_OPSET)
    given = [one.name for one in model.graph.output]
    names = dict(zip(given, graph.outputs, strict=True))
    for node in model.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(end, end) for end in ends]
    for one in model.graph.output:
        one.name = names[one.name]
    for ends, shapes in (
        (model.graph.input, graph.inputs),
        (model.graph.output, graph.outputs),
    ):
        for one in ends:
            shape = shapes[one.name]
            one.CopyFrom(onnx.helper.make_tensor_value_info(one.name, _FLOAT, shape))
    del model.graph.value_info[:]  # what the converter guessed of shapes in between
    model.producer_name = "cellseg"
    model.producer_version = version("cellseg-core")
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


_FLOAT = 1  # onnx.TensorProto.FLOAT


def _facts(description: Description, score: float) -> dict[str, Any]:
    from cellseg_backends.maskrcnn.detector import Thresholds

    return {
        "made_by": f"cellseg {version('cellseg-core')}",
        "preset": description.preset,
        "weights_sha256": description.sha256,
        "nuclear_diameter_px": description.diameter,
        "size_is_a_multiple_of": GRID,
        "anchor_strides": ANCHOR_STRIDES,
        "anchor_edges_px": SIZES,
        "thresholds": attrs.asdict(Thresholds(score=score)),
        "opset": _OPSET,
        "graphs": {},
    }


def _readme(facts: dict[str, Any]) -> str:
    rows = [
        f"| `{file}` | {end[:-1]} | `{name}` | {', '.join(map(str, shape))} |"
        for file, ends in facts["graphs"].items()
        for end, tensors in ends.items()
        for name, shape in tensors.items()
    ]
    return string.Template(_TEXT).substitute(
        table="\n".join(rows),
        diameter=f"{facts['nuclear_diameter_px']:g}",
        multiple=facts["size_is_a_multiple_of"],
        **{name: f"{value:g}" for name, value in facts["thresholds"].items()},
    )


_TEXT = """# A nucleus detector in ONNX

Exported by cellseg: a Mask R-CNN in three graphs. All tensors are float32. Boxes are (y0, x0, y1,
x1) in px; edges are positions, so that the first pixel is the box (0, 0, 1, 1). `network.json` has
the numbers below for programs.

| file | end | tensor | shape |
|---|---|---|---|
$table

## The image that the network sees

1. Rescale the nuclear channel so that nuclei are $diameter px wide.
2. Scale brightness linearly: the typical background becomes 0, typical nuclei become 1. Dark
   nuclei on a bright background: turn the brightness round first. The scale belongs to the whole
   image, not to a tile.
3. Replace each value v by arcsinh(3 v) / arcsinh(3).
4. Add zeros below and to the right, up to a multiple of $multiple px.

## From the image to nuclei

1. `first.onnx` gives feature maps (pass them on as they are), and for each anchor the logit that
   it holds a nucleus and where that lies:

   ```python
   levels = []
   for stride, edges in zip(facts["anchor_strides"], facts["anchor_edges_px"]):
       y = (np.arange(height // stride) + 0.5) * stride
       x = (np.arange(width // stride) + 0.5) * stride
       y, x, edge = np.meshgrid(y, x, edges, indexing="ij")
       levels.append(np.stack([y, x, edge], -1).reshape(-1, 3))
   y, x, edge = np.concatenate(levels).T
   dy, dx, dh, dw = deltas[0].T
   y, x = y + 0.1 * dy * edge, x + 0.1 * dx * edge
   h = edge * np.exp(np.clip(0.2 * dh, -1.6, 1.6)) / 2
   w = edge * np.exp(np.clip(0.2 * dw, -1.6, 1.6)) / 2
   proposals = np.stack([y - h, x - w, y + h, x + w], -1)
   ```

   Keep those with sigmoid(logit) > $proposal, and of those that overlap by an IoU over
   $proposal_overlap the one with the highest logit.
2. `boxes.onnx` gives the probability of a nucleus for each proposal, and its exact box. Keep those
   with a probability of at least $score, cut the boxes at the image's edges, and of those that
   overlap by an IoU over $box_overlap keep the likeliest.
3. `masks.onnx` gives a mask for each box, as logits sampled at the centres of 28 x 28 cells over
   its window, and the quality that the mask is expected to have. The confidence of a nucleus is
   probability times quality; keep those of at least $score.
4. Draw the masks from the most confident on: a pixel is the nucleus' where the logit, interpolated
   linearly at the pixel's centre, is over 0. Leave a mask out if more than $same of its area is
   taken. A pixel that several claim goes to the largest confidence times sigmoid(logit).
"""
