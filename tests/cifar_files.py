"""CIFAR-10 in small: what tests write in its binary and its Python distribution."""

import pickle
import tarfile

import numpy as np

from fastlin.data.formats import cifar

ROWS = 200  # of a small batch: 20 of each class


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


def damage(path, change):
    path.write_bytes(change(path.read_bytes()))


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def same_split(split, other):
    return split.fingerprint() == other.fingerprint()
