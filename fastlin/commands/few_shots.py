"""What `fastlin train --shots` does: draws of few rows, and the table of what they reach."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastlin.commands import options, outcome
from fastlin.errors import DivergedError, counted

if TYPE_CHECKING:
    from rich.console import Console

    from fastlin.config import TrainConfig
    from fastlin.data import Split
    from fastlin.fitting import Fitting
    from fastlin.training.few_shots import FewShots


def draws_of(
    split: Split, config: TrainConfig, fitting: Fitting, threads: int, notes: Console
) -> tuple[FewShots | None, float]:
    """Do `fastlin.few_shots`; return what it found, None if it diverged, and compile time."""
    from fastlin.training.few_shots import few_shots

    assert fitting.shots is not None  # noqa: S101  (as the caller has seen)
    assert fitting.draws is not None  # noqa: S101  (they go together)
    with outcome.compiling(notes) as compilation:
        try:
            found = few_shots(
                split,
                shots=fitting.shots,
                draws=fitting.draws,
                config=config,
                threads=threads,
                note=lambda note: outcome.print_note(notes, note),
                on_draw=lambda draw: notes.print(f"draw {draw} of {fitting.draws}"),
            )
        except DivergedError as error:
            notes.print(f"{error} (--lr {error.smaller_lr:g})")
            return None, compilation.seconds
    return found, compilation.seconds


def print_draws(console: Console, found: FewShots, folder: Path) -> None:
    """Print means and intervals over the draws, and what the run folder holds."""
    from rich.table import Table

    from fastlin.report.wording import PARTS
    from fastlin.training.few_shots import TABLE

    draws = len(found.rows)
    console.print(
        f"{counted(found.shots, 'row')} a class ({counted(len(found.rows[0]), 'training row')}), "
        f"{counted(draws, 'draw')}, means:"
    )
    table = Table("", "accuracy", "(95 %, t over draws)", "std. dev.", "balanced", "macro F1")
    for part in found.values:
        of = found.spread(part)
        interval, sd = "", ""
        if draws > 1:
            interval, sd = f"{100 * of.low:.2f}-{100 * of.high:.2f}", f"{of.sd:.2%}"
        balanced = found.spread(part, "balanced_accuracy").mean
        f1 = found.spread(part, "macro_f1").mean
        cells = (f"{of.mean:.2%}", interval, sd, f"{balanced:.2%}", f"{f1:.4f}")
        table.add_row(PARTS[part], *cells)
    options.print_table(console, table)
    console.print(f"Every draw: {folder / TABLE}. The classifier saved is that of the first.")
