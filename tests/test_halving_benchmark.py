import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import halving as benchmark
from fastlin.config import TrainConfig
from fastlin.search import halving
from fastlin.search.halving import Plan
from fastlin.search.ranking import Rule
from fastlin.search.search import grid_search
from fastlin.search.spec import GridSpec

TOO_HIGH = 1e32
LISTS = {"lr": [0.02, 0.3, 2.0, TOO_HIGH], "l2": [0.0, 1e-6, 0.01], "lr_decay": [0.8]}


@pytest.fixture(autouse=True)
def stops_at_once(monkeypatch):
    monkeypatch.setattr(halving, "FIRST_EPOCH", 2)


def tiny(seed):
    split = benchmark.make_embeddings(seed, rows=150, val_rows=80, d=12, K=5)
    return split, GridSpec(LISTS, TrainConfig(seed=seed, epochs=9, batch_size=30)).configs()


@pytest.mark.parametrize("select", ["val_accuracy", "val_cost"])
@pytest.mark.parametrize("at", ["last", "best"])
@pytest.mark.parametrize("plan", [Plan(), Plan(((0.3, 0.2), (0.6, 0.1)))])
def test_a_replay_is_the_search_itself(select, at, plan):
    split, configs = tiny(0)
    found = grid_search(split, configs, select=select, at=at, halving=plan)
    replayed = benchmark.replay(benchmark.Recording.of(split, configs), Rule(select, at), plan)
    assert replayed.winner == found.winner
    assert replayed.rungs == found.rungs
    assert replayed.trained_on == found.trained_on
    statuses = [entry.status for entry in found.entries]
    assert {"stopped", "finished", "diverged"} == set(statuses)
    for ours, theirs in zip(replayed.entries, found.entries, strict=True):
        assert (ours.status, ours.score) == (theirs.status, theirs.score)
        assert ours.history.records() == theirs.history.records()
    full = grid_search(split, configs, select=select, at=at)
    difference = abs(full.best.score - found.best.score)
    unit = 1 if select == "val_accuracy" else abs(full.best.score)
    assert replayed.loss == pytest.approx(100 * difference / unit)
    epochs = [sum(len(entry.history) for entry in result.entries) for result in (found, full)]
    assert replayed.share == epochs[0] / epochs[1] < 1


def test_recordings_are_kept_and_summed_up(tmp_path, monkeypatch):
    monkeypatch.setitem(benchmark.SEARCHES, "mini", tiny)
    arguments = ["--search", "mini", "--seeds", "3:5", "--recordings", str(tmp_path)]
    first = CliRunner().invoke(benchmark.main, arguments, catch_exceptions=False)
    assert first.exit_code == 0
    lines = first.stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("mini seed 3: ")
    assert lines[2].startswith("mini, 2 seeds: largest loss ")
    recording = benchmark.Recording.of(*tiny(4))
    loaded = benchmark.Recording.load(tmp_path / "mini-4.npz")
    assert loaded.configs == recording.configs
    for ours, theirs in zip(loaded.histories, recording.histories, strict=True):
        assert ours.records() == theirs.records()
    monkeypatch.setattr(benchmark, "grid_search", None)
    again = CliRunner().invoke(benchmark.main, arguments, catch_exceptions=False)
    assert again.stdout == first.stdout
    other = CliRunner().invoke(benchmark.main, [*arguments[:2], "--seeds", "5:3"])
    assert other.exit_code == 2


@pytest.mark.parametrize("name", sorted(set(benchmark.SEARCHES) - {"cifar", "random"}))
def test_searches_can_be_made_and_differ_from_seed_to_seed(name):
    (split, configs), (_, others) = (benchmark.SEARCHES[name](seed) for seed in (0, 1))
    assert len(configs) == len(others) >= 27
    assert configs != others
    assert split.val is not None
    assert np.isfinite(split.train.X).all()
