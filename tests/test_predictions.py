import csv
import io
import mmap
from pathlib import Path

import numpy as np
import pytest
from command_line import call, small_images
from messages import value_or_message

import fastlin
from fastlin import predictions, reference
from fastlin.data.rows import Rows, load_rows
from fastlin.errors import InputError, MatchWarning
from fastlin.predictions import Content

NAMES = ("ant", "bée", "cow, or calf", 'the "doe"', "elk")


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(5, 7)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    return fastlin.LinearModel(W, b, NAMES, loss="softmax")


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(1).normal(size=(300, 7)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch, tmp_path):
    """Blocks of 128 rows, so that a table has several."""
    monkeypatch.setattr(predictions, "BYTES_OF_BLOCK", 1)
    monkeypatch.chdir(tmp_path)


def table(path):
    return list(csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines()))


def right_scores(model, X):
    return reference.scores(X.astype(np.float64), model.W.astype(float), model.b.astype(float))


def right_probabilities(model, X):
    scores = right_scores(model, X)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_every_row_has_its_number_and_its_class_by_name(model, X):
    fastlin.save_predictions(model, X, "p.csv")
    lines = table("p.csv")
    assert [line["row"] for line in lines] == [str(row) for row in range(300)]
    assert [line["class"] for line in lines] == [NAMES[k] for k in right_scores(model, X).argmax(1)]
    assert set(lines[0]) == {"row", "class"}


def test_probabilities_and_scores_of_every_class_have_every_digit(model, X):
    fastlin.save_predictions(model, X, "p.csv", probabilities=True, scores=True)
    lines = table("p.csv")
    assert list(lines[0]) == [
        "row", "class", *(f"{what}_{name}" for what in ("probability", "score") for name in NAMES),
    ]  # fmt: skip
    written = {
        what: np.array([[line[f"{what}_{name}"] for name in NAMES] for line in lines], np.float32)
        for what in ("probability", "score")
    }
    np.testing.assert_array_equal(written["score"], model.scores(X))
    np.testing.assert_array_equal(written["probability"], model.predict_proba(X))
    np.testing.assert_allclose(written["probability"], right_probabilities(model, X), atol=1e-6)


def test_the_best_classes_come_in_order_with_their_probabilities(model, X):
    fastlin.save_predictions(model, X, "p.csv", top=3, probabilities=True)
    lines = table("p.csv")
    best = np.argsort(-right_scores(model, X), axis=1)[:, :3]
    for place, ending in enumerate(("", "_2", "_3")):
        assert [line[f"class{ending}"] for line in lines] == [NAMES[k] for k in best[:, place]]
        found = [float(line[f"probability{ending}"]) for line in lines]
        right = right_probabilities(model, X)[np.arange(300), best[:, place]]
        np.testing.assert_allclose(found, right, atol=1e-6)
    assert len(lines[0]) == 7


@pytest.mark.parametrize(
    "ids", [np.arange(300) * 7 + 10**12, np.array([f"r,{i}" for i in range(300)])]
)
def test_rows_keep_their_ids(model, X, ids):
    np.savez("rows.npz", X=X, ids=ids)
    fastlin.save_predictions(model, fastlin.load_rows("rows.npz"), "p.csv")
    assert [line["id"] for line in table("p.csv")] == [str(each) for each in ids]


def test_a_npy_file_holds_one_array(model, X):
    right = right_scores(model, X)
    fastlin.save_predictions(model, X, "names.npy")
    assert np.load("names.npy").tolist() == [NAMES[k] for k in right.argmax(1)]
    fastlin.save_predictions(model, X, "top.npy", top=2)
    assert np.load("top.npy").tolist() == np.array(NAMES)[np.argsort(-right)[:, :2]].tolist()
    fastlin.save_predictions(model, X, "proba.npy", probabilities=True)
    np.testing.assert_array_equal(np.load("proba.npy"), model.predict_proba(X))
    fastlin.save_predictions(model, X, "scores.npy", scores=True)
    np.testing.assert_array_equal(np.load("scores.npy"), model.scores(X))
    for content in ({"scores": True, "probabilities": True}, {"top": 2, "scores": True}):
        with pytest.raises(InputError, match="one array"):
            fastlin.save_predictions(model, X, "both.npy", **content)
    assert not Path("both.npy").exists()


