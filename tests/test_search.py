import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.errors import GridDivergedError, InputError
from fastlin.history import EpochRecord, History
from fastlin.search import checkpoints, running
from fastlin.search import halving as early_stops
from fastlin.search.configs import draw_configs, grid_configs
from fastlin.search.halving import Plan
from fastlin.search.journal import Journal
from fastlin.search.ranking import GridEntry, Rule, Rung, rank_entries, save_table
from fastlin.search.search import grid_search
from fastlin.search.spec import GridSpec, LogRange
from fastlin.search.state import SearchState
from fastlin.training.grid import GridTrainer
from fastlin.training.trainer import train

BASE = TrainConfig(epochs=5, lr=0.05, l2=0.01, standardize=False)
GRID = {"loss": ["softmax", "hinge"], "l2": [0, 0.01], "batch_size": [7, 16], "lr": [0.02, 0.2]}
EVERYTHING = {
    "lr_decay": [0.5, 1], "init": ["gaussian", "xavier"], "seed": [0, 5], "momentum": [0, 0.9],
    "schedule": ["exponential", "cosine"],
}  # fmt: skip
TOO_HIGH = 1e32  # overflows float32 after a few steps


def problem(n=97, d=37, K=5, *, val=True, seed=0):
    rng = np.random.default_rng(seed)
    names = tuple(f"class {k}" for k in range(K))
    centres = rng.uniform(60, 190, (K, d))

    def part(rows):
        y = rng.integers(0, K, rows)
        X = np.clip(centres[y] + rng.normal(0, 60, (rows, d)), 0, 255)
        return Dataset(X.astype(np.uint8), y, names)

    return Split("blobs", part(n), part(61) if val else None, part(29))


@pytest.fixture(scope="module")
def split():
    return problem()


@pytest.fixture(scope="module")
def images():
    found = problem(d=36)

    def shaped(rows):
        return replace(rows, image_shape=(3, 3, 4))

    return Split("images", shaped(found.train), shaped(found.val), shaped(found.test))


def same_model(ours, theirs):
    return ours.W.tobytes() == theirs.W.tobytes() and ours.b.tobytes() == theirs.b.tobytes()


def same_entry(entry, result):
    return (
        repr(entry.history.records()) == repr(result.history.records())
        and same_model(entry.last_model, result.model)
        and same_model(entry.best_model, result.best_model)
    )


def same_results(ours, theirs):
    assert ours.to_records() == theirs.to_records()
    assert (ours.winner, ours.rungs) == (theirs.winner, theirs.rungs)
    assert ours.trained_on == theirs.trained_on
    for entry, other in zip(ours.entries, theirs.entries, strict=True):
        assert repr(entry.history.records()) == repr(other.history.records())
        assert (entry.model is None) == (other.model is None)
        if entry.model is not None:
            assert same_model(entry.model, other.model)
            assert same_entry_models(entry, other)
    return True


def same_entry_models(entry, other):
    return same_model(entry.last_model, other.last_model) and same_model(
        entry.best_model, other.best_model
    )


@pytest.mark.parametrize("threads", [1, None])
def test_every_entry_is_its_single_run_bit_for_bit(split, threads):
    result = grid_search(split, GRID, base=BASE, keep="all", threads=threads)
    assert len(result.entries) == 16
    for index, entry in enumerate(result.entries):
        assert entry.index == index
        assert entry.status == "finished"
        assert same_entry(entry, train(split, entry.config))


def test_every_setting_can_be_searched(split):
    base = TrainConfig(epochs=2, lr=0.05)
    result = grid_search(split, EVERYTHING, base=base, keep="all")
    assert len(result.entries) == 32
    assert set(result.swept) == set(EVERYTHING)
    for entry in result.entries:
        assert same_entry(entry, train(split, entry.config))


