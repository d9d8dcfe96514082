"""Columns are matched by the names of the features, wherever both sides have names."""

import csv
import importlib
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import formats_table
import numpy as np
import pytest
from command_line import call, summary
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlin
from fastlin import LinearModel, Split, export, load_rows, load_split, matching, runs
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset
from fastlin.errors import DataWarning, InputError, MatchWarning

NAMES = ("length", "width", "größe", "a, b", "x", "2nd")
ORDER = [3, 0, 5, 1, 4, 2]
MOVED = tuple(NAMES[j] for j in ORDER)
IN_ORDER = "features are matched by name: those of the data are in another order"
QUICK = ("--epochs", 3, "--no-figures")
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 5, 90)
X = (RNG.normal(size=(90, 6)) + 2 * np.eye(5, 6)[Y]) * np.arange(1, 7) + 10.0 * np.arange(6)
X = X.astype(np.float32)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, rows=X, names=NAMES, labels=Y):
    """Write a table as CSV; names None for one without a header, labels None for one without."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        if names is not None:
            table.writerow([*names, *([] if labels is None else ["label"])])
        ends = [[]] * len(rows) if labels is None else [[label] for label in labels.tolist()]
        table.writerows([*row, *end] for row, end in zip(rows.tolist(), ends, strict=True))
    return str(path)


def moved(path, **more):
    """Write the table with its columns in another order."""
    return write(path, X[:, ORDER], MOVED, **more)


def data_of(rows=X, names=NAMES, y=Y):
    return Dataset(rows, y, tuple("01234"), feature_names=names)


def model_of(names=NAMES, **changes):
    W = np.random.default_rng(7).normal(size=(5, 6)).astype(np.float32)
    return replace(LinearModel(W, W[:, 0].copy(), tuple("01234"), feature_names=names), **changes)


class Frame:
    """What pandas and polars have in common with this module's rows."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.rows, dtype)


def frames(rows, names):
    """Return rows as tables of every library that is there."""
    yield Frame(rows, list(names))
    for module, make in (
        ("pandas", lambda found: found.DataFrame(rows, columns=list(names))),
        ("polars", lambda found: found.DataFrame(rows, schema=list(names))),
        ("pyarrow", lambda found: found.table(dict(zip(names, rows.T, strict=True)))),
    ):
        try:
            yield make(importlib.import_module(module))
        except ImportError:
            continue


# --- commands -------------------------------------------------------------------------------


@pytest.mark.parametrize("standardize", ["--standardize", "--no-standardize"])
def test_columns_in_another_order_change_no_number_of_any_command(place, standardize):
    write("a.csv"), moved("b.csv"), moved("rows.csv", labels=None)
    settings_ = (*QUICK, standardize)
    call("train", "--data", "a.csv", "--val-data", "a.csv", "--test-data", "a.csv", *settings_,
         "--out", "right")  # fmt: skip
    found = call("train", "--data", "a.csv", "--val-data", "b.csv", "--test-data", "b.csv",
                 *settings_, "--out", "run")  # fmt: skip
    for part in ("val", "test"):
        assert f"Note: a, {part}: {IN_ORDER}\n" in found.stderr
    assert summary("run")["results"] == summary("right")["results"]
    assert (place / "run/model.npz").read_bytes() == (place / "right/model.npz").read_bytes()
    assert runs.load_run("run").model.feature_names == NAMES

    right = call("evaluate", "run", "--data", "a.csv", "--per-class")
    other = call("evaluate", "run", "--data", "b.csv", "--per-class")
    assert other.stdout.replace("rows of b", "rows of a") == right.stdout
    assert f"Note: {IN_ORDER}\n" in other.stderr

    call("predict", "run", "a.csv", "--scores", "--out", "p.csv")
    for name in ("b.csv", "rows.csv"):
        said = call("predict", "run", name, "--scores", "--out", "q.csv", "--force")
        assert f"Note: {IN_ORDER}\n" in said.stderr
        assert (place / "q.csv").read_bytes() == (place / "p.csv").read_bytes()


