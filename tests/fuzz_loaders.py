"""What in fastlin reads files, and intact samples of those: what `fuzz` works on."""

import io
import json
import pickle
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import mutations
import numpy as np
from cifar_files import archive

from fastlin import runs
from fastlin.config import TrainConfig
from fastlin.data import Split, load_split
from fastlin.data.checks import check_values
from fastlin.data.formats import cifar
from fastlin.data.formats.safe_pickle import load_dict
from fastlin.data.rows import Rows, load_rows
from fastlin.errors import DataWarning, InputError
from fastlin.files import read_json
from fastlin.history import EpochRecord, History
from fastlin.model import LinearModel
from fastlin.report import folders, results
from fastlin.report.page import Column, Page, Picture, Row, Section, Table
from fastlin.search import request
from fastlin.search.halving import Plan
from fastlin.search.journal import Journal, Weights
from fastlin.search.ranking import GridEntry, GridResult, Rule, save_table
from fastlin.search.reading import read_grid_file
from fastlin.search.running import RunningSearch
from fastlin.search.spec import GridSpec, LogRange
from fastlin.search.state import SearchState

# Fields and keys whose numbers may be NaN: there are no validation rows, or no finished epoch.
MAY_BE_NAN = {"val_cost", "val_accuracy", "score"}

Compare = Callable[[Any, Sequence[Any]], bool]


@dataclass(frozen=True)
class Loader:
    """A reader of files.

    Attributes
    ----------
    name : str
        For people.
    file : str
        The file that it reads, in a folder.
    samples : tuple[bytes, ...]
        Intact contents of the file.
    mutate : mutations.Mutator
        Makes other contents of them.
    load : Callable[[Path], Any]
        Reads the file, and returns what can be compared. Raises InputError, or AssertionError for
        what contradicts itself.
    companions : dict[str, bytes]
        Other files of the folder, which stay intact.
    compare : Compare or None
        Whether what was read of changed bytes is right, given what is read of the samples; None
        where a format has no checksums.
    """

    name: str
    file: str
    samples: tuple[bytes, ...]
    mutate: mutations.Mutator
    load: Callable[[Path], Any]
    companions: dict[str, bytes] = field(default_factory=dict)
    compare: Compare | None = None


def _is_a_sample(found: Any, expected: Sequence[Any]) -> bool:
    return found in expected


def _written(write: Callable[[Path], Any]) -> dict[str, bytes]:
    """Return the files that a function writes to a folder, by name."""
    with tempfile.TemporaryDirectory() as place:
        write(Path(place))
        paths = [path for path in sorted(Path(place).rglob("*")) if path.is_file()]
        return {str(path.relative_to(place)): path.read_bytes() for path in paths}


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


# --- data -----------------------------------------------------------------------------------


def _load_split(path: Path, **named: Any) -> Split:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        split = load_split(path, **named)
    for part in split.parts().values():
        _check_rows(part.X, part.y, len(part.class_names))
        assert all(type(name) is str for name in part.class_names), "a class name that is no text"
        if part.image_shape is not None:
            assert all(size > 0 for size in part.image_shape), "an image shape of no size"
    return split


def _check_rows(X: Any, y: Any, classes: int) -> None:
    assert X.ndim == 2, "rows that are no table"
    assert X.shape[0] == len(y) > 0, "not a label for every row"
    assert X.shape[1] > 0, "rows without features"
    assert X.dtype.kind in "uf", "rows of another dtype"
    assert y.dtype == np.int64, "labels of another dtype"
    assert y.min() >= 0, "a label below 0"
    assert y.max() < classes, "a label without a class"


