import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlin import runs
from fastlin.config import TrainConfig
from fastlin.errors import InputError
from fastlin.results import EpochRecord, History, LinearModel


def model(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((3, 12)).astype(dtype)
    return LinearModel(W, W[:, 0].copy(), ("a", "b", "ç ü"), (3, 2, 2))


def history():
    return History.from_records(
        [
            EpochRecord(1, 0.1, 1 / 3, 0.5, 2.5, 0.4),
            EpochRecord(2, 0.1 * 0.9, 0.1 + 0.2, 0.6, np.nan, np.nan),
        ]
    )


@pytest.fixture
def folder(tmp_path):
    runs.save_config(tmp_path, runs.DataReference("cifar10-mini"), TrainConfig(lr=0.3))
    runs.save_history(tmp_path, history())
    runs.save_models(tmp_path, model(0), model(1))
    return tmp_path


def test_a_run_comes_back_exactly(folder):
    run = runs.load_run(folder)
    assert run.data == runs.DataReference("cifar10-mini")
    assert run.config == TrainConfig(lr=0.3)
    assert repr(run.history.records()) == repr(history().records())
    for found, expected in ((run.model, model(0)), (run.best_model, model(1))):
        assert found.W.tobytes() == expected.W.tobytes()
        assert found.b.tobytes() == expected.b.tobytes()
        assert found.class_names == expected.class_names
        assert found.image_shape == (3, 2, 2)


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.builds(EpochRecord, st.integers(1, 10**6), *([finite] * 5)), max_size=5))
def test_any_history_comes_back_exactly(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("run")
    runs.save_history(folder, History.from_records(records))
    assert runs._load_history(folder / "history.csv").records() == records


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "garbage": lambda path: path.write_bytes(b"\x80\x04garbage\x00\xff" * 9),
}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (name, damage)
        for name in ("config.json", "history.csv", "model.npz")
        for damage in DAMAGES
        if (name, damage) != ("history.csv", "truncated")  # a shorter number is still a number
    ],
)
def test_a_damaged_file_gives_one_line_that_names_it(folder, name, damage):
    DAMAGES[damage](folder / name)
    with pytest.raises(InputError) as caught:
        runs.load_run(folder)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("flip", range(30, 1500, 97))
def test_a_flipped_byte_in_the_weights_never_goes_unnoticed(folder, flip):
    path = folder / "model.npz"
    content = bytearray(path.read_bytes())
    content[flip % len(content)] ^= 0xFF
    path.write_bytes(content)
    try:
        run = runs.load_run(folder)
    except InputError as error:
        assert "\n" not in str(error)
    else:  # a byte that zip does not use: the arrays must be the very same
        assert run.model.W.tobytes() == model(0).W.tobytes()
        assert run.best_model.b.tobytes() == model(1).b.tobytes()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"W": np.zeros(3)}, "must be float32 or float64"),
        ({"W": np.zeros((3, 12), np.int32)}, "must be float32 or float64"),
        ({"b": np.zeros(4, np.float32)}, "do not fit W"),
        ({"W": np.full((3, 12), np.nan, np.float32)}, "NaN"),
        ({"class_names": np.array(["a"])}, "do not fit W"),
        ({"image_shape": np.array([3, 4, 4])}, "does not fit"),
        ({"image_shape": np.array(7)}, "damaged"),
    ],
)
def test_weights_that_make_no_model_are_refused(folder, arrays, message):
    good = dict(np.load(folder / "model.npz"))
    np.savez(folder / "model.npz", **{**good, **arrays})
    with pytest.raises(InputError, match=message):
        runs.load_run(folder)


def test_weights_are_never_unpickled(folder, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    good = dict(np.load(folder / "model.npz"))
    bomb = np.array([Bomb()], dtype=object)
    np.savez(folder / "model.npz", **{**good, "W": bomb}, allow_pickle=True)
    (tmp_path / "executed").unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"model\.npz"):
        runs.load_run(folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"data": {"data": "x"}}',
        '{"data": {"data": 3}, "train": {}}',
        '{"data": {"data": "x", "where": "y"}, "train": {}}',
        '{"data": [], "train": {}}',
        '{"data": {"data": "x"}, "train": {"lr": -1}}',
        '{"data": {"data": "x"}, "train": []}',
        "[" * 100_000,
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"config\.json") as caught:
        runs.load_config(path)
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), runs.atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line(tmp_path):
    with (
        pytest.raises(InputError, match=r"cannot write .*: No space left"),
        runs.atomic_write(tmp_path / "f"),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_new_folders_are_numbered_and_full_ones_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(runs.create_run_folder(None, "x")) == "runs/x-1"
    assert str(runs.create_run_folder(None, "x")) == "runs/x-2"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "history.csv").touch()
    with pytest.raises(InputError, match="is not empty"):
        runs.create_run_folder(tmp_path / "full", "x")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        runs.create_run_folder(tmp_path / "file" / "below", "x")


def test_summary_is_strict_json(tmp_path):
    runs.save_summary(tmp_path, {"a": 1})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"a": 1}
    with pytest.raises(ValueError, match="JSON"):
        runs.save_summary(tmp_path, {"a": float("nan")})
