import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlin import runs
from fastlin.config import TrainConfig
from fastlin.errors import InputError
from fastlin.history import EpochRecord, History
from fastlin.model import LinearModel


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


fraction = st.floats(0, 1)


@given(st.lists(st.tuples(finite, finite, fraction, finite, fraction), max_size=5))
def test_any_history_comes_back_exactly(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("run")
    records = [EpochRecord(epoch, *row) for epoch, row in enumerate(rows, start=1)]
    runs.save_history(folder, History.from_records(records))
    assert runs.load_history(folder / "history.csv", 5).records() == records


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "garbage": lambda path: path.write_bytes(b"\x80\x04garbage\x00\xff" * 9),
}


@pytest.mark.parametrize(
    ("name", "damage"),
    [(name, damage) for name in ("config.json", "history.csv", "model.npz") for damage in DAMAGES],
)
def test_a_damaged_file_gives_one_line_that_names_it(folder, name, damage):
    DAMAGES[damage](folder / name)
    with pytest.raises(InputError) as caught:
        runs.load_run(folder)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "hinge"}, "has loss 'hinge', but model.npz was trained with loss 'softmax'"),
        ({"standardize": True}, "standardize 'True', but model.npz was trained with"),
        ({"dtype": "float64"}, "dtype 'float64', but model.npz was trained with dtype 'float32'"),
    ],
)
def test_files_of_different_runs_in_one_folder_are_refused(folder, settings, said):
    runs.save_models(folder, replace(model(0), loss="softmax"), replace(model(1), loss="softmax"))
    runs.load_run(folder)
    config = TrainConfig(lr=0.3, **settings)
    runs.save_config(folder, runs.DataReference("cifar10-mini"), config)
    with pytest.raises(InputError, match=said):
        runs.load_run(folder)


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
        ({"image_shape": np.array(7)}, r"must be \(channels, height, width\)"),
        ({"image_shape": np.array([-3, -2, 2])}, r"must be \(channels, height, width\)"),
        ({"image_shape": np.array([3.0, 2.0, 2.0])}, r"must be \(channels, height, width\)"),
        ({"feature_names": np.array(["a"] * 12)}, "features 0 and 1 are both called 'a'"),
        ({"feature_names": np.array(["a", "b"])}, "a list of 12 texts"),
        ({"feature_names": np.arange(12)}, "feature_names must be a list of text"),
        ({"feature_std": np.array(["a"] * 12)}, "feature_std has dtype <U1"),
        ({"class_names": np.array([1, 2, 3])}, "class_names must be a list of text"),
        ({"class_names": np.array("abc")}, "class_names must be a list of text"),
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


def changed(place, value):
    """Return the text of a config.json of which one part, or a new one, has another value."""
    content = runs.config_content(runs.DataReference("x"), TrainConfig())
    *above, name = place.split(".")
    inside = content
    for key in above:
        inside = inside[key]
    if value is ...:
        del inside[name]
    else:
        inside[name] = value
    return json.dumps(content)


