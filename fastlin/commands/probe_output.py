"""What `fastlin probe` prints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlin.commands import few_shots, options, outcome
from fastlin.metrics import measure_text, metric_of
from fastlin.solving.config import inverse_penalty_of

if TYPE_CHECKING:
    from rich.console import Console

    from fastlin.data import Split
    from fastlin.search.probe import Probe
    from fastlin.search.ranking import GridResult
    from fastlin.solving.path_result import PathPoint
    from fastlin.training.few_shots import FewShots


def print_found(
    console: Console, found: Probe | FewShots | GridResult, split: Split,
    summary: dict[str, Any], folder: Path,
) -> None:  # fmt: skip
    """Print what a probe found, what its classifier reaches, and where it is."""
    from fastlin.search.probe import Probe
    from fastlin.search.ranking import GridResult

    if isinstance(found, Probe):
        _print_path(console, found)
    elif isinstance(found, GridResult):
        _print_rates(console, found)
    else:
        few_shots.print_draws(console, found, folder)
    if isinstance(found, Probe | GridResult):
        test = summary["results"]["last"].get("test")
        if test is not None and split.test is not None:  # maybe rows of another file
            console.print(f"Accuracy on {len(split.test):,} test rows: {test['accuracy']:.2%}")
    console.print(f"Run folder: {folder}")


def _print_path(console: Console, found: Probe) -> None:
    from rich.table import Table

    from fastlin.solving.solution import gap_text

    path = found.path
    table = Table()
    metric = metric_of(path.select)
    chosen_by = [] if metric is None else [metric.title]
    heads = ("C", "l2", "objective", "relative gap", "passes", "accuracy", "cost")
    for heading in (*heads, *chosen_by, "‖W‖", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    for point in path.points:
        marks = ["chosen"] * (point is path.best)
        marks += ["one standard error"] * (point is path.one_error)
        table.add_row(
            f"{point.C:.4g}", f"{point.l2:.4g}", f"{point.objective:.6g}",
            f"{point.relative_gap:.0e}" if point.relative_gap < math.inf else "no bound",
            str(point.passes), f"{point.values['accuracy']:.2%}",
            f"{point.values['cost']:.4f}",
            *([] if metric is None else [metric.text(point.values[metric.name])]),
            f"{point.weight_norm:.4g}", ", ".join(marks),
        )  # fmt: skip
    options.print_table(console, table)
    best, near = path.best, path.one_error
    measured, rows = measure_text(path.select), f"{path.validation_rows:,} validation rows"
    learned = "training and validation rows"
    if path.cv is not None:
        measured = measured.removeprefix("validation ")
        rows = f"{path.validation_rows:,} rows, in {path.cv} folds of which each was held out once"
        learned = "rows"
    console.print(
        f"Chosen by {measured}: C {best.C:.4g} (l2 {best.l2:.4g}), "
        f"{_reached(best, path.select)} on {rows}"
    )
    if near is not best:
        console.print(
            f"Within a standard error: C {near.C:.4g} (l2 {near.l2:.4g}), "
            f"{_reached(near, path.select)}"
        )
    if path.refit:
        solution = path.solution
        C = inverse_penalty_of(solution.l2, found.fit.rows, len(solution.model.b))
        console.print(
            f"Fitted again on all {found.fit.rows:,} {learned}: C {C:.4g} (l2 {solution.l2:.4g}), "
            f"{gap_text(solution.relative_gap, solution.l2)}"
        )
    for text in path.notes:
        outcome.print_note(options.console(stderr=True), text)


def _reached(point: PathPoint, select: str) -> str:
    """Return the accuracy of a penalty, after what it was chosen by if that is something else."""
    accuracy = f"accuracy {point.values['accuracy']:.2%}"
    metric = metric_of(select)
    if metric is not None:
        name = measure_text(select).removeprefix("validation ")
        return f"{name} {metric.text(point.values[metric.name])}, {accuracy}"
    return f"cost {point.values['cost']:.4f}, {accuracy}" if select == "val_cost" else accuracy


def _print_rates(console: Console, found: GridResult) -> None:
    from rich.table import Table

    table = Table()
    for heading in ("lr", "accuracy", "cost", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    for entry in sorted(found.entries, key=lambda entry: float(entry.config.lr)):
        is_best = entry.index == found.best.index
        cells = ["", ""]
        if len(entry.history):
            last = entry.history
            cells = [f"{last.val_accuracy[-1]:.2%}", f"{last.val_cost[-1]:.4f}"]
        mark = "chosen" if is_best else "" if entry.status == "finished" else entry.status
        table.add_row(f"{entry.config.lr:g}", *cells, mark)
    options.print_table(console, table)
