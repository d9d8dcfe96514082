"""`fastlin report`: the reference study, or runs of one's own, as one page."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastlin.commands import options, outcome, process
from fastlin.commands.train import DEFAULT_DATA
from fastlin.errors import InputError, reason_of

if TYPE_CHECKING:
    from rich.console import Console

    from fastlin.config import TrainConfig
    from fastlin.data import Split
    from fastlin.report.results import Json
    from fastlin.report.study.experiments import Experiment
    from fastlin.report.study.findings import Source
    from fastlin.runs import DataReference

_SEEDS, _EPOCHS = 5, 40


@click.command()
@click.argument("runs", nargs=-1, type=options.PLACE, metavar="[RUN]...")
@click.option(
    "--data",
    type=options.DATA,
    metavar="NAME|PATH",
    help="Data of the study: cifar10 (what it is for), or others  "
    f"[default: {DEFAULT_DATA}; of runs: their own]",
)
@click.option(
    "--data-dir",
    type=options.PLACE,
    help="Folder that holds the data set  [default: $FASTLIN_DATA, else the user's cache]",
)
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
    data: str | None,
    data_dir: Path | None,
    seeds: int | None,
    epochs: int | None,
    threads: int | None,
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
    if runs and not (seeds is None and epochs is None):
        raise InputError("--seeds and --epochs are of the study; leave them out to report on runs")
    from fastlin.files import check_reachable
    from fastlin.report.results import RESULTS

    for run in runs:
        check_reachable(run)
    notes = options.console(stderr=True)
    if any((run / RESULTS).is_file() for run in runs):
        results, folder = _of_report(runs, out, data)
    elif runs:
        results, folder = _of_runs(runs, data, data_dir, threads, out)
    else:
        reference = options.reference_of(data or DEFAULT_DATA, None, data_dir)
        try:
            results, folder = _of_study(
                reference, seeds or _SEEDS, epochs or _EPOCHS, threads, out, notes
            )
        except KeyboardInterrupt as stop:
            notes.print("Interrupted; the same command goes on from what is done")
            ctx.exit(process.exit_code(stop))
    _write(results, folder, notes, markdown_only=markdown_only, started=started)


def _of_study(
    reference: DataReference, seeds: int, epochs: int, threads: int | None, out: Path | None,
    notes: Console,
) -> tuple[Json, Path]:  # fmt: skip
    """Run the study; return its results and the folder of the report."""
    from fastlin.report.study import findings

    source = _source(reference, seeds, epochs)
    split = source.load(False)
    findings.check_parts(split)
    folder = _report_folder(out or Path("reports") / split.name, "study")
    del split
    with _progress(notes) as progress:
        return findings.run_study(source, seeds, epochs, threads, folder, progress), folder


def _source(reference: DataReference, seeds: int, epochs: int) -> Source:
    from fastlin.data.formats import cifar
    from fastlin.report.study.findings import Source

    full = replace(reference, split="full")
    has_full = reference.data == "cifar10" or cifar.find(Path(reference.data)) is not None
    full_rows = len(options.load_reference(full).train) if has_full else 0
    words = ["fastlin", "report", "--data", reference.data]
    if reference.data_dir is not None:
        words += ["--data-dir", reference.data_dir]
    words += [] if epochs == _EPOCHS else ["--epochs", str(epochs)]
    words += ["--seeds", str(seeds)]

    def load(is_full: bool) -> Split:
        return options.load_reference(full if is_full else reference)

    def command_of(experiment: Experiment, config: TrainConfig) -> str:
        data = full if experiment.full else reference
        command = options.train_command(data, replace(config, seed=0))
        if experiment.kind != "grid":
            return command
        base = options.train_command(data, experiment.config(0, config.epochs))
        lists = [
            word
            for name, values in experiment.swept.items()
            for word in (f"--{name.replace('_', '-')}", ",".join(map(str, values)))
        ]
        return base.replace("fastlin train", "fastlin grid", 1) + " " + shlex.join(lists)

    return Source(load, full_rows, shlex.join(words), command_of)


def _of_runs(
    runs: Sequence[Path], data: str | None, data_dir: Path | None, threads: int | None,
    out: Path | None,
) -> tuple[Json, Path]:  # fmt: skip
    """Return the results of runs and grids, and the folder of the report."""
    from fastlin.report import folders

    def place_of(reference: DataReference) -> DataReference:
        return options.override(reference, data, None, data_dir)

    name = runs[0].resolve().name if len(runs) == 1 else "runs"
    folder = _report_folder(out or Path("reports") / name, "runs")
    command = shlex.join(["fastlin", "report", *map(str, runs)])
    results = folders.describe_runs(
        runs, place_of, options.load_reference, options.train_command, command, threads
    )
    notes = options.console(stderr=True)
    for run in results["runs"]:
        for note in run["notes"]:
            outcome.print_note(notes, f"{run['name']}: {note}")
    return results, folder


def _of_report(runs: Sequence[Path], out: Path | None, data: str | None) -> tuple[Json, Path]:
    """Return the results of a report that was made, and the folder of the new one."""
    from fastlin.report.results import RESULTS, load_results

    if len(runs) > 1:
        raise InputError(f"a report ({RESULTS}) is drawn again by itself; name no other folder")
    if data is not None:
        raise InputError("--data has no meaning for a report that is drawn again")
    results = load_results(runs[0])
    return results, runs[0] if out is None else _report_folder(out, results["kind"])


def _report_folder(folder: Path, kind: str) -> Path:
    """Make the folder of a report, or take it if it holds one of the same kind."""
    from fastlin.files import make_directory
    from fastlin.report.page import SUMMARY
    from fastlin.report.results import RESULTS, load_results
    from fastlin.report.study.findings import CHECKPOINTS

    make_directory(folder)
    try:
        is_used = any(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror}") from None
    if is_used and not any((folder / name).exists() for name in (RESULTS, SUMMARY, CHECKPOINTS)):
        raise InputError(f"{folder} is not empty and holds no report; name another --out")
    if (folder / RESULTS).exists() and load_results(folder)["kind"] != kind:
        raise InputError(f"{folder} holds another kind of report; name another --out")
    return folder


def _write(
    results: Json, folder: Path, notes: Console, *, markdown_only: bool, started: float
) -> None:
    """Write what is asked for, and print where it is and what it says.

    Results are written and printed first. A picture that cannot be drawn is missing on the page.
    """
    import shutil

    from fastlin.report import results as files
    from fastlin.report.study import findings

    if not markdown_only:
        with process.writing_results():
            files.save_results(folder, results)
            files.save_table(folder, files.table(results))
    console = options.console()
    _print_table(console, results)
    try:
        from fastlin.report import page
    except Exception as error:  # noqa: BLE001  (whatever matplotlib finds wrong)
        notes.print(f"the page is not drawn: {reason_of(error)}")
        raise click.exceptions.Exit(1) from None
    pictures = page.draw(results, notes.print)
    paths = [page.save_summary(folder, results, pictures)]
    if markdown_only:
        shutil.rmtree(folder / findings.CHECKPOINTS, ignore_errors=True)
    else:
        paths.insert(0, page.save_page(folder, results, pictures))
    console.print(f"Time: {time.perf_counter() - started:.1f} s")
    for path in paths:
        console.print(f"{'Page' if path.suffix == '.html' else 'Summary'}: {path}")


def _print_table(console: Console, results: Json) -> None:
    from rich.table import Table

    from fastlin.report.study import wording

    if results["kind"] == "study":
        table = Table("", "experiment", "published", "fastlin", "verdict", title_justify="left")
        for found in wording.published(results):
            table.add_row(
                found["id"], options.name_in_table(found["title"]),
                wording.percent(found["published"]), wording.spread(found["test_accuracy"]),
                found["against_published"]["verdict"],
            )  # fmt: skip
        options.print_table(console, table)
        return
    table = Table("run", "epochs", "train", "validation", "test")
    for run in results["runs"]:
        cells = [wording.percent(run["last"].get(part, {}).get("accuracy"))
                 for part in ("train", "val", "test")]  # fmt: skip
        table.add_row(options.name_in_table(run["name"]), str(run["epochs"]), *cells)
    options.print_table(console, table)


class _Progress:
    """Shows how the study goes on: a bar on a terminal, a line per stage elsewhere."""

    def __init__(self, notes: Console, bar: Any, task: Any) -> None:
        self._notes, self._bar, self._task = notes, bar, task
        self._total = self._done = self._trained = 0
        self._started = time.perf_counter()

    def begin(self, rows: int) -> None:
        self._total = rows
        self._started = time.perf_counter()
        self._bar.update(self._task, total=rows)

    def stage(self, title: str) -> None:
        self._bar.update(self._task, description=title)
        if not self._notes.is_terminal:
            self._notes.print(f"{title:<40} {self._left()}".rstrip())

    def advance(self, rows: int, *, trained: bool) -> None:
        self._done += rows
        self._trained += rows if trained else 0
        self._bar.update(self._task, completed=self._done, left=self._left())

    def _left(self) -> str:
        """Return the time left, from what was trained since the beginning, not found on disk."""
        if not self._trained:
            return ""
        speed = self._trained / (time.perf_counter() - self._started)
        seconds = max(self._total - self._done, 0) / speed
        minutes, seconds = divmod(round(seconds), 60)
        return f"{speed:,.0f} rows/s, {minutes}:{seconds:02} left"


@contextmanager
def _progress(notes: Console) -> Iterator[_Progress]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[left]}", style="dim", markup=False),
    )
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        yield _Progress(notes, bar, bar.add_task("", total=None, left=""))
