"""The weights that Cellpose's authors published, and those that come with cellseg."""

from __future__ import annotations

from cellseg_core.weights import PublishedWeights

__all__ = ["PUBLISHED"]

# The README of cellpose: "All Cellpose models are trained on data that is licensed under
# CC-BY-NC." Its authors leave open whether weights inherit that (cellpose issue 192).
_LICENCE = "BSD 3-Clause; trained on data under CC BY-NC, which allows no commercial use"


def _published(
    name: str,
    description: str,
    *,
    file: str = "",
    sha256: str | None = None,
    size: int | None = None,
    diameter: float = 30.0,
    version: int = 3,
    licence: str = _LICENCE,
) -> PublishedWeights:
    file = file or name
    # The addresses of cellpose 3.1.1.3 and 4.2.1.1, in their models.py.
    source = {
        3: "https://www.cellpose.org/models/",
        4: "https://huggingface.co/mouseland/cellpose-sam/resolve/main/",
    }[version]
    return PublishedWeights(
        name=name,
        file=file,
        url=source + file,
        sha256=sha256,
        licence=licence,
        description=description,
        diameter=diameter,
        bytes=size,
        caches=[f"$CELLPOSE_LOCAL_MODELS_PATH/{file}", f"~/.cellpose/models/{file}"],
        requires={3: "cellpose>=3,<4", 4: "cellpose>=4"}[version],
    )


# The authors of Cellpose publish no checksums. Those below are pinned, with the same digits, by
# projects on GitHub that have nothing to do with each other; a comment names them. Where none was
# found there is no checksum, and cellseg does not download the file.
PUBLISHED = (
    PublishedWeights(
        name="dsb2018",
        file="cellpose_model",
        url="",
        licence="MIT; trained on images in the public domain (CC0)",
        description="nuclei; trained by cellseg on the 2018 Data Science Bowl; the default with "
        "cellpose 3",
        diameter=17.0,
        requires="cellpose>=3,<4",
        shipped="cellseg_backends.cellpose:shipped/cellpose_model",
    ),
    _published(
        "nuclei",
        "nuclei in fluorescence; one channel",
        file="nucleitorch_0",
        # manhyukHan/CodeLabImagingPipeline (references), from a cache of cellpose 3.1.1.3; one more
        # project compares the nucleitorch_0 that it loads with the same digits.
        sha256="89ca45e4a45048d5010d29621466b1274b91b3dcb9714dce9f9e90a9a8671303",
        size=26_563_614,
        diameter=17.0,
    ),
    _published(
        "cyto3",
        "cells of many kinds, and nuclei; membrane or cytoplasm and, if there is one, a nuclear "
        "channel; trained on nine data sets, TissueNet among them",
        # As above; and keysmon/focus-aware-spine-segmentation, which checks it when it is loaded.
        # It is the file of the bioimage.io model "famous-fish", too.
        sha256="2dc3087a8abd7da46d1ab0ddd5824639933cc3ff63b382af3fa1939a392db93c",
        size=26_566_255,
    ),
    _published(
        "cyto2",
        "cells of many kinds; membrane or cytoplasm and, if there is one, a nuclear channel; older "
        "than cyto3, with images that users sent",
        file="cyto2torch_0",
    ),
    _published(
        "cyto",
        "cells in cultures mostly; membrane or cytoplasm and, if there is one, a nuclear channel; "
        "the first Cellpose",
        file="cytotorch_0",
    ),
    _published(
        "tissuenet_cp3",
        "cells in multiplexed tissue; membrane and nuclear channel; trained on TissueNet alone",
        licence="BSD 3-Clause; trained on TissueNet, whose licence allows no commercial use",
    ),
    _published(
        "cpsam",
        "Cellpose-SAM: cells and nuclei of all kinds, any order of up to three channels; large, "
        "slow without a GPU",
        # hexiyimeng/WorkFlow (deployment script), manhyukHan/CodeLabImagingPipeline (references)
        # and several more; the bioimage.io description of Cellpose-SAM has the same digits.
        sha256="e1440429eb384f95afe32bcba6510f90d518eaedc917ede549bed6804004abe2",
        size=1_233_587_898,
        version=4,
    ),
    _published(
        "cpsam_v2",
        "Cellpose-SAM, second training, the default of cellpose 4.2; large, slow without a GPU",
        # wanglab-broad/starfinder (docs/segmentation-contract.md) and several more; one names the
        # LFS record of the address. It is the file of the bioimage.io model "idealistic-eagle".
        sha256="0f1cc3f7ecdd8a037a57c6c48d9d8921391be4cbce3fa9f13c3e3a2e1253c667",
        size=1_233_586_851,
        version=4,
    ),
)
