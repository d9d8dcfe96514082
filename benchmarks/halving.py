"""What a search with early stopping spends and loses: `python -m benchmarks.halving`.

A full search is trained once, and its histories are kept. A search with stops is then replayed
from them: `fastlin.search.running` takes its decisions as always, and is handed the recorded epochs
in the place of trained ones. Seeds below 120 were used to choose the constants of
`fastlin.search.halving`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from fastlin.config import TrainConfig
from fastlin.data import Dataset, Split, load_split
from fastlin.errors import DivergedError, InputError
from fastlin.files import atomic_write
from fastlin.history import EpochRecord, History
from fastlin.search.configs import draw_configs
from fastlin.search.halving import Plan
from fastlin.search.ranking import GridEntry, Rule, Rung, rank_entries
from fastlin.search.running import RunningSearch
from fastlin.search.search import grid_search
from fastlin.search.spec import GridSpec, LogRange
from fastlin.search.state import SearchState

_WIDE = {"lr": LogRange(1e-3, 1.0), "l2": LogRange(1e-6, 1e-2)}


@dataclass(frozen=True)
class Recording:
    """A full search: its configurations, and the history of each.

    Attributes
    ----------
    configs : tuple of TrainConfig
    histories : tuple of History
        Shorter than the search where an entry diverged.
    """

    configs: tuple[TrainConfig, ...]
    histories: tuple[History, ...]

    @classmethod
    def of(cls, split: Split, configs: Sequence[TrainConfig]) -> Recording:
        """Train a full search on one thread."""
        entries = grid_search(split, configs, threads=1).entries
        return cls(tuple(configs), tuple(entry.history for entry in entries))

    def save(self, path: Path) -> None:
        """Write it as .npz: records (entries, epochs, 5) without their numbers, NaN at the end."""
        records = np.full((len(self.configs), self.configs[0].epochs, 5), np.nan)
        for values, history in zip(records, self.histories, strict=True):
            for row, record in zip(values, history.records(), strict=False):
                row[:] = record[1:]
        configs = json.dumps([config.to_dict() for config in self.configs])
        with atomic_write(path) as file:
            np.savez(file, records=records, configs=configs)

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read what `save` wrote."""
        with np.load(path) as stored:
            records, configs = stored["records"], json.loads(str(stored["configs"]))
        return cls(
            tuple(map(TrainConfig.from_dict, configs)),
            tuple(map(_history, records)),
        )


def _history(records: NDArray[np.float64]) -> History:
    """Return the history of an entry's records (epochs, 5), which end with NaN if it diverged."""
    finished = records[~np.isnan(records[:, 0])].tolist()
    return History.from_records([EpochRecord(e, *row) for e, row in enumerate(finished, start=1)])


class RecordedTrainer:
    """Stands in for `GridTrainer`: hands out recorded epochs in the place of trained ones."""

    def __init__(self, recording: Recording) -> None:
        self._configs = recording.configs
        self._records = [history.records() for history in recording.histories]
        self._done = [0] * len(self._configs)

    def compile(self) -> None:
        """Nothing is compiled."""

    def epochs_done(self, index: int) -> int:
        """Return how many epochs of an entry were handed out."""
        return self._done[index]

    def run_epoch(self, active: Sequence[int]) -> dict[int, EpochRecord | DivergedError]:
        """Return one more epoch of each active entry."""
        return {index: self._next(index) for index in active}

    def _next(self, index: int) -> EpochRecord | DivergedError:
        done, records = self._done[index], self._records[index]
        if done == len(records):
            return DivergedError(done + 1, self._configs[index])
        self._done[index] += 1
        return records[done]


class Outcome(NamedTuple):
    """A search with stops beside the full one.

    Attributes
    ----------
    entries : tuple of GridEntry
        What it found, without weights.
    winner : int
        Index of its best entry.
    rungs : tuple of Rung
        Its decisions.
    trained_on : tuple of int
        The entries that were stopped, and trained to the end later.
    share : float
        Its epochs, as a fraction of those of the full search.
    loss : float
        By how much the full search's best score is better than its own: percentage points of
        accuracy, or percent of the cost.
    """

    entries: tuple[GridEntry, ...]
    winner: int
    rungs: tuple[Rung, ...]
    trained_on: tuple[int, ...]
    share: float
    loss: float


def replay(recording: Recording, rule: Rule, plan: Plan) -> Outcome:
    """Return what a search with stops finds where the full one is known."""
    trainer: Any = RecordedTrainer(recording)
    search = SearchState(recording.configs, rule)
    RunningSearch(trainer, search, plan, None).run()
    entries = search.entries()
    found = rank_entries(entries, rule)[0]
    epochs = recording.configs[0].epochs
    best = max(rule.sign * rule.score(h) for h in recording.histories if len(h) == epochs)
    loss = best - rule.sign * found.score
    return Outcome(
        entries,
        found.index,
        search.decisions(),
        tuple(search.trained_on),
        sum(len(entry.history) for entry in entries) / sum(map(len, recording.histories)),
        100 * (loss if rule.select == "val_accuracy" else loss / abs(best)),
    )


def _cifar(seed: int) -> tuple[Split, tuple[TrainConfig, ...]]:
    """Return the grid of the study: 27 entries of which nine times three differ in l2 alone."""
    lists = {"lr": (0.01, 0.02, 0.03), "l2": (0.0, 0.001, 0.0001), "batch_size": (64, 100, 128)}
    return load_split("cifar10"), GridSpec(lists, TrainConfig(seed=seed)).configs()


