"""Rows that stay in files: the same numbers as of rows in memory, in bounded memory."""

import tracemalloc
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlin
from fastlin.config import TrainConfig
from fastlin.data import memory, segments, stored
from fastlin.data.dataset import Dataset, Split
from fastlin.data.stored import StoredRows, blocks_of_parts
from fastlin.errors import DataWarning, InputError
from fastlin.training.grid import GridTrainer
from fastlin.training.order import epoch_order, epoch_windows

N, D, K = 3000, 20, 4


@pytest.fixture
def small_blocks(monkeypatch):
    """Make blocks, gaps and pieces so small that few rows have many of them."""
    monkeypatch.setattr(stored, "BYTES_OF_BLOCK", 4000)
    monkeypatch.setattr(stored, "_BYTES_OF_GAP", 200)
    monkeypatch.setattr(stored, "_BYTES_OF_PIECE", 1000)
    monkeypatch.setattr("fastlin.passes.BYTES_OF_BLOCK", 4000)
    monkeypatch.setattr("fastlin.training.order._BYTES_OF_BLOCK", 640)


def rows(dtype=np.float32, n=N):
    """Return rows (n, D) and labels (n,) of K classes."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((n, D)) * 3 + 1
    y = (X @ rng.standard_normal((D, K)) + rng.gumbel(size=(n, K))).argmax(axis=1)
    if dtype == np.uint8:
        return (X * 10 + 100).clip(0, 255).astype(np.uint8), y
    return X.astype(dtype), y


def in_file(folder: Path, X, name="X.npy") -> StoredRows:
    """Return rows of an array that was saved."""
    np.save(folder / name, X)
    found = StoredRows.of_mapped(np.load(folder / name, mmap_mode="r"))
    assert found is not None
    return found


def both(folder: Path, dtype=np.float32, rows_in_memory=500):
    """Return a split in memory, and one of the same rows in a file, of which few are in memory."""
    X, y = rows(dtype)
    names = tuple("abcd")
    X_file = in_file(folder, X).within(4 * rows_in_memory * X[0].nbytes)
    held = np.arange(0, N, 7)
    kept = np.setdiff1d(np.arange(N), held)
    found = []
    for own in (X, X_file):
        data = Dataset(own, y, names)
        found.append(Split("rows", data.chosen(kept), data.chosen(held)))
    return found


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
def test_slices_and_numbers_give_what_the_array_has(tmp_path, small_blocks, dtype):
    X, _ = rows(dtype)
    found = in_file(tmp_path, X)
    assert (found.shape, found.dtype, found.size, found.nbytes) == (
        X.shape, X.dtype, X.size, X.nbytes,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for part in (slice(None), slice(7, 900), slice(5, 5), slice(10, 400, 3), slice(-9, None)):
        assert np.array_equal(found[part], X[part])
    for numbers in (rng.permutation(N), [3], [-1, 0, 5, 5, 6, 7, 2999], np.arange(100, 50, -2)):
        assert np.array_equal(found[numbers], X[numbers])
        assert np.array_equal(found.chosen(np.asarray(numbers) % N)[:], X[numbers])


@settings(max_examples=50)
@given(st.data())
def test_any_rows_of_any_files(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("files")
    counts = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    parts = [np.random.default_rng(i).standard_normal((n, 3)) for i, n in enumerate(counts)]
    found = in_file(folder, parts[0], "0.npy")
    for i, part in enumerate(parts[1:], 1):
        found = found.joined(in_file(folder, part, f"{i}.npy"))
    X = np.concatenate(parts)
    for _ in range(2):
        numbers = np.array(data.draw(st.lists(st.integers(0, len(X) - 1), max_size=30)), np.int64)
        assert np.array_equal(found[numbers], X[numbers])
        if len(numbers):
            found, X = found.chosen(numbers), X[numbers]
    found, X = found.joined(found), np.concatenate([X, X])
    assert np.array_equal(found[:], X)
    assert np.array_equal(np.concatenate([block.copy() for _, block in found.blocks()]), X)


def test_blocks_have_whole_multiples_of_rows(tmp_path, small_blocks):
    X, _ = rows()
    found = [(first, block.copy()) for first, block in in_file(tmp_path, X).blocks(64)]
    assert len(found) > 10
    assert all(first % 64 == 0 for first, _ in found)
    assert np.array_equal(np.concatenate([block for _, block in found]), X)


@pytest.mark.parametrize("is_chosen", [False, True])
def test_blocks_of_parts_are_of_one_part_each(tmp_path, small_blocks, is_chosen):
    X, _ = rows()
    found = in_file(tmp_path, X)
    if is_chosen:
        numbers = np.random.default_rng(1).permutation(len(X))[:700]
        found, X = found.chosen(numbers), X[numbers]
    parts = [(64, 200), (200, 328), (500, len(X))]
    for (first, last), blocks in zip(parts, blocks_of_parts(found, parts, 64, 1), strict=True):
        end = 0
        for begin, block in blocks:
            assert begin == end
            assert begin % 64 == 0
            end += len(block)
            assert np.array_equal(block, X[first + begin : first + end])
        assert end == last - first


def test_a_file_that_becomes_shorter_is_named_with_the_place(tmp_path, monkeypatch):
    X, _ = rows()
    found = in_file(tmp_path, X)
    place = 128 + 1000 * X[0].nbytes + 8
    monkeypatch.setattr(stored, "opened", lambda segment: segments.FileIO(segment.path))
    with (tmp_path / "X.npy").open("r+b") as file:
        file.truncate(place)  # after it was opened
    with pytest.raises(
        InputError, match=rf"X\.npy ends at byte {place}, in the middle of its 3,000"
    ):
        found[900:1100]
    assert np.array_equal(found[:1000], X[:1000])
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"X\.npy was changed since its rows were checked"):
        found[:1000]
    (tmp_path / "X.npy").unlink()
    with pytest.raises(InputError, match=r"cannot read .*X\.npy: No such file"):
        list(found.blocks())


def test_bytes_that_cannot_be_read_are_named_with_the_place(tmp_path, monkeypatch):
    X, _ = rows()
    found = in_file(tmp_path, X)

    class Broken(segments.FileIO):
        def readinto(self, target):
            if self.tell() > 128:
                raise OSError(5, "Input/output error")
            return super().readinto(memoryview(target)[:100])

    monkeypatch.setattr(segments, "FileIO", Broken)
    with pytest.raises(InputError, match=r"X\.npy cannot be read at byte 228: Input/output error"):
        list(found.blocks())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
def test_a_window_of_all_rows_gives_the_bits_of_rows_in_memory(
    tmp_path, small_blocks, dtype, threads
):
    in_memory, in_files = both(tmp_path, dtype, rows_in_memory=N)
    config = TrainConfig(epochs=3, lr=0.01, l2=1e-4, standardize=dtype == np.float32)
    ours, theirs = (
        fastlin.train(split, config, threads=threads) for split in (in_files, in_memory)
    )
    assert np.array_equal(ours.model.W, theirs.model.W)
    assert np.array_equal(ours.model.b, theirs.model.b)
    assert ours.history.records() == theirs.history.records()
    assert in_files.fingerprint() == in_memory.fingerprint()


@pytest.mark.parametrize("changes", [{}, {"shuffle": False}, {"momentum": 0.9, "batch_size": 50}])
def test_windows_have_the_bits_of_the_same_windows_in_memory(tmp_path, small_blocks, changes):
    in_memory, in_files = both(tmp_path)
    config = TrainConfig(epochs=3, lr=0.01, l2=1e-4, window=400, **changes)
    ours, theirs = (fastlin.train(split, config) for split in (in_files, in_memory))
    assert np.array_equal(ours.model.W, theirs.model.W)
    assert ours.history.records() == theirs.history.records()
    whole = fastlin.train(in_memory, replace(config, window=0))
    is_same = np.array_equal(whole.model.W, ours.model.W)
    assert is_same == (changes.get("shuffle") is False)  # in whole batches, file order is one


def test_a_grid_of_windows_has_the_bits_of_its_runs(tmp_path, small_blocks):
    _, in_files = both(tmp_path)
    base = TrainConfig(epochs=2, lr=0.01, l2=1e-4)
    configs = [base, replace(base, lr=0.02), replace(base, seed=1), replace(base, window=100)]
    trainer = GridTrainer(in_files, configs)
    for _ in range(2):
        trainer.run_epoch(range(len(configs)))
    for number, config in enumerate(configs):
        single = fastlin.train(in_files, config)
        assert np.array_equal(trainer.model(number).W, single.model.W)
        assert trainer.configs[number].window in (100, 500)


@pytest.mark.parametrize("gap", [1e-3, 1e-8])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
def test_an_exact_fit_has_the_bits_of_rows_in_memory(tmp_path, small_blocks, dtype, gap):
    in_memory, in_files = both(tmp_path, dtype)
    ours, theirs = (fastlin.solve(split, l2=1e-3, gap=gap) for split in (in_files, in_memory))
    assert np.array_equal(ours.model.W, theirs.model.W)
    assert (ours.objective, ours.gap, ours.passes) == (theirs.objective, theirs.gap, theirs.passes)


def test_a_path_and_a_refit_have_the_bits_of_rows_in_memory(tmp_path, small_blocks):
    in_memory, in_files = both(tmp_path)
    ours, theirs = (
        fastlin.path(split, l2s=[1e-1, 1e-2], refit=True) for split in (in_files, in_memory)
    )
    assert np.array_equal(ours.model.W, theirs.model.W)
    ours, theirs = (
        fastlin.train(split, lr=0.01, l2=1e-4, epochs=2, window=400, refit=True)
        for split in (in_files, in_memory)
    )
    assert np.array_equal(ours.model.W, theirs.model.W)


def test_an_evaluation_has_the_bits_of_rows_in_memory(tmp_path, small_blocks):
    in_memory, in_files = both(tmp_path)
    result = fastlin.train(in_memory, lr=0.01, l2=1e-4, epochs=1)
    ours, theirs = (
        fastlin.evaluate(result.model, split.train, result.config)
        for split in (in_files, in_memory)
    )
    assert ours.cost == theirs.cost
    assert np.array_equal(ours.losses, theirs.losses)
    assert np.array_equal(ours.predictions, theirs.predictions)


def test_a_value_in_a_file_that_is_none_is_named_with_its_row(tmp_path, small_blocks):
    X, y = rows()
    X[2345, 6] = np.nan
    with pytest.raises(InputError, match="value nan in row 2345, column 6"):
        Dataset(in_file(tmp_path, X), y, tuple("abcd"))
    X = X.astype(np.float16)
    with pytest.raises(InputError, match="value nan in row 2345, column 6"):
        Dataset(in_file(tmp_path, X), y, tuple("abcd"))


@pytest.mark.parametrize("window", [0, 1, 63, 64, 640, 2999, 3000, 10**9])
@pytest.mark.parametrize("shuffle", [True, False])
def test_windows_take_every_row_once(monkeypatch, window, shuffle):
    monkeypatch.setattr("fastlin.training.order._BYTES_OF_BLOCK", 640)
    config = TrainConfig(window=window, shuffle=shuffle, batch_size=64, seed=3)
    windows = list(epoch_windows(config, N, 40, 2))
    taken = [order if own is None else own[order] for own, order in windows]
    assert np.array_equal(np.sort(np.concatenate(taken)), np.arange(N))
    assert all(len(part) % 64 == 0 for part in taken[:-1]), "a batch of few rows is a step of noise"
    if window in (0, 3000, 10**9):
        assert np.array_equal(taken[0], epoch_order(config, N, 2))
    elif shuffle:
        most = max(window, 16) + 63  # with those of the window before that filled no batch
        assert max(0 if own is None else len(own) for own, _ in windows) <= most
        again = [order for _, order in epoch_windows(config, N, 40, 2)]
        assert all(map(np.array_equal, again, (order for _, order in windows)))
        other = next(iter(epoch_windows(config, N, 40, 3)))
        assert not np.array_equal(other.rows, windows[0].rows)
    else:
        assert np.array_equal(np.concatenate(taken), np.arange(N))


def test_rows_that_memory_does_not_hold_stay_in_their_file(tmp_path):
    X = np.random.default_rng(0).standard_normal((250_000, 16)).astype(np.float32)  # 16 MB
    y = np.arange(len(X)) % 3
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    where = {"data": str(tmp_path / "X.npy"), "labels": str(tmp_path / "y.npy")}
    assert isinstance(fastlin.load_split(**where).train.X, np.ndarray)
    split = fastlin.load_split(**where, memory="20MB", val_fraction=0.1)
    assert isinstance(split.train.X, StoredRows)
    assert split.train.X.memory == 20_000_000
    assert split.source.memory == "20MB"
    with pytest.raises(InputError, match="window is 200000 rows of 64 bytes, of which memory"):
        fastlin.train(split, window=200_000)
    with pytest.raises(InputError, match="batch_size is 90000 rows of 64 bytes, of which memory"):
        fastlin.train(split, batch_size=90_000)
    np.savez_compressed(tmp_path / "rows.npz", X=X, y=y)
    with pytest.raises(InputError, match="X_train takes 16 MB, and memory is 20MB; rows that are"):
        fastlin.load_split(tmp_path / "rows.npz", memory="20MB")


@pytest.mark.parametrize(
    ("text", "count"),
    [("500MB", 5e8), ("2 GB", 2e9), ("1.5GiB", 1.5 * 2**30), ("64m", 6.4e7), (10**8, 1e8)],
)
def test_amounts_of_memory(text, count):
    assert memory.bytes_of(memory.check_memory(text)) == count


@pytest.mark.parametrize("text", ["", "much", "-1GB", "1MB", 1.5, True, "1e9", None])
def test_amounts_of_memory_that_are_none_are_refused(text):
    with pytest.raises(InputError, match=r"memory is .*; it must be"):
        memory.check_memory(text)


@pytest.mark.parametrize("seed", range(5))
def test_every_window_of_sorted_rows_has_its_share_of_every_class(monkeypatch, seed):
    monkeypatch.setattr("fastlin.training.order._BLOCKS_OF_WINDOW", 100)  # of 10 rows
    labels = np.repeat(np.arange(5), 1000)
    config = TrainConfig(window=1000, seed=seed, batch_size=100)
    windows = list(epoch_windows(config, len(labels), 40, 1))
    assert len(windows) == 5
    for own, _ in windows:
        counts = np.bincount(labels[own], minlength=5)
        assert np.abs(counts - 200).max() <= 20  # a block at each end of a class


def test_small_windows_of_wide_rows_have_blocks_of_few_rows():
    labels = np.repeat(np.arange(10), 4900)
    config = TrainConfig(window=980, batch_size=49)
    for own, order in epoch_windows(config, len(labels), 3072, 1):
        counts = np.bincount(labels[own[order]], minlength=10) / len(order)
        assert np.abs(counts - 0.1).max() < 0.02


def test_shards_of_any_kind_are_the_rows_one_after_another(tmp_path):
    X, y = rows(np.float16)
    names = np.array(["cat", "dog", "emu", "owl"])[y]
    bounds = [0, 400, 1000, 1001, 2500, N]
    for number, (first, last) in enumerate(pairwise(bounds), 8):  # 10 comes after 9
        own = slice(first, last)
        for folder in ("both", "whole"):
            (tmp_path / folder).mkdir(exist_ok=True)
        np.save(tmp_path / "both" / f"X_train-{number}.npy", X[own])
        np.save(tmp_path / "both" / f"y_train-{number}.npy", names[own])
        np.savez(tmp_path / "whole" / f"part-{number}-of-12.npz", X=X[own], y=names[own])
    for folder in ("both", "whole"):
        split = fastlin.load_split(tmp_path / folder)
        assert np.array_equal(split.train.X, X)
        assert split.train.class_names == ("cat", "dog", "emu", "owl")
        assert np.array_equal(split.train.y, y)
        assert np.array_equal(fastlin.load_rows(tmp_path / folder).X[:], X)


def written_shards(folder, X, y, bounds, form):
    """Write shards of rows in a form; return their folder."""
    folder.mkdir()
    for number, (first, last) in enumerate(pairwise(bounds)):
        own = slice(first, last)
        if form == "npy":
            np.save(folder / f"X-{number}.npy", X[own])
            np.save(folder / f"y-{number}.npy", y[own])
        elif form == "h5":
            h5py = pytest.importorskip("h5py", reason="HDF5 needs the extra formats")
            with h5py.File(folder / f"part-{number}.h5", "w") as file:
                file.create_dataset("X", data=X[own], chunks=True, compression="gzip")
                file["y"] = y[own]
        else:
            pa = pytest.importorskip("pyarrow", reason="Parquet needs the extra formats")
            pq = pytest.importorskip("pyarrow.parquet", reason="Parquet needs the extra formats")
            lists = pa.FixedSizeListArray.from_arrays(pa.array(X[own].ravel()), X.shape[1])
            table = pa.table({"embedding": lists, "label": y[own]})
            pq.write_table(table, folder / f"part-{number}.parquet")
    return folder


@pytest.mark.parametrize("form", ["npy", "h5", "parquet"])
@pytest.mark.parametrize("last", [1, 20_000])
def test_shards_that_memory_does_not_hold_stay_in_files_whatever_the_size_of_one(
    tmp_path, form, last
):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120_000 + last, 32)).astype(np.float32)  # 15 MB and more
    y = np.arange(len(X)) % 3
    bounds = [*range(0, 120_001, 20_000), len(X)]  # the last .npy is small enough to be read
    folder = written_shards(tmp_path / "shards", X, y, bounds, form)
    split = fastlin.load_split(folder)
    assert isinstance(split.train.X, np.ndarray)
    assert np.array_equal(split.train.X, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # it is said what is written to a file
        tracemalloc.start()
        try:
            split = fastlin.load_split(folder, memory="16MB")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert isinstance(split.train.X, StoredRows)
    assert np.array_equal(split.train.X[:], X)
    assert np.array_equal(split.train.y, y)
    assert peak < X.nbytes  # half of 16 MB, a shard, and labels


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell of files")
def test_thousands_of_shards_are_read_with_few_open_files(tmp_path, monkeypatch):
    import resource

    monkeypatch.setattr("fastlin.files.npz._LEAST_MAPPED", 1)
    X, y = rows(np.float16)
    folder = written_shards(tmp_path / "shards", X, y, range(0, N + 1, 10), "npy")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_open = sum(1 for _ in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (is_open + 40, before[1]))
    try:
        monkeypatch.setattr(memory, "most_of_rows", lambda _: 1000)
        monkeypatch.setattr("fastlin.data.reading.most_of_rows", lambda _: 1000)
        split = fastlin.load_split(folder)
        assert isinstance(split.train.X, StoredRows)
        shuffled = np.random.default_rng(0).permutation(N)
        assert np.array_equal(split.train.X[shuffled], X[shuffled])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_is_said_of_all_shards_is_said_once(tmp_path):
    X, y = rows(np.float16)
    names = np.array(["cat", "dog", "emu", "owl"])
    for number in range(3):
        np.savez(
            tmp_path / f"part-{number}.npz", X=X[:20], y=y[:20], class_names=names,
            image_shape=[1, 4, 5], feature_names=[f"x{j}" for j in range(D)],
        )  # fmt: skip
    split = fastlin.load_split(tmp_path)
    assert split.train.class_names == ("cat", "dog", "emu", "owl")
    assert split.train.image_shape == (1, 4, 5)
    assert split.train.feature_names[3] == "x3"
    assert len(split.train) == 60
    np.savez(tmp_path / "part-2.npz", X=X[:20], y=y[:20], class_names=names[::-1],
             image_shape=[1, 4, 5], feature_names=[f"x{j}" for j in range(D)])  # fmt: skip
    with pytest.raises(InputError, match=r"part-0\.npz and part-2\.npz differ in class_names"):
        fastlin.load_split(tmp_path)


def test_shards_that_do_not_belong_together_are_refused(tmp_path):
    X, y = rows(np.float16)
    for number in range(3):
        np.savez(tmp_path / f"part-{number}.npz", X=X[: 5 + number], y=y[: 5 + number])

    def refusal():
        with pytest.raises(InputError) as refused:
            fastlin.load_split(tmp_path)
        return str(refused.value)

    np.savez(tmp_path / "part-2.npz", X=X[:5])
    assert "part-0.npz and part-2.npz do not both have 'y_train'" in refusal()
    np.savez(tmp_path / "part-2.npz", X=X[:5, :3], y=y[:5])
    assert "X_train is float16 (5, 20) in part-0.npz, and float16 (5, 3) in part-2.npz" in refusal()
    np.savez(tmp_path / "part-2.npz", X=X[:5].astype(np.float32), y=y[:5])
    assert "and float32 (5, 20) in part-2.npz" in refusal()
    np.savez(tmp_path / "part-2.npz", X=X[:5], y=y[0])
    assert "y_train is int64 (5,) in part-0.npz, and int64 () in part-2.npz" in refusal()
    for number in range(3):
        np.savez(tmp_path / f"part-{number}.npz", X=X[:5], y=y[0])
    assert "y_train is a single value in part-0.npz" in refusal()
    np.save(tmp_path / "X-0.npy", X)
    assert "has shards of several kinds: 'X-0.npy', 'part-0.npz'" in refusal()


def test_rows_without_their_labels_among_shards_are_refused(tmp_path):
    X, y = rows()
    for number in range(3):
        np.save(tmp_path / f"X-{number}.npy", X)
        np.save(tmp_path / f"y-{number}.npy", y)
    (tmp_path / "y-1.npy").unlink()
    with pytest.raises(InputError, match=r"has 2 files such as y-0\.npy, and 3 of the rows"):
        fastlin.load_split(tmp_path)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 2, 2, 2)])
def test_validation_rows_of_another_dtype_that_are_no_rows_are_refused(tmp_path, shape):
    X, y = rows()
    np.savez(tmp_path / "rows.npz", X_train=X, y_train=y, X_val=np.zeros(shape), y_val=y[:1])
    with (
        pytest.warns(DataWarning, match="X_val is float64; it was converted"),
        pytest.raises(InputError, match="X has shape"),
    ):
        fastlin.load_split(tmp_path / "rows.npz")
