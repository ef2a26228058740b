"""The weights that the authors of StarDist published, and those that come with cellseg."""

from __future__ import annotations

from cellseg_core.weights import PublishedWeights

__all__ = ["PUBLISHED"]

# LICENSE.txt of github.com/stardist/stardist-models; each archive holds it too.
_LICENCE = "BSD 3-Clause (Martin Weigert, Uwe Schmidt)"


# Median over the fluorescence images of the Bowl's training set of the median diameter in each.
_BOWL = 17.0


def _published(
    name: str,
    sha256: str,
    description: str,
    *,
    size: int | None = None,
    diameter: float | None = None,
    rgb: bool = False,
    data: str = "",
) -> PublishedWeights:
    # Keras below 3.6 unpacks into the folder of the download, later ones beside it.
    roots = ("$KERAS_HOME/models/StarDist2D", "~/.keras/models/StarDist2D")
    return PublishedWeights(
        name=name,
        file=f"python_{name}.zip",
        url=f"https://github.com/stardist/stardist-models/releases/download/v0.1/python_{name}.zip",
        sha256=sha256,
        licence=_LICENCE + data,
        description=description,
        bytes=size,
        diameter=diameter,
        caches=[
            f"{root}/{name}{inside}" for root in roots for inside in ("", f"/{name}_extracted")
        ],
        folder=True,
        # thresholds.json may be missing: StarDist has defaults for it.
        needs=["config.json", "*.h5"],
        requires="stardist>=0.8",
        rgb=rgb,
    )


# Addresses and checksums of the authors' models are those that stardist 0.9.2 registers in
# stardist/models/__init__.py.
PUBLISHED = (
    PublishedWeights(
        name="dsb2018",
        file="dsb2018.zip",
        url="",
        licence="MIT; trained on images in the public domain (CC0)",
        description="nuclei in fluorescence and stained tissue, one channel; trained by cellseg on "
        "the 2018 Data Science Bowl; the default",
        diameter=24.0,
        folder=True,
        needs=["config.json", "*.h5", "cellseg.json"],
        requires="stardist>=0.9",
        shipped="cellseg_backends.stardist:shipped",
    ),
    _published(
        "2D_versatile_fluo",
        "4ad678d0758eed6e55625f1b5ae30771e59adb79f1239e09b9772eac8846c3dd",
        "nuclei in fluorescence, one channel; trained on a part of the 2018 Data Science Bowl",
        size=5_320_433,
        diameter=_BOWL,
    ),
    _published(
        "2D_versatile_he",
        "f1696ef0631bd7e1c0e5c0d3017e2b4c6a95e284c6aab9c22fc2f08317817b28",
        "nuclei in H&E-stained tissue; trained on MoNuSeg 2018 and TNBC",
        data="; trained on MoNuSeg under CC BY-NC-SA, which allows no commercial use",
        rgb=True,
    ),
    _published(
        "2D_paper_dsb2018",
        "4c11cf68512341d9e8ce3d1278c64ceb8ac400582739f85fcab079a2e82840d2",
        "nuclei in fluorescence, one channel; the network of the StarDist paper of 2018, trained "
        "on a part of the 2018 Data Science Bowl",
        diameter=_BOWL,
    ),
    _published(
        "2D_demo",
        "a1efaebd7103db6236655bf158b6e21cf5b38d58ec77a509802244a89a260fa4",
        "the network of StarDist's example notebooks, to try things out",
    ),
)
