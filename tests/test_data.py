import gc
import hashlib
import io
import json
import pickle
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import numpy as np
import pytest

from fastlin.data import Dataset, Split, catalog, cifar, load_split, sample
from fastlin.errors import InputError

ROWS = 200  # of a small batch: 20 of each class


@pytest.fixture
def small(monkeypatch):
    """CIFAR-10 with batches of 200 images, and a validation set of 50."""
    monkeypatch.setattr(cifar, "BATCH_ROWS", ROWS)
    monkeypatch.setattr(cifar, "_VALIDATION_ROWS", 50)
    monkeypatch.delenv("FASTLIN_DATA", raising=False)


def batches():
    rng = np.random.default_rng(0)
    for name in (*cifar.TRAIN_BATCHES, cifar.TEST_BATCH):
        y = rng.permutation(np.repeat(np.arange(10), ROWS // 10))
        yield name, rng.integers(0, 256, (ROWS, 3072), np.uint8), y


def write_binary(folder):
    folder.mkdir(parents=True)
    for name, X, y in batches():
        records = np.hstack([y[:, None].astype(np.uint8), X])
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


def write_python(folder, protocol=2):
    folder.mkdir(parents=True)
    for name, X, y in batches():
        content = {b"data": X, b"labels": y.tolist(), b"batch_label": b"one", b"filenames": [b"a"]}
        (folder / name).write_bytes(pickle.dumps(content, protocol=protocol))
    return folder


def archive(folder, path):
    with tarfile.open(path, "w:gz") as file:
        file.add(folder, folder.name)
    return path


def same(split, other):
    return split.fingerprint() == other.fingerprint()


def test_every_distribution_gives_the_same_split(small, tmp_path):
    binary = write_binary(tmp_path / "b" / cifar.BINARY_FOLDER)
    python = write_python(tmp_path / "p" / cifar.PYTHON_FOLDER)
    expected = {name: (X, y) for name, X, y in batches()}
    split = load_split(binary)
    for part, name in zip(
        split.parts().values(), ("data_batch_1", "data_batch_2", "test_batch"), strict=True
    ):
        assert np.array_equal(part.X, expected[name][0])
        assert np.array_equal(part.y, expected[name][1])
    assert split.train.X.dtype == np.uint8
    for source in (
        binary.parent,
        python,
        python.parent,
        archive(binary, tmp_path / "b.tar.gz"),
        archive(python, tmp_path / "p.tgz"),
    ):
        assert same(load_split(source), split)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_python_batches_are_read_at_every_protocol(small, tmp_path, protocol):
    folder = write_python(tmp_path / "py", protocol)
    if protocol == 5:
        with pytest.raises(InputError, match="asks for numpy"):
            load_split(folder)  # out-of-band buffers: not how the data set is distributed
    else:
        assert load_split(folder).train.X.shape == (ROWS, 3072)


def test_the_full_split_is_stratified_keeps_every_row_and_is_the_same_each_time(small, tmp_path):
    folder = write_binary(tmp_path / "bin")
    split = load_split(folder, "full")
    assert (len(split.train), len(split.val), len(split.test)) == (950, 50, 200)
    assert np.array_equal(np.bincount(split.val.y), np.full(10, 5))
    everything = np.concatenate([X for name, X, _ in batches() if name != "test_batch"])
    labels = np.concatenate([y for name, _, y in batches() if name != "test_batch"])
    position = {row.tobytes(): index for index, row in enumerate(everything)}
    for part in (split.train, split.val):
        found = [position.pop(row.tobytes()) for row in part.X]
        assert found == sorted(found)  # in the order of the files
        assert np.array_equal(labels[found], part.y)
    assert not position
    assert same(load_split(folder, "full"), split)


def damage(path, change):
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], r"data_batch_2.bin ends after 614,599 bytes; it must have"),
        (lambda content: content[: 3073 * 7], r"data_batch_2.bin ends after 21,511 bytes"),
        (lambda _: b"", r"data_batch_2.bin ends after 0 bytes"),
        (lambda content: content + b"x", r"data_batch_2.bin goes on after 614,600 bytes"),
        (
            lambda content: content[: 3073 * 3] + b"\x0a" + content[3073 * 3 + 1 :],
            r"data_batch_2.bin: image 3 has label 10; labels are 0 to 9",
        ),
    ],
)
def test_a_damaged_binary_batch_is_named(small, tmp_path, change, message):
    folder = write_binary(tmp_path / cifar.BINARY_FOLDER)
    damage(folder / "data_batch_2.bin", change)
    for source in (folder, archive(folder, tmp_path / "a.tar.gz")):
        with pytest.raises(InputError, match=message.replace(".bin", r"\.bin.*")):
            load_split(source)


