import json
import math
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from click.testing import CliRunner
from command_line import call, small_images

import fastlin
from fastlin import TrainConfig, figures, functional, reference
from fastlin.commands import main
from fastlin.commands import report as report_command
from fastlin.commands.train import train as train_command
from fastlin.errors import DivergedError, InputError
from fastlin.report import folders, page
from fastlin.report import results as files
from fastlin.report.study import experiments as study
from fastlin.report.study import findings, statistics, wording
from fastlin.report.study.running import Runner
from fastlin.search.reading import parse_values
from fastlin.training.grid import GridTrainer
from fastlin.training.order import epoch_order
from fastlin.training.state import initial_weights

SEEDS, EPOCHS = 2, 2
HOSTILE = ("<script>alert(1)</script>", 'a|b & "c"', "$x_1$ *d*", "`e`", "f' f")


def write_images(path):
    """Write pixels of 2 x 3 RGB images in five classes, with all parts."""
    np.savez(path, class_names=np.array(HOSTILE), **small_images(noise=120, contrast=60))


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of a small data set with hostile class names: the folder of its report."""
    place = tmp_path_factory.mktemp("made")
    write_images(place / "small.npz")
    call("report", "--data", place / "small.npz", "--seeds", SEEDS, "--epochs", EPOCHS,
         "--out", place / "report")  # fmt: skip
    return place / "report"


@pytest.fixture
def results(made):
    return files.load_results(made)


def test_paired_differences_are_those_of_scipy():
    rng = np.random.default_rng(0)
    for n in (2, 5, 30):
        first, second = rng.random(n), rng.random(n)
        comp = statistics.paired_difference(first, second)
        ref = scipy.stats.ttest_rel(second, first)
        interval = ref.confidence_interval(0.95)
        assert comp.n == n
        assert comp.mean == pytest.approx(np.mean(second - first))
        assert comp.p == pytest.approx(ref.pvalue)
        assert (comp.low, comp.high) == pytest.approx((interval.low, interval.high))


def test_paired_differences_without_spread_or_pairs():
    same = statistics.paired_difference([0.25, 0.5], [0.25, 0.5])
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    shifted = statistics.paired_difference([0.25, 0.5], [0.5, 0.75])
    assert (shifted.low, shifted.high, shifted.p) == (0.25, 0.25, 0)
    assert statistics.paired_difference([0.25], [0.5]) == (0.25, None, 1, None, None, None)


def test_an_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    noise = rng.normal(0.1, 1, (2000, 5))
    covered = 0
    for row in noise:
        found = statistics.paired_difference(np.zeros(5), row)
        covered += found.low <= 0.1 <= found.high
    assert covered / len(noise) == pytest.approx(0.95, abs=0.015)


def test_holm_is_the_published_procedure():
    p = [0.01, 0.04, 0.03, 0.005]
    assert statistics.holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, 0.8]) == [1, 1]


def test_the_error_over_rows_is_that_of_resampled_rows():
    rng = np.random.default_rng(0)
    first, second = rng.random((5, 400)) < 0.4, rng.random((5, 400)) < 0.5
    comp = statistics.error_over_rows(first, second)
    rows = rng.integers(0, 400, (2000, 400))
    per_row = second.mean(axis=0) - first.mean(axis=0)
    assert comp == pytest.approx(per_row[rows].mean(axis=1).std(), rel=0.05)


def test_a_verdict_weighs_the_test_set_and_the_seeds():
    alone = statistics.error_against_published(0.365, 10_000, statistics.summarise([0.37]))
    assert alone == pytest.approx(math.sqrt(0.365 * 0.635 / 10_000))
    sample = statistics.summarise([0.36, 0.37, 0.38, 0.37])
    both = statistics.error_against_published(0.365, 10_000, sample)
    assert both == pytest.approx(math.sqrt(alone**2 + sample.sd**2 * 1.25))
    assert [statistics.verdict(d, 0.01) for d in (-0.021, -0.02, 0.02, 0.021)] == [
        "lower", "reproduced", "reproduced", "higher",
    ]  # fmt: skip


def test_the_study_is_what_was_published():
    settings = {e.id: e.config(0, study.EPOCHS) for e in study.all_experiments()}
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


def test_every_command_on_the_page_gives_the_settings_beside_it(results):
    defaults = TrainConfig()
    for found in results["experiments"].values():
        program, command, *words = shlex.split(found["command"])
        assert program == "fastlin"
        if command == "grid":
            given = dict(zip(words[::2], words[1::2], strict=True))
            swept = results["grids"][found["id"]]["swept"]
            for name, values in swept.items():
                text = given[f"--{name.replace('_', '-')}"]
                assert list(parse_values(name, [text])) == values
            continue
        parsed = train_command.make_context("train", words).params
        given = {name: value for name, value in parsed.items()
                 if value is not None and hasattr(defaults, name)}  # fmt: skip
        assert TrainConfig(**given).to_dict() == found["settings"][0]


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
def test_numbers_are_those_of_an_independent_run_in_float64(made, results, name):
    split = fastlin.load_split(made.parent / "small.npz")
    found = results["experiments"][name]
    for seed in range(SEEDS):
        config = TrainConfig.from_dict(found["settings"][seed])
        assert (config.seed, config.epochs) == (seed, EPOCHS)
        curves, predictions = independent_run(split, config)
        for curve, ref in curves.items():
            if "curves" in found:
                assert found["curves"][curve][seed] == pytest.approx(ref, rel=2e-5)
            assert found[curve]["values"][seed] == pytest.approx(ref[-1], rel=2e-5)
        right = np.count_nonzero(predictions == split.test.y)
        assert found["test_accuracy"]["values"][seed] == right / 30


def test_a_comparison_is_that_of_its_experiments(results):
    for comparison in results["conclusions"] + results["outlook"]:
        values = [results["experiments"][comparison[side]] for side in ("first", "second")]
        for part in ("test", "val"):
            first, second = (one[f"{part}_accuracy"]["values"] for one in values)
            assert comparison[part]["mean"] == pytest.approx(np.mean(second) - np.mean(first))


def test_the_grid_chooses_per_seed_by_validation_accuracy(results):
    grid = results["grids"]["G1"]
    for seed, winner in enumerate(grid["winners"]):
        accuracies = [entry["val_accuracy"]["values"][seed] for entry in grid["entries"]]
        assert accuracies[winner] == max(accuracies)
        found = results["experiments"]["G1"]
        assert (
            found["test_accuracy"]["values"][seed]
            == (grid["entries"][winner]["test_accuracy"]["values"][seed])
        )
    means = [grid["entries"][index]["val_accuracy"]["mean"] for index in grid["order"]]
    assert means == sorted(means, reverse=True)
    assert grid["entries"][grid["published_winner"]]["settings"] == {
        "l2": 0.0001, "batch_size": 64, "lr": 0.02,
    }  # fmt: skip


def test_the_best_is_chosen_by_validation_accuracy_alone(results):
    means = {name: found["val_accuracy"]["mean"] for name, found in results["experiments"].items()}
    assert means[results["best"]] == max(means.values())


def test_wrong_images_are_wrong_and_the_surest_first(made, results):
    split = fastlin.load_split(made.parent / "small.npz")
    sure = [row["probability"] for row in results["wrong"]]
    assert sure == sorted(sure, reverse=True)
    images = files.unpack(results["arrays"]["wrong"])
    for row, image in zip(results["wrong"], images, strict=True):
        assert row["true"] == split.test.y[row["row"]] != row["predicted"]
        assert np.array_equal(image.ravel(), split.test.X[row["row"]])


@pytest.fixture
def undrawn(monkeypatch):
    """Reports are written without page and pictures, which take most of the time."""
    monkeypatch.setattr(
        report_command,
        "_write",
        lambda results, folder, *_, **__: files.save_results(folder, results),
    )


def without_times(results):
    return {name: value for name, value in results.items() if name not in ("computed", "command")}


def test_an_interrupted_study_goes_on_and_ends_the_same(place, made, results, undrawn, monkeypatch):
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
    again = files.load_results(Path("again"))
    assert without_times(again) == without_times(results)
    total = results["computed"]["runs"]
    assert again["computed"]["runs"] == total
    assert total - sum(calls) <= again["computed"]["runs_trained_now"] < total


def test_more_seeds_keep_what_is_there(made, results, undrawn):
    call("report", "--data", made.parent / "small.npz", "--seeds", 1, "--epochs", EPOCHS,
         "--out", "grown")  # fmt: skip
    first = files.load_results(Path("grown"))
    one = {name: found["test_accuracy"]["values"] for name, found in first["experiments"].items()}
    assert all(len(values) == 1 for values in one.values())
    assert all(c["test"]["p"] is None for c in first["conclusions"])
    call("report", "--data", made.parent / "small.npz", "--seeds", SEEDS, "--epochs", EPOCHS,
         "--out", "grown")  # fmt: skip
    grown = files.load_results(Path("grown"))
    assert without_times(grown) == without_times(results)
    assert grown["computed"]["runs_trained_now"] < grown["computed"]["runs"]


def test_results_csv_holds_every_run(made, results):
    import csv

    with (made / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["experiment"] in results["experiments"]:
            values = results["experiments"][row["experiment"]]["test_accuracy"]["values"]
            assert float(row["test_accuracy"]) == values[int(row["seed"])]
    of_grid = [row for row in rows if row["experiment"] == "G1 grid"]
    assert len(of_grid) == 27 * SEEDS


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
    found = files.load_results(Path("page"))
    assert [run["name"] for run in found["runs"]] == ["run-0", "run-1", "hinge", "grid, winner"]
    assert [group["runs"] for group in found["seed_groups"]] == [[0, 1]]
    for run in found["runs"][:3]:
        summary = json.loads(Path(run["name"], "summary.json").read_text())
        assert run["last"] == summary["results"]["last"]
    assert found["grids"][0]["swept"] == {"lr": [0.01, 0.02], "l2": [0, 0.1]}
    html = Path("page", page.PAGE).read_text()
    for name in ("run-1-templates", "run-4-confusion", "all-runs", "seeds-1", "grid-1"):
        assert Path("page/figures", f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "<script" not in html
    call("report", "run-0")
    assert Path("reports/run-0", page.PAGE).exists()


def test_runs_of_many_classes_are_reported_without_a_table_of_all_pairs(place, monkeypatch):
    write_images("images.npz")
    call("train", "--data", "images.npz", "--epochs", 1, "--no-figures", "--out", "run")
    call("report", "run", "--out", "whole")
    whole = files.load_results(Path("whole"))
    for module in (folders, figures.runs):
        monkeypatch.setattr(module, "MAX_CONFUSION_CLASSES", 4)

    def huge(*_):
        raise AssertionError("a table of all pairs was made")

    monkeypatch.setattr(functional, "confusion_counts", huge)
    result = call("report", "run", "--out", "without")
    assert "confusion of run is not drawn: 5 classes are too many" in result.stderr
    without = files.load_results(Path("without"))
    assert without["runs"][0]["per_class"] == whole["runs"][0]["per_class"]
    html = Path("without", page.PAGE).read_text()
    assert "Weights of run" in html
    assert "Confusion matrix of run" not in html


def test_runs_without_images_validation_or_test_are_reported(place):
    rng = np.random.default_rng(0)
    np.savez(place / "plain.npz", X_train=rng.random((20, 5)), y_train=np.arange(20) % 5)
    call("train", "--data", "plain.npz", "--epochs", 1, "--no-figures", "--out", "plain")
    call("report", "plain")
    found = files.load_results(Path("reports/plain"))["runs"][0]
    assert (found["judged"], found["image_shape"]) == ("train", None)
    assert found["curves"]["val_cost"] == [[None]]


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
    other = {"format": files.FORMAT, "kind": "runs", "arrays": {}}
    (place / "other/results.json").write_text(json.dumps(other))
    (place / "file").touch()
    call(*BAD[name], code=2)


BAD_RESULTS = {
    "no dictionary": ("[]", "not what fastlin report writes"),
    "nothing": ("{}", "not what fastlin report writes"),
    "another kind": ({"kind": "poem"}, "kind 'poem'"),
    "a list of kinds": ({"kind": ["runs"]}, "not what fastlin report writes"),
    "newer": ({"format": 2}, "written by a newer fastlin"),
    "no format": ({"format": "x"}, "format is 'x'"),
    "another number": ({"ranking": [1]}, "changed after it was written"),
    "a part too few": ({"ranking": ..., "checksum": ...}, "it lacks ranking"),
    "arrays that are a list": ({"arrays": [], "checksum": ...}, "arrays are not there by name"),
    **{
        f"an array with {what}": ({"arrays": {"a\nb": packed}, "checksum": ...}, r"array 'a\nb'")
        for what, packed in {
            "nothing": {},
            "text": "x",
            "another size": {"dtype": "uint8", "shape": [3], "base64": "AAAA" * 3},
            "a size below 0": {"dtype": "uint8", "shape": [-1], "base64": "AAAA"},
            "a size that is text": {"dtype": "uint8", "shape": "x", "base64": "AAAA"},
            "objects": {"dtype": "object", "shape": [0], "base64": ""},
            "a list of dtypes": {"dtype": ["uint8"], "shape": [3], "base64": "AAAA"},
            "no base64": {"dtype": "uint8", "shape": [3], "base64": "A"},
            "a number": {"dtype": "uint8", "shape": [3], "base64": 3},
        }.items()
    },
}


@pytest.mark.parametrize("name", BAD_RESULTS)
def test_results_that_no_report_writes_are_refused(tmp_path, name):
    change, words = BAD_RESULTS[name]
    parts = ("arrays", "command", "computed", "grids", "detailed", "ranking", "runs", "seed_groups")
    good = {"format": 1, "kind": "runs", **dict.fromkeys(parts), "arrays": {}}
    files.save_results(tmp_path, good)
    assert files.load_results(tmp_path) == good
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


TABLE = (
    "rank,entry,loss,lr,shuffle,seed,status,epochs_finished,score,val_accuracy\n"
    "1,1,softmax,0.1,True,3,finished,2,0.5,0.5\n"
    "2,0,softmax,1e+31,True,3,diverged,0,,\n"
)


def test_a_table_of_a_grid_is_read(tmp_path):
    path = tmp_path / "grid.csv"
    path.write_text(TABLE)
    found = folders._describe_grid(path)
    assert found["swept"] == {"lr": [0.1, 1e31]}
    assert found["entries"][0] == {
        "settings": {"loss": "softmax", "lr": 0.1, "shuffle": True, "seed": 3},
        "status": "finished", "epochs": 2, "score": 0.5, "val_accuracy": 0.5,
    }  # fmt: skip
    assert math.isnan(found["entries"][1]["score"])


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
        ("softmax", '"soft\nmax"', r"line 2: 'soft\nmax'"),
        ("0.5\n", "0.5,1\n", "line 2 has 11 cells"),
        (",,\n", ",,", "cut short"),
    ],
)
def test_a_table_that_no_grid_writes_is_refused(tmp_path, old, new, words):
    path = tmp_path / "grid.csv"
    path.write_text(TABLE.replace(old, new, 1))
    with pytest.raises(InputError, match=r"grid\.csv") as caught:
        folders._describe_grid(path)
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


class Silent:
    """A progress that only counts."""

    planned = done = 0

    def begin(self, rows):
        self.planned = rows

    def stage(self, title):
        pass

    def advance(self, rows, *, trained):
        self.done += rows


def test_all_training_rows_are_used_where_there_are_more(made, place):
    split = fastlin.load_split(made.parent / "small.npz")
    both = (split.train, split.val)
    X, y = (np.concatenate([getattr(part, name) for part in both]) for name in ("X", "y"))
    more = replace(split, train=replace(split.train, X=X, y=y))

    def load(is_full):
        return more if is_full else split

    def command_of(experiment, config):
        return f"fastlin train --seed {config.seed}"

    source = findings.Source(load, len(X), "fastlin report", command_of)
    progress = Silent()
    found = findings.run_study(source, 1, 2, None, place, progress)
    assert progress.done == progress.planned
    assert {"F0", "F1"} <= found["experiments"].keys()
    assert {"data", "recipe"} <= {comparison["id"] for comparison in found["outlook"]}
    candidates = found["grids"]["F1"]["entries"]
    assert all(entry["settings"]["flip"] for entry in candidates)
    chosen = candidates[found["grids"]["F1"]["winners"][0]]["settings"]
    assert found["experiments"]["F1"]["settings"] == [chosen]
    pictures = page.draw(found)
    assert "candidates of F1" in page.render_html(found, pictures)
    page.render_markdown(found, pictures)


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


def test_describing_pages_loads_no_numba():
    code = (
        "import sys; import fastlin.report.page;"
        "sys.exit('numba' in sys.modules and 'Numba is loaded' or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def comparison(mean, low, high, expects):
    return {
        "change": "this", "expects": expects, "error_over_rows": 0.004,
        "test": {"mean": mean, "low": low, "high": high, "p": 0.03, "n": 5},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("expects", "low", "high", "verdict"),
    [
        ("none", -0.01, 0.01, "confirmed"),
        ("none", 0.001, 0.01, "refuted"),
        ("gain", 0.001, 0.01, "confirmed"),
        ("gain", -0.001, 0.01, "open"),
        ("gain", -0.02, -0.01, "refuted"),
        ("loss", -0.02, -0.01, "confirmed"),
        ("loss", 0.01, 0.02, "refuted"),
    ],
)
def test_a_claim_is_judged_by_the_interval(expects, low, high, verdict):
    found = comparison((low + high) / 2, low, high, expects)
    assert wording.judge(found) == verdict
    sentence = wording.compare_sentence(found)
    assert ("no difference can be seen" in sentence) == (expects == "none" and low <= 0 <= high)
    assert ("too few" in sentence) == (verdict == "open")


def test_numbers_as_text():
    assert wording.percent(0.36517) == "36.52 %"
    assert wording.points(-0.0123) == "\N{MINUS SIGN}1.23"
    assert wording.points(0.0123) == "+1.23"
    assert wording.points(-0.00001) == "0.00"
    assert wording.p_value(0.00001) == "< 0.0001"
    assert wording.seconds(125) == "2 min 5 s"
    assert wording.listed(["a", "b", "c"]) == "a, b and c"


def test_arrays_survive_json():
    for array in (np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 2), np.uint8)):
        again = files.unpack(json.loads(json.dumps(files.pack(array))))
        assert again.dtype == array.dtype
        assert np.array_equal(again, array)