def _random(seed: int) -> tuple[Split, tuple[TrainConfig, ...]]:
    """Return 50 random entries from ranges so wide that most are hopeless, in few epochs."""
    spec = GridSpec(_WIDE, TrainConfig(seed=seed, epochs=20))
    return load_split("cifar10"), draw_configs(spec, 50, seed)


def _mini(seed: int) -> tuple[Split, tuple[TrainConfig, ...]]:
    """Return the same on 2,000 images, of which 500 more choose: one of them is 0.2 points."""
    configs = draw_configs(GridSpec(_WIDE, TrainConfig(seed=seed)), 50, seed)
    return load_split("cifar10-mini"), configs


def _embeddings(seed: int) -> tuple[Split, tuple[TrainConfig, ...]]:
    """Return a grid of 48 entries with both losses, with and without momentum."""
    lists = {
        "loss": ("softmax", "hinge"),
        "momentum": (0.0, 0.9),
        "lr": (0.003, 0.01, 0.03, 0.1),
        "l2": (0.0, 1e-4, 1e-3),
    }
    return make_embeddings(seed), GridSpec(lists, TrainConfig(seed=seed)).configs()


def _embeddings_random(seed: int) -> tuple[Split, tuple[TrainConfig, ...]]:
    """Return 50 random entries from wide ranges."""
    configs = draw_configs(GridSpec(_WIDE, TrainConfig(seed=seed)), 50, seed)
    return make_embeddings(seed), configs


def make_embeddings(
    seed: int, rows: int = 5000, val_rows: int = 2000, d: int = 128, K: int = 30
) -> Split:
    """Return features as a frozen network gives them: Gaussian classes, correlated features.

    The covariance within a class has condition 3,000 and is turned at random; a fifth of the
    labels is drawn anew, so that about 78 % can be right.
    """
    rng = np.random.default_rng([5, seed])
    scales = 3e3 ** (-np.arange(d) / (2 * (d - 1)))
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    centres = 0.42 * rng.standard_normal((K, d)) * scales**0.7

    def part(count: int) -> Dataset:
        y = rng.integers(0, K, count)
        X = (centres[y] + rng.standard_normal((count, d)) * scales) @ rotation
        y = np.where(rng.random(count) < 0.2, rng.integers(0, K, count), y)
        return Dataset(X.astype(np.float32), y, tuple(f"class {k}" for k in range(K)))

    return Split("embeddings", part(rows), part(val_rows), None)


SEARCHES: dict[str, Callable[[int], tuple[Split, tuple[TrainConfig, ...]]]] = {
    "cifar": _cifar,
    "random": _random,
    "mini": _mini,
    "embeddings": _embeddings,
    "embeddings-random": _embeddings_random,
}


class _Seeds(click.ParamType):
    name = "FIRST:END"

    def convert(self, value: Any, param: Any, ctx: Any) -> range:
        if isinstance(value, range):
            return value
        first, _, end = value.partition(":")
        try:
            seeds = range(int(first), int(end or int(first) + 1))
        except ValueError:
            self.fail(f"{value!r} is not FIRST:END, such as 120:140", param, ctx)
        return seeds if seeds else self.fail(f"{value!r} has no seed", param, ctx)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--search", type=click.Choice(list(SEARCHES)), required=True)
@click.option("--seeds", type=_Seeds(), default="120:140", show_default=True)
@click.option("--plan", metavar="PLAN", help="As --halving-plan of `fastlin grid`.")
@click.option("--select", type=click.Choice(["accuracy", "cost"]), default="accuracy",
              show_default=True)  # fmt: skip
@click.option("--at", type=click.Choice(["last", "best"]), default="last", show_default=True)
@click.option("--recordings", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for histories of full searches; those in it are used.")  # fmt: skip
def main(
    *, search: str, seeds: range, plan: str | None, select: str, at: str, recordings: Path | None
) -> None:
    """Print what searches with early stopping spend and lose against full ones."""
    rule = Rule(f"val_{select}", at)  # type: ignore[arg-type]
    unit = "points" if select == "accuracy" else "% of the cost"
    outcomes = []
    try:
        chosen = Plan() if plan is None else Plan.parse(plan)
        for seed in seeds:
            outcome = replay(_recording(search, seed, recordings), rule, chosen)
            outcomes.append(outcome)
            click.echo(
                f"{search} seed {seed}: {outcome.share:.0%} of the epochs, "
                f"{len(outcome.trained_on)} trained on, loss {outcome.loss:.2f} {unit}"
            )
    except InputError as error:
        raise click.ClickException(str(error)) from None
    losses, shares = [o.loss for o in outcomes], [o.share for o in outcomes]
    click.echo(
        f"{search}, {len(outcomes)} seeds: largest loss {max(losses):.2f}, "
        f"mean {np.mean(losses):.3f} {unit}; epochs {np.mean(shares):.0%} "
        f"({min(shares):.0%} to {max(shares):.0%})"
    )


def _recording(search: str, seed: int, folder: Path | None) -> Recording:
    path = None if folder is None else folder / f"{search}-{seed}.npz"
    if path is not None and path.exists():
        return Recording.load(path)
    recording = Recording.of(*SEARCHES[search](seed))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        recording.save(path)
    return recording


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.halving")
