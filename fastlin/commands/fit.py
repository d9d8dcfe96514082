"""`fastlin fit`: the exact optimum of a linear classifier, and how far from it the result is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastlin.commands import options, outcome, process, setting_options
from fastlin.errors import InputError, counted
from fastlin.losses import with_parameters
from fastlin.solving.config import FIT_SETTINGS, FitConfig, inverse_penalty_of

if TYPE_CHECKING:
    from rich.console import Console

    from fastlin.compilation import Compiling
    from fastlin.data import Split
    from fastlin.data.source import DataReference
    from fastlin.solving.run import ExactFit
    from fastlin.solving.solution import Progress, Solution

DEFAULT_DATA = "cifar10-mini"
_SECONDS_BETWEEN_LINES = 2.0


@click.command()
@options.data_options(DEFAULT_DATA)
@setting_options.settings_options(FitConfig)
@options.threads_option()
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
    from fastlin.threads import use_threads

    with use_threads(threads) as count:  # an error comes before anything is computed
        pass
    outcome.note_if_changed(reference, split, notes)
    try:
        with outcome.compiling(notes) as compilation:
            found = _fit(split, config, count, notes, compilation)
        with process.writing_results():
            saved = replace(reference, sha256=split.fingerprint())
            content = runs.config_content(saved, found.result.config, found.fitting)
            folder = outcome.new_folder(out, split.name, runs.CONFIG, content)
            summary = outcome.write_fit(
                folder, saved, found.result, split, count, compilation.seconds, started, notes,
                study=found,
            )  # fmt: skip
        _print(found, split, summary["results"]["last"], folder)
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
        if "C" in given:
            given["l2"] = FitConfig().l2
    config = replace(config, **given)
    return reference, replace(config, loss=with_parameters([config.loss], parameters)[0])


def _saved(path: Path) -> tuple[DataReference, FitConfig]:
    """Return data and settings of an exact fit's config.json."""
    from fastlin import runs

    reference, trained, fitting = runs.load_configuration(path)
    if fitting.gap is None:
        raise InputError(f"{path} is of no exact fit; train it again with fastlin train --config")
    if fitting.refit or fitting.shots is not None:
        raise InputError(
            f"{path} is of a probe, which does not fit the training rows; do it again with "
            f"{options.command_of(reference, trained, fitting)}"
        )
    shared = {name: getattr(trained, name) for name in FIT_SETTINGS if hasattr(trained, name)}
    given: dict[str, Any] = {"gap": fitting.gap, "fit_intercept": fitting.fit_intercept}
    if fitting.max_passes is not None:
        given["max_passes"] = fitting.max_passes
    return reference, FitConfig(**shared, **given)


def _fit(
    split: Split, config: FitConfig, threads: int, notes: Console, compilation: Compiling
) -> ExactFit:
    """Fit, with a line of progress now and then where it takes long."""
    from fastlin.solving.run import ExactFit
    from fastlin.solving.solver import solve

    with options.data_notes():
        solution = solve(split, config=config, threads=threads, progress=_lines(notes))
    return ExactFit.of(solution, split, compilation.seconds)


def _lines(notes: Console) -> Callable[[Progress], None]:
    """Return what prints a step, if the last line was printed some time ago."""
    last = time.perf_counter()

    def tell(step: Progress) -> None:
        nonlocal last
        if time.perf_counter() - last > _SECONDS_BETWEEN_LINES:
            last = time.perf_counter()
            notes.print(
                f"pass {step.passes}  objective {step.objective:.6f}  {_gap_text(step.gap)}"
            )

    return tell


def _gap_text(relative_gap: float) -> str:
    """Return a relative gap in words."""
    if relative_gap > 1:
        return "gap not known yet"
    return f"relative gap at most {relative_gap:.1e}"


def _print(
    found: ExactFit, split: Split, results: dict[str, dict[str, float]], folder: Path
) -> None:
    """Print what was found, how sure that is, and where it is."""
    from rich.table import Table

    from fastlin.report.wording import PARTS

    console, solution = options.console(), found.solution
    console.print(f"{solution.config.loss} on {split.name}, {_penalty_text(solution, found.rows)}")
    table = Table("")
    for heading in ("cost", "accuracy"):
        table.add_column(heading, justify="right")
    for part, values in results.items():
        table.add_row(PARTS[part], f"{values['cost']:.4f}", f"{values['accuracy']:.2%}")
    options.print_table(console, table)
    passes = counted(solution.passes, "pass")
    proof = _gap_text(solution.relative_gap) if solution.l2 > 0 else "no bound, as l2 is 0"
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
