"""`fastlin fit`: the exact optimum of a linear classifier, and how far from it the result is."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from fastlin.commands import options, outcome, process, setting_options
from fastlin.errors import InputError, counted
from fastlin.losses import with_parameters
from fastlin.solving.config import FitConfig, inverse_penalty_of, with_settings

if TYPE_CHECKING:
    from rich.console import Console

    from fastlin.compilation import Compiling
    from fastlin.data import Split
    from fastlin.data.source import DataReference
    from fastlin.solving.run import ExactFit
    from fastlin.solving.solution import Progress, Solution

DEFAULT_DATA = "cifar10-mini"


@click.command()
@options.data_options(DEFAULT_DATA)
@setting_options.settings_options(FitConfig)
@options.threads_option()
@options.dask_option()
@click.option(
    "--config",
    "config_path",
    type=options.PLACE,
    help="An exact fit's config.json: fit it again; options given beside it take precedence.",
)
@click.option("--out", type=options.PLACE, help="Run folder  [default: runs/DATA-1, -2, ...]")
@click.option(
    "--figures/--no-figures", default=True, help="Draw figures into the run folder, or not."
)
@click.pass_context
def fit(
    ctx: click.Context,
    /,
    data: options.Data,
    threads: int | None,
    dask: str | None,
    config_path: Path | None,
    out: Path | None,
    figures: bool,
    **settings: Any,
) -> None:
    """Fit the exact optimum of a linear classifier, and prove how close it is.

    It minimises the mean loss plus --l2 times the sum of squared weights over the training rows,
    until the objective is proved to be within --gap of the least one there is. Results go to a run
    folder, as those of `fastlin train` do.
    """
    started = time.perf_counter()
    reference, config = _what_to_fit(data, config_path, settings)
    notes = options.console(stderr=True)
    split = options.load_reference(reference)
    from fastlin import runs

    count = options.thread_count(threads)
    outcome.note_if_changed(reference, split, notes)
    try:
        with outcome.compiling(notes) as compilation, options.cluster(dask) as client:
            found = _fit(split, config, count, notes, compilation, client)
        with process.writing_results():
            saved = replace(reference, sha256=split.fingerprint())
            content = runs.config_content(saved, found.result.config, found.fitting)
            folder = outcome.new_folder(out, split.name, runs.CONFIG, content)
            summary = outcome.write_fit(
                folder, saved, found.result, split, count, compilation.seconds, started, notes,
                study=found,
            )  # fmt: skip
        _print(found, split, summary["results"]["last"], folder)
        outcome.note_on_reading(split, notes)
        drawn = 0.0, 0.0
        if figures:
            drawn = outcome.draw(found.result, split, folder, count, notes, fitting=found.fitting)
        outcome.save_times(folder, summary, drawn, started)
    except KeyboardInterrupt as stop:
        notes.print("Interrupted")
        ctx.exit(process.exit_code(stop))


def _what_to_fit(
    data: options.Data, config_path: Path | None, settings: dict[str, Any]
) -> tuple[DataReference, FitConfig]:
    """Return data and settings: options where given, then --config, then the defaults."""
    given, parameters = setting_options.given_with_parameters(settings)
    if {"l2", "C"} <= given.keys():
        raise InputError("--l2 and --C say the same; leave one of them out")
    reference, config = options.reference_of({"data": DEFAULT_DATA} | data), FitConfig()
    if config_path is not None:
        reference, config = _saved(config_path)
        reference = options.override(reference, data)
    config = with_settings(config, given)
    return reference, replace(config, loss=with_parameters([config.loss], parameters)[0])


def _saved(path: Path) -> tuple[DataReference, FitConfig]:
    """Return data and settings of an exact fit's config.json."""
    from fastlin import runs
    from fastlin.solving.run import settings_of_fit

    reference, trained, fitting = runs.load_configuration(path)
    if fitting.gap is None:
        raise InputError(f"{path} is of no exact fit; train it again with fastlin train --config")
    if fitting.as_probe(trained.penalty_factor) is not None:
        raise InputError(
            f"{path} is of a probe, which chose the penalty; do it again with fastlin probe "
            f"--config {quote(str(path))}, or give fastlin fit the data and a penalty"
        )
    return reference, settings_of_fit(trained, fitting)


def _fit(
    split: Split, config: FitConfig, threads: int, notes: Console, compilation: Compiling,
    client: Any,
) -> ExactFit:  # fmt: skip
    """Fit, with a line of progress now and then where it takes long."""
    from fastlin.solving.run import ExactFit
    from fastlin.solving.solution import gap_text
    from fastlin.solving.solver import solve

    l2 = config.penalty_factor(len(split.train), len(split.train.class_names))

    def describe(step: Progress) -> str:
        proof = gap_text(step.gap, l2)
        return f"pass {step.passes}  objective {step.objective:.6f}  {proof}"

    lines = outcome.now_and_then(notes, describe)
    with options.data_notes():
        solution = solve(split, config=config, threads=threads, progress=lines, client=client)
    return ExactFit.of(solution, split, compilation.seconds)


def _print(
    found: ExactFit, split: Split, results: dict[str, dict[str, float]], folder: Path
) -> None:
    """Print what was found, how sure that is, and where it is."""
    from rich.table import Table

    from fastlin.report.wording import PARTS
    from fastlin.solving.solution import gap_text

    console, solution = options.console(), found.solution
    console.print(f"{solution.config.loss} on {split.name}, {_penalty_text(solution, found.rows)}")
    table = Table("")
    for heading in ("cost", "accuracy"):
        table.add_column(heading, justify="right")
    for part, values in results.items():
        table.add_row(PARTS[part], f"{values['cost']:.4f}", f"{values['accuracy']:.2%}")
    options.print_table(console, table)
    passes = counted(solution.passes, "pass")
    proof = gap_text(solution.relative_gap, solution.l2)
    console.print(
        f"Objective {solution.objective:.9g}, {proof}, relative gradient "
        f"{solution.gradient_norm:.1e}: {passes} over the rows, "
        f"{found.result.seconds.train:.2f} s"
    )
    if solution.note is not None:
        outcome.print_note(options.console(stderr=True), f"not converged: {solution.note}")
    console.print(f"Run folder: {folder}")


def _penalty_text(solution: Solution, row_count: int) -> str:
    """Return the penalty in both units."""
    C = inverse_penalty_of(solution.l2, row_count, len(solution.model.b))
    return f"l2 {solution.l2:.4g} (C {C:.4g} of scikit-learn)"
