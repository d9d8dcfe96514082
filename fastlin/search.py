"""Searching settings: a whole grid is trained epoch by epoch on the same rows."""

from __future__ import annotations

import contextlib
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import llvmlite.binding
import numba
import numpy as np

import fastlin
from fastlin.config import SHARED_SETTINGS, GridSpec, LogRange, TrainConfig
from fastlin.data.dataset import Split
from fastlin.errors import InputError
from fastlin.grid_training import GridTrainer
from fastlin.grids import (
    GridEntry,
    GridResult,
    Measure,
    Moment,
    Rule,
    Rung,
    Status,
    rank_entries,
)
from fastlin.halving import Plan, decide
from fastlin.journal import Journal, Weights
from fastlin.kernels.jit import source_digest
from fastlin.results import EpochRecord, History
from fastlin.training import DivergedError, Trainer

JOURNAL_FORMAT = 1

# The journal is written this often (in seconds), or less often where that would cost more than
# one part in `_CHECKPOINT_SHARE` of the time.
_CHECKPOINT_SECONDS, _CHECKPOINT_SHARE = 2.0, 20

# A value that is drawn is rounded to so many digits, so that a person can type it.
_DRAWN_DIGITS = 6

Configs = GridSpec | Sequence[TrainConfig] | Mapping[str, Sequence[Any] | LogRange]


class GridDivergedError(ArithmeticError):
    """Every configuration of a grid diverged; `result` holds what there was before."""

    def __init__(self, result: GridResult) -> None:
        lowest = min(entry.config.lr for entry in result.entries)
        count = len(result.entries)
        super().__init__(
            f"all {count} configurations diverged; try a smaller --lr, such as {lowest / 10:g}"
        )
        self.result = result


class GridProgress(NamedTuple):
    """How far a search is after an epoch of all its active entries.

    Attributes
    ----------
    epoch, epochs : the epoch that just ended, and how many there are.
    entries : how many there are.
    active : how many of them were trained in this epoch.
    finished, stopped, diverged : how many of them are.
    best : index of the best entry so far, None if there is none; score: its score.
    seconds : since the search began, or was resumed.
    seconds_left : until its end, estimated; at most, as entries may diverge.
    """

    epoch: int
    epochs: int
    entries: int
    active: int
    finished: int
    stopped: int
    diverged: int
    best: int | None
    score: float
    seconds: float
    seconds_left: float


def grid_search(
    split: Split,
    grid: Configs,
    *,
    base: TrainConfig | None = None,
    select: Measure = "val_accuracy",
    at: Moment = "last",
    search: Literal["grid", "random"] = "grid",
    trials: int | None = None,
    search_seed: int = 0,
    halving: bool = False,
    threads: int | None = None,
    progress: Callable[[GridProgress], None] | None = None,
    note: Callable[[str], None] | None = None,
    journal: Path | None = None,
    resume: bool = False,
    keep: Literal["winner", "all"] = "winner",
) -> GridResult:
    """Train many configurations on one split, and find the best.

    Every entry is, bit for bit, what `train` makes of its configuration.

    Parameters
    ----------
    split : training and validation rows; the test rows are not touched.
    grid : what to search: a `GridSpec`, its lists as a mapping, or the configurations themselves.
    base : the other settings, with a mapping; None for the defaults.
    select, at : the rule by which the best is chosen; see `fastlin.grids.Rule`.
    search : ``grid`` for every combination, ``random`` for `trials` distinct ones.
    trials : how many combinations random search draws.
    search_seed : of that draw.
    halving : stop hopeless entries early; see `fastlin.halving`.
    threads : to run on, None for all; the result does not depend on it.
    progress : called after every epoch of all active entries.
    note : called with sentences that a user should read, such as that a journal was cut short.
    journal : a file (.jsonl) to which all results are written as they come, with weights
        (.jsonl.weights.npz) beside it, so that a search that was killed can be resumed; None to
        write nothing.
    resume : go on with the journal, if there is one, instead of refusing to overwrite it. The
        result is the same, bit for bit.
    keep : whose weights the result holds.

    Returns
    -------
    GridResult

    Raises
    ------
    InputError
        If an argument is impossible, the split has no validation rows, or the journal is of
        another search, damaged, or cannot be written.
    GridDivergedError
        If every configuration diverged. One that does stops no other.
    """
    started = time.perf_counter()
    if keep not in ("winner", "all"):
        raise InputError(f"keep is {keep!r}; it must be winner or all")
    rule = Rule(select, at)
    configs = grid_configs(grid, base, search=search, trials=trials, search_seed=search_seed)
    check_comparable(split, configs, rule)
    plan = Plan() if halving else None
    running = _Search(GridTrainer(split, configs, threads), configs, rule, plan, progress)
    with contextlib.ExitStack() as resources:
        if journal is not None:
            header = _journal_header(split, configs, rule, plan)
            book = (Journal.resume if resume else Journal.begin)(journal, header)
            resources.callback(book.close)
            running.go_on_with(book, note)
        running.run()
    entries = running.entries()
    winner = rank_entries(entries, rule)[0].index
    result = GridResult(
        tuple(
            running.with_models(entry, split, threads)
            if keep == "all" or entry.index == winner
            else entry
            for entry in entries
        ),
        winner,
        rule,
        time.perf_counter() - started,
        tuple(running.rungs[epoch] for epoch in sorted(running.rungs)),
    )
    if result.best.status == "diverged":
        raise GridDivergedError(result)
    return result


