from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import fastlin
from fastlin import Split
from fastlin.commands import main
from fastlin.files import read_json
from fastlin.metrics import METRICS
from fastlin.report.run_metrics import metrics_table
from fastlin.training.measuring import measure_matched


def rows(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 9, n)
    return (np.eye(9)[y] + rng.standard_normal((n, 9))).astype(np.float32), y


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (X, y), (X_val, y_val) = rows(300, 0), rows(120, 1)
    np.savez("t.npz", X_train=X, y_train=y, X_val=X_val, y_val=y_val)


@pytest.mark.parametrize("loss", ["softmax", "hinge"])
def test_the_page_of_a_run_has_its_metrics_as_evaluate_prints_them(data, loss):
    def call(*words):
        found = CliRunner().invoke(main, list(words))
        assert found.exit_code == 0, found.output
        return found.stdout

    call("train", "--data", "t.npz", "--epochs", "2", "--loss", loss, "--no-figures", "--out", "r")
    call("report", "r", "--out", "page")
    text = Path("page/summary.md").read_text(encoding="utf-8")
    results = read_json("r/summary.json")["results"]["last"]["val"]
    for metric in METRICS:
        is_of_softmax = metric.name in {"log_loss", "calibration_error"}
        assert (metric.name in results) == (loss == "softmax" or not is_of_softmax)
        if metric.name in results:
            value = results[metric.name]
            assert (f"{100 * value:.2f} %" if metric.is_share else f"{value:.4f}") in text
    low, high = results["accuracy_low"], results["accuracy_high"]
    assert f"{100 * low:.2f} % to {100 * high:.2f} %" in text
    assert Path("page/figures/run-1-classes.png").exists()
    assert Path("page/figures/run-1-calibration.png").exists() == (loss == "softmax")


def test_a_metric_that_a_part_lacks_is_a_dash():
    X, y = rows(200, 2)
    split = Split.from_arrays(X, y)
    tallies = {
        part: measure_matched(fastlin.train(split, epochs=1, loss=loss).model, split.train)
        for part, loss in (("val", "softmax"), ("test", "hinge"))
    }
    table = metrics_table(tallies)
    assert [row.cells[0] for row in table.rows] == ["validation", "test"]
    assert [len(row.cells) for row in table.rows] == 2 * [len(table.columns)]
    assert table.rows[0].cells[-1] != table.rows[1].cells[-1] == "\N{EN DASH}"
