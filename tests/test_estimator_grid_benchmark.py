"""The race of searches over C: everyone searches the same, and who fails has no line."""

import pytest

pytest.importorskip("sklearn", "1.6", reason="estimators need scikit-learn 1.6")

from benchmarks import estimator_grid
from benchmarks.exact import embeddings


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_everyone_finds_about_the_same(monkeypatch):
    monkeypatch.setattr(estimator_grid, "CS", [0.1, 10.0])
    problem = embeddings(600, 16, 5, 0.0)
    found = [
        estimator_grid.search(name, problem.X, problem.y, threads=1)
        for name in estimator_grid.CONTESTANTS
    ]
    scores = [row.score for row in found]
    assert max(scores) - min(scores) < 0.01
    assert {row.C for row in found} <= {0.1, 10.0}
    lines = estimator_grid.table(found)
    assert len(lines) == 2 + len(found)
    assert lines[2].startswith("| GridSearchCV, LogisticRegression |")


def test_each_has_a_process_and_one_that_fails_has_no_row(capsys):
    names = ["somebody else", "GridSearch, SoftmaxClassifier"]
    [row] = estimator_grid.race(names, (600, 16, 5), threads=1)
    assert row.name == names[1]
    assert row.seconds > 0
    assert "somebody else failed" in capsys.readouterr().err