def grid_configs(
    grid: Configs,
    base: TrainConfig | None = None,
    *,
    search: str = "grid",
    trials: int | None = None,
    search_seed: int = 0,
) -> tuple[TrainConfig, ...]:
    """Return the configurations that `grid_search` trains for the same arguments, in its order.

    Raises
    ------
    InputError
        If there is none, or two are the same, or they differ in one of `SHARED_SETTINGS`, or an
        argument is impossible.
    """
    if search not in ("grid", "random"):
        raise InputError(f"search is {search!r}; it must be grid or random")
    if (search == "random") != (trials is not None):
        raise InputError("random search, and only that, needs a number of trials")
    if base is not None and not isinstance(grid, Mapping):
        raise InputError("base has a meaning only beside a mapping of lists")
    if isinstance(grid, Mapping):
        lists: Mapping[str, Any] = grid  # which GridSpec checks
        grid = GridSpec(lists, base or TrainConfig())
    if isinstance(grid, GridSpec):
        return grid.configs() if trials is None else draw_configs(grid, trials, search_seed)
    if trials is not None:
        raise InputError("random search draws from lists and ranges, not from configurations")
    configs = tuple(grid)
    if not configs:
        raise InputError("there is no configuration to train")
    places: dict[TrainConfig, int] = {}
    for place, config in enumerate(configs):
        if config in places:
            raise InputError(f"configurations {places[config]} and {place} are the same")
        places[config] = place
        for name in sorted(SHARED_SETTINGS):
            value, first = getattr(config, name, None), getattr(configs[0], name, None)
            if value != first:
                raise InputError(
                    f"{name} must be the same for all entries of a grid; configuration {place} "
                    f"has {value}, the first one {first}"
                )
    return configs


def draw_configs(grid: GridSpec, trials: int, seed: int) -> tuple[TrainConfig, ...]:
    """Return `trials` distinct random configurations of a grid.

    More trials of the same seed begin with the same configurations. A value of a `LogRange` is
    rounded to 6 digits (or to a whole number).

    Raises
    ------
    InputError
        If the grid has fewer combinations, or trials is below 1.
    """
    if trials < 1:
        raise InputError(f"trials is {trials}; it must be at least 1")
    has_range = any(isinstance(values, LogRange) for values in grid.swept.values())
    if not has_range and trials > len(grid):
        raise InputError(f"there are {len(grid)} combinations; {trials} trials are too many")
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    drawn: dict[TrainConfig, None] = {}
    misses = 0
    while len(drawn) < trials:
        values = {name: _draw(rng, grid, name) for name in grid.swept}
        count = len(drawn)
        drawn.setdefault(replace(grid.base, **values))
        misses = 0 if len(drawn) > count else misses + 1
        if has_range and misses > 10_000:
            raise InputError(
                f"after {len(drawn)} configurations no other was found; the ranges are too narrow "
                f"for {trials} trials"
            )
    return tuple(drawn)


def _draw(rng: np.random.Generator, grid: GridSpec, name: str) -> Any:
    values = grid.swept[name]
    if not isinstance(values, LogRange):
        return values[rng.integers(len(values))]
    low, high = values.low, values.high
    value = low * (high / low) ** rng.random()
    if isinstance(getattr(grid.base, name), int):
        return round(value)
    return min(max(float(f"{value:.{_DRAWN_DIGITS}g}"), low), high)


def check_comparable(split: Split, configs: Sequence[TrainConfig], rule: Rule) -> None:
    """Raise InputError if a rule cannot rank such configurations on such a split."""
    if split.val is None:
        raise InputError(
            f"{split.name} has no validation rows, by which the best settings are chosen"
        )
    if rule.select == "val_cost" and len({config.loss for config in configs}) > 1:
        raise InputError("costs of different losses cannot be compared; select by val_accuracy")


