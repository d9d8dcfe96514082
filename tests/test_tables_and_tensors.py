"""Estimators on tables, tensors and arrays as users have them, against the plain array."""

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="estimators need scikit-learn 1.6")

from sklearn.datasets import make_classification
from sklearn.utils.validation import _get_feature_names

from fastlin.estimators.classifiers import SoftmaxClassifier
from fastlin.estimators.path import SoftmaxClassifierCV

FEATURES = [f"x{j}" for j in range(8)]
NAMES = np.array(["ant", "bee", "cow"])


@pytest.fixture(scope="module")
def rows():
    X, y = make_classification(
        300, 8, n_informative=6, n_redundant=0, n_classes=3, random_state=3, class_sep=0.8
    )
    return np.round(X, 3), y


@pytest.fixture(scope="module")
def plain(rows):
    return SoftmaxClassifier().fit(*rows)


def library(name):
    return pytest.importorskip(name, reason=f"needs {name}")


def assert_same(found, plain):
    assert np.array_equal(found.coef_, plain.coef_)
    assert np.array_equal(found.intercept_, plain.intercept_)


def refused(call, said, kind=ValueError):
    """Check that a call is refused, in one line that has some words in it."""
    with pytest.raises(kind, match=said) as error:
        call()
    assert "\n" not in str(error.value)


def table_of(name, X):
    frames = library(name)
    if name == "pandas":
        return frames.DataFrame(X, columns=FEATURES)
    table = frames.DataFrame(X, schema=FEATURES)
    if _get_feature_names(table) is None:
        pytest.skip("this scikit-learn does not see the names of this polars")
    return table


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_a_table_is_fitted_like_its_array_and_names_its_features(name, rows, plain):
    X, y = rows
    table = table_of(name, X)
    found = SoftmaxClassifier().fit(table, y)
    assert_same(found, plain)
    assert found.feature_names_in_.tolist() == FEATURES
    assert np.array_equal(found.predict_proba(table), plain.predict_proba(X))
    assert found.score(table, y) == plain.score(X, y)
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(table[FEATURES[::-1]])


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_columns_of_different_dtypes_become_float64(name, rows):
    X, y = rows
    mixed = X.copy()
    mixed[:, 0], mixed[:, 1] = np.round(10 * X[:, 0]), X[:, 1] > 0
    columns = dict(zip(FEATURES, mixed.T, strict=True))
    columns |= {"x0": mixed[:, 0].astype(np.int64), "x1": mixed[:, 1].astype(bool)}
    found = SoftmaxClassifier().fit(library(name).DataFrame(columns), y)
    assert_same(found, SoftmaxClassifier().fit(mixed, y))


@pytest.mark.parametrize("dtype", ["Float64", "Int64"])
def test_nullable_columns_are_numbers_until_a_value_is_missing(dtype, rows, plain):
    pandas = library("pandas")
    X, y = rows
    values = X if dtype == "Float64" else np.round(10 * X)
    table = table_of("pandas", values).astype(dtype)
    found = SoftmaxClassifier().fit(table, y)
    assert_same(found, plain if dtype == "Float64" else SoftmaxClassifier().fit(values, y))
    table.loc[5, "x2"] = pandas.NA
    for call in (lambda: SoftmaxClassifier().fit(table, y), lambda: found.predict(table)):
        refused(call, "X has NaN, or no value, in row 5, column 'x2'; leave the row out")


@pytest.mark.parametrize("whole", [False, True])
def test_a_null_of_polars_is_refused_with_its_place(whole, rows):
    polars = library("polars")
    X, y = rows
    values = [None if row == 5 else value for row, value in enumerate((10 * X[:, 2]).tolist())]
    column = polars.Series("x2", values).round()
    table = table_of("polars", X).with_columns(column.cast(polars.Int64) if whole else column)
    refused(lambda: SoftmaxClassifier().fit(table, y), "in row 5, column 'x2'")
    refused(lambda: SoftmaxClassifier().fit(table.lazy(), y), r"LazyFrame; give X.collect\(\)")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_refused_with_its_place(value, rows, plain):
    X, y = rows
    wrong = X.copy()
    wrong[7, 3] = wrong[9, 0] = value
    for model in (SoftmaxClassifier(), SoftmaxClassifierCV(Cs=[1.0], cv=2)):
        refused(lambda model=model: model.fit(wrong, y), "in row 7, column 3; ")
    refused(lambda: plain.predict(wrong), "in row 7, column 3; ")