PAIRS = {
    "epochs": [1, 2, 3], "standardize": [False, True], "average_epochs": [1, 2],
    "sigma": [0.0, 0.5], "shuffle": [True, False], "dtype": ["float32", "float64"],
    "nesterov": [True, False], "flip": [False, True],
    "class_weight": [None, "balanced", {"class 1": 3}],
}  # fmt: skip
OWN_KERNELS = {"standardize", "dtype", "nesterov", "class_weight"}  # compiled for each value


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("threads", [1, 2])
def test_every_setting_may_differ_between_entries(images, name, threads):
    # Weights of classes and momentum together are in the test of all settings at once.
    momentum = 0.0 if name == "class_weight" else 0.9
    base = TrainConfig(epochs=3, lr=0.02, momentum=momentum, batch_size=16)
    grid = {name: PAIRS[name], "loss": ["softmax", "hinge"], "seed": [0, 3]}
    if name in OWN_KERNELS:
        grid["loss"] = ["softmax"]
    result = grid_search(images, grid, base=base, keep="all", threads=threads)
    for entry in result.entries:
        assert len(entry.history) == entry.config.epochs
        assert entry.model.W.dtype == entry.config.dtype
        assert same_entry(entry, train(images, entry.config))


def test_all_settings_at_once_are_searched_at_random(images):
    lists = PAIRS | EVERYTHING | {"momentum": [0.5, 0.9], "l2": LogRange(1e-4, 0.1)}
    # Each pair of what has kernels of its own is compiled for one entry or two: leave some out.
    lists |= {"standardize": [True], "dtype": ["float32"], "nesterov": [False]}
    result = grid_search(images, lists, search="random", trials=24, keep="all")
    for entry in result.entries:
        assert same_entry(entry, train(images, entry.config))


def test_entries_of_fewer_epochs_leave_the_grid(images):
    seen = []
    grid_search(images, {"epochs": [1, 3], "lr": [0.01, 0.02]}, on_epoch=seen.append)
    assert [(found.active, found.finished, found.epochs) for found in seen] == [
        (4, 2, 3), (2, 2, 3), (2, 4, 3),
    ]  # fmt: skip
    with pytest.raises(InputError, match="halving compares entries that are trained for equally"):
        grid_search(images, {"epochs": [12, 24]}, halving=True)


def test_the_winner_is_the_best_by_the_rule_and_only_its_weights_are_kept(split):
    for select in ("val_accuracy", "val_cost"):
        for at in ("last", "best"):
            grid = {**GRID, "loss": ["softmax"]}
            result = grid_search(split, grid, base=BASE, select=select, at=at)
            values = []
            for entry in result.entries:
                curve = getattr(entry.history, select)
                best = curve.max() if select == "val_accuracy" else curve.min()
                values.append(curve[-1] if at == "last" else best)
                assert entry.score == values[-1]
                assert entry.score == getattr(entry.record, select)
                assert (entry.model is not None) == (entry.index == result.winner)
            best = max(values) if select == "val_accuracy" else min(values)
            assert result.winner == values.index(best)
            assert result.ranked()[0] is result.best
            epochs = result.best.epoch
            alone = train(split, TrainConfig(**{**result.best.config.to_dict(), "epochs": epochs}))
            assert same_model(result.best.model, alone.model)
    assert result.rule == "validation cost at the best epoch"


def history(*accuracies):
    return History.from_records(
        [EpochRecord(e, 0.1, 1.0, 0.5, 2 - a, a) for e, a in enumerate(accuracies, start=1)]
    )


def entry(index, status, *accuracies, rule=None):
    h = history(*accuracies)
    rule = rule or Rule()
    return GridEntry(index, TrainConfig(), status, h, None, rule.epoch(h), rule.score(h))


def test_ranking_is_by_status_then_progress_then_score_then_place():
    entries = [
        entry(0, "diverged", 0.9, 0.9),
        entry(1, "stopped", 0.8),
        entry(2, "finished", 0.1, 0.2, 0.3),
        entry(3, "stopped", 0.1, 0.1),
        entry(4, "finished", 0.1, 0.2, 0.4),
        entry(5, "diverged"),
        entry(6, "finished", 0.9, 0.2, 0.4),
    ]
    assert [e.index for e in rank_entries(entries, Rule())] == [4, 6, 2, 3, 1, 0, 5]


