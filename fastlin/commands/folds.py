"""What --cv does: folds, their ranking, and what is printed, written and drawn of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlin.commands import command_lines, options, outcome, process
from fastlin.commands.grid_output import SHOWN_ENTRIES, progress_shown
from fastlin.errors import DivergedError, GridDivergedError, PackageError

if TYPE_CHECKING:
    from rich.console import Console

    from fastlin.commands.grid import Search
    from fastlin.data import Split
    from fastlin.search.fold_results import CrossValidation

MANY_ERRORS = 0.1  # the share of rows beyond which likely wrong labels are not to be believed


def search_in_folds(search: Search, notes: Console, *, figures: bool) -> int:
    """Rank the entries of a grid by cross-validation, and leave the winner's run folder.

    Returns the exit code: 1 if training diverged. Folds that were finished before are not trained
    again.
    """
    from fastlin import runs, summaries
    from fastlin.files import make_directory
    from fastlin.search.ranking import save_table, values_text
    from fastlin.search.request import TABLE, WINNER

    request, split, folder = search.request, search.split, search.folder
    with options.cluster(search.dask) as client:
        found, compile_seconds = folds_of(
            split, notes, cv=request.cv, grid=search.configs, select=search.rule.select,
            threads=search.threads, journals=folder, eval_train_every=request.eval_train_every,
            client=client,
        )  # fmt: skip
    if found is None:
        return 1
    ranking, best, place = found.ranking, found.ranking.best, folder / WINNER
    command = f"{command_lines.train_command(request.data, best.config)} --cv {found.folds}"
    seconds = {
        "compile": compile_seconds, "search": ranking.seconds - compile_seconds, "draw": 0.0,
        "total": time.perf_counter() - search.started,
    }  # fmt: skip
    with process.writing_results():
        save_table(folder / TABLE, ranking, found.errors.tolist())
        reference = replace(request.data, sha256=split.fingerprint())
        written = runs.write_run(
            make_directory(place), reference, found.result, split, "finished", search.threads,
            study=found,
        )  # fmt: skip
        test = written["results"]["last"].get("test")
        whole = found.fitted_on(split)
        summary = summaries.summarize_grid(
            ranking, whole, test, command, seconds, search.threads
        ) | {"cross_validation": written["cross_validation"]}
        summary["epochs_trained"] *= found.folds
        runs.save_summary(folder, summary)
    console = options.console()
    _print_ranking(console, found, folder.name)
    console.print(f"Winner: entry {best.index}, {values_text(best.config, ranking.swept)}")
    print_folds(console, found, test, place)
    console.print(f"Train it alone: {command}")
    console.print(f"Grid folder: {folder}")
    drawn = (
        draw_folds(found, split, place, search.threads, notes, folder) if figures else (0.0, 0.0)
    )
    outcome.save_times(folder, summary, drawn, search.started)
    return 0


def folds_of(
    split: Split, notes: Console, **arguments: Any
) -> tuple[CrossValidation | None, float]:
    """Do `fastlin.cross_validate`; return what it found, None if it diverged, and compile time."""
    from fastlin.search.cross_validation import Calls, cross_validate

    configs = arguments.get("grid")
    with (
        nullcontext()
        if configs is None
        else progress_shown(notes, configs, arguments["select"]) as progress,
        outcome.compiling(notes) as compilation,
        options.data_notes(),
    ):
        calls = Calls(
            lambda note: outcome.print_note(notes, note),
            lambda fold, folds: notes.print(f"fold {fold} of {folds}"),
            progress,
        )
        try:
            found = cross_validate(split, calls=calls, **arguments)
        except (DivergedError, GridDivergedError) as error:
            notes.print(f"{error} (--lr {error.smaller_lr:g})")
            return None, compilation.seconds
    return found, compilation.seconds


def print_folds(
    console: Console, found: CrossValidation, test: dict[str, float] | None, folder: Path
) -> None:
    """Print what the folds say of the winner, and what was written of them."""
    from fastlin.search.fold_results import LABEL_ERRORS, PROBABILITIES

    is_share = found.ranking.ranked_by.select == "val_accuracy"

    def text(value: float) -> str:
        return f"{value:.2%}" if is_share else f"{value:.4f}"

    rows = f"{len(found.rows):,} rows"
    scores = ", ".join(text(score) for score in found.scores.tolist())
    console.print(
        f"{found.folds} folds of {rows}, {found.ranking.rule}: mean {text(found.mean)}, standard "
        f"error {text(found.error)} ({scores})"
    )
    values = found.tally.values()
    low, high = values["accuracy_low"], values["accuracy_high"]
    console.print(
        f"Out of fold: accuracy {values['accuracy']:.2%} (95 % {low:.2%} to {high:.2%}), balanced "
        f"{values['balanced_accuracy']:.2%}"
    )
    if found.probabilities is None:
        console.print(
            f"{found.result.config.loss} has no probabilities: no {PROBABILITIES}, and no likely "
            "wrong labels"
        )
    else:
        count = len(found.likely_label_errors())
        console.print(f"Likely wrong labels: {count:,} of {rows}, in {folder / LABEL_ERRORS}")
        if count > MANY_ERRORS * len(found.rows):
            console.print("So many that most of them may be errors of the classifier.")
        console.print(f"Out-of-fold probabilities: {folder / PROBABILITIES}")
    console.print(f"The classifier is fitted on all {rows} with the same settings.")
    if test is not None:
        console.print(f"Test accuracy of it: {test['accuracy']:.2%}")


def _print_ranking(console: Console, found: CrossValidation, name: str) -> None:
    """Print the best entries by their means."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from fastlin.search.ranking import value_text

    ranking, errors = found.ranking, found.errors
    shown, best = ranking.ranked()[:SHOWN_ENTRIES], ranking.best
    count = len(ranking.entries)
    console.print(
        f"Best {len(shown)} of {count} by the mean of {found.folds} folds, {ranking.rule}, {name}:"
    )
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("rank", "entry", *ranking.swept, "accuracy", "cost", "score's\nstd. error"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("status")
    table.add_column("against\nthe winner")
    any_close = False
    for rank, entry in enumerate(shown, start=1):
        settings, record, error = entry.config.to_dict(), entry.record, errors[entry.index]
        is_close = rank > 1 and abs(entry.score - best.score) < found.error
        is_close = is_close and entry.status == "finished"
        any_close = any_close or is_close
        table.add_row(
            str(rank), str(entry.index), *(value_text(settings[n]) for n in ranking.swept),
            f"{record.val_accuracy:.2%}" if record else "",
            f"{record.val_cost:.4f}" if record else "",
            f"{error:.4f}" if error == error else "",  # noqa: PLR0124  (not NaN)
            entry.status, "within noise" if is_close else "",
        )  # fmt: skip
    options.print_table(console, table)
    if any_close:
        console.print("Within noise: less than the winner's standard error over folds from it.")


def draw_folds(
    found: CrossValidation, split: Split, place: Path, threads: int, notes: Console,
    grid_folder: Path | None = None,
) -> tuple[float, float]:  # fmt: skip
    """Draw the figures of the run in `place`, and of a grid; return seconds as `outcome.draw`."""
    from fastlin.report.grid_figures import draw_grid
    from fastlin.report.label_errors import draw_label_errors

    whole = found.fitted_on(split)
    compiling, drawing = outcome.draw(found.result, whole, place, threads, notes)
    jobs: list[Callable[[], object]] = [
        lambda: draw_label_errors(found, split.name, place),
        lambda: _write_page(found, split.name, place, notes),
    ]
    if grid_folder is not None:
        remark = f"means over {found.folds} folds"
        jobs.append(lambda: draw_grid(found.ranking, whole, grid_folder, notes.print, remark))
    for job in jobs:
        more = outcome.drawing(job, notes)
        compiling, drawing = compiling + more[0], drawing + more[1]
    return compiling, drawing


def _write_page(found: CrossValidation, name: str, place: Path, notes: Console) -> None:
    """Write the page of likely wrong labels, if what it needs is installed."""
    from fastlin.report.label_errors import save_label_page

    try:
        path = save_label_page(found, name, place)
    except PackageError as error:
        notes.print(str(error))
        return
    if path is not None:
        options.console().print(f"Page of likely wrong labels: {path}")
