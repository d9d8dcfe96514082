import gzip
import os
import pickle
import tarfile
import time

import numpy as np
import pytest
from cifar_files import (
    ROWS,
    Call,
    archive,
    batches,
    damage,
    same_split,
    write_binary,
    write_python,
)

from fastlin.data import load_split
from fastlin.data.formats import cifar, cifar100, kaggle, tar_archive
from fastlin.errors import InputError

pytestmark = pytest.mark.usefixtures("small_cifar")


def refused(path, message):
    """Loading fails in one line, which is returned."""
    with pytest.raises(InputError, match=message) as caught:
        load_split(path)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_every_distribution_gives_the_same_split(tmp_path):
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
        assert same_split(load_split(source), split)


@pytest.mark.parametrize("protocol", range(6))
def test_python_batches_are_read_at_every_protocol(tmp_path, protocol):
    split = load_split(write_python(tmp_path / "py", protocol))
    assert same_split(split, load_split(write_binary(tmp_path / "bin")))


def test_the_full_split_is_stratified_keeps_every_row_and_is_the_same_each_time(tmp_path):
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
    assert same_split(load_split(folder, "full"), split)


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
def test_a_damaged_binary_batch_is_named(tmp_path, change, message):
    folder = write_binary(tmp_path / cifar.BINARY_FOLDER)
    damage(folder / "data_batch_2.bin", change)
    for source in (folder, archive(folder, tmp_path / "a.tar.gz")):
        refused(source, message.replace(".bin", r"\.bin.*"))


def test_a_missing_batch_is_named(tmp_path):
    folder = write_binary(tmp_path / cifar.BINARY_FOLDER)
    (folder / "test_batch.bin").unlink()
    for source in (folder, archive(folder, tmp_path / "a.tar.gz")):
        refused(source, "has no test_batch")


def test_a_batch_that_is_no_file_is_refused_without_waiting_for_it(tmp_path):
    folder = write_binary(tmp_path / cifar.BINARY_FOLDER)
    path = folder / "data_batch_2.bin"
    path.unlink()
    os.mkfifo(path)
    refused(folder, r"data_batch_2\.bin is not a file")
    path.unlink()
    path.mkdir()
    refused(folder, r"data_batch_2\.bin is not a file")
    path.rmdir()
    path.symlink_to("nowhere")
    refused(folder, r"cannot read .*data_batch_2\.bin: No such file")


def test_names_of_any_kind_are_one_line(tmp_path):
    folder = write_binary(tmp_path / "a\nb")
    (folder / "test_batch.bin").unlink()
    refused(folder, r"a\\nb' has no test_batch")
    assert cifar.find(tmp_path / ("x" * 300)) is None


def test_an_unknown_split_names_those_there_are(tmp_path):
    with pytest.raises(InputError, match="no split 'half'; its splits are assignment, full"):
        load_split(write_binary(tmp_path / "bin"), "half")


# --- archives -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:1000],
        lambda content: content[:-10],
        lambda _: b"",
        lambda _: b"no gzip" * 99,
        lambda _: gzip.compress(b"no tar" * 999),
        lambda content: content[:-8] + bytes(8),  # the checksum, which comes last
    ],
)
def test_a_damaged_archive_is_one_line(tmp_path, change):
    path = archive(write_binary(tmp_path / cifar.BINARY_FOLDER), tmp_path / "a.tar.gz")
    damage(path, change)
    refused(path, r"a\.tar\.gz")