def test_a_table_that_was_moved_on_its_place_is_matched_and_said_to_be_another(place):
    write("a.csv")
    call("train", "--data", "a.csv", *QUICK, "--out", "run")
    right = call("evaluate", "run").stdout
    moved("a.csv")
    found = call("evaluate", "run")
    assert found.stdout == right
    assert "have changed since the run was trained" in found.stderr
    assert IN_ORDER in found.stderr
    figures = call("plot", "run")
    assert IN_ORDER in figures.stderr
    again = call("train", "--config", "run/config.json", *QUICK, "--out", "again")
    assert "have changed since the run was trained" in again.stderr
    assert runs.load_run("again").model.feature_names == MOVED


def test_a_grid_keeps_the_names_with_its_winner(place):
    write("a.csv"), moved("b.csv")
    found = call("grid", "--data", "a.csv", "--val-data", "b.csv", "--lr", "0.01,0.001", "--epochs",
                 2, "--no-figures", "--out", "grid")  # fmt: skip
    assert f"a, val: {IN_ORDER}" in found.stderr
    assert runs.load_run("grid/winner").model.feature_names == NAMES


def test_missing_and_other_features_are_one_line_that_names_them(place):
    write("a.csv")
    call("train", "--data", "a.csv", *QUICK, "--out", "run")
    write("c.csv", names=("length", "width", "größe", "a, b", "z", "2nd"))
    write("d.csv", X[:, :5], NAMES[:5])
    line = (
        "have other features than {whose}: they lack 'x' and have 'z'; features are matched by "
        "name: rename the columns, or give rows without names, which are taken in their order\n"
    )
    for command in (("evaluate", "run", "--data", "c.csv"), ("plot", "run", "--data", "c.csv"),
                    ("predict", "run", "c.csv", "--out", "p.csv")):  # fmt: skip
        error = call(*command, code=2).stderr
        assert line.format(whose="the model") in error
    assert "c.csv: the rows have other" in error
    for option in ("--val-data", "--test-data"):
        error = call("train", "--data", "a.csv", option, "c.csv", code=2).stderr
        assert line.format(whose="the train rows") in error
        assert f"{option[2:-5]} rows have other" in error
    error = call("evaluate", "run", "--data", "d.csv", code=2).stderr
    assert "than the model: they lack '2nd'; features" in error


def first_line(evaluated):
    """Return the numbers of the first line of a table, without what its rows are called."""
    return [cell.strip() for cell in evaluated.stdout.splitlines()[3].split("│")[2:]]


def test_where_one_side_has_no_names_columns_are_taken_by_number(place):
    write("a.csv"), moved("b.csv")
    write("bare.csv", names=None)
    call("train", "--data", "bare.csv", "--labels", ":6", *QUICK, "--out", "bare")
    call("train", "--data", "a.csv", *QUICK, "--out", "named")
    assert runs.load_run("bare").model.feature_names is None
    tables = [
        tuple(first_line(call("evaluate", run, "--data", name, *labels)))
        for run in ("bare", "named")
        for name, labels in (("a.csv", ()), ("bare.csv", ("--labels", ":6")))
    ]
    assert len(set(tables)) == 1
    moved_rows = call("evaluate", "bare", "--data", "b.csv")
    assert tuple(first_line(moved_rows)) != tables[0]


def test_notes_on_standardized_features_name_them(place):
    rows = X.copy()
    rows[:, 4] = 1e9 + np.arange(90)  # float32 numbers are 64 apart there
    np.savez("a.npz", X=rows, y=Y, feature_names=np.array(NAMES))
    found = call("train", "--data", "a.npz", *QUICK, "--standardize", "--out", "run")
    assert "Note: feature 'x' has few digits: around its mean" in found.stderr


# --- files ----------------------------------------------------------------------------------


def test_tables_and_arrays_of_names_say_what_features_are_called(place):
    write("a.csv")
    np.savez("a.npz", X=X, y=Y, feature_names=np.array(NAMES))
    np.savez("bytes.npz", X=X, y=Y)
    Path("folder").mkdir()
    write("folder/X_train.csv", labels=None), moved("folder/X_test.csv", labels=None)
    for part in ("train", "test"):
        np.save(f"folder/y_{part}.npy", Y)
    for name in ("a.csv", "a.npz"):
        assert load_split(name).train.feature_names == NAMES
        assert load_rows(name).feature_names == NAMES
    assert load_split("bytes.npz").train.feature_names is None
    with pytest.warns(DataWarning, match=f"folder, test: {IN_ORDER}"):
        split = load_split("folder")
    assert split.test.feature_names == NAMES
    assert np.array_equal(split.test.X, split.train.X)
    assert load_rows("folder", "test").feature_names == MOVED
    np.savez("few.npz", X=X, y=Y, feature_names=np.array(["a", "b"]))
    with pytest.warns(DataWarning, match="left out feature_names, which has not one text for each"):
        found = load_split("few.npz")
    assert found.train.feature_names is None


