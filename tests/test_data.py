import gc
import hashlib
import io
import json
import subprocess
import sys
import threading
import tracemalloc
import warnings
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import numpy as np
import pytest
from cifar_files import Call, archive, batches, damage, same_split, write_binary
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_dtypes, arrays, scalar_dtypes

from fastlin.data import Dataset, Split, catalog, checks, load_split, sample
from fastlin.data.dataset import check_fits
from fastlin.data.formats import cifar
from fastlin.data.formats import npz as npz_file
from fastlin.data.labels import MAX_UNNAMED_CLASSES, classes_that_occur
from fastlin.errors import DataWarning, InputError
from fastlin.report.study.experiments import DATA_SHA256


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
    assert split.fingerprint() == DATA_SHA256
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


def test_the_builder_makes_the_sample_losslessly(small_cifar, tmp_path, monkeypatch):
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


def test_the_place_named_first_wins_and_nothing_else_is_looked_at(
    small_cifar, tmp_path, monkeypatch
):
    monkeypatch.setattr(catalog, "user_cache_path", lambda _: tmp_path / "cache")
    write_binary(tmp_path / "cache" / "data" / cifar.BINARY_FOLDER)
    assert load_split("cifar10").name == "cifar10"
    monkeypatch.setenv("FASTLIN_DATA", str(tmp_path / "empty"))
    with pytest.raises(InputError, match=r"no CIFAR-10 in .*empty \(FASTLIN_DATA\); `fastlin data"):
        load_split("cifar10")
    with pytest.raises(InputError, match=r"no CIFAR-10 in .*other \(data_dir\)"):
        load_split("cifar10", data_dir=tmp_path / "other")
    assert load_split("cifar10", data_dir=tmp_path / "cache" / "data").name == "cifar10"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifar11",), "unknown data 'cifar11': neither a file nor one of cifar10-mini, cifar10"),
        (("no/such.npz",), r"there is no file no/such\.npz"),
        ((".",), "holds no data: neither CIFAR, nor"),
        (("cifar10-mini", "full"), "has one split only"),
        (("cifar10-mini", None, "."), "data_dir is where to look for cifar10"),
    ],
)
def test_data_that_are_not_there_are_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        load_split(*arguments)


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
def served(small_cifar, server, tmp_path, monkeypatch):
    folder, url = server
    binary = write_binary(tmp_path / "made" / cifar.BINARY_FOLDER)
    path = archive(binary, folder / cifar.BINARY_ARCHIVE)
    monkeypatch.setattr(catalog, "CIFAR10_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(catalog, "CIFAR10_URL", url)
    return path


def test_a_download_is_checked_unpacked_and_found_again(served, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(catalog, "user_cache_path", lambda _: tmp_path / "cache")
    split = load_split("cifar10")  # the cache lacks it: it is downloaded
    assert same_split(split, load_split(tmp_path / "made"))
    assert [path.name for path in (tmp_path / "cache" / "data").iterdir()] == [cifar.BINARY_FOLDER]
    assert "100%" in capsys.readouterr().err  # progress
    served.unlink()
    assert same_split(load_split("cifar10"), split)  # not downloaded again


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
import sys; from pathlib import Path
from fastlin.data import catalog; from fastlin.data.formats import cifar
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
    code = FETCH if is_locked else "from fastlin.files import locks\n" + (
        "locks.try_lock = lambda *_, **__: False\n" + FETCH
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
    assert same_split(load_split(place), load_split(tmp_path / "made"))
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
IMAGES = RNG.random((6, 2, 4, 3))
NAMES = np.array(["a", "b", "c"])


def spoiled(array, place, value):
    array = array.copy()
    array[place] = value
    return array


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
        ({"X_train": X}, "holds rows without labels; say where they are: labels is a file"),
        ({"y_train": Y}, "the array X_train is missing, or has no usual name"),
        ({"X_train": X, "y_train": Y, "X_val": X}, "the array y_val is missing"),
        ({"X_train": X, "y_train": Y, "Xtest": X}, "the array y_test is missing"),
        ({"X_train": X, "y_train": Y[:5]}, r"train: y has shape \(5,\)"),
        ({"X_train": X[:0], "y_train": Y[:0]}, r"train: X has shape \(0, 12\)"),
        ({"X_train": X, "y_train": Y / 2}, r"y_train has float targets, such as 0.5 in row 1"),
        (
            {"X_train": X, "y_train": Y - 1, "class_names": NAMES},
            r"train: label -1 in row 0 is outside 0 to 2 \(there are 3 classes\)",
        ),
        (
            {"X_train": X, "y_train": Y, "X_val": X, "y_val": Y * 2, "class_names": NAMES},
            r"val: label 4 in row 2 is outside 0 to 2 \(there are 3 classes\)",
        ),
        (
            {"X_train": X, "y_train": Y, "X_test": spoiled(X, (3, 7), np.nan), "y_test": Y},
            "test: X has the value nan in row 3, column 7; every value must be finite",
        ),
        ({"X_train": X.astype(complex), "y_train": Y}, "X_train has dtype complex128; features"),
        ({"X_train": np.zeros((6, 2, 2, 2, 2)), "y_train": Y}, "images"),
        ({"X_train": X, "y_train": Y, "X_val": X[:, :5], "y_val": Y}, "have features 5"),
        ({"X_train": X, "y_train": Y, "X_val": X.astype(np.uint8), "y_val": Y}, "have dtype uint8"),
        (
            {"X_train": X, "y_train": Y, "image_shape": np.array([3, 3, 3])},
            r"image shape \(3, 3, 3\) does not fit rows of 12",
        ),
        ({"X_train": X, "y_train": Y, "image_shape": np.array([12])}, "three whole numbers"),
        ({"X_train": X, "y_train": Y, "class_names": np.array(["a"])}, "at least 2 are needed"),
        ({"X_train": X, "y_train": Y, "class_names": np.array([1, 2])}, "list of text"),
        ({"X_train": X, "y_train": Y, "class_names": np.array("abc")}, "list of text"),
        ({"X_train": X, "x_train": X, "y_train": Y}, "both 'X_train' and 'x_train'"),
        ({"X_train": X, "X_TRAIN": X, "y_train": Y}, "both 'X_train' and 'X_TRAIN'"),
        ({"X_train": X, "y_train": Y, "Y_train": Y}, "both 'y_train' and 'Y_train'"),
        ({"A\nB": X, "C" * 99: Y}, r"the arrays are 'A\\nB', 'C*…C*'; name the rows as PATH:ARRAY"),
        ({"X_train": X[:, :0], "y_train": Y}, r"train: X has shape \(6, 0\)"),
        ({"X_train": np.zeros((0, 4, 4)), "y_train": Y[:0]}, r"train: X has shape \(0, 4, 4\)"),
        ({"X_train": np.float64(3), "y_train": Y}, r"train: X has shape \(\)"),
        ({"X_train": IMAGES, "y_train": Y, "image_shape": np.array([3, 1, 8])}, "X_train has im"),
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
    with pytest.raises(InputError, match="holds rows without labels; say where they are: labels"):
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


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([3, 7, 7, 3, 3, 7], ("3", "7")),
        ([7, 999_998, 7, 7, 7, 7], ("7", "999998")),
        ([-1, 1, 1, -1, 1, 1], ("-1", "1")),
        ([10, 9, 2, 10, 9, 2], ("2", "9", "10")),
        (np.array([0, 255, 0, 0, 0, 255], np.uint8), ("0", "255")),
        ([-(2**63), 2**63 - 1, 0, 0, 0, 0], (str(-(2**63)), "0", str(2**63 - 1))),
    ],
)
def test_without_names_the_classes_are_the_labels_that_occur(tmp_path, labels, names):
    train = load_split(npz(tmp_path, X_train=X, y_train=np.array(labels))).train
    assert train.class_names == names
    assert [train.class_names[label] for label in train.y] == [str(int(y)) for y in labels]


def test_classes_are_those_of_all_parts_whatever_integers_they_are(tmp_path):
    few = np.array([0, 1, 0, 1, 0, 1])
    path = npz(tmp_path, X_train=X, y_train=few, X_val=X, y_val=(5 * few).astype(np.uint64))
    split = load_split(path)
    assert split.train.class_names == split.val.class_names == ("0", "1", "5")
    assert split.train.y.tolist() == [0, 1, 0, 1, 0, 1]
    assert split.val.y.tolist() == [0, 2, 0, 2, 0, 2]


@st.composite
def integer_labels(draw):
    """Labels of an integer dtype: anywhere, or close together."""
    dtype = np.dtype(draw(st.sampled_from([np.int8, np.uint8, np.int32, np.int64, np.uint64])))
    lowest, highest = np.iinfo(dtype).min, min(np.iinfo(dtype).max, 2**63 - 1)
    if draw(st.booleans()):
        lowest = draw(st.integers(lowest, highest))
        highest = min(lowest + draw(st.integers(0, 100)), highest)
    return draw(arrays(dtype, st.integers(2, 50), elements=st.integers(lowest, highest)))


@given(integer_labels())
def test_every_label_is_the_name_of_its_class(labels):
    assume(len(set(labels.tolist())) > 1)
    names, numbers = classes_that_occur({"y": labels})
    assert list(names) == [str(label) for label in sorted(set(labels.tolist()))]
    assert [names[number] for number in numbers["y"]] == [str(label) for label in labels]


BAD_LABELS = [
    (Y.astype("m8[s]"), r"y_train has dtype timedelta64\[s\]; labels must be integers"),
    (Y.astype("M8[D]"), r"y_train has dtype datetime64\[D\]; labels must be integers"),
    (Y / 2, "y_train has float targets, such as 0.5 in row 1; labels must be classes"),
    (spoiled(Y / 1, 4, np.nan), r"y_train has no label in row 4 \(.*nan.*\)"),
    (spoiled(Y / 1, 4, np.inf), "y_train has float targets, such as inf in row 4"),
    (Y.astype(complex), "y_train has dtype complex128; labels must be integers"),
    (np.zeros(6, [("a\n", int)]), "'y_train' holds records; save every column as an array"),
    (1 - np.eye(3, dtype=int)[Y], "y_train is multi-label: row 0 is of 2 classes"),
    (np.eye(3)[Y] * 2, r"y_train has shape \(6, 3\) and the value 2.0 in row 0; labels must be"),
    (np.zeros((6, 2), "U3"), r"y_train has shape \(6, 2\); labels must be integers"),
    (np.int64(3), r"y_train has shape \(\); labels must be integers, booleans or text, one a row"),
    (Y[:0], r"y_train has shape \(0,\); labels must be integers, booleans or text, one a row"),
    (spoiled(Y.astype(np.uint64), 4, 2**63), "the label 9223372036854775808 in row 4"),
    (0 * Y + 5, "all labels in y_train are 5; at least 2 classes are needed"),
]


@pytest.mark.parametrize(("labels", "message"), BAD_LABELS)
def test_labels_that_are_none_are_one_line(tmp_path, labels, message):
    with pytest.raises(InputError, match=rf"my\.npz: .*{message}") as caught:
        load_split(npz(tmp_path, X_train=X, y_train=labels))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [labels for labels, _ in BAD_LABELS])
