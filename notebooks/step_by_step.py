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
# # From an image to a table of cells, step by step
#
# This notebook does what `cellseg run` does, one step at a time, with a picture after each step. You
# need not know any Python: run the cells from top to bottom (Shift+Enter), look at the pictures, and
# change the values that are marked with **change me**.
#
# It needs no file of yours: it simulates a small tissue of which the truth is known.
#
# In a terminal: `pip install "cellseg-core[notebook]"`, then `jupyter lab`.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from cellseg_core import Pipeline, read_image
from cellseg_core.measure import measure
from cellseg_core.outlines import inner_outlines
from cellseg_core.synthetic import simulate_tissue
from cellseg_postprocess.expansion import expand_sequential

plt.rcParams.update({"figure.dpi": 60, "image.cmap": "gray", "axes.titlesize": 11})


def show(planes, titles, **options):
    """Show pictures side by side."""
    figure, axes = plt.subplots(1, len(planes), figsize=(4 * len(planes), 4.2), squeeze=False)
    for axis, plane, title in zip(axes.flat, planes, titles, strict=True):
        axis.imshow(plane, interpolation="nearest", **options)
        axis.set_title(title)
        axis.axis("off")
    figure.tight_layout()
    plt.show()


def outlined(plane, labels, colour=(1, 0.67, 0)):
    """Return the picture of a plane with the outlines of objects."""
    white = max(float(np.percentile(plane, 99.8)), 0.02)
    gray = np.minimum(plane / white, 1) ** 0.6
    picture = np.repeat(gray[..., np.newaxis], 3, axis=2)
    picture[inner_outlines(labels)] = colour
    return picture


def coloured(labels):
    """Return a picture in which each object has a colour of its own."""
    colours = np.random.default_rng(0).random((int(labels.max()) + 1, 3)) * 0.8 + 0.2
    colours[0] = 0
    return colours[labels]


# %% [markdown]
# ## 1. Open an image
#
# **Change me:** write the path of your own image between the quotes, for example
# `"C:/data/tissue.ome.tif"`. It can be a TIFF, an OME-TIFF, an OME-Zarr folder, or a folder with one
# TIFF for each channel. As long as it is empty, the simulated tissue is used.
#
# Nothing is read yet but the names of the channels and the sizes, so this is quick for whole slides
# too.

# %%
my_image = ""

image = read_image(my_image) if my_image else simulate_tissue((256, 256), seed=7).image
print(image)
print("channels:", ", ".join(image.channels))

# %% [markdown]
# ## 2. Look at the channels
#
# Each channel is shown from black (0) to white (its 99.8th percentile).

# %%
corner = slice(0, 512), slice(0, 512)
first = list(range(min(5, len(image.channels))))
planes = [image.read(number, *corner) for number in first]
planes = [np.minimum(plane / max(np.percentile(plane, 99.8), 1e-9), 1) for plane in planes]
show(planes, [image.channels[number] for number in first])

# %% [markdown]
# ## 3. Choose the nuclear channel, and how to segment
#
# **Change me:** the nuclear channel shows every nucleus, whatever the type of its cell: DAPI, Hoechst,
# DRAQ5, DNA1 ... Several can be named, `["DNA1", "DNA3"]`: they are averaged.
#
# The settings are those of `cellseg run`. `nuclear_diameter=None` lets cellseg find the diameter; give
# a number of px to decide yourself. `tile` is the size of the parts in which an image is segmented. It
# is small here only to show how tiles work: leave it out for your own images.

# %%
nuclear = "DAPI"

pipeline = Pipeline(
    segmenter="maskrcnn",
    nuclear_diameter=None,
    brightness=1.0,
    tile=128,
    min_size=20,
    expand_by=2,
    compensator="conserving",
)

# %% [markdown]
# ## 4. Brightness and diameter
#
# Before anything is segmented, two things are decided over the whole image:
#
# - **brightness**: the value that becomes white (the 99.98th percentile). `brightness=2` above makes
#   everything twice as bright.
# - **diameter**: how many px wide a typical nucleus is. The image is magnified so that nuclei are as
#   large as the network expects. It matters more than everything else.

# %%
ready = pipeline.prepare(image, nuclear)
for channel, level in ready.scaled.brightness.levels.items():
    print(f"{channel}: {level:,.0f} is white")
print(f"nuclei are about {ready.diameter:.1f} px wide ({ready.known_from})")
print(f"the network sees the image magnified {ready.source.factor:.2f} times")
for warning in ready.warnings:
    print("look at this:", warning)

# %% [markdown]
# The circles have that diameter. Are they as large as the nuclei? If not, give `nuclear_diameter` in
# step 3, and run the cells from there again.

# %%
size = round(8 * ready.diameter)
plane = ready.scaled.read(slice(0, size), slice(0, size))[0]
figure, axis = plt.subplots(figsize=(4.5, 4.5))
axis.imshow(plane**0.6, interpolation="nearest")
for x in np.arange(1, 8, 2) * ready.diameter:
    axis.add_patch(plt.Circle((x, size / 2), ready.diameter / 2, fill=False, color="orange"))
axis.set_title(f"circles of {ready.diameter:.1f} px")
axis.axis("off")
plt.show()

# %% [markdown]
# ## 5. Segment one tile
#
# The image is segmented in tiles that overlap: each has a core, and sees a margin around it. This is
# the first one.