BAD_CONFIGS = {
    "no dictionary": ("[]", "must hold 'data' and 'train'"),
    "cut short": (changed("format", 1)[:-9], "not valid JSON"),
    "400 digits": (changed("train.lr", 10**400), "'lr'"),
    "5,000 digits": (changed("train.lr", "N").replace('"N"', "9" * 5000), "'lr'"),
    "400 digits of a seed": (changed("train.seed", 10**400), "'seed'"),
    "20 digits of a seed": (changed("train.seed", 10**20), "seed is 1e+20"),
    "infinity": (changed("train.l2", float("inf")), "'l2'"),
    "nested": ("[" * 100_000, "nested too deeply"),
    "twice": (changed("format", 1)[:-1] + ', "format": 1}', "'format' is there twice"),
    "no data": (changed("data", ...), "must hold 'data' and 'train'"),
    "no name of data": (changed("data.data", ...), "must name the data"),
    "no settings": (changed("train", ...), "must hold 'data' and 'train'"),
    "unknown part": (changed("a\nb", 1), r"unknown key 'a\nb'"),
    "unknown part of data": (changed("data.where", "y"), "unknown key 'where'"),
    "unknown setting": (changed("train." + "x" * 999, 1), "unknown setting 'xx"),
    "data that are a list": (changed("data", []), "must name the data"),
    "data that are a number": (changed("data.data", 3), "data is 3; it must be text"),
    "settings that are a list": (changed("train", []), "'train' must hold the settings"),
    "settings that are text": (changed("train", "abc"), "'train' must hold the settings"),
    "newer": (changed("format", 2), "was written by a newer fastlin (format 2"),
    "no number": (changed("format", "one"), "format is 'one'"),
    "negative": (changed("train.lr", -1), "lr is -1"),
    **{
        f"{name} is {value!r}"[:40]: (changed(f"train.{name}", value), f"{name} is ")
        for name in TrainConfig().to_dict()
        for value in ("many", None, [1], {"a": 1}, "x\n" * 9999)
        if name != "class_weight" or value not in (None, {"a": 1})  # none, and of a class "a"
    },
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path, name):
    content, words = BAD_CONFIGS[name]
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"config\.json") as caught:
        runs.load_config(path)
    message = str(caught.value)
    assert words in message
    assert message.isprintable()
    assert len(message) < 600


def test_a_configuration_of_an_older_fastlin_has_the_defaults(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"data": {"data": "x"}, "train": {"lr": 0.3}}')  # no format, few settings
    assert runs.load_config(path) == (runs.DataReference("x"), TrainConfig(lr=0.3))


HEAD = "epoch,lr,train_cost,train_accuracy,val_cost,val_accuracy\n"
GOOD = "1,0.1,2.0,0.5,,\n"
BAD_HISTORIES = {
    "another column": (HEAD.replace("lr", "rate") + GOOD, "its first line must be epoch,lr"),
    "a column too few": ("epoch,lr\n1,0.1\n", "its first line must be epoch,lr"),
    "cut short": (HEAD + GOOD[:-1], "cut short"),
    "a cell too few": (HEAD + "1,0.1,2.0,0.5,\n", "line 2 has 5 cells"),
    "an epoch twice": (HEAD + GOOD + GOOD, "line 3 is of epoch '1', not 2"),
    "an epoch too few": (HEAD + GOOD + "3" + GOOD[1:], "line 3 is of epoch '3', not 2"),
    "epoch 0": (HEAD + "0" + GOOD[1:], "line 2 is of epoch '0', not 1"),
    "half an epoch": (HEAD + "1.0" + GOOD[1:], "line 2 is of epoch '1.0', not 1"),
    "many digits": (HEAD + "9" * 5000 + GOOD[1:], "line 2 is of epoch '9999"),
    "infinite": (HEAD + "1,0.1,inf,0.5,,\n", "line 2, train_cost: 'inf'"),
    "too large": (HEAD + "1,0.1,1e999,0.5,,\n", "line 2, train_cost: '1e999'"),
    "nan": (HEAD + "1,0.1,2.0,nan,,\n", "line 2, train_accuracy: 'nan'"),
    "no number": (HEAD + '1,"0\n1",2.0,0.5,,\n', r"line 2, lr: '0\n1'"),
    "underscore": (HEAD + "1,0.1,2_0,0.5,,\n", "line 2, train_cost: '2_0'"),
    "no cost": (HEAD + "1,0.1,,0.5,,\n", "line 2, train_cost: ''"),
    "an accuracy alone": (HEAD + "1,0.1,2.0,0.5,,0.5\n", "line 2, val_cost: ''"),
    "no learning rate": (HEAD + "1,,2.0,0.5,,\n", "line 2, lr: ''"),
    "a long field": (HEAD + "1,0.1," + "9" * 200_000 + ",0.5,,\n", "field limit"),
    "more epochs than asked": (
        HEAD + "".join(f"{epoch}{GOOD[1:]}" for epoch in range(1, 42)),
        "more than the 40 epochs",
    ),
}