def test_a_missing_batch_is_named(small, tmp_path):
    folder = write_binary(tmp_path / cifar.BINARY_FOLDER)
    (folder / "test_batch.bin").unlink()
    for source in (folder, archive(folder, tmp_path / "a.tar.gz")):
        with pytest.raises(InputError, match="has no test_batch"):
            load_split(source)


@pytest.mark.parametrize(
    "change",
    [lambda content: content[:1000], lambda _: b"", lambda _: b"no gzip" * 99],
)
def test_a_damaged_archive_is_one_line(small, tmp_path, change):
    path = archive(write_binary(tmp_path / cifar.BINARY_FOLDER), tmp_path / "a.tar.gz")
    damage(path, change)
    with pytest.raises(InputError, match=r"a\.tar\.gz") as caught:
        load_split(path)
    assert "\n" not in str(caught.value)


def pickled(**changes):
    _, X, y = next(batches())
    content = {"data": X, "labels": y.tolist(), **changes}
    return {name.encode(): value for name, value in content.items() if value is not None}


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list; it must hold a dict"),
        (pickled(data=None), "must hold 'data'"),
        (pickled(data=np.zeros((ROWS, 3072), np.int64)), "must hold 'data'"),
        (pickled(data=np.zeros((ROWS, 3071), np.uint8)), "must hold 'data'"),
        (pickled(data=np.zeros((ROWS, 3072), object)), "an array has dtype 'O8'"),
        (pickled(labels=None), "must hold 'labels'"),
        (pickled(labels=[0] * (ROWS - 1)), "must hold 'labels'"),
        (pickled(labels=[0.5] * ROWS), "must hold 'labels'"),
        (pickled(labels=[-1] * ROWS), "image 0 has label -1"),
        (pickled(labels=[10**30] * ROWS), "image 0 has label"),
        (pickled(labels={1, 2}), r"asks for __builtin__\.set"),
    ],
)
def test_a_pickle_that_is_no_batch_is_refused(small, tmp_path, content, message):
    folder = write_python(tmp_path / "py")
    (folder / "data_batch_1").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(InputError, match=message) as caught:
        load_split(folder)
    assert "data_batch_1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_malicious_pickle_runs_nothing(small, tmp_path):
    folder = write_python(tmp_path / "py")
    trace = tmp_path / "executed"
    for bomb in (
        Call(open, str(trace), "w"),
        Call(eval, f"open({str(trace)!r}, 'w')"),
        Call(np.fromfile, str(trace)),
        Call(getattr, "a", "b"),
        Call(np.ndarray, (10**15,)),
    ):
        content = pickle.dumps(pickled(data=bomb), protocol=2)
        trace.unlink(missing_ok=True)
        (folder / "data_batch_1").write_bytes(content)
        with pytest.raises(InputError, match="data_batch_1"):
            load_split(folder)
        assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80", b"garbage", b"\x80\x02" + b"(" * 100_000, b"\x80\x02r\xff\xff\xff\x7f."],
)
def test_garbage_instead_of_a_pickle_is_one_line(small, tmp_path, content):
    folder = write_python(tmp_path / "py")
    (folder / "data_batch_1").write_bytes(content)
    with pytest.raises(InputError, match="data_batch_1") as caught:
        load_split(folder)
    assert "\n" not in str(caught.value)


def test_a_pickle_too_large_to_be_a_batch_is_not_read(small, tmp_path, monkeypatch):
    folder = write_python(tmp_path / "py")
    monkeypatch.setattr(cifar, "_LARGEST_PICKLE", 1000)
    with pytest.raises(InputError, match="more than 1,000 bytes"):
        load_split(folder)


def test_the_sample_is_what_it_says():
    split = load_split()
    assert split.name == sample.NAME
    for part, per_class in (("train", 200), ("val", 50), ("test", 50)):
        data = split.parts()[part]
        assert data.X.dtype == np.uint8
        assert np.array_equal(np.bincount(data.y), np.full(10, per_class))


