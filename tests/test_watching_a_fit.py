"""What is said while an estimator is fitted: lines, callbacks, and that kernels are compiled."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="estimators need scikit-learn 1.6")

from sklearn import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV

from fastlin.estimators import fits
from fastlin.estimators.classifiers import SoftmaxClassifier
from fastlin.estimators.path import SoftmaxClassifierCV

SGD = {"solver": "sgd", "max_iter": 4, "random_state": 0}


@pytest.fixture(scope="module")
def rows():
    return make_classification(
        300, 8, n_informative=6, n_redundant=0, n_classes=3, random_state=3, class_sep=0.8
    )


@pytest.fixture
def callback():
    return pytest.importorskip("sklearn.callback", reason="callbacks came with scikit-learn 1.9")


def test_verbose_writes_a_line_for_every_step_to_stdout(rows, capsys):
    found = SoftmaxClassifier(verbose=True).fit(*rows)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found.history_) > 3
    for line, step in zip(lines, found.history_, strict=True):
        proof = f"relative gap at most {step.gap:.1e}" if np.isfinite(step.gap) else "no bound yet"
        assert line == f"pass {step.passes}: objective {step.objective:.9g}, {proof}"


def test_a_fit_without_a_penalty_says_why_it_has_no_bound(rows, capsys):
    found = SoftmaxClassifier(verbose=True, l2=0.0, tol=1e-3).fit(*rows)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found.history_)
    assert all(line.endswith(", no bound, as l2 is 0") for line in lines)


def test_verbose_writes_a_line_for_every_epoch_to_stdout(rows, capsys):
    found = SoftmaxClassifier(verbose=True, **SGD).fit(*rows)
    lines = capsys.readouterr().out.splitlines()
    history = found.history_
    assert lines == [
        f"epoch {epoch + 1}: train cost {history.train_cost[epoch]:.4g}, "
        f"accuracy {history.train_accuracy[epoch]:.2%}"
        for epoch in range(4)
    ]


@pytest.mark.parametrize("settings", [{}, SGD])
def test_a_fit_is_quiet_by_default(settings, rows, capsys):
    SoftmaxClassifier(**settings).fit(*rows).predict(rows[0])
    assert capsys.readouterr().out == ""


class Recorder:
    """Keeps what it hears, and asks to stop after some steps."""

    def __init__(self, most=None):
        self.heard, self.most = [], most

    def setup(self, estimator, context):
        self.heard.append("setup")

    def teardown(self, estimator, context):
        self.heard.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.heard.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.heard.append(f"end {context.task_name}")
        self.X, self.y, self.metadata = X, y, metadata
        if fitted_estimator is not None:
            self.heard.append(float(fitted_estimator.score(X, y)))
        return self.heard.count(f"end {context.task_name}") == self.most

    def scores(self):
        return [heard for heard in self.heard if isinstance(heard, float)]


@pytest.mark.parametrize(("settings", "step"), [({}, "step"), (SGD, "epoch")])
def test_callbacks_hear_of_every_step_with_the_classifier_so_far(settings, step, rows, callback):
    X, y = rows
    heard = Recorder()
    weights = np.ones(len(y))
    found = SoftmaxClassifier(**settings).set_callbacks(heard).fit(X, y, weights)
    count = len(heard.scores()) - 1
    # After all steps the result may have an entry of its own, where it is rounded to float32.
    assert len(found.history_) - count in ({0, 1} if step == "step" else {0})
    assert heard.heard[:3] == ["setup", "begin fit", f"begin {step}"]
    assert heard.heard[-1] == "teardown"
    assert heard.heard.count(f"begin {step}") == heard.heard.count(f"end {step}")
    assert heard.heard.count("end fit") == 1
    assert heard.scores()[-2:] == [found.score(X, y)] * 2
    assert heard.X.shape == X.shape
    assert heard.metadata["sample_weight"] is weights
    if step == "epoch":
        told = SoftmaxClassifier(verbose=True, **settings).fit(X, y, weights)
        assert heard.scores()[:-1] == pytest.approx(list(told.history_.train_accuracy))
        assert heard.heard.count("begin epoch") == SGD["max_iter"]


@pytest.mark.parametrize("settings", [{}, SGD])
def test_a_callback_changes_nothing_and_can_end_a_fit(settings, rows, callback):
    X, y = rows
    alone = SoftmaxClassifier(**settings).fit(X, y)
    watched = SoftmaxClassifier(**settings).set_callbacks(Recorder()).fit(X, y)
    assert np.array_equal(alone.coef_, watched.coef_)
    ended = SoftmaxClassifier(**settings).set_callbacks(Recorder(most=2)).fit(X, y)
    assert len(ended.history_) in ({2} if settings else {2, 3})  # perhaps with the result
    assert not np.array_equal(alone.coef_, ended.coef_)


def test_callbacks_end_when_a_fit_is_refused(rows, callback):
    X, y = rows
    heard = Recorder()
    model = SoftmaxClassifier(learning_rate_init=1e9, **SGD).set_callbacks(heard)
    with pytest.raises(ValueError, match="diverged"):
        model.fit(X, y)
    assert heard.heard[-1] == "teardown"
    assert clone(model).get_params() == model.get_params()


def test_callbacks_hear_of_the_folds_of_a_cross_validation(rows, callback):
    heard = Recorder()
    found = SoftmaxClassifierCV(Cs=[0.1, 1.0], cv=2).set_callbacks(heard).fit(*rows)
    assert heard.heard.count("begin fold") == heard.heard.count("end fold") == 2
    assert heard.scores() == [found.score(*rows)]


def test_the_callbacks_of_scikit_learn_take_ours(rows, callback, capsys):
    X, y = rows
    monitor = callback.ScoringMonitor(scoring="neg_log_loss")
    # The penalty is so small that a cost is the mean loss.
    model = SoftmaxClassifier(l2=1e-9, verbose=True, **SGD)
    found = model.set_callbacks(monitor, callback.ProgressBar()).fit(X, y)
    logged = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    scores = [row["neg_log_loss"] for row in logged]
    assert scores == pytest.approx([-cost for cost in found.history_.train_cost], rel=1e-5)
    assert "SoftmaxClassifier - fit" in capsys.readouterr().out
    search = GridSearchCV(SoftmaxClassifier(), {"C": [0.1, 1.0]}, cv=2)
    search.set_callbacks(callback.ProgressBar()).fit(X, y)
    assert "SoftmaxClassifier - fit" in capsys.readouterr().out


FIT = """
import json, logging, os, sys
import numpy as np
from fastlin import SoftmaxClassifier
from fastlin.kernels import jit
X = np.random.default_rng(0).normal(size=(60, 4))
y = (X[:, 0] > 0).astype(int) + (X[:, 0] > 1)
{}
found = SoftmaxClassifier().fit(X, y)
json.dump([jit.compiled_count(), found.coef_.tolist(), found.predict(X).tolist()], sys.stdout)
"""

END_AT_THE_FIRST_LINE = """
class End(logging.Handler):
    def emit(self, record):
        print(record.getMessage(), flush=True)
        os._exit(0)
logging.getLogger("fastlin").addHandler(End())
"""


def fit_in_a_process(first="", **environment):
    return subprocess.run(
        [sys.executable, "-c", FIT.format(first)], env=os.environ | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip


def test_the_first_fit_says_that_it_compiles_before_it_does(tmp_path):
    done = fit_in_a_process(END_AT_THE_FIRST_LINE, NUMBA_CACHE_DIR=str(tmp_path))
    assert done.stdout == "fastlin: Compiling kernels for this machine (kept) ...\n"
    assert not list(tmp_path.rglob("*.kernel"))


def test_a_second_process_compiles_nothing_and_says_nothing():
    first = json.loads(fit_in_a_process().stdout)
    second = fit_in_a_process()
    assert json.loads(second.stdout) == [0, *first[1:]]
    assert second.stderr == ""


def test_that_kernels_are_compiled_is_logged(caplog):
    import numba

    with fits.compiling():
        assert not caplog.records
        numba.njit(lambda x: x + 1)(1)
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("fastlin", "WARNING")
    ]
