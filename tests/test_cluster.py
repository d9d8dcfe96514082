"""A grid on a cluster of Dask: the bits of one process, however many workers, whoever dies."""

import gc
import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from command_line import ROOT, call, same_run
from small_study import study_of, write_images
from stopping import begin_grid

import fastlin
from fastlin import cluster
from fastlin.cluster import connected
from fastlin.config import TrainConfig
from fastlin.errors import InputError
from fastlin.passes import shards_of
from fastlin.search.cluster import ClusterTrainer
from fastlin.training.grid import GridTrainer

pytest.importorskip("distributed", reason="a cluster needs the extra dask")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

BASE = TrainConfig(epochs=4, l2=1e-4, batch_size=32)
GRID = {"lr": [0.01, 0.03, 1e30, 0.1], "momentum": [0.0, 0.9]}


@pytest.fixture(scope="module", autouse=True)
def what_ends_here():
    """What clients and clusters leave behind is closed while its warnings are ignored."""
    yield
    for _ in range(2):
        gc.collect()


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Return a split of rows in a file."""
    folder = tmp_path_factory.mktemp("rows")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 12)).astype(np.float32)
    y = (X @ rng.standard_normal((12, 3)) + rng.gumbel(size=(600, 3))).argmax(axis=1)
    np.savez(folder / "rows.npz", X=X, y=y)
    return fastlin.load_split(folder / "rows.npz", val_fraction=0.2)


@pytest.fixture(scope="module")
def client():
    """Return the client of a cluster of two workers."""
    with connected("local:2") as found:
        yield found


def check_same(ours, theirs):
    """Check that two results of a search are the same to the bit."""
    assert ours.winner == theirs.winner
    for one, other in zip(ours.entries, theirs.entries, strict=True):
        assert (one.config, one.status, one.diverged_epoch) == (
            other.config, other.status, other.diverged_epoch,
        )  # fmt: skip
        assert one.history.records() == other.history.records()
        if other.last_model is not None:
            assert np.array_equal(one.last_model.W, other.last_model.W)
            assert np.array_equal(one.best_model.W, other.best_model.W)


@pytest.mark.parametrize("halving", [False, True])
def test_a_search_has_the_bits_of_one_process(split, client, halving):
    base = replace(BASE, epochs=12) if halving else BASE
    settings = {"base": base, "halving": halving}
    theirs = fastlin.grid_search(split, GRID, **settings)
    check_same(fastlin.grid_search(split, GRID, client=client, **settings), theirs)


def raise_timeout():
    """Raise, as a task, what waiting for it raises, too."""
    raise TimeoutError("the disk does not answer")


class SlowToArrive:
    """Takes longer to be received than anybody waits before looking around."""

    def __reduce__(self):
        return _received, ()


def _received():
    time.sleep(1.5 * cluster._LOOK_EVERY)
    return 7


def test_what_takes_long_to_be_sent_arrives(client):
    workers = cluster.workers_of(client)
    task = cluster.Task(SlowToArrive, (), workers.addresses[0])
    assert list(workers.results({0: task})) == [(0, 7)]


def test_a_task_that_raises_what_waiting_raises_has_failed(client):
    workers = cluster.workers_of(client)
    task = cluster.Task(raise_timeout, (), workers.addresses[0])
    with pytest.raises(TimeoutError, match="the disk does not answer"):
        list(workers.results({0: task}))


def test_a_cluster_without_workers_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(cluster, "_LONGEST_WITHOUT_WORKERS", 1)
    with connected("local:1") as found:
        workers = cluster.workers_of(found)
        found.cluster.scale(0)
        while found.nthreads():
            time.sleep(0.05)
        task = cluster.Task(os.getpid, (), workers.addresses[0])
        with pytest.raises(InputError, match="the cluster has no workers any more"):
            list(workers.results({0: task}))


def test_another_number_of_workers_gives_the_same(split):
    theirs = fastlin.grid_search(split, GRID, base=BASE, keep="all")
    for count in (1, 3):
        with connected(f"local:{count}") as found:
            check_same(
                fastlin.grid_search(split, GRID, base=BASE, keep="all", client=found), theirs
            )


def test_a_lost_worker_of_this_machine_may_take_long_to_come_back():
    dask = pytest.importorskip("dask")
    name = "distributed.deploy.lost-worker-timeout"
    with dask.config.set({name: "100ms"}):  # less than any worker needs
        with connected("local:1") as found:
            Killer(found).kill()
            time.sleep(3)  # it comes back for a moment, where it is given up
            assert found.submit(int).result(timeout=60) == 0
        assert dask.config.get(name) == "100ms"


def test_workers_are_found_while_the_client_asks_for_other_news():
    dask = pytest.importorskip("dask")
    with (
        dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}),
        connected("local:2") as found,
    ):
        for _ in range(300):
            assert len(cluster.workers_of(found).addresses) == 2


def test_workers_that_are_killed_change_nothing(split):
    theirs = fastlin.grid_search(split, GRID, base=replace(BASE, epochs=12), keep="all")
    with connected("local:2") as found:
        killer = Killer(found)
        ours = fastlin.grid_search(
            split, GRID, base=replace(BASE, epochs=12), keep="all", client=found,
            on_epoch=lambda progress: killer.kill() if progress.epoch in (3, 7, 8) else None,
        )  # fmt: skip
    assert len(killer.killed) == 3
    check_same(ours, theirs)


class Killer:
    """Kills workers of a cluster, a random one each time."""

    def __init__(self, client):
        self._client, self._rng, self.killed = client, np.random.default_rng(1), []

    def kill(self):
        """Kill a worker, by a signal that it cannot catch."""
        workers = sorted(self._client.nthreads())
        worker = workers[self._rng.integers(len(workers))]
        pid = self._client.run(os.getpid, workers=[worker])[worker]
        os.kill(pid, signal.SIGKILL)
        self.killed.append(pid)


@pytest.mark.parametrize("has_val", [False, True])
def test_folds_have_the_bits_of_one_process_whoever_dies(split, has_val):
    rows = split if has_val else fastlin.load_split(split.source.data)
    base = replace(BASE, epochs=6, standardize=True, class_weight="balanced")
    settings = {"cv": 3, "seed": 4, "grid": GRID, "config": base}
    theirs = fastlin.cross_validate(rows, **settings)
    with connected("local:2") as found:
        killer = Killer(found)
        calls = fastlin.search.cross_validation.Calls(
            on_epoch=lambda progress: killer.kill() if progress.epoch == 3 else None
        )
        ours = fastlin.cross_validate(rows, **settings, client=found, calls=calls)
        assert len(killer.killed) == 3
        kept = sum(found.run(_folds_that_are_kept).values())
    assert kept <= 2  # one a worker, however many folds there were
    check_same(ours.ranking, theirs.ranking)
    assert np.array_equal(ours.scores, theirs.scores)
    assert np.array_equal(ours.probabilities, theirs.probabilities)
    assert np.array_equal(ours.result.model.W, theirs.result.model.W)


def _folds_that_are_kept():
    """Return, as a worker, of how many folds there is a trainer."""
    from fastlin.search.cluster import _trainers

    return len({group.data for group in _trainers})


def test_folds_of_rows_in_memory_are_refused(split, client):
    rows = fastlin.Split.from_arrays(split.train.X, split.train.y)
    with pytest.raises(InputError, match="the rows are in memory, and workers"):
        fastlin.cross_validate(rows, cv=3, grid={"lr": [0.01, 0.02]}, config=BASE, client=client)


def test_a_search_that_was_interrupted_goes_on(split, client, tmp_path):
    theirs = fastlin.grid_search(split, GRID, base=BASE)

    def interrupt(progress):
        if progress.epoch == 2:
            raise KeyboardInterrupt

    journal = tmp_path / "journal.jsonl"
    with pytest.raises(KeyboardInterrupt):
        fastlin.grid_search(
            split, GRID, base=BASE, client=client, journal=journal, on_epoch=interrupt
        )
    ours = fastlin.grid_search(split, GRID, base=BASE, client=client, journal=journal, resume=True)
    check_same(ours, theirs)


def test_what_is_saved_of_entries_goes_to_workers_that_lack_it(split, client):
    configs = [replace(BASE, lr=0.01), replace(BASE, lr=0.02, seed=3)]
    single = GridTrainer(split, configs)
    for _ in range(3):
        single.run_epoch([0, 1])
    ours = ClusterTrainer(client, split, configs)
    for e in (0, 1):
        ours.restore(e, single.records(e)[:2], _after(split, configs[e], 2))
    client.run(_forget)
    ours.run_epoch([0, 1])
    for e in (0, 1):
        assert np.array_equal(ours.model(e).W, single.model(e).W)
        assert ours.history(e).records() == single.history(e).records()


def test_averages_of_more_epochs_go_to_workers_and_back(split, client):
    base, grid = replace(BASE, average_epochs=3), {"lr": [0.01, 0.03]}
    theirs = fastlin.grid_search(split, grid, base=base)
    check_same(fastlin.grid_search(split, grid, base=base, client=client), theirs)
    with jobs("threading", 2):
        check_same(fastlin.grid_search(split, grid, base=base, client="joblib"), theirs)
    ours = ClusterTrainer(client, split, [base])
    for epoch in range(1, 5):
        ours.run_epoch([0])
        trainer = fastlin.Trainer(split, base)
        for _ in range(epoch):
            trainer.run_epoch()
        for name, array in trainer.state().items():
            assert np.array_equal(ours.state(0)[name], array)  # fetched after every epoch


def test_a_trainer_of_a_search_before_does_not_confuse_a_worker(split, monkeypatch):
    """Of an entry it has what is wanted; of another one more, which is saved, too."""
    from fastlin.search import cluster as workers

    configs = (replace(BASE, lr=0.01), replace(BASE, lr=0.02))
    group = workers.Group(cluster.reference_of(split), configs, "val_accuracy", 1)
    monkeypatch.setattr(workers.cluster, "threads_of_worker", lambda: 1)
    monkeypatch.setattr(workers.cluster, "address_of_worker", lambda: "")
    monkeypatch.setattr(workers, "_trainers", type(workers._trainers)())
    wanted = workers.Evaluated(None, True)
    of_both = {e: workers._run_epoch(group, {0: n, 1: n}, {}, wanted) for e, n in enumerate((1, 2))}
    _, first = of_both[1]
    saved = {e: ([*of_both[0][1][e][:1]], of_both[0][1][e][2]) for e in (0, 1)}
    workers._run_epoch(group, {1: 3}, None, wanted)
    workers._run_epoch(group, {1: 4}, None, wanted)
    _, again = workers._run_epoch(group, {0: 2, 1: 2}, saved, wanted)
    for e in (0, 1):
        assert again[e][0] == first[e][0]
        assert all(np.array_equal(again[e][2][name], first[e][2][name]) for name in first[e][2])


def test_a_worker_keeps_trainers_of_few_data_alone(split, monkeypatch, tmp_path):
    from fastlin.search import cluster as workers

    monkeypatch.setattr(workers.cluster, "threads_of_worker", lambda: 1)
    monkeypatch.setattr(workers, "_trainers", type(workers._trainers)())
    references = []
    for number in range(cluster.MOST_SPLITS + 2):
        np.savez(tmp_path / f"{number}.npz", X=split.train.X + number, y=split.train.y)
        references.append(cluster.reference_of(fastlin.load_split(tmp_path / f"{number}.npz")))
    for reference in references:
        workers._trainer_of(workers.Group(reference, (BASE,), "train_cost", 1))
    assert [group.data for group in workers._trainers] == references[2:]


def _forget():
    """Forget, as a worker, what it has trained."""
    from fastlin.search.cluster import _trainers

    _trainers.clear()


def _after(split, config, epochs):
    """Return the state of a run after some epochs."""
    trainer = fastlin.Trainer(split, config)
    for _ in range(epochs):
        trainer.run_epoch()
    return trainer.state()


def test_data_that_workers_cannot_see_are_named(split, client, tmp_path):
    X, y = split.train.X, split.train.y
    np.savez(tmp_path / "gone.npz", X=X, y=y)
    gone = fastlin.load_split(tmp_path / "gone.npz", val_fraction=0.2)
    (tmp_path / "gone.npz").unlink()
    with pytest.raises(InputError, match=r"a worker of the cluster cannot read the data: .*gone"):
        fastlin.grid_search(gone, {"lr": [0.01, 0.02]}, base=BASE, client=client)
    np.savez(tmp_path / "gone.npz", X=X + 1, y=y)
    with pytest.raises(InputError, match=r"a worker of the cluster finds other rows in .*gone"):
        fastlin.grid_search(gone, {"lr": [0.01, 0.02]}, base=BASE, client=client)
    in_memory = fastlin.Split.from_arrays(X, y)
    with pytest.raises(InputError, match="the rows are in memory, and workers"):
        fastlin.grid_search(in_memory, {"lr": [0.01, 0.02]}, base=BASE, client=client)


@pytest.mark.parametrize("where", ["local:0", "local:", "local:two", "tcp://127.0.0.1:1"])
def test_clusters_that_are_none_are_refused(where, monkeypatch):
    monkeypatch.setattr(cluster, "_PATIENCE", "1s")
    with (
        pytest.raises(InputError, match=r"a number of workers|no scheduler of Dask|no address"),
        connected(where),
    ):
        pass


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Return a split of rows in a file, enough of them for several shards."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90_000, 6)).astype(np.float32) + 1
    y = (X @ rng.standard_normal((6, 3)) + rng.gumbel(size=(len(X), 3))).argmax(axis=1)
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)
    return fastlin.load_split(folder / "X.npy", labels=folder / "y.npy", val_fraction=0.1)


@pytest.mark.parametrize(
    "settings",
    [
        {"l2": 1e-3},
        {"l2": 1e-5, "gap": 1e-9, "class_weight": "balanced", "standardize": True},
        {"l2": 1e-3, "loss": "squared-hinge", "fit_intercept": False},
    ],
)
def test_an_exact_fit_of_workers_has_the_bits_of_one_process(many, client, settings):
    assert len(shards_of(len(many.train), 3)) > 1
    theirs = fastlin.solve(many, **settings)
    ours = fastlin.solve(many, client=client, **settings)
    assert np.array_equal(ours.model.W, theirs.model.W)
    assert np.array_equal(ours.model.b, theirs.model.b)
    assert (ours.objective, ours.gap, ours.passes) == (theirs.objective, theirs.gap, theirs.passes)


def test_a_path_of_workers_that_die_has_the_bits_of_one_process(many):
    Cs = [1e-4, 1e-3, 1e-2]
    theirs = fastlin.path(many, Cs=Cs)
    with connected("local:3") as found:
        killer = Killer(found)
        ours = fastlin.path(many, Cs=Cs, client=found, on_point=lambda _: killer.kill())
    assert len(killer.killed) >= 3
    assert np.array_equal(ours.model.W, theirs.model.W)
    for one, other in zip(ours.points, theirs.points, strict=True):
        assert one._replace(seconds=0) == other._replace(seconds=0)


@pytest.mark.parametrize(
    "settings", [{"refit": True, "l2s": [1e-3, 1e-4]}, {"cv": 3, "Cs": [1e-4, 1e-3]}]
)
@pytest.mark.parametrize("others", [{"class_weight": "balanced"}, {"standardize": True}])
def test_workers_take_all_passes_of_folds_and_refits(many, client, settings, others, monkeypatch):
    settings = settings | others
    theirs = fastlin.path(many, **settings)

    def never(*_, **__):
        raise AssertionError

    monkeypatch.setattr("fastlin.passes.shard_sums", never)
    ours = fastlin.path(many, client=client, **settings)
    assert np.array_equal(ours.model.W, theirs.model.W)
    assert np.array_equal(ours.model.b, theirs.model.b)
    for one, other in zip(ours.points, theirs.points, strict=True):
        assert one._replace(seconds=0) == other._replace(seconds=0)


def test_draws_of_workers_that_die_have_the_bits_of_one_process(many):
    pytest.importorskip("scipy.special")
    theirs = fastlin.probe(many, "mteb", note=lambda _: None)
    with connected("local:2") as found:
        killer = Killer(found)
        timer = threading.Timer(0.3, killer.kill)
        timer.start()
        ours = fastlin.probe(many, "mteb", note=lambda _: None, client=found)
        timer.join()
    assert killer.killed
    assert np.array_equal(ours.model.W, theirs.model.W)
    assert np.array_equal(ours.model.b, theirs.model.b)
    for one, other in zip(ours.rows, theirs.rows, strict=True):
        assert np.array_equal(one, other)
    for part, named in theirs.values.items():
        for name, values in named.items():
            assert values.shape == (10,)
            assert np.array_equal(ours.values[part][name], values)


def test_workers_need_a_file(client):
    X, y = np.eye(4), np.arange(4) % 2
    with pytest.raises(InputError, match="workers of a cluster load the rows themselves"):
        fastlin.solve(X, y, l2=1, client=client)
    with pytest.raises(InputError, match="the rows are in memory"):
        fastlin.solve(fastlin.Split.from_arrays(X, y), l2=1, client=client)
    X, y = np.random.default_rng(0).standard_normal((90, 4)), np.arange(90) % 2
    with pytest.raises(InputError, match="the rows are in memory"):
        fastlin.probe(fastlin.Split.from_arrays(X, y), "mteb", note=lambda _: None, client=client)


def test_draws_of_workers_check_threads_as_others_do(many, client):
    pytest.importorskip("scipy.special")
    with pytest.raises(InputError, match="threads"):
        fastlin.probe(many, "mteb", threads=0, note=lambda _: None, client=client)


def test_commands_give_the_same_files_with_a_cluster(many, split, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = many.source
    data = ("--data", rows.data, "--labels", rows.labels, "--no-figures")
    for name, dask in (("one", ()), ("two", ("--dask", "local:2"))):
        call("fit", *data, "--l2", "1e-3", "--out", f"fit-{name}", *dask)
        call("probe", *data, "--C", "1e-4,1e-3", "--refit", "--out", f"probe-{name}", *dask)
        call("probe", *data, "--C", "1e-3", "--cv", 3, "--out", f"folds-{name}", *dask)
        call("probe", *data, "--protocol", "mteb", "--out", f"draws-{name}", *dask)
        searched = ("--data", split.source.data, "--no-figures", "--lr", "0.01,0.02", "--epochs", 2)
        call("grid", *searched, "--out", f"grid-{name}", *dask)
        call("grid", *searched, "--cv", 3, "--out", f"grid-folds-{name}", *dask)
    for kind in ("fit", "probe", "folds", "draws", "grid", "grid-folds"):
        places = [tmp_path / f"{kind}-{name}" for name in ("one", "two")]
        same_run(*(place / "winner" if "grid" in kind else place for place in places))
    for command in ("fit", "probe", "grid"):
        lists = ("--lr", "0.01,0.02") if command == "grid" else ()
        call(command, "--data", split.source.data, *lists, "--dask", "local:0", code=2, begun=True)


def has_ended(group):
    """Return whether the last process of a group ends within half a minute."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_ctrl_c_ends_a_search_and_its_workers(split, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    process = begin_grid(
        "--data", split.source.data, "--lr", "0.01,0.02", "--epochs", 9, "--no-figures",
        "--out", "g", "--dask", "local:2", lines=4, start_new_session=True,
    )  # fmt: skip
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "Interrupted; go on with: fastlin grid --resume g --dask local:2" in errors
    assert has_ended(process.pid)
    call("grid", "--resume", "g", "--no-figures")