def test_the_sample_is_made_of_the_real_images(tmp_path):
    found = catalog.locate_cifar10()
    if found is None:
        pytest.skip("needs CIFAR-10: set FASTLIN_DATA to the folder that holds it")
    real = cifar.load(found)
    for part, data in load_split().parts().items():
        rows = {row.tobytes(): label for row, label in zip(*_arrays(real, part), strict=True)}
        assert [rows[row.tobytes()] for row in data.X] == data.y.tolist()


def _arrays(split, part):
    return split.parts()[part].X, split.parts()[part].y


def test_the_real_data_are_the_published_ones():
    found = catalog.locate_cifar10()
    if found is None:
        pytest.skip("needs CIFAR-10: set FASTLIN_DATA to the folder that holds it")
    split = cifar.load(found)
    assert split.train.y[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    md5 = hashlib.md5(np.column_stack([split.train.y.astype(np.uint8), split.train.X]).tobytes())
    assert md5.hexdigest() == "5dd7e06a14cb22eb9f671a540d1b7c25"
    full = cifar.load(found, "full")
    values = np.concatenate([full.train.X, full.val.X]).reshape(50_000, 3, 1024)
    assert np.allclose(values.mean(axis=(0, 2)) / 255, [0.4914, 0.4822, 0.4465], atol=5e-5)
    assert np.array_equal(np.bincount(full.val.y), np.full(10, 100))


def test_a_damaged_sample_is_noticed(monkeypatch):
    picture = sample._read_picture().copy()
    picture[5, 5, 0] ^= 1
    monkeypatch.setattr(sample, "_read_picture", lambda: picture)
    with pytest.raises(InputError, match="damaged"):
        load_split()


def test_the_builder_makes_the_sample_losslessly(small, tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "_PER_CLASS", {"train": 18, "val": 6, "test": 6})
    monkeypatch.setattr(sample, "files", lambda _: tmp_path)
    folder = write_binary(tmp_path / "bin")
    sample.build(folder, tmp_path)
    built = sample.load()
    _, X, y = next(batches())
    rows = np.sort(np.concatenate([np.flatnonzero(y == label)[:18] for label in range(10)]))
    assert np.array_equal(built.train.X, X[rows])
    assert np.array_equal(built.train.y, y[rows])
    assert json.loads((tmp_path / "cifar10-mini.json").read_text())["citation"]


def test_the_place_named_first_wins_and_nothing_else_is_looked_at(small, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "user_cache_path", lambda _: tmp_path / "cache")
    write_binary(tmp_path / "cache" / "data" / cifar.BINARY_FOLDER)
    assert load_split("cifar10").name == "cifar10"
    monkeypatch.setenv("FASTLIN_DATA", str(tmp_path / "empty"))
    with pytest.raises(InputError, match=r"no CIFAR-10 in .*empty \(FASTLIN_DATA\); `fastlin data"):
        load_split("cifar10")
    with pytest.raises(InputError, match=r"no CIFAR-10 in .*other \(--data-dir\)"):
        load_split("cifar10", data_dir=tmp_path / "other")
    assert load_split("cifar10", data_dir=tmp_path / "cache" / "data").name == "cifar10"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifar11",), "unknown data 'cifar11': neither a file nor one of cifar10-mini, cifar10"),
        (("no/such.npz",), r"there is no file no/such\.npz"),
        ((".",), "holds no CIFAR-10"),
        (("cifar10-mini", "full"), "has one split only"),
        (("cifar10-mini", None, "."), "--data-dir is where to look for cifar10"),
    ],
)
def test_data_that_are_not_there_are_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        load_split(*arguments)


def test_an_unknown_split_names_those_there_are(small, tmp_path):
    with pytest.raises(InputError, match="no split 'half'; its splits are assignment, full"):
        load_split(write_binary(tmp_path / "bin"), "half")


# --- downloads, from a server on this machine -----------------------------------------------


