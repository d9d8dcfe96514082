"""The section on the exact optimum: what SGD left of it, or gained by stopping early."""

from __future__ import annotations

from fastlin.config import Precision, TrainConfig
from fastlin.errors import counted
from fastlin.fitting import Fitting
from fastlin.metrics import binomial_error
from fastlin.report import wording
from fastlin.report.page import Column, Row, Section, Table
from fastlin.report.study import experiments as study
from fastlin.report.study.findings import Study
from fastlin.report.study.optimum import GAP, Optimum

_TITLE = "The exact optimum"
# An accuracy must differ by so many standard errors to be more than chance on these rows.
_ERRORS = 2


def optimum_section(s: Study) -> Section:
    """Return the section on the exact optimum, beside the best that SGD reached."""
    columns = [
        Column("softmax classifier"), Column("l2", "number"), Column("training cost", "cost"),
        Column("validation accuracy", "spread"), Column("test accuracy", "spread"),
        Column("passes over the rows", "count"), Column("seconds", "number"),
        Column("seconds with the choice of settings", "number"),
    ]  # fmt: skip
    rows = [_of_sgd(s)]
    if s.optima.same is not None:
        rows.append(_of_fit(s, s.optima.same, "exact optimum, the same penalty", None))
    name = "exact optimum, the penalty that validation rows choose"
    rows.append(_of_fit(s, s.optima.chosen, name, s.optima.seconds))
    caption = (
        "The cost is mean loss plus penalty: only costs of the same l2 tell which is lower. "
        f"{s.optima.penalties} penalties were fitted, each from the optimum of the next stronger "
        f"one, until the cost was proved to be within {100 * GAP:g} % of the least one. Kernels "
        "were compiled before. SGD: mean ± standard deviation over seeds."
    )
    return Section("optimum", _TITLE, [" ".join(_sentences(s))], [Table(columns, rows, caption)])


def _of_sgd(s: Study) -> Row:
    experiment, runs = study.experiment(s.rival), s.runs[s.rival]
    config = runs[0].config
    choice = wording.NOTHING
    if s.rival in s.candidates:
        choice = wording.seconds(sum(run.seconds for run in s.candidates[s.rival][0]))
    seconds = sum(run.seconds for run in runs) / len(runs)
    cells = [
        f"SGD: {s.rival} {experiment.title}", f"{config.l2:g}",
        s.sample(s.rival, "train_cost").mean, s.sample(s.rival, "val_accuracy").cell,
        s.sample(s.rival, "test_accuracy").cell, config.epochs, wording.seconds(seconds), choice,
    ]  # fmt: skip
    return Row(cells, wording.settings_text(config.to_dict()))


def _of_fit(s: Study, one: Optimum, name: str, seconds: float | None) -> Row:
    measures = one.measures
    cells = [
        name, f"{one.l2:.4g}", measures["train_cost"], [measures["val_accuracy"], None],
        [measures["test_accuracy"], None], one.passes, wording.seconds(one.seconds),
        wording.NOTHING if seconds is None else wording.seconds(seconds),
    ]  # fmt: skip
    config = TrainConfig(
        loss=s.runs[s.rival][0].config.loss, l2=one.l2, standardize=s.standardized,
        dtype=Precision.FLOAT32,
    )  # fmt: skip
    remark = "standardised" if s.standardized else ""
    return Row(cells, remark, s.source.fit_command_of(config, Fitting(gap=GAP)))


def _sentences(s: Study) -> list[str]:
    """Return what the optimum says of SGD's best, the cost first and then the accuracy."""
    same, chosen = s.optima.same, s.optima.chosen
    epochs = counted(s.runs[s.rival][0].config.epochs, "epoch")
    if same is None:
        return [
            "SGD's best has no penalty, and so need not have an optimum.",
            f"With the penalty that validation rows choose, {_effect(s, chosen)}",
        ]
    least, reached = same.measures["train_cost"], s.sample(s.rival, "train_cost").mean
    share = wording.percent(reached / least - 1)
    first = f"After {epochs}, the training cost of SGD's best is {share} above its least one"
    return [
        f"{first}; there {_effect(s, same)}",
        f"With the penalty that validation rows choose, {_effect(s, chosen)}",
    ]


def _effect(s: Study, one: Optimum) -> str:
    """Return how the test accuracy of an optimum differs from SGD's, and what follows."""
    of_sgd, accuracy = s.sample(s.rival, "test_accuracy").mean, one.measures["test_accuracy"]
    rows = s.data_rows[False]["test"]
    noise = _ERRORS * binomial_error(max(of_sgd, accuracy), rows)
    difference = accuracy - of_sgd
    side = "higher" if difference > 0 else "lower"
    by = f"the test accuracy is {wording.points(abs(difference), sign=False)} points {side}"
    if abs(difference) <= noise:
        within = f"{_ERRORS} standard errors of {rows:,} rows"
        return (
            f"{by}, within {within} ({wording.points(noise, sign=False)}): no gain or loss by "
            "stopping early is seen."
        )
    if difference > 0:
        return f"{by}: SGD left that on the table."
    return f"{by}: SGD gained that by stopping early."
