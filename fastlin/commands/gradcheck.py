"""`fastlin gradcheck`: the kernels' gradients against central differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fastlin.commands import options, outcome
from fastlin.commands.train import DEFAULT_DATA
from fastlin.config import Precision
from fastlin.errors import InputError

if TYPE_CHECKING:
    from fastlin.training.gradcheck import GradientCheck

_KERNELS = (
    ("random", "gradient"),
    ("random", "step"),
    ("images", "gradient"),
    ("images", "step"),
)


@click.command()
@options.data_options(DEFAULT_DATA, without=["scale", "val_fraction", "sample_weight"])
@click.option(
    "--coordinates",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Coordinates of W to compare in each problem; b is compared whole.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--quick", is_flag=True, help="Look at three of the six pairs of dtypes only.")
@click.pass_context
def gradcheck(
    ctx: click.Context,
    data: options.Data,
    coordinates: int,
    seed: int,
    quick: bool,
) -> None:
    """Compare the kernels' gradients with central differences; exit 1 if any differs.

    Every loss, dtype of weights and of rows, with and without penalty, on random numbers and on
    real images: both the gradient over all rows, and the one implied by what a step does to W.
    """
    from rich.progress import track

    from fastlin.training import gradcheck as checks

    reference = options.reference_of({"data": DEFAULT_DATA} | data)
    images = options.load_reference(reference).train
    if images.X.dtype != "uint8":
        raise InputError(
            f"{reference.data} has {images.X.dtype} rows; gradcheck needs images in uint8"
        )
    notes, total = options.console(stderr=True), checks.check_count(quick=quick)
    notes.print(
        f"{total} gradients to check; of every kind that was not used before, kernels are compiled "
        "(kept), which takes minutes"
    )
    tell = outcome.now_and_then(notes, lambda count: f"{count} of {total} gradients checked")
    results: list[GradientCheck] = []
    for result in track(
        checks.check_gradients(images, coordinates=coordinates, quick=quick, seed=seed),
        "Checking", total=total, console=notes, transient=True,
    ):  # fmt: skip
        results.append(result)
        if not notes.is_terminal:
            tell(len(results))
    _print_table(results)
    failed = [result for result in results if not result.passed]
    console = options.console()
    console.print(
        "Largest relative error |a - n| / max(|a|, |n|) of a coordinate, as in the CS231n\n"
        f"notes; n by central differences (step {checks.STEP:g}) of the NumPy cost in float64.\n"
        f"Limit {checks.THRESHOLDS[Precision.FLOAT64]:g} for float64 weights: the differences "
        "themselves err by about 1e-8;\n"
        f"{checks.THRESHOLDS[Precision.FLOAT32]:g} for float32: rounding of sums, about 1e-4. "
        "A wrong formula errs by 1e-2 or more.\n"
        f"Too near a kink of a hinge loss, so skipped: {sum(r.skipped for r in results)} of "
        f"{sum(r.skipped + r.checked for r in results):,} coordinates."
    )
    if failed:
        options.console(stderr=True).print(f"{len(failed)} of {len(results)} gradients FAILED")
        ctx.exit(1)
    console.print(f"All {len(results)} gradients agree.")


def _print_table(results: list[GradientCheck]) -> None:
    """Print one line per kernel, and a column per problem and way of asking."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table("loss", "W", "rows", "l2", box=SIMPLE_HEAD, show_edge=False, padding=0)
    for problem, kernel in _KERNELS:
        table.add_column(f"{problem}\n{kernel}", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("skipped", justify="right")
    lines: dict[tuple[str, str, str, str], list[GradientCheck]] = {}
    for result in results:
        key = (str(result.loss), result.precision.value, result.row_dtype, f"{result.l2:g}")
        lines.setdefault(key, []).append(result)
    for key, line in lines.items():
        found = {(result.problem, result.kernel): result for result in line}
        checks = [found[column] for column in _KERNELS]
        cells = [
            f"{one.error:.1e}" if one.passed else Text(f"{one.error:.1e} FAILED", "bold red")
            for one in checks
        ]
        skipped = sum(result.skipped for result in line)
        table.add_row(*key, *cells, f"{line[0].threshold:.0e}", str(skipped))
    options.print_table(options.console(), table)
