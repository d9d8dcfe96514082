"""The race to the optimum: what it measures is what it says, on a small problem."""

import numpy as np
import pytest

from benchmarks import exact


@pytest.fixture(scope="module")
def problem():
    return exact.embeddings(400, 16, 5, 1e-3)


def test_the_objective_is_that_of_the_weights(problem):
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(5, 16)), rng.normal(size=5)
    scores = problem.X.astype(float) @ W.T + b
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = -np.log(p[np.arange(400), problem.y]).mean() + 1e-3 * (W**2).sum()
    assert exact.objective(problem, W, b) == pytest.approx(expected, rel=1e-12)


def test_all_who_are_installed_come_to_the_same_objective(problem):
    everyone = [one for one in exact.contestants(300) if one.library.is_installed()]
    assert {"fastlin", "scikit-learn lbfgs, float64"} <= {one.name for one in everyone}
    found = exact.race(problem, everyone, threads=1)
    ends = [stages[-1].objective for stages in found.values()]
    assert max(ends) / min(ends) - 1 < 1e-3
    best = found["fastlin"][-1]
    assert best.objective - min(ends) <= best.proved
    lines = exact.table(problem, found)
    assert sum(line.startswith("| fastlin |") for line in lines) == 4


def test_one_who_fails_has_no_line(problem, capsys):
    broken = exact.Contestant("broken", exact.FASTLIN, "raise ValueError('so it is')")
    assert exact.race(problem, [broken], threads=1) == {"broken": []}
    assert "broken failed: ValueError: so it is" in capsys.readouterr().err
