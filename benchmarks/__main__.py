"""The performance study: `python -m benchmarks`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from benchmarks.cases import Case

CORES = 2
REPORT = Path("docs/benchmarks")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--list", "list_only", is_flag=True, help="Name the cases and stop.")
@click.option("--only", multiple=True, metavar="CASE", help="Run this case; may be repeated.")
@click.option(
    "--out", type=click.Path(path_type=Path),
    help=f"Folder for results, named by the processor, table.md and plots  [default: {REPORT}; "
    "none with --only or --quick]",
)  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True,
              help="Rounds in which everybody runs once.")  # fmt: skip
@click.option("--rival", "rivals", multiple=True, metavar="NAME",
              help="Beside the NumPy twin, race only: NumPy, PyTorch, JAX.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Few rows, 3 short rounds: does everything work?")
def main(
    *,
    list_only: bool,
    only: tuple[str, ...],
    out: Path | None,
    rounds: int,
    rivals: tuple[str, ...],
    quick: bool,
) -> None:
    """Race fastlin against NumPy, PyTorch, JAX and scikit-learn, as far as they are installed.

    Each runs in a process of its own, at its library's defaults but for the number of threads;
    all take turns, round after round, and sleep in between, held to two cores. Figures are medians
    of the rounds, and of the rounds' ratios. A rival that fails is left out.

    Set no variable such as OPENBLAS_CORETYPE for a fair race: the head names those that are.
    """
    _keep_to_cores(CORES)  # before any library starts its threads
    from benchmarks import cases, grid_cases, machine, processes, report  # noqa: PLC0415
    from benchmarks.peers import RIVALS  # noqa: PLC0415
    from benchmarks.racing import FailedError  # noqa: PLC0415

    every = [
        *cases.STEPS, *cases.EPOCHS, *cases.COMPARISONS, *grid_cases.GRIDS, *processes.PROCESSES,
    ]  # fmt: skip
    chosen = _choose(every, only)
    if list_only:
        for case in chosen:
            click.echo(f"{case.name:20} {case.title}")
        return
    known = {kind.name: kind for kind in RIVALS}
    if unknown := set(rivals) - set(known):
        raise click.BadParameter(f"no rival {unknown.pop()!r}; there are {', '.join(known)}")
    names = {*(rivals or known), "NumPy twin"}
    settings = cases.Settings(
        3 if quick else rounds,
        quick,
        tuple(known[name] for name in known if name in names),
        on_round=lambda: click.echo(".", nl=False, err=True),
    )
    click.echo("\n".join(machine.header_lines()))
    outcomes, failed = [], False
    started = time.perf_counter()
    for number, case in enumerate(chosen, 1):
        if case.threads > machine.cores():
            click.echo(f"{case.name}: left out, it needs {case.threads} cores")
            continue
        seconds = time.perf_counter() - started
        click.echo(f"[{number}/{len(chosen)}, {seconds:.0f} s] {case.name} ", nl=False, err=True)
        try:
            outcomes.append(case.measure(settings))
        except FailedError as error:
            failed = True
            text = f"{case.name}: not measured: {error}"
        else:
            text = report.summary(outcomes[-1])
        click.echo(err=True)
        click.echo(text)
    folder = out or (None if only or quick else REPORT)
    if folder is not None and outcomes:
        path = report.write(folder, outcomes, settings)
        report.illustrate(path)
        click.echo(f"wrote {path}, table.md and plots beside it")
    if failed:
        sys.exit(1)


def _choose(every: list[Case], only: tuple[str, ...]) -> list[Case]:
    """Return the cases of these names, or all."""
    names = [case.name for case in every]
    if unknown := [name for name in only if name not in names]:
        raise click.BadParameter(f"no case {unknown[0]!r}; see --list")
    return [case for case in every if not only or case.name in only]


def _keep_to_cores(count: int) -> None:
    """Hold this process to its first `count` cores, where the system can.

    Not every library (JAX) can be told how many threads to use; all look at this when they start.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