def jobs(backend, count):
    """Return what sets a backend of joblib."""
    joblib = pytest.importorskip("joblib", reason="joblib comes with the extra sklearn")
    return joblib.parallel_config(backend=backend, n_jobs=count)


@pytest.mark.parametrize(("backend", "count"), [("loky", 2), ("threading", 3), ("loky", 1)])
def test_a_search_of_joblib_has_the_bits_of_one_process(split, backend, count):
    settings = {"base": replace(BASE, epochs=12), "halving": True}
    theirs = fastlin.grid_search(split, GRID, **settings)
    with jobs(backend, count):
        ours = fastlin.grid_search(split, GRID, client="joblib", **settings)
    check_same(ours, theirs)


def test_an_exact_fit_of_joblib_has_the_bits_of_one_process(many):
    theirs = fastlin.solve(many, l2=1e-3)
    with jobs("loky", 2):
        ours = fastlin.solve(many, l2=1e-3, client="joblib")
    assert np.array_equal(ours.model.W, theirs.model.W)


def die_once(path):
    """Kill this process, unless that was done before."""
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 7


def test_what_a_lost_process_of_joblib_had_to_do_is_done_by_another(tmp_path):
    with jobs("loky", 2):
        workers = cluster.workers_of("joblib")
        tasks = {
            key: cluster.Task(die_once, (tmp_path / "dead",), address)
            for key, address in enumerate(workers.addresses)
        }
        assert list(workers.results(tasks)) == [(0, 7), (1, 7)]


