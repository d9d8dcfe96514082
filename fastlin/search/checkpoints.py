"""A search on disk: what its journal does not have yet is written to it now and then."""

from __future__ import annotations

import time

from fastlin.errors import InputError
from fastlin.search.events import EpochsEvent, Event, of_json, to_json
from fastlin.search.journal import Journal, Weights
from fastlin.search.state import SearchState
from fastlin.training.grid import GridTrainer

# The journal is written this often (in seconds), or less often where that would cost more than
# one part in `CHECKPOINT_SHARE` of the time.
CHECKPOINT_SECONDS, CHECKPOINT_SHARE = 2.0, 20


class Checkpoints:
    """Reads a search from its journal when it is resumed, and writes it there as it goes on.

    Parameters
    ----------
    journal : Journal
        Of the search.
    state : SearchState
        What is known of the search; what the journal holds is added to it.
    trainer : GridTrainer
        It goes on from the weights beside the journal.

    Raises
    ------
    InputError
        If the journal says what cannot be in this search.
    """

    def __init__(self, journal: Journal, state: SearchState, trainer: GridTrainer) -> None:
        self._journal = journal
        self._state = state
        self._trainer = trainer
        self._news: list[Event] = []  # decisions and divergences that are not written yet
        self._saved_at, self._saving_seconds = time.perf_counter(), 0.0
        epochs = [config.epochs for config in state.configs]
        for number, content in enumerate(journal.events, start=2):
            try:
                state.take_event(of_json(content, epochs))
            except (KeyError, TypeError, ValueError, OverflowError):
                raise InputError(
                    f"line {number} of {journal.path} says what cannot be in this search; start "
                    "anew in another place"
                ) from None
        self._written = [len(records) for records in state.records]  # how many epochs of an entry
        self._restore_weights()

    def _restore_weights(self) -> None:
        """Let the trainer go on from the weights, where they fit what is known."""
        weights = self._journal.load_weights() if self._journal.events else {}
        for entry, known in enumerate(self._state.records):
            saved = weights.get(entry)
            if saved is not None and saved.epoch <= len(known):
                try:
                    self._trainer.restore(entry, known[: saved.epoch], saved.arrays)
                except InputError as error:
                    self._journal.notes.append(
                        f"Entry {entry} is trained from its beginning: {error} "
                        f"({self._journal.weights_path})."
                    )

    def add(self, event: Event) -> None:
        """Note a decision or a divergence, to be written with the next epochs."""
        self._news.append(event)

    def save_if_due(self, epoch: int) -> None:
        """Write to the journal what it does not have, if it is time to, or the last epoch."""
        start = time.perf_counter()
        interval = max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * self._saving_seconds)
        if epoch < self._state.epochs and start - self._saved_at < interval:
            return
        events: list[Event] = [
            EpochsEvent(entry, tuple(records[written:]))
            for entry, (records, written) in enumerate(
                zip(self._state.records, self._written, strict=True)
            )
            if len(records) > written
        ]
        if events or self._news:
            self._journal.append(map(to_json, [*events, *self._news]))
            self._written = [len(records) for records in self._state.records]
            self._news = []
            self._journal.save_weights(
                {
                    entry: Weights(self._trainer.epochs_done(entry), self._trainer.state(entry))
                    for entry in self._state.alive(epoch)
                    if self._trainer.epochs_done(entry) > 0
                }
            )
        self._saved_at = time.perf_counter()
        self._saving_seconds = self._saved_at - start