def test_so_are_they_where_the_classes_have_names(tmp_path, labels):
    with pytest.raises(
        InputError, match=r"label|y has|y_train' holds records|float targets"
    ) as caught:
        load_split(npz(tmp_path, X_train=X, y_train=labels, class_names=NAMES))
    assert "\n" not in str(caught.value)


def test_measurements_are_not_taken_for_classes(tmp_path):
    n = MAX_UNNAMED_CLASSES + 1
    path = npz(tmp_path, X_train=np.zeros((n, 1), np.uint8), y_train=np.arange(n) * 3)
    with pytest.raises(InputError, match=r"100,001 distinct labels, such as 0 and 300000; "):
        load_split(path)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ([3, -2, -2], r"\(3, -2, -2\) does not fit rows of 12"),
        ([-3, -4, 1], r"\(-3, -4, 1\) does not fit"),
        ([3, 0, 4], r"\(3, 0, 4\) does not fit"),
        ([2, 3, 2], "1 or 3 channels"),
        ([3, 2**62 + 1, 4], "does not fit"),  # whose product is 12 in 64 bits
        ([3.0, 2.0, 2.0], r"image_shape is \[3.0, 2.0, 2.0\]; it must be three whole numbers"),
        ([[3, 2, 2]], "three whole numbers"),
        (np.array([3, 2, 2], "m8[s]"), "three whole numbers"),
        (np.array(["3", "2", "2"]), "three whole numbers"),
        (np.arange(9**4), "three whole numbers"),
    ],
)
def test_an_impossible_image_shape_is_named(tmp_path, shape, said):
    path = npz(tmp_path, X_train=X, y_train=Y, image_shape=np.array(shape))
    with pytest.raises(InputError, match=said) as caught:
        load_split(path)
    assert str(caught.value).startswith(f"{path}: image")
    assert len(str(caught.value)) < 300


