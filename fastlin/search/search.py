"""Searching settings: a whole grid is trained epoch by epoch on the same rows."""

from __future__ import annotations

import contextlib
import functools
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from fastlin import machine
from fastlin.config import TrainConfig
from fastlin.data.dataset import Split, check_split
from fastlin.errors import DivergedError, GridDivergedError, InputError
from fastlin.files import as_path
from fastlin.history import EpochRecord, History, Measure
from fastlin.search.configs import Configs, grid_configs
from fastlin.search.halving import FIRST_EPOCH, Plan, decide, to_train_on
from fastlin.search.journal import Journal, Weights
from fastlin.search.ranking import GridEntry, GridResult, Moment, Rule, Rung, Status, rank_entries
from fastlin.training.grid import GridTrainer
from fastlin.training.trainer import Trainer

JOURNAL_FORMAT = 1

# The journal is written this often (in seconds), or less often where that would cost more than
# one part in `_CHECKPOINT_SHARE` of the time.
_CHECKPOINT_SECONDS, _CHECKPOINT_SHARE = 2.0, 20


class GridProgress(NamedTuple):
    """How far a search is after an epoch of all its active entries.

    Attributes
    ----------
    epoch, epochs : the epoch that just ended, and how many there are. It begins anew when entries
        that were stopped are trained on.
    entries : how many there are.
    active : how many of them were trained in this epoch.
    finished, stopped, diverged : how many of them are.
    best : index of the best entry so far, None if there is none; score: its score.
    seconds : since the search began, or was resumed.
    seconds_left : until its end, estimated. Entries may yet diverge or be stopped; those that were
        stopped and must be trained on are not foreseen.
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
    halving: bool | Plan = False,
    threads: int | None = None,
    on_epoch: Callable[[GridProgress], None] | None = None,
    progress: Callable[[GridProgress], None] | None = None,
    note: Callable[[str], None] | None = None,
    journal: str | Path | None = None,
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
    select, at : the rule by which the best is chosen; see `fastlin.search.ranking.Rule`.
    search : ``grid`` for every combination, ``random`` for `trials` distinct ones.
    trials : how many combinations random search draws.
    search_seed : of that draw.
    halving : whether to stop entries early that can no longer come first, or the plan by which;
        see `fastlin.search.halving`.
    threads : to run on, None for all; the result does not depend on it.
    on_epoch : called after every epoch of all active entries.
    progress : another name of `on_epoch`.
    note : called with sentences that a user should read, such as that a journal was cut short; by
        default they are warnings.
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
    if not isinstance(halving, bool | Plan):
        raise InputError(f"halving is {halving!r}; it must be true, false or a Plan")
    rule = Rule(select, at)
    configs = grid_configs(grid, base, search=search, trials=trials, search_seed=search_seed)
    check_comparable(split, configs, rule)
    plan = halving if isinstance(halving, Plan) else Plan() if halving else None
    trainer = GridTrainer(split, configs, threads, select=rule.select)
    running = _Search(trainer, configs, rule, plan, on_epoch or progress)
    note = note or functools.partial(warnings.warn, stacklevel=2)
    if plan is not None and not running.plan:
        note(f"No entry is stopped early: that needs more than {FIRST_EPOCH} epochs.")
    with contextlib.ExitStack() as resources:
        if journal is not None:
            header = _journal_header(split, configs, rule, plan)
            book = (Journal.resume if resume else Journal.begin)(as_path(journal), header)
            resources.callback(book.close)
            running.go_on_with(book)
            for text in book.notes:
                note(text)
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
        running.decisions(),
        tuple(running.trained_on),
    )
    if result.best.status == "diverged":
        raise GridDivergedError(result)
    return result


def check_comparable(split: Split, configs: Sequence[TrainConfig], rule: Rule) -> None:
    """Raise InputError if a rule cannot rank such configurations on such a split."""
    check_split(split)
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
        "software": machine.identity(),
    }


def _whole(value: Any, low: int, high: int) -> int:
    """Return a whole number of a range. Raises ValueError if it is none."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"no whole number from {low} to {high}")
    return value


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
        self.stopped: dict[int, int] = {}  # and the epoch after which each was
        self.rungs: dict[int, Rung] = {}
        self.trained_on: list[int] = []
        self._finished: set[int] = set()  # before those that are trained on now
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
        """Train all that is not known, stop what cannot win, and write it to the journal."""
        self._train_through(self.plan)
        while chosen := self._to_train_on():
            self._finished = set(self._alive(self.epochs))
            self.trained_on += chosen
            for index in chosen:
                del self.stopped[index]
            self._train_through({})

    def _train_through(self, plan: Mapping[int, int]) -> None:
        """Train all that are not stopped to the last epoch, with the decisions of a plan."""
        for epoch in range(1, self.epochs + 1):
            active: set[int] = set()
            while behind := self._behind(epoch):
                self._train(behind)
                active.update(behind)
            if epoch in plan:
                self._stop_some(epoch, plan[epoch])
            if active or epoch == self.epochs:
                self._report(epoch, len(active))
            self._checkpoint(epoch)

    def _to_train_on(self) -> tuple[int, ...]:
        """Return the stopped entries that must be trained to the end before one has won."""
        finished = {index: self._history(index) for index in self._alive(self.epochs)}
        stopped = {index: self._history(index, at) for index, at in self.stopped.items()}
        diverged = [index for index in self.diverged if index not in stopped]
        return to_train_on(self.decisions(), stopped, finished, diverged, self.rule)

    def decisions(self) -> tuple[Rung, ...]:
        """Return all decisions in the order of their epochs."""
        return tuple(self.rungs[epoch] for epoch in sorted(self.rungs))

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

    def _stop_some(self, epoch: int, most: int) -> None:
        if epoch not in self.rungs:
            histories = {index: self._history(index, epoch) for index in self._alive(epoch)}
            if not histories:
                return
            configs = {index: self.configs[index] for index in histories}
            rung = decide(histories, configs, self.rule, most)
            self.rungs[epoch] = rung
            news = {"rung": epoch, "kept": rung.kept, "stopped": rung.stopped, "alike": rung.alike}
            self._news.append(news)
        self.stopped |= dict.fromkeys(self.rungs[epoch].stopped, epoch)

    def _history(self, index: int, epoch: int | None = None) -> History:
        """Return what is known of an entry, up to an epoch."""
        return History.from_records(self.records[index][:epoch])

    def _report(self, epoch: int, active: int) -> None:
        if self._progress is None:
            return
        alive = self._alive(epoch)
        scores = {
            index: self.rule.score(self._history(index, None if index in self._finished else epoch))
            for index in alive
        }
        best = max(alive, key=lambda index: (self.rule.sign * scores[index], -index), default=None)
        is_last = epoch == self.epochs
        rest = self._entry_epochs_left(epoch, len(alive) - len(self._finished))
        self._progress(
            GridProgress(
                epoch=epoch,
                epochs=self.epochs,
                entries=len(self.configs),
                active=active,
                finished=len(alive) if is_last else len(self._finished),
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

    def go_on_with(self, journal: Journal) -> None:
        """Take over what a journal holds, and write to it from now on."""
        self._journal = journal
        for number, event in enumerate(journal.events, start=2):
            try:
                self._take_over(event)
            except (KeyError, TypeError, ValueError, OverflowError):
                raise InputError(
                    f"line {number} of {journal.path} says what cannot be in this search; start "
                    "anew in another place"
                ) from None
        self._restore(journal)

    def _take_over(self, event: Mapping[str, Any]) -> None:
        """Take over an event of a journal. Raises ValueError and the like if it cannot be one."""
        if "rung" in event:
            epoch = _whole(event["rung"], 1, self.epochs)
            kept, stopped = (
                tuple(self._entry_number(index) for index in event[name])
                for name in ("kept", "stopped")
            )
            alike = tuple(
                (self._entry_number(index), self._entry_number(other))
                for index, other in event["alike"]
            )
            self.rungs[epoch] = Rung(epoch, kept, stopped, alike)
        elif "diverged" in event:
            epoch = _whole(event["diverged"], 1, self.epochs)
            self.diverged[self._entry_number(event["entry"])] = epoch
        else:
            known = self.records[self._entry_number(event["entry"])]
            for epoch, *measures in event["epochs"]:
                if not all(isinstance(value, int | float) for value in measures):
                    raise ValueError("a measure is no number")
                record = EpochRecord(_whole(epoch, 1, self.epochs), *map(float, measures))
                if not np.isfinite(record[1:]).all():
                    raise ValueError("a measure is not finite")
                if record.epoch == len(known) + 1:  # else it is known, or one before is lost
                    known.append(record)

    def _entry_number(self, value: Any) -> int:
        return _whole(value, 0, len(self.configs) - 1)

    def _restore(self, journal: Journal) -> None:
        """Continue entries from the journal's weights, and settle those of which all is known."""
        ends = {index: at for at, rung in self.rungs.items() for index in rung.stopped}
        ends |= {index: at - 1 for index, at in self.diverged.items()}
        weights = journal.load_weights() if journal.events else {}
        for index, known in enumerate(self.records):
            self._journaled[index] = len(known)
            end = ends.get(index, self.epochs)
            if end <= len(known):
                self._settled.add(index)
            saved = weights.get(index)
            if saved is not None and saved.epoch <= len(known):
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
        if self.trainer.epochs_done(index) == finished:
            last, best = self.trainer.model(index), self.trainer.best_model(index)
        else:
            trainer = Trainer(split, entry.config, threads, self.rule.select)
            for _ in range(finished):
                trainer.run_epoch()
            result = trainer.result()
            last, best = result.model, result.best_model
        # A rule takes the last epoch, or the best one by its own measure.
        model = last if entry.epoch == finished else best
        return replace(entry, model=model, last_model=last, best_model=best)