# %%
tile = ready.tiles[0]
found = ready.segment(tile)
seen = ready.scaled.read(*tile.window.slices)[0]
print(f"{len(ready.tiles)} tiles; the first has {len(found.areas)} nuclei in its window")
show(
    [seen**0.6, outlined(seen, found.labels[:, :])],
    ["what the segmenter sees of the first tile", "what it finds"],
)

# %% [markdown]
# ## 6. The whole image
#
# `run` does it all: it segments every tile, stitches them so that each nucleus is there once and whole,
# grows, measures and compensates. The white lines are where tiles met: no nucleus is cut there.

# %%
result = pipeline.run(image, nuclear)
print(result)
nuclei = result.nuclei[:, :]
stitched = coloured(nuclei)
for one in ready.tiles:
    stitched[one.core.y0 : one.core.y0 + 1, :] = 1
    stitched[:, one.core.x0 : one.core.x0 + 1] = 1
stain = result.scaled.read()[0]
show(
    [outlined(stain, nuclei), stitched],
    [f"{len(result.table)} nuclei", "stitched labels: a number for each nucleus"],
)

# %% [markdown]
# **Look closely here.** If outlines do not follow the nuclei, no number below means anything. In a
# terminal, `cellseg preview IMAGE` shows a part of the image under several settings at once, to choose
# from.
#
# ## 7. Grow nuclei into cells
#
# Many markers sit in the membrane or the cytoplasm, outside the nucleus. Each nucleus grows by
# `expand_by` px, and stops where it meets its neighbour. `run` has done so in `result.cells`; this is
# what other distances give.

# %%
distances = 1, 2, 4
shown = slice(0, 96), slice(0, 96)
pictures = []
for distance in distances:
    picture = outlined(stain[shown], expand_sequential(nuclei, distance)[shown], (0.24, 0.63, 1))
    picture[inner_outlines(nuclei[shown])] = 1, 0.67, 0
    pictures.append(picture)
show(pictures, [f"grown by {distance} px" for distance in distances])

# %% [markdown]
# ## 8. Measure
#
# For every cell, the mean of each channel. `features` adds more: shape, other statistics, the nucleus
# and the ring around it apart.

# %%
table = measure(image, result.cells, nuclei=result.nuclei, features=["shape"])
table.to_pandas().iloc[:5].round(1)

# %% [markdown]
# ## 9. Compensate
#
# Light of a bright cell reaches into its neighbours, so that they seem positive too. Compensation
# gives it back. Below, each point is a cell, with two markers that no cell has both of: T cells have
# CD3, B cells CD20.
#
# **Change me:** two markers of your own panel that exclude each other.

# %%
one, other = "CD3", "CD20"

first, second = (result.table.channels.index(name) for name in (one, other))
figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), sharex=True, sharey=True)
for axis, values, title in (
    (axes[0], result.table.uncompensated, "before"),
    (axes[1], result.table.intensities, "after compensation"),
):
    axis.scatter(values[:, first], values[:, second], s=12, alpha=0.6, edgecolors="none")
    axis.set(title=title, xlabel=one, ylabel=other, xscale="symlog", yscale="symlog")
figure.tight_layout()
plt.show()

# %% [markdown]
# ## 10. The table
#
# One row for each cell. `cell_id` is the value of the cell in the label images: one number everywhere.
# The columns are explained in `docs/cells.md`.

# %%
frame = result.table.to_pandas()
frame.drop(columns=["region", "tile_row", "tile_col", "tile_z"]).iloc[:5].round(1)

# %% [markdown]
# ## 11. A simple gate
#
# A gate chooses cells by their values. Here: positive is what is brighter than a threshold, and T cells
# are positive for the one marker and negative for the other.
#
# **Change me:** by default the thresholds are those that split each marker best in two (Otsu's).

# %%
from skimage.filters import threshold_otsu

least = {name: float(threshold_otsu(frame[name].to_numpy())) for name in (one, other)}
positive = {name: frame[name] > least[name] for name in (one, other)}
gated = {
    f"{one}+ {other}-": positive[one] & ~positive[other],
    f"{one}- {other}+": ~positive[one] & positive[other],
    f"{one}+ {other}+": positive[one] & positive[other],
}
for name, chosen in gated.items():
    print(f"{name}: {chosen.sum()} of {len(frame)} cells")

palette = np.array([(0, 0, 0), (0.35, 0.35, 0.35), (0.2, 0.6, 1), (1, 0.6, 0), (1, 0.2, 0.6)])
kind = np.ones(len(frame) + 1, int)
kind[0] = 0
for number, chosen in enumerate(gated.values(), start=2):
    kind[frame["cell_id"][chosen]] = number
show([palette[kind[result.cells[:, :]]]], ["blue, orange, pink: the three gates, in order"])

# %% [markdown]
# ## 12. Write files
#
# **Change me:** the folder, and what to write; `cellseg plugins` lists all writers.

# %%
folder = Path("step-by-step-results")

for path in result.write(folder, writers=["csv", "fcs", "labels", "overlay"]):
    print(path.as_posix())

# %% [markdown]
# The same in one line, for the terminal:
#
# ```
# cellseg run IMAGE --nuclear DAPI --expand 2 --compensate -o results
# ```
#
# `batch.ipynb` does it for many images.