@pytest.fixture
def server(tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    server = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}/{cifar.BINARY_ARCHIVE}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def served(small, server, tmp_path, monkeypatch):
    folder, url = server
    binary = write_binary(tmp_path / "made" / cifar.BINARY_FOLDER)
    path = archive(binary, folder / cifar.BINARY_ARCHIVE)
    monkeypatch.setattr(catalog, "CIFAR10_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(catalog, "CIFAR10_URL", url)
    return path


def test_a_download_is_checked_unpacked_and_found_again(served, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(catalog, "user_cache_path", lambda _: tmp_path / "cache")
    split = load_split("cifar10")  # the cache lacks it: it is downloaded
    assert same(split, load_split(tmp_path / "made"))
    assert [path.name for path in (tmp_path / "cache" / "data").iterdir()] == [cifar.BINARY_FOLDER]
    assert "100%" in capsys.readouterr().err  # progress
    served.unlink()
    assert same(load_split("cifar10"), split)  # not downloaded again


def test_a_download_that_is_not_the_right_file_is_thrown_away(served, tmp_path):
    served.write_bytes(b"something else")
    place = tmp_path / "place"
    with pytest.raises(InputError, match=r"is not CIFAR-10.*put it at .*cifar-10-binary\.tar\.gz"):
        catalog.fetch_cifar10(place)
    assert list(place.iterdir()) == []


def test_an_archive_put_there_by_hand_needs_no_network(served, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "CIFAR10_URL", "http://127.0.0.1:1/nowhere")
    place = tmp_path / "place"
    place.mkdir()
    served.rename(place / cifar.BINARY_ARCHIVE)
    assert catalog.fetch_cifar10(place) == place / cifar.BINARY_FOLDER


FETCH = """
import sys; from pathlib import Path; from fastlin.data import catalog, cifar
catalog.CIFAR10_MD5, catalog.CIFAR10_URL, cifar.BATCH_ROWS = sys.argv[2], sys.argv[3], 40
print(catalog.fetch_cifar10(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("is_locked", [True, False])
def test_processes_that_fetch_at_once_all_find_the_data(
    served, server, tmp_path, monkeypatch, is_locked
):
    place = tmp_path / "place"
    leftover = place / ".unpacking-of-a-killed-process"
    leftover.mkdir(parents=True)
    code = FETCH if is_locked else "from fastlin import files\n" + (
        "files.try_lock = lambda *_, **__: False\n" + FETCH
    )  # fmt: skip
    words = [sys.executable, "-c", code, place, catalog.CIFAR10_MD5, catalog.CIFAR10_URL]
    processes = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert out.split() == [str(place / cifar.BINARY_FOLDER)]
    assert same(load_split(place), load_split(tmp_path / "made"))
    left = {path.name for path in place.iterdir()} - {cifar.BINARY_FOLDER}
    assert left == (set() if is_locked else {leftover.name})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_a_network_it_says_where_to_put_the_file(served, tmp_path):
    for url, reason in (
        ("http://127.0.0.1:1/nowhere", "no connection"),
        (catalog.CIFAR10_URL + ".no", "the server says 404"),
    ):
        with pytest.raises(InputError, match=f"{reason}.*put it at .*cifar-10-binary") as caught:
            catalog.fetch_cifar10(tmp_path / "place", url)
        assert "\n" not in str(caught.value)
    gc.collect()  # requests leaves the socket of a refused answer to the garbage collector


def test_a_place_that_cannot_be_written_is_one_line(served, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to"):
        catalog.fetch_cifar10(tmp_path / "file" / "below")


# --- .npz ------------------------------------------------------------------------------------


def npz(tmp_path, **arrays):
    np.savez(tmp_path / "my.npz", **arrays)
    return tmp_path / "my.npz"


RNG = np.random.default_rng(0)
X, Y = RNG.random((6, 12), np.float32), np.array([0, 1, 2, 0, 1, 2])


def test_an_npz_file_gives_its_arrays(tmp_path):
    split = load_split(npz(tmp_path, X_train=X, y_train=Y, X_test=X[:2], y_test=Y[:2]))
    assert split.name == "my"
    assert split.val is None
    assert split.train.class_names == ("0", "1", "2")
    assert np.array_equal(split.train.X, X)
    assert np.array_equal(split.test.y, Y[:2])


def test_names_in_small_letters_names_of_classes_and_shapes_are_taken(tmp_path):
    names = np.array(["a", "b", "c", "d"])
    path = npz(tmp_path, x_train=X, y_train=Y, class_names=names, image_shape=np.array([3, 2, 2]))
    split = load_split(path)
    assert split.train.class_names == ("a", "b", "c", "d")
    assert split.train.image_shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("shape", "axes"), [((6, 4, 5), None), ((6, 3, 4, 5), None), ((6, 4, 5, 3), (0, 3, 1, 2))]
)
def test_images_become_rows_channel_by_channel(tmp_path, shape, axes):
    images = RNG.integers(0, 256, shape, np.uint8)
    split = load_split(npz(tmp_path, X_train=images, y_train=Y))
    expected = images if axes is None else images.transpose(axes)
    assert np.array_equal(split.train.X, expected.reshape(6, -1))
    assert split.train.image_shape == (3 if len(shape) == 4 else 1, 4, 5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X_train": X}, "lacks the array y_train"),
        ({"y_train": Y}, "lacks the array X_train"),
        ({"X_train": X, "y_train": Y, "X_val": X}, "lacks the array y_val"),
        ({"X_train": X, "y_train": Y, "Xtest": X}, "unknown array Xtest"),
        ({"X_train": X, "y_train": Y[:5]}, r"train: y has shape \(5,\)"),
        ({"X_train": X[:0], "y_train": Y[:0]}, r"train: X has shape \(0, 12\)"),
        ({"X_train": X, "y_train": Y / 2}, "labels must be integers"),
        ({"X_train": X, "y_train": Y - 1}, "label -1 is outside 0 to 1"),
        ({"X_train": X, "y_train": Y * 10**9}, "label 2000000000 is too large"),
        ({"X_train": np.where(X > 0.9, np.nan, X), "y_train": Y}, "NaN or infinite value in row"),
        ({"X_train": X.astype(np.float16), "y_train": Y}, "dtype float16; it must be uint8"),
        ({"X_train": np.zeros((6, 2, 2, 2, 2)), "y_train": Y}, "images"),
        ({"X_train": X, "y_train": Y, "X_val": X[:, :5], "y_val": Y}, "have features 5"),
        ({"X_train": X, "y_train": Y, "X_val": X.astype(float), "y_val": Y}, "have dtype float64"),
        ({"X_train": X, "y_train": Y, "image_shape": np.array([3, 3, 3])}, "does not describe"),
        ({"X_train": X, "y_train": Y, "image_shape": np.array([12])}, "three whole numbers"),
        ({"X_train": X, "y_train": Y, "class_names": np.array(["a"])}, "at least 2 are needed"),
        ({"X_train": X, "y_train": Y, "class_names": np.array([1, 2])}, "list of text"),
    ],
)
def test_an_npz_file_that_does_not_fit_says_why(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message) as caught:
        load_split(npz(tmp_path, **arrays))
    assert "my.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:100],
        lambda content: content[:-30],
        lambda _: b"",
        lambda _: b"PK\x03\x04" + b"\xff" * 50,
        lambda content: content.replace(b"'descr'", b"'dxscr'"),
        lambda content: content.replace(b"<f4", b"|O8"),
    ],
)
def test_a_damaged_npz_file_is_one_line(tmp_path, change):
    path = npz(tmp_path, X_train=X, y_train=Y)
    damage(path, change)
    with pytest.raises(InputError, match=r"my\.npz") as caught:
        load_split(path)
    assert "\n" not in str(caught.value)


def test_a_single_array_or_a_pickle_is_not_loaded(tmp_path):
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(InputError, match="is one NumPy array"):
        load_split(tmp_path / "one.npy")
    trace = tmp_path / "executed"
    objects = np.array([Call(open, str(trace), "w")], dtype=object)
    buffer = io.BytesIO()
    np.savez(buffer, X_train=objects, y_train=Y)
    trace.unlink(missing_ok=True)
    (tmp_path / "bomb.npz").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match=r"bomb\.npz"):
        load_split(tmp_path / "bomb.npz")
    assert not trace.exists()


def test_equal_content_has_equal_fingerprints_and_any_change_shows():
    data = Dataset(X, Y, ("a", "b", "c"))
    first = Split("x", data).fingerprint()
    assert Split("y", Dataset(X.copy(), Y.copy(), ("a", "b", "c"))).fingerprint() == first
    changed = X.copy()
    changed[3, 3] += 1e-6
    assert Split("x", Dataset(changed, Y, ("a", "b", "c"))).fingerprint() != first
    assert Split("x", Dataset(X, Y[::-1].copy(), ("a", "b", "c"))).fingerprint() != first
    assert Split("x", data, data).fingerprint() != first