def test_tables_of_other_formats_have_names(place):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    columns = dict(zip(MOVED, X[:, ORDER].T.astype(float), strict=True)) | {"label": Y}
    parquet.write_table(pa.table(columns), "a.parquet")
    feather.write_feather(pa.table(columns), "a.feather", compression="uncompressed")
    lists = pa.table({"x": pa.array(list(X)), "label": Y})
    parquet.write_table(lists, "lists.parquet")
    write("a.csv")
    right = load_split("a.csv", test_data="a.csv")
    for name in ("a.parquet", "a.feather"):
        assert load_split(name).train.feature_names == MOVED
        with pytest.warns(DataWarning, match=IN_ORDER):
            found = load_split("a.csv", test_data=name)
        np.testing.assert_array_equal(found.test.X, right.test.X)
    assert load_split("lists.parquet").train.feature_names is None


def test_mapped_rows_are_put_in_order_block_by_block(place):
    rows = np.random.default_rng(1).integers(0, 256, (200_000, 6), np.uint8)
    np.savez("a.npz", X=rows[:, ORDER], feature_names=np.array(MOVED))
    found = load_rows("a.npz").with_features(NAMES)
    assert sys.platform != "linux" or formats_table._is_mapped(found.X)
    assert np.array_equal(found.block(0, 100), rows[:100])
    assert np.array_equal(found.block(199_990, 200_000), rows[-10:])
    back = found.with_features(MOVED)
    assert np.array_equal(back.block(5, 9), rows[5:9][:, ORDER])


# --- from Python ----------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.permutations(range(6)))
def test_the_order_of_named_columns_changes_no_number(order):
    model, config = model_of(), TrainConfig(l2=0.1)
    right = data_of()
    other = data_of(X[:, order], tuple(NAMES[j] for j in order))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MatchWarning)
        found, expected = (fastlin.evaluate(model, data, config) for data in (other, right))
        scores = model.scores(Frame(other.X, other.feature_names))
    assert found.losses.tobytes() == expected.losses.tobytes()
    assert scores.tobytes() == model.scores(X).tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        split = Split("s", right, other)
    assert np.array_equal(split.val.X, X)
    assert split.val.X.flags.c_contiguous
    assert split.fingerprint() == Split("s", right, right).fingerprint()


def test_the_columns_of_frames_are_matched_by_name():
    model = model_of()
    expected = model.scores(X)
    for frame, other in zip(frames(X, NAMES), frames(X[:, ORDER], MOVED), strict=True):
        split = Split.from_arrays(frame, Y)
        assert split.train.feature_names == NAMES
        with pytest.warns(DataWarning, match=f"arrays, val: {IN_ORDER}"):
            split = Split.from_arrays(frame, Y, X_val=other, y_val=Y, X_test=X, y_test=Y)
        assert np.array_equal(split.val.X, X)
        assert split.test.feature_names == NAMES
        assert model.scores(frame).tobytes() == expected.tobytes()
        with pytest.warns(MatchWarning, match=IN_ORDER) as caught:
            assert model.scores(other).tobytes() == expected.tobytes()
        assert caught[0].filename == __file__
        with pytest.warns(MatchWarning, match=IN_ORDER):
            fastlin.save_predictions(model, other, "p.csv", scores=True)
        fastlin.save_predictions(model, frame, "q.csv", scores=True)
        assert Path("p.csv").read_bytes() == Path("q.csv").read_bytes()
    for strange in (Frame(X, list(range(6))), Frame(X, None)):
        assert Split.from_arrays(strange, Y).train.feature_names is None
        assert model.scores(strange).tobytes() == expected.tobytes()
    for wrong, message in (
        (["a"] * 6, "the features 0 and 1 are both called 'a'"),
        (["a", "b", 3, "d", "e", "f"], "column 2 is called 3, which is no text"),
    ):
        with pytest.raises(InputError, match=message):
            model.scores(Frame(X, wrong))
        with pytest.raises(InputError, match=message):
            Split.from_arrays(Frame(X, wrong), Y)
    with pytest.raises(InputError, match=r"they lack 'x' and have 'z'"):
        model.predict(Frame(X, ("length", "width", "größe", "a, b", "z", "2nd")))