def test_rules_take_the_first_of_equal_epochs():
    h = history(0.1, 0.3, 0.3, 0.2)
    assert Rule("val_accuracy", "best").epoch(h) == 2
    assert Rule("val_cost", "best").epoch(h) == 2
    assert Rule("val_cost", "last").epoch(h) == 4
    assert Rule().epoch(history()) == 0
    assert math.isnan(Rule().score(history()))
    with pytest.raises(InputError, match="select is 'train_cost'"):
        Rule("train_cost")


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 9)), max_size=6),
    st.sampled_from(["val_accuracy", "val_cost"]),
    st.sampled_from(["last", "best"]),
)
def test_the_score_after_an_epoch_is_that_of_the_history_up_to_it(measures, select, at):
    state = SearchState((TrainConfig(epochs=6), TrainConfig(epochs=6, lr=1.0)), Rule(select, at))
    for epoch, (accuracy, cost) in enumerate(measures, start=1):
        state.take_outcome(1, EpochRecord(epoch, 0.1, 1.0, 0.5, cost, accuracy))
    for epoch in (*range(7), None):
        expected = Rule(select, at).score(state.history(1, epoch))
        assert state.score(1, epoch) == pytest.approx(expected, rel=0, nan_ok=True)
    assert math.isnan(state.score(0))


def test_records_are_flat_ranked_and_plain(split):
    result = grid_search(split, GRID, base=BASE)
    records = result.to_records()
    assert [record["rank"] for record in records] == list(range(1, 17))
    assert sorted(record["entry"] for record in records) == list(range(16))
    assert {type(value) for record in records for value in record.values()} <= {
        int, float, str, bool, type(None),
    }  # fmt: skip
    first = result.best
    assert records[0]["val_accuracy"] == first.score
    assert records[0]["lr"] == first.config.lr
    assert records[0]["epochs_finished"] == 5


def test_a_divergent_entry_is_recorded_and_stops_no_other(split):
    grid = {"lr": [0.02, TOO_HIGH, 0.2], "l2": [1.0], "lr_decay": [1.0]}
    result = grid_search(split, grid, base=TrainConfig(epochs=6), keep="all")
    low, diverged, high = result.entries
    assert (low.status, diverged.status, high.status) == ("finished", "diverged", "finished")
    assert diverged.diverged_epoch == len(diverged.history) + 1 <= 6
    assert result.ranked()[-1] is diverged
    assert result.to_records()[-1]["diverged_epoch"] == diverged.diverged_epoch
    for entry in (low, high):
        assert same_entry(entry, train(split, entry.config))


def test_if_all_diverge_the_error_holds_the_result(split):
    grid = {"lr": [TOO_HIGH, 2 * TOO_HIGH], "l2": [1.0], "lr_decay": [1.0]}
    with pytest.raises(GridDivergedError, match="all 2 configurations diverged; try") as caught:
        grid_search(split, grid, base=TrainConfig(epochs=6))
    assert [e.status for e in caught.value.result.entries] == ["diverged", "diverged"]


def test_progress_counts_entries_and_names_the_best_so_far(split):
    seen = []
    grid = {"lr": [0.02, TOO_HIGH, 0.2], "l2": [1.0], "lr_decay": [1.0]}
    result = grid_search(split, grid, base=TrainConfig(epochs=6), progress=seen.append)
    assert [p.epoch for p in seen] == [1, 2, 3, 4, 5, 6]
    assert {(p.entries, p.epochs) for p in seen} == {(3, 6)}
    last = seen[-1]
    assert (last.finished, last.diverged, last.stopped) == (2, 1, 0)
    assert (last.best, last.score) == (result.winner, result.best.score)
    assert last.seconds_left == 0
    assert sum(p.active for p in seen) == sum(
        len(e.history) + (e.status == "diverged") for e in result.entries
    )


class Killed(BaseException):
    """As if the process had been killed: nothing in fastlin catches it."""


def killing(epoch):
    def progress(state):
        if state.epoch == epoch:
            raise Killed

    return progress