@pytest.mark.parametrize("client", ["dask", 3, object()])
def test_a_client_that_is_none_is_refused(split, client):
    for use in (
        lambda: fastlin.solve(split, l2=1e-3, client=client),
        lambda: fastlin.grid_search(split, GRID, base=BASE, client=client),
    ):
        with pytest.raises(InputError, match=r"client is .*; it must be a distributed.Client, or"):
            use()


def test_entries_are_evaluated_as_told(split, client):
    configs = [replace(BASE, lr=lr) for lr in (0.01, 0.03, 0.1)]
    ours, theirs = ClusterTrainer(client, split, configs), GridTrainer(split, configs)
    for evaluated in ([1], [], [0, 1, 2]):
        found = ours.run_epoch(range(3), evaluated)
        expected = theirs.run_epoch(range(3), evaluated)
        for e in range(3):
            np.testing.assert_array_equal(list(found[e]), list(expected[e]))
    for e in range(3):
        assert np.array_equal(ours.model(e).W, theirs.model(e).W)


def test_a_study_of_workers_has_the_runs_of_one_process(client, tmp_path):
    write_images(tmp_path / "images.npz")
    ours, theirs = (
        study_of(tmp_path / "images.npz", tmp_path / name, seeds=2, client=own)
        for name, own in (("ours", client), ("theirs", None))
    )
    assert ours.runs.keys() == theirs.runs.keys()
    for name, of_theirs in theirs.runs.items():
        for one, other in zip(ours.runs[name], of_theirs, strict=True):
            assert one.config == other.config
            np.testing.assert_array_equal(one.history.records(), other.history.records())
            assert np.array_equal(one.predictions, other.predictions)
            assert np.array_equal(one.W, other.W)
    assert replace(ours.optima.chosen, seconds=0) == replace(theirs.optima.chosen, seconds=0)