def test_parts_without_names_get_those_of_the_others():
    bare, named = data_of(names=None), data_of()
    split = Split("s", bare, named, bare)
    assert {data.feature_names for data in split.parts().values()} == {NAMES}
    assert split.train.X is bare.X
    assert Split("s", bare, bare).train.feature_names is None
    with pytest.raises(InputError, match="test rows have features 5, training rows have 6"):
        Split("s", named, None, data_of(X[:, :5], None))
    few = split.hold_out if split.val is None else Split("s", named).hold_out
    assert few(0.2).val.feature_names == NAMES


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("abcdef", "it must be a list of 6 texts"),
        (NAMES[:5], "it must be a list of 6 texts"),
        ((1, 2, 3, 4, 5, 6), "it must be a list of 6 texts"),
        (7, "feature_names is 7; it must be"),
        ((*NAMES[:5], "length"), "the features 0 and 5 are both called 'length'"),
    ],
)
def test_names_that_name_no_features_are_refused(names, message):
    for make in (data_of, model_of):
        with pytest.raises(InputError, match=message):
            make(names=names)


def test_matching_changes_nothing_where_nothing_is_to_be_changed():
    data = data_of()
    for names in (None, NAMES):
        assert matching.match(model_of(names), data) == (data, [])
    bare = data_of(names=None)
    assert matching.match(model_of(), bare) == (bare, [])
    rows = fastlin.Rows.of(bare)
    assert matching.match_rows(model_of(), rows) == (rows, [])


def test_names_are_saved_and_exported_with_the_model():
    model = model_of(loss="softmax")
    model.save("m.npz")
    assert LinearModel.load("m.npz").feature_names == NAMES
    np.savez("old.npz", W=model.W, b=model.b, class_names=np.array(model.class_names))
    assert LinearModel.load("old.npz").feature_names is None
    export.save(model, "npz", "out.npz")
    with np.load("out.npz") as found:
        assert tuple(found["feature_names"].tolist()) == NAMES
    estimator = model.to_sklearn()
    assert tuple(estimator.feature_names_in_) == NAMES
    assert export.metadata(model)["feature_names"] == json.dumps(list(NAMES))
    assert "feature_names" not in export.metadata(model_of(None))
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list(NAMES))
    frame["true"], frame["count"] = Y % 2 == 0, Y
    mixed = Split.from_arrays(frame, Y).train.X
    assert np.array_equal(mixed, np.column_stack([X, Y % 2 == 0, Y]))
    frame = frame[list(NAMES)]
    np.testing.assert_allclose(estimator.predict_proba(frame), model.predict_proba(X), atol=1e-6)
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.predict(frame[list(MOVED)])


def test_exported_files_have_the_names():
    skops = pytest.importorskip("skops.io")
    model = model_of(loss="softmax")
    export.save(model, "sklearn", "m.skops")
    assert tuple(skops.load("m.skops").feature_names_in_) == NAMES
    safetensors = pytest.importorskip("safetensors")
    export.save(model, "safetensors", "m.safetensors")
    with safetensors.safe_open("m.safetensors", "numpy") as file:
        assert json.loads(file.metadata()["feature_names"]) == list(NAMES)


# --- more columns than features ---------------------------------------------------------------

LEFT_OUT = "features are matched by name: left out {}, which the model does not have"


