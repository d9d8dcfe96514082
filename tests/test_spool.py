"""Rows of files that cannot be mapped: written to a temporary file, and mapped from there."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastlin
from fastlin.data.stored import StoredRows
from fastlin.errors import DataWarning, InputError
from fastlin.files import spool
from fastlin.files.locks import try_lock
from fastlin.files.spool import spooled

N, D, K = 200_000, 24, 3  # 19 MB in float32: more than the least amount of memory


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D)).astype(np.float32)
    return X, (X @ rng.standard_normal((D, K))).argmax(axis=1)


def parquet(folder, X, y, *, kind="fixed", change=None):
    pa = pytest.importorskip("pyarrow", reason="Parquet needs the extra formats")
    from pyarrow import parquet as files

    values = pa.array(X.ravel())
    if kind == "fixed":
        column = pa.FixedSizeListArray.from_arrays(values, X.shape[1])
    else:
        column = pa.ListArray.from_arrays(np.arange(0, X.size + 1, X.shape[1], np.int32), values)
    if change is not None:
        column = change(pa, column)
    table = pa.table({"embedding": column, "label": y})
    files.write_table(table, folder / "rows.parquet", row_group_size=50_000)
    return folder / "rows.parquet"


def columns(folder, X, y, **more):
    """Write a table with a column for each feature."""
    pa = pytest.importorskip("pyarrow", reason="Parquet needs the extra formats")
    from pyarrow import parquet as files

    features = {f"f{j}": X[:, j] for j in range(X.shape[1])}
    table = pa.table({"id": np.arange(len(X)), **features, **more, "label": y})
    files.write_table(table, folder / "rows.parquet", row_group_size=70_000)
    return folder / "rows.parquet"


def hdf5(folder, X, y):
    h5py = pytest.importorskip("h5py", reason="HDF5 needs the extra formats")
    with h5py.File(folder / "rows.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(1000, 5), compression="gzip")
        file.create_dataset("y", data=y)
    return folder / "rows.h5"


def check_same_fit(place, X, y):
    with pytest.warns(DataWarning, match=r"takes 19 MB as it is read, .* a temporary file"):
        found = fastlin.load_split(place, memory="32MB")
    assert isinstance(found.train.X, StoredRows)
    assert np.array_equal(found.train.X[:], X)
    assert np.array_equal(found.train.y, y)
    ours = fastlin.solve(found, l2=1e-3, max_passes=4)
    theirs = fastlin.solve(fastlin.load_split(place), l2=1e-3, max_passes=4)
    assert np.array_equal(ours.model.W, theirs.model.W)


@pytest.mark.parametrize("kind", ["fixed", "of any length"])
def test_large_lists_of_parquet_stay_in_a_file(tmp_path, rows, kind):
    check_same_fit(parquet(tmp_path, *rows, kind=kind), *rows)


@pytest.mark.filterwarnings("ignore::fastlin.errors.DataWarning")
def test_large_columns_of_parquet_stay_in_a_file(tmp_path, rows):
    place = columns(tmp_path, *rows)
    check_same_fit(place, *rows)
    found = fastlin.load_split(place, memory="32MB")
    assert found.train.feature_names == tuple(f"f{j}" for j in range(D))


def test_columns_of_several_dtypes_become_rows_of_one(tmp_path, rows):
    X, _ = rows
    more = {"count": np.arange(N, dtype=np.int16), "length": X[:, 0].astype(np.float64)}
    place = columns(tmp_path, *rows, **more)
    with pytest.warns(DataWarning, match="a temporary file"):
        found = fastlin.load_split(place, memory="32MB")
    assert isinstance(found.train.X, StoredRows)
    expected = np.column_stack([X, more["count"], more["length"]])
    assert np.array_equal(found.train.X[:], expected)


@pytest.mark.filterwarnings("ignore::fastlin.errors.DataWarning")
def test_a_number_that_is_missing_in_a_large_column_is_named_with_its_row(tmp_path, rows):
    X, y = rows
    X = X.copy()
    X[150_003, 7] = np.nan
    place = columns(tmp_path, X, y)
    with pytest.raises(InputError, match=r"'f7' has no number in row 150003"):
        fastlin.load_split(place, memory="32MB")


def test_large_chunks_of_hdf5_stay_in_a_file(tmp_path, rows):
    check_same_fit(hdf5(tmp_path, *rows), *rows)


def test_small_rows_are_in_memory(tmp_path, rows):
    X, y = rows
    for place in (parquet(tmp_path, X[:1000], y[:1000]), hdf5(tmp_path, X[:1000], y[:1000])):
        found = fastlin.load_split(place, memory="32MB")
        assert isinstance(found.train.X, np.ndarray)
        assert np.array_equal(found.train.X, X[:1000])


@pytest.mark.filterwarnings("ignore::fastlin.errors.DataWarning")
def test_what_is_wrong_in_a_later_part_is_named_with_its_row(tmp_path, rows):
    X, y = rows

    def without_one(pa, column):
        return pa.array([*column[:150_000].to_pylist(), None], column.type)

    place = parquet(tmp_path, X[:150_001], y[:150_001], kind="of any length", change=without_one)
    with pytest.raises(InputError, match="'embedding' has no list in row 150000;"):
        fastlin.load_split(place, memory="20MB")

    def shorter(pa, column):
        return pa.array([*column[:150_000].to_pylist(), [1.0, 2.0]], column.type)

    place = parquet(tmp_path, X[:150_001], y[:150_001], kind="of any length", change=shorter)
    with pytest.raises(InputError, match=f"list of 2 values in row 150000, and one of {D} in row"):
        fastlin.load_split(place, memory="20MB")


def test_a_disk_without_space_is_said_before_anything_is_written(monkeypatch):
    usage = spool.shutil.disk_usage(".")._replace(free=10)
    monkeypatch.setattr(spool.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"rows takes 0 MB as it is read, .*; set TMPDIR to"):
        spooled("rows", (3, 2), np.float64, iter([np.ones((3, 2))]))


@pytest.mark.filterwarnings("ignore::fastlin.errors.DataWarning")
def test_a_block_that_cannot_be_had_leaves_nothing():
    def blocks():
        yield np.ones((1, 2))
        raise InputError("damaged")

    before = sorted(spool._folder().iterdir())
    with pytest.raises(InputError, match="damaged"):
        spooled("rows", (3, 2), np.float64, blocks())
    assert sorted(spool._folder().iterdir()) == before


def test_the_file_is_gone_at_the_end_of_the_process(tmp_path):
    code = (
        "import os, numpy as np\n"
        "from fastlin.files.spool import spooled\n"
        "X = spooled('rows', (3, 2), np.float32, iter([np.ones((1, 2)), np.zeros((2, 2))]))\n"
        "assert X.tolist() == [[1, 1], [0, 0], [0, 0]]\n"
        "if os.fork() == 0:\n"
        "    raise SystemExit\n"
        "os.wait()\n"
        "assert os.path.exists(X.filename), 'a fork took it away'\n"
        "print(X.filename)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    place = Path(done.stdout.strip())
    assert place.is_relative_to(tmp_path)
    assert not place.parent.exists()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path, monkeypatch):
    left, held, other = (tmp_path / f"{spool._PREFIX}{name}" for name in ("left", "held", "new"))
    for folder in (left, held, other):
        folder.mkdir()
        (folder / "rows").write_bytes(bytes(8))
    (tmp_path / "fastlin-data").mkdir()
    for folder in (left, held):
        os.utime(folder, (0, 0))
    descriptor = os.open(held, os.O_RDONLY)
    if not try_lock(descriptor):
        pytest.skip("folders cannot be locked here")
    monkeypatch.setattr(spool.tempfile, "tempdir", str(tmp_path))
    spool._folder.__wrapped__()
    os.close(descriptor)
    assert not left.exists()
    assert held.exists()
    assert other.exists()
    assert (tmp_path / "fastlin-data").exists()
