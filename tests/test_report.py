import csv
import json
import math
import shlex
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from click.testing import CliRunner
from command_line import call
from hypothesis import given
from hypothesis import strategies as st
from small_study import EPOCHS, SEEDS, Silent, published_as, study_of, write_images

import fastlin
from fastlin import TrainConfig, metrics, reference
from fastlin.commands import main
from fastlin.commands.train import train as train_command
from fastlin.errors import DivergedError, InputError
from fastlin.report import folders, page, statistics, wording
from fastlin.report import results as files
from fastlin.report.runs import GridRow
from fastlin.report.statistics import RELEVANCE, Difference, holm
from fastlin.report.study import experiments as study
from fastlin.report.study.findings import best_run
from fastlin.report.study.running import Runner
from fastlin.search.reading import parse_values
from fastlin.training.grid import GridTrainer
from fastlin.training.order import epoch_order
from fastlin.training.state import initial_weights


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of a small data set with hostile class names: the folder of its report."""
    place = tmp_path_factory.mktemp("made")
    write_images(place / "small.npz")
    with published_as(fastlin.load_split(place / "small.npz")):
        call(
            "report", "--data", place / "small.npz", "--seeds", SEEDS, "--epochs", EPOCHS,
            "--out", place / "report",
        )  # fmt: skip
        yield place / "report"


@pytest.fixture(scope="module")
def small(made):
    """The same study in this process, from its checkpoints."""
    found = study_of(made.parent / "small.npz", made)
    assert found.runner.trained == 0
    return found


def table_of(folder):
    """Return the rows of results.csv by experiment."""
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: [row for row in rows if row["experiment"] == name]
            for name in dict.fromkeys(row["experiment"] for row in rows)}  # fmt: skip


def test_paired_differences_are_those_of_scipy():
    rng = np.random.default_rng(0)
    for n in (3, 5, 30):
        first, second = rng.random(n), rng.random(n)
        comp = statistics.paired_difference(first, second)
        ref = scipy.stats.ttest_rel(second, first)
        interval = ref.confidence_interval(0.95)
        assert comp.n == n
        assert comp.mean == pytest.approx(np.mean(second - first))
        assert comp.p == pytest.approx(ref.pvalue)
        assert (comp.low, comp.high) == pytest.approx((interval.low, interval.high))


def test_paired_differences_without_spread_or_pairs():
    for first, second in (([0.25, 0.5, 0], [0.25, 0.5, 0]), ([0.25, 0.5, 0], [0.5, 0.75, 0.25])):
        same = statistics.paired_difference(first, second)
        assert (same.error, same.low, same.high, same.p) == (0, None, None, None)
        assert wording.verdict(same) == "the same in every seed"
        assert not same.is_seen
    published = statistics.published_difference(0.5, [0.25, 0.25, 0.25])
    assert (published.mean, published.interval, published.p) == (-0.25, None, None)


@pytest.mark.parametrize("seeds", range(1, statistics.MIN_SEEDS))
def test_few_seeds_have_neither_interval_nor_p(seeds):
    values = [0.25, 0.5, 0.75][:seeds]
    few = statistics.paired_difference(values, [0.5, 0.5, 0.5][:seeds])
    judged = holm({"few": few, "other": statistics.published_difference(0.9, values)})
    for found in (few, *judged.values()):
        assert (found.interval, found.p, found.is_seen) == (None, None, False)
        assert wording.verdict(found) == "too few seeds"
        assert {found.agreement(claim) for claim in ("none", "gain", "loss")} == {"open"}


def test_an_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    noise = rng.normal(0.1, 1, (2000, 5))
    covered = 0
    for row in noise:
        found = statistics.paired_difference(np.zeros(5), row)
        covered += found.low <= 0.1 <= found.high
    assert covered / len(noise) == pytest.approx(0.95, abs=0.015)


def difference(p):
    """A difference with a p-value: one of 0 would have p = 1."""
    return statistics._difference(-float(scipy.stats.t.ppf(p / 2, 4)), 1.0, 5)


def test_holm_is_the_published_procedure():
    family = {str(p): difference(p) for p in (0.01, 0.04, 0.03, 0.005)}
    judged = holm(family)
    assert [found.p for found in judged.values()] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [found.p for found in holm({"a": difference(0.9), "b": difference(0.8)}).values()] == [
        1, 1,
    ]  # fmt: skip
    assert [found.is_seen for found in judged.values()] == [True, False, False, True]


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8))
def test_an_interval_excludes_0_where_the_adjusted_p_value_is_small(p_values):
    for found in holm({str(i): difference(p) for i, p in enumerate(p_values)}).values():
        if abs(found.p - 0.05) > 1e-9:
            assert found.is_seen == (found.p < 0.05)
        assert found.low <= found.mean <= found.high


def test_a_lone_difference_keeps_its_interval():
    found = statistics.paired_difference([0.1, 0.2, 0.4], [0.2, 0.2, 0.5])
    judged = holm({"one": found})["one"]
    assert (judged.low, judged.high, judged.p) == pytest.approx((found.low, found.high, found.p))


def test_a_published_value_is_one_more_seed():
    rng = np.random.default_rng(0)
    values = rng.normal(0.37, 0.01, 5)
    found = statistics.published_difference(0.36, values)
    reach = scipy.stats.t.ppf(0.975, 4) * values.std(ddof=1) * math.sqrt(1 + 1 / 5)
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - 0.36 - reach, values.mean() - 0.36 + reach)
    )
    draws = rng.normal(0, 1, (4000, 6))
    is_seen = [statistics.published_difference(row[0], row[1:]).is_seen for row in draws]
    assert np.mean(is_seen) == pytest.approx(0.05, abs=0.012)


def test_the_study_is_what_was_published():
    settings = {e.id: e.config(0, 40) for e in study.all_experiments()}
    batch_100 = {"batch_size": 100, "lr": 0.01, "lr_decay": 1.0}
    assert settings["S0"] == TrainConfig(**batch_100, l2=0.01, shuffle=False)
    assert settings["S1"] == TrainConfig(**batch_100, l2=0.01)
    assert settings["X0"] == TrainConfig(**batch_100, l2=0.0)
    assert settings["X1"] == TrainConfig(**batch_100, l2=0.0, init="xavier")
    assert settings["D1"] == TrainConfig(batch_size=100, l2=0.0, lr=0.02, lr_decay=0.9)
    winner = {"l2": 0.0001, "batch_size": 64, "lr": 0.02, "lr_decay": 0.9}
    assert settings["V1"] == TrainConfig(**winner, loss="hinge")
    grid = next(e for e in study.PUBLISHED if e.id == "G1").configs(3, 40)
    assert len(grid) == len(set(grid)) == 27
    assert TrainConfig(**winner, seed=3) in grid
    published = {e.id: e.published for e in study.PUBLISHED}
    assert published == {
        "S0": 0.365, "S1": 0.365, "X0": 0.3646, "X1": 0.3639, "D1": 0.3809, "G1": 0.3865,
        "V1": 0.3601,
    }  # fmt: skip


def test_every_command_on_the_page_gives_the_settings_beside_it(made, small):
    _, found = files.load_results(made)
    commands = {row.cells[0].partition(" ")[0]: row.command for section in found.sections
                for table in section.tables for row in table.rows
                if row.command and section.id != "optimum"}  # fmt: skip
    defaults = TrainConfig()
    assert commands.keys() == small.runs.keys()
    for name, text in commands.items():
        program, command, *words = shlex.split(text)
        assert program == "fastlin"
        if command == "grid":
            given = dict(zip(words[::2], words[1::2], strict=True))
            for setting, values in study.experiment(name).swept.items():
                listed = given[f"--{setting.replace('_', '-')}"]
                assert tuple(parse_values(setting, [listed])) == values
            continue
        parsed = train_command.make_context("train", words).params
        given = {name: value for name, value in parsed.items()
                 if value is not None and hasattr(defaults, name)}  # fmt: skip
        assert TrainConfig(**given) == small.runs[name][0].config


def independent_run(split, config):
    """Train with the NumPy twins in float64; return the costs per epoch and the predictions."""
    W, b = initial_weights(config, 5, split.train.X.shape[1])
    W, b = W.astype(np.float64), b.astype(np.float64)
    curves = {"train_cost": [], "val_cost": []}
    for epoch in range(1, config.epochs + 1):
        order = epoch_order(config, len(split.train), epoch)
        lr = config.lr * config.lr_decay ** (epoch - 1)
        reference.sgd_epoch(split.train.X, split.train.y, order, W, b, lr, config.l2,
                            config.batch_size, config.loss, 1 / 255)  # fmt: skip
        for part in ("train", "val"):
            data = split.parts()[part]
            losses, _ = reference.evaluate(data.X, data.y, W, b, config.loss, 1 / 255)
            curves[f"{part}_cost"].append(losses.mean() + reference.penalty(W, config.l2))
    _, predictions = reference.evaluate(split.test.X, split.test.y, W, b, config.loss, 1 / 255)
    return curves, predictions


@pytest.mark.parametrize("name", ["S0", "S1", "X1", "D1", "V1", "G1w", "H1"])
def test_numbers_are_those_of_an_independent_run_in_float64(made, small, name):
    split = fastlin.load_split(made.parent / "small.npz")
    for seed, run in enumerate(small.runs[name]):
        assert (run.config.seed, run.config.epochs) == (seed, EPOCHS)
        curves, predictions = independent_run(split, run.config)
        for curve, ref in curves.items():
            if run.has_curves:
                assert getattr(run.history, curve) == pytest.approx(np.array(ref), rel=2e-5)
            assert run.measure(curve) == pytest.approx(ref[-1], rel=2e-5)
        assert run.test_accuracy == np.count_nonzero(predictions == split.test.y) / 30


def test_a_comparison_is_that_of_its_experiments(small):
    for comparison in (*study.CONCLUSIONS, *study.DETAILS, *study.OUTLOOK):
        if small.has(comparison):
            first, second = ([run.test_accuracy for run in small.runs[name]]
                             for name in (comparison.first, comparison.second))  # fmt: skip
            mean = small.differences[comparison.id].mean
            assert mean == pytest.approx(np.mean(second) - np.mean(first))
    accuracies = [run.test_accuracy for run in small.runs["D1"]]
    assert small.differences["D1"].mean == pytest.approx(np.mean(accuracies) - 0.3809)


def test_the_grid_chooses_per_seed_by_validation_accuracy(made, small):
    for records, chosen in zip(small.candidates["G1"], small.runs["G1"], strict=True):
        assert chosen is best_run(records)
        assert chosen.val_accuracy == max(run.val_accuracy for run in records)
    winner, against = small.against_winner()
    config = small.candidates["G1"][0][winner].config
    assert (config.l2, config.batch_size, config.lr) == (0.0001, 64, 0.02)
    assert sorted([winner, *against]) == list(range(27))
    _, found = files.load_results(made)
    (table,) = next(section.tables for section in found.sections if section.id == "grid")
    means = [row.cells[2][0] for row in table.rows]
    assert means == sorted(means, reverse=True)


def test_the_best_is_chosen_by_validation_accuracy_alone(small):
    means = {name: small.sample(name, "val_accuracy").mean for name in small.runs}
    assert means[small.best] == max(means.values())


def test_wrong_images_are_wrong_and_the_surest_first(made, small):
    split = fastlin.load_split(made.parent / "small.npz")
    found = small.mistakes[small.best]
    sure = [row.probability for row in found.wrong]
    assert sure == sorted(sure, reverse=True)
    for row, image in zip(found.wrong, found.images, strict=True):
        assert row.true == split.test.y[row.row] != row.predicted
        assert np.array_equal(image.ravel(), split.test.X[row.row])


@pytest.fixture
def undrawn(monkeypatch):
    """Reports are written without page and pictures, which take most of the time."""
    monkeypatch.setattr(page, "draw_pictures", lambda *_: {})


def numbers(folder):
    """Return what a report says, without how, when and in what time it was computed."""
    _, found = files.load_results(folder)
    (table,) = next(section.tables for section in found.sections if section.id == "optimum")
    for row in table.rows:
        del row.cells[-2:]
    return [section for section in found.sections if section.id != "computed"]


def runs_told(folder):
    """Return how many runs there are, and how many of them were on disk."""
    _, found = files.load_results(folder)
    facts = dict(row.cells for row in found.sections[-1].tables[0].rows)
    return tuple(int(word) for word in facts["runs"].replace(",", "").split() if word.isdigit())


def test_an_interrupted_study_goes_on_and_ends_the_same(place, made, undrawn, monkeypatch):
    right, calls = Runner._train, []

    def interrupted(runner, split, block):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(len(block))
        return right(runner, split, block)

    asked = ("report", "--data", made.parent / "small.npz", "--seeds", SEEDS, "--epochs", EPOCHS,
             "--out", place / "again")  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(Runner, "_train", interrupted)
        assert "the same command goes on" in call(*asked, code=130).stderr
    assert not Path("again/results.json").exists()
    checkpoints = sorted(Path("again/checkpoints").iterdir())
    assert len(checkpoints) == 3
    checkpoints[0].write_bytes(checkpoints[0].read_bytes()[:1000])  # is trained again
    call(*asked)
    assert numbers(Path("again")) == numbers(made)
    assert (place / "again/results.csv").read_bytes() == (made / "results.csv").read_bytes()
    total, known = runs_told(Path("again"))
    assert total == runs_told(made)[0]
    assert 0 < known <= sum(calls)


def test_more_seeds_keep_what_is_there(made, undrawn):
    call("report", "--data", made.parent / "small.npz", "--seeds", 1, "--epochs", EPOCHS,
         "--out", "grown")  # fmt: skip
    assert all(len(rows) == 1 for name, rows in table_of(Path("grown")).items()
               if "grid" not in name)  # fmt: skip
    (claims, _) = numbers(Path("grown"))[1].tables
    assert all(row.cells[5:] == ["too few seeds", "open"] for row in claims.rows)
    call("report", "--data", made.parent / "small.npz", "--seeds", SEEDS, "--epochs", EPOCHS,
         "--out", "grown")  # fmt: skip
    assert numbers(Path("grown")) == numbers(made)
    assert runs_told(Path("grown"))[1] > 0


def test_results_csv_holds_every_run(made, small):
    rows = table_of(made)
    for name, runs in small.runs.items():
        for row, run in zip(rows[name], runs, strict=True):
            assert int(row["seed"]) == run.config.seed
            assert float(row["test_accuracy"]) == run.test_accuracy
    assert len(rows["G1 grid"]) == 27 * SEEDS


def test_a_report_is_drawn_again_from_its_results_alone(made):
    before = (made / page.PAGE).read_bytes(), (made / page.SUMMARY).read_bytes()
    call("report", made, "--out", "again")
    assert Path("again", page.PAGE).read_bytes() == before[0]
    call("report", made, "--out", "docs", "--markdown-only")
    assert Path("docs", page.SUMMARY).read_bytes() == before[1]
    assert {path.name for path in Path("docs").iterdir()} == {page.SUMMARY, page.FIGURES}
    call("report", made, "--out", "docs", "--markdown-only")


def test_runs_and_grids_are_reported(made):
    data = ("--data", made.parent / "small.npz", "--epochs", 2, "--no-figures")
    for seed in (0, 1):
        call("train", *data, "--seed", seed, "--out", f"run-{seed}")
    call("train", *data, "--loss", "hinge", "--lr", 0.001, "--out", "hinge")
    call("grid", *data, "--lr", "0.01,0.02", "--l2", "0,0.1", "--out", "grid")
    told = call("report", "run-0", "run-1", "hinge", "grid", "--out", "page").stdout
    assert "grid, winner" in told
    _, found = files.load_results(Path("page"))
    runs, seeds = found.sections[0].tables
    assert {row.cells[0] for row in runs.rows} == {"run-0", "run-1", "hinge", "grid, winner"}
    assert [row.cells[0] for row in seeds.rows] == ["run-0, run-1"]
    for row in runs.rows:
        if row.cells[0] != "grid, winner":
            last = json.loads(Path(row.cells[0], "summary.json").read_text())["results"]["last"]
            assert row.cells[1:7] == [last[part][what] for part in ("train", "val", "test")
                                      for what in ("cost", "accuracy")]  # fmt: skip
    grid = found.sections[1].tables[0]
    assert {(row.cells[1], row.cells[2]) for row in grid.rows} == {
        ("0.01", "0"), ("0.01", "0.1"), ("0.02", "0"), ("0.02", "0.1"),
    }  # fmt: skip
    foot = found.sections[1].pictures[0].foot
    assert "softmax" in foot
    assert not {"lr", "l2"} & set(foot.split())  # what was searched has no one value
    best, error = grid.rows[0].cells[4], math.sqrt(0.25 / 40)
    for row in grid.rows[1:]:
        noise = metrics.binomial_error(best, 40)
        assert noise <= error
        assert (row.cells[-1] == "within noise") == (best - row.cells[4] < noise)
    html = Path("page", page.PAGE).read_text()
    for name in ("run-1-templates", "run-4-confusion", "all-runs", "seeds-1", "grid-1"):
        assert Path("page/figures", f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "<script" not in html
    call("report", "run-0")
    assert Path("reports/run-0", page.PAGE).exists()


def test_runs_of_many_classes_show_the_worst_pairs(place, monkeypatch):
    write_images("images.npz")
    call("train", "--data", "images.npz", "--epochs", 1, "--no-figures", "--out", "run")
    monkeypatch.setattr(metrics, "MAX_MATRIX_CLASSES", 4)

    def huge(*_):
        raise AssertionError("a table of all pairs was made")

    monkeypatch.setattr(metrics, "confusion_counts", huge)
    monkeypatch.setattr("fastlin.figures.runs.confusion_matrix", huge)
    assert "not drawn" not in call("report", "run", "--out", "page").stderr
    assert Path("page/figures/run-1-confusion.png").exists()


def test_runs_without_images_validation_or_test_are_reported(place):
    rng = np.random.default_rng(0)
    np.savez(place / "plain.npz", X_train=rng.random((20, 5)), y_train=np.arange(20) % 5)
    call("train", "--data", "plain.npz", "--epochs", 1, "--no-figures", "--out", "plain")
    call("report", "plain")
    _, found = files.load_results(Path("reports/plain"))
    assert found.sections[0].tables[0].rows[0].cells[3:7] == [None] * 4
    assert [picture.name for picture in found.sections[1].pictures] == [
        "run-1-cost", "run-1-accuracy", "run-1-confusion", "run-1-classes",
        "run-1-calibration",
    ]  # fmt: skip


BAD = {
    "no run": ("report", "nowhere"),
    "no run folder": ("report", "empty"),
    "seeds of runs": ("report", "empty", "--seeds", 3),
    "no seed": ("report", "--seeds", 0),
    "no epoch": ("report", "--epochs", 0),
    "unknown data": ("report", "--data", "cifar11"),
    "no data": ("report", "--data", "cifar10", "--data-dir", "empty"),
    "no validation rows": ("report", "--data", "plain.npz"),
    "place of sample": ("report", "--data-dir", "empty"),
    "unwritable folder": ("report", "--out", "file/report"),
    "folder of something else": ("report", "--out", "."),
    "too many threads": ("report", "--threads", 10_000),
    "damaged report": ("report", "damaged"),
    "report of the future": ("report", "future"),
    "other kind of report": ("report", "--out", "other"),
    "report and run": ("report", "other", "empty"),
    "report of other data": ("report", "other", "--data", "cifar10-mini"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_2(place, name):
    rng = np.random.default_rng(0)
    y = np.arange(20) % 5
    np.savez(place / "plain.npz", X_train=rng.random((20, 5)), y_train=y)
    for folder in ("empty", "damaged", "future", "other"):
        (place / folder).mkdir()
    (place / "damaged/results.json").write_text('{"format": 1')
    (place / "future/results.json").write_text('{"format": 99, "kind": "study"}')
    files.save_results(place / "other", "runs", page.Page("a", "b", [], []))
    (place / "file").touch()
    before = sorted(place.rglob("*"))
    call(*BAD[name], code=2)
    assert sorted(place.rglob("*")) == before


BAD_RESULTS = {
    "no dictionary": ("[]", "not what fastlin report writes"),
    "nothing": ("{}", "not what fastlin report writes"),
    "another kind": ({"kind": "poem"}, "kind 'poem'"),
    "a list of kinds": ({"kind": ["runs"]}, "not what fastlin report writes"),
    "newer": ({"format": 99}, "written by a newer fastlin"),
    "older": ({"format": 1}, "written by an older fastlin"),
    "no format": ({"format": "x"}, "format is 'x'"),
    "no checksum": ({"checksum": ...}, "changed after it was written"),
    "another page": ({"page": {"title": "b"}}, "changed after it was written"),
}


def written(folder):
    """Write a small page, and return it."""
    table = page.Table([page.Column("a"), page.Column("b", "percent")], [page.Row(["x\ny", 0.1])])
    picture = page.Picture("p", "title", "note", "foot")
    made = page.Page("t", "l", [["1", "a"]], [page.Section("s", "S", ["x"], [table], [picture])])
    files.save_results(folder, "runs", made)
    return made


@pytest.mark.parametrize("name", BAD_RESULTS)
def test_results_that_no_report_writes_are_refused(tmp_path, name):
    change, words = BAD_RESULTS[name]
    good = written(tmp_path)
    assert files.load_results(tmp_path) == ("runs", good)
    path = tmp_path / files.RESULTS
    if isinstance(change, str):
        path.write_text(change)
    else:
        changed = json.loads(path.read_text()) | change
        path.write_text(json.dumps({k: v for k, v in changed.items() if v is not ...}))
    with pytest.raises(InputError, match=r"results\.json") as caught:
        files.load_results(tmp_path)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "change",
    [
        {"page": None},
        {"page": ["a\nb"]},
        {"page": {"title": "a"}},
        {"title": 3},
        {"tiles": [1]},
        {"sections": {"a": 1}},
        {"sections": [{"id": "x"}]},
    ],
)
def test_pages_of_another_form_are_refused_though_the_checksum_is_right(tmp_path, change):
    written(tmp_path)
    path = tmp_path / files.RESULTS
    content = json.loads(path.read_text())
    del content["checksum"]
    if "page" in change:
        content |= change
    else:
        content["page"] |= change
    path.write_text(json.dumps({**content, "checksum": files._checksum(content)}))
    with pytest.raises(InputError, match=r"results\.json is damaged") as caught:
        files.load_results(tmp_path)
    assert str(caught.value).isprintable()


TABLE = (
    "rank,entry,loss,lr,shuffle,seed,status,epochs_finished,score,val_accuracy\n"
    "1,1,softmax,0.1,True,3,finished,2,0.5,0.5\n"
    "2,0,softmax,1e+31,True,3,diverged,0,,\n"
)


def test_a_table_of_a_grid_is_read(tmp_path):
    path = tmp_path / "grid.csv"
    path.write_text(TABLE)
    found = folders.describe_grid("g", path)
    assert found.swept == {"lr": [0.1, 1e31]}
    assert found.entries[0] == GridRow(
        {"loss": "softmax", "lr": 0.1, "shuffle": True, "seed": 3}, "finished", 2, 0.5, 0.5
    )
    assert math.isnan(found.entries[1].score)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("status", "state", "must have the columns status"),
        ("rank", "score", "each once"),
        (TABLE[TABLE.index("1,1") :], "", "has no entry"),
        ("finished,2", "done,2", "line 2: the status is 'done'"),
        ("finished,2", "finished,2.5", "line 2: '2.5' is no number of epochs"),
        ("finished,2", "finished,-1", "line 2: '-1' is no number of epochs"),
        ("2,0.5,", "2,inf,", "line 2: 'inf'"),
        ("1e+31", "1e999", "line 3: '1e999'"),
        ("softmax", '"soft\nmax"', r"line 2: loss is 'soft\nmax'"),
        ("0.5\n", "0.5,1\n", "line 2 has 11 cells"),
        (",,\n", ",,", "cut short"),
    ],
)
def test_a_table_that_no_grid_writes_is_refused(tmp_path, old, new, words):
    path = tmp_path / "grid.csv"
    path.write_text(TABLE.replace(old, new, 1))
    with pytest.raises(InputError, match=r"grid\.csv") as caught:
        folders.describe_grid("g", path)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_study_that_diverges_says_so(made, monkeypatch):
    def diverging(trainer, active, evaluated=None):
        return {e: DivergedError(1, trainer.configs[e]) for e in active}

    monkeypatch.setattr(GridTrainer, "run_epoch", diverging)
    asked = ("report", "--data", made.parent / "small.npz", "--epochs", 1, "--seeds", 1)
    result = CliRunner().invoke(main, [*map(str, asked), "--out", "diverged"])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: on small training diverges with lr")


def test_all_training_rows_are_used_where_there_are_more(made, place):
    progress = Silent()
    found = study_of(made.parent / "small.npz", place, seeds=1, full=True, progress=progress)
    assert progress.done == progress.planned
    assert {"F0", "F1"} <= found.runs.keys()
    assert all(found.has(comparison) for comparison in study.OUTLOOK)
    (candidates,) = found.candidates["F1"]
    assert all(run.config.flip for run in candidates)
    assert found.runs["F1"][0].config == best_run(candidates).config
    rows = {row["experiment"]: row["train_rows"] for row in found.csv_rows()}
    assert rows["F1"] == 190 > rows["G1w"]


def test_a_run_is_the_same_with_and_without_curves(made, place):
    split = fastlin.load_split(made.parent / "small.npz")
    configs = [TrainConfig(epochs=3, lr=lr, average_epochs=2) for lr in (0.01, 0.02, 0.03)]
    plain, curved = (
        Runner(place / name, None, with_curves, Silent()).run(split, configs)
        for name, with_curves in (("plain", configs[:1]), ("curved", configs))
    )
    assert [run.has_curves for run in plain] == [True, False, False]
    for one, other in zip(plain, curved, strict=True):
        assert other.has_curves
        assert np.array_equal(one.W, other.W)
        assert one.history.records()[-1] == other.history.records()[-1]
        assert one.test_cost == other.test_cost
    again = Runner(place / "plain", None, configs, Silent())
    assert [run.has_curves for run in again.run(split, configs)] == [True, True, True]
    assert again.trained == 2


def test_a_missing_package_is_one_line(monkeypatch):
    import importlib.util

    right = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "jinja2" else right(name, *a)
    )
    assert "pip install 'fastlin[report]'" in call("report", code=2).stderr


def test_reports_on_runs_know_nothing_of_the_study():
    for path in Path(page.__file__).parent.glob("*.py"):
        assert "report.study" not in path.read_text(), path.name


@pytest.mark.parametrize(
    ("claim", "low", "high", "agreement"),
    [
        ("none", -RELEVANCE, RELEVANCE, "agrees"),
        ("none", 0.001, 0.009, "agrees"),
        ("none", -0.016, 0.016, "open"),
        ("none", 0.001, 0.02, "open"),
        ("none", 0.011, 0.02, "disagrees"),
        ("none", -0.02, -0.011, "disagrees"),
        ("gain", 0.001, 0.005, "agrees"),
        ("gain", -0.001, 0.03, "open"),
        ("gain", -0.001, 0.005, "open"),
        ("gain", -0.02, -0.001, "disagrees"),
        ("loss", -0.02, -0.001, "agrees"),
        ("loss", -0.03, 0.001, "open"),
        ("loss", 0.001, 0.02, "disagrees"),
    ],
)
def test_a_claim_is_judged_by_the_interval(claim, low, high, agreement):
    found = Difference((low + high) / 2, 0.001, 5, low, high, 0.5)
    assert found.agreement(claim) == agreement


def test_a_verdict_is_a_difference_or_the_largest_that_may_be():
    seen = Difference(0.0143, 0.001, 5, 0.01, 0.02, 0.01)
    assert wording.verdict(seen) == "a difference of +1.43 points"
    unseen = Difference(0.0143, 0.001, 5, -0.0004, 0.0291, 0.054)
    assert wording.verdict(unseen) == "no difference larger than 2.91 points seen"
    other = Difference(-0.01, 0.001, 5, -0.03, 0.001, 0.054)
    assert wording.verdict(other) == "no difference larger than 3.00 points seen"


def test_numbers_as_text():
    assert wording.percent(0.36517) == "36.52 %"
    assert wording.points(-0.0123) == "\N{MINUS SIGN}1.23"
    assert wording.points(0.0123) == "+1.23"
    assert wording.points(-0.00001) == "0.00"
    assert wording.percent(math.nan) == wording.percent(None) == wording.NOTHING
    assert wording.p_value(0.00001) == "< 0.0001"
    assert wording.p_value(0.0344) == "0.034"
    assert wording.seconds(125) == "2 min 5 s"
    assert wording.counted(1000, "run") == "1,000 runs"


def test_the_foot_of_a_figure_says_how_many_epochs_were_finished():
    settings = TrainConfig(epochs=3000).to_dict()
    assert "253 of 3,000 epochs" in wording.footer("pets", ["train"], settings, epochs_done=253)
    assert " of " not in wording.footer("pets", ["train"], settings, epochs_done=3000)
