"""`fastlin plot`: the figures of a run, drawn again from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastlin.commands import options, outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from fastlin.config import TrainConfig
    from fastlin.data import Split
    from fastlin.fitting import Fitting
    from fastlin.history import History
    from fastlin.model import LinearModel


@click.command()
@click.argument("run", type=options.PLACE)
@options.data_options("the run's own data")
@options.threads_option()
@click.pass_context
def plot(
    ctx: click.Context,
    /,
    run: Path,
    data: options.Data,
    threads: int | None,
) -> None:
    """Draw the figures of the run folder RUN into its figures/ folder; exit 1 if one cannot be."""
    saved = outcome.load_run(run)
    reference = options.override(saved.data, data)
    loaded = options.load_for(saved.model, reference, saved.data)
    matched = outcome.match(saved.model, reference, loaded, options.console(stderr=True))
    failures: list[str] = []
    remark = outcome.note_on_fit(saved.fitting, matched, options.console(stderr=True))
    drawn = draw_figures(
        saved.history, saved.model, saved.config, matched, run, threads, failures.append, remark,
        saved.select, saved.fitting,
    )  # fmt: skip
    fitting = saved.fitting
    drawn += draw_path(
        run, saved.config, matched, fitting.select_of_path, fitting.folds_of_path, failures.append
    )
    for path in drawn:
        options.console().print(str(path))
    for failure in failures:
        options.console(stderr=True).print(failure)
    ctx.exit(1 if failures else 0)


def draw_figures(
    history: History, model: LinearModel, config: TrainConfig, split: Split, folder: Path,
    threads: int | None, on_failure: Callable[[str], None] | None = None, remark: str = "",
    select: str = "val_accuracy", fitting: Fitting | None = None,
    await_kernels: Callable[[], object] = lambda: None,
) -> list[Path]:  # fmt: skip
    """Draw every figure that a run has into folder/figures, and return the files.

    The data must be matched with the model. What cannot be drawn is one line for `on_failure`, see
    `fastlin.figures.save_figures`. A remark on the classifier stands at the foot of every figure.
    Before the kernel that nothing else needs, `await_kernels` is called: it may be compiled
    elsewhere meanwhile.

    Raises InputError if the folder cannot be made, or has a damaged table.
    """
    from fastlin import figures, functional, runs
    from fastlin.report.wording import footer
    from fastlin.solving.run import load_bounds
    from fastlin.training.evaluation import gradient_matched
    from fastlin.training.measuring import measure_matched

    settings, is_exact = config.to_dict(), fitting is not None and fitting.gap is not None
    if fitting is not None and is_exact:
        settings, remark = fitting.counting(settings), fitting.remark
    parts = split.parts()
    judged = list(parts)[-1]  # test rows if there are any
    rows, W, names, image_shape = parts[judged], model.W, model.class_names, model.image_shape

    def below(figure: Figure, *shown: str) -> Figure:
        foot = footer(split.name, shown, settings, epochs_done=len(history), remark=remark)
        return figures.with_footer(figure, foot)

    def gradient() -> NDArray[Any]:
        await_kernels()
        return gradient_matched(model, split.train, config)

    curved = [part for part in ("train", "val") if part in parts]
    drawn: dict[str, Callable[[], Figure]] = {}
    if len(history) > 0 and not is_exact:
        drawn["cost"] = lambda: below(figures.cost_curves(history, select), *curved)
        drawn["accuracy"] = lambda: below(figures.accuracy_curves(history, select), *curved)
    if fitting is not None and fitting.gap is not None:
        bounds, target = load_bounds(folder), fitting.gap
        if len(bounds.passes) > 1:
            drawn["gap"] = lambda: below(figures.gap_curve(*bounds, target), "train")
    if image_shape is not None:
        drawn["templates"] = lambda: below(figures.weight_templates(W, image_shape, names), "train")
    with functional.use_threads(threads):
        tally = measure_matched(model, rows)
        found, calibration = tally.confusions(), tally.calibration
        drawn["confusion"] = lambda: below(figures.confusions(found, names), judged)
        drawn["classes"] = lambda: below(figures.class_accuracies(found, names), judged)
        if calibration is not None:
            drawn["calibration"] = lambda: below(figures.reliability_diagram(calibration), judged)
        drawn["gradient"] = lambda: below(figures.gradient_histogram(gradient()), "train")
        return figures.save_figures(drawn, folder / runs.FIGURES, on_failure)


def draw_path(
    folder: Path,
    config: TrainConfig,
    split: Split,
    select: str,
    cv: int | None,
    on_failure: Callable[[str], None] | None = None,
) -> list[Path]:
    """Draw the path of penalties that a run has, chosen by a measure, if it has one.

    Without cv, validation rows have judged it.

    Raises InputError if its table is damaged.
    """
    from fastlin import figures, runs
    from fastlin.fitting import Fitting
    from fastlin.report.paths import path_of
    from fastlin.report.wording import footer
    from fastlin.solving.walk import row_counts

    settings = Fitting(gap=1.0).counting(config.to_dict())
    judging, remark = ["val"], "exact fits of training rows"
    if cv is not None:
        judging, remark = (
            [part for part in ("train", "val") if part in split.parts()],
            (f"exact fits outside of each of {cv} folds"),
        )
    foot = footer(split.name, judging, settings, swept=["l2"], remark=remark)
    rows = row_counts(split, cv)[1] or None
    _, pictures = path_of(folder, "run", split.name, foot, rows, select, cv)

    def drawn() -> Figure:
        picture = pictures[0]
        assert picture.draw is not None  # noqa: S101  (it was made here, not read)
        return figures.with_footer(picture.draw(figures), picture.foot)

    named = {"path": drawn} if pictures else {}
    return figures.save_figures(named, folder / runs.FIGURES, on_failure)