def test_names_in_bytes_are_utf_8(tmp_path):
    names = np.array(["Kätzchen".encode(), "猫".encode(), b"owl"])
    split = load_split(npz(tmp_path, X_train=X, y_train=Y, class_names=names))
    assert split.train.class_names == ("Kätzchen", "猫", "owl")
    names[1] = "Kätzchen".encode("latin-1")
    with pytest.raises(InputError, match=r"class_names has b'K\\xe4tzchen' in place 1, bytes"):
        load_split(npz(tmp_path, X_train=X, y_train=Y, class_names=names))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["cat", "dog", "cat"], "classes 0 and 2 are both called 'cat'"),
        (["cat", "", "dog"], "class 1 is called ''; a name must be text"),
        (["cat", " ", "dog"], "class 1 is called ' '; a name must be text"),
        (["cat", "d\nog", "owl"], r"class 1 is called 'd\\nog'; a name must be one line"),
        (["cat", "d\x1b[2Jog", "owl"], r"class 1 is called 'd\\x1b\[2Jog'"),
        (["cat", "d\u2028og", "owl"], r"class 1 is called 'd\\u2028og'"),
        (["cat", 3 * "long " * 99 + "\r", "owl"], "one line of text"),
    ],
)
def test_impossible_class_names_are_one_line(tmp_path, names, said):
    for given_names in (np.array(names), np.array([name.encode() for name in names])):
        with pytest.raises(InputError, match=said) as caught:
            load_split(npz(tmp_path, X_train=X, y_train=Y, class_names=given_names))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300
    with pytest.raises(InputError, match=said):
        Dataset(X, Y, names)