def _data_npz() -> Loader:
    rng = np.random.default_rng(0)
    X, y = rng.random((6, 12), np.float32), np.array([0, 1, 2, 0, 1, 2])
    pixels = rng.integers(0, 256, (5, 2, 2, 3), np.uint8)
    return Loader(
        "data.npz",
        "data.npz",
        (
            _npz(X_train=X, y_train=y, X_val=X[:3], y_val=y[:3], image_shape=np.array([3, 2, 2]),
                 class_names=np.array(["owl", "cat", "däg"])),
            _npz(X_train=pixels, y_train=y[:5], X_test=pixels[:2], y_test=y[:2]),
            _npz(x_train=X.astype(np.float64), y_train=y.astype(np.uint8)),
            _npz(X=X, y=np.array(["owl", "cat", "däg"], object)[y]),
        ),
        mutations.mutate_npz,
        _load_split,
        compare=_is_a_sample,
    )  # fmt: skip


_X = np.random.default_rng(0).random((6, 12), np.float32)
_Y = np.array([0, 1, 2, 0, 1, 2])


def _npy(array: Any) -> bytes:
    """Return the content of a .npy file."""
    np.save(buffer := io.BytesIO(), array)
    return buffer.getvalue()


def _data_npy() -> Loader:
    arrays = (_X, _X.astype("<f2"), np.asfortranarray(_X), (_X * 100).astype(">i2"))
    return Loader(
        "data.npy",
        "X.npy",
        tuple(map(_npy, arrays)),
        mutations.mutate_bytes,
        lambda path: _load_split(path, labels=path.with_name("y.npy")),
        {"y.npy": _npy(_Y)},
    )


def _labels_npy() -> Loader:
    arrays = (_Y, np.array(["owl", "cat", "däg"])[_Y], np.eye(3)[_Y], _Y.astype("S1"))
    return Loader(
        "labels.npy",
        "y.npy",
        tuple(map(_npy, arrays)),
        mutations.mutate_bytes,
        lambda path: _load_split(path.with_name("X.npy"), labels=path),
        {"X.npy": _npy(_X)},
    )


def _tables() -> list[Any]:
    import pyarrow as pa

    lists = pa.FixedSizeListArray.from_arrays(pa.array(_X.ravel()), 12)
    texts = pa.array(["owl", "cat", "däg"]).take(pa.array(_Y))
    columns = {f"f{place}": _X[:, place] for place in range(4)}
    return [
        pa.table({"embedding": lists, "label": texts, "url": ["u"] * 6}),
        pa.table({**columns, "id": np.arange(6), "label": texts.dictionary_encode()}),
        pa.table({"x": pa.array(_X.tolist()), "flag": [True, False] * 3, "y": _Y}),
    ]


def _parquet() -> Loader:
    from pyarrow import parquet

    def write(folder: Path) -> None:
        for number, table in enumerate(_tables()):
            parquet.write_table(table, folder / f"{number}")
            parquet.write_table(table, folder / f"{number}-plain", compression="none")

    return Loader(
        "data.parquet",
        "a.parquet",
        tuple(_written(write).values()),
        mutations.mutate_bytes,
        _load_split,
    )


