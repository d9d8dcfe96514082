"""The performance study: `python -m benchmarks`."""

from __future__ import annotations

import os
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
    help=f"Folder for results.json, table.md and plots  [default: {REPORT}; none with --only]",
)  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True,
              help="Rounds in which everybody runs once.")  # fmt: skip
@click.option("--rival", "rivals", multiple=True, metavar="NAME",
              help="Beside the NumPy twin, race only: NumPy, PyTorch, JAX.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Few rows, 3 rounds: does everything work?")
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

    All run in turns in one process, rival after rival and round after round, held to two cores;
    figures are medians and ratios of medians within the run.
    """
    _keep_to_cores(CORES)  # before any library starts its threads
    from benchmarks import cases, grid_cases, machine, processes, report  # noqa: PLC0415
    from benchmarks.peers import RIVALS  # noqa: PLC0415

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
        3 if quick else rounds, quick, tuple(known[name] for name in known if name in names)
    )
    click.echo("\n".join(machine.header_lines()))
    outcomes = []
    for case in chosen:
        if case.threads > machine.cores():
            click.echo(f"{case.name}: left out, it needs {case.threads} cores")
            continue
        outcomes.append(case.measure(settings))
        click.echo(report.summary(outcomes[-1]))
    folder = out or (None if only or quick else REPORT)
    if folder is not None:
        report.write(folder, outcomes, settings)
        click.echo(f"wrote {folder}")


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