def test_characters_that_there_are_not_are_one_line(tmp_path):
    names = np.array([0x110000, 97, 98], np.uint32).view("<U1")
    with pytest.raises(InputError, match="class_names has a name that is no text"):
        load_split(npz(tmp_path, X_train=X, y_train=Y, class_names=names))


# --- Dataset and Split -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"X": [[1.0], [2.0, 3.0]]}, "X is no array of numbers"),
        ({"X": None}, r"X has shape \(\)"),
        ({"y": [[1], [2, 3]]}, "y is no array of numbers"),
        ({"y": ["a"] * 6}, "labels must be integers"),
        ({"y": [10**30] * 6}, "labels must be integers|no array"),
        ({"class_names": "abc"}, "class_names is 'abc'; it must be a list of text"),
        ({"class_names": 3}, "class_names is 3; it must be a list of text"),
        ({"class_names": (1, 2, 3)}, "class 0 is called 1; a name must be text"),
        ({"image_shape": (3, 2)}, "does not fit rows of 12 features"),
        ({"image_shape": (3, 2.0, 2)}, r"image shape \(3, 2.0, 2\) does not fit"),
        ({"image_shape": 12}, "image shape 12 does not fit"),
    ],
)
def test_a_data_set_that_does_not_fit_says_why(changes, said):
    with pytest.raises(InputError, match=said):
        Dataset(**{"X": X, "y": Y, "class_names": ("a", "b", "c"), **changes})


def test_lists_and_numbers_of_numpy_become_plain_ones():
    data = Dataset(X, Y.tolist(), np.array(["a", "b", "c"]), np.array([3, 2, 2]))
    assert (data.class_names, data.image_shape) == (("a", "b", "c"), (3, 2, 2))
    assert {type(value) for value in data.image_shape} == {int}
    assert {type(name) for name in data.class_names} == {str}


def bad_input_is_one_line(function, start=""):
    try:
        function()
    except InputError as error:
        message = str(error)
    else:
        return
    assert message.startswith(start)
    assert len(message.splitlines()) == 1
    assert len(message) < 400


shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
any_arrays = arrays(array_dtypes() | scalar_dtypes(), shapes)


@given(
    X=any_arrays,
    y=any_arrays,
    names=st.one_of(st.lists(st.text(max_size=3)), st.integers(), any_arrays),
    shape=st.none() | st.lists(st.integers(), max_size=4) | any_arrays,
)
def test_anything_is_a_data_set_or_bad_input(X, y, names, shape):
    bad_input_is_one_line(lambda: Dataset(X, y, names, shape))
    for change in ({"X": X}, {"y": y}, {"class_names": names}, {"image_shape": shape}):
        known = {"X": globals()["X"], "y": Y, "class_names": NAMES}
        bad_input_is_one_line(lambda known=known, change=change: Dataset(**known | change))