@pytest.fixture
def always_journal(monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SHARE", 0.0)


@pytest.fixture
def stops_at_once(monkeypatch):
    """Short searches decide from epoch 2 on."""
    monkeypatch.setattr(early_stops, "FIRST_EPOCH", 2)


# Two penalties that are all but the same: with halving, one waits for the other.
RESUMED = {
    "loss": ["softmax"], "batch_size": [7], "lr": [0.02, 0.2, TOO_HIGH], "l2": [0.01, 0.010001],
}  # fmt: skip


@pytest.mark.parametrize("halving", [False, True])
@pytest.mark.parametrize("epoch", range(1, 8))
def test_a_killed_search_resumes_to_the_same_bits(
    split, tmp_path, always_journal, stops_at_once, epoch, halving
):
    path = tmp_path / "journal.jsonl"
    how = {"base": TrainConfig(epochs=7, lr_decay=1.0), "halving": halving, "keep": "all"}
    whole = grid_search(split, RESUMED, **how)
    with pytest.raises(Killed):
        grid_search(split, RESUMED, **how, journal=path, progress=killing(epoch))
    seen = []
    resumed = grid_search(
        split, RESUMED, **how, journal=path, resume=True, progress=seen.append, threads=1
    )
    assert same_results(resumed, whole)
    assert seen[0].epoch == epoch  # the epochs before are not trained again
    again = grid_search(split, RESUMED, **how, journal=path, resume=True)
    assert same_results(again, whole)


@pytest.mark.parametrize("call", range(8, 13))
def test_killed_while_a_stopped_entry_is_trained_on(
    split, tmp_path, always_journal, stops_at_once, call
):
    path, seen = tmp_path / "journal.jsonl", []
    how = {"base": TrainConfig(epochs=7, lr_decay=1.0), "halving": True, "keep": "all"}
    whole = grid_search(split, RESUMED, **how)
    assert len(whole.trained_on) == 1
    assert whole.rungs[0].alike[0][0] == whole.trained_on[0]

    def killing(state):
        seen.append(state)
        if len(seen) == call:
            raise Killed

    with pytest.raises(Killed):
        grid_search(split, RESUMED, **how, journal=path, progress=killing)
    assert seen[-1].epoch == call - 5  # it was stopped after epoch 2
    assert (seen[-1].active, seen[-1].finished) == (1, 2 if call == 12 else 1)
    resumed = []
    again = grid_search(split, RESUMED, **how, journal=path, resume=True, progress=resumed.append)
    assert same_results(again, whole)
    assert sum(state.active for state in resumed) == 13 - call
    assert (resumed[-1].best, resumed[-1].score) == (whole.winner, whole.best.score)


@pytest.mark.parametrize("method", ["append", "save_weights"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("halving", [False, True])
def test_killed_while_the_journal_is_written(
    split, tmp_path, always_journal, stops_at_once, monkeypatch, method, moment, halving
):
    path = tmp_path / "journal.jsonl"
    how = {"base": TrainConfig(epochs=4, lr_decay=1.0), "halving": halving}
    whole = grid_search(split, RESUMED, **how)
    right = getattr(Journal, method)
    calls = []

    def killed(book, content):
        calls.append(content)
        if len(calls) == 2 and moment == "before":
            raise Killed
        right(book, content)
        if len(calls) == 2:
            raise Killed

    monkeypatch.setattr(Journal, method, killed)
    with pytest.raises(Killed):
        grid_search(split, RESUMED, **how, journal=path)
    monkeypatch.setattr(Journal, method, right)
    assert same_results(grid_search(split, RESUMED, **how, journal=path, resume=True), whole)


@pytest.mark.parametrize("halving", [False, True])
@pytest.mark.parametrize("keep_weights", [False, True])
def test_a_journal_without_any_one_line_or_the_weights_resumes_to_the_same_bits(
    split, tmp_path, always_journal, stops_at_once, halving, keep_weights
):
    path = tmp_path / "journal.jsonl"
    how = {"base": TrainConfig(epochs=4, lr_decay=1.0), "halving": halving}
    whole = grid_search(split, RESUMED, **how)
    with pytest.raises(Killed):
        grid_search(split, RESUMED, **how, journal=path, progress=killing(4))
    lines = path.read_bytes().splitlines(keepends=True)
    weights = path.with_name("journal.jsonl.weights.npz").read_bytes()
    for gone in range(1, len(lines), 1 if keep_weights else 4):
        path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
        path.with_name("journal.jsonl.weights.npz").write_bytes(
            weights if keep_weights else weights[:100]
        )
        notes = []
        resumed = grid_search(split, RESUMED, **how, journal=path, resume=True, note=notes.append)
        assert same_results(resumed, whole)
        assert len(notes) == (not keep_weights)


@pytest.mark.parametrize("change", [lambda W: W[:, :-1], lambda W: W.astype(np.float64)])
def test_weights_that_do_not_fit_their_entry_are_trained_anew(
    split, tmp_path, always_journal, change
):
    path = tmp_path / "journal.jsonl"
    how = {"base": TrainConfig(epochs=4, lr_decay=1.0)}
    whole = grid_search(split, RESUMED, **how)
    with pytest.raises(Killed):
        grid_search(split, RESUMED, **how, journal=path, progress=killing(2))
    saved = path.with_name("journal.jsonl.weights.npz")
    with np.load(saved) as arrays:
        content = dict(arrays)
    np.savez(saved, **(content | {"1.W": change(content["1.W"])}))
    notes = []
    resumed = grid_search(split, RESUMED, **how, journal=path, resume=True, note=notes.append)
    assert same_results(resumed, whole)
    assert len(notes) == 1
    assert "Entry 1 is trained from its beginning" in notes[0]


def test_a_finished_journal_can_be_ranked_by_another_rule_without_training(
    split, tmp_path, monkeypatch
):
    path, grid = tmp_path / "journal.jsonl", {**GRID, "loss": ["hinge"]}
    grid_search(split, grid, base=BASE, journal=path)
    expected = grid_search(split, grid, base=BASE, select="val_cost")
    monkeypatch.setattr(GridTrainer, "run_epoch", None)
    again = grid_search(split, grid, base=BASE, select="val_cost", journal=path, resume=True)
    assert same_results(again, expected)


@pytest.mark.parametrize("every", [0, 3])
@pytest.mark.parametrize("halving", [False, True])
def test_training_rows_that_are_not_evaluated_change_no_choice_and_no_weights(
    split, tmp_path, always_journal, stops_at_once, every, halving
):
    path = tmp_path / "journal.jsonl"
    how = {"base": TrainConfig(epochs=7, lr_decay=1.0), "halving": halving, "keep": "all"}
    whole = grid_search(split, RESUMED, **how)
    ours = grid_search(split, RESUMED, **how, eval_train_every=every)
    assert (ours.winner, ours.rungs, ours.trained_on) == (
        whole.winner, whole.rungs, whole.trained_on,
    )  # fmt: skip
    for entry, other in zip(ours.entries, whole.entries, strict=True):
        assert entry.status == other.status
        if entry.status != "diverged":
            assert same_entry_models(entry, other)
            np.testing.assert_array_equal(entry.history.val_cost, other.history.val_cost)
        due = entry.history.epoch % (every or 99) == 0
        np.testing.assert_array_equal(np.isnan(entry.history.train_cost), ~due)
    with pytest.raises(Killed):
        grid_search(
            split, RESUMED, **how, eval_train_every=every, journal=path, progress=killing(4)
        )
    lines = path.read_bytes()
    for evaluated in (every, 1):  # how it is observed may change, what was written stays
        path.write_bytes(lines)
        path.with_name("journal.jsonl.weights.npz").unlink(missing_ok=True)
        again = grid_search(
            split, RESUMED, **how, journal=path, resume=True, eval_train_every=evaluated
        )
        assert (again.winner, again.rungs) == (ours.winner, ours.rungs)
        for entry, other in zip(again.entries, ours.entries, strict=True):
            if evaluated == every:
                assert repr(entry.history.records()) == repr(other.history.records())
            else:
                known = 2 if entry.index in ours.trained_on else 3
                records = entry.history.records()
                assert repr(records[:known]) == repr(other.history.records()[:known])
                assert not np.isnan(entry.history.train_cost[known:]).any()


def test_another_search_is_not_resumed(split, tmp_path):
    path = tmp_path / "journal.jsonl"
    grid_search(split, {"lr": [0.1, 0.2]}, base=BASE, journal=path)
    with pytest.raises(InputError, match="holds a search already"):
        grid_search(split, {"lr": [0.1, 0.2]}, base=BASE, journal=path)
    for other, lists, halving, what in (
        (problem(seed=1), [0.1, 0.2], False, "data"),
        (split, [0.1, 0.3], False, "grid"),
        (split, [0.1, 0.2], True, "halving"),
        (split, [0.1, 0.2], Plan(((0.5, 1.0),)), "halving"),
    ):
        with pytest.raises(InputError, match=f"the {what} is not what it was begun with"):
            grid_search(
                other, {"lr": lists}, base=BASE, journal=path, resume=True, halving=halving,
                note=[].append,
            )  # fmt: skip


def test_results_that_do_not_come_again_are_not_mixed(split, tmp_path, always_journal, monkeypatch):
    path = tmp_path / "journal.jsonl"
    with pytest.raises(Killed):
        grid_search(split, {"lr": [0.1, 0.2]}, base=BASE, journal=path, progress=killing(4))
    path.with_name("journal.jsonl.weights.npz").unlink()
    right = GridTrainer.run_epoch

    def other_bits(trainer, active):
        outcomes = right(trainer, active)
        return {
            i: r._replace(train_cost=np.nextafter(r.train_cost, 9)) for i, r in outcomes.items()
        }

    monkeypatch.setattr(GridTrainer, "run_epoch", other_bits)
    with pytest.raises(InputError, match="epoch 1 of entry 0 is not what the journal says"):
        grid_search(split, {"lr": [0.1, 0.2]}, base=BASE, journal=path, resume=True)


def test_halving_is_deterministic_and_its_entries_are_those_of_the_grid(split, stops_at_once):
    how = {"base": TrainConfig(epochs=10, lr=0.05), "keep": "all"}
    full = grid_search(split, GRID, **how)
    halved = grid_search(split, GRID, **how, halving=True)
    assert same_results(grid_search(split, GRID, **how, halving=True, threads=1), halved)
    assert [rung.epoch for rung in halved.rungs] == list(range(2, 10))
    going, stopped_at = set(range(16)), {}
    for rung in halved.rungs:
        assert going == {*rung.kept, *rung.stopped}
        going = set(rung.kept)
        stopped_at |= dict.fromkeys(rung.stopped, rung.epoch)
    assert halved.trained_on
    assert set(halved.trained_on) <= set(stopped_at)
    for entry, other in zip(halved.entries, full.entries, strict=True):
        finished = entry.index in going or entry.index in halved.trained_on
        assert entry.status == ("finished" if finished else "stopped")
        n = 10 if finished else stopped_at[entry.index]
        assert entry.history.records() == other.history.records()[:n]
        assert len(entry.history) == n
    stopped = [entry.score for entry in halved.entries if entry.status == "stopped"]
    assert 0 < len(stopped) < 15
    assert halved.best.status == "finished"
    assert max(stopped) <= halved.best.score


@pytest.mark.parametrize("select", ["val_accuracy", "val_cost"])
@pytest.mark.parametrize("at", ["last", "best"])
def test_no_stopped_entry_is_better_than_the_winner_whatever_the_plan(
    split, stops_at_once, select, at
):
    grid = {**GRID, "loss": ["softmax"], "seed": [0, 1]}
    how = {"base": TrainConfig(epochs=6), "select": select, "at": at}
    # Nearly all are stopped after epoch 2.
    found = grid_search(split, grid, **how, halving=Plan(((0.3, 0.01),)))
    assert len(found.rungs[0].kept) == 1
    sign = found.ranked_by.sign
    assert all(
        sign * entry.score <= sign * found.best.score
        for entry in found.entries
        if entry.status == "stopped"
    )


def test_a_search_too_short_to_stop_an_entry_says_so(split):
    notes = []
    result = grid_search(
        split, {"lr": [0.1, 0.2]}, base=TrainConfig(epochs=10), halving=True, note=notes.append
    )
    assert notes == ["No entry is stopped early: that needs more than 10 epochs."]
    assert result.rungs == ()
    with pytest.raises(InputError, match="halving is 'yes'; it must be true, false or a Plan"):
        grid_search(split, {"lr": [0.1, 0.2]}, halving="yes")


def test_if_all_that_went_on_diverge_the_others_are_trained_on(split, monkeypatch):
    grid = {"lr": [0.02, 1e12], "l2": [1.0], "lr_decay": [1.0], "batch_size": [97]}
    base = TrainConfig(epochs=12)
    full = grid_search(split, grid, base=base)
    assert full.entries[1].diverged_epoch > 2
    monkeypatch.setattr(early_stops, "FIRST_EPOCH", 2)
    monkeypatch.setattr(running, "decide", lambda *_: Rung(2, (1,), (0,)))
    halved = grid_search(split, grid, base=base, halving=Plan(((0.17, 1.0),)))
    assert [entry.status for entry in halved.entries] == ["finished", "diverged"]
    assert (halved.winner, halved.trained_on) == (0, (0,))
    assert halved.best.history.records() == full.best.history.records()


def test_random_trials_are_distinct_seeded_and_a_prefix_of_more():
    grid = GridSpec({"lr": LogRange(1e-4, 1.0), "batch_size": LogRange(4, 64), "l2": [0, 0.1]})
    drawn = draw_configs(grid, 60, 0)
    assert len(set(drawn)) == 60
    assert draw_configs(grid, 20, 0) == drawn[:20]
    assert draw_configs(grid, 60, 1) != drawn
    logs = np.log10([config.lr for config in drawn])
    assert -4 <= logs.min() < -3.5
    assert -0.5 < logs.max() <= 0
    assert abs(logs.mean() + 2) < 0.5
    assert all(4 <= config.batch_size <= 64 for config in drawn)
    assert all(float(f"{config.lr:.6g}") == config.lr for config in drawn)
    lists = GridSpec({"lr": [0.1, 0.2, 0.3], "seed": [0, 1]})
    assert set(draw_configs(lists, 6, 0)) == set(lists.configs())
    with pytest.raises(InputError, match="there are 6 combinations; 7 trials are too many"):
        draw_configs(lists, 7, 0)
    with pytest.raises(InputError, match="ranges are too narrow"):
        draw_configs(GridSpec({"batch_size": LogRange(1, 3)}), 4, 0)
    with pytest.raises(InputError, match="trials is 0"):
        draw_configs(lists, 0, 0)


@pytest.mark.parametrize(
    ("trials", "seed", "said"),
    [
        (10**9, 0, r"trials is 1,000,000,000; it must be at most 100,000$"),
        (2.0, 0, r"trials is 2\.0; it must be a whole number"),
        (True, 0, "trials is True"),
        (2, -1, "search_seed is -1"),
        (2, None, "search_seed is None"),
    ],
)
def test_impossible_draws_are_refused(trials, seed, said):
    with pytest.raises(InputError, match=said):
        draw_configs(GridSpec({"lr": LogRange(1e-4, 1.0)}), trials, seed)


def test_a_range_wider_than_float64_is_drawn_from_evenly():
    grid = GridSpec({"l2": LogRange(1e-300, 1e300)}, TrainConfig(dtype="float64"))
    logs = np.log10([config.l2 for config in draw_configs(grid, 200, 0)])
    assert abs(logs.mean()) < 50
    assert logs.std() == pytest.approx(600 / np.sqrt(12), rel=0.2)


def test_trials_are_drawn_from_more_combinations_than_an_integer_of_c_holds():
    values = [10.0**-i for i in range(1, 31)]
    lists = {"lr": values, "l2": values, "lr_decay": values, "momentum": values}
    counts = {name: list(range(1, 10_001)) for name in ("batch_size", "step_epochs", "seed")}
    grid = GridSpec(lists | counts | {"warmup_epochs": range(10_000)})
    assert grid.combinations == 30**4 * 10_000**4
    assert len(draw_configs(grid, 3, 0)) == 3


def test_random_search_trains_what_it_drew(split):
    result = grid_search(split, GRID, base=BASE, search="random", trials=3, search_seed=4)
    assert tuple(e.config for e in result.entries) == draw_configs(GridSpec(GRID, BASE), 3, 4)
    assert same_entry(result.best, train(split, result.best.config))


@pytest.mark.parametrize(
    ("grid", "how", "said"),
    [
        ({"lr": [1, 1]}, {}, "lists 1.0 twice"),
        ({"lr": [1, 2]}, {"search": "best"}, "search is 'best'"),
        (None, {}, "grid is None; it must be lists"),
        ([0.1, 0.2], {}, "configuration 0 is 0.1; it must be a TrainConfig"),
        (itertools.repeat(TrainConfig()), {}, "more than 100,000 configurations"),
        ({"lr": [1, 2]}, {"trials": 3}, "needs a number of trials"),
        ({"lr": [1, 2]}, {"search": "random"}, "needs a number of trials"),
        ({"lr": [1, 2]}, {"keep": "some"}, "keep is 'some'"),
        ({"lr": [1, 2]}, {"select": "accuracy"}, "select is 'accuracy'"),
        ({"lr": [1, 2]}, {"at": "first"}, "at is 'first'"),
        ({"lr": [1, 2]}, {"threads": 10_000}, "threads is 10000"),
        ({"loss": ["softmax", "hinge"]}, {"select": "val_cost"}, "costs of different losses"),
        ([], {}, "no configuration"),
        ([TrainConfig(), TrainConfig()], {}, "configurations 0 and 1 are the same"),
        ([TrainConfig()], {"base": TrainConfig()}, "base has a meaning only"),
        ([TrainConfig()], {"search": "random", "trials": 1}, "not from configurations"),
    ],
)
def test_impossible_searches_are_one_clear_line(split, tmp_path, grid, how, said):
    with pytest.raises(InputError, match=said) as caught:
        grid_search(split, grid, **how, journal=tmp_path / "journal.jsonl")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_without_validation_rows_a_share_of_the_training_rows_is_held_out_and_said():
    bare, notes = problem(val=False), []
    base = TrainConfig(epochs=2)
    found = grid_search(bare, {"lr": [0.1, 0.2]}, base=base, note=notes.append)
    again = grid_search(bare.hold_out(0.1), {"lr": [0.1, 0.2]}, base=base)
    assert any("no validation rows" in text for text in notes)
    assert [entry.score for entry in found.entries] == [entry.score for entry in again.entries]


def test_training_looks_at_no_test_row(split):
    without = Split("blobs", split.train, split.val)
    grid = {"lr": [0.1, 0.2]}
    ours, theirs = grid_search(split, grid, base=BASE), grid_search(without, grid, base=BASE)
    assert same_results(ours, theirs)


def test_configurations_are_taken_as_they_are(split):
    base = TrainConfig(epochs=2, l2=0.01, standardize=False)
    configs = [replace(base, lr=lr, batch_size=size) for lr, size in ((0.1, 9), (0.2, 16))]
    assert grid_configs(configs) == tuple(configs)
    result = grid_search(split, configs)
    assert [e.config for e in result.entries] == configs
    assert set(result.swept) == {"lr", "batch_size"}


def test_the_table_holds_exact_numbers(split, tmp_path):
    result = grid_search(split, GRID, base=BASE)
    save_table(tmp_path / "grid.csv", result)
    lines = (tmp_path / "grid.csv").read_text().splitlines()
    records = result.to_records()
    assert lines[0].split(",") == list(records[0])
    for line, record in zip(lines[1:], records, strict=True):
        for text, value in zip(line.split(","), record.values(), strict=True):
            assert text == ("" if value is None else str(value))
            if isinstance(value, float):
                assert float(text) == value
