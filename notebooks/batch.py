# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Many images at once
#
# What `cellseg run FOLDER` does, from a notebook: the same settings and one brightness scale for all
# images, one table, and an image that fails does not stop the others.
#
# This notebook needs no file of yours: it makes three small images and one that is broken. **Change
# me** marks what to change for your own.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tifffile

from cellseg_core.batch import run_batch
from cellseg_core.config import RunConfig
from cellseg_core.synthetic import simulate_tissue

# %% [markdown]
# ## The images
#
# **Change me:** write the paths of your images or folders instead, for example
# `inputs = ["C:/data/slides"]`, and leave the rest of this cell out.

# %%
inputs = [Path("batch-images")]

inputs[0].mkdir(exist_ok=True)
for name, seed in (("control", 1), ("treated 1", 2), ("treated 2", 3)):
    tissue = simulate_tissue((160, 160), seed=seed, channels=("DAPI", "CD3", "CD20"))
    tifffile.imwrite(
        inputs[0] / f"{name}.ome.tif",
        np.asarray(tissue.image.pixels),
        ome=True,
        photometric="minisblack",
        metadata={"axes": "CYX", "Channel": {"Name": list(tissue.image.channels)}},
    )
(inputs[0] / "broken.ome.tif").write_bytes(b"this is no image")
print(*sorted(path.name for path in inputs[0].iterdir()), sep="\n")

# %% [markdown]
# ## The settings
#
# **Change me.** They have the names of the options of `cellseg run`; `cellseg init` prints all of them
# with their defaults. The watershed is used here since it starts at once; leave `segmenter` out for the
# default, a neural network that finds more.

# %%
settings = RunConfig(
    segmenter="watershed",
    nuclear=["DAPI"],
    nuclear_diameter=12,
    expand=2,
    compensate=True,
    features=["shape"],
    write=["csv", "labels", "overlay"],
)


# %% [markdown]
# ## Run
#
# The progress is shown by an object with four methods; this one prints lines. Run the cell again after
# an interruption, or with more images: what is done is not done again.


# %%
class Lines:
    """Prints how far the run is."""

    def say(self, text):
        """Print a line."""
        print(text)

    def warn(self, text):
        """Print a warning, or the failure of an image."""
        print("!", text)

    def images(self, done, total):
        """Print how many images are done."""
        print(f"{done} of {total} images")

    def step(self, image, step, done, total):
        """Print nothing for single steps."""


summary = run_batch(inputs, "batch-results", settings, reporter=Lines())

# %% [markdown]
# ## What became of each image
#
# Failed images are named, with the reason. Mend them and run the cell above again.

# %%
pd.DataFrame(
    {
        "image": [outcome.name for outcome in summary.outcomes],
        "state": [outcome.state for outcome in summary.outcomes],
        "cells": [outcome.cells for outcome in summary.outcomes],
        "warnings": [len(outcome.warnings) for outcome in summary.outcomes],
    }
)

# %%
for outcome in summary.failed:
    print(f"{Path(outcome.source).name}: {outcome.error}")

# %% [markdown]
# ## The tables of all images, in one
#
# `cells.csv` has the cells of all images; the column `image` says where each is from. Each image also
# has a folder with its own table, label images and overlay.

# %%
cells = pd.read_csv(summary.out / "cells.csv")
cells.groupby("image")[["area", "CD3", "CD20"]].agg(["count", "mean"]).round(1)

# %%
done = [outcome for outcome in summary.outcomes if outcome.state != "failed"]
figure, axes = plt.subplots(1, len(done), figsize=(4 * len(done), 4.3), dpi=60, squeeze=False)
for axis, outcome in zip(axes.flat, done, strict=True):
    axis.imshow(plt.imread(summary.out / outcome.name / "overlay.png"))
    axis.set_title(f"{outcome.name}: {outcome.cells} cells")
    axis.axis("off")
figure.tight_layout()
plt.show()