def write_more(path, rows=X, names=NAMES):
    """Write the features between columns of text, of labels with two usual names, and of ids."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["remark", *names, "outcome", "class", "target", "id"])
        for place, row in enumerate(rows.tolist()):
            label = int(Y[place])
            table.writerow(["so, so", *row, f"kind {label}", label, label, f"row {place}"])


def lines_of(path):
    return list(csv.reader(Path(path).read_text(encoding="utf-8").splitlines()))


@pytest.fixture
def run_of_outcome():
    """Train on a table whose labels have no usual name; return the run folder."""
    with Path("train.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*NAMES, "outcome"])
        table.writerows([*row, f"kind {label}"] for row, label in zip(X.tolist(), Y, strict=True))
    call("train", "--data", "train.csv", "--labels", ":outcome", *QUICK, "--out", "run")
    return "run"


def test_predict_takes_the_features_that_it_knows_by_name(run_of_outcome):
    call("predict", "run", "train.csv", "--scores", "--out", "p.csv")
    for names, order in ((NAMES, range(6)), (MOVED, ORDER)):
        write_more("more.csv", X[:, list(order)], names)
        found = call("predict", "run", "more.csv", "--scores", "--out", "q.csv", "--force")
        left_out = "left out the columns 'remark', 'outcome', 'class', 'target'\n"
        assert found.stderr.count("left out") == 1
        assert left_out in found.stderr
        ours, theirs = (lines_of(file) for file in ("p.csv", "q.csv"))
        assert [line[1:] for line in ours] == [line[1:] for line in theirs]
        assert [line[0] for line in theirs] == ["id", *(f"row {row}" for row in range(90))]


def test_evaluate_takes_the_labels_of_the_column_that_was_trained_with(run_of_outcome):
    right = call("evaluate", "run")
    write_more("more.csv")
    found = call("evaluate", "run", "--data", "more.csv")
    assert first_line(found) == first_line(right)
    assert "left out the columns 'remark', 'class', 'target'\n" in found.stderr
    classes = call(
        "evaluate", "run", "--data", "more.csv", "--labels", ":class", code=2, begun=True
    )
    assert "which the model does not know" in classes.stderr


def test_a_table_that_lacks_a_feature_or_has_no_names_is_refused_as_before(run_of_outcome):
    write_more("more.csv", X[:, :5], NAMES[:5])
    found = call("predict", "run", "more.csv", "--out", "p.csv", code=2)
    assert "more.csv: the rows have other features than the model: they lack '2nd'" in found.stderr
    write("bare.csv", np.column_stack([X, Y]), None, None)
    found = call("predict", "run", "bare.csv", "--out", "p.csv", code=2)
    assert "the rows have 7 features, but the model takes 6" in found.stderr


def test_rows_and_arrays_may_have_more_features_than_a_model():
    model = model_of()
    wide, names = np.column_stack([X, X[:, 0]]), (*NAMES, "more")
    note = LEFT_OUT.format("'more'")
    matched, notes = matching.match(model, data_of(wide, names))
    assert notes == [note]
    np.testing.assert_array_equal(matched.X, X)
    np.savez("wide.npz", X=wide, feature_names=np.array(names))
    rows, notes = matching.match_rows(model, load_rows("wide.npz"))
    assert notes == [note]
    np.testing.assert_array_equal(rows.block(0, 90), X)


def test_parts_of_a_split_still_need_the_same_features():
    wide = data_of(np.column_stack([X, X[:, 0]]), (*NAMES, "more"))
    with pytest.raises(InputError, match="val rows have other features than the train rows"):
        Split("split", data_of(), wide)


def test_columns_of_frames_that_the_model_does_not_know_are_left_out_and_named():
    model = model_of()
    wide = np.column_stack([X[:, ORDER], Y])
    for frame in frames(wide, [*MOVED, "label"]):
        with pytest.warns(MatchWarning, match="left out 'label'"):
            found = model.scores(frame)
        np.testing.assert_array_equal(found, model.scores(X))


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_frames_with_text_and_ids_are_predicted_as_their_features(library):
    frames_of = pytest.importorskip(library)
    model = model_of()
    columns = {"remark": ["so"] * 90, "id": [f"row {place}" for place in range(90)]}
    columns |= {name: X[:, NAMES.index(name)] for name in MOVED}
    make = frames_of.table if library == "pyarrow" else frames_of.DataFrame
    frame = make(columns)
    with pytest.warns(MatchWarning, match="left out 'remark', 'id'"):
        np.testing.assert_array_equal(model.predict(frame), model.predict(X))
    with pytest.warns(MatchWarning, match="left out 'remark', which"):
        fastlin.save_predictions(model, frame, "p.csv")
    assert lines_of("p.csv")[0] == ["id", "class"]
    expected = zip(columns["id"], model.predict_names(X).tolist(), strict=True)
    assert lines_of("p.csv")[1:] == [list(line) for line in expected]