@pytest.mark.parametrize("name", BAD_HISTORIES)
def test_a_history_that_no_run_writes_is_refused(folder, name):
    content, words = BAD_HISTORIES[name]
    (folder / "history.csv").write_text(content)
    with pytest.raises(InputError, match=r"history\.csv is damaged") as caught:
        runs.load_run(folder)
    message = str(caught.value)
    assert words in message
    assert message.isprintable()
    assert len(message) < 400


# --- the folder of a new run -----------------------------------------------------------------


def create(out, name="x", file="config.json"):
    return runs.create_run_folder(out, name, file, {"a": 1})


def test_new_folders_are_numbered_and_full_ones_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(create(None)) == "runs/x-1"
    assert str(create(None)) == "runs/x-2"
    assert json.loads((tmp_path / "runs/x-2/config.json").read_text()) == {"a": 1}
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "history.csv").touch()
    with pytest.raises(InputError, match="is not empty"):
        create(tmp_path / "full")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write"):
        create(tmp_path / "file" / "below")


def test_a_place_that_cannot_be_written_is_one_line_that_names_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("notes")
    with pytest.raises(InputError, match=r"cannot write to runs: Not a directory; name another"):
        create(None)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for out in (None, tmp_path.relative_to("/") / "below"):
        with pytest.raises(InputError, match=r"cannot write to .*: No such file or directory"):
            create(out)


@pytest.mark.parametrize("step", ["mkdir", "open"])
def test_a_folder_that_is_read_only_is_one_line(tmp_path, monkeypatch, step):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    right = os.open

    def refused(path, *arguments, **more):
        if step == "open" and not str(path).endswith("tmp"):
            return right(path, *arguments, **more)
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(os, step, refused)
    for out in (None, tmp_path / "new") if step == "mkdir" else (tmp_path / "there",):
        with pytest.raises(InputError, match=r"cannot write .*: Read-only file system"):
            create(out)


KILLED = """
import os, sys; from pathlib import Path
from fastlin import runs; from fastlin.files import writing
right = writing.to_disk
def killed(file):
    right(file); os.kill(os.getpid(), 9)
writing.to_disk = killed
runs.create_run_folder(Path(sys.argv[1]), "x", "config.json", {"a": 1})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks on Windows")
def test_a_folder_whose_first_file_was_not_finished_can_be_taken_again(tmp_path):
    out = tmp_path / "run"
    done = subprocess.run([sys.executable, "-c", KILLED, out], check=False)
    assert done.returncode == -9
    assert [path.suffix for path in out.iterdir()] == [".fastlin-tmp"]
    assert create(out) == out
    assert [path.name for path in out.iterdir()] == ["config.json"]


RACE = """
import sys, time; from pathlib import Path; from fastlin import errors, runs
time.sleep(max(0, float(sys.argv[2]) - time.time()))
try:
    runs.create_run_folder(Path(sys.argv[1]), "x", sys.argv[3], {"by": sys.argv[3]})
except errors.InputError as error:
    sys.exit(str(error))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks on Windows")
def test_of_runs_that_want_one_folder_at_once_one_has_it(tmp_path):
    for number in range(3):
        out, start = tmp_path / str(number), str(time.time() + 0.5)
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", RACE, out, start, file], stderr=subprocess.PIPE, text=True
            )
            for file in ("a.json", "b.json", "c.json")
        ]
        messages = [process.communicate()[1] for process in processes]
        winners = [process for process in processes if process.returncode == 0]
        assert len(winners) == 1, messages
        assert len(list(out.iterdir())) == 1
        for message in filter(None, messages):
            assert "is not empty" in message or "in use by" in message
            assert message.count("\n") == 1


def test_summary_is_strict_json(tmp_path):
    runs.save_summary(tmp_path, {"a": 1})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"a": 1}
    with pytest.raises(ValueError, match="JSON"):
        runs.save_summary(tmp_path, {"a": float("nan")})