LABELS = {
    "pandas Series": ("pandas", lambda pandas, text: pandas.Series(text)),
    "pandas Series of another index": (
        "pandas", lambda pandas, text: pandas.Series(text, index=range(len(text))[::-1])
    ),
    "pandas Categorical": (
        "pandas", lambda pandas, text: pandas.Categorical(text, ["emu", "cow", "bee", "ant"])
    ),
    "pandas Series of categories": (
        "pandas", lambda pandas, text: pandas.Series(text).astype("category")
    ),
    "polars Series": ("polars", lambda polars, text: polars.Series(text)),
    "polars Categorical": (
        "polars", lambda polars, text: polars.Series(text, dtype=polars.Categorical)
    ),
    "polars Enum": (
        "polars", lambda polars, text: polars.Series(text, dtype=polars.Enum(["cow", "bee", "ant"]))
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_a_table_are_those_of_its_array(kind, rows, plain):
    X, y = rows
    name, make = LABELS[kind]
    labels = make(library(name), NAMES[y].tolist())
    found = SoftmaxClassifier().fit(X, labels)
    assert_same(found, plain)
    assert found.classes_.tolist() == list(found.model_.class_names) == NAMES.tolist()
    assert found.predict(X).tolist() == NAMES[plain.predict(X)].tolist()
    assert found.score(X, labels) == plain.score(X, y)


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_a_missing_label_is_refused_in_one_line(name, rows):
    X, y = rows
    text = [None if row == 4 else label for row, label in enumerate(NAMES[y].tolist())]
    refused(lambda: SoftmaxClassifier().fit(X, library(name).Series(text)), "no label in row 4")


@pytest.mark.parametrize("dtype", [object, "str", "string", "category", "Int64", "float64"])
def test_a_label_that_pandas_calls_missing_is_refused_by_its_row(dtype, rows):
    pandas = library("pandas")
    X, y = rows
    numbers = dtype in ("Int64", "float64")
    labels = pandas.Series(y if numbers else NAMES[y], dtype="float64" if numbers else None)
    labels = labels.mask(labels.index == 4).astype(dtype)
    for given in (labels, labels.to_numpy()):
        refused(lambda given=given: SoftmaxClassifier().fit(X, given), "y has no label in row 4")


def test_labels_that_are_no_labels_are_refused_in_one_line(rows):
    X, y = rows
    text = NAMES[y].astype(object)
    for value, said in ((None, "y has no label in row 4"), (7, "labels of several kinds, such as")):
        wrong = text.copy()
        wrong[4] = value
        refused(lambda wrong=wrong: SoftmaxClassifier().fit(X, wrong), said)


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_weights_of_a_table_are_those_of_its_array(name, rows):
    X, y = rows
    weights = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    found = SoftmaxClassifier().fit(X, y, library(name).Series(weights))
    assert_same(found, SoftmaxClassifier().fit(X, y, weights))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "uint8", "int32"])
def test_a_tensor_is_fitted_like_its_array(dtype, rows):
    torch = library("torch")
    X, y = rows
    X = np.clip(20 * X + 100, 0, 255).astype(dtype)
    tensor, labels = torch.from_numpy(X), torch.from_numpy(y)
    found, plain = (SoftmaxClassifier(l2=0.1).fit(*pair) for pair in ((tensor, labels), (X, y)))
    assert_same(found, plain)
    assert np.array_equal(found.predict(tensor), plain.predict(X))
    assert found.score(tensor, labels) == plain.score(X, y)


def test_a_tensor_of_bfloat16_is_fitted_as_the_numbers_it_holds(rows):
    torch = library("torch")
    X, y = rows
    tensor = torch.from_numpy(X).bfloat16()
    found = SoftmaxClassifier().fit(tensor, y)
    assert_same(found, SoftmaxClassifier().fit(tensor.float().numpy(), y))


def test_tensors_of_weights_and_classes_are_arrays(rows):
    torch = library("torch")
    X, y = rows
    weights = torch.arange(len(y)) % 4
    for make in (SoftmaxClassifier, lambda: SoftmaxClassifierCV(Cs=[0.1, 1.0], cv=2)):
        assert_same(make().fit(X, y, weights), make().fit(X, y, weights.numpy()))
    stream = SoftmaxClassifier(solver="sgd", l2=1e-3)
    assert stream.partial_fit(X, y, torch.arange(3)).classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("what", ["X", "y", "sample_weight"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensor: tensor.requires_grad_(), r"requires a gradient; give {}\.detach\(\)"),
        (lambda tensor: tensor.to("meta"), r"on the device meta; give {}\.cpu\(\)"),
        (lambda tensor: tensor.to_sparse(), r"sparse tensor; give {}\.to_dense\(\)"),
        (lambda tensor: tensor._neg_view(), r"{} is a tensor without an array"),
    ],
    ids=["gradient", "device", "sparse", "negative view"],
)
def test_a_tensor_that_is_no_array_is_refused_with_what_to_do(what, change, said, rows, plain):
    torch = library("torch")
    X, y = rows
    given = {"X": X, "y": y, "sample_weight": np.ones(len(y))}
    given[what] = change(torch.tensor(given[what], dtype=torch.float64))
    refused(lambda: SoftmaxClassifier().fit(**given), said.format(what))
    if what == "X":
        refused(lambda: plain.predict(given["X"]), said.format(what))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8])
def test_rows_are_kept_as_they_are_stored(dtype, rows, monkeypatch):
    from fastlin.estimators import base

    kept = []
    of_rows = base.Dataset

    def watched(X, *others, **settings):
        kept.append(X)
        return of_rows(X, *others, **settings)

    monkeypatch.setattr(base, "Dataset", watched)
    X, y = rows
    X = np.clip(20 * X + 100, 0, 255).astype(dtype)
    found = SoftmaxClassifier(l2=0.1).fit(X, y)
    assert kept[0].dtype == dtype
    assert np.shares_memory(kept[0], X)
    assert found.model_.scale == 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_a_read_only_memory_map_is_fitted_like_the_array(dtype, rows, tmp_path):
    X, y = rows
    X = np.clip(20 * X + 100, 0, 255).astype(dtype)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    found = SoftmaxClassifier(l2=0.1).fit(mapped, y)
    assert_same(found, SoftmaxClassifier(l2=0.1).fit(X, y))
    assert np.array_equal(found.predict_proba(mapped), found.predict_proba(X))