def _feather() -> Loader:
    import pyarrow as pa
    from pyarrow import feather

    def write(folder: Path) -> None:
        for number, table in enumerate(_tables()):
            feather.write_feather(table, str(folder / f"{number}"), "lz4")
            feather.write_feather(table, str(folder / f"{number}-plain"), "uncompressed")
            stream = folder / f"{number}-stream"
            with stream.open("wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table)

    return Loader(
        "data.feather",
        "a.feather",
        tuple(_written(write).values()),
        mutations.mutate_bytes,
        _load_split,
    )


def _csv_samples() -> tuple[bytes, ...]:
    rows = [
        ",".join(map(repr, row[:4].tolist())) + f",{'abc'[y]}"
        for row, y in zip(_X, _Y, strict=True)
    ]
    plain = "\n".join(rows) + "\n"
    return (
        ("f0,f1,f2,f3,label\n" + plain).encode(),
        (
            "\ufeff" + "id;a;b;y\r\n" + "".join(f"{i};{i}.5;1e3;{y}\r\n" for i, y in enumerate(_Y))
        ).encode(),
        b"a\tlabel\n1\ttrue\n2\tfalse\n3\t\n",
    )


def _csv_of_data() -> Loader:
    return Loader(
        "data.csv",
        "a.csv",
        _csv_samples()[:2],
        mutations.mutate_csv,
        _load_split,
    )


def _csv_without_pyarrow() -> Loader:
    def load(path: Path) -> Split:
        with mock.patch.dict("sys.modules", {"pyarrow": None}):
            return _load_split(path)

    return Loader("plain data.csv", "a.csv", _csv_samples()[:2], mutations.mutate_csv, load)


_JUDGED = "".join(
    f'r{i},{",".join(map(repr, row[:4].tolist()))},"so, {i}",{y}\n'
    for i, (row, y) in enumerate(zip(_X, _Y, strict=True))
)


def _rows_csv() -> Loader:
    """Rows to be predicted, of which a model knows the features by name."""
    names = ("f1", "f3")

    def load(path: Path) -> Rows:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            rows = load_rows(path, features=names, ids=":id")
        matched = rows.with_features(names)
        block = matched.block(0, len(matched))
        check_values("X", block)  # as those do that take rows, block by block
        assert block.shape[0] == len(matched.ids), "not an id for every row"
        assert matched.feature_names is None or block.shape[1] == 2, "other features"
        return rows

    samples = [
        f"{heads}\n{_JUDGED}".encode() for heads in ("id,f0,f1,f2,f3,x,y", "id,f3,f2,f1,a,b,c")
    ]
    return Loader("rows.csv", "a.csv", tuple(samples), mutations.mutate_csv, load)


def _ids_csv() -> Loader:
    def load(path: Path) -> Rows:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            return load_rows(path.with_name("X.npy"), ids=path)

    samples = ("id,label\n" + "".join(f"00{i},a\n" for i in range(6)), "n\n" + "7\n" * 6)
    return Loader(
        "ids.csv",
        "ids.csv",
        tuple(sample.encode() for sample in samples),
        mutations.mutate_csv,
        load,
        {"X.npy": _npy(_X)},
    )


def _safetensors() -> Loader:
    from safetensors.numpy import save

    return Loader(
        "data.safetensors",
        "a.safetensors",
        (save({"X": _X, "y": _Y}), save({"X_train": _X.astype("f2"), "y_train": _Y, "z": _X})),
        mutations.mutate_bytes,
        _load_split,
    )


def _hdf5() -> Loader:
    import h5py

    def write(folder: Path) -> None:
        for number, more in enumerate(({}, {"compression": "gzip", "chunks": (2, 12)})):
            with h5py.File(folder / f"{number}", "w") as file:
                file.create_dataset("train/X", data=_X, **more)
                file["train/y"] = np.array(["owl", "cat", "däg"], object)[_Y]

    return Loader(
        "data.h5", "a.h5", tuple(_written(write).values()), mutations.mutate_bytes, _load_split
    )


def _pytorch() -> Loader:
    import torch

    def write(folder: Path) -> None:
        tensors = {"X": torch.from_numpy(_X), "y": torch.from_numpy(_Y)}
        torch.save(tensors, folder / "0")
        torch.save(tuple(tensors.values()), folder / "1", _use_new_zipfile_serialization=False)

    return Loader(
        "data.pt", "a.pt", tuple(_written(write).values()), mutations.mutate_bytes, _load_split
    )


def _images() -> Loader:
    from PIL import Image

    samples = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"):
        pixels = (_X[:4].reshape(4, 4, 3) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(buffer := io.BytesIO(), kind)
        samples.append(buffer.getvalue())
    return Loader(
        "images",
        "img/cat/1.png",
        tuple(samples),
        mutations.mutate_bytes,
        lambda path: _load_split(path.parents[1]),
        {"img/dog/1.png": samples[0]},
    )


# --- CIFAR-10, with batches of three images -------------------------------------------------

_ROWS = 3


def _load_cifar(path: Path) -> Split:
    with mock.patch.object(cifar, "BATCH_ROWS", _ROWS):
        split = cifar.load(path)
    for part in split.parts().values():
        assert part.X.shape == (_ROWS, cifar.PIXELS), "another number of images"
        _check_rows(part.X, part.y, 10)
    return split


def _cifar_batches() -> dict[str, tuple[np.ndarray, list[int]]]:
    rng = np.random.default_rng(1)
    return {
        name: (rng.integers(0, 256, (_ROWS, cifar.PIXELS), np.uint8), rng.integers(0, 10, _ROWS))
        for name in ("data_batch_1", "data_batch_2", "test_batch")
    }


def _binary() -> dict[str, bytes]:
    return {
        f"{name}.bin": np.hstack([y[:, None].astype(np.uint8), X]).tobytes()
        for name, (X, y) in _cifar_batches().items()
    }


def _pickled(protocol: int) -> dict[str, bytes]:
    return {
        name: pickle.dumps({b"data": X, b"labels": y.tolist(), b"filenames": [b"a.png"]}, protocol)
        for name, (X, y) in _cifar_batches().items()
    }


def _cifar_binary() -> Loader:
    return Loader(
        "cifar.bin",
        "data_batch_1.bin",
        (_binary()["data_batch_1.bin"],),
        mutations.mutate_bytes,
        lambda path: _load_cifar(path.parent),
        _binary(),
    )


def _cifar_python() -> Loader:
    return Loader(
        "cifar.pickle",
        "data_batch_1",
        tuple(_pickled(protocol)["data_batch_1"] for protocol in range(6)),
        mutations.mutate_pickle,
        lambda path: _load_cifar(path.parent),
        _pickled(2),
    )


def _any_pickle() -> Loader:
    value = {
        "labels": [1, 2, -3, 10**20],
        b"data": np.arange(6, dtype=">i2").reshape(2, 3),
        "F": [np.asfortranarray(np.arange(6).reshape(2, 3)), {1: ({"a": b"b"},)}],
        "name": ("text€", b"\xff\n'\"\\", True, None, 0.5),
    }
    return Loader(
        "pickle",
        "pickle",
        tuple(pickle.dumps(value, protocol) for protocol in range(6)),
        mutations.mutate_pickle,
        lambda path: list(load_dict(path.read_bytes(), str(path))),  # any number is right in it
    )


def _cifar_archive() -> Loader:
    def write(content: dict[str, bytes], folder: Path) -> None:
        (folder / "batches").mkdir()
        for name, batch in content.items():
            (folder / "batches" / name).write_bytes(batch)

    samples = []
    for content in (_binary(), _pickled(2)):
        with tempfile.TemporaryDirectory() as place:
            write(content, Path(place))
            samples.append(archive(Path(place) / "batches", Path(place) / "a.tar.gz").read_bytes())
    return Loader(
        "cifar.tar.gz",
        "cifar.tar.gz",
        tuple(samples),
        mutations.mutate_archive,
        _load_cifar,
        compare=_is_a_sample,
    )


# --- run folders ----------------------------------------------------------------------------


def _run_files(*, with_all: bool) -> dict[str, bytes]:
    rng = np.random.default_rng(2)
    shape, std = ((3, 2, 2), rng.random(12) + 0.5) if with_all else (None, None)
    names = ("owl", "cät", "dog")
    models = [
        LinearModel(rng.normal(size=(3, 12)).astype(np.float32), np.zeros(3, np.float32), names,
                    shape, std)
        for _ in range(2)
    ]  # fmt: skip
    val = (0.9, 0.4) if with_all else (np.nan, np.nan)
    records = [EpochRecord(epoch, 0.02 / epoch, 1 / epoch, 0.5, *val) for epoch in (1, 2, 3)]

    def write(folder: Path) -> None:
        data = runs.DataReference("my.npz", "full" if with_all else None)
        runs.save_config(folder, data, TrainConfig(lr=0.1, epochs=3, momentum=0.9 * with_all))
        runs.save_history(folder, History.from_records(records))
        runs.save_models(folder, *models)

    return _written(write)


def _run_loader(
    name: str, file: str, mutate: mutations.Mutator, load: Callable[[Path], Any], **more: Any
) -> Loader:
    complete, small = (_run_files(with_all=is_complete) for is_complete in (True, False))
    others = {other: content for other, content in complete.items() if other != file}
    return Loader(name, file, (complete[file], small[file]), mutate, load, others, **more)


def _load_models(path: Path) -> list[LinearModel]:
    run = runs.load_run(path.parent)
    for model in (run.model, run.best_model):
        assert model.W.ndim == 2, "weights that are no table"
        sizes = {len(model.W), len(model.b), len(model.class_names)}
        assert len(sizes) == 1, "not a name and a bias for every class"
        assert len(model.W) >= 2, "fewer than two classes"
        assert model.W.shape[1] >= 1, "weights of no features"
        shape = model.image_shape or (1, 1, 1)
        assert len(shape) == 3, "an image shape that is none"
        assert all(size > 0 for size in shape), "an image shape of no size"
    return [run.model, run.best_model]


def _model() -> Loader:
    return _run_loader(
        "model.npz", runs.MODEL, mutations.mutate_npz, _load_models, compare=_is_a_sample
    )


def _load_config(path: Path) -> Any:
    data, config = runs.load_config(path)
    again = TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config, "settings that are not the same when they are read again"
    return [data, config]


def _config() -> Loader:
    return _run_loader("config.json", runs.CONFIG, mutations.mutate_json, _load_config)


def _load_history(path: Path) -> History:
    history = runs.load_run(path.parent).history
    epochs = list(range(1, len(history) + 1))
    assert history.epoch.tolist() == epochs, "epochs that are not 1, 2, ..."
    for accuracy in (history.train_accuracy, history.val_accuracy):
        assert not ((accuracy < 0) | (accuracy > 1)).any(), "an accuracy that is no fraction"
    return history


def _history() -> Loader:
    return _run_loader("history.csv", runs.HISTORY, mutations.mutate_csv, _load_history)


# --- grids ----------------------------------------------------------------------------------

_TOML = (
    b"""
[grid]
lr = [0.01, 0.1]
l2 = "0,1e-4:1e-1:4"
loss = ["softmax", "hinge"]

[train]
epochs = 5
momentum = 0.9
nesterov = true
""",
    b"""
[grid]
lr = "1e-4:1e-1"
seed = [1, 2, "5:9:3"]
batch_size = 64
""",
)


def _load_grid_file(path: Path) -> GridSpec:
    spec = read_grid_file(path)
    _check_grid(spec)
    return spec


def _check_grid(spec: GridSpec) -> None:
    again = GridSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again.to_dict() == spec.to_dict(), "a grid that is not the same when it is read again"
    for values in spec.swept.values():
        assert isinstance(values, LogRange) or len(values) >= 1, "a setting without values"


def _grid_toml() -> Loader:
    return Loader("grid.toml", "grid.toml", _TOML, mutations.mutate_toml, _load_grid_file)


def _load_asked(path: Path) -> Any:
    asked = request.load_request(path.parent)
    _check_grid(asked.grid)
    assert asked.search in ("grid", "random"), "an unknown kind of search"
    for number in (asked.search_seed, 1 if asked.trials is None else asked.trials):
        assert type(number) is int, "a count or seed that is no whole number"
        assert number >= 0, "a count or seed below 0"
    assert asked.halving is None or isinstance(asked.halving, Plan), "halving is no plan"
    return asked


def _grid_json() -> Loader:
    spec = GridSpec({"lr": (0.01, 0.1), "l2": LogRange(1e-4, 1.0), "loss": ("softmax", "hinge")})
    content = request.SearchRequest(runs.DataReference("my.npz"), spec, "random", 5).content()
    return Loader(
        "grid.json",
        request.REQUEST,
        (json.dumps(content).encode(),),
        mutations.mutate_json,
        _load_asked,
    )


def _grid_csv() -> Loader:
    configs = [TrainConfig(lr=lr, l2=0.01, standardize=False, epochs=2) for lr in (0.01, 0.1, 0.5)]
    records = [EpochRecord(epoch, 0.02, 1.0, 0.5, 0.9, 0.4) for epoch in (1, 2)]
    statuses = ("finished", "stopped", "diverged")
    entries = tuple(
        GridEntry(index, config, status, History.from_records(records[: 2 - index]), None,
                  2 - index, 0.4 if index < 2 else np.nan)
        for index, (config, status) in enumerate(zip(configs, statuses, strict=True))
    )  # fmt: skip
    written = _written(
        lambda folder: save_table(folder / "grid.csv", GridResult(entries, 0, Rule(), 1.0))
    )
    return Loader(
        "grid.csv",
        "grid.csv",
        (written["grid.csv"],),
        mutations.mutate_csv,
        lambda path: folders.describe_grid("a", path),
    )


# --- journals -------------------------------------------------------------------------------

_HEADER = {"format": 1, "data": "c41dc1", "grid": [{"lr": 0.1}, {"lr": 0.2}], "rule": "x"}


def _journal_files() -> dict[str, bytes]:
    rng = np.random.default_rng(3)

    def write(folder: Path) -> None:
        journal = Journal.begin(folder / "journal.jsonl", _HEADER)
        record = EpochRecord(1, 0.1, 1.5, 0.5, 1.25, 0.25)
        journal.append([{"entry": index, "epochs": [record]} for index in (0, 1)])
        journal.append(
            [
                {"rung": 1, "kept": [1], "stopped": [0], "alike": [[0, 1]]},
                {"entry": 0, "diverged": 2},
            ]
        )
        arrays = {
            "W": rng.normal(size=(3, 4)).astype(np.float32),
            "b": np.zeros(3, np.float32),
            "best_W": rng.normal(size=(3, 4)),
        }
        journal.save_weights({0: Weights(1, arrays), 1: Weights(2, arrays)})
        _close(journal)

    return _written(write)


def _close(journal: Journal) -> None:
    if hasattr(journal, "close"):
        journal.close()


def _resumed(path: Path) -> Journal:
    journal = Journal.resume(path, _HEADER)
    _close(journal)
    return journal


def _load_events(path: Path) -> list[Any]:
    journal = _resumed(path)
    assert all(isinstance(event, dict) for event in journal.events), "an event that is no dict"
    return journal.events


def _are_lines(found: Any, expected: Sequence[Any]) -> bool:
    """Whether all events are lines of the journal, of which some may be lost or there twice."""
    return all(event in [_HEADER, *expected[0]] for event in found)


def _load_search(path: Path) -> Any:
    """Take over what a journal says of a search of two entries."""
    configs = (TrainConfig(epochs=5), TrainConfig(epochs=5))
    search = SearchState(configs, Rule())
    RunningSearch(mock.Mock(), search, None, None).go_on_with(_resumed(path))
    assert {*search.diverged, *search.stopped} <= {0, 1}, "an entry that is not in the search"
    for rung in search.rungs.values():
        assert {*rung.kept, *rung.stopped} <= {0, 1}, "an entry that is not in the search"
    for records in search.records:
        assert len(records) <= 5, "more epochs than are trained"
        epochs = [record.epoch for record in records]
        assert epochs == list(range(1, len(records) + 1)), "epochs that are not 1, 2, ..."
        numbers = {type(value) for record in records for value in record}
        assert numbers <= {int, float}, "a measure that is no number"
    return [search.records, search.rungs, search.diverged]


def _load_weights(path: Path) -> dict[int, Weights]:
    journal = _resumed(path.with_name("journal.jsonl"))
    weights = journal.load_weights()
    if journal.notes:
        raise InputError(journal.notes[-1])
    assert all(type(index) is int and index >= 0 for index in weights), "no number of an entry"
    epochs = [entry.epoch for entry in weights.values()]
    assert all(type(epoch) is int and epoch >= 1 for epoch in epochs), "no number of an epoch"
    return weights


def _journal_jsonl() -> Loader:
    return Loader(
        "journal.jsonl",
        "journal.jsonl",
        (_journal_files()["journal.jsonl"],),
        mutations.mutate_journal,
        _load_events,
        compare=_are_lines,
    )


def _events() -> Loader:
    return Loader(
        "events",
        "journal.jsonl",
        (_journal_files()["journal.jsonl"],),
        mutations.mutate_journal,
        _load_search,
    )


def _journal_npz() -> Loader:
    written = _journal_files()
    (file,) = (name for name in written if name.endswith(".npz"))
    return Loader(
        "journal.npz",
        file,
        (written[file],),
        mutations.mutate_npz,
        _load_weights,
        {"journal.jsonl": written["journal.jsonl"]},
        compare=_is_a_sample,
    )


# --- reports --------------------------------------------------------------------------------


def _written_page() -> bytes:
    """Return the results.json of a small report."""
    table = Table(
        [Column("run"), Column("accuracy", "percent")],
        [Row(["a", 0.5], "the best", "fastlin train"), Row(["b", None])],
        "Runs.",
    )
    section = Section("runs", "Runs", ["Two of them."], [table], [Picture("cost", "Cost", "", "")])
    page = Page("Two runs", "What they found.", [["runs", "2"]], [section])
    return _written(lambda folder: results.save_results(folder, "runs", page))[results.RESULTS]


def _results() -> Loader:
    return Loader(
        "results.json",
        results.RESULTS,
        (_written_page(),),
        mutations.mutate_json,
        lambda path: results.load_results(path.parent),
    )


def _page() -> Loader:
    """The page without its checksum, which finds almost everything before the page is looked at."""
    page = json.dumps(json.loads(_written_page())["page"])
    return Loader(
        "page.json",
        "page.json",
        (page.encode(),),
        mutations.mutate_json,
        lambda path: results.from_json(Page, read_json(path)),
    )


# Of formats that a package reads, which may be missing.
_OF_PACKAGES = {
    "pyarrow": {"data.parquet": _parquet, "data.feather": _feather, "data.csv": _csv_of_data},
    "safetensors": {"data.safetensors": _safetensors},
    "h5py": {"data.h5": _hdf5},
    "torch": {"data.pt": _pytorch},
}

LOADERS: dict[str, Callable[[], Loader]] = {
    "data.npz": _data_npz,
    "data.npy": _data_npy,
    "labels.npy": _labels_npy,
    "plain data.csv": _csv_without_pyarrow,
    "rows.csv": _rows_csv,
    "ids.csv": _ids_csv,
    "images": _images,
    **{
        name: loader
        for package, loaders in _OF_PACKAGES.items()
        if find_spec(package) is not None
        for name, loader in loaders.items()
    },
    "cifar.bin": _cifar_binary,
    "cifar.pickle": _cifar_python,
    "pickle": _any_pickle,
    "cifar.tar.gz": _cifar_archive,
    "model.npz": _model,
    "config.json": _config,
    "history.csv": _history,
    "grid.toml": _grid_toml,
    "grid.json": _grid_json,
    "grid.csv": _grid_csv,
    "journal.jsonl": _journal_jsonl,
    "events": _events,
    "journal.npz": _journal_npz,
    "results.json": _results,
    "page.json": _page,
}