def test_a_parquet_file_has_the_columns_of_the_csv_file(model, X):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    fastlin.save_predictions(model, X, "p.parquet", probabilities=True)
    columns = parquet.read_table("p.parquet").to_pydict()
    fastlin.save_predictions(model, X, "p.csv", probabilities=True)
    lines = table("p.csv")
    assert list(columns) == list(lines[0])
    assert columns["class"] == [line["class"] for line in lines]
    assert columns["row"] == list(range(300))
    for name in NAMES:
        found = np.array(columns[f"probability_{name}"], np.float32)
        assert found.tolist() == [np.float32(line[f"probability_{name}"]) for line in lines]


def test_a_parquet_file_without_pyarrow_is_one_line(model, X, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"needs pyarrow.*pip install 'fastlin\[formats\]'"):
        fastlin.save_predictions(model, X, "p.parquet")
    assert not Path("p.parquet").exists()


@pytest.mark.parametrize("dtype", [np.float64, np.int16, np.uint8, np.float16, ">f4"])
def test_rows_of_any_dtype_are_those_of_the_model(model, dtype):
    X = np.random.default_rng(2).integers(0, 9, (300, 7)).astype(dtype)
    np.save("X.npy", np.asfortranarray(X) if dtype == np.int16 else X)
    fastlin.save_predictions(model, load_rows("X.npy"), "p.csv", scores=True)
    found = [[float(line[f"score_{name}"]) for name in NAMES] for line in table("p.csv")]
    scale = 255 if dtype == np.uint8 else 1
    np.testing.assert_allclose(found, right_scores(model, X / scale), rtol=1e-4, atol=1e-4)


def test_a_npy_file_is_mapped_and_not_read_whole():
    np.save("X.npy", np.ones((300, 2000), np.float32))
    rows = load_rows("X.npy")
    base = rows.X
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, mmap.mmap)
    assert not rows.X.flags.writeable
    two = fastlin.LinearModel(np.ones((2, 2000)), np.zeros(2), ("a", "b"))
    assert len(list(predictions.blocks(two, rows, Content()))) == 3


def test_a_bad_value_is_told_by_its_row_and_nothing_is_written(model, X):
    X = X.copy()
    X[200, 3] = np.nan
    np.save("X.npy", X)
    with pytest.raises(InputError, match=r"X\.npy: X has the value nan in row 200, column 3"):
        fastlin.save_predictions(model, load_rows("X.npy"), "p.csv")
    assert [path.name for path in Path().iterdir()] == ["X.npy"]
    X[200] = 3e38 * np.sign(model.W[0])
    with pytest.raises(InputError, match="score of row 200"):
        fastlin.save_predictions(model, X, "p.csv")


def test_rows_on_another_scale_are_a_warning(model, X):
    split = fastlin.Split.from_arrays(X, np.arange(300) % 5)
    trained = fastlin.train(split, epochs=1).model
    with pytest.warns(MatchWarning, match="another scale") as caught:
        fastlin.save_predictions(trained, X * 1000, "p.csv")
    assert caught[0].filename == __file__


def test_images_are_read_in_the_order_of_the_model():
    images = np.random.default_rng(3).integers(0, 256, (40, 2, 3, 3)).astype(np.uint8)
    W = np.random.default_rng(4).normal(size=(3, 18))
    model = fastlin.LinearModel(W, np.zeros(3), ("a", "b", "c"), image_shape=(3, 2, 3))
    fastlin.save_predictions(model, images, "p.npy", scores=True)
    flat = images.transpose(0, 3, 1, 2).reshape(40, 18) / 255
    np.testing.assert_allclose(np.load("p.npy"), flat @ W.T, rtol=1e-12, atol=1e-12)
    with pytest.raises(InputError, match="images of the shape"):
        fastlin.save_predictions(model, images.transpose(0, 2, 1, 3), "p.npy")


