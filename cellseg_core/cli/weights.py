"""``cellseg weights``: published weights on this machine, and those that can be fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellseg_core.cli.progress import Bars

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from cellseg_core.weights import PublishedWeights

__all__ = ["command"]


@click.group("weights", short_help="List, fetch and find published weights.")
def command() -> None:
    """List, fetch and find weights that others published for the segmenters.

    They are used by name: cellseg run ... --segmenter stardist --set segmenter.weights=NAME
    """


@command.command("list", short_help="List published weights.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, for scripts.")
def list_weights(as_json: bool) -> int:
    """List published weights: which are on this machine, their size and licence.

    Files are looked for, not read: `cellseg weights where NAME` compares the checksum.
    """
    rows, problems = _published()
    told = [_row(segmenter, one) for segmenter, one in rows]
    if as_json:
        told += [
            {"segmenter": segmenter, "name": "", "state": "broken", "reason": reason}
            for segmenter, reason in problems
        ]
        click.echo(json.dumps(told, indent=1))
        return 0
    shown = ""
    for row in told:
        if row["segmenter"] != shown:
            shown = str(row["segmenter"])
            click.echo(shown)
        place = f" ({row['path']})" if row["path"] else ""
        size = f", {row['size']}" if row["bytes"] else ""
        click.echo(f"  {row['name']}  {row['state']}{place}{size}")
        facts = [row["description"], "takes RGB" if row["rgb"] else "", row["reason"]]
        facts.append(f"needs {row['requires']}" if row["requires"] else "")
        by_hand = row["state"] == "not here" and not row["sha256"]
        facts.append("to be got by hand: its checksum is not known" if by_hand else "")
        click.echo(f"      {'; '.join(str(fact) for fact in facts if fact)}")
        click.echo(f"      licence: {row['licence']}")
    if not told and not problems:
        click.echo("No segmenter that is installed has published weights.")
    for segmenter, reason in problems:
        click.echo(f"{segmenter}: the table of its weights is broken: {reason}", err=True)
    return 0


@command.command("fetch", short_help="Download published weights.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "out",
    type=Path,
    metavar="FOLDER",
    help="Put them here, to be carried to a machine without network and named there by "
    "CELLSEG_WEIGHTS, in place of cellseg's own cache.",
)
@click.option("--quiet", is_flag=True, help="Show failures only.")
def fetch(names: tuple[str, ...], out: Path | None, quiet: bool) -> int:
    """Download published weights, unless they are here already.

    NAME is as `cellseg weights list` shows it; where two segmenters have weights of one name,
    SEGMENTER/NAME. What is downloaded is compared with its checksum.

    \b
    For a machine without network:
      cellseg weights fetch 2D_versatile_fluo cyto3 -o my-weights
    and there, with the folder copied:
      export CELLSEG_WEIGHTS=/path/to/my-weights
    """  # noqa: D301 - click takes \b for a paragraph to leave alone
    from cellseg_core.errors import WeightsError

    rows, _ = _published()
    chosen = [_choose(name, rows) for name in names]
    failed = carried = 0
    with _Downloads(quiet=quiet) as report:
        for _, published in chosen:
            try:
                carried += _fetch(published, out, report)
            except WeightsError as error:
                failed += 1
                report.fail(f"Error: {error}")
        if out is not None and carried:
            report.say(f"Carry {out} to the other machine, and name it there in CELLSEG_WEIGHTS.")
    return 1 if failed else 0


@command.command("where", short_help="Show where weights are.")
@click.argument("name", metavar="[NAME]", required=False)
def where(name: str | None) -> int:
    """Show where weights are and how they were found; without NAME, where they are looked for."""
    from cellseg_core.weights_places import search, unavailable

    rows, problems = _published()
    if name is None:
        _show_places(rows)
        for segmenter, reason in problems:
            click.echo(f"{segmenter}: the table of its weights is broken: {reason}", err=True)
        return 0
    _, published = _choose(name, rows)
    found = search(published)
    if found is None:
        by_itself = f"`cellseg weights fetch {published.name}` downloads them"
        raise unavailable(
            published, by_itself if published.sha256 else "their checksum is not known"
        )
    click.echo(str(found.path))
    how = "its checksum is right" if published.sha256 else "its checksum is not known"
    if published.folder and not found.archive:
        how = "its files are there"
    archive = ", an archive that is unpacked when it is used" if found.archive else ""
    click.echo(f"found in {found.place}{archive}; {how}", err=True)
    return 0


def _published() -> tuple[list[tuple[str, PublishedWeights]], list[tuple[str, str]]]:
    """Return all published weights with their segmenter, and the tables that are broken."""
    from cellseg_core.plugins import load_plugins
    from cellseg_core.weights import tables

    found = tables(load_plugins())
    rows = [(table.segmenter, one) for table in found for one in table.weights]
    return rows, [(table.segmenter, table.problem) for table in found if table.problem]


def _choose(name: str, rows: list[tuple[str, PublishedWeights]]) -> tuple[str, PublishedWeights]:
    """Return the weights of that name; ``segmenter/name`` chooses between two of one name."""
    from cellseg_core.errors import WeightsError, nearest

    fitting = [row for row in rows if name in (row[1].name, f"{row[0]}/{row[1].name}")]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        named = " and ".join(f"{segmenter}/{one.name}" for segmenter, one in fitting)
        raise WeightsError(f"there are several weights of the name {name!r}: {named}. Name one.")
    known = list(dict.fromkeys(one.name for _, one in rows))
    raise WeightsError(
        f"no weights are published as {name!r}; {nearest(name.rpartition('/')[2], known)}."
    )


def _row(segmenter: str, published: PublishedWeights) -> dict[str, Any]:
    """Return what is told of weights in a list."""
    from cellseg_core.errors import WeightsError
    from cellseg_core.weights_places import search, size_text

    state, path, reason = "not here", "", ""
    try:
        found = search(published, verify=False)
    except WeightsError as error:
        state, reason = "damaged", str(error)
    else:
        if found is not None:
            state = "shipped" if found.place.startswith("the package ") else "here"
            path = str(found.path)
    return {
        "segmenter": segmenter,
        "name": published.name,
        "state": state,
        "path": path,
        "reason": reason,
        "bytes": published.bytes,
        "size": size_text(published.bytes),
        "licence": published.licence,
        "description": published.description,
        "diameter": published.diameter,
        "rgb": published.rgb,
        "requires": published.requires,
        "file": published.file,
        "url": published.url,
        "sha256": published.sha256,
    }


def _fetch(published: PublishedWeights, out: Path | None, report: _Downloads) -> bool:
    """Fetch weights into ``out``, or into cellseg's cache, and say what was done.

    False if there is nothing to fetch, since they come with a package.
    """
    from cellseg_core.weights import locate
    from cellseg_core.weights_download import download
    from cellseg_core.weights_install import copy_weights
    from cellseg_core.weights_places import cache_folder, lies_in

    name = published.name
    if published.shipped and locate(published) is not None:
        report.say(f"{name} comes with the segmenter's package, here and on any other machine.")
        return False
    if out is not None and lies_in(published, out / published.entry):
        report.say(f"{name} is there already: {out / published.entry}")
        return True
    here = locate(published)
    if here is not None and out is None:
        report.say(f"{name} is there already: {here}")
    elif here is not None and out is not None:
        path = copy_weights(published, here, out)
        report.say(f"{name} was copied from {here} to {path}. Licence: {published.licence}")
    else:
        path = download(published, out or cache_folder(), report)
        report.say(f"{name} was downloaded to {path}.")
    return True


def _show_places(rows: list[tuple[str, PublishedWeights]]) -> None:
    """Print where weights are looked for, in order."""
    from cellseg_core.weights_places import cache_folder, library, offline, package_caches

    def state(folder: Path) -> str:
        return "" if folder.is_dir() else "  (does not exist)"

    told = library()
    click.echo("1. the folder that CELLSEG_WEIGHTS names, but for what comes with a package")
    click.echo(f"     {told}{state(told)}" if told is not None else "     not set")
    click.echo("2. the packages' own caches")
    folders = list(dict.fromkeys(path.parent for _, one in rows for path in package_caches(one)))
    for folder in folders:
        if not any(other in folder.parents for other in folders):
            click.echo(f"     {folder}{state(folder)}")
    click.echo("3. cellseg's cache")
    click.echo(f"     {cache_folder()}{state(cache_folder())}")
    click.echo("4. the public address")
    click.echo("     CELLSEG_OFFLINE forbids it" if offline() else "     downloads are allowed")


class _Downloads(Bars):
    """A :class:`~cellseg_core.weights.DownloadReporter` on stderr."""

    def _columns(self) -> tuple[ProgressColumn, ...]:
        from rich.progress import DownloadColumn, TransferSpeedColumn

        return DownloadColumn(), TransferSpeedColumn()

    def fail(self, text: str) -> None:
        """Show a failure."""
        self._print(text)

    def received(self, name: str, done: int, total: int | None) -> None:
        """Move the bar of a download."""
        if self._bars is None:
            from cellseg_core.weights_places import size_text

            self._say_now_and_then(
                f"{name}: {size_text(done)}" + (f" of {size_text(total)}" if total else "")
            )
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total)
        self._bars.update(self._tasks[name], completed=done, total=total, visible=done != total)
