"""`fastlin evaluate`: a saved classifier on labelled data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastlin.commands import options, outcome

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from fastlin.data.source import DataReference
    from fastlin.metrics import Tally


@click.command()
@click.argument("run", type=options.PLACE)
@options.data_options("the run's own data")
@options.weights_option()
@click.option(
    "--per-class",
    is_flag=True,
    help="Print every class, and which are confused most often, on the last part of the data.",
)
@options.threads_option()
def evaluate(
    run: Path,
    data: options.Data,
    weights: str,
    per_class: bool,
    threads: int | None,
) -> None:
    """Print how good the classifier in the run folder RUN is on its data.

    The accuracy has its 95 % interval (Wilson). balanced is the mean accuracy of the classes, macro
    F1 the mean of theirs. Log loss and calibration error (15 bins) are those of the softmax loss.
    """
    from fastlin.functional import use_threads
    from fastlin.metrics import measure_text
    from fastlin.training.measuring import cost_and_tally

    saved = outcome.load_run(run)
    reference = options.override(saved.data, data)
    model = saved.model if weights == "last" else saved.best_model
    loaded = options.load_for(model, reference, saved.data)
    matched = outcome.match(model, reference, loaded, options.console(stderr=True))
    outcome.note_on_fit(saved.fitting, matched, options.console(stderr=True))
    console = options.console()
    parts = matched.parts()
    if list(parts) == ["train"] and not _is_own(reference, saved.data):
        parts = {f"rows of {options.name_in_table(matched.name)}": matched.train}
    with use_threads(threads):
        found = {part: cost_and_tally(model, rows, saved.config) for part, rows in parts.items()}
    options.print_table(console, _table(found))
    by = f" by {measure_text(saved.select)}" if weights == "best" else ""
    of = f"weights of the {weights} epoch{by}"
    if saved.fitting.gap is not None:
        of = saved.fitting.remark
    console.print(f"{run}, {of}", style="dim", markup=False)
    if per_class:
        part, (_, tally) = list(found.items())[-1]
        _print_classes(console, part, tally, model.class_names)


def _is_own(reference: DataReference, trained: DataReference) -> bool:
    """Return whether a reference names the data that a run was trained on."""
    first, second = (replace(one, sha256=None, data_dir=None) for one in (reference, trained))
    return first == second


def _table(found: dict[str, tuple[float, Tally]]) -> Table:
    """Return the table of all parts, with the metrics that there are."""
    from rich.table import Table

    from fastlin.metrics import METRICS

    values = {part: tally.values() for part, (_, tally) in found.items()}
    there = [metric for metric in METRICS if metric.name in next(iter(values.values()))]
    table = Table("", "rows", "cost", "accuracy", "(95 %)", *(each.title for each in there[1:]))
    for part, (cost, tally) in found.items():
        of = values[part]
        interval = f"{100 * of['accuracy_low']:.1f}-{100 * of['accuracy_high']:.1f}"
        cells = [metric.text(of[metric.name]) for metric in there]
        table.add_row(part, f"{tally.rows:,}", f"{cost:.4f}", cells[0], interval, *cells[1:])
    return table


def _print_classes(console: Console, part: str, tally: Tally, class_names: tuple[str, ...]) -> None:
    """Print what is counted of every class, and the pairs that are confused most often."""
    from rich.table import Table

    names = [options.name_in_table(name) for name in class_names]
    table = Table(f"class ({part})", "rows", "predicted", "accuracy", "precision", "F1")
    shares = zip(tally.recall(), tally.precision(), tally.f1(), strict=True)
    counts = zip(tally.rows_of_class, tally.predicted_of_class, strict=True)
    for name, (rows, predicted), of_class in zip(names, counts, shares, strict=True):
        cells = ["" if share != share else f"{share:.2%}" for share in of_class]  # noqa: PLR0124
        table.add_row(name, f"{rows:,}", f"{predicted:,}", *cells)
    options.print_table(console, table)
    pairs = tally.confusions().pairs
    if pairs:
        confused = Table("true", "predicted", "rows")
        for true, taken_for, size in pairs:
            confused.add_row(names[true], names[taken_for], f"{size:,}")
        options.print_table(console, confused)