def member(name, content=b"", kind=tarfile.REGTYPE, size=None):
    """A header of a tar archive, and content."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def make_archive(tmp_path, *members):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(b"".join(members) + bytes(1024), 1))
    return path


def batch(rows=ROWS):
    return bytes(rows * 3073)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("depth", [1, 30])
def test_archives_of_every_format_are_read_with_names_of_any_length(tmp_path, form, depth):
    folder = write_binary(tmp_path / "bin")
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz", format=form) as file:
        file.add(folder, "folder/" * depth + "näme" * (form != tarfile.USTAR_FORMAT))
    assert same_split(load_split(path), load_split(folder))


def test_an_archive_with_other_members_is_read(tmp_path):
    path = make_archive(
        tmp_path,
        member("folder", kind=tarfile.DIRTYPE),
        member("data_batch_1.txt", b"x" * 700),
        member("link", kind=tarfile.SYMTYPE),
        member("pax_global_header", b"30 comment=abcdefghijklmnopqr\n", tarfile.XGLTYPE),
        *(member(f"{name}.bin", batch()) for name in (*cifar.TRAIN_BATCHES[:2], "test_batch")),
    )
    assert len(load_split(path).train) == ROWS


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
def test_a_member_that_is_no_plain_file_is_refused(tmp_path, kind):
    path = make_archive(tmp_path, member("data_batch_1.bin", kind=kind))
    refused(path, r"data_batch_1\.bin in .* is a link or something else")


def test_a_batch_that_is_there_twice_is_refused(tmp_path):
    twice = [member("a/data_batch_1.bin", batch()), member("b/data_batch_1.bin", batch())]
    refused(make_archive(tmp_path, *twice), "the second data_batch_1 there")


def test_names_in_archives_are_quoted(tmp_path):
    path = make_archive(tmp_path, member("x\n\x1b[2J/data_batch_1.bin", batch(1)))
    message = refused(path, r"data_batch_1\.bin' in .* ends after 3,073 bytes")
    assert r"'x\n\x1b[2J/data" in message
    path = make_archive(tmp_path, member("x" * 50_000 + "/data_batch_1.bin", batch(1)))
    assert len(refused(path, "ends after")) < 400


@pytest.mark.parametrize("size", [2**33, 2**62, -5])
def test_a_member_of_an_impossible_size_is_refused(tmp_path, size):
    name = "data_batch_1.bin"
    refused(make_archive(tmp_path, member(name, size=size)), "cut short|goes on|below 0")
    refused(make_archive(tmp_path, member("other", size=size)), "cut short|more than|below 0")
    long_name = member("@LongLink", size=size, kind=tarfile.GNUTYPE_LONGNAME)
    refused(make_archive(tmp_path, long_name), "header of|below 0")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_is_no_name_is_not_read(tmp_path, kind):
    # tarfile reads such headers whole, and takes them apart with regular expressions.
    refused(make_archive(tmp_path, member("@", bytes(100_000), kind)), "header of 100,000 bytes")


def test_a_sparse_member_whose_map_has_no_end_takes_no_time(tmp_path):
    # tarfile looks for the end of such a map for ever.
    records = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
    path = make_archive(
        tmp_path, member("@", records, tarfile.XHDTYPE), member("data_batch_1.bin", b"7" * 512)
    )
    start = time.perf_counter()
    refused(path, "ends after 512 bytes")
    assert time.perf_counter() - start < 5


def test_an_archive_is_not_unpacked_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_archive, "_LARGEST_ARCHIVE", 20_000_000)
    bomb = bytes(30_000_000)
    refused(make_archive(tmp_path, member("bomb", bomb)), "more than 20,000,000 bytes when it is")
    wanted = [member(f"{n}.bin", batch()) for n in ("data_batch_1", "data_batch_2", "test_batch")]
    refused(make_archive(tmp_path, *wanted, bytes(1024), bomb), "more than 20,000,000 bytes")
    refused(make_archive(tmp_path, member("empty") * 20_000), "more than 10,000 members")


# --- pickles --------------------------------------------------------------------------------


def pickled(**changes):
    _, X, y = next(batches())
    content = {"data": X, "labels": y.tolist(), **changes}
    return {name.encode(): value for name, value in content.items() if value is not None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list; it must hold a dict"),
        (pickled(data=None), "must hold 'data'"),
        (pickled(data=np.zeros((ROWS, 3072), np.int64)), "must hold 'data'"),
        (pickled(data=np.zeros((ROWS, 3071), np.uint8)), "must hold 'data'"),
        (pickled(data=np.zeros(9, object)), "it holds an array of objects"),
        (pickled(labels=None), "must hold 'labels'"),
        (pickled(labels=[0] * (ROWS - 1)), "must hold 'labels'"),
        (pickled(labels=[0.5] * ROWS), "must hold 'labels'"),
        (pickled(labels=[-1] * ROWS), "image 0 has label -1"),
        (pickled(labels=[0, 10**30] * (ROWS // 2)), "image 1 has label of more than 63 bits"),
        (pickled(labels=[-1, 2**63] * (ROWS // 2)), "image 0 has label -1"),
        (pickled(labels={1, 2}), r"asks for '__builtin__\.set'"),
    ],
)
def test_a_pickle_that_is_no_batch_is_refused(tmp_path, content, message):
    folder = write_python(tmp_path / "py")
    (folder / "data_batch_1").write_bytes(pickle.dumps(content, protocol=2))
    assert "data_batch_1" in refused(folder, message)


def test_a_malicious_pickle_runs_nothing(tmp_path):
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
        refused(folder, "data_batch_1")
        assert not trace.exists()


def test_a_pickle_too_large_to_be_a_batch_is_not_read(tmp_path, monkeypatch):
    folder = write_python(tmp_path / "py")
    monkeypatch.setattr(cifar, "_LARGEST_PICKLE", 1000)
    refused(folder, "more than 1,000 bytes")
    refused(archive(folder, tmp_path / "a.tgz"), "more than 1,000 bytes")


# --- where others leave it --------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        "cifar-10-batches-py-target/cifar-10-batches-py",  # Keras
        "data/cifar-10-batches-py",  # torchvision, from a level above
        "my copy",
    ],
)
def test_it_is_found_where_others_unpack_it(tmp_path, where):
    split = load_split(write_python(tmp_path / "place" / where))
    assert same_split(load_split(tmp_path / "place"), split)


def test_it_is_not_found_where_it_is_being_unpacked(tmp_path):
    write_binary(tmp_path / ".unpacking-1" / cifar.BINARY_FOLDER)
    assert cifar.find(tmp_path) is None


def test_an_archive_that_is_not_compressed_is_read(tmp_path):
    folder = write_binary(tmp_path / "b" / cifar.BINARY_FOLDER)
    with tarfile.open(tmp_path / "cifar-10-binary.tar", "w") as file:
        file.add(folder, folder.name)
    split = load_split(folder)
    assert same_split(load_split(tmp_path / "cifar-10-binary.tar"), split)


def hundred(monkeypatch, folder):
    """Write CIFAR-100 in small, in both distributions; return images and fine labels by file."""
    monkeypatch.setattr(cifar100, "ROWS", {"train": 400, "test": 100})
    monkeypatch.setattr(cifar100, "_VALIDATION_ROWS", 100)
    rng = np.random.default_rng(0)
    written = {}
    for place in ("cifar-100-binary", "cifar-100-python"):
        (folder / place).mkdir(parents=True)
    for name, count in cifar100.ROWS.items():
        X = rng.integers(0, 256, (count, 3072), np.uint8)
        y = rng.permutation(np.arange(count) % 100)
        written[name] = X, y
        records = np.hstack([(y[:, None] // 5).astype(np.uint8), y[:, None].astype(np.uint8), X])
        (folder / "cifar-100-binary" / f"{name}.bin").write_bytes(records.tobytes())
        content = {b"data": X, b"fine_labels": y.tolist(), b"coarse_labels": (y // 5).tolist()}
        (folder / "cifar-100-python" / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "cifar-100-python" / "meta").write_bytes(pickle.dumps({}, protocol=2))
    return written


def test_the_hundred_fine_classes_are_read_in_both_distributions(tmp_path, monkeypatch):
    written = hundred(monkeypatch, tmp_path)
    splits = [load_split(tmp_path / f"cifar-100-{kind}") for kind in ("binary", "python")]
    splits.append(load_split("cifar100", data_dir=tmp_path))
    folder = tmp_path / "cifar-100-python"
    splits.append(load_split(archive(folder, tmp_path / "cifar-100-python.tar.gz")))
    for split in splits:
        assert same_split(split, splits[0])
    split = splits[0]
    assert (len(split.train), len(split.val), len(split.test)) == (300, 100, 100)
    assert np.array_equal(np.bincount(split.val.y), np.ones(100))
    assert np.array_equal(split.test.X, written["test"][0])
    assert np.array_equal(split.test.y, written["test"][1])
    names = split.train.class_names
    assert (len(set(names)), names[0], names[41], names[99]) == (100, "apple", "lawn_mower", "worm")
    assert list(names) == sorted(names)
    damage(
        tmp_path / "cifar-100-binary" / "test.bin",
        lambda content: content[:1] + b"\xff" + content[2:],
    )
    refused(tmp_path / "cifar-100-binary", "image 0 has label 255; labels are 0 to 99")
    with pytest.raises(InputError, match=r"no CIFAR-100 in .*\(data_dir\); download http"):
        load_split("cifar100", data_dir=tmp_path / "cifar-10")


def test_images_and_labels_as_kaggle_gives_them_are_read(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(kaggle, "_VALIDATION_ROWS", 10)
    (tmp_path / "train").mkdir()
    X = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    lines = ["id,label"]
    for row, pixels in enumerate(X):
        Image.fromarray(pixels).save(tmp_path / "train" / f"{row + 1}.png")
        lines.append(f"{row + 1},{cifar.CLASS_NAMES[row % 10]}")
    (tmp_path / "trainLabels.csv").write_text("\n".join(lines) + "\n")
    split = load_split(tmp_path)
    assert (len(split.train), len(split.val), split.test) == (30, 10, None)
    expected = {row.tobytes(): number % 10 for number, row in
                enumerate(X.transpose(0, 3, 1, 2).reshape(40, -1))}  # fmt: skip
    for part in split.parts().values():
        assert [expected[row.tobytes()] for row in part.X] == part.y.tolist()
    with pytest.raises(InputError, match="it has no split 'assignment'"):
        load_split(tmp_path, "assignment")
    damage(tmp_path / "trainLabels.csv", lambda content: content.replace(b"frog", b"toad"))
    refused(tmp_path, "image '7' has label 'toad'")
