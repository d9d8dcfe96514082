"""What is known of every entry of a search: its epochs, and how it ended."""

from __future__ import annotations

import math

from fastlin.config import TrainConfig
from fastlin.errors import DivergedError, InputError
from fastlin.history import EpochRecord, History
from fastlin.search.events import DivergedEvent, EpochsEvent, Event, same_epoch
from fastlin.search.halving import to_train_on
from fastlin.search.ranking import GridEntry, Rule, Rung, Status


class SearchState:
    """What is known of every entry of a search.

    Attributes
    ----------
    configs : tuple[TrainConfig, ...]
        The settings of every entry.
    rule : Rule
        By which the winner is chosen.
    epochs : int
        How many are trained of the entry that is trained longest.
    records : list[list[EpochRecord]]
        For every entry the epochs that are known of it.
    diverged : dict[int, int]
        For every entry that diverged the epoch in which it did.
    stopped : dict[int, int]
        For every entry that was stopped early the epoch after which it was.
    rungs : dict[int, Rung]
        The decisions about which entries are stopped, by the epoch after which they were taken.
    trained_on : list[int]
        Entries that were stopped, and trained to the end later.
    """

    def __init__(self, configs: tuple[TrainConfig, ...], rule: Rule) -> None:
        self.configs = configs
        self.rule = rule
        self.epochs = max(config.epochs for config in configs)
        self.records: list[list[EpochRecord]] = [[] for _ in configs]
        self._scores: list[list[float]] = [[] for _ in configs]  # after every known epoch
        self.diverged: dict[int, int] = {}
        self.stopped: dict[int, int] = {}
        self.rungs: dict[int, Rung] = {}
        self.trained_on: list[int] = []

    def take_event(self, event: Event) -> None:
        """Take over what a journal says."""
        if isinstance(event, Rung):
            self.rungs[event.epoch] = event
        elif isinstance(event, DivergedEvent):
            self.diverged[event.entry] = event.epoch
        elif isinstance(event, EpochsEvent):
            for record in event.records:
                # Another one is known already, or one before it is lost.
                if record.epoch == len(self.records[event.entry]) + 1:
                    self._add(event.entry, record)

    def take_outcome(self, entry: int, outcome: EpochRecord | DivergedError) -> None:
        """Take over what came of an epoch.

        Raises
        ------
        InputError
            If something else is known of it already.
        """
        known = self.records[entry]
        if isinstance(outcome, DivergedError):
            self.diverged[entry] = outcome.epoch
        elif len(known) < outcome.epoch:
            self._add(entry, outcome)
        elif not same_epoch(known[outcome.epoch - 1], outcome):
            raise InputError(
                f"epoch {outcome.epoch} of entry {entry} is not what the journal says, so it "
                "is not this machine's; start anew in another place"
            )

    def _add(self, entry: int, record: EpochRecord) -> None:
        """Add the next epoch of an entry, and its score then."""
        score, sign, scores = getattr(record, self.rule.select), self.rule.sign, self._scores[entry]
        if self.rule.at == "best" and scores:
            score = sign * max(sign * scores[-1], sign * score)
        self.records[entry].append(record)
        scores.append(score)

    def score(self, entry: int, epoch: int | None = None) -> float:
        """Return the score of an entry after an epoch or the last known one; NaN if there is none.

        It is that of `Rule.score`, without a look at the epochs before.
        """
        known = self._scores[entry]
        count = len(known) if epoch is None else min(epoch, len(known))
        return known[count - 1] if count else math.nan

    def alive(self, epoch: int) -> list[int]:
        """Return the entries that are neither stopped nor have diverged up to an epoch."""
        return [
            entry
            for entry in range(len(self.configs))
            if entry not in self.stopped and self.diverged.get(entry, epoch + 1) > epoch
        ]

    def ends(self) -> list[int]:
        """Return for every entry the last epoch that it can finish, as far as is known."""
        ends = {entry: at for at, rung in self.rungs.items() for entry in rung.stopped}
        ends |= {entry: at - 1 for entry, at in self.diverged.items()}
        return [ends.get(entry, config.epochs) for entry, config in enumerate(self.configs)]

    def to_train_on(self) -> tuple[int, ...]:
        """Return the stopped entries that must be trained to the end before one has won."""
        finished = {entry: self.history(entry) for entry in self.alive(self.epochs)}
        stopped = {entry: self.history(entry, at) for entry, at in self.stopped.items()}
        diverged = [entry for entry in self.diverged if entry not in stopped]
        return to_train_on(self.decisions(), stopped, finished, diverged, self.rule)

    def decisions(self) -> tuple[Rung, ...]:
        """Return all decisions in the order of their epochs."""
        return tuple(self.rungs[epoch] for epoch in sorted(self.rungs))

    def history(self, entry: int, epoch: int | None = None) -> History:
        """Return what is known of an entry, up to an epoch."""
        return History.from_records(self.records[entry][:epoch])

    def entries(self) -> tuple[GridEntry, ...]:
        """Return what is known of every entry, without weights."""
        return tuple(self._entry(entry) for entry in range(len(self.configs)))

    def _entry(self, index: int) -> GridEntry:
        history = self.history(index)
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