def _journal_header(
    split: Split, configs: Sequence[TrainConfig], rule: Rule, plan: Plan | None
) -> dict[str, Any]:
    """Return all that decides what a search finds, to the bit."""
    halving = None
    if plan is not None:
        halving = {"decisions": [list(pair) for pair in plan.decisions], "rule": str(rule)}
    return {
        "format": JOURNAL_FORMAT,
        "data": split.fingerprint(),
        "grid": [config.to_dict() for config in configs],
        "halving": halving,
        "software": {
            "fastlin": fastlin.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
            "kernels": source_digest(),
            "processor": numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name(),  # type: ignore[attr-defined]
        },
    }


class _Search:
    """The state of a search: what is known of every entry, and what the journal has of that."""

    def __init__(
        self,
        trainer: GridTrainer,
        configs: tuple[TrainConfig, ...],
        rule: Rule,
        plan: Plan | None,
        progress: Callable[[GridProgress], None] | None,
    ) -> None:
        self.trainer = trainer
        self.configs = configs
        self.rule = rule
        self.epochs = configs[0].epochs
        self.plan = plan.rungs(len(configs), self.epochs) if plan else {}
        self.records: list[list[EpochRecord]] = [[] for _ in configs]
        self.diverged: dict[int, int] = {}
        self.stopped: set[int] = set()
        self.rungs: dict[int, Rung] = {}
        self._progress = progress
        self._started = time.perf_counter()
        self._trained, self._training_seconds = 0, 0.0
        self._journal: Journal | None = None
        self._journaled = [0] * len(configs)
        self._news: list[dict[str, Any]] = []
        self._checkpointed, self._checkpoint_seconds = self._started, 0.0
        # Entries of which the journal knows all: they are not trained again.
        self._settled: set[int] = set()

    def run(self) -> None:
        """Train all that is not known, stop what is hopeless, and write it to the journal."""
        for epoch in range(1, self.epochs + 1):
            active: set[int] = set()
            while behind := self._behind(epoch):
                self._train(behind)
                active.update(behind)
            if epoch in self.plan:
                self._halve(epoch, self.plan[epoch])
            if active or epoch == self.epochs:
                self._report(epoch, len(active))
            self._checkpoint(epoch)

    def _alive(self, epoch: int) -> list[int]:
        """Return the entries that have or will have finished an epoch, as far as is known."""
        return [
            index
            for index in range(len(self.configs))
            if index not in self.stopped and self.diverged.get(index, epoch + 1) > epoch
        ]

    def _behind(self, epoch: int) -> list[int]:
        """Return the entries that must be trained to reach an epoch, and are furthest behind."""
        done = {
            index: self.trainer.epochs_done(index)
            for index in self._alive(epoch)
            if not (index in self._settled and len(self.records[index]) >= epoch)
        }
        lowest = min(done.values(), default=epoch)
        return [index for index, count in done.items() if count == lowest < epoch]

    def _train(self, active: Sequence[int]) -> None:
        if self._trained == 0:
            self.trainer.compile()
        start = time.perf_counter()
        outcomes = self.trainer.run_epoch(active)
        self._training_seconds += time.perf_counter() - start
        self._trained += len(active)
        for index, outcome in outcomes.items():
            known = self.records[index]
            if isinstance(outcome, DivergedError):
                self.diverged[index] = outcome.epoch
                self._news.append({"entry": index, "diverged": outcome.epoch})
            elif len(known) < outcome.epoch:
                known.append(outcome)
            elif known[outcome.epoch - 1] != outcome:
                raise InputError(
                    f"epoch {outcome.epoch} of entry {index} is not what the journal says, so it "
                    "is not this machine's; start anew in another place"
                )

    def _halve(self, epoch: int, keep: int) -> None:
        if epoch not in self.rungs:
            histories = {index: self._history(index, epoch) for index in self._alive(epoch)}
            if not histories:
                return
            configs = {index: self.configs[index] for index in histories}
            penalties = {
                index: self.trainer.model(index).penalty(config.l2)
                for index, config in configs.items()
            }
            rung = decide(histories, configs, penalties, self.rule, keep)
            self.rungs[epoch] = rung
            self._news.append({"rung": epoch, "kept": rung.kept, "stopped": rung.stopped})
        self.stopped |= set(self.rungs[epoch].stopped)

    def _history(self, index: int, epoch: int | None = None) -> History:
        """Return what is known of an entry, up to an epoch."""
        return History.from_records(self.records[index][:epoch])

    def _report(self, epoch: int, active: int) -> None:
        if self._progress is None:
            return
        alive = self._alive(epoch)
        scores = {index: self.rule.score(self._history(index, epoch)) for index in alive}
        best = max(alive, key=lambda index: (self.rule.sign * scores[index], -index), default=None)
        is_last = epoch == self.epochs
        rest = self._entry_epochs_left(epoch, len(alive))
        self._progress(
            GridProgress(
                epoch=epoch,
                epochs=self.epochs,
                entries=len(self.configs),
                active=active,
                finished=len(alive) if is_last else 0,
                stopped=len(self.stopped),
                diverged=sum(at <= epoch for at in self.diverged.values()),
                best=best,
                score=math.nan if best is None else scores[best],
                seconds=time.perf_counter() - self._started,
                seconds_left=rest * self._training_seconds / max(self._trained, 1),
            )
        )

    def _entry_epochs_left(self, epoch: int, alive: int) -> int:
        left = 0
        for later in range(epoch + 1, self.epochs + 1):
            left += alive
            alive = min(alive, self.plan.get(later, alive))
        return left

    def go_on_with(self, journal: Journal, note: Callable[[str], None] | None) -> None:
        """Take over what a journal holds, and write to it from now on."""
        self._journal = journal
        for event in journal.events:
            if "rung" in event:
                rung = Rung(event["rung"], tuple(event["kept"]), tuple(event["stopped"]))
                self.rungs[rung.epoch] = rung
            elif "diverged" in event:
                self.diverged[event["entry"]] = event["diverged"]
            else:
                known = self.records[event["entry"]]
                for record in map(EpochRecord._make, event["epochs"]):
                    if record.epoch == len(known) + 1:  # else it is known, or one before is lost
                        known.append(record)
        self._restore(journal)
        if note is not None:
            for text in journal.notes:
                note(text)

    def _restore(self, journal: Journal) -> None:
        """Continue entries from the journal's weights, and settle those of which all is known.

        A decision of halving needs the weights of that epoch: if one is not in the journal though
        what came after it is, entries are trained again up to it.
        """
        undecided = min((at for at in self.plan if at not in self.rungs), default=self.epochs + 1)
        ends = {index: at for at, rung in self.rungs.items() for index in rung.stopped}
        ends |= {index: at - 1 for index, at in self.diverged.items()}
        weights = journal.load_weights() if journal.events else {}
        for index, known in enumerate(self.records):
            self._journaled[index] = len(known)
            end = ends.get(index, self.epochs)
            if end <= len(known) and end < undecided:
                self._settled.add(index)
            saved = weights.get(index)
            if saved is not None and saved.epoch <= min(len(known), undecided):
                try:
                    self.trainer.restore(index, known[: saved.epoch], saved.arrays)
                except InputError as error:
                    journal.notes.append(
                        f"Entry {index} is trained from its beginning: {error} "
                        f"({journal.weights_path})."
                    )

    def _checkpoint(self, epoch: int) -> None:
        """Write to the journal what it does not have, if it is time to."""
        start = time.perf_counter()
        interval = max(_CHECKPOINT_SECONDS, _CHECKPOINT_SHARE * self._checkpoint_seconds)
        is_due = epoch == self.epochs or start - self._checkpointed >= interval
        if self._journal is None or not is_due:
            return
        events = [
            {"entry": index, "epochs": records[self._journaled[index] :]}
            for index, records in enumerate(self.records)
            if len(records) > self._journaled[index]
        ]
        if events or self._news:
            self._journal.append([*events, *self._news])
            self._journaled = [len(records) for records in self.records]
            self._news = []
            self._journal.save_weights(
                {
                    index: Weights(self.trainer.epochs_done(index), self.trainer.state(index))
                    for index in self._alive(epoch)
                    if self.trainer.epochs_done(index) > 0
                }
            )
        self._checkpointed = time.perf_counter()
        self._checkpoint_seconds = self._checkpointed - start

    def entries(self) -> tuple[GridEntry, ...]:
        """Return what is known of every entry, without weights."""
        return tuple(self._entry(index) for index in range(len(self.configs)))

    def _entry(self, index: int) -> GridEntry:
        history = self._history(index)
        status: Status = "finished"
        if index in self.diverged:
            status = "diverged"
        elif index in self.stopped:
            status = "stopped"
        return GridEntry(
            index=index,
            config=self.configs[index],
            status=status,
            history=history,
            diverged_epoch=self.diverged.get(index),
            epoch=self.rule.epoch(history),
            score=self.rule.score(history),
        )

    def with_models(self, entry: GridEntry, split: Split, threads: int | None) -> GridEntry:
        """Return an entry with its weights; those that nobody has kept are trained again."""
        index, finished = entry.index, len(entry.history)
        if finished == 0:
            return entry

        def trained(epochs: int) -> Trainer:
            trainer = Trainer(split, entry.config, threads)
            for _ in range(epochs):
                trainer.run_epoch()
            return trainer

        if self.trainer.epochs_done(index) == finished:
            last, best = self.trainer.model(index), self.trainer.best_model(index)
        else:
            result = trained(finished).result()
            last, best = result.model, result.best_model
        if entry.epoch == finished:
            model = last
        elif entry.epoch == entry.history.best_epoch:
            model = best
        else:
            model = trained(entry.epoch).result().model
        return replace(entry, model=model, last_model=last, best_model=best)