FILES = {
    "X alone": ({"X": (9, 7)}, None, (9, 7)),
    "small x": ({"x": (9, 7)}, None, (9, 7)),
    "another name": ({"embeddings": (9, 7)}, None, (9, 7)),
    "a part without labels": (
        {"X_train": (9, 7), "y_train": (9,), "x_test": (5, 7)},
        "test",
        (5, 7),
    ),
    "the only part": ({"X_test": (5, 7)}, None, (5, 7)),
    "X beside parts": ({"X": (9, 7), "X_test": (5, 7)}, "train", (9, 7)),
}
BAD_FILES = {
    "which part": ({"X_train": (9, 7), "X_test": (5, 7)}, None, "part must be one of train, test"),
    "no such part": ({"X_train": (9, 7)}, "val", "no part 'val'; it has train"),
    "no parts": ({"X": (9, 7)}, "val", "no part 'val'"),
    "two tables": ({"a": (9, 7), "b": (9, 7)}, None, "X_train is missing"),
    "no table": ({"a": (9,)}, None, "must be (rows, features)"),
    "empty": ({"X": (0, 7)}, None, "at least one row"),
    "ids": ({"X": (9, 7), "ids": (8,)}, None, "ids is float64 (8,)"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_rows_are_found_among_the_arrays_of_a_file(name):
    shapes, part, expected = FILES[name]
    np.savez("f.npz", **{array: np.zeros(shape) for array, shape in shapes.items()})
    assert load_rows("f.npz", part).X.shape == expected


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_without_clear_rows_is_refused(name):
    shapes, part, message = BAD_FILES[name]
    np.savez("f.npz", **{array: np.zeros(shape) for array, shape in shapes.items()})
    _, found = value_or_message(load_rows, "f.npz", part)
    assert message in found
    assert "f.npz" in found


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\1\0\xff\xff{", b"PK\3\4x"])
def test_a_damaged_file_is_refused(content):
    Path("f.npy").write_bytes(content)
    _, found = value_or_message(load_rows, "f.npy")
    assert "f.npy" in found


def test_python_objects_are_never_loaded():
    np.save("f.npy", np.array([[{}]]))
    _, found = value_or_message(load_rows, "f.npy")
    assert "f.npy" in found
    assert "allow_pickle" not in found


def test_rows_and_ids_of_a_table(model, X):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    ids = [f"r{row}" for row in range(300)]
    lists = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(X.ravel()), 7)
    rows = pyarrow.table({"id": ids, "embedding": lists})
    pytest.importorskip("pyarrow.parquet").write_table(rows, "t.parquet")
    fastlin.save_predictions(model, load_rows("t.parquet"), "p.csv")
    assert [line["id"] for line in table("p.csv")] == ids
    found = [line["class"] for line in table("p.csv")]
    assert found == [NAMES[k] for k in right_scores(model, X).argmax(1)]


def test_other_endings_are_refused_before_anything_is_computed(model):
    with pytest.raises(InputError, match=r"p\.xlsx.*must end in \.csv, \.parquet, \.npy"):
        fastlin.save_predictions(model, np.full((2, 7), np.nan), "p.xlsx")


def test_what_the_model_does_not_have_is_refused(model, X):
    with pytest.raises(InputError, match="top is 7; the model has 5 classes"):
        fastlin.save_predictions(model, X, "p.csv", top=7)
    hinge = fastlin.LinearModel(model.W, model.b, NAMES, loss="hinge")
    with pytest.raises(InputError, match="no probabilities"):
        fastlin.save_predictions(hinge, X, "p.csv", probabilities=True)
    with pytest.raises(InputError, match="rows have 6 features, but the model takes 7"):
        fastlin.save_predictions(model, X[:, :6], "p.csv")


@pytest.fixture
def run():
    np.savez("small.npz", **small_images(noise=120, contrast=60))
    call("train", "--data", "small.npz", "--epochs", 2, "--no-figures", "--out", "run")
    return fastlin.load_run("run")


def test_the_command_writes_what_the_function_writes(run):
    call("predict", "run", "small.npz", "--part", "test", "--out", "a.csv", "--proba", "--top", 2)
    fastlin.save_predictions(
        run.model, load_rows("small.npz", "test"), "b.csv", top=2, probabilities=True
    )
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()
    assert len(table("a.csv")) == 30
    printed = call("predict", "run", "--part", "test", "--out", "-", "--proba", "--top", 2)
    assert printed.stdout == Path("a.csv").read_text()
    call("predict", "run", "small.npz", "--part", "val", "--weights", "best", "--out", "c.csv")
    names = run.best_model.predict_names(load_rows("small.npz", "val").block(0, 40))
    assert [line["class"] for line in table("c.csv")] == names.tolist()


def test_the_command_refuses_what_cannot_be_right(run):
    np.save("X.npy", np.zeros((3, 18), np.uint8))
    Path("there.csv").touch()
    cases = {
        "already": ("X.npy", "--out", "there.csv"),
        "must end in": ("X.npy", "--out", "p.txt"),
        "has 5 classes": ("X.npy", "--out", "p.csv", "--top", 6),
        "no part 'test'": ("X.npy", "--out", "p.csv", "--part", "test"),
        "part must be one of": ("small.npz", "--out", "p.csv"),
        "there is no file": ("nowhere.npy", "--out", "p.csv"),
        "one array": ("X.npy", "--out", "p.npy", "--scores", "--proba"),
    }
    for words, arguments in cases.items():
        assert words in call("predict", "run", *arguments, code=2).stderr
    lost = call("predict", "run", "X.npy", "--out", "no/folder/p.csv", code=2, begun=True).stderr
    assert "cannot write no/folder/p.csv" in lost
    call("predict", "run", "X.npy", "--out", "there.csv", "--force")
    assert len(table("there.csv")) == 3
    own = ("--out", "X.npy", "--scores", "--force")
    assert "X.npy is the file of the rows" in call("predict", "run", "X.npy", *own, code=2).stderr


def test_rows_are_shown_and_compared_by_what_they_are(X):
    rows = Rows.of(X)
    assert len(rows) == 300
    assert rows.feature_count == 7
    assert Rows.of(rows) is rows
    stream = io.StringIO()
    two = fastlin.LinearModel(np.eye(2, 7), np.zeros(2), ("a", "b"))
    predictions.write_csv(stream, predictions.blocks(two, rows, Content()))
    assert stream.getvalue().count("\n") == 301


# --- ids --------------------------------------------------------------------------------------


@pytest.fixture
def run_of_array(X):
    """Train on rows of an array, and return the run folder."""
    np.savez("train.npz", X=X, y=np.arange(300) % 5)
    call("train", "--data", "train.npz", "--epochs", 1, "--no-figures", "--out", "run")
    np.save("X.npy", X)
    return "run"


def test_ids_of_a_file_beside_the_rows_reach_the_predictions(run_of_array, X):
    ids = [f"{row:04d}" for row in range(300)]
    lines = "".join(f"{row},ant,{text}\n" for row, text in enumerate(ids))
    Path("labels.csv").write_text("number,species,id\n" + lines)
    Path("one.csv").write_text("customer\n" + "\n".join(ids))
    np.savez("ids.npz", who=np.array(ids), other=np.arange(300))
    np.save("ids.npy", np.array(ids))
    for given in ("labels.csv", "labels.csv:id", "one.csv", "ids.npz:who", "ids.npy"):
        call("predict", "run", "X.npy", "--ids", given, "--out", "p.csv", "--force")
        assert [line["id"] for line in table("p.csv")] == ids, given
    call("predict", "run", "X.npy", "--ids", "labels.csv:number", "--out", "p.csv", "--force")
    assert [line["id"] for line in table("p.csv")] == [str(row) for row in range(300)]
    call("predict", "run", "--ids", "ids.npy", "--out", "p.csv", "--force")  # the run's own rows
    assert [line["id"] for line in table("p.csv")] == ids
    rows = load_rows("X.npy", ids="labels.csv")
    assert rows.ids.tolist() == ids


def test_ids_may_be_a_column_of_the_rows_with_any_name(run_of_array, X):
    columns = [f"f{j}" for j in range(7)]
    with Path("X.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["customer", *columns], *([f"c {i}", *x] for i, x in enumerate(X.tolist()))]
        )
    call("predict", "run", "X.csv", "--ids", ":customer", "--out", "p.csv")
    lines = table("p.csv")
    assert [line["id"] for line in lines] == [f"c {i}" for i in range(300)]
    call("predict", "run", "X.npy", "--out", "q.csv")
    assert [line["class"] for line in lines] == [line["class"] for line in table("q.csv")]
    np.savez("X.npz", X_test=X, customer=np.arange(300) + 7)
    call("predict", "run", "X.npz", "--ids", ":customer", "--out", "p.csv", "--force")
    assert [line["id"] for line in table("p.csv")] == [str(i + 7) for i in range(300)]


def test_ids_that_do_not_fit_are_one_line(run_of_array, X):
    np.save("few.npy", np.arange(299))
    np.savez("two.npz", a=np.arange(300), b=np.arange(300))
    np.savez("X.npz", X=X)
    for given, data, words in (
        ("few.npy", "X.npy", "ids is int64 (299,); it must be one integer or one text for each"),
        ("missing.csv", "X.npy", "there is no file missing.csv of ids"),
        ("two.npz", "X.npy", "two.npz has 'a', 'b'; name the ids as PATH:NAME"),
        ("two.npz:c", "X.npy", "two.npz has no 'c'; there are 'a', 'b'"),
        (":c", "X.npz", "X.npz has no 'c'; there are 'X'"),
        (":c", "digits", "digits is no file that has ':c'; name a file of ids"),
    ):  # fmt: skip
        error = call("predict", "run", data, "--ids", given, "--out", "p.csv", code=2).stderr
        assert words in error
    error = call("predict", "run", "X.npy", "--ids", "few.npy", "--out", "few.npy", "--force",
                 code=2).stderr  # fmt: skip
    assert "few.npy is the file of the ids; name another --out" in error


@pytest.mark.parametrize("labels", [(), ("--labels", ":kind")])
def test_ids_of_the_table_that_a_run_was_trained_on_are_kept(labels, X):
    name = "kind" if labels else "label"
    with Path("own.csv").open("w", newline="") as file:
        lines = ([f"c {i}", *x, "abcde"[i % 5]] for i, x in enumerate(X.tolist()))
        csv.writer(file).writerows([["id", *[f"f{j}" for j in range(7)], name], *lines])
    call("train", "--data", "own.csv", *labels, "--epochs", 1, "--no-figures", "--out", "run")
    call("predict", "run", "--scores", "--out", "p.csv")
    call("predict", "run", "own.csv", "--scores", "--out", "q.csv")
    assert Path("p.csv").read_bytes() == Path("q.csv").read_bytes()
    assert [line["id"] for line in table("p.csv")] == [f"c {i}" for i in range(300)]
    call("train", "--data", "own.csv", *labels, "--val-fraction", 0.2, "--epochs", 1,
         "--no-figures", "--out", "part")  # fmt: skip
    call("predict", "part", "--part", "val", "--out", "r.csv")
    assert len(table("r.csv")) == 60
