"""Searching settings: a whole grid is trained epoch by epoch on the same rows."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fastlin import machine
from fastlin.config import TrainConfig
from fastlin.data.dataset import Split, check_split
from fastlin.data.splits import DEFAULT_FRACTION
from fastlin.errors import GridDivergedError, InputError
from fastlin.files import as_path
from fastlin.fitting import check_calibrates_alone
from fastlin.search.advice import advise_on_search
from fastlin.search.cluster import trainer_of
from fastlin.search.configs import Configs, grid_configs
from fastlin.search.halving import FIRST_EPOCH, Plan
from fastlin.search.journal import Journal
from fastlin.search.progress import GridProgress
from fastlin.search.ranking import GridEntry, GridResult, Moment, Rule, rank_entries
from fastlin.search.running import RunningSearch
from fastlin.search.selection import scored
from fastlin.search.state import SearchState
from fastlin.search.winner import with_refit, with_temperatures
from fastlin.settings import Switch
from fastlin.training.advice import category_of
from fastlin.training.calibration import check_can_calibrate, notes_on
from fastlin.training.grid import GridTrainer
from fastlin.training.selection import check_can_select
from fastlin.training.trainer import Trainer

JOURNAL_FORMAT = 1


def grid_search(
    split: Split,
    grid: Configs,
    *,
    base: TrainConfig | None = None,
    select: str = "val_accuracy",
    at: Moment = "last",
    search: Literal["grid", "random"] = "grid",
    trials: int | None = None,
    search_seed: int = 0,
    halving: bool | Plan = False,
    threads: int | None = None,
    on_epoch: Callable[[GridProgress], None] | None = None,
    progress: Callable[[GridProgress], None] | None = None,
    note: Callable[[str], None] | None = None,
    journal: str | Path | None = None,
    resume: bool = False,
    keep: Literal["winner", "all"] = "winner",
    eval_train_every: int = 1,
    refit: bool = False,
    calibrate: bool = False,
    client: Any = None,
) -> GridResult:
    """Train many configurations, each bit for bit as `train` does, and find the best.

    Parameters
    ----------
    split : Split
        Training and validation rows; a tenth of the training rows where there are none of these.
    grid, base, search, trials, search_seed
        What to search: see `fastlin.search.configs.grid_configs`.
    select, at, halving
        What is best (`fastlin.search.ranking.Rule`), what is stopped (`fastlin.search.halving`).
    threads, eval_train_every
        See `fastlin.Trainer`.
    on_epoch, progress, note : Callable or None
        Called with a `GridProgress` after every epoch of active entries, by both names; and with
        what a user should know, by default warnings.
    journal, resume : str or Path or None, bool
        A file (.jsonl) for results, and whether to go on with one that is there.
    keep, refit, calibrate : str, bool, bool
        Whose weights to hold (``winner``, ``all``); whether the winner is refitted or calibrated.
    client : distributed.Client or None
        Of a cluster whose workers train; see `fastlin.search.cluster`.

    Raises
    ------
    InputError, GridDivergedError
        If an argument is impossible, or the journal damaged or of another search; if all diverged.
    """
    started, rule, plan = time.perf_counter(), Rule(select, at), _plan(halving, keep)
    after = _After.checked(refit, calibrate)
    configs = grid_configs(grid, base, search=search, trials=trials, search_seed=search_seed)
    split, held_out = _searchable(split, configs, rule, plan, after)
    trainer = trainer_of(client)(split, configs, threads, rule.of_epochs, eval_train_every)
    state = SearchState(trainer.configs, replace(rule, select=rule.of_epochs))
    running = RunningSearch(trainer, state, plan, on_epoch or progress)
    _run(running, plan, journal, note, held_out, resume=resume)
    return _advised(_result(running, rule, keep, started, after), split, note or _warn)


class _After(NamedTuple):
    """What is done with the winner of a search."""

    refit: bool
    calibrate: bool

    @classmethod
    def checked(cls, refit: object, calibrate: object) -> _After:
        """Return one of arguments. Raises InputError if they are impossible together."""
        found = cls(Switch().checked("refit", refit), Switch().checked("calibrate", calibrate))
        check_calibrates_alone(["refit"] if found.refit else [], calibrate=found.calibrate)
        return found

    def check(self, split: Split, configs: Sequence[TrainConfig]) -> None:
        """Raise InputError if the winner could not be calibrated on these rows."""
        if self.calibrate:
            check_can_calibrate(split, [config.loss for config in configs])

    def do(self, result: GridResult, trainer: GridTrainer) -> GridResult:
        """Return the result with its winner fitted again or calibrated."""
        if self.refit:
            return with_refit(result, trainer.split, trainer.threads)
        if self.calibrate:
            return with_temperatures(result, trainer.split, trainer.threads)
        return result


def _searchable(
    split: Split, configs: Sequence[TrainConfig], rule: Rule, plan: Plan | None, after: _After
) -> tuple[Split, str | None]:
    """Do `with_validation`. Raises InputError if the entries cannot be compared on these rows."""
    check_comparable(configs, rule, plan)
    found, held_out = with_validation(split)
    check_can_select(found, rule.select, [config.loss for config in configs])
    after.check(found, configs)
    return found, held_out


def _plan(halving: bool | Plan, keep: str) -> Plan | None:
    """Return when entries are stopped early. Raises InputError if an argument is impossible."""
    if keep not in ("winner", "all"):
        raise InputError(f"keep is {keep!r}; it must be winner or all")
    if not isinstance(halving, bool | Plan):
        raise InputError(f"halving is {halving!r}; it must be true, false or a Plan")
    return halving if isinstance(halving, Plan) else Plan() if halving else None


def _run(
    running: RunningSearch,
    plan: Plan | None,
    journal: str | Path | None,
    note: Callable[[str], None] | None,
    held_out: str | None,
    *,
    resume: bool,
) -> None:
    """Train all entries, beside a journal if there is one; say what a user should know."""
    trainer, rule = running.trainer, running.state.rule
    note = note or _warn
    for text in (held_out, *trainer.notes):
        if text is not None:
            note(text)
    if plan is not None and not running.rungs:
        note(f"No entry is stopped early: that needs more than {FIRST_EPOCH} epochs.")
    with contextlib.ExitStack() as resources:
        if journal is not None:
            header = _journal_header(trainer, rule, plan)
            book = (Journal.resume if resume else Journal.begin)(as_path(journal), header)
            resources.callback(book.close)
            running.go_on_with(book)
            for text in book.notes:
                note(text)
        running.run()


def _advised(result: GridResult, split: Split, note: Callable[[str], None]) -> GridResult:
    """Say what should be tried next, and return the result."""
    of_winner = () if result.calibrated is None else notes_on(result.calibrated)
    for advice in (*of_winner, *advise_on_search(result, split)):
        note(advice)
    return result


def _warn(text: str) -> None:
    """Warn the caller of `grid_search`."""
    warnings.warn(text, category_of(text), stacklevel=4)


def _result(
    running: RunningSearch,
    rule: Rule,
    keep: Literal["winner", "all"],
    started: float,
    after: _After,
) -> GridResult:
    """Return what was found. Raises GridDivergedError if every entry diverged."""
    state, trainer = running.state, running.trainer
    entries = state.entries()
    if rule.metric is not None:
        entries = scored(
            entries, rule, trainer.split, trainer.threads,
            with_models=lambda entry: _with_models(entry, trainer),
        )  # fmt: skip
    winner = rank_entries(entries, rule)[0].index
    result = GridResult(
        tuple(
            _with_models(entry, trainer) if keep == "all" or entry.index == winner else entry
            for entry in entries
        ),
        winner,
        rule,
        time.perf_counter() - started,
        state.decisions(),
        tuple(state.trained_on),
    )
    if result.best.status == "diverged":
        raise GridDivergedError(result)
    return after.do(result, trainer)


def _with_models(entry: GridEntry, trainer: GridTrainer) -> GridEntry:
    """Return an entry with its classifiers; those that nobody has kept are trained again."""
    index, finished = entry.index, len(entry.history)
    if finished == 0:
        return entry
    if trainer.epochs_done(index) == finished:
        last, best = trainer.model(index), trainer.best_model(index)
    else:
        again = Trainer(
            trainer.split, entry.config, trainer.threads, trainer.select, eval_train_every=0
        )
        for _ in range(finished):
            again.run_epoch()
        result = again.result()
        last, best = result.model, result.best_model
    # A rule takes the last epoch, or the best one by its own measure.
    model = last if entry.epoch == finished else best
    return replace(entry, model=model, last_model=last, best_model=best)


def with_validation(split: Split, purpose: str = "choose") -> tuple[Split, str | None]:
    """Return a split with validation rows, held out of the training rows if there are none.

    Parameters
    ----------
    split : Split
        Left as it is.
    purpose : str
        What is done by the rows, for the sentence.

    Returns
    -------
    tuple[Split, str | None]
        The split, and a sentence that says which rows are held out; None where none are.

    Raises
    ------
    InputError
        If it is no split, or has too few rows for that.
    """
    check_split(split)
    if split.val is not None:
        return split, None
    found = split.hold_out(DEFAULT_FRACTION)
    return found, (
        f"{split.name} has no validation rows: {len(split.train) - len(found.train):,} of "
        f"{len(split.train):,} training rows are held out to {purpose} by, the same share of every "
        f"class, drawn with seed 0 (val_fraction {DEFAULT_FRACTION:g})"
    )


def check_comparable(
    configs: Sequence[TrainConfig],
    rule: Rule,
    plan: Plan | None = None,
    *,
    has_folds: bool = False,
) -> None:
    """Raise InputError if a rule or a plan cannot compare such configurations, or not by folds."""
    if has_folds and rule.metric is not None:
        raise InputError(
            f"cross-validation cannot select by {rule.select}; select by val_accuracy or val_cost"
        )
    if rule.select == "val_cost" and len({config.loss for config in configs}) > 1:
        raise InputError("costs of different losses cannot be compared; select by val_accuracy")
    if plan is not None and len({config.epochs for config in configs}) > 1:
        raise InputError(
            "halving compares entries that are trained for equally many epochs; give one value of "
            "epochs, or leave halving out"
        )


def _journal_header(trainer: GridTrainer, rule: Rule, plan: Plan | None) -> dict[str, Any]:
    """Return all that decides what a search finds, to the bit."""
    halving = None
    if plan is not None:
        halving = {"decisions": [list(pair) for pair in plan.decisions], "rule": str(rule)}
    return {
        "format": JOURNAL_FORMAT,
        "data": trainer.split.fingerprint(),
        "grid": [config.to_dict() for config in trainer.configs],
        "halving": halving,
        "software": machine.identity(),
    }
