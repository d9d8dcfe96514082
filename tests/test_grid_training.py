import gc
import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlin import engine, passes
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.errors import DivergedError
from fastlin.losses import Hinge
from fastlin.passes import SUMMED_ROWS
from fastlin.threads import available, use_threads
from fastlin.training.grid import GridTrainer
from fastlin.training.trainer import Trainer


def blobs(n=150, shape=(1, 5, 7), K=5, seed=0):
    rng = np.random.default_rng(seed)
    names = tuple(f"class {k}" for k in range(K))
    centres = rng.uniform(60, 190, (K, int(np.prod(shape))))

    def part(rows):
        y = rng.integers(0, K, rows)
        X = np.clip(centres[y] + rng.normal(0, 60, (rows, centres.shape[1])), 0, 255)
        return Dataset(X.astype(np.uint8), y, names, shape)

    return Split("blobs", part(n), part(40))


def grid(losses=("softmax", "hinge"), **settings):
    return [
        TrainConfig(epochs=3, lr=lr, batch_size=batch_size, loss=loss, seed=seed, **settings)
        for lr, batch_size, loss, seed in itertools.product((0.01, 0.05), (16, 50), losses, (0, 7))
    ][:-1]  # 15 or 7: not a multiple of the threads


def assert_equal_to_single_runs(split, configs, trainer, epochs):
    for e, config in enumerate(configs):
        single = Trainer(split, config, threads=1)
        for _ in range(epochs):
            single.run_epoch()
        result = single.result()
        for ours, alone in (
            (trainer.model(e), result.model),
            (trainer.best_model(e), result.best_model),
        ):
            assert ours.W.tobytes() == alone.W.tobytes()
            assert ours.b.tobytes() == alone.b.tobytes()
        assert repr(trainer.history(e).records()) == repr(result.history.records())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shared_steps", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"losses": ["softmax"], "momentum": 0.5, "standardize": True, "flip": True,
         "average_epochs": 2},
        {"losses": ["softmax"], "momentum": 0.9, "nesterov": True, "l2": 0.0},
    ],
)  # fmt: skip
def test_every_entry_has_the_bits_of_a_single_run(settings, threads, shared_steps, monkeypatch):
    if shared_steps:
        monkeypatch.setattr("fastlin.engine.LEAST_WORK_OF_A_PIECE", 1)
    split, configs = blobs(), grid(**settings)
    trainer = GridTrainer(split, configs, threads)
    trainer.compile()
    for _ in range(3):
        trainer.run_epoch(range(len(configs)))
    assert_equal_to_single_runs(split, configs, trainer, 3)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_bit_depends_on_how_many_entries_are_trained_side_by_side(most, threads, monkeypatch):
    split, configs = blobs(), grid(["softmax"], momentum=0.9)
    monkeypatch.setattr(engine, "BYTES_OF_CHAIN", most * 5 * 35 * 2 * 4)
    monkeypatch.setattr(engine, "BYTES_OF_GROUP", 2 * most * 5 * 35 * 2 * 4)
    monkeypatch.setattr(engine, "_WORK_OF_A_STEP", 5 * 35 * 50)
    trainer = GridTrainer(split, configs, threads)
    calls, chains = watched(monkeypatch)
    for _ in range(3):
        trainer.run_epoch(range(len(configs)))
    assert 0 < max(calls) < 2 * max(2 * most, threads + 1)
    assert 0 < max(chains) <= most
    assert_equal_to_single_runs(split, configs, trainer, 3)


def watched(monkeypatch):
    """Return lists to which calls that train, and those of a kernel, add how many entries."""
    calls, chains, trained, kernel = [], [], engine.unchecked_sgd_epochs, engine.grid.group_epoch

    def train(X, y, W, b, epochs, **settings):
        calls.append(len(epochs))
        return trained(X, y, W, b, epochs, **settings)

    def train_group(*arguments):
        chains.append(len(arguments[-1]))
        kernel(*arguments)

    monkeypatch.setattr(engine, "unchecked_sgd_epochs", train)
    monkeypatch.setattr(engine.grid, "group_epoch", train_group)
    return calls, chains


