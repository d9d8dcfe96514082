"""`fastlin report`: the reference study, or runs of one's own, as one page."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastlin.commands import command_lines, options, outcome, process
from fastlin.commands.train import DEFAULT_DATA
from fastlin.errors import InputError, reason_of

if TYPE_CHECKING:
    from rich.console import Console

    from fastlin.config import TrainConfig
    from fastlin.data import Split
    from fastlin.fitting import Fitting
    from fastlin.report import page as pages
    from fastlin.report.study.experiments import Experiment
    from fastlin.report.study.findings import Source
    from fastlin.runs import DataReference

_SEEDS, _EPOCHS = 5, 40


@dataclass(frozen=True)
class _Report:
    """What is to be written where; rows and pictures are None if they stand there, or are to be."""

    folder: Path
    kind: str
    page: pages.Page
    rows: Iterable[dict[str, Any]] | None
    pictures: dict[str, bytes] | None = None
    beside: dict[str, Path] = field(default_factory=dict)  # files that the page links to


@click.command()
@click.argument("runs", nargs=-1, type=options.PLACE, metavar="[RUN]...")
@options.data_options(f"{DEFAULT_DATA}; of runs: their own", without=["split"])
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    help=f"Seeds over which every experiment runs  [default: {_SEEDS}]",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help=f"Epochs of every run of the study, for a quick look  [default: {_EPOCHS}, as published]",
)
@options.threads_option()
@options.dask_option()
@click.option(
    "--out",
    type=options.PLACE,
    help="Folder of the report  [default: reports/NAME of the data or the run]",
)
@click.option(
    "--markdown-only",
    is_flag=True,
    help="Write the Markdown summary and its figures, and nothing else.",
)
@click.pass_context
def report(
    ctx: click.Context,
    /,
    runs: tuple[Path, ...],
    data: options.Data,
    seeds: int | None,
    epochs: int | None,
    threads: int | None,
    dask: str | None,
    out: Path | None,
    markdown_only: bool,
) -> None:
    """Write the reference study, run anew, as one page that needs nothing beside it.

    Runs every experiment of a published study of linear classifiers on CIFAR-10, over several
    seeds, and tests its conclusions. Interrupted, the same command goes on from what is done.

    With RUN, run or grid folders, the page compares those instead; the folder of a report is
    drawn again from its results.json.
    """
    started = time.perf_counter()
    from fastlin.report import check_installed

    check_installed()
    if runs and not (seeds is None and epochs is None and dask is None):
        raise InputError(
            "--seeds, --epochs and --dask are of the study; leave them out to report on runs"
        )
    from fastlin.files import check_reachable
    from fastlin.report.results import RESULTS

    for run in runs:
        check_reachable(run)
    notes = options.console(stderr=True)
    if any((run / RESULTS).is_file() for run in runs):
        made = _of_report(runs, out, data.get("data"))
    elif runs:
        made = _of_runs(runs, data, threads, out)
    else:
        reference = options.reference_of({"data": DEFAULT_DATA} | data)
        try:
            with options.cluster(dask) as client:
                asked = seeds or _SEEDS, epochs or _EPOCHS
                made = _of_study(reference, *asked, threads, out, notes, client)
        except KeyboardInterrupt as stop:
            notes.print("Interrupted; the same command goes on from what is done")
            ctx.exit(process.exit_code(stop))
    _write(made, notes, markdown_only=markdown_only, started=started)


def _of_study(
    reference: DataReference,
    seeds: int,
    epochs: int,
    threads: int | None,
    out: Path | None,
    notes: Console,
    client: Any,
) -> _Report:
    """Run the study."""
    from fastlin.report.study import findings, page

    source = _source(reference, seeds, epochs)
    split = source.load(False)
    findings.check_parts(split)
    folder = _report_folder(out or Path("reports") / split.name, "study")
    del split
    with _progress(notes) as progress:
        study = findings.Study(source, seeds, epochs, threads, folder, progress, client)
    return _Report(folder, "study", page.study_page(study), study.csv_rows())


def _source(reference: DataReference, seeds: int, epochs: int) -> Source:
    from fastlin.data.formats import cifar
    from fastlin.report.study.findings import Source

    full = replace(reference, split="full")
    has_full = reference.data == "cifar10" or cifar.find(Path(reference.data)) is not None
    full_rows = len(options.load_reference(full).train) if has_full else 0
    words = ["fastlin", "report", *command_lines.data_words(reference)]
    words += [] if epochs == _EPOCHS else ["--epochs", str(epochs)]
    words += ["--seeds", str(seeds)]

    def load(is_full: bool) -> Split:
        return options.load_reference(full if is_full else reference)

    def command_of(experiment: Experiment, config: TrainConfig) -> str:
        data = full if experiment.full else reference
        command = command_lines.train_command(data, replace(config, seed=0))
        if experiment.kind != "grid":
            return command
        base = command_lines.train_command(data, experiment.config(0, config.epochs))
        lists = [
            word
            for name, values in experiment.swept.items()
            for word in (f"--{name.replace('_', '-')}", ",".join(map(str, values)))
        ]
        return base.replace("fastlin train", "fastlin grid", 1) + " " + shlex.join(lists)

    def fit_command_of(config: TrainConfig, fitting: Fitting) -> str:
        return command_lines.command_of(reference, config, fitting)

    return Source(load, full_rows, shlex.join(words), command_of, fit_command_of)


def _of_runs(
    runs: Sequence[Path], data: options.Data, threads: int | None, out: Path | None
) -> _Report:
    """Describe runs and grids."""
    from fastlin.functional import use_threads
    from fastlin.report import folders
    from fastlin.report.runs import csv_rows, pages_beside, runs_page

    name = runs[0].resolve().name if len(runs) == 1 else "runs"
    folder = _report_folder(out or Path("reports") / name, "runs")
    with use_threads(threads) as count:
        found, grids = folders.describe_runs(
            runs,
            lambda reference: options.override(reference, data),
            options.load_reference,
            command_lines.command_of,
        )
    notes = options.console(stderr=True)
    for one in found:
        for note in one.notes:
            outcome.print_note(notes, f"{one.name}: {note}")
    command = shlex.join(["fastlin", "report", *map(str, runs)])
    page = runs_page(found, grids, command, count)
    return _Report(folder, "runs", page, csv_rows(found), beside=pages_beside(found))


def _of_report(runs: Sequence[Path], out: Path | None, data: str | None) -> _Report:
    """Read a report that was made, with its pictures."""
    from fastlin.report.page import linked_files, read_pictures
    from fastlin.report.results import RESULTS, load_results

    if len(runs) > 1:
        raise InputError(f"a report ({RESULTS}) is drawn again by itself; name no other folder")
    if data is not None:
        raise InputError("--data has no meaning for a report that is drawn again")
    kind, page = load_results(runs[0])
    folder = runs[0] if out is None else _report_folder(out, kind)
    beside = {name: runs[0] / Path(name).name for name in linked_files(page)}
    return _Report(folder, kind, page, None, read_pictures(runs[0], page), beside)


def _report_folder(folder: Path, kind: str) -> Path:
    """Return the folder if a report can be written there; it is made once there is something."""
    from fastlin.report.page import SUMMARY
    from fastlin.report.results import RESULTS, load_results
    from fastlin.report.study.running import CHECKPOINTS

    try:
        is_used = any(folder.iterdir())
    except FileNotFoundError:
        return folder
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror}") from None
    if is_used and not any((folder / name).exists() for name in (RESULTS, SUMMARY, CHECKPOINTS)):
        raise InputError(f"{folder} is not empty and holds no report; name another --out")
    if (folder / RESULTS).exists() and load_results(folder)[0] != kind:
        raise InputError(f"{folder} holds another kind of report; name another --out")
    return folder


def _write(made: _Report, notes: Console, *, markdown_only: bool, started: float) -> None:
    """Write what is asked for, and print where it is and what it says.

    Results are written and printed first. A picture that cannot be drawn is missing on the page.
    """
    import shutil

    from fastlin.files import make_directory
    from fastlin.report import page as pages
    from fastlin.report import results as files
    from fastlin.report.study.running import CHECKPOINTS

    folder, page, pictures = make_directory(made.folder), made.page, made.pictures
    if not markdown_only:
        with process.writing_results():
            files.save_results(folder, made.kind, page)
            if made.rows is not None:
                files.save_table(folder, made.rows)
    console = options.console()
    _print_table(console, page.sections[0].tables[0])
    if pictures is None:
        try:
            pictures = pages.draw_pictures(page, notes.print)
        except Exception as error:  # noqa: BLE001  (whatever matplotlib finds wrong)
            notes.print(f"the page is not drawn: {reason_of(error)}")
            raise click.exceptions.Exit(1) from None
    names = [pages.SUMMARY] if markdown_only else [pages.PAGE, pages.SUMMARY]
    paths = pages.save_page(folder, page, pictures, names)
    _copy_linked(made)
    if markdown_only:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    console.print(f"Time: {time.perf_counter() - started:.1f} s")
    for path in paths:
        console.print(f"{'Page' if path.suffix == '.html' else 'Summary'}: {path}")


def _copy_linked(made: _Report) -> None:
    """Put the files that a page links to beside it."""
    from fastlin.files import atomic_write
    from fastlin.report.page import linked_files

    for name in linked_files(made.page):
        source, target = made.beside.get(name), made.folder / Path(name).name
        if source is not None and source.is_file() and source != target:
            with atomic_write(target) as file:
                file.write(source.read_bytes())


def _print_table(console: Console, table: pages.Table) -> None:
    from rich.table import Table

    from fastlin.report.page import KINDS

    shown = [place for place, column in enumerate(table.columns) if column.kind != "strip"]
    printed = Table(*(table.columns[place].title for place in shown))
    for row in table.rows:
        name, *cells = (KINDS[table.columns[i].kind](row.cells[i]) for i in shown)
        printed.add_row(options.name_in_table(name), *cells)
    options.print_table(console, printed)


class _Progress:
    """Shows how the study goes on: a bar on a terminal, a line per stage elsewhere."""

    def __init__(self, notes: Console, bar: Any, task: Any) -> None:
        self._notes, self._bar, self._task = notes, bar, task

    def begin(self, rows: int) -> None:
        self._bar.update(self._task, total=rows)

    def stage(self, title: str) -> None:
        self._bar.update(self._task, description=title)
        if not self._notes.is_terminal:
            share = self._bar.tasks[self._task].percentage
            self._notes.print(f"{title:<40} {share:.0f} % done")

    def advance(self, rows: int, *, trained: bool) -> None:
        del trained  # what was found on disk is done, too
        self._bar.update(self._task, advance=rows)


@contextmanager
def _progress(notes: Console) -> Iterator[_Progress]:
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        yield _Progress(notes, bar, bar.add_task("", total=None))