@given(
    found=st.dictionaries(
        st.sampled_from(["X_train", "x_train", "y_train", "X_val", "y_val", "image_shape",
                         "class_names"]) | st.text(max_size=5),
        any_arrays,
    )
)  # fmt: skip
def test_any_arrays_are_a_split_or_bad_input(found, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "any.npz"
    np.savez(path)
    with pytest.MonkeyPatch.context() as patch:
        for known in ({}, {"X_train": X, "y_train": Y, "class_names": NAMES}):
            arrays_of_file = {**known, **found}
            patch.setattr(
                npz_file,
                "read",
                lambda _, is_wanted, named=arrays_of_file: {
                    n: named[n] for n in named if is_wanted(n)
                },
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DataWarning)
                bad_input_is_one_line(lambda: load_split(path), str(path))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@given(data=st.data())
def test_the_first_value_that_is_not_finite_is_named(value, data):
    n, d = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    rows = data.draw(st.sampled_from([np.float32, np.float64]))(np.ones((n, d)))
    row, column = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, d - 1))
    rows[row, column:] = value
    rows[row + 1 :] = value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "_BLOCK_VALUES", data.draw(st.integers(1, 30)))
        for layout in (rows, np.asfortranarray(rows)):
            with pytest.raises(InputError, match=rf"value {value} in row {row}, column {column};"):
                Dataset(layout, np.zeros(n, int), NAMES)


def test_values_are_checked_without_a_copy_of_them():
    rows = np.zeros((2000, 1000))  # 16 MB
    tracemalloc.start()
    Dataset(rows, np.zeros(2000, int), NAMES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300_000


def test_a_value_that_float32_cannot_hold_is_named_with_the_way_out():
    good = Dataset(X.astype(float), Y, NAMES)
    bad = Dataset(spoiled(X.astype(float), (5, 1), -1e39), Y, NAMES)
    largest = Dataset(spoiled(X.astype(float), (5, 1), float(np.finfo("f4").max)), Y, NAMES)
    check_fits(Split("x", good, largest), np.float32)
    said = r"X has the value -1e\+39 in row 5, column 1; float32 holds numbers up to 3.4e\+38: "
    for split, part in (
        (Split("x", bad), "train"),
        (Split("x", good, bad), "val"),
        (Split("x", good, good, bad), "test"),
    ):
        check_fits(split, "float64")
        with pytest.raises(InputError, match=f"x, {part}: {said}compute with dtype float64"):
            check_fits(split, "float32")


def test_equal_content_has_equal_fingerprints_and_any_change_shows():
    data = Dataset(X, Y, ("a", "b", "c"))
    first = Split("x", data).fingerprint()
    assert Split("y", Dataset(X.copy(), Y.copy(), ("a", "b", "c"))).fingerprint() == first
    others = [
        Dataset(spoiled(X, (3, 3), X[3, 3] + 1e-6), Y, ("a", "b", "c")),
        Dataset(X, Y[::-1].copy(), ("a", "b", "c")),
        Dataset(X, Y, ("a", "b", "d")),
        Dataset(X, Y, ("a", "b", "c", "d")),
        Dataset(X, Y, ("b", "a", "c")),
        Dataset(X, Y, ("a", "b", "c"), (3, 2, 2)),
        Dataset(X, Y, ("a", "b", "c"), (3, 4, 1)),
        Dataset(X.view(np.uint8), Y, ("a", "b", "c")),
        Dataset(X.reshape(3, 24), Y[:3], ("a", "b", "c")),
    ]
    found = {Split("x", other).fingerprint() for other in others}
    assert len(found | {first, Split("x", data, data).fingerprint()}) == len(others) + 2


def test_parts_that_differ_say_so_in_one_line():
    names = tuple(map(str, range(1000)))
    train = Dataset(X, Y, names)
    for other, said in (
        (Dataset(X, Y, names[:-1]), r"test rows have classes \('0', .*….*\), training rows"),
        (Dataset(X, Y, names, (3, 2, 2)), r"image shape \(3, 2, 2\), training rows have None"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            Split("x", train, train, other)
        assert len(str(caught.value)) < 200
