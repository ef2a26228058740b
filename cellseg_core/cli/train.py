"""``cellseg train``: a segmenter learns from a user's own images and label masks."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cellseg_core.cli.echo import echo
from cellseg_core.cli.progress import Bars

__all__ = ["command"]


@click.command("train", short_help="Train a segmenter on your own images and masks.")
@click.argument("dataset", metavar="DATASET", type=Path)
@click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=Path,
    metavar="FOLDER",
    help="Folder for the result.",
)
@click.option(
    "--segmenter",
    default="maskrcnn",
    show_default=True,
    metavar="NAME",
    help="What is trained: maskrcnn, stardist, cellpose, or one that a plugin brings.",
)
@click.option(
    "--nuclear",
    metavar="NAME[,NAME]",
    default="",
    help="Channel that shows the nuclei, where images have several.",
)
@click.option(
    "--steps",
    type=int,
    metavar="N",
    help="Batches to learn from; more takes longer. Default: maskrcnn 1,000 (from scratch 12,000), "
    "stardist 10,000 (from weights 1,000), cellpose 7,500 (from weights 500).",
)
@click.option("--seed", type=int, metavar="N", help="Of everything random.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="trainer.OPTION=VALUE",
    help="An option of the trainer, for example trainer.start=scratch. Can be repeated.",
)
@click.option("--fresh", is_flag=True, help="Start over; forget what an earlier training left.")
@click.option("--quiet", is_flag=True, help="Show warnings and failures only.")
def command(
    dataset: Path,
    out: Path,
    segmenter: str,
    nuclear: str,
    steps: int | None,
    seed: int | None,
    settings: tuple[str, ...],
    fresh: bool,
    quiet: bool,
) -> int:
    """Train a segmenter on images whose nuclei are known, and tell how good it is.

    DATASET holds the folders images/ and masks/ with files of the same names (images/a.tif,
    masks/a.png). A mask is a label image, PNG or TIFF: 0 is background, each nucleus has a number
    of its own. An optional index.csv has the columns id (the name), split (train, val or test) and
    modality (accuracy is told for each). Without splits, a tenth of ten or more images is kept for
    validation.

    The Mask R-CNN starts from the weights that come with cellseg, which takes minutes on a CPU for
    a few dozen images; trainer.start=scratch starts from nothing, which takes hours and hundreds of
    images. StarDist and Cellpose 3 start from nothing, unless trainer.start names weights: a path,
    or a name of `cellseg weights list`. Cellpose 4 cannot be trained here. FOLDER then holds the
    weights, log.csv and report.json. An interrupted training goes on where it stopped, to the same
    result, if the same command is given again.

    \b
    Examples:
      cellseg train my-nuclei/ -o my-weights
      cellseg train my-nuclei/ -o my-weights --nuclear DAPI --steps 2000
      cellseg train my-nuclei/ -o my-weights --set trainer.start=scratch --seed 1
      cellseg train my-nuclei/ -o my-stardist --segmenter stardist
      cellseg train my-nuclei/ -o tuned --segmenter stardist --set trainer.start=2D_versatile_fluo
      cellseg train my-nuclei/ -o my-cellpose --segmenter cellpose --set trainer.rate=0.1
    Then:
      cellseg run tissue.ome.tif -o results --set segmenter.weights=my-weights
      cellseg run tissue.ome.tif -o results --segmenter stardist --set segmenter.weights=my-stardist
    """  # noqa: D301 - click takes \b for a paragraph to leave alone
    from cellseg_core.plugins import load_plugins
    from cellseg_core.store import Store
    from cellseg_core.training_set import read_training_set

    plugins = load_plugins()
    trainer = plugins.build_trainer(segmenter, _options(settings, steps=steps, seed=seed))
    names = tuple(name.strip() for name in nuclear.split(",") if name.strip())
    images = read_training_set(dataset, names, plugins)
    with Store.open(out), _TrainingConsole(quiet=quiet) as console:
        console.say(
            f"{images.name}: {len(images.of('train'))} images to train on, "
            f"{len(images.of('val'))} to validate"
        )
        done = trainer.train(images, out, console, fresh=fresh)
    if not quiet:
        _summarise(done.get("accuracy", {}))
        echo(f"Use it: cellseg run IMAGE -o RESULTS --segmenter {segmenter} "
                   f"--set segmenter.weights={shlex.quote(str(out.resolve()))}")  # fmt: skip
    return 0


def _options(settings: tuple[str, ...], **given: int | None) -> dict[str, Any]:
    """Return the trainer's options from ``--set`` and from options that have names of their own."""
    from cellseg_core.config import parse_setting
    from cellseg_core.errors import ConfigurationError

    options: dict[str, Any] = {}
    for text in settings:
        key, value = parse_setting(text)
        owner, _, option = key.partition(".")
        if owner != "trainer":
            raise ConfigurationError(
                f"--set here takes options of the trainer, trainer.OPTION=VALUE; got {text!r}."
            )
        options[option] = value
    return options | {name: value for name, value in given.items() if value is not None}


def _summarise(accuracy: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the accuracy of the validation images by group."""
    if not accuracy:
        echo("There was no validation image, so the accuracy is not known.")
        return
    shown = accuracy if len(accuracy) > 2 else {"all": accuracy["all"]}
    width = max(len("validation"), *map(len, shown))
    echo(f"{'validation':<{width}}  images  nuclei    mAP  AP 0.5")
    for name, row in shown.items():
        echo(
            f"{name:<{width}}  {row['images']:>6,}  {row['nuclei']:>6,}  {row['mAP']:>5.3f}"
            f"  {row['AP50']:>6.3f}"
        )


class _TrainingConsole(Bars):
    """A :class:`~cellseg_core.protocols.TrainingReporter` on stderr."""

    def progress(self, doing: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Move the bar of one part of the work."""
        shown = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
        if self._bars is None:
            self._say_now_and_then(
                f"{doing}: {done:,} of {total:,}" + (f", {shown}" if shown else "")
            )
            return
        task = self._tasks.get(doing)
        if task is None:
            task = self._bars.add_task(doing, total=total, completed=done, rate="")
            self._tasks[doing] = task
        elif not done:
            self._bars.reset(task, total=total, rate="")
        self._move(
            task,
            description=f"{doing}: {shown}" if shown else doing,
            completed=done,
            total=total,
            visible=done < total,
        )
