"""Programs that take a classifier of scikit-learn, with ours in the place of theirs."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="estimators need scikit-learn 1.6")

from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from fastlin.estimators.classifiers import SoftmaxClassifier

# tol of theirs is on the gradient, of ours on the objective.
OURS = SoftmaxClassifier(C=1.0, tol=1e-10)
THEIRS = LogisticRegression(C=1.0, tol=1e-9, max_iter=1000)


@pytest.fixture(scope="module")
def rows():
    """Rows, labels of which every twentieth is wrong, and which ones are."""
    X, y = make_classification(
        300, 8, n_informative=6, n_redundant=0, n_classes=3, random_state=3, class_sep=2.0
    )
    is_wrong = np.arange(len(y)) % 20 == 0
    return X, np.where(is_wrong, (y + 1) % 3, y), is_wrong


def test_cleanlab_finds_the_same_label_issues(rows):
    filters = pytest.importorskip("cleanlab.filter", reason="needs cleanlab")
    X, y, is_wrong = rows
    found = [
        filters.find_label_issues(y, cross_val_predict(model, X, y, cv=3, method="predict_proba"))
        for model in (OURS, THEIRS)
    ]
    assert np.array_equal(*found)
    assert found[0][is_wrong].mean() > 0.5


def test_cleanlab_cleans_with_ours(rows):
    classification = pytest.importorskip("cleanlab.classification", reason="needs cleanlab")
    X, y, is_wrong = rows
    found = []
    for model in (OURS, THEIRS):
        cleaner = classification.CleanLearning(model, seed=0, cv_n_folds=3).fit(X, y)
        found.append((cleaner.get_label_issues()["is_label_issue"], cleaner.predict(X)))
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])
    assert found[0][0][is_wrong].mean() > 0.5


def mteb_task(model, rows):
    """Return a classification task of MTEB whose texts are the numbers of rows."""
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.classification import AbsTaskClassification
    from mteb.abstasks.task_metadata import TaskMetadata

    _, y, _ = rows

    class Numbers(AbsTaskClassification):
        metadata = TaskMetadata(
            name="Numbers", description="Classes of row numbers.", type="Classification",
            category="t2c", modalities=["text"], eval_splits=["test"], eval_langs=["eng-Latn"],
            main_score="accuracy", dataset={"path": "none", "revision": "none"}, reference=None,
            date=None, domains=None, task_subtypes=None, license=None, annotations_creators=None,
            dialect=None, sample_creation=None, bibtex_citation=None,
        )  # fmt: skip
        evaluator_model = model
        samples_per_label = 32
        n_experiments = 3

        def load_data(self, **_):
            parts = {"train": range(200), "test": range(200, 300)}
            self.dataset = DatasetDict(
                {
                    name: Dataset.from_dict({"text": [str(row) for row in part], "label": y[part]})
                    for name, part in parts.items()
                }
            )
            self.data_loaded = True

    return Numbers()


class Embedding:
    """An encoder of MTEB: the vector of a text is a row."""

    def __init__(self, X):
        self.X = X.astype(np.float32)
        self.mteb_model_meta = None

    def encode(self, inputs, **_):
        return self.X[[int(text) for batch in inputs for text in batch["text"]]]

    def similarity(self, a, b):
        raise NotImplementedError

    similarity_pairwise = similarity


def test_the_classification_of_mteb_scores_the_same(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of importing
        pytest.importorskip("mteb.abstasks.classification", reason="needs mteb")
        tasks = [mteb_task(model, rows) for model in (OURS, THEIRS)]
        ours, theirs = (
            task.evaluate(Embedding(rows[0]), encode_kwargs={})["default"] for task in tasks
        )
    assert ours["accuracy"] == pytest.approx(theirs["accuracy"], abs=0.011)
    assert ours["accuracy"] > 0.6
    assert len(ours["scores_per_experiment"]) == 3
