"""Folds, weights, classes and values that estimators cannot take, and what they say of them."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="estimators need the extra sklearn")

from fastlin import GridSearch, HingeClassifier, SoftmaxClassifier, SoftmaxClassifierCV
from fastlin.threads import available

N = 12
FIRST, LAST = np.arange(N) < 8, np.arange(N) >= 8
SEARCHES = {
    "C of a path": lambda cv: SoftmaxClassifierCV(Cs=[0.1, 1.0], cv=cv),
    "grid": lambda cv: GridSearch(SoftmaxClassifier(), {"C": [0.1, 1.0]}, cv=cv),
}


def rows():
    """Return N rows of 3 features and 2 classes, by turns."""
    X = np.random.default_rng(0).standard_normal((N, 3))
    return X, np.arange(N) % 2


def refusal(action):
    """Return the one line that an action is refused with."""
    with np.errstate(all="raise"), pytest.raises(ValueError) as refused:  # noqa: PT011
        action()
    text = str(refused.value)
    assert "\n" not in text
    return text


@pytest.fixture(params=SEARCHES)
def search(request):
    """Return a search over folds, by what makes them."""
    return SEARCHES[request.param]


@pytest.mark.parametrize(
    ("cv", "words"),
    [
        ([], "cv has no folds; give at least one"),
        ([(FIRST, LAST), ([], LAST)], "fold 2 of cv: the rows to fit have shape (0,)"),
        ([(FIRST, [])], "fold 1 of cv: the rows to score have shape (0,)"),
        ([(FIRST, [[8, 9]])], "fold 1 of cv: the rows to score have shape (1, 2)"),
        ([(FIRST, [8, N])], f"the rows to score have the number {N}; it must be from 0 to {N - 1}"),
        ([([0, 1, -N - 1], LAST)], f"the rows to fit have the number {-N - 1}"),
        ([(FIRST[:-1], LAST)], f"the rows to fit are a mask of {N - 1} rows, 8 of them chosen"),
        ([(FIRST, np.zeros(N, bool))], f"the rows to score are a mask of {N} rows, 0 of them"),
        ([(FIRST, [8.0, 9.0])], "the rows to score have dtype float64; they must be numbers"),
        ([(FIRST,)], "fold 1 of cv is ("),
        ([(FIRST, LAST, LAST)], "it must be a pair"),
        ([1, 2], "fold 1 of cv is 1; it must be a pair"),
    ],
)  # fmt: skip
def test_folds_that_are_none_are_refused(search, cv, words):
    assert words in refusal(lambda: search(cv).fit(*rows()))


def test_folds_may_be_masks_numbers_and_numbers_from_the_end(search):
    kinds = [
        (FIRST, LAST),
        (np.flatnonzero(FIRST), np.flatnonzero(LAST)),
        (FIRST.tolist(), (np.flatnonzero(LAST) - N).astype(np.int32)),
    ]
    found = [search(iter([fold])).fit(*rows()) for fold in kinds]
    scores = [
        one.scores_ if hasattr(one, "scores_") else one.cv_results_["split0_test_score"]
        for one in found
    ]
    assert np.array_equal(scores[0], scores[1])
    assert np.array_equal(scores[0], scores[2])


@pytest.mark.parametrize("solver", ["exact", "sgd"])
@pytest.mark.parametrize("value", [1e39, -1e300])
def test_values_that_are_too_large_are_refused_in_words_of_estimators(solver, value):
    X, y = rows()
    fitted = SoftmaxClassifier(solver=solver).fit(X, y)
    X[5, 1] = value
    words = f"X has the value {value!r} in row 5, column 1; it must be finite, and of a size of"
    assert words in refusal(lambda: SoftmaxClassifier(solver=solver).fit(X, y))
    assert words in refusal(lambda: fitted.predict(X))


def test_a_value_of_a_later_block_has_its_own_row():
    X, y = np.zeros((5000, 2)), np.arange(5000) % 2
    X[4321, 1] = np.inf
    assert "inf in row 4321, column 1" in refusal(lambda: SoftmaxClassifier().fit(X, y))


def test_more_threads_than_there_are_have_the_name_of_the_parameter():
    words = f"n_threads is {available() + 1}; this process can use 1 to {available()}"
    for one in (
        SoftmaxClassifier(n_threads=available() + 1),
        SoftmaxClassifierCV(n_threads=available() + 1),
        GridSearch(SoftmaxClassifier(), {"C": [1.0]}, cv=2, n_threads=available() + 1),
    ):
        assert words in refusal(lambda one=one: one.fit(*rows()))


def test_a_share_that_holds_out_no_row_has_the_name_of_the_parameter():
    one = SoftmaxClassifier(solver="sgd", early_stopping=True, validation_fraction=1e-3)
    words = "validation_fraction is 0.001, which of 12 rows holds out none of any class"
    assert words in refusal(lambda: one.fit(*rows()))
    search = GridSearch(one, {"l2": [0.1]}, cv=2)
    assert "validation_fraction is 0.001" in refusal(lambda: search.fit(*rows()))


@pytest.mark.parametrize("make", [SoftmaxClassifier, HingeClassifier])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 2.0, 1: 1.0}])
def test_weights_without_a_finite_sum_are_refused(make, class_weight):
    words = refusal(
        lambda: make(class_weight=class_weight).fit(*rows(), sample_weight=np.full(N, 1e308))
    )
    assert "the largest 1e+308, have no finite sum" in words


@pytest.mark.parametrize("weight", [1e308, np.inf, np.nan])
def test_class_weights_without_a_finite_sum_are_refused(weight):
    one = SoftmaxClassifier(class_weight={0: weight, 1: 1.0})
    assert "have no finite sum" in refusal(lambda: one.fit(*rows()))


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ([[0, 1]], "classes is [[0, 1]]; it must be a list of labels"),
        ([[0, 1], [2]], "classes is [[0, 1], [2]]; it must be a list of labels"),
        (5, "classes is 5; it must be a list of labels"),
        ([0, None], "classes is [0, None]; None and NaN are no labels"),
        ([0.0, float("nan")], "None and NaN are no labels"),
        ([0, "a"], "classes has labels of several kinds, [0, 'a']; give one kind"),
        ([2**53 + 1, 2.0**53], "classes has labels of several kinds"),
        (np.array([0, "a"], object), "classes has labels of several kinds, such as 0 and 'a'"),
        ([0], "it must be at least two labels"),
    ],
)
def test_classes_of_a_stream_that_are_no_labels_are_refused(classes, words):
    one = SoftmaxClassifier(solver="sgd")
    assert words in refusal(lambda: one.partial_fit(*rows(), classes=classes))


def test_a_whole_number_is_not_the_float_that_it_rounds_to():
    X, y = rows()
    one = SoftmaxClassifier(solver="sgd")
    labels = y + 2**53
    words = f"y has the label {2**53 + 1}, which is none of classes"
    classes = np.array([0.0, 2.0**53])
    assert words in refusal(lambda: one.partial_fit(X, labels, classes=classes))


@pytest.mark.parametrize("classes", [(1, 0), np.array([0, 1, 1]), [0, 1.0], [np.int64(1), 0]])
def test_classes_of_a_stream_may_be_any_list(classes):
    one = SoftmaxClassifier(solver="sgd").partial_fit(*rows(), classes=classes)
    assert one.classes_.tolist() == [0, 1]