@given(st.integers(0, 500), st.integers(1, 10**7), st.integers(1, 8))
def test_groups_hold_every_entry_once_and_have_enough_for_all_threads(count, size, threads):
    threads = min(threads, available())
    with use_threads(threads):
        groups = engine.groups(count, size)
    assert [e for first, last in groups for e in range(first, last)] == list(range(count))
    sizes = [last - first for first, last in groups]
    assert max(sizes) - min(sizes) <= 1
    most = max(threads + 1, engine.BYTES_OF_GROUP // size)
    assert max(sizes) < 2 * most
    assert min(sizes) >= min(count, most)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from([16, 50])), min_size=1, max_size=9),
    st.integers(1, 10**6), st.integers(1, 8),
)  # fmt: skip
def test_chains_hold_every_entry_once_and_entries_of_a_chain_have_equal_batches(
    runs, size, threads
):
    epochs = [
        engine.EntryEpoch(0, np.arange(number), 0.1, 0.0, batch_size, 0.0)
        for number, (_, batch_size) in enumerate(runs)
    ]
    epochs = [one for one, (count, _) in zip(epochs, runs, strict=True) for _ in range(count)]
    threads = min(threads, available())
    with use_threads(threads):
        chains = engine._chains(epochs, size)
    assert [e for first, last in chains for e in range(first, last)] == list(range(len(epochs)))
    for first, last in chains:
        assert last - first <= max(1, engine.BYTES_OF_CHAIN // size)
        assert len({(id(one.order), one.batch_size) for one in epochs[first:last]}) == 1
    assert threads == 1 or len(chains) >= min(threads, len(epochs))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("most", [1, 100])
@pytest.mark.parametrize("shared_steps", [False, True])
def test_what_is_compiled_before_an_epoch_is_what_it_runs(most, threads, shared_steps, monkeypatch):
    if shared_steps:
        monkeypatch.setattr(engine, "LEAST_WORK_OF_A_PIECE", 1)
    monkeypatch.setattr(engine, "BYTES_OF_CHAIN", most * 5 * 35 * 4)
    ways = [set(), set()]
    for way in ("_shared_epochs", "_side_by_side"):
        monkeypatch.setattr(engine, way, noting(ways, way, getattr(engine, way)))
    trainer = GridTrainer(blobs(), grid(), threads)
    trainer.compile()
    ways.reverse()
    trainer.run_epoch(range(15))
    assert ways[0] == ways[1] != set()


def noting(ways, name, function):
    def run(*arguments):
        ways[0].add(name)
        return function(*arguments)

    return run


def test_entries_may_rest_while_others_go_on():
    split, configs = blobs(), grid(flip=True)
    trainer = GridTrainer(split, configs)
    trainer.run_epoch(range(len(configs)))
    trainer.run_epoch(range(0, len(configs), 2))
    trainer.run_epoch(range(len(configs)))  # now at different epochs, mirrored and not
    for e, config in enumerate(configs):
        assert trainer.epochs_done(e) == (3 if e % 2 == 0 else 2)
        assert_equal_to_single_runs(split, [config], _Only(trainer, e), trainer.epochs_done(e))


class _Only:
    def __init__(self, trainer, e):
        self.model = lambda _: trainer.model(e)
        self.best_model = lambda _: trainer.best_model(e)
        self.history = lambda _: trainer.history(e)


def test_a_diverging_entry_is_told_and_disturbs_no_other():
    split = blobs()
    configs = [TrainConfig(epochs=3, lr=lr, l2=0.1) for lr in (0.01, 1e30, 0.02)]
    trainer = GridTrainer(split, configs)
    outcomes = trainer.run_epoch(range(3))
    assert isinstance(outcomes[1], DivergedError)
    assert outcomes[1].epoch == 1
    trainer.run_epoch([0, 2])
    for e in (0, 2):
        assert_equal_to_single_runs(split, [configs[e]], _Only(trainer, e), 2)


def test_entries_go_on_from_saved_arrays_with_the_same_bits():
    split, configs = blobs(), grid(["softmax"], momentum=0.5, standardize=True, average_epochs=2)
    first, second = GridTrainer(split, configs), GridTrainer(split, configs)
    for _ in range(2):
        first.run_epoch(range(len(configs)))
    for e in range(len(configs)):
        arrays = {name: array.copy() for name, array in first.state(e).items()}
        second.restore(e, first.history(e).records(), arrays)
    second.run_epoch(range(len(configs)))
    assert_equal_to_single_runs(split, configs, second, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kept_rows", [1, 3, 100])
def test_cost_and_accuracy_by_sums_have_the_bits_of_an_evaluation(dtype, kept_rows, monkeypatch):
    rng = np.random.default_rng(kept_rows)
    for n in (1, 100, SUMMED_ROWS - 1, SUMMED_ROWS, 2 * SUMMED_ROWS + 1, 60_003):
        X, y = rng.normal(size=(n, 3)).astype(np.float32), rng.integers(0, 5, n)
        W, b = rng.normal(size=(3, 5, 3)).astype(dtype), rng.normal(size=(3, 5)).astype(dtype)
        bytes_of_row = len(W) * (W.itemsize + 8)
        monkeypatch.setattr(passes, "BYTES_OF_ROW_RESULTS", kept_rows * SUMMED_ROWS * bytes_of_row)
        found = passes.unchecked_measure(X, y, W, b, loss=Hinge(), penalties=[0.5, 0.0, 1.0])
        for m, penalty in enumerate([0.5, 0.0, 1.0]):
            alone = passes.unchecked_evaluate(X, y, W[m], b[m], loss=Hinge(), penalty=penalty)
            assert found[m] == (alone.cost, alone.accuracy)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_evaluation_leaves_nothing_to_the_garbage_collector(dtype):
    X, y = np.ones((10, 1000), np.float32), np.zeros(10, np.int64)
    W, b = np.ones((2, 50, 1000), dtype), np.ones((2, 50), dtype)

    def measure():
        with use_threads(1):  # a second one may hold its arguments until it wakes
            passes.unchecked_measure(X, y, W, b, loss=Hinge(), penalties=[0.0, 0.0])

    measure()  # loads kernels
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        measure()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert left < W.nbytes / 2  # of the packed weights, which a cycle of references kept


def test_many_entries_on_many_rows_need_little_memory():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (50_000, 2), np.uint8), rng.integers(0, 5, 50_000)
    names = tuple("abcde")
    split = Split("long", Dataset(X, y, names), Dataset(X[:100], y[:100], names))
    configs = [TrainConfig(lr=0.01, l2=l2, batch_size=256) for l2 in np.linspace(0, 1, 300)]
    trainer = GridTrainer(split, configs)
    trainer.compile()
    tracemalloc.start()
    try:
        trainer.run_epoch(range(300))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Losses and predictions of all rows would be 180 MB, and with the rows they would grow.
    assert peak < 60e6


@pytest.mark.parametrize(("l2", "most"), [(0.0, 7.5), (0.01, 9.0)])
def test_large_weights_of_many_entries_are_copied_few_times(l2, most):
    split = blobs(60, (1, 40, 50), 100)
    lrs = np.geomspace(1e-3, 1e-1, 40)
    configs = [TrainConfig(lr=lr, batch_size=30, momentum=0.9, l2=l2) for lr in lrs]
    GridTrainer(split, configs, eval_train_every=0).compile()
    gc.collect()
    tracemalloc.start()
    try:
        trainer = GridTrainer(split, configs, eval_train_every=0)
        for _ in range(3):
            trainer.run_epoch(range(40))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Weights and velocity in training, what an interrupt would restore, the classifiers of the
    # last epoch, those of the best, and new ones.
    assert peak < most * 40 * 100 * 2000 * 4


def test_a_model_that_is_written_to_changes_no_training():
    split, config = blobs(), TrainConfig(epochs=2, lr=0.01, momentum=0.9)
    trainer, other = GridTrainer(split, [config]), GridTrainer(split, [config])
    for one in (trainer, other):
        one.run_epoch([0])
    trainer.model(0).W[:] = trainer.best_model(0).b[:] = 7
    state, expected = trainer.state(0), other.state(0)
    assert state.keys() == expected.keys()
    for name, array in expected.items():
        assert state[name].tobytes() == array.tobytes()
