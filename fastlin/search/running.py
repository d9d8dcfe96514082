"""The epochs of a search: who is trained, who is stopped, and who is trained on after all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

from fastlin.errors import DivergedError
from fastlin.search.checkpoints import Checkpoints
from fastlin.search.events import DivergedEvent
from fastlin.search.halving import Plan, decide
from fastlin.search.journal import Journal
from fastlin.search.progress import GridProgress, entry_epochs_left
from fastlin.search.state import SearchState
from fastlin.training.grid import GridTrainer


class RunningSearch:
    """Trains the entries of a search epoch by epoch, as far as they are not known already.

    Parameters
    ----------
    trainer : GridTrainer
        Of the entries.
    state : SearchState
        What is known of them; what comes of every epoch is added to it.
    plan : Plan or None
        When entries are stopped early; None for never.
    progress : Callable[[GridProgress], None] or None
        Called after every epoch of all active entries.

    Attributes
    ----------
    trainer, state : GridTrainer, SearchState
    rungs : Mapping[int, int]
        After which epochs entries are compared, and how many go on at most.
    """

    def __init__(
        self,
        trainer: GridTrainer,
        state: SearchState,
        plan: Plan | None,
        progress: Callable[[GridProgress], None] | None,
    ) -> None:
        self.trainer = trainer
        self.state = state
        self.rungs = plan.rungs(len(state.configs), state.epochs) if plan else {}
        self._progress = progress
        self._checkpoints: Checkpoints | None = None
        self._known: set[int] = set()  # entries of which the journal knows all: never trained again
        self._finished: set[int] = set()  # entries that were, before those that are trained on now
        self._started = time.perf_counter()
        self._entry_epochs, self._training_seconds = 0, 0.0

    def go_on_with(self, journal: Journal) -> None:
        """Take over what a journal holds, and write to it from now on.

        Raises
        ------
        InputError
            If the journal says what cannot be in this search.
        """
        state = self.state
        self._checkpoints = Checkpoints(journal, state, self.trainer)
        ends = state.ends()
        self._known = {e for e, known in enumerate(state.records) if ends[e] <= len(known)}

    def run(self) -> None:
        """Train all that is not known, stop what cannot win, and write it to the journal."""
        state = self.state
        self._train_through(self.rungs)
        while chosen := state.to_train_on():
            self._finished = set(state.alive(state.epochs))
            state.trained_on += chosen
            for entry in chosen:
                del state.stopped[entry]
            self._train_through({})

    def _train_through(self, rungs: Mapping[int, int]) -> None:
        """Train all that are not stopped to the last epoch; stop some of them at the rungs."""
        for epoch in range(1, self.state.epochs + 1):
            active: set[int] = set()
            while behind := self._furthest_behind(epoch):
                self._train(behind)
                active.update(behind)
            if epoch in rungs:
                self._stop_some(epoch, rungs[epoch])
            if active or epoch == self.state.epochs:
                self._report(epoch, len(active))
            if self._checkpoints is not None:
                self._checkpoints.save_if_due(epoch)

    def _furthest_behind(self, epoch: int) -> list[int]:
        """Return the entries that must be trained to reach an epoch, and are furthest behind."""
        done = {
            entry: self.trainer.epochs_done(entry)
            for entry in self.state.alive(epoch)
            if self.state.configs[entry].epochs >= epoch
            and not (entry in self._known and len(self.state.records[entry]) >= epoch)
        }
        lowest = min(done.values(), default=epoch)
        return [entry for entry, count in done.items() if count == lowest < epoch]

    def _train(self, active: Sequence[int]) -> None:
        """Train an epoch of some entries."""
        if self._entry_epochs == 0:
            self.trainer.compile()
        start = time.perf_counter()
        outcomes = self.trainer.run_epoch(active)
        self._training_seconds += time.perf_counter() - start
        self._entry_epochs += len(active)
        for entry, outcome in outcomes.items():
            self.state.take_outcome(entry, outcome)
            if isinstance(outcome, DivergedError) and self._checkpoints is not None:
                self._checkpoints.add(DivergedEvent(entry, outcome.epoch))

    def _stop_some(self, epoch: int, most: int) -> None:
        """Decide which entries go on, if that is not known, and stop the others."""
        state = self.state
        if epoch not in state.rungs:
            histories = {entry: state.history(entry, epoch) for entry in state.alive(epoch)}
            if not histories:
                return
            configs = {entry: state.configs[entry] for entry in histories}
            state.rungs[epoch] = decide(histories, configs, state.rule, most)
            if self._checkpoints is not None:
                self._checkpoints.add(state.rungs[epoch])
        state.stopped |= dict.fromkeys(state.rungs[epoch].stopped, epoch)

    def _report(self, epoch: int, active: int) -> None:
        """Tell how far the search is."""
        if self._progress is None:
            return
        state, sign = self.state, self.state.rule.sign
        alive = state.alive(epoch)
        scores = {
            entry: state.score(entry, None if entry in self._finished else epoch) for entry in alive
        }
        best = max(alive, key=lambda entry: (sign * scores[entry], -entry), default=None)
        going_on = [state.configs[e].epochs for e in alive if e not in self._finished]
        left = entry_epochs_left(epoch, going_on, self.rungs)
        self._progress(
            GridProgress(
                epoch=epoch,
                epochs=state.epochs,
                entries=len(state.configs),
                active=active,
                finished=len(alive) - sum(end > epoch for end in going_on),
                stopped=len(state.stopped),
                diverged=sum(at <= epoch for at in state.diverged.values()),
                best=best,
                score=math.nan if best is None else scores[best],
                seconds=time.perf_counter() - self._started,
                seconds_left=left * self._training_seconds / max(self._entry_epochs, 1),
            )
        )
